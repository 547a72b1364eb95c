//! The handle by which the broker asks for epochs, and tells of what was stored.

use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use tokio::sync::{mpsc, oneshot};

use super::record::Lineage;

/// An epoch to begin.
#[derive(Clone, Debug)]
pub(crate) struct BeginEpoch {
    pub(crate) journal: JournalName,
    pub(crate) create_revision: i64,
    /// The newest epoch of the record that was [agreed](super::agree) upon; zero if there was none.
    pub(crate) after: u64,
    /// Who will hold its bytes.
    pub(crate) members: Vec<ProcessId>,
    /// The numbers of their logs, in the same order; zero where that is not known.
    pub(crate) logs: Vec<u64>,
    /// Where it begins.
    pub(crate) begin: Offset,
    /// The registers there.
    pub(crate) registers: Registers,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EpochOutcome {
    /// It is recorded, with what was asked for.
    Began { epoch: u64, begin: Offset, registers: Registers },
    /// Somebody else has begun an epoch since: it has to be agreed anew.
    Changed,
    /// The registry could not be asked, or the journal is gone; nothing was recorded that binds us.
    Unavailable(String),
}

/// What a journal has in its store.
#[derive(Clone, Debug)]
pub(crate) struct Rolled {
    pub(crate) journal: JournalName,
    pub(crate) create_revision: i64,
    /// Everything from here on ...
    pub(crate) from: Offset,
    /// ... up to here is in the store. A member that came later knows nothing of what lies before it.
    pub(crate) stored: Offset,
    /// The epoch is over: this broker commits nothing more in it. Then these are the registers at `stored`, its end.
    pub(crate) sealed: Option<Sealing>,
}

/// The end of an epoch that was closed in order.
#[derive(Clone, Debug)]
pub(crate) struct Sealing {
    pub(crate) epoch: u64,
    pub(crate) registers: Registers,
}

/// What the task is told.
#[derive(Debug)]
pub(super) enum Message {
    Begin {
        wish: Box<BeginEpoch>,
        reply: oneshot::Sender<EpochOutcome>,
    },
    Record {
        journal: JournalName,
        reply: oneshot::Sender<Result<Option<Lineage>, String>>,
    },
    Rolled(Rolled),
    Forget {
        journal: JournalName,
        create_revision: i64,
    },
    /// Write what is known of rolls now; told when that was tried.
    Flush {
        done: oneshot::Sender<()>,
    },
}

/// A handle on the lineage of all journals. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LineageKeeper {
    messages: mpsc::Sender<Message>,
}

impl LineageKeeper {
    pub(super) fn new(messages: mpsc::Sender<Message>) -> Self {
        Self { messages }
    }

    /// The record of a journal as the registry has it now; none if no epoch of this journal was ever begun. Requests that come
    /// together share reads.
    ///
    /// # Errors
    /// What it says when the registry does not answer, or the record cannot be read.
    pub(crate) async fn record(
        &self,
        journal: &JournalName,
        create_revision: i64,
    ) -> Result<Option<Lineage>, String> {
        let stopped = || Err("this broker is stopping".to_owned());
        let (reply, answer) = oneshot::channel();
        if self.messages.send(Message::Record { journal: journal.clone(), reply }).await.is_err() {
            return stopped();
        }
        let record = answer.await.unwrap_or_else(|_| stopped())?;
        Ok(record.and_then(|record| record.of(create_revision)))
    }

    /// Begins an epoch: when this returns that it began, the registry has it. Requests that come together share a transaction.
    pub(crate) async fn begin_epoch(&self, wish: BeginEpoch) -> EpochOutcome {
        let stopped = || EpochOutcome::Unavailable("this broker is stopping".to_owned());
        let (reply, answer) = oneshot::channel();
        if self.messages.send(Message::Begin { wish: Box::new(wish), reply }).await.is_err() {
            return stopped();
        }
        answer.await.unwrap_or_else(|_| stopped())
    }

    /// Notes what a journal has in its store. It is written a little later, together with others, or not at all where the registry
    /// is away: all that rests on it is how soon an old epoch may be forgotten.
    pub(crate) fn note_roll(&self, rolled: Rolled) {
        // Under load a note is dropped; the next roll brings a better one.
        let _ = self.messages.try_send(Message::Rolled(rolled));
    }

    /// Drops the record of a journal that was deleted, in a while.
    pub(crate) fn forget(&self, journal: JournalName, create_revision: i64) {
        // A record that stays is of another journal than any later one of this name, and is replaced by its first epoch.
        let _ = self.messages.try_send(Message::Forget { journal, create_revision });
    }

    /// Writes what was noted. It returns when that has been tried.
    pub(crate) async fn flush(&self) {
        let (done, tried) = oneshot::channel();
        if self.messages.send(Message::Flush { done }).await.is_ok() {
            let _ = tried.await;
        }
    }
}
