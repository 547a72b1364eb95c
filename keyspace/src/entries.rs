//! Pure: a sorted, persistent map of entries, in which a version that differs by a few keys shares the rest.
//!
//! Entries lie in chunks of at most [`CHUNK_MAX`]. A new version copies one pointer per chunk and rewrites the
//! chunks that changed, so that one change among a million entries costs a few thousand pointers, and a reader
//! scans plain arrays.

use std::sync::Arc;

use crate::entry::Entry;

/// A chunk that would grow past this is split.
const CHUNK_MAX: usize = 512;
/// The size that new and split chunks are given.
const CHUNK_GOAL: usize = 256;

/// Sorted by key, never empty.
type Chunk<V> = Arc<[Arc<Entry<V>>]>;

/// All entries of a snapshot, sorted by key.
#[derive(Debug)]
pub(crate) struct Entries<V> {
    chunks: Arc<[Chunk<V>]>,
    len: usize,
}

impl<V> Clone for Entries<V> {
    fn clone(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks), len: self.len }
    }
}

/// What becomes of one key: its new entry, or none.
pub(crate) type Edit<V> = (Box<[u8]>, Option<Arc<Entry<V>>>);

impl<V> Entries<V> {
    /// From entries that are sorted by key and distinct.
    pub(crate) fn from_sorted(entries: Vec<Arc<Entry<V>>>) -> Self {
        debug_assert!(entries.is_sorted_by(|a, b| a.key < b.key), "entries must come sorted and distinct");
        let len = entries.len();
        let chunks = entries.chunks(CHUNK_GOAL).map(Arc::from).collect();
        Self { chunks, len }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn chunks(&self) -> &[Chunk<V>] {
        &self.chunks
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Arc<Entry<V>>> {
        // The last chunk that begins at or below the key is the only one that can hold it.
        let chunk = self.chunks[..self.chunks.partition_point(|chunk| *chunk[0].key <= *key)].last()?;
        chunk.binary_search_by(|entry| (*entry.key).cmp(key)).ok().map(|at| &chunk[at])
    }

    pub(crate) fn all(&self) -> Run<'_, V> {
        Run { chunks: &self.chunks, skip: 0, len: self.len }
    }

    /// The entries of keys in `[from, to)`; without `to`, of all keys from `from` on.
    pub(crate) fn range(&self, from: &[u8], to: Option<&[u8]>) -> Run<'_, V> {
        let begin = self.position(from);
        let end = to.map_or((self.chunks.len(), 0), |to| self.position(to));
        if begin >= end {
            return Run { chunks: &[], skip: 0, len: 0 };
        }
        let last = if end.1 == 0 { end.0 } else { end.0 + 1 };
        let chunks = &self.chunks[begin.0..last];
        let whole: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        let cut = if end.1 == 0 { 0 } else { self.chunks[end.0].len() - end.1 };
        Run { chunks, skip: begin.1, len: whole - begin.1 - cut }
    }

    /// Chunk and index of the first entry whose key is at or above `key`; `(chunks, 0)` if there is none.
    fn position(&self, key: &[u8]) -> (usize, usize) {
        let at = self.chunks.partition_point(|chunk| *chunk[chunk.len() - 1].key < *key);
        match self.chunks.get(at) {
            Some(chunk) => (at, chunk.partition_point(|entry| *entry.key < *key)),
            None => (at, 0),
        }
    }

    /// The next version: `edits` are sorted by key and distinct.
    pub(crate) fn edited(&self, edits: Vec<Edit<V>>) -> Self {
        debug_assert!(edits.is_sorted_by(|a, b| a.0 < b.0), "edits must come sorted and distinct");
        if edits.is_empty() {
            return self.clone();
        }
        if self.chunks.is_empty() {
            return Self::from_sorted(edits.into_iter().filter_map(|(_, entry)| entry).collect());
        }
        let mut next = Vec::with_capacity(self.chunks.len() + 1);
        let mut edits = edits.into_iter().peekable();
        for (at, chunk) in self.chunks.iter().enumerate() {
            let bound = self.chunks.get(at + 1).map(|following| &*following[0].key);
            let mine = |edit: &Edit<V>| bound.is_none_or(|bound| *edit.0 < *bound);
            if edits.peek().is_none_or(|edit| !mine(edit)) {
                next.push(Arc::clone(chunk));
                continue;
            }
            let mut merged = Vec::with_capacity(chunk.len() + 1);
            let mut old = chunk.iter().peekable();
            while let Some((key, entry)) = edits.next_if(mine) {
                while let Some(kept) = old.next_if(|kept| *kept.key < *key) {
                    merged.push(Arc::clone(kept));
                }
                old.next_if(|replaced| *replaced.key == *key);
                merged.extend(entry);
            }
            merged.extend(old.cloned());
            push_chunks(&mut next, merged);
        }
        let len = next.iter().map(|chunk| chunk.len()).sum();
        Self { chunks: next.into(), len }
    }
}

/// Adds a rewritten chunk: split if it grew too long, joined to its neighbour if both are short.
fn push_chunks<V>(next: &mut Vec<Chunk<V>>, mut merged: Vec<Arc<Entry<V>>>) {
    if let Some(previous) = next.last()
        && previous.len() + merged.len() <= CHUNK_GOAL
    {
        merged.splice(0..0, previous.iter().cloned());
        next.pop();
    }
    if merged.len() > CHUNK_MAX {
        next.extend(merged.chunks(CHUNK_GOAL).map(Arc::from));
    } else if !merged.is_empty() {
        next.push(merged.into());
    }
}

/// Entries with neighbouring keys, in key order: what a prefix or a range of a snapshot holds.
#[derive(Debug)]
pub struct Run<'a, V> {
    /// The chunks it touches.
    chunks: &'a [Chunk<V>],
    /// Entries of the first chunk that lie before it.
    skip: usize,
    len: usize,
}

impl<V> Clone for Run<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Run<'_, V> {}

impl<'a, V> Run<'a, V> {
    /// How many entries it holds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry with the lowest key.
    #[must_use]
    pub fn first(&self) -> Option<&'a Arc<Entry<V>>> {
        self.iter().next()
    }

    /// The entry with the highest key.
    #[must_use]
    pub fn last(&self) -> Option<&'a Arc<Entry<V>>> {
        self.iter().next_back()
    }

    /// The entries by ascending key; `.rev()` gives them by descending key.
    #[must_use]
    pub fn iter(&self) -> Iter<'a, V> {
        let mut end = (self.chunks.len(), 0);
        if self.len > 0 {
            let last = self.chunks.len() - 1;
            let before: usize = self.chunks[..last].iter().map(|chunk| chunk.len()).sum();
            end = (last, self.skip + self.len - before);
        }
        Iter { chunks: self.chunks, front: (0, self.skip), back: end, left: self.len }
    }
}

impl<'a, V> IntoIterator for Run<'a, V> {
    type Item = &'a Arc<Entry<V>>;
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Iter<'a, V> {
        self.iter()
    }
}

/// The entries of a [`Run`], from both ends.
#[derive(Debug)]
pub struct Iter<'a, V> {
    chunks: &'a [Chunk<V>],
    /// Chunk and index of the next entry.
    front: (usize, usize),
    /// Chunk and index past the last entry.
    back: (usize, usize),
    left: usize,
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = &'a Arc<Entry<V>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (chunk, at) = self.front;
        let entry = &self.chunks[chunk][at];
        self.front = if at + 1 < self.chunks[chunk].len() { (chunk, at + 1) } else { (chunk + 1, 0) };
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<V> DoubleEndedIterator for Iter<'_, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if self.back.1 == 0 {
            self.back.0 -= 1;
            self.back.1 = self.chunks[self.back.0].len();
        }
        self.back.1 -= 1;
        Some(&self.chunks[self.back.0][self.back.1])
    }
}

impl<V> ExactSizeIterator for Iter<'_, V> {}

/// The first key above all keys that begin with `prefix`; `None` if there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end)
}

#[cfg(test)]
mod tests;
