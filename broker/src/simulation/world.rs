//! Everything there is, and what may happen to it next.

use std::collections::BTreeSet;
use std::time::Duration;

use courant_proto::label::LabelSet;
use courant_proto::registers::Registers;
use courant_proto::wire;
use courant_tests::conditional::{Answer, Ask, Op, REGISTER, register_of};
use courant_tests::history::{Append, Outcome, Seen, Witness};
use courant_tests::linear::Timed;
use courant_tests::payload::{self, Id};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Bug;
use super::member::{Member, Route, place};
use super::primary::Stream;
use crate::append::group;
use crate::lineage::judge::counts_until;
use crate::lineage::record::{Epoch, Lineage};

/// Steps of a history before everything heals.
pub(super) const STEPS: usize = 4_000;

const MEMBERS: usize = 5;

/// How long a lease lives. A step takes one.
const TTL: u64 = 60;

/// Appends of a history: so few that an order of them can be searched for.
const APPENDS: usize = 80;

/// An append.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) ask: group::Ask,
    pub(super) piece: Vec<u8>,
    id: Id,
    sent: Duration,
    condition: Ask,
    settled: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) enum Settled {
    Done { begin: i64, end: i64, registers: Registers },
    Mismatch { registers: Registers },
    WrongOffset,
    Unknown,
}

#[derive(Debug)]
pub(super) struct World {
    rng: StdRng,
    pub(super) bug: Option<Bug>,
    has_operator: bool,
    pub(super) now: u64,
    pub(super) members: Vec<Member>,
    pub(super) streams: Vec<Stream>,
    /// Pairs that do not reach each other.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// What the registry holds.
    pub(super) route: Route,
    pub(super) lineage: Option<Lineage>,
    expires: Vec<u64>,
    /// The end of what the store holds.
    pub(super) stored: usize,
    pub(super) asked: Vec<Asked>,
    pub(super) history: Vec<Append>,
    pub(super) ops: Vec<Timed<Op>>,
    pub(super) seen: Seen,
    pub(super) problems: Vec<String>,
    /// What clients last heard of the register.
    register: Option<u32>,
}

impl World {
    /// With an operator who accepts losses, or without one.
    pub(super) fn new(seed: u64, bug: Option<Bug>, has_operator: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let replicas = rng.random_range(1..4);
        let route = Route { revision: 10, members: (0..replicas).collect() };
        let members = (0..MEMBERS).map(|index| Member::new(index, route.clone())).collect();
        let mut world = Self {
            rng,
            bug,
            has_operator,
            now: 1,
            members,
            streams: Vec::new(),
            cut: BTreeSet::new(),
            route,
            lineage: None,
            expires: vec![0; MEMBERS],
            stored: 0,
            asked: Vec::new(),
            history: Vec::new(),
            ops: Vec::new(),
            seen: Seen::default(),
            problems: Vec::new(),
            register: None,
        };
        world.renew();
        world
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.history.iter().filter(|append| matches!(append.outcome, Outcome::Done { .. })).count()
    }

    /// One of many things happens.
    pub(super) fn step(&mut self) {
        self.now += 1;
        self.renew();
        let member = self.rng.random_range(0..MEMBERS);
        match self.rng.random_range(0..1_000) {
            0..400 => self.traffic(),
            400..500 => self.work(member),
            500..650 => self.work(self.route.members[0]),
            650..740 => self.ask(member),
            740..850 => self.read(member),
            850..880 => self.look(member),
            880..885 => self.kill(member),
            885..910 => self.start(member),
            910..915 => self.freeze(member),
            915..930 => self.thaw(member),
            930..940 => self.cut_or_mend(member),
            940..945 => self.break_one(),
            945..985 => self.allocate(),
            _ => self.store(member),
        }
    }

    /// Everything heals, a last append lands, and all that anybody shows is read. The journal, as far as it is known from its
    /// beginning.
    pub(super) fn heal(&mut self) -> Vec<u8> {
        self.cut.clear();
        for member in 0..MEMBERS {
            self.thaw(member);
            self.start(member);
        }
        let before = self.acknowledged();
        for round in 0..4_000 {
            self.now += 1;
            self.renew();
            for member in 0..MEMBERS {
                self.look(member);
            }
            let primary = self.route.members[0];
            if round % 100 == 0 {
                self.ask_of(primary, None);
            }
            self.work(primary);
            (0..20).for_each(|_| self.traffic());
            if round > 200 && self.acknowledged() > before {
                break;
            }
        }
        if self.acknowledged() == before {
            self.problems.push("J21: nothing is acknowledged after everything has healed".to_owned());
        }
        for member in 0..MEMBERS {
            self.drain(member);
            self.judge(member);
        }
        for member in 0..MEMBERS {
            let (from, end) = (self.members[member].log.from, self.members[member].shown);
            let bytes = self.members[member].log.slice(from, end).to_vec();
            self.see(from, &bytes);
        }
        let whole = self.seen.spans().next().filter(|(begin, _)| *begin == 0);
        whole.map(|(_, bytes)| bytes.to_vec()).unwrap_or_default()
    }

    /// Whoever runs renews its lease, and whoever had none takes its place again.
    fn renew(&mut self) {
        for (member, expires) in self.members.iter_mut().zip(&mut self.expires) {
            if member.acts() {
                // Counted from when it was sent; the registry counts from later on.
                member.lease_until = self.now + TTL;
                *expires = self.now + TTL + 5;
            }
        }
    }

    /// A message or an answer arrives somewhere.
    fn traffic(&mut self) {
        let open: Vec<usize> = (0..self.streams.len()).filter(|at| !self.streams[*at].broken).collect();
        if open.is_empty() {
            return;
        }
        let at = open[self.rng.random_range(0..open.len())];
        let Stream { from, to, .. } = self.streams[at];
        if self.cut.contains(&(from.min(to), from.max(to))) {
            return;
        }
        if self.rng.random_range(0..2) == 0 { self.deliver(at) } else { self.hear(at) }
    }

    /// A primary does what is next for it.
    fn work(&mut self, index: usize) {
        let held = self.now < self.members[index].lease_until;
        let member = &self.members[index];
        if !member.acts() || member.view.members.first() != Some(&index) || !held {
            return;
        }
        if member.leading.is_some() {
            self.turn(index);
        } else if member.agreeing.is_some() {
            self.agree_on(index);
        } else {
            self.begin_agreement(index);
        }
    }

    fn ask(&mut self, member: usize) {
        if self.asked.len() >= APPENDS || !self.members[member].runs {
            return;
        }
        // Most know who the primary is.
        let to = if self.rng.random_range(0..4) == 0 { member } else { self.route.members[0] };
        let condition = match self.rng.random_range(0..4) {
            0 => Some(self.register),
            1 => Some(self.register.map(|register| register + 1_000)),
            _ => None,
        };
        self.ask_of(to, condition);
    }

    /// Sends an append to a broker; with a condition on the register if one is given.
    fn ask_of(&mut self, to: usize, condition: Option<Option<u32>>) {
        if self.members[to].view.members.first() != Some(&to) || !self.members[to].runs {
            return;
        }
        let number = u32::try_from(self.asked.len()).expect("few");
        let id = Id { writer: number, sequence: 0, attempt: 0 };
        let piece = payload::piece_of(id, number, self.rng.random_range(1..4));
        let label =
            |value: u32| LabelSet::from_pairs([(REGISTER, value.to_string().as_str())]).expect("a label");
        let length = i64::try_from(piece.len()).expect("short");
        let mut wanted = Ask { length, ..Ask::default() };
        let mut ask = group::Ask { length: piece.len() as u64, ..group::Ask::default() };
        if let Some(expect) = condition {
            (wanted.expect, wanted.set) = (expect, Some(number));
            ask.check = expect.map(|value| format!("{REGISTER}={value}").parse().expect("a selector"));
            ask.union = label(number);
        }
        let sent = Duration::from_millis(self.now);
        self.members[to].queue.push(self.asked.len());
        self.asked.push(Asked { ask, piece, id, sent, condition: wanted, settled: false });
    }

    /// Takes note of what came of an append.
    pub(super) fn settle(&mut self, op: usize, how: Settled, by: Option<(usize, i64)>) {
        let settled = Duration::from_millis(self.now);
        let Asked { id, sent, condition, piece, .. } = self.asked[op].clone();
        if std::mem::replace(&mut self.asked[op].settled, true) {
            self.problems.push(format!("J9: {id:?} was answered twice"));
            return;
        }
        let told = |registers: &Registers| register_of(&wire::LabelSet::from(registers));
        let (outcome, answer) = match &how {
            Settled::Done { begin, end, registers } => {
                self.register = told(registers);
                (
                    Outcome::Done { begin: *begin, end: *end },
                    Answer::Done { begin: *begin, register: told(registers) },
                )
            }
            Settled::Mismatch { registers } => {
                (Outcome::Failed, Answer::Mismatch { register: told(registers) })
            }
            Settled::WrongOffset => (Outcome::Failed, Answer::WrongOffset),
            Settled::Unknown => (Outcome::Unknown, Answer::Unknown),
        };
        if let Outcome::Done { begin, .. } = outcome {
            self.see(usize::try_from(begin).expect("an offset"), &piece);
        }
        let witness = by.map(|(member, revision)| {
            let name = self.members[member].id.to_string();
            Witness { revision, primary: name.clone(), committer: name }
        });
        self.history.push(Append { id, sent, settled, outcome, repeats: false, witness });
        let settled = (answer != Answer::Unknown).then_some(settled);
        self.ops.push(Timed { sent, settled, op: Op { id, ask: condition, answer } });
    }

    fn see(&mut self, begin: usize, bytes: &[u8]) {
        if let Err(at) = self.seen.add(begin, bytes) {
            self.problems.push(format!("J3: offset {at} named other bytes before"));
        }
    }

    /// Whether an operator accepts that bytes at an offset and above may be lost: none of the last holders does anything.
    pub(super) fn gives_up(&mut self, floor: usize) -> bool {
        let Some(newest) = self.lineage.as_ref().and_then(Lineage::newest) else { return false };
        let away =
            self.members.iter().filter(|member| newest.has_member(&member.id)).all(|member| !member.acts());
        self.has_operator && away && floor <= self.seen.end() && self.rng.random_range(0..4) == 0
    }

    /// Somebody reads what a broker shows.
    fn read(&mut self, index: usize) {
        let member = &self.members[index];
        if !member.acts() || !member.view.members.contains(&index) {
            return;
        }
        let end = if self.bug == Some(Bug::WakeReadersEarly) { member.log.end() } else { member.shown };
        let begin = self.rng.random_range(0..end.max(1));
        let begin = begin.max(member.log.from);
        let bytes = member.log.slice(begin, end).to_vec();
        self.see(begin, &bytes);
    }

    /// What a broker has of earlier epochs counts as far as the record says, also if nobody has told it more.
    pub(super) fn judge(&mut self, index: usize) {
        let member = &mut self.members[index];
        let (Some(open), Some(record)) = (&member.log.open, &self.lineage) else { return };
        // Of the newest epoch what lies below its begin.
        let newest = record.epochs.last().filter(|epoch| epoch.number == open.epoch);
        let counts = newest.map_or_else(|| counts_until(Some(record), open.epoch), Epoch::begin);
        member.shown = member.shown.max(place(counts).min(member.log.end()));
    }

    /// What a broker shows of the journal goes to the store.
    fn store(&mut self, index: usize) {
        if self.members[index].acts() {
            self.judge(index);
        }
        let member = &self.members[index];
        if member.acts() && member.log.from <= self.stored && member.shown > self.stored {
            let (begin, end) = (self.stored, member.shown.min(member.log.end()));
            let bytes = member.log.slice(begin, end).to_vec();
            self.stored = self.stored.max(end);
            self.see(begin, &bytes);
        }
    }

    /// Before a log goes on behind a gap, what it has goes to the store.
    pub(super) fn leave_behind(&mut self, index: usize, begin: usize) {
        if begin > self.members[index].log.end() {
            self.judge(index);
            let member = &self.members[index];
            let (from, end) = (member.log.from, member.shown.min(member.log.end()));
            let bytes = member.log.slice(from, end).to_vec();
            self.see(from, &bytes);
        }
    }

    /// A broker's mirror catches up.
    fn look(&mut self, index: usize) {
        if self.members[index].acts() && self.members[index].view != self.route {
            self.members[index].view = self.route.clone();
            self.looked(index);
        }
    }

    /// What follows for a broker from what it has come to know of the registry.
    pub(super) fn looked(&mut self, index: usize) {
        let member = &mut self.members[index];
        let leads_no_more =
            member.leading.as_ref().is_some_and(|leading| leading.revision != member.view.revision);
        member.agreeing = None;
        if leads_no_more {
            self.stop_leading(index);
        }
        if self.members[index].view.members.first() != Some(&index) {
            self.drain(index);
        }
    }

    /// Appends that wait here are sent elsewhere, or given up.
    fn drain(&mut self, index: usize) {
        for op in std::mem::take(&mut self.members[index].queue) {
            self.settle(op, Settled::Unknown, None);
        }
    }

    fn kill(&mut self, index: usize) {
        if !self.members[index].runs {
            return;
        }
        self.stop_leading(index);
        self.drain(index);
        for at in 0..self.streams.len() {
            if self.streams[at].to == index {
                self.break_stream(at);
            }
        }
        let member = &mut self.members[index];
        (member.runs, member.frozen, member.agreeing) = (false, false, None);
        if self.bug == Some(Bug::ReissueOffset) {
            member.log.lose_tail(150);
        }
    }

    fn start(&mut self, index: usize) {
        let member = &mut self.members[index];
        if member.runs {
            return;
        }
        member.runs = true;
        // What is recovered of the newest epoch is not shown before an agreement says how much of it counts.
        member.generation += 1;
        self.look(index);
    }

    fn freeze(&mut self, index: usize) {
        self.members[index].frozen |= self.members[index].runs;
    }

    fn thaw(&mut self, index: usize) {
        let member = &mut self.members[index];
        if !std::mem::take(&mut member.frozen) || self.bug == Some(Bug::RenewLeaseAfterPause) {
            return;
        }
        // By its own clock it has lost its place, and everything that rested on it.
        if self.now >= member.lease_until {
            member.agreeing = None;
            member.generation += 1;
            self.stop_leading(index);
            self.drain(index);
            self.look(index);
        }
    }

    fn cut_or_mend(&mut self, one: usize) {
        let other = self.rng.random_range(0..MEMBERS);
        let pair = (one.min(other), one.max(other));
        if !self.cut.remove(&pair) && one != other && self.cut.len() < 3 {
            self.cut.insert(pair);
        }
    }

    fn break_one(&mut self) {
        let open: Vec<usize> = (0..self.streams.len()).filter(|at| !self.streams[*at].broken).collect();
        if !open.is_empty() {
            let at = open[self.rng.random_range(0..open.len())];
            self.break_stream(at);
        }
    }

    /// The allocator replaces who has lost its place, or makes another member the primary.
    fn allocate(&mut self) {
        let lives = |world: &Self, member: usize| world.expires[member] > world.now;
        let before = self.route.members.clone();
        let mut members = before.clone();
        for at in 0..members.len() {
            if lives(self, members[at]) {
                continue;
            }
            let spare = (0..MEMBERS).filter(|member| !members.contains(member) && lives(self, *member));
            let spare: Vec<usize> = spare.collect();
            if !spare.is_empty() {
                members[at] = spare[self.rng.random_range(0..spare.len())];
            }
        }
        // A primary that has lost its place is followed by a member that has not.
        if let Some(at) = members.iter().position(|member| before.contains(member) && lives(self, *member))
            && !lives(self, before[0])
        {
            members.swap(0, at);
        }
        if members == before && self.rng.random_range(0..4) == 0 {
            let at = self.rng.random_range(0..members.len());
            members.swap(0, at);
        }
        if members != before {
            self.route = Route { revision: self.route.revision + 1, members };
        }
    }
}
