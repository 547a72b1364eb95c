//! One turn of a core: decide every journal that has appends, write the log once, publish and answer.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use courant_fragment::error::Error;
use courant_fragment::spool::log::{Commit, Opening, Source, Turn as LogTurn};
use courant_fragment::spool::{Identity, SpoolId};
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::spec::JournalSpec;
use courant_proto::time::Timestamp;
use tonic::Status;

use super::command::Outcome;
use super::journal::{self, Owned, Waiting};
use super::run::Core;
use super::wheel::Due;
use crate::append::group::{self, Group, Turn};
use crate::append::receive::Content;
use crate::append::roll;
use crate::background::Epoch;
use crate::metrics::{self, Commits};

/// A journal without appends for so long lets go of what only a busy one needs, in seconds.
pub(super) const REST_SECONDS: i64 = 10;

/// A group that is staged in the log, and counts when the log was written.
struct Staged {
    journal: JournalName,
    group: Group,
    waiting: Vec<Waiting>,
    /// The spool that the group goes to, if it has content or begins one.
    spool: Option<SpoolId>,
    /// The spool that the group closed.
    completed: Option<SpoolId>,
    tail: Vec<Bytes>,
    /// The registers before the group.
    before: Registers,
}

impl Core {
    /// Decides what waits, and writes it.
    pub(super) fn turn(&mut self) {
        let ready = mem::take(&mut self.state.ready);
        if ready.is_empty() && self.state.released.is_empty() && !self.log.wants_turn() {
            self.state.ready = ready;
            return;
        }
        let now = self.clock.now();
        let mut staged = Vec::with_capacity(ready.len());
        let mut postponed = Vec::new();
        let mut begun = Vec::new();
        let mut released = mem::take(&mut self.state.released);
        let mut turn = self.log.turn();
        // One that the log does not know any more, or that may still grow, needs no release. What the disk refuses is
        // kept for a later turn: until then it holds the space that a full disk waits for.
        released.retain(|spool| {
            !matches!(turn.release(*spool), Err(Error::UnknownSpool(_) | Error::StillOpen(_)))
        });
        for journal in &ready {
            let Some(owned) = self.state.journals.get_mut(journal) else { continue };
            owned.ready = false;
            let spec = owned.replica.spec();
            let standing = owned.standing(owned.spool.and_then(|open| turn.spool(open)));
            let asks = owned.queue.iter().map(|waiting| &waiting.ask);
            match group::turn(&standing, &owned.known(), &spec, asks, now) {
                Turn::Rest => {}
                Turn::Refresh => {
                    if !mem::replace(&mut owned.refreshing, true) {
                        self.background.list_stores(Arc::clone(&owned.replica), now);
                    }
                }
                Turn::Begin { begin, accept_loss } => {
                    if let Some(outcome) = owned.begun.take() {
                        begun.push((Arc::clone(&owned.replica), outcome));
                    } else if !mem::replace(&mut owned.beginning, true) {
                        self.background.begin_epoch(Epoch {
                            replica: Arc::clone(&owned.replica),
                            contributed: owned.spool.filter(|_| owned.certain).map(|_| standing.spool.end),
                            unknown: owned.spool.is_none() && owned.floor == Offset::ZERO,
                            begin,
                            accept_loss,
                            store_end: owned.known().end,
                            registers: standing.registers,
                        });
                    }
                }
                Turn::Commit(group) => {
                    let wanted = Commits::of(&group);
                    match stage(&mut turn, journal, owned, group, standing.registers, &spec, now) {
                        Ok(one) => {
                            if one.group.end == one.group.begin {
                                self.metrics.rolled_back(wanted);
                            }
                            staged.push(one);
                        }
                        // The turn carries this very spool forward, and a file cannot join it before that is written.
                        Err(Error::Staged(_)) => postponed.push(journal.clone()),
                        Err(fault) => {
                            tracing::warn!(%journal, %fault, "cannot stage a commit");
                            self.metrics.rolled_back(wanted);
                            owned.answer_all(|_| Outcome::Fault(refused(&fault)));
                        }
                    }
                }
            }
        }
        let commits = staged.iter().map(|one| Commits::of(&one.group)).sum();
        match turn.write() {
            Ok(_) => {
                // Where the release itself was refused, the log still has the spool.
                released.retain(|spool| self.log.spool(*spool).is_some());
                // Whoever hears of a commit finds it counted.
                self.metrics.committed(commits);
                self.publish(staged, now);
                for journal in &postponed {
                    self.state.make_ready(journal);
                }
            }
            Err(fault) => {
                tracing::warn!(%fault, "cannot write the log; nothing of this turn was committed");
                self.metrics.rolled_back(commits);
                for one in staged {
                    for waiting in one.waiting {
                        let _ = waiting.reply.send(Outcome::Fault(refused(&fault)));
                    }
                    // What its group had no room for waits for an answer as well.
                    self.state.make_ready(&one.journal);
                }
                for journal in &postponed {
                    if let Some(owned) = self.state.journals.get_mut(journal) {
                        owned.answer_all(|_| Outcome::Fault(refused(&fault)));
                    }
                }
            }
        }
        self.state.released.append(&mut released);
        for (replica, outcome) in begun {
            self.epoch_began(&replica, outcome);
        }
        let mut ready = ready;
        ready.clear();
        // Journals whose queue was longer than a group are ready again, and the buffer serves the next turn.
        ready.append(&mut self.state.ready);
        self.state.ready = ready;
    }

    /// The open spool of a journal was closed with content: its sum is known, and the persister takes it on.
    pub(super) fn completed(&mut self, journal: &JournalName, completed: SpoolId) {
        self.metrics.spool_completed();
        if let (Some(owned), Some(spool)) = (self.state.journals.get_mut(journal), self.log.spool(completed))
        {
            owned.replica.index.completed(completed, spool.sum());
            owned.pending.push(completed);
        }
        self.persist(completed);
    }

    fn publish(&mut self, staged: Vec<Staged>, now: Timestamp) {
        for one in staged {
            if let Some(completed) = one.completed {
                self.completed(&one.journal, completed);
            }
            let Some(owned) = self.state.journals.get_mut(&one.journal) else { continue };
            if let Some(spool) = one.spool.and_then(|spool| self.log.spool(spool)) {
                owned.spool = Some(spool.id());
                if spool.end() > spool.begin() {
                    let journal = &one.journal;
                    owned.publish(spool, &one.tail);
                    owned.committed_at = now.secs();
                    let gauge = owned.head.get_or_insert_with(|| self.metrics.write_head(journal));
                    metrics::set_head(gauge, spool.end());
                    let first = one.group.begin == spool.begin();
                    let deadline = spool
                        .first_append()
                        .filter(|_| first)
                        .and_then(|first| roll::flush_deadline(first, &owned.replica.spec()));
                    if let Some(deadline) = deadline {
                        self.state.wheel.set(journal, Due::Flush, deadline);
                    }
                    if !self.state.wheel.has(journal, Due::Rest) {
                        self.state.wheel.set(journal, Due::Rest, now.secs().saturating_add(REST_SECONDS));
                    }
                }
            }
            let codec =
                owned.spool(&self.log).map_or(owned.replica.spec().fragment.codec, |spool| spool.codec());
            journal::answer(one.group, one.waiting, &one.before, codec);
            self.state.make_ready(&one.journal);
        }
    }
}

/// Stages a group: the roll, if one is due, and the content of all its appends as one commit. Where the roll is staged and the commit
/// is refused, the roll stands, as the turn cannot take it back alone, and everything that waits is told of the fault.
fn stage(
    turn: &mut LogTurn<'_>,
    journal: &JournalName,
    owned: &mut Owned,
    mut group: Group,
    before: Registers,
    spec: &JournalSpec,
    now: Timestamp,
) -> Result<Staged, Error> {
    let mut spool = None;
    let mut completed = None;
    if let (Some(begin), Some(epoch), Some(open)) = (group.roll, owned.epoch, owned.spool) {
        let registers = turn.spool(open).map(|open| open.registers().clone()).unwrap_or_default();
        let identity =
            Identity { journal: journal.clone(), create_revision: owned.replica.create_revision, epoch };
        let rolled = turn.roll(open, Opening { identity, begin, codec: spec.fragment.codec, registers })?;
        spool = Some(rolled.opened);
        completed = rolled.completed;
    }
    let mut tail = Vec::new();
    if group.end > group.begin {
        // A group with content was decided in an epoch that has begun, and an epoch begins with a spool.
        let open = spool.or(owned.spool).ok_or(Error::UnknownSpool(SpoolId(0)))?;
        let waiting = owned.queue.make_contiguous();
        let registers = group.registers.as_ref();
        let committed = if let Some(Waiting { content: Content::Scratch { file }, ask, .. }) = waiting.first()
        {
            let content = Source::File { file: &**file, length: ask.length };
            turn.commit(open, Commit { content, registers, now })
        } else {
            tail = journal::gather(&group, waiting);
            turn.commit(open, Commit { content: Source::Memory(&tail), registers, now })
        };
        match committed {
            Ok(_) => spool = Some(open),
            Err(fault) if spool.is_none() => return Err(fault),
            Err(fault) => {
                tracing::warn!(%journal, %fault, "cannot stage a commit");
                owned.answer_all(|_| Outcome::Fault(refused(&fault)));
                group = Group {
                    verdicts: Vec::new(),
                    end: group.begin,
                    registers: None,
                    registers_at: Vec::new(),
                    ..group
                };
                tail.clear();
            }
        }
    }
    let waiting = owned.queue.drain(..group.verdicts.len()).collect();
    Ok(Staged { journal: journal.clone(), group, waiting, spool, completed, tail, before })
}

/// What an asker is told of a fault of the disk: nothing was committed, and what it can do.
pub(super) fn refused(fault: &Error) -> Status {
    Status::resource_exhausted(format!(
        "{fault}; nothing was committed, try again when the disk has room and works"
    ))
}
