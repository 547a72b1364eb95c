//! Pure: what an index holds, for as long as its lock is held.

use std::sync::Arc;

use courant_proto::codec::Codec;
use courant_proto::fragment::{ContentSum, Fragment};
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;

use super::LocalExtent;
use super::tail::Tail;
use crate::cover_set::{CoverSet, Span};
use crate::query::{Found, Stored};
use crate::spool::SpoolId;
use crate::spool::digest::Digest;

/// Everything of an index.
pub(super) struct State<C> {
    pub(super) local: CoverSet<Local<C>>,
    pub(super) remote: CoverSet<Remote>,
    /// At least the end of both sets. A journal whose content was pruned has a head and no content.
    pub(super) head: Offset,
    pub(super) tail: Tail,
    pub(super) refreshed: bool,
    pub(super) closed: bool,
}

/// Content that lies only here.
pub(super) struct Local<C> {
    pub(super) begin: Offset,
    pub(super) end: Offset,
    pub(super) spool: SpoolId,
    pub(super) codec: Codec,
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
}

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
        let LocalExtent { spool, begin, end, digest, codec, content } = extent;
        let local = Local { begin, end, spool, codec, sum: Sum::Running(digest), content };
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
