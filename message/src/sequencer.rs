//! Pure: what is read of journals, with duplicates and unfinished transactions of many producers among each other, becomes what was
//! committed, each message once.
//!
//! Every message that is read is queued; the [`Outcome`] says what it means. Where it commits something, [`Sequencer::step`] delivers that,
//! message by message, before the next one is queued:
//!
//! ```text
//!  queue(message) ─► held, dropped: read on
//!         └► commits ─► step ─► Deliver(message)   process it, step again
//!                        │ ▲
//!                        │ └─ Replay(range)        read it again: replayed(…) for each message, then end_replay
//!                        └──► Drained              read on
//! ```
//!
//! Messages wait in a ring of a fixed size, in messages and in bytes, until they are acknowledged. Those that had to give way are asked for again, as a range of
//! offsets to be read by the caller.
//!
//! It decides as Gazette's sequencer does. What it does better: what is delivered never depends on the ring's size, not even where a message was
//! dropped from a span that is replayed; a producer whose messages are just being delivered is never pruned; a horizon longer than all time prunes none;
//! and nothing is kept in memory that was rolled back.

mod checkpoint;
mod delivery;
mod outcome;
mod partial;
mod ring;
#[cfg(test)]
mod tests;

use std::hash::Hash;

use courant_proto::Offset;

pub use self::checkpoint::{Checkpoint, JournalState, ProducerState};
use self::delivery::Delivery;
pub use self::delivery::{ReplayError, ReplayRange, Replayed, Step};
pub use self::outcome::{Notice, Outcome, Queued};
use self::partial::{Id, Partials};
use self::ring::Ring;
use crate::clock::Clock;
use crate::uuid::{Flags, Uuid};

/// The ring of Gazette's consumers, in messages.
pub const DEFAULT_RING: usize = 8192;

/// The most bytes of messages that wait, unless told otherwise.
pub const DEFAULT_RING_BYTES: u64 = 64 << 20;

/// A message as it was read. `J` names a journal: a number, or a shared name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<J, P> {
    /// The journal it was read from. Readers of the same journal that go by different names are kept apart.
    pub journal: J,
    /// Its UUID; nil if it has none.
    pub uuid: Uuid,
    /// Where it begins in the journal.
    pub begin: Offset,
    /// Where it ends.
    pub end: Offset,
    /// What it says, in any form; mostly the frame as it was read.
    pub payload: P,
}

/// Makes read-committed out of read-uncommitted.
#[derive(Debug)]
pub struct Sequencer<J, P> {
    partials: Partials<J>,
    ring: Ring<J, P>,
    delivery: Option<Delivery>,
}

impl<J: Clone + Ord + Hash, P> Sequencer<J, P> {
    /// One that has read nothing. Its ring holds so many messages, at least one, and of these [`DEFAULT_RING_BYTES`].
    pub fn new(ring: usize) -> Self {
        Self { partials: Partials::new(), ring: Ring::new(ring, DEFAULT_RING_BYTES), delivery: None }
    }

    /// One that goes on from a checkpoint. Each journal has to be read from its `read_through` on.
    pub fn restore(checkpoint: &Checkpoint<J>, ring: usize) -> Self {
        Self {
            partials: Partials::restore(checkpoint),
            ring: Ring::new(ring, DEFAULT_RING_BYTES),
            delivery: None,
        }
    }

    /// The same, whose ring holds so many bytes of messages: what they take of their journals. One message is held however long it is.
    #[must_use]
    pub fn with_ring_bytes(mut self, bytes: u64) -> Self {
        self.ring.most_bytes = bytes;
        self
    }

    /// Takes the next message of a journal, and tells what it means. Messages of one journal are queued in the order of their offsets.
    ///
    /// # Panics
    /// When what an earlier message committed has not been delivered to its end.
    pub fn queue(&mut self, message: Message<J, P>) -> Queued {
        assert!(
            self.delivery.is_none(),
            "a message is queued while others are delivered (step until drained first)"
        );
        self.evict(ring::length(&message));
        let (mut clock, mut flags) = (message.uuid.clock(), message.uuid.flags());
        let journal = self.partials.journal(&message.journal, message.begin);
        let id = if clock == Clock::ZERO {
            // It has no place in any order: it is delivered, and no producer is known by it.
            (clock, flags) = (Clock::from_u64(1), Flags::OUTSIDE_TXN);
            self.partials.untracked(journal)
        } else {
            self.partials.of(journal, message.uuid.producer(), clock)
        };
        let partial = self.partials.get(id);
        let is_whole = match partial.chain {
            Some(chain) => Some(self.ring.get(chain.first).begin) == partial.begin,
            None => false,
        };
        let queued = outcome::decide(partial, clock, flags, is_whole);
        self.apply(id, queued.outcome, clock, message);
        queued
    }

    fn apply(&mut self, id: Id, outcome: Outcome, clock: Clock, message: Message<J, P>) {
        let (begin, end) = (message.begin, message.end);
        if !outcome.commits() {
            self.partials.read_through(id, end);
        }
        match outcome {
            Outcome::OutsideAlreadyAcked | Outcome::ContinueAlreadyAcked | Outcome::ContinueDuplicate => {}
            Outcome::ContinueBegin | Outcome::ContinueExtend => {
                if outcome == Outcome::ContinueBegin {
                    self.partials.begin_span(id, begin);
                }
                self.add(id, message);
                self.partials.get_mut(id).max = clock;
            }
            Outcome::AckRollback => {
                self.discard(id);
                self.partials.reset(id, clock);
            }
            Outcome::OutsideCommit
            | Outcome::AckEmpty
            | Outcome::AckCommitRing
            | Outcome::AckCommitReplay => {
                if matches!(outcome, Outcome::OutsideCommit | Outcome::AckEmpty) {
                    // Whatever was pending before a message that commits itself alone is rolled back.
                    self.discard(id);
                    self.partials.get_mut(id).begin = Some(begin);
                }
                self.add(id, message);
                let partial = self.partials.get_mut(id);
                partial.max = clock;
                self.delivery =
                    Some(Delivery::new(id, end, outcome == Outcome::AckCommitReplay, partial.min));
            }
        }
    }

    /// Whether a span was begun since the last checkpoint and is open still: its producer is about to go on with it.
    pub fn has_pending(&self) -> bool {
        self.partials.has_pending()
    }

    /// Whether committed messages are being delivered.
    pub fn is_delivering(&self) -> bool {
        self.delivery.is_some()
    }

    /// How far a journal was read. A message counts once all that it commits was delivered.
    pub fn offset(&self, journal: &J) -> Option<Offset> {
        self.partials.offset(journal)
    }

    /// Puts a message at the ring's head, behind the others of its span.
    fn add(&mut self, id: Id, message: Message<J, P>) {
        let chain = &mut self.partials.get_mut(id).chain;
        *chain = Some(self.ring.add(id, message, *chain));
    }

    /// Makes room in the ring for a message. Spans that lose their oldest messages go on to know where they began.
    fn evict(&mut self, length: u64) {
        while let Some((id, chain)) = self.ring.evict(length, |id| self.partials.get(id).chain) {
            self.partials.get_mut(id).chain = chain;
        }
    }

    /// Lets go of what the ring holds of a span.
    fn discard(&mut self, id: Id) {
        let mut chain = self.partials.get_mut(id).chain.take();
        while let Some(some) = chain {
            chain = self.ring.take(some).1;
        }
    }
}
