//! Pure: what a successor has to know to go on, and whom it need not know any more.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::time::Duration;

use courant_proto::Offset;

use super::Sequencer;
use crate::clock::Clock;
use crate::uuid::Producer;

/// A snapshot of a sequencer, of which each journal is a `Source` of Gazette's checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint<J> {
    /// What is known of each journal.
    pub journals: BTreeMap<J, JournalState>,
}

impl<J> Default for Checkpoint<J> {
    fn default() -> Self {
        Self { journals: BTreeMap::new() }
    }
}

/// What is known of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalState {
    /// It was read up to here.
    pub read_through: Offset,
    /// What is known of each of its producers.
    pub producers: BTreeMap<Producer, ProducerState>,
}

/// What is known of a producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerState {
    /// The clock of its last acknowledged message: all up to it have been delivered.
    pub last_ack: Clock,
    /// Where its open span begins: its first message that is not acknowledged. -1 in Gazette's form if there is none.
    pub begin: Option<Offset>,
}

impl<J: Clone + Ord + Hash, P> Sequencer<J, P> {
    /// Tells what a successor has to know. It may be taken at any time, in the middle of a delivery too: a message counts as processed with
    /// the step after it. From then on spans that are open are not [pending](Self::has_pending).
    ///
    /// With a horizon, producers are forgotten whose last message is older by more than that than the newest acknowledged one of their journal, and with
    /// them their open spans: a later acknowledgement of one delivers nothing but itself. Consumers of Gazette take 24 hours.
    pub fn checkpoint(&mut self, horizon: Option<Duration>) -> Checkpoint<J> {
        if let Some(horizon) = horizon.filter(|horizon| !horizon.is_zero()) {
            let delivered = self.delivery.as_ref().map(|delivery| delivery.partial);
            for id in self.partials.older(|newest| newest.minus(horizon)) {
                if Some(id) != delivered {
                    self.discard(id);
                    self.partials.forget(id);
                }
            }
        }
        self.partials.checkpoint()
    }
}
