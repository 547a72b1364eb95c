//! Pure: publishing: which UUID a message gets, which acknowledgements a transaction has to send, and which append is due.
//!
//! ```text
//!  publish ─► Publisher: the next clock ─► encode ─► Outbox: bytes that wait ─► next_append ─► (the caller appends) ─► answered
//!  commit  ─► build_ack_intents ─► (the caller stores them) ─► Outbox: push_bytes ─► …
//! ```
//!
//! A message is encoded into the outbox of its journal in the same call in which it gets its UUID, and an outbox has one append in flight: so the order
//! of a producer's clocks is the order of its bytes in each journal, and readers may drop by its clock what was appended twice.

mod acknowledgement;
mod outbox;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::hash::Hash;

use bytes::{Bytes, BytesMut};
use courant_proto::Timestamp;

pub use self::acknowledgement::Acknowledgement;
pub use self::outbox::{Answer, Outbox, PushError, Ticket, TicketState};
use crate::clock::Clock;
use crate::uuid::{Flags, Producer, Uuid};

/// One producer: its clock, and the journals to which its open transaction has published. `J` names a journal.
#[derive(Debug)]
pub struct Publisher<J> {
    producer: Producer,
    clock: Clock,
    /// In the order in which they were first published to.
    open: Vec<(J, Acknowledgement)>,
    is_open: HashSet<J>,
}

/// A message that waits to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its place in the outbox.
    pub ticket: Ticket,
}

/// The framed acknowledgement of what a transaction published to a journal. All of a transaction have to be stored, with what it changed, before
/// any of them is appended. Then each is appended, again and again until that is known to have succeeded; by whoever recovers them, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckIntent<J> {
    /// The journal.
    pub journal: J,
    /// What to append.
    pub bytes: Bytes,
}

impl<J: Clone + Eq + Hash> Publisher<J> {
    /// A publisher. No two may have the same producer.
    pub fn new(producer: Producer) -> Self {
        Self { producer, clock: Clock::ZERO, open: Vec::new(), is_open: HashSet::new() }
    }

    /// Who it is.
    pub fn producer(&self) -> Producer {
        self.producer
    }

    /// Moves the clock on to the time of day. Has to be done before the first message, and should be before each, or each transaction.
    pub fn advance(&mut self, now: Timestamp) {
        self.clock.update(now);
    }

    /// Publishes a message that is committed by itself. `encode` appends it, framed.
    ///
    /// # Errors
    /// When the outbox takes no more, or the message cannot be encoded. Then nothing is published.
    pub fn publish_committed<E>(
        &mut self,
        outbox: &mut Outbox,
        encode: impl FnOnce(Uuid, &mut BytesMut) -> Result<(), E>,
    ) -> Result<Published, PushError<E>> {
        let uuid = self.next(Flags::OUTSIDE_TXN);
        let ticket = outbox.push(|out| encode(uuid, out))?;
        Ok(Published { uuid, ticket })
    }

    /// Publishes a message of the open transaction: readers see it once that is acknowledged. A journal takes either kind of message from a producer, not
    /// both: one that is committed by itself rolls the open transaction back.
    ///
    /// # Errors
    /// When the outbox takes no more, or the message cannot be encoded. Then nothing is published, nor has to be acknowledged.
    pub fn publish_uncommitted<E>(
        &mut self,
        journal: &J,
        acknowledgement: Acknowledgement,
        outbox: &mut Outbox,
        encode: impl FnOnce(Uuid, &mut BytesMut) -> Result<(), E>,
    ) -> Result<Published, PushError<E>> {
        let uuid = self.next(Flags::CONTINUE_TXN);
        let ticket = outbox.push(|out| encode(uuid, out))?;
        if !self.is_open.contains(journal) {
            self.is_open.insert(journal.clone());
            self.open.push((journal.clone(), acknowledgement));
        }
        Ok(Published { uuid, ticket })
    }

    /// Ends the transaction: one intent for each journal that it published to, in the order in which it first did. The next message begins another.
    pub fn build_ack_intents(&mut self) -> Vec<AckIntent<J>> {
        self.is_open.clear();
        let mut bytes = BytesMut::new();
        let open = std::mem::take(&mut self.open);
        let intents = open.into_iter().map(|(journal, acknowledgement)| {
            acknowledgement.append(self.next(Flags::ACK_TXN), &mut bytes);
            AckIntent { journal, bytes: bytes.split().freeze() }
        });
        intents.collect()
    }

    fn next(&mut self, flags: Flags) -> Uuid {
        Uuid::new(self.producer, self.clock.tick(), flags)
    }
}
