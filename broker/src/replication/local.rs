//! What a core tells and takes of a journal that it follows: the words between a core and the streams of peers.

use std::sync::Arc;

use courant_fragment::spool::content::Content as SpoolContent;
use courant_fragment::spool::digest::Digest;
use courant_fragment::spool::state::Proposal;
use courant_proto::codec::Codec;
use courant_proto::id::ProcessId;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use tokio::sync::oneshot;

use crate::append::receive::Content;

/// How far a log knows a journal.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The generation that telling it began. A stream that shows it is accepted until the next one begins.
    pub(crate) token: u64,
    /// Nothing that was committed can lie behind it.
    pub(crate) certain: bool,
    /// The open spool; none where the log does not know the journal.
    pub(crate) open: Option<OpenHead>,
}

/// A member that holds an epoch, and the number of the log that it holds it in; zero is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) member: ProcessId,
    pub(crate) log: u64,
}

/// The open spool of a journal.
#[derive(Clone, Debug)]
pub(crate) struct OpenHead {
    pub(crate) epoch: u64,
    pub(crate) committed: Proposal,
    pub(crate) digest: Digest,
    pub(crate) registers: Registers,
}

/// Why a stream may not, or no longer, change a journal here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfollowed {
    /// The journal is not held here, or this broker is its primary.
    NotHeld,
    /// A later primary, or a later stream of the same, has taken over.
    Superseded,
}

/// What a core could not do.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Unfollowed(Unfollowed),
    /// The spool is not where the step expects it.
    Elsewhere,
    /// The disk refuses; nothing of it happened.
    Disk(String),
}

/// A journal that a stream may change from now on.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    /// To be shown with each step.
    pub(crate) generation: u64,
    pub(crate) open: Option<OpenHead>,
}

/// A change of the spool that a stream's message comes to. The pure rules have decided it; the core carries it out.
#[derive(Debug)]
pub(crate) struct Taking {
    pub(crate) generation: u64,
    pub(crate) step: Step,
    /// Everything below is on all members; zero tells nothing.
    pub(crate) committed: Offset,
    /// Told once the log was written; where nobody is, the message wanted no answer.
    pub(crate) reply: Option<oneshot::Sender<Result<(), Fault>>>,
}

/// What to do to the spool.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing: the proposal is what is committed, or there was none.
    Nothing,
    /// Extend the open spool, which ends at `at`.
    Commit {
        at: Offset,
        content: Content,
        length: u64,
        /// The spool's digest with it.
        digest: Digest,
        /// The registers after it, if they change.
        registers: Option<Registers>,
    },
    /// Complete the open spool, if there is one, and open the next.
    Roll {
        /// What is here of the spools before, at this offset and above, belongs to nobody, and is cut off first.
        cut: Option<Offset>,
        begin: Offset,
        codec: Codec,
        registers: Registers,
        /// The epoch that it is in; the open spool's otherwise.
        epoch: Option<u64>,
    },
}

/// Bytes that were fetched from another member, of an epoch that this log holds up to `at`, or not at all.
#[derive(Debug)]
pub(crate) struct Filling {
    /// The generation of the stream for which it is done.
    pub(crate) generation: u64,
    pub(crate) epoch: u64,
    pub(crate) at: Offset,
    /// How a spool that begins with it is to be compressed.
    pub(crate) codec: Codec,
    pub(crate) content: Content,
    pub(crate) length: u64,
    /// The registers behind it.
    pub(crate) registers: Registers,
    pub(crate) reply: oneshot::Sender<Result<OpenHead, Fault>>,
}

/// Content of a log, for a member that lacks it.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) content: Arc<SpoolContent>,
    /// Where in it the piece begins.
    pub(crate) position: u64,
    pub(crate) length: u64,
}
