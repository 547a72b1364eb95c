//! What an index is told of a spool, and what it answers.

use std::sync::Arc;

use bytes::Bytes;
use courant_proto::codec::Codec;
use courant_proto::fragment::Fragment;
use courant_proto::offset::Offset;
use courant_proto::time::Timestamp;

use crate::query::Gap;
use crate::spool::SpoolId;
use crate::spool::content::Content;
use crate::spool::digest::Digest;

/// A spool as it stands after a commit.
///
/// `C` is how its bytes are read; the index only hands it on.
#[derive(Debug)]
pub struct LocalExtent<C = Content> {
    /// The spool.
    pub spool: SpoolId,
    /// First offset, inclusive.
    pub begin: Offset,
    /// End of what is committed, exclusive.
    pub end: Offset,
    /// Running digest of what is committed. It is finished only for an answer that shows it.
    pub digest: Digest,
    /// Codec of the spool.
    pub codec: Codec,
    /// When its first content was committed here.
    pub first_append: Option<Timestamp>,
    /// The committed bytes.
    pub content: Arc<C>,
}

/// Where the content of an answer is.
#[derive(Debug)]
pub enum Source<C = Content> {
    /// Here: from the offset of the answer to the end of its fragment.
    Memory(Vec<Bytes>),
    /// In the spool, from this position on.
    Local(Arc<C>, u64),
    /// In the store that the fragment names.
    Remote,
    /// In a store too, in an object that does not hold what its name promises. Nothing else covers the offset.
    Damaged,
}

/// Content which covers the offset of an answer.
#[derive(Debug)]
pub struct Hit<C = Content> {
    /// The fragment. It has a store and a time if, and only if, it is stored.
    pub fragment: Fragment,
    /// How to read it.
    pub source: Source<C>,
}

/// The answer to a [`Query`](crate::query::Query).
#[derive(Debug)]
pub struct Answer<C = Content> {
    /// Where content begins, or, without a hit, where it is waited for: ask again at this offset.
    pub offset: Offset,
    /// End of the index.
    pub write_head: Offset,
    /// What covers the offset; none: not yet available.
    pub hit: Option<Hit<C>>,
    /// A hole that the read was moved over. Readers are told.
    pub gap: Option<Gap>,
    /// The journal is no longer served here, and who waits shall stop waiting.
    pub closed: bool,
}

/// What is wrong with the object of a stored fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It does not hold what its name promises. Nobody is sent to it, for an hour or until a listing shows it as changed.
    Damaged,
    /// It was not there. The next listing decides whether it is.
    Missing,
}

/// Content that lies only here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unstored {
    /// How many spools have some.
    pub spools: usize,
    /// How much it is.
    pub bytes: u64,
}
