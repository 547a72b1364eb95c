//! Pure: what an index holds, for as long as its lock is held.

use std::sync::Arc;
use std::time::Duration;

use courant_proto::codec::Codec;
use courant_proto::fragment::{ContentSum, Fragment};
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::time::Timestamp;

use super::tail::Tail;
use super::{Doubt, LocalExtent};
use crate::cover_set::{CoverSet, Span};
use crate::query::{Found, Stored};
use crate::spool::SpoolId;
use crate::spool::digest::Digest;

/// Everything of an index.
pub(super) struct State<C> {
    pub(super) local: CoverSet<Local<C>>,
    pub(super) remote: CoverSet<Remote>,
    /// Stored fragments that were found damaged, or missing. They answer where nothing else does, so that nobody is moved over
    /// them unawares.
    pub(super) doubted: Vec<Remote>,
    /// At least the end of both sets. A journal whose content was pruned has a head and no content.
    pub(super) head: Offset,
    pub(super) tail: Tail,
    /// How many listings were taken over.
    pub(super) listings: u64,
    /// When the newest of them began.
    pub(super) listed_at: Option<Timestamp>,
    pub(super) closed: bool,
}

/// Content that lies only here.
pub(super) struct Local<C> {
    pub(super) begin: Offset,
    pub(super) end: Offset,
    pub(super) spool: SpoolId,
    pub(super) codec: Codec,
    pub(super) first_append: Option<Timestamp>,
    pub(super) sum: Sum,
    pub(super) content: Arc<C>,
}

/// A digest that goes on, or its end.
pub(super) enum Sum {
    Running(Digest),
    Finished(ContentSum),
}

/// A stored fragment.
#[derive(Clone)]
pub(super) struct Remote {
    pub(super) fragment: Fragment,
    /// A listing has shown it. If not, we stored it ourselves.
    pub(super) listed: bool,
    /// What is wrong with its object, and since when that is known.
    pub(super) doubted: Option<(Doubt, Timestamp)>,
}

impl Remote {
    pub(super) fn listed(fragment: Fragment) -> Self {
        Self { fragment, listed: true, doubted: None }
    }

    /// One that we stored ourselves.
    pub(super) fn stored(fragment: Fragment) -> Self {
        Self { fragment, listed: false, doubted: None }
    }

    /// Whether its object is known to be damaged, at this time.
    pub(super) fn is_damaged(&self, now: Timestamp) -> bool {
        self.doubted.is_some_and(|(doubt, since)| doubt == Doubt::Damaged && now.since(since) < DAMAGED_FOR)
    }
}

/// An object that was damaged so long ago is tried again, though no listing has shown it as changed.
const DAMAGED_FOR: Duration = Duration::from_secs(60 * 60);

impl<C> Span for Local<C> {
    fn begin(&self) -> Offset {
        self.begin
    }

    fn end(&self) -> Offset {
        self.end
    }
}

impl Span for Remote {
    fn begin(&self) -> Offset {
        self.fragment.begin
    }

    fn end(&self) -> Offset {
        self.fragment.end
    }
}

impl Stored for Remote {
    fn mod_time(&self) -> i64 {
        self.fragment.mod_time
    }
}

impl<C> State<C> {
    pub(super) fn put_local(&mut self, extent: LocalExtent<C>) {
        let LocalExtent { spool, begin, end, digest, codec, first_append, content } = extent;
        let local = Local { begin, end, spool, codec, first_append, sum: Sum::Running(digest), content };
        // A growing spool is the last one nearly always, and then nothing is searched, moved or allocated.
        let is_last = self.local.last().is_some_and(|last| last.spool == spool && last.begin == begin);
        if !is_last {
            self.local.retain(|other| other.spool != spool);
        }
        self.local.add(local);
    }
}

impl<C> Found<&Local<C>, &Remote> {
    pub(super) fn mod_time(&self) -> i64 {
        match self {
            Self::Local(_) => 0,
            Self::Remote(remote) => remote.fragment.mod_time,
        }
    }

    /// When the first content of what is not stored was committed.
    pub(super) fn first_append(&self) -> Option<Timestamp> {
        match self {
            Self::Local(local) => local.first_append,
            Self::Remote(_) => None,
        }
    }

    pub(super) fn to_fragment(self, journal: &JournalName) -> Fragment {
        match self {
            Self::Local(local) => local.sketch().finish(journal),
            Self::Remote(remote) => remote.fragment.clone(),
        }
    }
}

/// A local fragment whose sum is still to be finished, which is done without the lock.
pub(super) struct Sketch {
    begin: Offset,
    end: Offset,
    codec: Codec,
    sum: Sum,
}

impl<C> Local<C> {
    pub(super) fn sketch(&self) -> Sketch {
        let sum = match &self.sum {
            Sum::Running(digest) => Sum::Running(digest.clone()),
            Sum::Finished(sum) => Sum::Finished(*sum),
        };
        Sketch { begin: self.begin, end: self.end, codec: self.codec, sum }
    }
}

impl Sketch {
    pub(super) fn finish(self, journal: &JournalName) -> Fragment {
        let sum = match self.sum {
            Sum::Running(digest) => digest.sum(),
            Sum::Finished(sum) => sum,
        };
        Fragment {
            begin: self.begin,
            end: self.end,
            sum,
            ..Fragment::empty_at(journal.clone(), self.begin, self.codec)
        }
    }
}
