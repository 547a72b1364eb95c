//! Pure: what was read of a journal, as far as it has to be understood to be sequenced.

use bytes::Bytes;
use courant_message::envelope::{self, Damaged};
use courant_message::{Envelope, Frame, Framing, Message, Uuid};

use crate::engine::Journal;

/// A message as an application gets it. Its payload is [decoded](Content::decode) when that is asked for.
pub type Incoming = Message<Journal, Content>;

/// The frame of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// How it is framed.
    pub framing: Framing,
    /// What is framed.
    pub payload: Bytes,
}

impl Content {
    /// What the message says, and what is said about it. Rows of CSV have no envelope: see [`courant_message::framing::csv`].
    ///
    /// # Errors
    /// When it is damaged.
    pub fn decode(&self) -> Result<Envelope<'_>, Damaged> {
        envelope::decode(self.framing, &self.payload)
    }
}

/// A frame with its place in the order of its producer. One without a UUID, or whose UUID cannot be read, has none: it is consumed each time it is
/// read, and the application decides what to make of it.
pub(crate) fn message(journal: &Journal, framing: Framing, frame: Frame) -> Incoming {
    let uuid = envelope::peek(framing, &frame.payload).unwrap_or(Uuid::NIL);
    let payload = Content { framing, payload: frame.payload };
    Message { journal: journal.clone(), uuid, begin: frame.begin, end: frame.end, payload }
}
