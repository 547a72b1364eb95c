//! Pure: messages that say nothing but that a transaction is committed.

use bytes::BytesMut;

use crate::envelope::{self, Meta};
use crate::framing::csv;
use crate::uuid::Uuid;

/// How the acknowledgement of a journal looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    /// A line with an empty object.
    Line,
    /// A frame with a message that has no body.
    Fixed,
    /// A row with so many fields, of which only the first is not empty: the UUID.
    Row {
        /// As many as the journal's rows have, at least 1.
        fields: usize,
    },
}

impl Acknowledgement {
    /// Appends the acknowledgement of a UUID, framed.
    pub fn append(self, uuid: Uuid, out: &mut BytesMut) {
        match self {
            Self::Line => envelope::json::append(&Meta::of(uuid), b"{}", out),
            Self::Fixed => {
                let appended = envelope::protobuf::append(&Meta::of(uuid), &[], out);
                appended.expect("a UUID takes less than 4 GiB");
            }
            Self::Row { fields } => {
                let empty = std::iter::repeat_n(&[][..], fields.saturating_sub(1));
                csv::append(std::iter::once(&uuid.to_text()[..]).chain(empty), out);
            }
        }
    }
}
