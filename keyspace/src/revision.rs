//! Pure: points in the history of an etcd, and who answered at one.

use std::fmt;

/// A revision of the whole etcd store: one per transaction that changed anything. Zero is before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(i64);

impl Revision {
    /// Before anything was written.
    pub const ZERO: Self = Self(0);

    /// The revision with this number.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number that etcd's API takes.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl From<i64> for Revision {
    fn from(number: i64) -> Self {
        Self(number)
    }
}

impl From<Revision> for i64 {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The header of an etcd response: who answered, and how far it had come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreHeader {
    /// Which cluster. It never changes while a mirror lives.
    pub cluster_id: u64,
    /// Which member of it answered. It may change at any time.
    pub member_id: u64,
    /// In a response: the member's store revision. In a [`crate::Snapshot`]: the snapshot's own revision.
    pub revision: Revision,
    /// The raft term, which may change at any time.
    pub raft_term: u64,
}
