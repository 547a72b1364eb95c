//! What a core can be told, and what it answers.

use std::sync::Arc;

use courant_fragment::spool::recover::RecoveredJournal;
use courant_proto::codec::Codec;
use courant_proto::fragment::Fragment;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::spec::SuspendLevel;
use courant_proto::status::Status;
use courant_proto::time::Timestamp;
use tokio::sync::oneshot;

use crate::append::group::Ask;
use crate::append::receive::Content;
use crate::lineage::EpochOutcome;
use crate::recovery::Adoptable;
use crate::replica::Replica;
use crate::replication::local::{Filling, Following, Head, Piece, Taking, Unfollowed};

/// One message in a core's mailbox.
#[derive(Debug)]
pub(crate) enum Command {
    /// Append content that was received whole.
    Append(Box<AppendJob>),
    /// Take over what an earlier process left of a journal, whether or not the journal is ours now.
    Adopt(Box<Adoptable>),
    /// The journal is ours from here on.
    Start { replica: Arc<Replica> },
    /// Put aside what an earlier process left, for a reason: it counts for nothing.
    SetAside { journal: Box<RecoveredJournal>, reason: String },
    /// The journal is not ours any more. Its content is persisted unless it was deleted.
    Stop { journal: JournalName, create_revision: i64, deleted: bool },
    /// List the journal's stores, if they were never listed or that is too long ago.
    Refresh { journal: JournalName },
    /// The stores of a journal were listed for a replica, beginning at that time.
    Refreshed { replica: Arc<Replica>, listed_at: Timestamp, outcome: Result<Vec<Fragment>, Unhealthy> },
    /// The registry has recorded an epoch for a replica, or says why not.
    EpochBegan { replica: Arc<Replica>, outcome: EpochOutcome },
    /// Close the journal's open spool.
    Roll { journal: JournalName },
    /// Close all open spools and hand them to the persister; told when that is done.
    Drain { done: oneshot::Sender<()> },
    /// End the epochs of journals that have nothing left to persist; told when they were.
    Seal { done: oneshot::Sender<()> },
    /// Tell how far the log knows a journal, held here or not, and accept no stream that began before.
    Head { journal: JournalName, create_revision: i64, reply: oneshot::Sender<Head> },
    /// A stream wants to change a journal that this broker follows. It shows the token of a head; without one it begins a generation.
    Follow {
        journal: JournalName,
        create_revision: i64,
        token: Option<u64>,
        reply: oneshot::Sender<Result<Following, Unfollowed>>,
    },
    /// A message of such a stream.
    Take { journal: JournalName, create_revision: i64, taking: Box<Taking> },
    /// Bytes that this log lacks, before an epoch begins.
    Fill { journal: JournalName, create_revision: i64, filling: Box<Filling> },
    /// Content of an epoch, from an offset up to another, for a member that lacks it. What is not here any more is left out at the begin.
    Pieces {
        journal: JournalName,
        create_revision: i64,
        epoch: u64,
        from: Offset,
        to: Offset,
        reply: oneshot::Sender<Vec<Piece>>,
    },
    /// Still alive?
    Beat { reply: oneshot::Sender<()> },
}

/// An append that was received whole.
#[derive(Debug)]
pub(crate) struct AppendJob {
    pub(crate) journal: JournalName,
    pub(crate) create_revision: i64,
    pub(crate) ask: Ask,
    pub(crate) content: Content,
    pub(crate) reply: oneshot::Sender<Outcome>,
}

/// The first store of a journal does not work, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unhealthy(pub(crate) String);

/// What came of an append.
#[derive(Debug)]
pub(crate) enum Outcome {
    Committed {
        begin: Offset,
        end: Offset,
        codec: Codec,
        registers: Registers,
    },
    Refused {
        status: Status,
        registers: Option<Registers>,
        detail: Option<String>,
    },
    /// The stream broke a rule, in the words that clients know.
    Broken(&'static str),
    /// The suspension must change to this first; the content is given back.
    Resuspend {
        level: SuspendLevel,
        offset: Offset,
        content: Content,
    },
    /// The journal is not here any more; the content is given back.
    Moved {
        content: Content,
    },
    /// Nothing was committed, for a reason that may pass.
    Fault(tonic::Status),
}
