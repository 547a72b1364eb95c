//! Pure: which spans of a journal there are, and which of them covers an offset best.
//!
//! A [`CoverSet`] holds spans none of which lies wholly inside another one. So both their begins and
//! their ends ascend strictly, and every question is a binary search. Spans may overlap and may leave holes.
//! The set knows nothing of what a span is: stored fragment, local content, or a pair of numbers in a test.

#[cfg(test)]
mod tests;

use courant_proto::offset::Offset;

/// Something that takes up the offsets from its begin, inclusive, to its end, exclusive.
pub trait Span {
    /// First offset, inclusive.
    fn begin(&self) -> Offset;
    /// Last offset, exclusive; a span with `end <= begin` is empty.
    fn end(&self) -> Offset;

    /// Whether the offset lies in the span.
    fn contains(&self, offset: Offset) -> bool {
        self.begin() <= offset && offset < self.end()
    }
}

impl<T: Span + ?Sized> Span for &T {
    fn begin(&self) -> Offset {
        (**self).begin()
    }

    fn end(&self) -> Offset {
        (**self).end()
    }
}

impl<T: Span + ?Sized> Span for std::sync::Arc<T> {
    fn begin(&self) -> Offset {
        (**self).begin()
    }

    fn end(&self) -> Offset {
        (**self).end()
    }
}

/// A set of at most so many spans has no room for more: most journals rest with one or two, and a vector would begin
/// with room for four.
const FEW: usize = 4;

/// Spans in order, none inside another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoverSet<T> {
    /// Begins and ends both ascend strictly.
    spans: Vec<T>,
}

impl<T> Default for CoverSet<T> {
    fn default() -> Self {
        Self { spans: Vec::new() }
    }
}

impl<T: Span> CoverSet<T> {
    /// An empty set, which owns no memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The spans, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.spans
    }

    /// How many spans there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The span with the smallest begin.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.spans.first()
    }

    /// The span with the greatest end.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.spans.last()
    }

    /// Adds a span, and says whether the set holds it now.
    ///
    /// An empty span and one inside a larger one are left out. One of equal extent takes the place of the one
    /// that was there. Whatever lies inside the new span goes, all of it: a growing spool leaves nothing of
    /// its former extents behind.
    pub fn add(&mut self, span: T) -> bool {
        let (begin, end) = (span.begin(), span.end());
        if end <= begin {
            return false;
        }
        // What grows is at the end: the newest spool, and a listing in order.
        let at = match self.spans.last() {
            Some(last) if begin <= last.begin() => self.spans.partition_point(|other| other.begin() < begin),
            _ => self.spans.len(),
        };
        // Ends ascend, so of those that begin before only the nearest can reach furthest.
        let inside_former = at.checked_sub(1).is_some_and(|former| self.spans[former].end() >= end);
        let inside_next = self.spans.get(at).is_some_and(|next| next.begin() == begin && next.end() > end);
        if inside_former || inside_next {
            return false;
        }
        let covered = self.spans[at..].partition_point(|other| other.end() <= end);
        if covered == 0 && self.spans.len() == self.spans.capacity() && self.spans.len() < FEW {
            self.spans.reserve_exact(1);
        }
        if covered == 1 {
            self.spans[at] = span;
        } else {
            self.spans.splice(at..at + covered, std::iter::once(span));
        }
        true
    }

    /// Changes what a span carries, the first that `is` finds, and says whether there was one.
    ///
    /// # Panics
    /// If the change moves its begin or end, which would break the order that everything here rests on.
    pub fn amend(&mut self, is: impl Fn(&T) -> bool, change: impl FnOnce(&mut T)) -> bool {
        let Some(span) = self.spans.iter_mut().find(|span| is(span)) else { return false };
        let extent = (span.begin(), span.end());
        change(span);
        assert!((span.begin(), span.end()) == extent, "a span in a cover set stays where it is");
        true
    }

    /// Keeps only the spans of which `keep` says so.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.spans.retain(keep);
    }

    /// Drops spare capacity, where it is worth the copy.
    pub fn shrink(&mut self) {
        if self.spans.capacity() > self.spans.len().saturating_mul(2) {
            self.spans.shrink_to_fit();
        }
    }

    /// Index of the first span with a begin above the offset; the number of spans if there is none.
    #[must_use]
    pub fn after(&self, offset: Offset) -> usize {
        self.spans.partition_point(|span| span.begin() <= offset)
    }

    /// The span over the offset which reaches furthest.
    ///
    /// # Errors
    /// None covers it: the index of the next one after it, which may be the number of spans.
    pub fn longest_overlap(&self, offset: Offset) -> Result<usize, usize> {
        let after = self.after(offset);
        match after.checked_sub(1) {
            Some(nearest) if self.spans[nearest].contains(offset) => Ok(nearest),
            _ => Err(after),
        }
    }

    /// Whether spans of this set, each touching or overlapping the next, cover all of `span`. A hole of one
    /// byte breaks the chain.
    #[must_use]
    pub fn covers(&self, span: &impl Span) -> bool {
        let mut reached = span.begin();
        while reached < span.end() {
            match self.longest_overlap(reached) {
                Ok(index) => reached = self.spans[index].end(),
                Err(_) => return false,
            }
        }
        true
    }
}

impl<T: Span> FromIterator<T> for CoverSet<T> {
    /// Adds all spans. Of two of equal extent the later one stays, whatever the order of the others.
    fn from_iter<I: IntoIterator<Item = T>>(spans: I) -> Self {
        let mut sorted: Vec<T> = spans.into_iter().collect();
        // The sort is stable, and in this order each span goes to the end of the set.
        sorted.sort_by_key(|span| (span.begin(), span.end()));
        let mut set = Self::new();
        for span in sorted {
            set.add(span);
        }
        set
    }
}
