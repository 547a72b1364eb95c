//! Pure: where messages begin and end in the content of a journal.
//!
//! [`Frames`] is given content in pieces, as it is read, and finds frames in it. A frame that lies in one piece is a slice of it; only one
//! that goes on in the next piece is copied. What is no frame is skipped as far as it has to be, and told.
//!
//! It does not know what messages say.

pub mod csv;
pub mod fixed;
pub mod lines;
mod partial;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use courant_proto::spec::CONTENT_TYPE;
use courant_proto::{LabelSet, Offset};

/// The longest frame that is taken by default: 64 MiB. Gazette has no limit but memory.
pub const MAX_FRAME: usize = 64 << 20;

/// How the messages of a journal are framed. Its `content-type` label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// A line each, of JSON: `application/x-ndjson`.
    Lines,
    /// A magic word, a length, and so many bytes of protobuf: `application/x-protobuf-fixed`.
    Fixed,
    /// Rows of RFC 4180, the first field of which is a UUID: `text/csv`.
    Csv,
}

impl Framing {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Lines, Self::Fixed, Self::Csv];

    /// The content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Fixed => "application/x-protobuf-fixed",
            Self::Csv => "text/csv",
        }
    }

    /// The framing of a content type.
    ///
    /// # Errors
    /// When content of the type has no frames, or none that are known: recovery logs, for one.
    pub fn of_content_type(content_type: &str) -> Result<Self, UnknownContentType> {
        let found = Self::ALL.into_iter().find(|framing| framing.content_type() == content_type);
        found.ok_or_else(|| UnknownContentType(content_type.to_owned()))
    }

    /// The framing of a journal, by its labels.
    ///
    /// # Errors
    /// When it has no content type, or one that is not known.
    pub fn of_labels(labels: &LabelSet) -> Result<Self, UnknownContentType> {
        Self::of_content_type(labels.values_of(CONTENT_TYPE).next().unwrap_or_default())
    }
}

/// A content type without a framing, with Gazette's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized {CONTENT_TYPE} ({0})")]
pub struct UnknownContentType(pub String);

/// One framed message, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it begins in the journal, with what frames it.
    pub begin: Offset,
    /// Where it ends: the offset of what follows.
    pub end: Offset,
    /// What is framed: a line without its newline, the bytes after a header, a row without its line's end.
    pub payload: Bytes,
}

/// Content that is no message, and was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where it begins in the journal.
    pub begin: Offset,
    /// How many bytes it is.
    pub length: u64,
    /// What was wrong with it.
    pub why: Why,
}

/// Why content was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No frame begins where one should. Gazette calls it de-synchronization.
    Desynchronized,
    /// It is longer than what is taken at most, in bytes.
    TooLong {
        /// The most.
        limit: usize,
    },
    /// Content ends within the message. Gazette calls it an unexpected EOF.
    Truncated,
    /// The reader was moved on to a later offset within the message.
    CutOff,
    /// A row of CSV has a quote within a field that is not quoted.
    BareQuote,
    /// A row of CSV has more after a field's closing quote.
    ExtraneousQuote,
    /// A row of CSV has another number of fields than the first one.
    FieldCount {
        /// That of the first row.
        expected: usize,
        /// That of this one.
        found: usize,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Desynchronized => f.write_str("no frame begins here (expected a magic word)"),
            Self::TooLong { limit } => write!(f, "the message is too long (expected at most {limit} bytes)"),
            Self::Truncated => f.write_str("the content ends within a message"),
            Self::CutOff => f.write_str("what follows of the message is missing from the journal"),
            Self::BareQuote => f.write_str("a bare quote in a field (expected the whole field in quotes)"),
            Self::ExtraneousQuote => f.write_str("more after a closing quote (expected `,` or a line's end)"),
            Self::FieldCount { expected, found } => {
                write!(f, "{found} fields (expected {expected}, as in the first row)")
            }
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped {} bytes at offset {}: {}", self.length, self.begin, self.why)
    }
}

/// What was found in content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A message.
    Frame(Frame),
    /// What is none.
    Skipped(Skipped),
}

/// Finds frames in the content of a journal, which is given to it in pieces.
///
/// What is found does not depend on how content is cut into pieces. It holds at most one unfinished frame, of at most the length it was
/// made with.
///
/// ```
/// use bytes::Bytes;
/// use courant_message::{Frames, Framing, Item};
/// use courant_proto::Offset;
///
/// let mut frames = Frames::new(Framing::Lines, Offset::ZERO, 1024);
/// let mut found = Vec::new();
/// for piece in ["{\"n\":1}\n{\"n\"", ":2}\n"] {
///     let mut piece = Bytes::from(piece);
///     while let Some(item) = frames.next(&mut piece) {
///         let Item::Frame(frame) = item else { panic!("damaged: {item:?}") };
///         found.push(frame.payload);
///     }
/// }
/// assert_eq!(found, ["{\"n\":1}", "{\"n\":2}"]);
/// assert_eq!(frames.end(), None);
/// ```
#[derive(Debug)]
pub struct Frames {
    offset: Offset,
    limit: usize,
    scanner: Scanner,
}

#[derive(Debug)]
enum Scanner {
    Lines(lines::Lines),
    Fixed(fixed::Fixed),
    Csv(csv::Rows),
}

/// What a scanner found: a payload or what was wrong, and how many bytes of the journal that takes.
#[derive(Debug)]
struct Found {
    length: u64,
    payload: Result<Bytes, Why>,
}

impl Frames {
    /// Frames of content that is read from an offset on. A payload of more than `limit` bytes is skipped.
    pub fn new(framing: Framing, offset: Offset, limit: usize) -> Self {
        let scanner = match framing {
            Framing::Lines => Scanner::Lines(lines::Lines::new(limit)),
            Framing::Fixed => Scanner::Fixed(fixed::Fixed::new(limit)),
            Framing::Csv => Scanner::Csv(csv::Rows::new(limit)),
        };
        Self { offset, limit, scanner }
    }

    /// Takes the next frame, or what has to be skipped, off the front of a piece. None once all of it was taken: then the next piece is
    /// due, which must be what follows in the journal.
    pub fn next(&mut self, piece: &mut Bytes) -> Option<Item> {
        loop {
            let found = match &mut self.scanner {
                Scanner::Lines(scanner) => scanner.next(piece),
                Scanner::Fixed(scanner) => scanner.next(piece),
                Scanner::Csv(scanner) => scanner.next(piece),
            }?;
            let item = self.place(found);
            if item.is_some() {
                return item;
            }
        }
    }

    /// Ends the content here: a range was read whole, or the journal will have no more. Tells the unfinished frame at the end, or the last
    /// row if only its newline is missing. None if the content ends between frames.
    pub fn end(&mut self) -> Option<Item> {
        let found = match &mut self.scanner {
            Scanner::Lines(scanner) => scanner.end(),
            Scanner::Fixed(scanner) => scanner.end(),
            Scanner::Csv(scanner) => scanner.end(),
        }?;
        self.place(found)
    }

    /// Goes on at another offset, as when what lay between was removed from the journal. Tells what had been read of an unfinished frame.
    pub fn jump(&mut self, to: Offset) -> Option<Skipped> {
        let held = match &mut self.scanner {
            Scanner::Lines(scanner) => scanner.reset(),
            Scanner::Fixed(scanner) => scanner.reset(),
            Scanner::Csv(scanner) => scanner.reset(),
        };
        let begin = std::mem::replace(&mut self.offset, to);
        (held > 0).then_some(Skipped { begin, length: held, why: Why::CutOff })
    }

    /// The offset of the first byte that was in no item yet: where to read on from after a restart.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Gives a place in the journal to what was found. None for what is neither a frame nor damage, which are empty lines between rows.
    fn place(&mut self, found: Found) -> Option<Item> {
        let begin = self.offset;
        let end = begin.plus(found.length).unwrap_or(Offset::MAX);
        self.offset = end;
        match found.payload {
            Ok(payload) if payload.is_empty() && matches!(self.scanner, Scanner::Csv(_)) => None,
            Ok(payload) if payload.len() > self.limit => {
                let why = Why::TooLong { limit: self.limit };
                Some(Item::Skipped(Skipped { begin, length: found.length, why }))
            }
            Ok(payload) => Some(Item::Frame(Frame { begin, end, payload })),
            Err(why) => Some(Item::Skipped(Skipped { begin, length: found.length, why })),
        }
    }
}
