//! Pure: rows of RFC 4180, read and written as Gazette's clients do.
//!
//! The first row fixes how many fields there are; empty lines are no rows. A row that is damaged ends where its line does, and the next line
//! is read as a row.

use std::borrow::Cow;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::partial::Partial;
use super::{Found, Why};
use crate::uuid::{InvalidUuid, Uuid};

/// Appends a row. Fields are quoted where they have to be.
///
/// A `\r\n` within a field is read as `\n`, here as by Gazette.
pub fn append<F: AsRef<[u8]>>(fields: impl IntoIterator<Item = F>, out: &mut BytesMut) {
    let begin = out.len();
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        append_field(field.as_ref(), out);
    }
    if out.len() == begin {
        // One empty field; an empty line would be none.
        out.put_slice(b"\"\"");
    }
    out.put_u8(b'\n');
}

fn append_field(field: &[u8], out: &mut BytesMut) {
    if !needs_quotes(field) {
        out.put_slice(field);
        return;
    }
    out.put_u8(b'"');
    let mut rest = field;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        out.put_slice(&rest[..=quote]);
        out.put_u8(b'"');
        rest = &rest[quote + 1..];
    }
    out.put_slice(rest);
    out.put_u8(b'"');
}

fn needs_quotes(field: &[u8]) -> bool {
    let begins_with_space = || {
        let begin = String::from_utf8_lossy(&field[..field.len().min(4)]);
        begin.chars().next().is_some_and(char::is_whitespace)
    };
    // Some databases read `\.` as the end of the data.
    field == br"\." || field.iter().any(|byte| b",\"\r\n".contains(byte)) || begins_with_space()
}

/// The fields of a row that [`Frames`](super::Frames) found.
pub fn fields(row: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let mut rest = Some(row);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(quoted) = text.strip_prefix(b"\"") else {
            let end = memchr::memchr(b',', text);
            rest = end.map(|end| &text[end + 1..]);
            return Some(Cow::Borrowed(&text[..end.unwrap_or(text.len())]));
        };
        let mut at = 0;
        while let Some(quote) = memchr::memchr(b'"', &quoted[at..]) {
            at += quote + 1;
            if quoted.get(at) != Some(&b'"') {
                break;
            }
            at += 1;
        }
        rest = quoted[at..].strip_prefix(b",");
        Some(unquote(quoted[..at].strip_suffix(b"\"").unwrap_or(quoted)))
    })
}

/// What stands within quotes.
fn unquote(quoted: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'"', b'\r', quoted).is_none() {
        return Cow::Borrowed(quoted);
    }
    let mut field = Vec::with_capacity(quoted.len());
    let mut rest = quoted.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        let follows = rest.peek().copied();
        if byte == b'\r' && follows == Some(b'\n') {
            continue;
        }
        if byte == b'"' && follows == Some(b'"') {
            rest.next();
        }
        field.push(byte);
    }
    Cow::Owned(field)
}

/// The UUID of a row: its first field.
///
/// # Errors
/// When that is none.
pub fn uuid(row: &[u8]) -> Result<Uuid, InvalidUuid> {
    Uuid::parse(&fields(row).next().unwrap_or_default())
}

#[derive(Debug)]
pub(super) struct Rows {
    limit: usize,
    /// Of the first row; zero until there was one.
    expected: usize,
    state: State,
    /// Fields of this row that are complete.
    fields: usize,
    held: Partial,
    /// Bytes that were dropped of a row that is too long.
    dropped: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// At the begin of a field.
    Field,
    Unquoted,
    Quoted,
    /// Behind a quote within a quoted field: it may end there.
    Quote,
    /// Behind that, a carriage return that a newline has to follow.
    Return,
    /// Within the rest of a line that is damaged.
    Bad(Why),
}

impl Rows {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, expected: 0, state: State::Field, fields: 0, held: Partial::default(), dropped: 0 }
    }

    pub(super) fn next(&mut self, piece: &mut Bytes) -> Option<Found> {
        if self.dropped == 0 {
            // The longest row there may be, a carriage return and a newline.
            let room = self.limit.saturating_add(2) - self.held.len();
            let window = room.min(piece.len());
            if let Some(end) = self.scan(&piece[..window]) {
                let row = self.held.complete(piece, end);
                piece.advance(1);
                let length = row.len() as u64 + 1;
                return Some(Found { length, payload: self.finish(row) });
            }
            if window < room {
                self.held.hold(piece);
                return None;
            }
            piece.advance(window);
            self.dropped = self.held.clear() + window as u64;
            // A quote that is never closed must not take what follows with it: the next line is a row.
            self.state = State::Bad(Why::TooLong { limit: self.limit });
        }
        let end = memchr::memchr(b'\n', piece);
        let taken = end.map_or(piece.len(), |end| end + 1);
        piece.advance(taken);
        self.dropped += taken as u64;
        end?;
        Some(Found { length: std::mem::take(&mut self.dropped), payload: self.finish(Bytes::new()) })
    }

    /// The position of the newline that ends the row.
    fn scan(&mut self, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < piece.len() {
            let rest = &piece[at..];
            // How many bytes change nothing, up to one that does.
            let (passed, byte) = match self.state {
                State::Field | State::Quote | State::Return => (0, rest[0]),
                State::Unquoted => {
                    let passed = memchr::memchr3(b',', b'"', b'\n', rest)?;
                    (passed, rest[passed])
                }
                State::Quoted => {
                    let passed = memchr::memchr(b'"', rest)?;
                    (passed, rest[passed])
                }
                State::Bad(_) => {
                    let passed = memchr::memchr(b'\n', rest)?;
                    (passed, rest[passed])
                }
            };
            at += passed;
            self.state = match (self.state, byte) {
                (State::Quoted, _) => State::Quote,
                (State::Quote, b'"') => State::Quoted,
                (_, b'\n') => return Some(at),
                (State::Field | State::Unquoted | State::Quote, b',') => {
                    self.fields += 1;
                    State::Field
                }
                (State::Field, b'"') => State::Quoted,
                (State::Unquoted, b'"') => State::Bad(Why::BareQuote),
                (State::Quote, b'\r') => State::Return,
                (State::Quote | State::Return, _) => State::Bad(Why::ExtraneousQuote),
                (State::Field | State::Unquoted, _) => State::Unquoted,
                (State::Bad(why), _) => State::Bad(why),
            };
            at += 1;
        }
        None
    }

    /// Ends a row: tells it without a carriage return at its end, or what is wrong with it.
    fn finish(&mut self, mut row: Bytes) -> Result<Bytes, Why> {
        let found = std::mem::take(&mut self.fields) + 1;
        if row.ends_with(b"\r") {
            row.truncate(row.len() - 1);
        }
        match std::mem::replace(&mut self.state, State::Field) {
            State::Bad(why) => return Err(why),
            _ if row.is_empty() => {}
            _ if self.expected == 0 => self.expected = found,
            _ if self.expected != found => {
                return Err(Why::FieldCount { expected: self.expected, found });
            }
            _ => {}
        }
        Ok(row)
    }

    /// The last row may lack its newline, but not a closing quote.
    pub(super) fn end(&mut self) -> Option<Found> {
        if matches!(self.state, State::Quoted) {
            self.state = State::Bad(Why::Truncated);
        }
        let length = std::mem::take(&mut self.dropped) + self.held.len() as u64;
        let row = self.held.complete(&mut Bytes::new(), 0);
        let payload = self.finish(row);
        (length > 0).then_some(Found { length, payload })
    }

    pub(super) fn reset(&mut self) -> u64 {
        self.state = State::Field;
        self.fields = 0;
        std::mem::take(&mut self.dropped) + self.held.clear()
    }
}
