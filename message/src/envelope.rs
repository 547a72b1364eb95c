//! Pure: what a frame says: the message's body, and what is said about it.
//!
//! ```text
//!  a JSON object   {"a":1}   ─►  {"_meta":{"uuid":"…","key":"…"},"a":1}
//!  anything else   hello     ─►  {"_meta":{"uuid":"…","encoding":"text"},"data":"hello"}
//!                  (bytes)   ─►  {"_meta":{"uuid":"…","encoding":"base64"},"data":"…"}
//!  protobuf                  ─►  courant.Message
//! ```
//!
//! In lines of JSON, a body that is a JSON object gets a member `_meta` and comes back equal as JSON: its text stays as it is, but for line
//! breaks between its tokens. Any other body comes back byte for byte, and so does an object that some reader of the line could not read, or
//! would read otherwise (see [`json`]). In protobuf every body comes back byte for byte.
//!
//! Rows of CSV have a UUID and no envelope; see [`crate::framing::csv`].

pub mod json;
pub mod protobuf;

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use courant_proto::Timestamp;

use crate::framing::Framing;
use crate::framing::fixed::PayloadTooLong;
use crate::uuid::Uuid;

/// What is said about a message. Texts are borrowed from the frame wherever they stand in it as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta<'a> {
    /// Who produced it, and where it stands in that producer's order. Nil for a message that was written without.
    pub uuid: Uuid,
    /// Messages of one key are in one partition, in order. Empty for a message that has none.
    pub key: Cow<'a, str>,
    /// When it was published.
    pub time: Option<Timestamp>,
    /// What its publisher said about it, by name.
    pub attributes: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// Words that subscriptions select by.
    pub tags: Vec<Cow<'a, str>>,
    /// Media type of the body. Empty if it is not known.
    pub content_type: Cow<'a, str>,
}

impl Meta<'_> {
    /// That of a message of which nothing but its UUID is said.
    pub fn of(uuid: Uuid) -> Self {
        Self { uuid, ..Self::default() }
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// What is said about it.
    pub meta: Meta<'a>,
    /// What it says.
    pub body: Body<'a>,
}

/// What a message says, in up to two parts: a JSON object lies on both sides of the member that was added to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    head: Cow<'a, [u8]>,
    tail: &'a [u8],
}

impl<'a> Body<'a> {
    fn whole(body: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { head: body.into(), tail: &[] }
    }

    /// The parts, the second of which is mostly empty.
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.head, self.tail]
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts().concat()
    }

    /// The bytes, as a slice of the frame that this was decoded from if they lie in it in one piece, and copied if not.
    pub fn to_bytes(&self, frame: &Bytes) -> Bytes {
        let range = frame.as_ptr_range();
        match &self.head {
            Cow::Borrowed(head) if self.tail.is_empty() && range.contains(&head.as_ptr()) => {
                frame.slice_ref(head)
            }
            _ => Bytes::from(self.to_vec()),
        }
    }
}

/// Appends a framed message.
///
/// # Errors
/// When the framing has no envelope, or cannot hold so much. Then nothing is appended.
pub fn append(framing: Framing, meta: &Meta<'_>, body: &[u8], out: &mut BytesMut) -> Result<(), Unencodable> {
    match framing {
        Framing::Lines => json::append(meta, body, out),
        Framing::Fixed => protobuf::append(meta, body, out)?,
        Framing::Csv => return Err(Unencodable::NoEnvelope(framing)),
    }
    Ok(())
}

/// Reads the message in a frame's payload.
///
/// # Errors
/// When it is damaged, or the framing has no envelope.
pub fn decode(framing: Framing, payload: &[u8]) -> Result<Envelope<'_>, Damaged> {
    match framing {
        Framing::Lines => json::decode(payload),
        Framing::Fixed => protobuf::decode(payload),
        Framing::Csv => Err(Damaged::new(0, "a row of CSV has no envelope")),
    }
}

/// The UUID of the message in a frame's payload; nil if it has none. Reads no more than it has to: that there is one does not mean that
/// the rest can be decoded.
///
/// # Errors
/// When the payload is seen to be damaged.
pub fn peek(framing: Framing, payload: &[u8]) -> Result<Uuid, Damaged> {
    match framing {
        Framing::Lines => json::peek(payload),
        Framing::Fixed => protobuf::peek(payload),
        Framing::Csv => {
            crate::framing::csv::uuid(payload).map_err(|error| Damaged::new(0, error.to_string()))
        }
    }
}

/// A message that a framing does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unencodable {
    /// The framing has no envelope.
    #[error("{} has no envelope for messages (expected application/x-ndjson or application/x-protobuf-fixed)", .0.content_type())]
    NoEnvelope(Framing),
    /// The framing tells no such length.
    #[error(transparent)]
    TooLong(#[from] PayloadTooLong),
}

/// A payload that is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at} of the message: {what}")]
pub struct Damaged {
    /// The byte of the payload where it was seen.
    pub at: usize,
    /// What was wrong, and what was expected.
    pub what: Cow<'static, str>,
}

impl Damaged {
    fn new(at: usize, what: impl Into<Cow<'static, str>>) -> Self {
        Self { at, what: what.into() }
    }
}
