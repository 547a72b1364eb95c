//! Pure: delivering what a message committed, message by message, with what has to be read again in front.

use std::hash::Hash;

use courant_proto::Offset;

use super::partial::Id;
use super::{Message, Sequencer};
use crate::clock::Clock;

/// What is due.
#[derive(Debug)]
pub enum Step<J, P> {
    /// A committed message. It counts as processed with the next step: a checkpoint that is taken before has it delivered again.
    Deliver(Message<J, P>),
    /// This range has to be read again first: see [`Sequencer::replayed`]. The same is told until it was.
    Replay(ReplayRange<J>),
    /// Everything that was committed has been delivered.
    Drained,
}

/// Messages that gave way in the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRange<J> {
    /// The journal.
    pub journal: J,
    /// Where the first one begins.
    pub begin: Offset,
    /// Where those begin that the ring holds.
    pub end: Offset,
}

/// What a message means that was read again.
#[derive(Debug)]
pub enum Replayed<J, P> {
    /// A committed message, to be delivered as by [`Step::Deliver`].
    Deliver(Message<J, P>),
    /// Another producer's, or a duplicate, or not committed.
    Skip,
}

/// A message that was not asked for, with Gazette's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It is of another journal.
    #[error("replay of wrong journal")]
    WrongJournal,
    /// It lies before the range, or before what was delivered of it.
    #[error("replay has wrong Begin ({found}; expected >= {expected})")]
    WrongBegin {
        /// Where it begins.
        found: Offset,
        /// The least.
        expected: Offset,
    },
    /// It lies behind the range.
    #[error("replay has wrong End ({found}; expected <= {expected})")]
    WrongEnd {
        /// Where it ends.
        found: Offset,
        /// The most.
        expected: Offset,
    },
}

#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) partial: Id,
    /// Of the message that commits.
    end: Offset,
    needs_replay: bool,
    /// The largest clock of the span so far: what comes behind it with a smaller one was dropped when it was queued, or would have been by a
    /// sequencer that was not restored in between.
    seen: Clock,
    /// The clock of the message that was delivered last and is being processed.
    at_hand: Option<Clock>,
}

impl Delivery {
    /// Of a span up to the message that ends at `end`. Everything up to the clock `acked` is known.
    pub(super) fn new(partial: Id, end: Offset, needs_replay: bool, acked: Clock) -> Self {
        Self { partial, end, needs_replay, seen: acked, at_hand: None }
    }

    /// Whether a message of the span is to be delivered, and not a duplicate nor left out by the acknowledgement, which has the clock `max`.
    fn is_due(&mut self, clock: Clock, max: Clock) -> bool {
        let is_new = clock > self.seen;
        self.seen = self.seen.max(clock);
        is_new && clock <= max
    }
}

impl<J: Clone + Ord + Hash, P> Sequencer<J, P> {
    /// Tells what is due. What was delivered before has been processed.
    pub fn step(&mut self) -> Step<J, P> {
        self.settle();
        let Some(delivery) = &mut self.delivery else { return Step::Drained };
        let partial = self.partials.get_mut(delivery.partial);
        if delivery.needs_replay {
            let chain = partial.chain.expect("the message that commits is in the ring");
            let (begin, end) = (partial.begin.unwrap_or_default(), self.ring.get(chain.first).begin);
            if begin < end {
                delivery.seen = partial.min;
                let journal = self.partials.name(delivery.partial).clone();
                return Step::Replay(ReplayRange { journal, begin, end });
            }
            delivery.needs_replay = false;
        }
        while let Some(chain) = partial.chain {
            let (message, rest) = self.ring.take(chain);
            partial.chain = rest;
            let clock = message.uuid.clock();
            // The last one is what commits. It is left out only if one of the span had its clock and stands for it.
            let commits = rest.is_none() && (clock == Clock::ZERO || clock > partial.min);
            if delivery.is_due(clock, partial.max) || commits {
                partial.begin = Some(message.begin);
                delivery.at_hand = Some(clock);
                return Step::Deliver(message);
            }
        }
        let (id, end, clock) = (delivery.partial, delivery.end, partial.min);
        // Only now, so that a successor of whoever stops before reads the message again that commits.
        self.partials.read_through(id, end);
        self.partials.reset(id, clock);
        self.delivery = None;
        Step::Drained
    }

    /// Takes a message of the range that is replayed. They come in order, from the range's begin; those of all producers.
    ///
    /// # Errors
    /// When it cannot be one of the range. The replay may go on with the right one, or begin again.
    ///
    /// # Panics
    /// When no replay was asked for.
    pub fn replayed(&mut self, message: Message<J, P>) -> Result<Replayed<J, P>, ReplayError> {
        self.settle();
        let delivery = self.delivery.as_mut().filter(|delivery| delivery.needs_replay);
        let delivery = delivery.expect("a replay that was not asked for");
        if message.journal != *self.partials.name(delivery.partial) {
            return Err(ReplayError::WrongJournal);
        }
        let producer = self.partials.producer(delivery.partial);
        let partial = self.partials.get_mut(delivery.partial);
        let least = partial.begin.unwrap_or_default();
        if message.begin < least {
            return Err(ReplayError::WrongBegin { found: message.begin, expected: least });
        }
        let chain = partial.chain.expect("the message that commits is in the ring");
        let most = self.ring.get(chain.first).begin;
        if message.end > most {
            return Err(ReplayError::WrongEnd { found: message.end, expected: most });
        }
        let clock = message.uuid.clock();
        if message.uuid.producer() != producer || !delivery.is_due(clock, partial.max) {
            return Ok(Replayed::Skip);
        }
        partial.begin = Some(message.begin);
        delivery.at_hand = Some(clock);
        Ok(Replayed::Deliver(message))
    }

    /// Ends the replay: all of the range was read. [`Sequencer::step`] goes on.
    ///
    /// # Panics
    /// When no replay was asked for.
    pub fn end_replay(&mut self) {
        self.settle();
        let delivery = self.delivery.as_mut().filter(|delivery| delivery.needs_replay);
        delivery.expect("a replay that was not asked for").needs_replay = false;
    }

    /// What was delivered has been processed: nothing up to its clock is delivered again.
    fn settle(&mut self) {
        if let Some(delivery) = &mut self.delivery
            && let Some(clock) = delivery.at_hand.take()
        {
            self.partials.get_mut(delivery.partial).min = clock;
        }
    }
}
