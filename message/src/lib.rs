//! Bytes of journals become messages, and messages bytes.
//!
//! Everything here is pure: it decides, and others read, append, wait and tell the time. The way of a message:
//!
//! ```text
//!  written   Publisher: which UUID ─► envelope: which bytes ─► Outbox: which append, and when
//!  read      Frames: pieces of content ─► frames ─► peek: its UUID ─► Sequencer: what is committed ─► envelope: the message
//! ```
//!
//! [`framing`] finds where messages begin and end, [`envelope`] what they say, [`uuid`] holds who produced them and in which order.
//! A [`Sequencer`] turns what is read, with its duplicates and unfinished transactions, into what was committed, once. All of it is as
//! Gazette's clients have it, so that each reads what the other wrote.
//!
//! What comes in may be damaged: that is told as a value, with the place, and is never a panic. What a caller may not do (queue a message while
//! another is being delivered) is an assertion.

#![warn(missing_docs)]

pub mod clock;
pub mod envelope;
pub mod framing;
pub mod mapping;
pub mod publisher;
pub mod sequencer;
pub mod uuid;

pub use clock::Clock;
pub use envelope::{Body, Envelope, Meta};
pub use framing::{Frame, Frames, Framing, Item, Skipped};
pub use mapping::Partitions;
pub use publisher::{AckIntent, Acknowledgement, Outbox, Publisher};
pub use sequencer::{Checkpoint, Message, Outcome, Sequencer, Step};
pub use uuid::{Flags, Producer, Uuid};
