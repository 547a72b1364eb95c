//! Spools: the newest bytes of journals, from their commit until they lie in a store.
//!
//! ```text
//!             commit                 roll                              release
//!   open ──────────────► growing ───────────► complete ── persisted ───────────► gone
//!    │                     │                     │
//!    │ frame "open"        │ frames "commit"     │ frame "complete"      frame "release"
//!    ▼                     ▼                     ▼
//!   ┌──────────────────────────────────────────────────────┐  too many   ┌─────────────────────┐
//!   │ segments of one core: <seq>.log, one write per turn  │ ──────────► │ the newest segment: │
//!   └──────────────────────────────────────────────────────┘  carried    │ one "open" for each │
//!     beyond a mebibyte, or a large commit │                  forward    └─────────────────────┘
//!                                          ▼ frame "moved"
//!                                 <spool>.content, in blocks with checksums
//!
//!   kill -9 ──► recover: scan the segments, check every byte ──► the same spools, and the head of every journal
//! ```
//!
//! - [`recover`](recover::recover) finds what an earlier process left, and makes the [`volume`] that all cores share.
//! - [`log::SpoolLog`] is one core's log. It holds the core's spools; a [`log::Turn`] changes them, all or none.
//! - [`content::Content`] is what readers of any thread hold of a spool.
//! - [`state`] are the rules by which replicas of a spool agree.
//! - [`frame`] is what is on disk, and [`digest`] the running SHA-1 in it.
//!
//! A spool does not know who else holds it, which of its bytes count, or what a store is.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use courant_proto::codec::Codec;
use courant_proto::fragment::ContentSum;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::time::Timestamp;

pub mod content;
pub mod digest;
pub mod frame;
pub mod log;
mod quarantine;
pub mod recover;
mod registers;
mod replay;
mod segment;
pub mod state;
pub mod volume;

#[cfg(test)]
pub(crate) mod tests;

use content::Content;
use digest::Digest;
use segment::Segment;

pub use recover::recover;

/// The number of a spool. No other of its volume has had it, and a younger one has a higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpoolId(pub u64);

impl fmt::Display for SpoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The identity of a cluster, which its registry keeps. Spools of another count for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u64);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Whose bytes a spool holds, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The journal.
    pub journal: JournalName,
    /// The registry's revision that created the journal: tells it from an earlier one of its name.
    pub create_revision: i64,
    /// The epoch of the journal's lineage in which all its bytes were committed.
    pub epoch: u64,
}

/// A spool, as its owner sees it.
#[derive(Debug)]
pub struct Spool {
    id: SpoolId,
    identity: Identity,
    begin: Offset,
    codec: Codec,
    content: Arc<Content>,
    state: State,
    /// The segment with its newest `open`, as far as it was written.
    pin: Option<Arc<Segment>>,
    /// The turn that changed it last; more than one change of a turn is undone as one.
    turn: u64,
    /// Carrying it forward failed on bytes that do not check; it stays where it is.
    stuck: bool,
    /// Its content file was written since a durable commit last rested on it.
    unsynced: bool,
    /// Its part of what its log holds.
    counted: u64,
}

/// What a turn may change, and a failed one restores.
#[derive(Clone, Debug)]
struct State {
    end: Offset,
    registers: Registers,
    first_append: Option<Timestamp>,
    /// The content in the content file.
    file: content::Blocks,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    Open(Digest),
    Complete(ContentSum),
}

impl Spool {
    /// Its number.
    pub const fn id(&self) -> SpoolId {
        self.id
    }

    /// Whose bytes it holds.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The offset of its first byte.
    pub const fn begin(&self) -> Offset {
        self.begin
    }

    /// The offset behind its last byte.
    pub const fn end(&self) -> Offset {
        self.state.end
    }

    /// How many bytes it holds.
    pub fn length(&self) -> u64 {
        self.state.end.distance_from(self.begin).unwrap_or(0)
    }

    /// The journal's registers at its end.
    pub const fn registers(&self) -> &Registers {
        &self.state.registers
    }

    /// The codec that it is to be persisted with.
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// When its first content was committed; none while it has none.
    pub const fn first_append(&self) -> Option<Timestamp> {
        self.state.first_append
    }

    /// Its running digest, while it may grow.
    pub const fn digest(&self) -> Option<&Digest> {
        match &self.state.phase {
            Phase::Open(digest) => Some(digest),
            Phase::Complete(_) => None,
        }
    }

    /// The SHA-1 of its content; zero without content, as fragments have it.
    pub fn sum(&self) -> ContentSum {
        match &self.state.phase {
            _ if self.length() == 0 => ContentSum::ZERO,
            Phase::Open(digest) => digest.sum(),
            Phase::Complete(sum) => *sum,
        }
    }

    /// Whether it will not grow any more.
    pub const fn is_complete(&self) -> bool {
        matches!(self.state.phase, Phase::Complete(_))
    }

    /// Its bytes, for readers.
    pub const fn content(&self) -> &Arc<Content> {
        &self.content
    }
}

/// Hashes the numbers of spools, which are given out in order, by themselves.
#[derive(Default)]
pub(crate) struct SpoolIdHasher(u64);

impl Hasher for SpoolIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The map's buckets come from the low bits, and its tags from the high ones.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

pub(crate) type SpoolMap<T> = HashMap<SpoolId, T, BuildHasherDefault<SpoolIdHasher>>;
