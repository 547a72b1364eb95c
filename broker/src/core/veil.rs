//! What lies in the log and must not be seen yet: it counts once all members have it, up to the committed watermark.
//!
//! Where it counts only once a store has it too, the persister is given what all members have before it is shown.

use std::collections::VecDeque;

use bytes::Bytes;
use courant_fragment::index::LocalExtent;
use courant_fragment::spool::SpoolId;
use courant_proto::fragment::ContentSum;
use courant_proto::offset::Offset;

/// Most extents that are kept apart. Beyond that an extent is forgotten that a later one of its spool contains.
const MOST: usize = 96;

/// Something of the log.
#[derive(Debug)]
pub(super) enum Veiled {
    /// A spool has grown; the content of its last commit, for tailing readers.
    Grown { extent: LocalExtent, tail: Vec<Bytes> },
    /// A spool will not grow any more, and is to be persisted.
    Completed { spool: SpoolId, end: Offset, sum: ContentSum, is_offered: bool },
}

impl Veiled {
    const fn end(&self) -> Offset {
        match self {
            Self::Grown { extent, .. } => extent.end,
            Self::Completed { end, .. } => *end,
        }
    }
}

/// What is not shown yet, in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Veil {
    hidden: VecDeque<Veiled>,
    /// Completed spools among it that the persister was not given.
    unoffered: usize,
    replicated: Offset,
    committed: Offset,
}

impl Veil {
    /// Everything below is on all members.
    pub(super) const fn replicated(&self) -> Offset {
        self.replicated
    }

    /// Everything below counts, and is shown.
    pub(super) const fn committed(&self) -> Offset {
        self.committed
    }

    pub(super) fn hide(&mut self, veiled: Veiled) {
        if self.hidden.len() >= MOST
            && let (Some(Veiled::Grown { extent: first, .. }), Some(Veiled::Grown { extent: next, .. })) =
                (self.hidden.front(), self.hidden.get(1))
            && first.spool == next.spool
        {
            self.hidden.pop_front();
        }
        self.unoffered += usize::from(matches!(veiled, Veiled::Completed { is_offered: false, .. }));
        self.hidden.push_back(veiled);
    }

    /// All members have everything below.
    pub(super) fn replicate(&mut self, to: Offset) {
        self.replicated = self.replicated.max(to);
    }

    /// A spool that the persister can be given, and was not.
    pub(super) fn next_offered(&mut self) -> Option<SpoolId> {
        if self.unoffered == 0 {
            return None;
        }
        let replicated = self.replicated;
        let offered = self.hidden.iter_mut().find_map(|veiled| match veiled {
            Veiled::Completed { spool, end, is_offered, .. } if !*is_offered && *end <= replicated => {
                *is_offered = true;
                Some(*spool)
            }
            _ => None,
        })?;
        self.unoffered -= 1;
        Some(offered)
    }

    /// Raises the watermark.
    pub(super) fn commit(&mut self, to: Offset) {
        self.committed = self.committed.max(to);
        self.replicate(to);
    }

    /// What lay below the watermark and was not shown so far.
    pub(super) fn next_shown(&mut self) -> Option<Veiled> {
        self.hidden.front().filter(|veiled| veiled.end() <= self.committed)?;
        let veiled = self.hidden.pop_front();
        if self.hidden.is_empty() && self.hidden.capacity() > MOST {
            self.hidden = VecDeque::new();
        }
        veiled
    }

    /// Forgets what lies above an offset: it belongs to nobody.
    pub(super) fn cut(&mut self, at: Offset) {
        self.hidden.retain(|veiled| veiled.end() <= at);
        self.unoffered = self.completed().count();
    }

    /// Lets go of room that only a busy journal needs.
    pub(super) fn shrink(&mut self) {
        if self.hidden.is_empty() {
            self.hidden = VecDeque::new();
        }
    }

    /// The spools that wait to be persisted and were not offered yet.
    pub(super) fn completed(&self) -> impl Iterator<Item = SpoolId> + '_ {
        self.hidden.iter().filter_map(|veiled| match veiled {
            Veiled::Completed { spool, is_offered: false, .. } => Some(*spool),
            Veiled::Completed { .. } | Veiled::Grown { .. } => None,
        })
    }
}
