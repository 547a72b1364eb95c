//! Pure: frames of a magic word, a length, and so many bytes.
//!
//! Where no magic word is, everything up to the next one is skipped. So is what a length announces that is more than what is taken: such a
//! length is damaged more likely than meant, and going by it would skip the messages after it.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::partial::Partial;
use super::{Found, Why};

/// What each frame begins with.
pub const MAGIC: [u8; 4] = [0x66, 0x33, 0x93, 0x36];
/// Length of a header: the magic word, and the payload's length as 4 bytes, little-endian.
pub const HEADER_LENGTH: usize = 8;

/// Appends a frame.
///
/// # Errors
/// When the payload has 4 GiB or more, which no header can tell. Then nothing is appended.
pub fn append(payload: &[u8], out: &mut BytesMut) -> Result<(), PayloadTooLong> {
    append_with(out, |out| out.extend_from_slice(payload))
}

/// Appends a frame, the payload of which is written in place.
///
/// # Errors
/// As [`append`].
pub fn append_with(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) -> Result<(), PayloadTooLong> {
    let begin = out.len();
    out.put_slice(&MAGIC);
    out.put_u32_le(0);
    write(out);
    let length = out.len() - begin - HEADER_LENGTH;
    let Ok(announced) = u32::try_from(length) else {
        out.truncate(begin);
        return Err(PayloadTooLong { length });
    };
    out[begin + MAGIC.len()..begin + HEADER_LENGTH].copy_from_slice(&announced.to_le_bytes());
    Ok(())
}

/// A payload that no header can tell the length of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a payload of {length} bytes (expected less than 4 GiB)")]
pub struct PayloadTooLong {
    /// Its length in bytes.
    pub length: usize,
}

#[derive(Debug)]
pub(super) struct Fixed {
    limit: usize,
    state: State,
    held: Partial,
}

#[derive(Debug)]
enum State {
    /// Within a header, of which so many bytes were read.
    Header { read: usize, header: [u8; HEADER_LENGTH] },
    /// Within a payload of this length.
    Payload { length: usize },
    /// Within what is skipped, of which so many bytes were read; the last `matched` of them may begin a magic word.
    Skip { read: u64, matched: usize, why: Why },
}

impl State {
    const START: Self = Self::Header { read: 0, header: [0; HEADER_LENGTH] };
}

impl Fixed {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: State::START, held: Partial::default() }
    }

    pub(super) fn next(&mut self, piece: &mut Bytes) -> Option<Found> {
        loop {
            match &mut self.state {
                State::Header { read, header } => {
                    let taken = piece.len().min(HEADER_LENGTH - *read);
                    piece.copy_to_slice(&mut header[*read..*read + taken]);
                    *read += taken;
                    if *read < HEADER_LENGTH {
                        return None;
                    }
                    let header = *header;
                    if let Some(found) = self.begin(header) {
                        return Some(found);
                    }
                }
                State::Payload { length } => {
                    let missing = *length - self.held.len();
                    if piece.len() < missing {
                        self.held.hold(piece);
                        return None;
                    }
                    let payload = self.held.complete(piece, missing);
                    self.state = State::START;
                    return Some(Found {
                        length: (payload.len() + HEADER_LENGTH) as u64,
                        payload: Ok(payload),
                    });
                }
                State::Skip { read, matched, why } => {
                    let found = find_magic(piece, matched);
                    let taken = found.unwrap_or(piece.len());
                    piece.advance(taken);
                    *read += taken as u64;
                    found?;
                    let (length, why) = (*read - MAGIC.len() as u64, *why);
                    self.state = State::header_of(&MAGIC);
                    return Some(Found { length, payload: Err(why) });
                }
            }
        }
    }

    /// Goes on behind a header. If it is none, looks for the next one within it first.
    fn begin(&mut self, header: [u8; HEADER_LENGTH]) -> Option<Found> {
        let [m0, m1, m2, m3, l0, l1, l2, l3] = header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let why = if [m0, m1, m2, m3] != MAGIC {
            Why::Desynchronized
        } else if length > self.limit {
            Why::TooLong { limit: self.limit }
        } else {
            self.state = State::Payload { length };
            return None;
        };
        let mut matched = 0;
        match find_magic(&header[1..], &mut matched) {
            Some(taken) => {
                let begin = 1 + taken - MAGIC.len();
                self.state = State::header_of(&header[begin..]);
                Some(Found { length: begin as u64, payload: Err(why) })
            }
            None => {
                self.state = State::Skip { read: HEADER_LENGTH as u64, matched, why };
                None
            }
        }
    }

    pub(super) fn end(&mut self) -> Option<Found> {
        if let State::Skip { read, why, .. } = self.state {
            self.state = State::START;
            return Some(Found { length: read, payload: Err(why) });
        }
        // A newline after the last frame is no damage: some tools put one there.
        let is_newline = matches!(self.state, State::Header { read: 1, header: [b'\n', ..] });
        let length = if is_newline { 0 } else { self.reset() };
        (length > 0).then_some(Found { length, payload: Err(Why::Truncated) })
    }

    pub(super) fn reset(&mut self) -> u64 {
        match std::mem::replace(&mut self.state, State::START) {
            State::Header { read, .. } => read as u64,
            State::Payload { .. } => HEADER_LENGTH as u64 + self.held.clear(),
            State::Skip { read, .. } => read,
        }
    }
}

impl State {
    /// Within a header that begins so.
    fn header_of(begin: &[u8]) -> Self {
        let mut header = [0; HEADER_LENGTH];
        header[..begin.len()].copy_from_slice(begin);
        Self::Header { read: begin.len(), header }
    }
}

/// Where the first magic word ends that ends in `content`. The `matched` bytes before it begin one. All of its bytes differ, so that what fails to
/// go on with one can at most begin the next.
fn find_magic(content: &[u8], matched: &mut usize) -> Option<usize> {
    let mut at = 0;
    while at < content.len() {
        if *matched == 0 {
            at += memchr::memchr(MAGIC[0], &content[at..])? + 1;
            *matched = 1;
            continue;
        }
        let byte = content[at];
        at += 1;
        *matched = if byte == MAGIC[*matched] { *matched + 1 } else { usize::from(byte == MAGIC[0]) };
        if *matched == MAGIC.len() {
            *matched = 0;
            return Some(at);
        }
    }
    None
}
