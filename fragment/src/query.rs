//! Pure: what a read at an offset gets — content, a jump to later content, or nothing yet.
//!
//! Content of a journal is listed in two sets, and a read sees their union: what the stores hold, and what
//! lies only here. The rules are those of the protocol's brokers:
//!
//! - of the fragments over an offset, the one that reaches furthest answers; one that lies only here goes before those that stores are said
//!   to hold, until this broker has verified that they do;
//! - where there is none, the next one after it does, if it is stored, and is either the first of the journal
//!   (what was before it was pruned) or older than six hours (what was before it is lost, and not just still
//!   on its way);
//! - stored fragments from before the reader's `begin_mod_time` are passed over;
//! - content that is not stored yet is never jumped to and never passed over;
//! - stored fragments whose objects are doubted answer where nothing else covers the offset, and are jumped to like others: what they
//!   cover is damaged, which is not the same as a hole.
//!
//! A jump over a hole is told in the answer, so that no reader is moved forward unawares.

#[cfg(test)]
mod tests;

use std::time::Duration;

use courant_proto::offset::{Offset, ReadFrom};
use courant_proto::time::Timestamp;

use crate::cover_set::{CoverSet, Span};

/// A hole before a fragment of at least this age will not be filled any more.
pub const HOLE_AGE: Duration = Duration::from_secs(6 * 60 * 60);

/// A stored span also has the time at which the store got it.
pub trait Stored: Span {
    /// Unix seconds.
    fn mod_time(&self) -> i64;
}

impl<T: Stored + ?Sized> Stored for std::sync::Arc<T> {
    fn mod_time(&self) -> i64 {
        (**self).mod_time()
    }
}

/// What a reader asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Where to read. The write head is the one of this moment: a reader that has to wait for more asks again
    /// at the offset that it was answered.
    pub from: ReadFrom,
    /// Stored fragments from before this time are passed over, in Unix seconds. Zero passes over none.
    pub begin_mod_time: i64,
}

impl Query {
    /// Reads at an offset.
    #[must_use]
    pub fn at(offset: Offset) -> Self {
        Self { from: ReadFrom::At(offset), begin_mod_time: 0 }
    }

    /// Reads at the write head.
    #[must_use]
    pub fn head() -> Self {
        Self { from: ReadFrom::WriteHead, begin_mod_time: 0 }
    }
}

/// Offsets that no fragment covers and that a read was moved over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// First offset of the (first) hole.
    pub begin: Offset,
    /// End of the (last) hole. Between two holes lies only what the reader asked to pass over.
    pub end: Offset,
}

/// A span of one of the two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<L, R> {
    /// It lies only here.
    Local(L),
    /// A store has it.
    Remote(R),
}

/// Where a read goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution<L, R> {
    /// The offset after all jumps: where content begins, or where it is waited for.
    pub offset: Offset,
    /// What covers the offset. None: not yet available.
    pub found: Option<Found<L, R>>,
    /// The holes that were jumped over.
    pub gap: Option<Gap>,
}

impl<L: Span, R: Span> Span for Found<L, R> {
    fn begin(&self) -> Offset {
        match self {
            Self::Local(span) => span.begin(),
            Self::Remote(span) => span.begin(),
        }
    }

    fn end(&self) -> Offset {
        match self {
            Self::Local(span) => span.end(),
            Self::Remote(span) => span.end(),
        }
    }
}

/// The greatest end of both sets; none if both are empty.
pub fn end_of<L: Span, R: Span>(local: &CoverSet<L>, remote: &CoverSet<R>) -> Option<Offset> {
    local.last().map(Span::end).max(remote.last().map(Span::end))
}

/// The smallest begin of both sets; none if both are empty.
pub fn begin_of<L: Span, R: Span>(local: &CoverSet<L>, remote: &CoverSet<R>) -> Option<Offset> {
    match (local.first().map(Span::begin), remote.first().map(Span::begin)) {
        (Some(local), Some(remote)) => Some(local.min(remote)),
        (one, other) => one.or(other),
    }
}

/// What a journal holds.
#[derive(Debug)]
pub struct Held<'a, L, R> {
    /// Only here.
    pub local: &'a CoverSet<L>,
    /// In stores.
    pub remote: &'a CoverSet<R>,
    /// In stores too, as far as listings say; in no order.
    pub doubted: &'a [R],
}

/// Resolves a query at `now`. `head` is the journal's write head.
pub fn resolve<'a, L: Span, R: Stored>(
    held: &Held<'a, L, R>,
    head: Offset,
    query: &Query,
    now: Timestamp,
) -> Resolution<&'a L, &'a R> {
    let mut offset = match query.from {
        ReadFrom::At(offset) => offset,
        ReadFrom::WriteHead => head,
    };
    let mut gap: Option<Gap> = None;
    loop {
        let found =
            longest_overlap(held.local, held.remote, offset).or_else(|| doubted_over(held.doubted, offset));
        if found.is_none()
            && let Some(target) = jump(held, offset, now)
        {
            let begin = gap.map_or(offset, |gap| gap.begin);
            gap = Some(Gap { begin, end: target });
            // Where it leads to, another may answer.
            offset = target;
            continue;
        }
        match found {
            Some(Found::Remote(fragment)) if fragment.mod_time() < query.begin_mod_time => {
                offset = fragment.end();
            }
            found => return Resolution { offset, found, gap },
        }
    }
}

/// The span over the offset that reaches furthest, of those that lie here if any does: only their content is known to be what it should.
fn longest_overlap<'a, L: Span, R: Span>(
    local: &'a CoverSet<L>,
    remote: &'a CoverSet<R>,
    offset: Offset,
) -> Option<Found<&'a L, &'a R>> {
    if let Ok(index) = local.longest_overlap(offset) {
        return Some(Found::Local(&local.as_slice()[index]));
    }
    remote.longest_overlap(offset).ok().map(|index| Found::Remote(&remote.as_slice()[index]))
}

/// The doubted fragment over the offset that reaches furthest.
fn doubted_over<L, R: Stored>(doubted: &[R], offset: Offset) -> Option<Found<&L, &R>> {
    doubted.iter().filter(|span| span.contains(offset)).max_by_key(|span| span.end()).map(Found::Remote)
}

/// The begin of the stored fragment that a read over a hole is moved to, if it may be.
fn jump<L: Span, R: Stored>(held: &Held<'_, L, R>, offset: Offset, now: Timestamp) -> Option<Offset> {
    let (local, remote, doubted) = (held.local, held.remote, held.doubted);
    let sound = remote.as_slice().get(remote.after(offset));
    let next =
        doubted.iter().filter(|span| span.begin() > offset).chain(sound).min_by_key(|span| span.begin())?;
    if let Some(nearer) = local.as_slice().get(local.after(offset)) {
        let before = nearer.begin() < next.begin();
        let over = nearer.begin() == next.begin() && nearer.end() >= next.end();
        if before || over {
            return None;
        }
    }
    let is_first = begin_of(local, remote).is_none_or(|begin| begin > offset)
        && doubted.iter().all(|span| span.begin() > offset);
    let is_old = next.mod_time() < now.minus(HOLE_AGE).secs();
    (is_first || is_old).then(|| next.begin())
}
