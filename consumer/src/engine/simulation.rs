//! Pure: of the tests: a shard with its journals in one thread, whose owners crash, freeze and thaw between any two actions, whose appends land late or
//! twice, and whose answers are lost; with planted bugs that must be found.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use courant_message::sequencer::Step;
use courant_message::{
    Acknowledgement, Clock, Flags, Frames, Framing, Item, Message, Meta, Producer, Sequencer, Uuid, envelope,
};
use courant_proto::{Offset, Timestamp};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Action, Engine, Journal, Options};

/// What is done wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    None,
    /// A transaction commits before what it published has landed.
    CommitBeforePublish,
    /// Acknowledgements are sent before the commit has landed.
    AcknowledgeBeforeCommit,
    /// Changes are kept with the checkpoint of the transaction before.
    CheckpointBehindStore,
    /// Commits of an earlier owner are taken.
    FenceSkipped,
    /// A successor begins with changes that were on their way.
    StandbyAhead,
    /// Messages are consumed as often as they are read.
    DuplicateNotDropped,
    /// What is appended is appended again when it is not known whether it has landed.
    RepeatUncertain,
}

/// What a message says: a key, and what is added to it.
type Payload = (u8, u64);
type Read = Message<Journal, Payload>;
type View = BTreeMap<u8, u64>;

struct World {
    rng: SmallRng,
    bug: Bug,
    options: Options,
    now: Timestamp,
    sources: BTreeMap<Journal, Vec<Read>>,
    outputs: BTreeMap<Journal, BytesMut>,
    /// What was committed, and who may.
    log: Vec<Record>,
    fence: u64,
    /// Of owners that are gone.
    loose: Vec<Write>,
}

#[derive(Clone)]
struct Record {
    owner: u64,
    changes: View,
    checkpoint: Bytes,
}

#[derive(Clone)]
enum Write {
    Append(Journal, Bytes),
    Commit(Record),
}

struct InFlight {
    write: Write,
    /// It must not be repeated.
    once: bool,
    /// Whether it has landed, and was taken.
    landed: Option<bool>,
}

struct Owner {
    number: u64,
    engine: Engine<Payload>,
    view: View,
    open: View,
    frozen: View,
    checkpoint: Bytes,
    in_flight: Vec<InFlight>,
    positions: BTreeMap<Journal, usize>,
    replay: VecDeque<Read>,
    has_ended: bool,
    is_done: bool,
}

/// One history. What is wrong with its outcome, if anything is.
pub(super) fn run(seed: u64, bug: Bug) -> Result<(), String> {
    let mut world = World::new(seed, bug);
    let mut owners: Vec<Owner> = vec![world.start(&[])];
    for _ in 0..world.rng.random_range(50..1_500) {
        if owners.is_empty() {
            owners.push(world.start(&[]));
        }
        match world.rng.random_range(0..100) {
            0 => {
                let owner = owners.swap_remove(world.rng.random_range(0..owners.len()));
                world.crash(owner);
            }
            1 if owners.len() < 4 => owners.push(world.start(&owners)),
            2..6 => world.land_loose(),
            _ => {}
        }
        if owners.is_empty() {
            continue;
        }
        let index = world.rng.random_range(0..owners.len());
        world.step(&mut owners[index]);
        if owners[index].has_ended {
            let owner = owners.swap_remove(index);
            world.crash(owner);
        }
    }
    world.settle(owners)
}

impl World {
    fn new(seed: u64, bug: Bug) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let options = Options {
            min: Duration::from_millis([0, 20][rng.random_range(0..2)]),
            max: Duration::from_millis([50, 1_000][rng.random_range(0..2)]),
            wait_for_ack: rng.random(),
            ring: [1, 2, 5, 100][rng.random_range(0..4)],
            unrecorded: [3, 1_000][rng.random_range(0..2)],
            published: [200, 1 << 20][rng.random_range(0..2)],
            ..Options::default()
        };
        let mut sources = BTreeMap::new();
        for source in 0..rng.random_range(1..4_u8) {
            let journal: Journal = Arc::from(format!("source-{source}"));
            let messages = produce(&mut rng, &journal, source);
            sources.insert(journal, messages);
        }
        let now = Timestamp::from_secs(1_700_000_000);
        let (outputs, log, loose) = Default::default();
        Self { rng, bug, options, now, sources, outputs, log, fence: 0, loose }
    }

    /// Another owner, which fences all before it.
    fn start(&mut self, others: &[Owner]) -> Owner {
        self.fence += 1;
        let mut view = View::new();
        let mut records: Vec<&Record> = self.log.iter().collect();
        if self.bug == Bug::StandbyAhead {
            let on_the_way = others.iter().flat_map(|owner| &owner.in_flight);
            records.extend(on_the_way.filter_map(|write| match write {
                InFlight { write: Write::Commit(record), landed: None, .. } => Some(record),
                _ => None,
            }));
        }
        for record in records {
            view.extend(record.changes.clone());
        }
        let checkpoint = self.log.last().map(|record| record.checkpoint.clone());
        let number = self.fence;
        let producer = Producer::new([1, 0, 0, 0, 0, u8::try_from(number % 256).expect("a byte")]);
        let engine = Engine::restore(self.options, producer, checkpoint.as_deref()).expect("a checkpoint");
        let positions = self.sources.keys().map(|source| {
            let from = engine.read_from(source).map_or(0, |offset| offset.get() / 10);
            (source.clone(), usize::try_from(from).expect("small"))
        });
        Owner {
            number,
            positions: positions.collect(),
            engine,
            view,
            open: View::new(),
            frozen: View::new(),
            checkpoint: checkpoint.unwrap_or_default(),
            in_flight: Vec::new(),
            replay: VecDeque::new(),
            has_ended: false,
            is_done: false,
        }
    }

    /// What it has on the way may land for a long time.
    fn crash(&mut self, owner: Owner) {
        self.loose.extend(owner.in_flight.into_iter().map(|in_flight| in_flight.write));
    }

    fn land_loose(&mut self) {
        if !self.loose.is_empty() {
            let index = self.rng.random_range(0..self.loose.len());
            let write = self.loose.swap_remove(index);
            self.land(&write);
        }
    }

    /// Whether it was taken.
    fn land(&mut self, write: &Write) -> bool {
        match write {
            Write::Append(journal, content) => {
                self.outputs.entry(journal.clone()).or_default().extend_from_slice(content);
                true
            }
            Write::Commit(record) => {
                let is_taken = record.owner == self.fence || self.bug == Bug::FenceSkipped;
                // The same append a second time is known by its sequence.
                let is_repeated = self.log.iter().any(|known| known.checkpoint == record.checkpoint);
                if is_taken && !is_repeated {
                    self.log.push(record.clone());
                }
                is_taken
            }
        }
    }

    /// One thing happens to an owner.
    fn step(&mut self, owner: &mut Owner) {
        self.now = self.now.plus(Duration::from_millis(self.rng.random_range(0..4)));
        if !owner.in_flight.is_empty() && self.rng.random_range(0..3) == 0 {
            self.write_goes_on(owner);
            return;
        }
        let action = owner.engine.next(self.now).expect("what is read again is right");
        match action {
            Action::Consume(message) => self.consume(owner, message),
            Action::Finalize => {
                let changed: Vec<_> = owner.open.clone().into_iter().collect();
                for (key, sum) in changed {
                    publish(owner, "finals", key, sum);
                }
                owner.frozen = std::mem::take(&mut owner.open);
                owner.engine.finalized();
            }
            Action::Append { journal, content, once } => {
                if self.bug == Bug::CommitBeforePublish {
                    owner.engine.appended(&journal);
                    self.loose.push(Write::Append(journal, content));
                } else {
                    let write = Write::Append(journal, content);
                    owner.in_flight.push(InFlight { write, once, landed: None });
                }
            }
            Action::Commit(checkpoint) => {
                let mut checkpoint = checkpoint.encode();
                if self.bug == Bug::CheckpointBehindStore {
                    std::mem::swap(&mut checkpoint, &mut owner.checkpoint);
                }
                let record = Record { owner: owner.number, changes: owner.frozen.clone(), checkpoint };
                if self.bug == Bug::AcknowledgeBeforeCommit {
                    self.loose.push(Write::Commit(record));
                    owner.view.extend(std::mem::take(&mut owner.frozen));
                    owner.engine.committed();
                } else {
                    let write = Write::Commit(record);
                    owner.in_flight.push(InFlight { write, once: false, landed: None });
                }
            }
            Action::Replay(range) => {
                let source = &self.sources[&range.journal];
                let within = |m: &&Read| m.begin >= range.begin && m.end <= range.end;
                owner.replay = source.iter().filter(within).cloned().collect();
            }
            Action::Wait(wait) => {
                if wait.reads {
                    self.read(owner);
                } else if wait.replays {
                    let count = self.rng.random_range(0..=owner.replay.len());
                    owner.engine.replay(owner.replay.drain(..count));
                    if owner.replay.is_empty() {
                        owner.engine.replay_ended();
                    }
                }
                if self.rng.random_range(0..8) == 0
                    && let Some(until) = wait.until
                {
                    self.now = self.now.max(until);
                }
            }
            Action::Done => owner.is_done = true,
        }
    }

    fn write_goes_on(&mut self, owner: &mut Owner) {
        let index = self.rng.random_range(0..owner.in_flight.len());
        match owner.in_flight[index].landed {
            None => {
                let write = owner.in_flight[index].write.clone();
                owner.in_flight[index].landed = Some(self.land(&write));
            }
            // The answer is lost, and another attempt may still be on its way.
            Some(_) if self.rng.random_range(0..10) == 0 => {
                let in_flight = &mut owner.in_flight[index];
                if self.rng.random() {
                    self.loose.push(in_flight.write.clone());
                }
                in_flight.landed = None;
                owner.has_ended = in_flight.once && self.bug != Bug::RepeatUncertain;
            }
            Some(taken) => match owner.in_flight.swap_remove(index).write {
                Write::Append(journal, _) => owner.engine.appended(&journal),
                Write::Commit(_) if !taken => owner.has_ended = true,
                Write::Commit(_) => {
                    owner.view.extend(std::mem::take(&mut owner.frozen));
                    owner.engine.committed();
                }
            },
        }
    }

    fn consume(&mut self, owner: &mut Owner, message: Read) {
        if self.rng.random_range(0..20) == 0 && !owner.open.is_empty() {
            owner.engine.deferred(message).expect("one was consumed");
            return;
        }
        let (key, value) = message.payload;
        let layers = [&owner.open, &owner.frozen, &owner.view];
        let sum = layers.iter().find_map(|view| view.get(&key)).copied().unwrap_or(0) + value;
        owner.open.insert(key, sum);
        publish(owner, ["sums-0", "sums-1"][usize::from(key % 2)], key, sum);
        owner.engine.consumed();
    }

    /// Some of what comes next in one of the sources.
    fn read(&mut self, owner: &mut Owner) {
        let index = self.rng.random_range(0..self.sources.len());
        let (journal, messages) = self.sources.iter().nth(index).expect("a source");
        let position = owner.positions.get_mut(journal).expect("a position");
        let until = messages.len().min(*position + self.rng.random_range(0..12));
        let mut read = messages[*position..until].to_vec();
        if self.bug == Bug::DuplicateNotDropped {
            read.iter_mut().for_each(|message| message.uuid = Uuid::NIL);
        }
        *position = until;
        owner.engine.read(read);
    }

    /// Lets one last owner do all that is left, and judges.
    fn settle(mut self, owners: Vec<Owner>) -> Result<(), String> {
        let mut last = self.start(&owners);
        owners.into_iter().for_each(|owner| self.crash(owner));
        for step in 0.. {
            assert!(step < 2_000_000, "it goes on for ever");
            self.land_loose();
            self.step(&mut last);
            let is_read = last.positions.iter().all(|(journal, at)| *at == self.sources[journal].len());
            if is_read && last.in_flight.is_empty() && last.engine.next_is_idle(self.now) {
                last.engine.stop();
            }
            if last.is_done {
                break;
            }
        }
        self.judge(&last)
    }

    fn judge(&self, last: &Owner) -> Result<(), String> {
        let mut sums = View::new();
        let mut expected: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        for messages in self.sources.values() {
            for message in committed(messages.iter().cloned()) {
                let (key, value) = message.payload;
                let sum = sums.entry(key).or_default();
                *sum += value;
                expected.entry(key).or_default().push(*sum);
            }
        }
        if last.view != sums {
            return Err(format!("the view is {:?} (expected {sums:?})", last.view));
        }
        let mut found: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        for output in ["sums-0", "sums-1"] {
            for (key, sum) in self.published(output) {
                found.entry(key).or_default().push(sum);
            }
        }
        if found != expected {
            return Err(format!("published were {found:?} (expected {expected:?})"));
        }
        let finals: View = self.published("finals").into_iter().collect();
        if finals != sums {
            return Err(format!("published last were {finals:?} (expected {sums:?})"));
        }
        Ok(())
    }

    /// What a reader of committed messages sees.
    fn published(&self, output: &str) -> Vec<Payload> {
        let journal: Journal = Arc::from(output);
        let mut piece = self.outputs.get(&journal).cloned().unwrap_or_default().freeze();
        let mut frames = Frames::new(Framing::Lines, Offset::ZERO, 1 << 20);
        let mut messages = Vec::new();
        while let Some(item) = frames.next(&mut piece) {
            let Item::Frame(frame) = item else { panic!("damaged: {item:?}") };
            let uuid = envelope::peek(Framing::Lines, &frame.payload).expect("a message");
            let body = envelope::decode(Framing::Lines, &frame.payload).expect("a message").body;
            let payload = serde_json::from_slice(&body.to_vec()).unwrap_or_default();
            messages.push(Message {
                journal: journal.clone(),
                uuid,
                begin: frame.begin,
                end: frame.end,
                payload,
            });
        }
        committed(messages.into_iter()).into_iter().map(|message| message.payload).collect()
    }
}

impl<P> Engine<P> {
    /// Whether nothing is to be done but to wait for input.
    fn next_is_idle(&self, now: Timestamp) -> bool {
        self.held.is_none()
            && self.input.is_empty()
            && self.replay.is_none()
            && self.underway.is_none()
            && self.lanes.is_empty()
            && !self.sequencer.is_delivering()
            && self.owed.is_none()
            && !self.is_to_close(now)
    }
}

fn publish(owner: &mut Owner, journal: &str, key: u8, sum: u64) {
    let body = serde_json::to_vec(&(key, sum)).expect("JSON");
    let encode = |uuid, out: &mut BytesMut| envelope::append(Framing::Lines, &Meta::of(uuid), &body, out);
    owner.engine.publish(&Arc::from(journal), Acknowledgement::Line, encode).expect("room for it");
}

/// All that is committed in what was read, as a reader with all the memory there is sees it.
fn committed<P>(messages: impl Iterator<Item = Message<Journal, P>>) -> Vec<Message<Journal, P>> {
    let mut sequencer = Sequencer::new(1 << 16);
    let mut delivered = Vec::new();
    for message in messages {
        sequencer.queue(message);
        loop {
            match sequencer.step() {
                Step::Deliver(message) => delivered.push(message),
                Step::Drained => break,
                Step::Replay(range) => panic!("the ring is too small: {range:?}"),
            }
        }
    }
    delivered.retain(|message| message.uuid.flags() != Flags::ACK_TXN);
    delivered
}

/// A source, as producers leave it that publish in transactions and outside of them, repeat appends, and die.
fn produce(rng: &mut SmallRng, journal: &Journal, source: u8) -> Vec<Read> {
    let mut messages: Vec<Read> = Vec::new();
    let mut clocks = [Clock::at(Timestamp::from_secs(1_600_000_000)); 3];
    let mut is_open = [false; 3];
    for _ in 0..rng.random_range(10..150) {
        let index = rng.random_range(0..3_u8);
        let producer = Producer::new([1, 0, 0, 0, source, index]);
        let (clock, open) = (&mut clocks[usize::from(index)], &mut is_open[usize::from(index)]);
        let flags = match rng.random_range(0..10) {
            0 if messages.len() > 3 => {
                // An append is repeated as a whole.
                let own = |message: &&Read| message.uuid.producer() == producer;
                let mut again: Vec<_> = messages.iter().rev().filter(own).take(3).cloned().collect();
                again.reverse();
                messages.extend(again);
                continue;
            }
            1..5 if *open => {
                *open = false;
                Flags::ACK_TXN
            }
            5 if !*open => Flags::OUTSIDE_TXN,
            _ => {
                *open = true;
                Flags::CONTINUE_TXN
            }
        };
        let uuid = Uuid::new(producer, clock.tick(), flags);
        let payload = (source * 10 + rng.random_range(0..3), rng.random_range(1..100));
        let (begin, end) = (Offset::ZERO, Offset::ZERO);
        messages.push(Message { journal: journal.clone(), uuid, begin, end, payload });
    }
    for (index, message) in (0..).zip(&mut messages) {
        message.begin = Offset::new(index * 10).expect("an offset");
        message.end = Offset::new(index * 10 + 10).expect("an offset");
    }
    messages
}
