//! Against a model that buffers everything: any interleaving of producers and journals, with duplicates, rollbacks and lost acknowledgements, in rings of
//! any size, with crashes and restarts at any point. Bugs that are planted around the sequencer have to be seen.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRng, TestRunner};

use super::super::*;
use crate::uuid::Producer;

type Read = Message<usize, usize>;

const JOURNALS: usize = 2;

/// What one history is made of.
#[derive(Clone, Debug)]
struct History {
    ring: usize,
    /// Journal, producer, what it appends.
    appends: Vec<(usize, u8, Append)>,
    /// What the reader does: which journal it reads next, or what else.
    events: Vec<Event>,
}

#[derive(Clone, Copy, Debug)]
enum Append {
    Continue,
    /// With a clock this much smaller than the last one.
    ContinueLate(u64),
    Ack,
    /// With a clock this much smaller than the last one: a rollback, a partial acknowledgement, or a repetition.
    AckLate(u64),
    Outside,
    UnknownFlags,
    /// Without a UUID.
    Nil,
    /// Once more one of the last messages of the journal.
    Again(usize),
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Read(usize),
    /// Persist the state, with all that was processed.
    Commit,
    /// Lose all that was not persisted.
    Crash,
    /// Persist with a message at hand, after so many, and crash.
    CommitWithin(usize),
}

/// A bug, planted between the sequencer and who drives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    DuplicateDelivered,
    AckOutOfOrderAccepted,
    RollbackIgnored,
    AckCommitsTooMuch,
    ReplayLeftOut,
    ReplayEndsEarly,
    ReplayAgainFromTheBegin,
    SpanForgottenByCheckpoint,
    ReadThroughTooEarly,
    ProducersForgottenByCheckpoint,
    ProducersMixedUp,
    AcksNotDelivered,
}

const BUGS: [Bug; 12] = [
    Bug::DuplicateDelivered,
    Bug::AckOutOfOrderAccepted,
    Bug::RollbackIgnored,
    Bug::AckCommitsTooMuch,
    Bug::ReplayLeftOut,
    Bug::ReplayEndsEarly,
    Bug::ReplayAgainFromTheBegin,
    Bug::SpanForgottenByCheckpoint,
    Bug::ReadThroughTooEarly,
    Bug::ProducersForgottenByCheckpoint,
    Bug::ProducersMixedUp,
    Bug::AcksNotDelivered,
];

fn histories() -> impl Strategy<Value = History> {
    let append = prop_oneof![
        6 => Just(Append::Continue),
        1 => (0_u64..4).prop_map(Append::ContinueLate),
        3 => Just(Append::Ack),
        1 => (0_u64..6).prop_map(Append::AckLate),
        1 => Just(Append::Outside),
        1 => Just(Append::UnknownFlags),
        1 => Just(Append::Nil),
        2 => (1_usize..8).prop_map(Append::Again),
    ];
    let event = prop_oneof![
        8 => (0..JOURNALS).prop_map(Event::Read),
        1 => Just(Event::Commit),
        1 => Just(Event::Crash),
        1 => (0_usize..4).prop_map(Event::CommitWithin),
    ];
    (
        1_usize..8,
        proptest::collection::vec((0..JOURNALS, 0_u8..3, append), 0..40),
        proptest::collection::vec(event, 0..80),
    )
        .prop_map(|(ring, appends, events)| History { ring, appends, events })
}

/// The content of the journals, each message with a number of its own.
fn write(appends: &[(usize, u8, Append)]) -> [Vec<Read>; JOURNALS] {
    let mut journals: [Vec<Read>; JOURNALS] = Default::default();
    let mut clocks = HashMap::new();
    for (number, (journal, producer, append)) in appends.iter().enumerate() {
        let log = &mut journals[*journal];
        let clock: &mut u64 = clocks.entry((*journal, *producer)).or_insert(100);
        let last = *clock;
        let mut uuid = |clock_now: u64, flags| {
            *clock = clock_now.max(last);
            let producer = Producer::from_bytes([*producer, 0, 0, 0, 0, 1]);
            Uuid::new(producer, Clock::from_u64(clock_now), flags)
        };
        let uuid = match append {
            Append::Continue => uuid(last + 1, Flags::CONTINUE_TXN),
            Append::ContinueLate(by) => uuid(last - by, Flags::CONTINUE_TXN),
            Append::Ack => uuid(last + 1, Flags::ACK_TXN),
            Append::AckLate(by) => uuid(last - by, Flags::ACK_TXN),
            Append::Outside => uuid(last + 1, Flags::OUTSIDE_TXN),
            Append::UnknownFlags => uuid(last + 1, Flags::new(9).unwrap()),
            Append::Nil => Uuid::NIL,
            Append::Again(back) => {
                let again = log.len().checked_sub(*back).map(|index| log[index].uuid);
                again.unwrap_or_else(|| uuid(last + 1, Flags::CONTINUE_TXN))
            }
        };
        let begin = Offset::new(log.len() as i64 * 12).unwrap();
        log.push(Message { journal: *journal, uuid, begin, end: begin.plus(10).unwrap(), payload: number });
    }
    journals
}

/// What is committed in a journal, in order: slowly and simply.
fn model(log: &[Read]) -> Vec<usize> {
    let mut producers: BTreeMap<Producer, (Clock, Vec<&Read>)> = BTreeMap::new();
    let mut delivered = Vec::new();
    for message in log {
        let (clock, number) = (message.uuid.clock(), message.payload);
        if clock == Clock::ZERO {
            delivered.push(number);
            continue;
        }
        let (acked, span) = producers
            .entry(message.uuid.producer())
            .or_insert((Clock::from_u64(clock.get() - 1), Vec::new()));
        match message.uuid.flags() {
            Flags::CONTINUE_TXN => {
                let last = span.last().map_or(*acked, |message| message.uuid.clock());
                if clock > last {
                    span.push(message);
                }
            }
            Flags::ACK_TXN if clock <= *acked => {
                span.clear();
                *acked = clock;
            }
            Flags::ACK_TXN => {
                let committed = span.drain(..).filter(|message| message.uuid.clock() <= clock);
                let before: Vec<&Read> = committed.collect();
                // One of the span with the acknowledgement's own clock stands for it: it is a duplicate then.
                let is_new = before.last().is_none_or(|message| message.uuid.clock() < clock);
                delivered.extend(before.iter().map(|message| message.payload));
                delivered.extend(is_new.then_some(number));
                *acked = clock;
            }
            _ if clock > *acked => {
                span.clear();
                delivered.push(number);
                *acked = clock;
            }
            _ => {}
        }
    }
    delivered
}

/// A consumer that persists its state together with the checkpoint, as a store would.
struct Consumer<'a> {
    journals: &'a [Vec<Read>; JOURNALS],
    ring: usize,
    bug: Option<Bug>,
    sequencer: Sequencer<usize, usize>,
    at: [usize; JOURNALS],
    /// Numbers of messages, by journal.
    processed: [Vec<usize>; JOURNALS],
    persisted: (Checkpoint<usize>, [Vec<usize>; JOURNALS]),
    /// For bugs that have to know it: the last acknowledgement of each producer.
    acks: HashMap<(usize, Producer), Clock>,
}

type Seen = Result<(), String>;

impl<'a> Consumer<'a> {
    fn new(journals: &'a [Vec<Read>; JOURNALS], ring: usize, bug: Option<Bug>) -> Self {
        Self {
            journals,
            ring,
            bug,
            // Some histories are bounded by bytes before they are by messages.
            sequencer: Sequencer::new(ring).with_ring_bytes(if ring.is_multiple_of(2) {
                u64::MAX
            } else {
                25
            }),
            at: [0; JOURNALS],
            processed: Default::default(),
            persisted: Default::default(),
            acks: HashMap::new(),
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Reads a message, and processes what it commits. With `within`, persists once so many of these were processed, and tells so.
    fn read(&mut self, journal: usize, within: Option<usize>) -> Result<bool, String> {
        let Some(message) = self.journals[journal].get(self.at[journal]).cloned() else { return Ok(false) };
        self.at[journal] += 1;
        let Some(message) = self.tamper(message) else { return Ok(false) };
        let queued = self.sequencer.queue(message.clone());
        if self.has(Bug::DuplicateDelivered) && queued.outcome == Outcome::OutsideAlreadyAcked {
            self.processed[journal].push(message.payload);
        }
        if self.sequencer.is_delivering() != queued.outcome.commits() {
            return Err(format!("{queued:?} and a delivery do not go together"));
        }
        let mut count = 0;
        loop {
            let message = match self.sequencer.step() {
                Step::Drained => return Ok(false),
                Step::Deliver(message) => message,
                Step::Replay(range) => match self.replay(&range, &mut count, within)? {
                    true => return Ok(true),
                    false => continue,
                },
            };
            if self.at_hand(message, &mut count, within) {
                return Ok(true);
            }
        }
    }

    /// A message is at hand. Tells whether this is where to crash; else processes it.
    fn at_hand(&mut self, message: Read, count: &mut usize, within: Option<usize>) -> bool {
        if within == Some(*count) {
            self.commit();
            return true;
        }
        *count += 1;
        let is_ack = message.uuid.flags() == Flags::ACK_TXN;
        if !(self.has(Bug::AcksNotDelivered) && is_ack) {
            self.processed[message.journal].push(message.payload);
        }
        false
    }

    fn replay(
        &mut self,
        range: &ReplayRange<usize>,
        count: &mut usize,
        within: Option<usize>,
    ) -> Result<bool, String> {
        let inside = |message: &&Read| message.begin >= range.begin && message.end <= range.end;
        let mut read: Vec<Read> = self.journals[range.journal].iter().filter(inside).cloned().collect();
        if self.has(Bug::ReplayLeftOut) {
            read.clear();
        } else if self.has(Bug::ReplayEndsEarly) {
            read.pop();
        } else if self.has(Bug::ReplayAgainFromTheBegin) {
            read = self.journals[range.journal].iter().filter(|m| m.end <= range.end).cloned().collect();
        }
        for message in read {
            let message = self.tamper(message);
            let Some(message) = message else { continue };
            let replayed = self.sequencer.replayed(message).map_err(|error| error.to_string())?;
            if let Replayed::Deliver(message) = replayed
                && self.at_hand(message, count, within)
            {
                return Ok(true);
            }
        }
        self.sequencer.end_replay();
        Ok(false)
    }

    fn tamper(&mut self, mut message: Read) -> Option<Read> {
        let (clock, mut flags, mut producer) =
            (message.uuid.clock(), message.uuid.flags(), message.uuid.producer());
        let mut now = clock;
        let last = self.acks.get(&(message.journal, producer)).copied();
        let is_late_ack = flags == Flags::ACK_TXN && last.is_some_and(|last| clock <= last);
        if self.has(Bug::RollbackIgnored) && is_late_ack {
            return None;
        }
        if self.has(Bug::AckOutOfOrderAccepted) && is_late_ack {
            now = Clock::from_u64(last.unwrap_or_default().get() + 1);
        }
        if self.has(Bug::AckCommitsTooMuch) && flags == Flags::ACK_TXN {
            now = Clock::from_u64(clock.get() + 2);
        }
        if self.has(Bug::ProducersMixedUp) && clock != Clock::ZERO {
            producer = Producer::from_bytes([0; 6]);
        }
        if flags != Flags::CONTINUE_TXN {
            self.acks.insert((message.journal, message.uuid.producer()), now);
        }
        if clock == Clock::ZERO {
            flags = Flags::OUTSIDE_TXN;
        }
        message.uuid = Uuid::new(producer, now, flags);
        Some(message)
    }

    fn commit(&mut self) {
        let horizon =
            self.has(Bug::ProducersForgottenByCheckpoint).then_some(std::time::Duration::from_nanos(1));
        let mut checkpoint = self.sequencer.checkpoint(horizon);
        if self.has(Bug::SpanForgottenByCheckpoint) {
            let states = checkpoint.journals.values_mut().flat_map(|state| state.producers.values_mut());
            states.for_each(|state| state.begin = None);
        }
        if self.has(Bug::ReadThroughTooEarly) {
            for (journal, state) in &mut checkpoint.journals {
                let read = self.at[*journal].checked_sub(1).map(|last| self.journals[*journal][last].end);
                state.read_through = read.unwrap_or_default();
            }
        }
        self.persisted = (checkpoint, self.processed.clone());
    }

    fn crash(&mut self) {
        let (checkpoint, processed) = self.persisted.clone();
        self.processed = processed;
        self.sequencer = Sequencer::restore(&checkpoint, self.ring);
        for (journal, at) in self.at.iter_mut().enumerate() {
            let read_through =
                checkpoint.journals.get(&journal).map_or(Offset::ZERO, |state| state.read_through);
            *at = self.journals[journal].partition_point(|message| message.begin < read_through);
        }
    }
}

/// Runs a history to its end, and compares.
fn run(history: &History, bug: Option<Bug>) -> Seen {
    let journals = write(&history.appends);
    let mut consumer = Consumer::new(&journals, history.ring, bug);
    for event in &history.events {
        match *event {
            Event::Read(journal) => drop(consumer.read(journal, None)?),
            Event::Commit => consumer.commit(),
            Event::Crash => consumer.crash(),
            Event::CommitWithin(within) => {
                if consumer.read(within % JOURNALS, Some(within))? {
                    consumer.crash();
                }
            }
        }
    }
    for (journal, log) in journals.iter().enumerate() {
        while consumer.at[journal] < log.len() {
            consumer.read(journal, None)?;
        }
        let (found, expected) = (&consumer.processed[journal], model(log));
        if *found != expected {
            return Err(format!("journal {journal}: delivered {found:?} (expected {expected:?})"));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(Config::with_cases(4_000))]

    #[test]
    fn what_is_committed_is_delivered_once_whatever_happens(history in histories()) {
        if let Err(why) = run(&history, None) {
            return Err(TestCaseError::fail(why));
        }
    }
}

#[test]
fn planted_bugs_are_seen() {
    for bug in BUGS {
        let config =
            Config { cases: 4_000, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
        let rng = TestRng::deterministic_rng(config.rng_algorithm);
        let mut runner = TestRunner::new_with_rng(config, rng);
        let ran = runner.run(&histories(), |history| run(&history, Some(bug)).map_err(TestCaseError::fail));
        assert!(ran.is_err(), "{bug:?} is not seen");
    }
}
