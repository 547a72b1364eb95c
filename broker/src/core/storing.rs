//! Rounds that all members have, of a journal whose appends are acknowledged once its first store has them too.
//!
//! ```text
//!  round ── all members have it ──► waits ── its spool was closed, and the store holds it ──► shown, answered
//!                                     │ for too long
//!                                     └──► answered as not known; the bytes are shown when they are stored
//! ```
//!
//! They outlive pipelines: what is on all members stays there, whoever agrees on what.

use std::collections::VecDeque;
use std::mem;

use courant_fragment::spool::log::SpoolLog;
use courant_fragment::spool::{Spool, SpoolId};
use courant_proto::fragment::Fragment;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;

use super::command::Outcome;
use super::journal::{self, Owned};
use super::line::Round;
use super::run::Core;
use super::wheel::Due;

/// Rounds of a journal that may wait for its store, and their bytes. More appends wait until there is room.
const MOST: (usize, u64) = (1024, 64 << 20);

/// An append waits this long for the store, in seconds.
const PATIENCE: i64 = 60;

/// What waits for the store of a journal.
#[derive(Debug, Default)]
pub(super) struct Storing {
    rounds: VecDeque<(u64, Round)>,
    bytes: u64,
    /// Spools that the store has, before others below them.
    ahead: Vec<(SpoolId, Fragment)>,
    /// The open spool is to be closed soon.
    is_timed: bool,
}

impl Storing {
    /// Whether another round may come to wait.
    pub(super) fn has_room(&self) -> bool {
        self.rounds.len() < MOST.0 && self.bytes < MOST.1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }

    /// The open spool is about to be closed.
    pub(super) fn closes(&mut self) {
        self.is_timed = false;
    }

    fn push(&mut self, round: Round) {
        let bytes = round.group.end.distance_from(round.group.begin).unwrap_or(0);
        self.bytes = self.bytes.saturating_add(bytes);
        self.rounds.push_back((bytes, round));
    }

    /// The next round that ends at an offset or below.
    fn pop(&mut self, to: Offset) -> Option<Round> {
        let (bytes, round) = self.rounds.pop_front_if(|(_, round)| round.end <= to)?;
        self.bytes -= bytes;
        Some(round)
    }

    /// What does not wait any more: rounds that end above an offset.
    fn take_above(&mut self, at: Offset) -> Vec<Round> {
        let (above, below) = mem::take(&mut self.rounds).into_iter().partition(|(_, round)| round.end > at);
        self.rounds = below;
        let above: VecDeque<(u64, Round)> = above;
        self.bytes -= above.iter().map(|(bytes, _)| bytes).sum::<u64>();
        above.into_iter().map(|(_, round)| round).collect()
    }
}

impl Owned {
    /// Whether rounds of the journal wait for its store.
    pub(super) fn waits_for_store(&self) -> bool {
        self.storing.as_ref().is_some_and(|storing| !storing.is_empty())
    }

    /// Whether another round may come to wait for the store.
    pub(super) fn has_room_to_store(&self) -> bool {
        self.storing.as_ref().is_none_or(|storing| storing.has_room())
    }

    /// A round that all members have: it counts now, or is kept until the store has it.
    pub(super) fn replicated(&mut self, round: Round) {
        self.veil.replicate(round.end);
        self.storing.get_or_insert_default().push(round);
    }

    /// The offset below which the store has everything that was not known to count before.
    fn stored_above(&self, log: &SpoolLog) -> Offset {
        let committed = self.veil.committed();
        let ahead = self.storing.as_ref().map_or(&[][..], |storing| &storing.ahead);
        let is_lacking = |spool: &&Spool| {
            spool.end() > committed && !ahead.iter().any(|(stored, _)| *stored == spool.id())
        };
        let mut pending = self.pending.iter().filter_map(|spool| log.spool(*spool));
        let first = pending.find(is_lacking).or_else(|| self.spool(log));
        first.map_or(Offset::ZERO, Spool::begin)
    }

    /// The spools that the store has and that were not shown.
    pub(super) fn take_stored_ahead(&mut self) -> Vec<SpoolId> {
        let ahead = self.storing.take().map(|storing| storing.ahead).unwrap_or_default();
        ahead.into_iter().map(|(spool, _)| spool).collect()
    }

    /// Tells those whose appends waited for the store that it is not known whether they count.
    pub(super) fn give_up_storing(&mut self, above: Offset, why: &str) {
        let Some(storing) = &mut self.storing else { return };
        let fault = tonic::Status::unavailable(format!(
            "{why}; whether the append was committed is not known, try again"
        ));
        for round in storing.take_above(above) {
            for waiting in round.waiting {
                let _ = waiting.reply.send(Outcome::Fault(fault.clone()));
            }
        }
    }
}

impl Core {
    /// Shows and answers what counts by now of what all members have.
    pub(super) fn settle_stored(&mut self, journal: &JournalName) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        let replicated = owned.veil.replicated();
        let counts = match owned.level().persist_interval() {
            Some(_) => owned.stored_above(&self.log).min(replicated),
            None => replicated,
        };
        if counts > owned.veil.committed() {
            owned.veil.commit(counts);
            owned.replica.index.raise_head(counts);
        }
        self.show(journal);
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        let committed = owned.veil.committed();
        let Some(storing) = &mut owned.storing else { return };
        let mut shown = Vec::new();
        storing.ahead.retain(|(spool, fragment)| {
            let waits = self.log.spool(*spool).is_some_and(|spool| spool.end() > committed);
            if !waits {
                shown.push((*spool, fragment.clone()));
            }
            waits
        });
        let mut answered = Vec::new();
        while let Some(round) = storing.pop(committed) {
            answered.push(round);
        }
        if storing.is_empty() {
            if storing.ahead.is_empty() && !storing.is_timed {
                owned.storing = None;
            }
        } else if !answered.is_empty() || !self.state.wheel.has(journal, Due::Stored) {
            self.state.wheel.set(journal, Due::Stored, self.clock.now().secs().saturating_add(PATIENCE));
        }
        for (spool, fragment) in shown {
            self.let_go(spool, Some(fragment));
        }
        // Readers first: whoever is told that it is committed finds it.
        for round in answered {
            journal::answer(round.group, round.waiting, &round.before, round.codec);
        }
    }

    /// The store has a spool that is not shown yet, as it counts only then. False: nothing waits for that.
    pub(super) fn stored_ahead(
        &mut self,
        journal: &JournalName,
        spool: SpoolId,
        fragment: &Fragment,
    ) -> bool {
        let Some(owned) = self.state.journals.get_mut(journal) else { return false };
        let committed = owned.veil.committed();
        let waits = owned.pending.contains(&spool)
            && self.log.spool(spool).is_some_and(|spool| spool.end() > committed);
        if !waits {
            return false;
        }
        owned.storing.get_or_insert_default().ahead.push((spool, fragment.clone()));
        self.settle_stored(journal);
        self.tell_watermark(journal);
        self.state.make_ready(journal);
        true
    }

    /// Has the open spool closed when it was collected for long enough, if its content has to get to the store.
    pub(super) fn close_in_time(&mut self, journal: &JournalName) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        let Some(interval) = owned.level().persist_interval() else { return };
        if !owned.place.is_primary || owned.spool(&self.log).is_none_or(|spool| spool.length() == 0) {
            return;
        }
        if !mem::replace(&mut owned.storing.get_or_insert_default().is_timed, true) {
            self.background.roll_after(journal, interval);
        }
    }

    /// Appends have waited for the store for long.
    pub(super) fn stored_late(&mut self, journal: &JournalName) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        if !owned.waits_for_store() {
            return;
        }
        let committed = owned.veil.committed();
        tracing::warn!(%journal, %committed, "the journal's store has taken nothing for {PATIENCE} s, and appends are acknowledged once it has them");
        owned.give_up_storing(committed, "the journal's store does not take what was appended");
        // What waits behind them would wait as long.
        let fault = tonic::Status::unavailable(
            "the journal's store does not take what was appended; nothing was committed, try again",
        );
        owned.answer_all(|_| Outcome::Fault(fault.clone()));
    }
}
