//! Pure: what is known of each producer of each journal.

use std::collections::HashMap;
use std::hash::Hash;

use courant_proto::Offset;

use super::checkpoint::{Checkpoint, JournalState, ProducerState};
use super::ring::Chain;
use crate::clock::Clock;
use crate::uuid::Producer;

/// The number of a partial. It is given again only after nothing refers to it any more.
pub(super) type Id = usize;

/// Stands for whoever produced the message without a UUID that is delivered.
const UNTRACKED: Id = 0;

/// A producer's span in a journal: what it wrote since its last acknowledgement.
#[derive(Debug)]
pub(super) struct Partial {
    journal: usize,
    producer: Producer,
    /// The clock of its last acknowledgement, or of the last message that was delivered: all up to it are known.
    pub(super) min: Clock,
    /// The largest clock of the span, and of those that are delivered.
    pub(super) max: Clock,
    /// Where the span begins. None if there is no open one.
    pub(super) begin: Option<Offset>,
    /// What the ring holds of it.
    pub(super) chain: Option<Chain>,
    /// It was begun since the last checkpoint.
    is_pending: bool,
}

impl Partial {
    fn new(journal: usize, producer: Producer, acked: Clock, begin: Option<Offset>) -> Self {
        Self { journal, producer, min: acked, max: acked, begin, chain: None, is_pending: false }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Partials<J> {
    /// By number.
    journals: Vec<(J, Offset)>,
    numbers: HashMap<J, usize>,
    /// By number. None is free.
    partials: Vec<Option<Partial>>,
    free: Vec<Id>,
    ids: HashMap<(usize, Producer), Id>,
    pending: usize,
}

impl<J: Clone + Ord + Hash> Partials<J> {
    pub(super) fn new() -> Self {
        let untracked = Partial::new(0, Producer::default(), Clock::ZERO, None);
        Self {
            journals: Vec::new(),
            numbers: HashMap::new(),
            partials: vec![Some(untracked)],
            free: Vec::new(),
            ids: HashMap::new(),
            pending: 0,
        }
    }

    pub(super) fn restore(checkpoint: &Checkpoint<J>) -> Self {
        let mut partials = Self::new();
        for (journal, state) in &checkpoint.journals {
            let journal = partials.journal(journal, state.read_through);
            for (producer, state) in &state.producers {
                partials.insert(Partial::new(journal, *producer, state.last_ack, state.begin));
            }
        }
        partials
    }

    /// The number of a journal. One that is seen for the first time is read from this offset on.
    pub(super) fn journal(&mut self, journal: &J, begin: Offset) -> usize {
        if let Some(number) = self.numbers.get(journal) {
            return *number;
        }
        let number = self.journals.len();
        self.journals.push((journal.clone(), begin));
        self.numbers.insert(journal.clone(), number);
        number
    }

    /// The partial of a producer, of which nothing is known before its first message.
    pub(super) fn of(&mut self, journal: usize, producer: Producer, clock: Clock) -> Id {
        match self.ids.get(&(journal, producer)) {
            Some(id) => *id,
            None => self.insert(Partial::new(journal, producer, clock.before(), None)),
        }
    }

    /// One that no checkpoint shows, for a single message.
    pub(super) fn untracked(&mut self, journal: usize) -> Id {
        *self.get_mut(UNTRACKED) = Partial::new(journal, Producer::default(), Clock::ZERO, None);
        UNTRACKED
    }

    fn insert(&mut self, partial: Partial) -> Id {
        let id = self.free.pop().unwrap_or(self.partials.len());
        self.ids.insert((partial.journal, partial.producer), id);
        if id == self.partials.len() {
            self.partials.push(None);
        }
        self.partials[id] = Some(partial);
        id
    }

    pub(super) fn get(&self, id: Id) -> &Partial {
        self.partials[id].as_ref().expect("a producer is forgotten together with its messages")
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Partial {
        self.partials[id].as_mut().expect("a producer is forgotten together with its messages")
    }

    pub(super) fn name(&self, id: Id) -> &J {
        &self.journals[self.get(id).journal].0
    }

    pub(super) fn producer(&self, id: Id) -> Producer {
        self.get(id).producer
    }

    pub(super) fn begin_span(&mut self, id: Id, begin: Offset) {
        let partial = self.get_mut(id);
        partial.begin = Some(begin);
        partial.is_pending = true;
        self.pending += 1;
    }

    /// Ends a span: all up to this clock is known, and nothing is open. What the ring held of it was taken out before.
    pub(super) fn reset(&mut self, id: Id, clock: Clock) {
        let partial = self.get_mut(id);
        let was_pending = std::mem::take(&mut partial.is_pending);
        (partial.min, partial.max, partial.begin) = (clock, clock, None);
        self.pending -= usize::from(was_pending);
    }

    pub(super) fn read_through(&mut self, id: Id, end: Offset) {
        let journal = self.get(id).journal;
        self.journals[journal].1 = end;
    }

    pub(super) fn offset(&self, journal: &J) -> Option<Offset> {
        self.numbers.get(journal).map(|number| self.journals[*number].1)
    }

    pub(super) fn has_pending(&self) -> bool {
        self.pending > 0
    }

    /// The producers whose clocks are all below a limit, which depends on the largest acknowledged one of their journal.
    pub(super) fn older(&self, limit: impl Fn(Clock) -> Clock) -> Vec<Id> {
        let mut newest = vec![Clock::ZERO; self.journals.len()];
        for partial in self.tracked() {
            newest[partial.journal] = newest[partial.journal].max(partial.min);
        }
        let ids = self.ids.values().copied();
        ids.filter(|id| self.get(*id).max < limit(newest[self.get(*id).journal])).collect()
    }

    /// Forgets a producer, of which the ring holds nothing any more.
    pub(super) fn forget(&mut self, id: Id) {
        self.reset(id, Clock::ZERO);
        let partial = self.get(id);
        self.ids.remove(&(partial.journal, partial.producer));
        self.partials[id] = None;
        self.free.push(id);
    }

    /// What a checkpoint shows. From then on no span counts as begun since.
    pub(super) fn checkpoint(&mut self) -> Checkpoint<J> {
        self.partials.iter_mut().flatten().for_each(|partial| partial.is_pending = false);
        self.pending = 0;
        let mut states: Vec<JournalState> = self
            .journals
            .iter()
            .map(|(_, offset)| JournalState { read_through: *offset, ..Default::default() })
            .collect();
        for partial in self.tracked() {
            let state = ProducerState { last_ack: partial.min, begin: partial.begin };
            states[partial.journal].producers.insert(partial.producer, state);
        }
        let names = self.journals.iter().map(|(journal, _)| journal.clone());
        Checkpoint { journals: names.zip(states).collect() }
    }

    fn tracked(&self) -> impl Iterator<Item = &Partial> {
        self.partials[UNTRACKED + 1..].iter().flatten()
    }
}
