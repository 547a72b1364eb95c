//! Commits that are to survive a loss of power: answered once the disk has them, many at a time.
//!
//! ```text
//!  turn ── written, durable ──► waits ──► one fdatasync, on another thread ──► rounds answered for by our disk, steps answered
//!   ▲                            ▲  all that was written meanwhile waits for the next
//!   └────────────────────────────┘
//! ```
//!
//! To a primary its own disk is one more peer of each round. A sync that fails is the last of its core: what it covered may be on the disk
//! or not, and a later sync would not tell (decision D8).

use std::sync::Arc;

use courant_fragment::spool::SpoolId;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use tokio::sync::oneshot;

use super::journal::Owned;
use super::run::Core;
use super::wheel::Due;
use crate::durability::Level;
use crate::replica::Replica;
use crate::replication::local::{Fault, OpenHead};

/// Something that waits until the disk has what was written.
#[derive(Debug)]
pub(super) enum Owed {
    /// A round of a pipeline, for which our disk answers.
    Round { replica: Arc<Replica>, attempt: u64 },
    /// A step of the stream that we follow.
    Step { reply: oneshot::Sender<Result<(), Fault>> },
    /// The first spool of an epoch.
    Entered { reply: oneshot::Sender<Result<OpenHead, Fault>>, head: OpenHead },
    /// What an earlier process left, or an earlier stay of the journal, to be shown up to an offset.
    Shown { replica: Arc<Replica>, committed: Offset },
}

impl Owned {
    /// What an acknowledgement of the journal says.
    pub(super) fn level(&self) -> Level {
        Level::of(&self.replica.spec())
    }
}

impl Core {
    /// Does what is owed when a sync is done.
    pub(super) fn owe(&mut self, sync: u64, owed: Owed) {
        if self.state.syncs.is_done(sync) {
            self.pay(owed);
        } else if let Some(why) = self.state.syncs.failed().map(str::to_owned) {
            self.fail(owed, &why);
        } else {
            self.state.syncs.wait(sync, owed);
        }
    }

    /// Has the next sync cover all of a journal's spools, and tells which one that is.
    pub(super) fn rest_on(&mut self, spools: impl IntoIterator<Item = SpoolId>) -> u64 {
        for spool in spools {
            self.log.rest_on(spool);
        }
        self.state.syncs.covering()
    }

    /// Where a journal has to be on the disk, has the next sync cover all that was written of it. The sync to wait for.
    pub(super) fn keep(&mut self, journal: &JournalName) -> u64 {
        let Some(owned) = self.state.journals.get(journal) else { return 0 };
        if !owned.level().is_fsync() {
            return 0;
        }
        let spools: Vec<SpoolId> = owned.pending.iter().copied().chain(owned.spool).collect();
        let sync = self.rest_on(spools);
        if let Some(owned) = self.state.journals.get_mut(journal) {
            owned.synced_by = sync;
        }
        sync
    }

    /// Begins a sync, if something waits for one.
    pub(super) fn sync(&mut self) {
        if !self.state.syncs.begin() {
            return;
        }
        let unsynced = self.log.take_unsynced();
        self.background.sync(self.number, unsynced);
    }

    /// The sync that was under way has ended.
    pub(super) fn synced(&mut self, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                for owed in self.state.syncs.done() {
                    self.pay(owed);
                }
            }
            Err(why) => {
                tracing::error!(
                    core = self.number,
                    why,
                    "the disk failed to keep what was written: journals of durability `fsync` on this core take no more appends until this \
                     broker is started again; look after the disk first"
                );
                for owed in self.state.syncs.fail(why.clone()) {
                    self.fail(owed, &why);
                }
            }
        }
    }

    fn pay(&mut self, owed: Owed) {
        match owed {
            Owed::Round { replica, attempt } => self.disk_answered(&replica, attempt),
            // Who does not wait any more has no use for an answer.
            Owed::Step { reply } => {
                let _ = reply.send(Ok(()));
            }
            Owed::Entered { reply, head } => {
                let _ = reply.send(Ok(head));
            }
            Owed::Shown { replica, committed } => {
                let journal = &replica.journal;
                let Some(owned) = self.state.journals.get_mut(journal).filter(|owned| owned.is(&replica))
                else {
                    return;
                };
                owned.veil.replicate(committed);
                if owned.spool(&self.log).is_some_and(|spool| spool.length() > 0) && !owned.place.has_peers()
                {
                    // Content of the process before is closed soon, whatever its interval was.
                    self.state.wheel.set(journal, Due::Flush, self.clock.now().secs());
                }
                self.settle_stored(journal);
            }
        }
    }

    fn fail(&mut self, owed: Owed, why: &str) {
        match owed {
            Owed::Round { replica, attempt } => {
                let ours = self.state.journals.get_mut(&replica.journal).filter(|owned| owned.is(&replica));
                let pipeline = ours.and_then(|owned| owned.line.pipeline());
                if pipeline.is_some_and(|pipeline| pipeline.attempt == attempt) {
                    self.break_line(
                        &replica.journal,
                        &format!("the disk failed to keep what was written ({why})"),
                    );
                }
            }
            Owed::Step { reply } => {
                let _ = reply.send(Err(Fault::Disk(unsafe_to_write(why))));
            }
            Owed::Entered { reply, .. } => {
                let _ = reply.send(Err(Fault::Disk(unsafe_to_write(why))));
            }
            // Nobody knows whether the disk has it, so nobody is shown it.
            Owed::Shown { .. } => {}
        }
    }

    /// Our own disk has one round more.
    fn disk_answered(&mut self, replica: &Arc<Replica>, attempt: u64) {
        let Some(owned) = self.state.journals.get_mut(&replica.journal).filter(|owned| owned.is(replica))
        else {
            return;
        };
        let Some(pipeline) = owned.line.pipeline().filter(|pipeline| pipeline.attempt == attempt) else {
            return;
        };
        pipeline.disk_answered();
        self.settle_and_close(&replica.journal);
    }

    /// Why a journal takes nothing any more, if that is so.
    pub(super) fn refused_for_ever(&self, owned: &Owned) -> Option<tonic::Status> {
        let why = self.state.syncs.failed().filter(|_| owned.level().is_fsync())?;
        Some(tonic::Status::resource_exhausted(format!("{}; nothing was committed", unsafe_to_write(why))))
    }
}

/// What is said of a disk that failed.
pub(super) fn unsafe_to_write(why: &str) -> String {
    format!(
        "this broker's disk failed to keep what was written ({why}), so that it takes nothing more for journals of durability `fsync` until \
         it is started again"
    )
}

#[cfg(test)]
mod tests;
