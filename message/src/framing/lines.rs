//! Pure: lines, each with a newline at its end. It does not look at what is in them.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::partial::Partial;
use super::{Found, Why};

/// Appends a line. It must have no newline in it, or it is read as two.
pub fn append(line: &[u8], out: &mut BytesMut) {
    out.reserve(line.len() + 1);
    out.extend_from_slice(line);
    out.put_u8(b'\n');
}

#[derive(Debug)]
pub(super) struct Lines {
    limit: usize,
    held: Partial,
    /// Bytes that were dropped of a line that is too long.
    dropped: u64,
}

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, held: Partial::default(), dropped: 0 }
    }

    pub(super) fn next(&mut self, piece: &mut Bytes) -> Option<Found> {
        let Some(end) = memchr::memchr(b'\n', piece) else {
            self.hold(piece);
            return None;
        };
        if self.dropped > 0 {
            piece.advance(end + 1);
            let length = std::mem::take(&mut self.dropped) + end as u64 + 1;
            return Some(Found { length, payload: Err(Why::TooLong { limit: self.limit }) });
        }
        let payload = self.held.complete(piece, end);
        piece.advance(1);
        Some(Found { length: payload.len() as u64 + 1, payload: Ok(payload) })
    }

    fn hold(&mut self, piece: &mut Bytes) {
        if self.dropped > 0 || self.held.len() + piece.len() > self.limit {
            self.dropped += self.held.clear() + piece.len() as u64;
            piece.clear();
        } else {
            self.held.hold(piece);
        }
    }

    pub(super) fn end(&mut self) -> Option<Found> {
        match (std::mem::take(&mut self.dropped), self.held.clear()) {
            (0, 0) => None,
            (0, length) => Some(Found { length, payload: Err(Why::Truncated) }),
            (length, _) => Some(Found { length, payload: Err(Why::TooLong { limit: self.limit }) }),
        }
    }

    pub(super) fn reset(&mut self) -> u64 {
        std::mem::take(&mut self.dropped) + self.held.clear()
    }
}
