//! How a core takes journals over and lets them go: what an earlier process left, what is assigned, and what is kept of journals that are
//! assigned no more.
//!
//! ```text
//!  recovered ──► adopt ──► rested ──► start ──► owned ──► stop ──┬─► rested: its head stays in the log
//!            └─► set aside                                       └─► forgotten, if the journal was deleted
//! ```
//!
//! A head outlives its journal's stay. A journal that comes back, after it was suspended or its member lost its place for a while, is
//! contributed to by the log that knows it, and needs no operator.

use std::sync::Arc;

use courant_fragment::error::Error;
use courant_fragment::spool::SpoolId;
use courant_fragment::spool::log::{Adopted, Opening};
use courant_fragment::spool::recover::RecoveredJournal;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;

use super::command::Outcome;
use super::journal::Owned;
use super::run::Core;
use super::wheel::Due;
use crate::recovery::Adoptable;
use crate::replica::Replica;

/// How long what an earlier process left waits for its journal to be assigned, in seconds, before it is persisted all the same: the persister
/// does not hurry with journals that are another's.
const UNASSIGNED: i64 = 10;

/// Turns in which a cut is tried: one may carry the spool forward, and then the next can cut it.
const CUT_TRIES: usize = 3;

/// What is here of a journal that the core does not serve.
#[derive(Debug)]
pub(super) struct Rested {
    create_revision: i64,
    /// The spool at its head.
    spool: Option<SpoolId>,
    /// Complete spools that no store is known to hold yet, oldest first.
    pub(super) pending: Vec<SpoolId>,
    /// Whether the persister has those.
    offered: bool,
    certain: bool,
    floor: Offset,
}

impl Core {
    /// Takes over what an earlier process left of a journal, as far as lineage lets it count.
    pub(super) fn adopt(&mut self, Adoptable { journal: recovered, cuts }: Adoptable) {
        let (journal, create_revision) =
            (recovered.identity.journal.clone(), recovered.identity.create_revision);
        // A head that may not be the last is not contributed to the next epoch, and nothing begins below it.
        let (head, certain) = (recovered.head, recovered.certain);
        let Adopted { open, complete } = self.log.adopt(recovered);
        // What was cut off belongs to nobody, and its offsets to the epoch that came after it.
        let cut_at = cuts.iter().find(|(spool, _)| Some(*spool) == open).map(|(_, at)| *at);
        let floor = cut_at.map_or(head, |at| at.min(head));
        let mut rested = Rested {
            create_revision,
            spool: None,
            pending: Vec::new(),
            offered: false,
            certain: false,
            floor,
        };
        if self.cut(cuts) {
            rested.spool = open;
            rested.certain = certain;
            rested.pending = complete.into_iter().filter(|spool| self.log.spool(*spool).is_some()).collect();
            self.state.wheel.set(&journal, Due::Flush, self.clock.now().secs().saturating_add(UNASSIGNED));
        } else {
            // With bytes in it that belong to nobody nothing of it is served or uploaded; the next start tries again.
            tracing::error!(%journal, "what an earlier process left of the journal is not taken up");
        }
        self.state.rested.insert(journal, rested);
    }

    /// Takes over a journal, with what is here of it.
    pub(super) fn start(&mut self, replica: Arc<Replica>) {
        let journal = replica.journal.clone();
        let mut owned = Owned::new(replica);
        self.state.wheel.forget(&journal);
        self.offer_rested(&journal);
        match self.state.rested.remove(&journal) {
            Some(rested) if rested.create_revision == owned.replica.create_revision => {
                owned.spool = rested.spool;
                owned.pending = rested.pending;
                owned.certain = rested.certain;
                owned.floor = rested.floor;
            }
            Some(Rested { spool: Some(open), .. }) => self.forget(&journal, open, true),
            _ => {}
        }
        for spool in &owned.pending {
            if let Some(complete) = self.log.spool(*spool) {
                owned.publish_complete(complete);
            }
        }
        if let Some(spool) = owned.spool(&self.log) {
            owned.replica.index.raise_head(spool.end());
            if spool.length() > 0 {
                owned.publish(spool, &[]);
                // Content of the process before is closed soon, whatever its interval was.
                self.state.wheel.set(&journal, Due::Flush, self.clock.now().secs());
            }
        }
        self.state.journals.insert(journal, Box::new(owned));
    }

    /// Hands what a journal has waiting to the persister, if that was not done.
    pub(super) fn offer_rested(&mut self, journal: &JournalName) {
        let Some(rested) = self.state.rested.get_mut(journal).filter(|rested| !rested.offered) else {
            return;
        };
        rested.offered = true;
        for spool in rested.pending.clone() {
            self.persist(spool);
        }
    }

    /// Lets a journal go. Its content is persisted by us all the same and its head kept, unless the journal was deleted.
    pub(super) fn stop(&mut self, journal: &JournalName, create_revision: i64, deleted: bool) {
        let ours = self.state.journals.get(journal);
        if ours.is_none_or(|owned| owned.replica.create_revision != create_revision) {
            return;
        }
        let Some(mut owned) = self.state.journals.remove(journal) else { return };
        self.state.ready.retain(|ready| ready != journal);
        self.state.wheel.forget(journal);
        self.metrics.forget(journal);
        owned.replica.index.close();
        owned.answer_all(|content| Outcome::Moved { content });
        if deleted {
            self.background.lineage.forget(journal.clone(), create_revision);
        }
        match owned.spool {
            Some(open) if deleted => self.forget(journal, open, true),
            Some(open) => self.rest_at(journal, *owned, open),
            None => {}
        }
    }

    /// Closes what a journal has open, and keeps its head.
    fn rest_at(&mut self, journal: &JournalName, owned: Owned, open: SpoolId) {
        let Owned { replica, mut pending, certain, floor, .. } = owned;
        let mut spool = open;
        if let Some(content) = self.log.spool(open).filter(|spool| spool.length() > 0) {
            let next = Opening {
                identity: content.identity().clone(),
                begin: content.end(),
                codec: content.codec(),
                registers: content.registers().clone(),
            };
            let mut turn = self.log.turn();
            match turn.roll(open, next).and_then(|rolled| turn.write().map(|_| rolled)) {
                Ok(rolled) => {
                    spool = rolled.opened;
                    pending.extend(rolled.completed);
                    if let Some(completed) = rolled.completed {
                        self.metrics.spool_completed();
                        self.persist(completed);
                    }
                }
                Err(fault) => {
                    tracing::error!(%journal, %fault, "cannot close the spool of a journal that goes; it stays in the log");
                }
            }
        }
        let create_revision = replica.create_revision;
        let rested = Rested { create_revision, spool: Some(spool), pending, offered: true, certain, floor };
        self.state.rested.insert(journal.clone(), rested);
    }

    /// Puts aside all that was recovered of a journal.
    pub(super) fn set_aside(&mut self, journal: RecoveredJournal, reason: &str) {
        let name = journal.identity.journal.clone();
        tracing::warn!(journal = %name, reason, "what an earlier process left of the journal counts for nothing");
        let Adopted { open, complete } = self.log.adopt(journal);
        let cut = self.cut(open.iter().chain(&complete).map(|spool| (*spool, Offset::ZERO)).collect());
        if let Some(open) = open.filter(|_| cut) {
            self.forget(&name, open, false);
        }
    }

    /// Drops the head of a journal; and what was open with content, if it belongs to nobody any more.
    fn forget(&mut self, journal: &JournalName, open: SpoolId, release: bool) {
        let mut turn = self.log.turn();
        match turn.forget(open).and_then(|completed| turn.write().map(|_| completed)) {
            Ok(completed) => self.state.released.extend(completed.filter(|_| release)),
            Err(fault) => {
                tracing::error!(%journal, %fault, "cannot forget a journal; its spool stays in the log");
            }
        }
    }

    /// Takes from spools what lies at offsets and behind them. False: something of it is still there.
    fn cut(&mut self, cuts: Vec<(SpoolId, Offset)>) -> bool {
        let mut done = true;
        for (spool, at) in cuts {
            if let Err(fault) = self.cut_one(spool, at) {
                tracing::error!(%spool, %fault, "cannot put aside what belongs to nobody");
                done = false;
            }
        }
        done
    }

    fn cut_one(&mut self, spool: SpoolId, at: Offset) -> Result<(), Error> {
        for _ in 0..CUT_TRIES {
            let mut turn = self.log.turn();
            let cut = turn.cut(spool, at);
            // Also where it was not cut: the turn may carry it forward, so that the next one can.
            let written = turn.write();
            match cut {
                Err(Error::Staged(_)) => {
                    written?;
                }
                Ok(None) => return Ok(()),
                Ok(Some(aside)) => {
                    written?;
                    tracing::warn!(
                        journal = %aside.identity.journal, begin = %aside.begin, end = %aside.end, path = %aside.path.display(),
                        "put aside bytes that lineage says belong to nobody"
                    );
                    return Ok(());
                }
                Err(fault) => return Err(fault),
            }
        }
        Err(Error::Staged(spool))
    }
}
