//! Pure: what was asked of a journal and what came of it, and every byte that anyone has seen of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::payload::Id;

/// An attempt to append a piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Append {
    /// Which piece.
    pub id: Id,
    /// When it was sent, since the test's beginning.
    pub sent: Duration,
    /// When its outcome was known.
    pub settled: Duration,
    /// What came of it.
    pub outcome: Outcome,
    /// Whoever took it may have sent it on more than once: it may be there several times.
    pub repeats: bool,
    /// Who committed it, if the answer tells.
    pub witness: Option<Witness>,
}

/// What an answer tells of who gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Witness {
    /// The revision of the registry on which the request was resolved.
    pub revision: i64,
    /// The journal's primary at that revision.
    pub primary: String,
    /// Who committed.
    pub committer: String,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was acknowledged with this span.
    Done {
        /// Of its first byte.
        begin: i64,
        /// Of the byte after its last.
        end: i64,
    },
    /// It was refused, or never sent: it must not be there.
    Failed,
    /// The answer was lost: it may be there, whole, or not at all, and it may yet come.
    #[default]
    Unknown,
}

/// A history as one line of JSON for each attempt, to be kept with a failed test.
pub fn lines(history: &[Append]) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        writer: u32,
        sequence: u32,
        attempt: u32,
        sent_us: u128,
        settled_us: u128,
        outcome: Outcome,
        witness: Option<&'a Witness>,
    }
    let lines = history.iter().map(|append| {
        let Id { writer, sequence, attempt } = append.id;
        let (sent_us, settled_us) = (append.sent.as_micros(), append.settled.as_micros());
        serde_json::to_string(&Line {
            writer,
            sequence,
            attempt,
            sent_us,
            settled_us,
            outcome: append.outcome,
            witness: append.witness.as_ref(),
        })
    });
    lines.flatten().collect::<Vec<_>>().join("\n")
}

/// Bytes of one journal at their offsets, by whomever and whenever they were seen.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Spans that neither touch nor overlap, by their first offsets.
    spans: BTreeMap<usize, Vec<u8>>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.spans().map(|(begin, bytes)| begin..begin + bytes.len())).finish()
    }
}

impl Seen {
    /// Takes note of bytes at an offset.
    ///
    /// # Errors
    /// The first offset at which other bytes were seen before.
    pub fn add(&mut self, begin: usize, bytes: &[u8]) -> Result<(), usize> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = begin + bytes.len();
        // All spans that touch the new one, the last first.
        let touched: Vec<usize> = self
            .spans
            .range(..=end)
            .rev()
            .take_while(|(at, span)| **at + span.len() >= begin)
            .map(|(at, _)| *at)
            .collect();
        let from = touched.last().map_or(begin, |first| begin.min(*first));
        if let [only] = touched[..]
            && only <= begin
            && let Some(span) = self.spans.get_mut(&only)
        {
            // What grows at its end is not copied each time.
            let overlap = (only + span.len()).min(end) - begin;
            differs(&span[begin - only..][..overlap], &bytes[..overlap])
                .map_or(Ok(()), |at| Err(begin + at))?;
            span.extend_from_slice(&bytes[overlap..]);
            return Ok(());
        }
        let mut union = Vec::new();
        for at in touched.iter().rev() {
            let span = self.spans.get(at).map_or(&[][..], Vec::as_slice);
            let (low, high) = (begin.max(*at), end.min(at + span.len()));
            if low < high {
                let (old, new) = (&span[low - at..high - at], &bytes[low - begin..high - begin]);
                differs(old, new).map_or(Ok(()), |at| Err(low + at))?;
            }
        }
        for at in touched.iter().rev() {
            let span = self.spans.remove(at).unwrap_or_default();
            union.resize(union.len().max(at + span.len() - from), 0);
            union[at - from..][..span.len()].copy_from_slice(&span);
        }
        union.resize(union.len().max(end - from), 0);
        union[begin - from..][..bytes.len()].copy_from_slice(bytes);
        self.spans.insert(from, union);
        Ok(())
    }

    /// The spans, in order.
    pub fn spans(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.spans.iter().map(|(begin, bytes)| (*begin, bytes.as_slice()))
    }

    /// Of the byte after the last that was seen.
    pub fn end(&self) -> usize {
        self.spans.last_key_value().map_or(0, |(begin, bytes)| begin + bytes.len())
    }
}

/// Where two slices of the same length differ first.
pub(crate) fn differs(a: &[u8], b: &[u8]) -> Option<usize> {
    if a == b { None } else { a.iter().zip(b).position(|(a, b)| a != b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_bytes_at_a_seen_offset_are_noticed() {
        let mut seen = Seen::default();
        assert_eq!(seen.add(10, b"klmno"), Ok(()));
        assert_eq!(seen.add(12, b"mnop"), Ok(()));
        assert_eq!(seen.add(0, b"abc"), Ok(()));
        assert_eq!(seen.spans().collect::<Vec<_>>(), [(0, &b"abc"[..]), (10, b"klmnop")]);
        assert_eq!(seen.add(14, b"oPq"), Err(15));
        assert_eq!(seen.add(2, b"cdefghijK"), Err(10));
        assert_eq!(seen.add(3, b"defghij"), Ok(()));
        assert_eq!(seen.spans().collect::<Vec<_>>(), [(0, &b"abcdefghijklmnop"[..])]);
    }

    proptest! {
        /// Held against a picture with one entry for each byte.
        #[test]
        fn spans_are_those_of_the_bytes(adds in prop::collection::vec((0..40_usize, 0..12_usize, 0..20_u8), 0..20)) {
            let mut seen = Seen::default();
            let mut picture = [None; 64];
            for (begin, length, twist) in adds {
                // Mostly the journal's own bytes, sometimes others.
                let bytes: Vec<u8> = (begin..begin + length).map(|at| u8::from(twist == 0 && at % 7 == 0)).collect();
                let conflict = (begin..).zip(&bytes).find(|(at, byte)| picture[*at].is_some_and(|old| old != **byte));
                prop_assert_eq!(seen.add(begin, &bytes), conflict.map_or(Ok(()), |(at, _)| Err(at)));
                if conflict.is_none() {
                    (begin..).zip(&bytes).for_each(|(at, byte)| picture[at] = Some(*byte));
                }
            }
            let mut spans = Vec::<(usize, Vec<u8>)>::new();
            for (at, byte) in picture.iter().enumerate().filter_map(|(at, byte)| Some((at, (*byte)?))) {
                match spans.last_mut() {
                    Some((begin, bytes)) if *begin + bytes.len() == at => bytes.push(byte),
                    _ => spans.push((at, vec![byte])),
                }
            }
            prop_assert_eq!(seen.spans().map(|(at, bytes)| (at, bytes.to_vec())).collect::<Vec<_>>(), spans);
        }
    }
}
