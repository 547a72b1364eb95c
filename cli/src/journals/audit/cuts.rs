//! Pure: digests of the pieces that cuts make of a span, so that spans which overlap can be compared although they begin and end at
//! different places. It holds no content, and does not know where it comes from.

use courant_fragment::spool::digest::Digest;
use courant_proto::fragment::ContentSum;

/// A piece of a journal, and the SHA-1 of what somebody has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) begin: i64,
    pub(super) end: i64,
    pub(super) sum: ContentSum,
}

/// What was read of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Of the whole span.
    pub(super) sum: Option<ContentSum>,
    /// Of each of its pieces.
    pub(super) pieces: Vec<Piece>,
}

/// Takes the content of a span in, and cuts it.
#[derive(Debug)]
pub(super) struct Cutter {
    /// The ends of pieces that are to come, ascending; the last is that of the span.
    ends: Vec<i64>,
    next: usize,
    whole: Digest,
    piece: Digest,
    begin: i64,
    at: i64,
    pieces: Vec<Piece>,
}

impl Cutter {
    /// A cutter of `[begin, end)` at those of the `cuts` that lie within; they ascend.
    pub(super) fn new(begin: i64, end: i64, cuts: &[i64]) -> Self {
        let from = cuts.partition_point(|cut| *cut <= begin);
        let to = cuts.partition_point(|cut| *cut < end).max(from);
        let mut ends = cuts[from..to].to_vec();
        ends.push(end);
        Self {
            ends,
            next: 0,
            whole: Digest::new(),
            piece: Digest::new(),
            begin,
            at: begin,
            pieces: Vec::new(),
        }
    }

    /// The offset of the next byte.
    pub(super) fn at(&self) -> i64 {
        self.at
    }

    /// Takes the next bytes. What lies beyond the span is left out.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.next < self.ends.len() {
            let end = self.ends[self.next];
            let room = usize::try_from(end.saturating_sub(self.at)).unwrap_or(0);
            let (head, rest) = bytes.split_at(bytes.len().min(room));
            self.whole.update(head);
            self.piece.update(head);
            self.at = self.at.saturating_add(i64::try_from(head.len()).unwrap_or(i64::MAX));
            bytes = rest;
            if self.at >= end {
                let sum = std::mem::replace(&mut self.piece, Digest::new()).sum();
                self.pieces.push(Piece { begin: self.begin, end, sum });
                self.begin = end;
                self.next += 1;
            }
        }
    }

    /// What was read; the sum of the whole only if all of it was.
    pub(super) fn finish(self) -> Reading {
        let is_whole = self.next == self.ends.len();
        Reading { sum: is_whole.then(|| self.whole.sum()), pieces: self.pieces }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_of(content: &[u8]) -> ContentSum {
        let mut digest = Digest::new();
        digest.update(content);
        digest.sum()
    }

    #[test]
    fn pieces_do_not_depend_on_how_content_comes() {
        let content: Vec<u8> = (0..100).collect();
        for chunk in [1, 3, 7, 100] {
            let mut cutter = Cutter::new(10, 110, &[0, 10, 11, 60, 110, 200]);
            content.chunks(chunk).for_each(|bytes| cutter.push(bytes));
            cutter.push(b"beyond");
            assert_eq!(cutter.at(), 110);
            let piece = |begin: i64, end: i64| Piece {
                begin,
                end,
                sum: sum_of(&content[begin as usize - 10..end as usize - 10]),
            };
            let pieces = vec![piece(10, 11), piece(11, 60), piece(60, 110)];
            assert_eq!(cutter.finish(), Reading { sum: Some(sum_of(&content)), pieces });
        }
    }

    #[test]
    fn what_breaks_off_has_no_sum() {
        let mut cutter = Cutter::new(0, 10, &[4]);
        cutter.push(b"12345");
        let reading = cutter.finish();
        assert_eq!(reading.sum, None);
        assert_eq!(reading.pieces, [Piece { begin: 0, end: 4, sum: sum_of(b"1234") }]);
    }
}
