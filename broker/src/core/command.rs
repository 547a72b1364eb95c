//! What a core can be told, and what it answers.

use std::collections::BTreeMap;
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

use super::place::Place;
use crate::append::group::Ask;
use crate::append::receive::Content;
use crate::lineage::Loss;
use crate::recovery::Adoptable;
use crate::recovery::Rejudged;
use crate::replica::Replica;
use crate::replication::link::Link;
use crate::replication::local::{Fault, Filling, Following, Head, Held, OpenHead, Piece, Taking, Unfollowed};

/// One message in a core's mailbox.
#[derive(Debug)]
pub(crate) enum Command {
    /// Append content that was received whole.
    Append(Box<AppendJob>),
    /// Take over what an earlier process left of a journal, whether or not the journal is ours now.
    Adopt(Box<Adoptable>),
    /// The journal is ours from here on, with this part in it.
    Start { replica: Arc<Replica>, place: Place },
    /// Its assignments have changed.
    Rerouted { replica: Arc<Replica>, place: Place },
    /// Put aside what an earlier process left, for a reason: it counts for nothing.
    SetAside { journal: Box<RecoveredJournal>, reason: String },
    /// The journal is not ours any more. Its content is persisted unless it was deleted.
    Stop { journal: JournalName, create_revision: i64, deleted: bool },
    /// List the journal's stores, if they were never listed or that is too long ago.
    Refresh { journal: JournalName },
    /// The stores of a journal were listed for a replica, beginning at that time.
    Refreshed { replica: Arc<Replica>, listed_at: Timestamp, outcome: Result<Vec<Fragment>, Unhealthy> },
    /// The registry has recorded an epoch that an agreement came to: begin it in the log.
    Enter {
        replica: Arc<Replica>,
        attempt: u64,
        epoch: u64,
        begin: Offset,
        registers: Registers,
        reply: oneshot::Sender<Result<OpenHead, Fault>>,
    },
    /// Put aside what lies at an offset and above of a journal that an agreement is under way for: it went on without us from there.
    Cut {
        replica: Arc<Replica>,
        attempt: u64,
        at: Offset,
        reply: oneshot::Sender<Result<Option<OpenHead>, String>>,
    },
    /// What came of an agreement.
    Agreed { replica: Arc<Replica>, attempt: u64, outcome: Agreed },
    /// A peer has answered so many rounds more, and may have failed then.
    Answered { replica: Arc<Replica>, attempt: u64, peer: usize, answered: u64, failure: Option<String> },
    /// Content of a round that was not in memory has been handed to all connections.
    Sent { replica: Arc<Replica>, attempt: u64 },
    /// A pipeline that was to end has had its time.
    Close { replica: Arc<Replica>, attempt: u64 },
    /// The pause after an agreement that failed is over.
    Resume { replica: Arc<Replica>, attempt: u64 },
    /// What the lineage says of content whose commitment was not known, of a journal that is not held here.
    Rejudged { journal: JournalName, create_revision: i64, rejudged: Rejudged },
    /// Close the journal's open spool.
    Roll { journal: JournalName },
    /// Tell where content ends that is held here.
    HeldEnds { reply: oneshot::Sender<BTreeMap<JournalName, Loss>> },
    /// Put aside what nobody has told to count, where that is in the way of what does.
    LeaveUnsettled { done: oneshot::Sender<()> },
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
    /// The sync that was under way has ended.
    Synced { outcome: Result<(), String> },
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

/// What came of an agreement.
#[derive(Debug)]
pub(crate) enum Agreed {
    /// All members hold everything below `base`, and rounds of the epoch can be sent. `knows_end`: nobody in the cluster is of another make,
    /// and no member's log ever lost anything, so that there can be no more of the journal than they tell.
    /// `lost_end`: where content ends that was lost with another registry, if the journal has yet to go on behind it; none if that was not asked.
    Open {
        epoch: u64,
        base: Offset,
        members: Arc<[Held]>,
        links: Vec<Link>,
        knows_end: bool,
        lost_end: Option<Offset>,
    },
    /// Bytes of the last epoch may be missing; the journal can go on at this offset or above, if an operator says so.
    Refused { floor: Offset },
    /// Somebody could not be reached, or something has changed; it may pass.
    Unavailable(String),
    /// A member's disk refuses, and which; it may pass.
    Full(String),
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
