//! Pure: what was read of a payload that goes on in the next piece.

use bytes::{Buf as _, Bytes, BytesMut};

/// The beginning of a payload; mostly empty.
#[derive(Debug, Default)]
pub(super) struct Partial(BytesMut);

impl Partial {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Holds all of a piece, since the payload goes on behind it.
    pub(super) fn hold(&mut self, piece: &mut Bytes) {
        self.0.extend_from_slice(piece);
        piece.clear();
    }

    /// Completes the payload with `length` bytes off the front of a piece, and copies nothing if it begins there.
    pub(super) fn complete(&mut self, piece: &mut Bytes, length: usize) -> Bytes {
        if self.0.is_empty() {
            return piece.split_to(length);
        }
        self.0.extend_from_slice(&piece[..length]);
        piece.advance(length);
        // What is held next is another payload's: this one keeps the whole allocation.
        std::mem::take(&mut self.0).freeze()
    }

    /// Forgets it, and tells how much it was.
    pub(super) fn clear(&mut self) -> u64 {
        let length = self.0.len() as u64;
        self.0 = BytesMut::new();
        length
    }
}
