//! Pure: what the log and the snapshots remember, as protobuf messages of our own.
//!
//! A record holds outcomes, never requests: replaying it decides nothing, so a later version of the decisions
//! cannot change the past. `create_revision` and `version` follow from the order and are not repeated.

use bytes::Bytes;

/// One remembered fact.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Record {
    #[prost(oneof = "Fact", tags = "1, 2, 3, 4, 5, 8, 9, 10, 11")]
    pub(crate) fact: Option<Fact>,
}

/// What happened. The last four occur in snapshots only.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Fact {
    /// A revision: every put and delete of one request.
    #[prost(message, tag = "1")]
    Change(Change),
    /// A lease was granted.
    #[prost(message, tag = "2")]
    Granted(Granted),
    /// A lease was revoked or ran out, and with it its keys.
    #[prost(message, tag = "3")]
    Revoked(Revoked),
    /// History below this revision was given up.
    #[prost(int64, tag = "4")]
    Compacted(i64),
    /// The process started, for the n-th time.
    #[prost(uint64, tag = "5")]
    Started(u64),
    /// First of a snapshot: the numbers that all that follows relies on.
    #[prost(message, tag = "8")]
    Base(Base),
    /// A key as it was at the compacted revision.
    #[prost(message, tag = "9")]
    Kept(Kept),
    /// The change at the compacted revision itself, which watchers may still ask for and `Kept` already holds.
    #[prost(message, tag = "10")]
    Past(Change),
    /// Last of a snapshot: how many records came before it.
    #[prost(uint64, tag = "11")]
    End(u64),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Change {
    #[prost(int64, tag = "1")]
    pub(crate) revision: i64,
    #[prost(message, repeated, tag = "2")]
    pub(crate) edits: Vec<Edit>,
}

/// One put, or one delete.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Edit {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    /// Absent for a delete.
    #[prost(message, optional, tag = "2")]
    pub(crate) put: Option<Put>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) value: Bytes,
    #[prost(int64, tag = "2")]
    pub(crate) lease: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Granted {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
    /// Seconds.
    #[prost(int64, tag = "2")]
    pub(crate) ttl: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Revoked {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
    /// Absent if no key was attached.
    #[prost(message, optional, tag = "2")]
    pub(crate) change: Option<Change>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Base {
    /// The revision before the first `Change` of the snapshot.
    #[prost(int64, tag = "1")]
    pub(crate) revision: i64,
    /// -1 if nothing was ever compacted.
    #[prost(int64, tag = "2")]
    pub(crate) compacted: i64,
    #[prost(uint64, tag = "3")]
    pub(crate) term: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Kept {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
    #[prost(int64, tag = "3")]
    pub(crate) create_revision: i64,
    #[prost(int64, tag = "4")]
    pub(crate) mod_revision: i64,
    #[prost(int64, tag = "5")]
    pub(crate) version: i64,
    #[prost(int64, tag = "6")]
    pub(crate) lease: i64,
}

impl From<Fact> for Record {
    fn from(fact: Fact) -> Self {
        Self { fact: Some(fact) }
    }
}
