//! Pure: the last committed bytes of a journal, shared by reference with whoever reads them.

use std::collections::VecDeque;

use bytes::Bytes;
use courant_proto::offset::Offset;

/// Chunks kept at most, whatever their size: each costs its bookkeeping, and may keep a larger buffer alive.
const CHUNKS_MAX: usize = 1024;

/// A run of chunks which ends at an offset, with no hole.
#[derive(Debug, Default)]
pub(super) struct Tail {
    chunks: VecDeque<Bytes>,
    end: Offset,
    /// Sum of the chunks' lengths.
    length: u64,
}

impl Tail {
    /// Adds the content of a commit that ends at `end`, and drops the oldest beyond `length_max` bytes.
    pub(super) fn push(&mut self, end: Offset, content: &[Bytes], length_max: usize) {
        let added: u64 = content.iter().map(|chunk| chunk.len() as u64).sum();
        // Content that did not pass through memory, or another spool: what is kept must adjoin.
        if self.end.plus(added) != Some(end) {
            self.chunks.clear();
            self.length = 0;
        }
        self.end = end;
        self.chunks.extend(content.iter().filter(|chunk| !chunk.is_empty()).cloned());
        self.length += added;
        while self.length > length_max as u64 || self.chunks.len() > CHUNKS_MAX {
            match self.chunks.pop_front() {
                Some(oldest) => self.length -= oldest.len() as u64,
                None => break,
            }
        }
    }

    /// The content from an offset on, up to `to`; none if the offset is not here.
    pub(super) fn from(&self, offset: Offset, to: Offset) -> Option<Vec<Bytes>> {
        let wanted = self.end.distance_from(offset).filter(|wanted| *wanted > 0 && *wanted <= self.length)?;
        if to > self.end {
            // A fragment in a store reaches further, and has all of it.
            return None;
        }
        // Readers are near the end: count chunks from there.
        let (mut count, mut covered) = (0, 0);
        for chunk in self.chunks.iter().rev() {
            if covered >= wanted {
                break;
            }
            count += 1;
            covered += chunk.len() as u64;
        }
        let mut skip = covered - wanted;
        let mut left = to.distance_from(offset)?;
        let mut content = Vec::with_capacity(count);
        for chunk in self.chunks.range(self.chunks.len() - count..) {
            let length = (chunk.len() as u64 - skip).min(left);
            if length == 0 {
                break;
            }
            // Both are within the chunk, whose length is a usize.
            let (begin, end) = (skip as usize, (skip + length) as usize);
            content.push(chunk.slice(begin..end));
            skip = 0;
            left -= length;
        }
        (!content.is_empty()).then_some(content)
    }

    #[cfg(test)]
    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_before_the_fragment_does_is_not_handed_out() {
        let offset = |value| Offset::new(value).expect("an offset");
        let mut tail = Tail::default();
        tail.push(offset(8), &[Bytes::from_static(b"abcd"), Bytes::from_static(b"efgh")], 1024);
        let read = |from, to| tail.from(offset(from), offset(to)).map(|chunks| chunks.concat());
        assert_eq!(read(2, 8), Some(b"cdefgh".to_vec()));
        assert_eq!(read(2, 6), Some(b"cdef".to_vec()));
        assert_eq!(read(2, 9), None, "a stored fragment reaches further, and has all of it");
        assert_eq!(read(8, 8), None);
    }
}
