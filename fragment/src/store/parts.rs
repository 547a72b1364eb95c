//! Pieces as they were encoded, cut into parts as they are uploaded: all of the same length but the last, as there are
//! stores that insist.

use std::collections::VecDeque;

use bytes::Bytes;
use object_store::PutPayload;

/// What is encoded, and in no part yet.
#[derive(Debug)]
pub(super) struct Parts {
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl Parts {
    pub(super) fn new(first: Bytes) -> Self {
        Self { length: first.len(), pieces: VecDeque::from([first]) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes that are missing for a part.
    pub(super) fn lacks(&self, size: usize) -> usize {
        size.saturating_sub(self.length)
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        self.pieces.push_back(piece);
    }

    /// The next part: so many bytes, or all there are. Nothing is copied.
    pub(super) fn cut(&mut self, size: usize) -> PutPayload {
        let mut part = Vec::new();
        let mut wanted = size.min(self.length);
        self.length -= wanted;
        while wanted > 0
            && let Some(mut piece) = self.pieces.pop_front()
        {
            if piece.len() > wanted {
                self.pieces.push_front(piece.split_off(wanted));
            }
            wanted -= piece.len();
            part.push(piece);
        }
        part.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_same_length() {
        let mut parts = Parts::new(Bytes::from_static(b"abcde"));
        assert_eq!((parts.lacks(4), Bytes::from(parts.cut(4))), (0, Bytes::from_static(b"abcd")));
        assert_eq!(parts.lacks(4), 3);
        parts.push(Bytes::from_static(b"fgh"));
        parts.push(Bytes::new());
        parts.push(Bytes::from_static(b"ij"));
        let cut = |parts: &mut Parts| Bytes::from(parts.cut(4));
        assert_eq!(cut(&mut parts), "efgh");
        assert!(!parts.is_empty());
        assert_eq!(cut(&mut parts), "ij");
        assert!(parts.is_empty());
        assert_eq!(cut(&mut parts), "");
    }
}
