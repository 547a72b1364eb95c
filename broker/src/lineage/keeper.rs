//! The handle by which the broker asks for epochs, and tells of what was stored.

use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use tokio::sync::{mpsc, oneshot};

/// An epoch to begin.
#[derive(Clone, Debug)]
pub(crate) struct BeginEpoch {
    pub(crate) journal: JournalName,
    pub(crate) create_revision: i64,
    /// The head that the logs of the members know; none where they know nothing of the journal.
    pub(crate) contributed: Option<Offset>,
    /// Where the epoch is to begin, or above.
    pub(crate) begin: Offset,
    /// An operator gave that offset, knowing that bytes may be missing below it.
    pub(crate) accept_loss: bool,
    /// The end of what the store holds.
    pub(crate) store_end: Offset,
    /// The registers at the contributed head.
    pub(crate) registers: Registers,
    /// Who will hold its bytes.
    pub(crate) members: Vec<ProcessId>,
    /// The identity of this broker's log, not zero, if it is whole and does not know the journal. A process may die after its epoch
    /// was recorded and before the log has anything of it; this tells that from a log that was lost.
    pub(crate) unknown_to_log: Option<u64>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EpochOutcome {
    /// It is recorded. It begins at or above the offset that was asked for, with these registers, which are not those that were
    /// given where nobody contributed any.
    Began { epoch: u64, begin: Offset, registers: Registers },
    /// Bytes of the last epoch may be missing; the journal can go on at this offset or above, if an operator says so.
    Refused { floor: Offset },
    /// The registry could not be asked, or the journal is gone; nothing was recorded that binds us.
    Unavailable(String),
}

/// What a journal has in its store.
#[derive(Clone, Debug)]
pub(crate) struct Rolled {
    pub(crate) journal: JournalName,
    pub(crate) create_revision: i64,
    /// Everything below is in the store.
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
