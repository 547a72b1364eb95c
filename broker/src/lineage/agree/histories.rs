//! A journal in a cluster of logs that lag, stop, lose tails and are emptied: whatever happens, no acknowledged byte is given up while
//! fewer logs than an epoch has members are lost, and no offset ever counts with two contents.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::judge::{Recovered, Verdict, counts_until, judge};
use super::*;

const CREATED: i64 = 40;
const CLUSTER: u64 = 0xc1;
const BROKERS: usize = 4;

/// One byte, told from every other that was ever written.
type Byte = u64;

/// A spool of a journal, as a log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spool {
    epoch: u64,
    begin: usize,
    bytes: Vec<Byte>,
}

impl Spool {
    fn end(&self) -> usize {
        self.begin + self.bytes.len()
    }
}

#[derive(Clone, Debug)]
struct Broker {
    log: u64,
    spools: Vec<Spool>,
    is_up: bool,
}

impl Broker {
    fn contributor(&self, number: usize) -> Contributor {
        let head = self.spools.last().map(|spool| Known {
            epoch: spool.epoch,
            end: offset(spool.end()),
            registers: Registers::default(),
        });
        Contributor { id: id(number), log: Some(self.log), certain: true, head }
    }

    /// Takes away what is at an offset and above.
    fn cut(&mut self, at: usize) {
        for spool in &mut self.spools {
            spool.bytes.truncate(at.saturating_sub(spool.begin));
        }
        let newest = self.spools.len();
        let mut place = 0;
        self.spools.retain(|spool| {
            place += 1;
            place == newest || !spool.bytes.is_empty()
        });
    }

    /// Puts a run of bytes into the newest spool, which may begin with them.
    fn fill(&mut self, epoch: u64, at: usize, bytes: &[Byte]) {
        match self.spools.last_mut() {
            Some(open) if open.epoch == epoch && open.end() == at => open.bytes.extend_from_slice(bytes),
            _ => self.spools.push(Spool { epoch, begin: at, bytes: bytes.to_vec() }),
        }
    }
}

fn id(number: usize) -> ProcessId {
    ProcessId::new("zone", &format!("broker-{number}")).expect("an id")
}

fn offset(at: usize) -> Offset {
    Offset::new(at as i64).expect("an offset")
}

/// The pipeline that a primary has.
#[derive(Clone, Debug)]
struct Pipeline {
    epoch: u64,
    members: Vec<usize>,
}

#[derive(Debug)]
struct World {
    record: Option<Lineage>,
    brokers: Vec<Broker>,
    pipeline: Option<Pipeline>,
    /// What was acknowledged, by offset.
    acknowledged: BTreeMap<usize, Byte>,
    /// What was ever shown or stored, by offset.
    counted: BTreeMap<usize, Byte>,
    /// Logs lost since each epoch began, at most.
    lost: BTreeMap<u64, Vec<usize>>,
    /// Acknowledged bytes may be gone: too many logs were lost.
    may_lose: bool,
    next: u64,
}

#[derive(Clone, Debug)]
enum Step {
    /// A primary and others agree, and the primary dies after so many things it does for it.
    Agree { primary: usize, others: Vec<usize>, dies_after: usize, fills: usize },
    /// The primary writes a round; so many members, itself included, get it.
    Round { length: usize, reached: usize },
    /// A process dies, and its log is as it was.
    Kill(usize),
    /// It comes back.
    Start(usize),
    /// The power of one machine fails: the end of its log is gone.
    Power { broker: usize, lost: usize },
    /// A log is emptied.
    Wipe(usize),
}

impl World {
    fn new() -> Self {
        let brokers = (0..BROKERS)
            .map(|number| Broker { log: ((number as u64 + 1) << 32) | 1, spools: Vec::new(), is_up: true })
            .collect();
        Self {
            record: None,
            brokers,
            pipeline: None,
            acknowledged: BTreeMap::new(),
            counted: BTreeMap::new(),
            lost: BTreeMap::new(),
            may_lose: false,
            next: 1 << 40,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1 << 24;
        self.next
    }

    /// A log is no longer what it was.
    fn lose(&mut self, broker: usize) {
        let Some(newest) = self.record.as_ref().and_then(Lineage::newest) else { return };
        let lost = self.lost.entry(newest.number).or_default();
        if newest.has_member(&id(broker)) && !lost.contains(&broker) {
            lost.push(broker);
        }
        self.may_lose |= lost.len() >= newest.members.len();
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Agree { primary, others, dies_after, fills } => {
                self.agree(*primary, others, *dies_after, *fills)?;
            }
            Step::Round { length, reached } => self.round(*length, *reached)?,
            Step::Kill(broker) => self.stop(*broker),
            Step::Start(broker) => self.brokers[*broker].is_up = true,
            Step::Power { broker, lost } => {
                self.stop(*broker);
                self.lose(*broker);
                let log = &mut self.brokers[*broker];
                // Recovery finds that something may be missing.
                log.log = super::super::log_number::after_loss(log.log);
                let head = log.spools.last().map_or(0, Spool::end);
                let begin = log.spools.last().map_or(0, |spool| spool.begin);
                log.cut(head.saturating_sub(*lost).max(begin));
                if *lost > 15 {
                    log.spools.pop();
                }
            }
            Step::Wipe(broker) => {
                self.stop(*broker);
                self.lose(*broker);
                let log = self.number() | 1;
                let broker = &mut self.brokers[*broker];
                broker.log = log;
                broker.spools.clear();
            }
        }
        self.check()
    }

    fn stop(&mut self, broker: usize) {
        self.brokers[broker].is_up = false;
        if self.pipeline.as_ref().is_some_and(|pipeline| pipeline.members.contains(&broker)) {
            self.pipeline = None;
        }
    }

    fn agree(
        &mut self,
        primary: usize,
        others: &[usize],
        dies_after: usize,
        fills: usize,
    ) -> Result<(), TestCaseError> {
        let mut members = vec![primary];
        for other in others {
            if !members.contains(other) {
                members.push(*other);
            }
        }
        // All members of a route have to answer.
        if members.iter().any(|member| !self.brokers[*member].is_up) {
            return Ok(());
        }
        self.pipeline = None;
        let mut told = members.clone();
        let mut asked = false;
        let (after, base, source) = loop {
            let contributors: Vec<Contributor> =
                told.iter().map(|member| self.brokers[*member].contributor(*member)).collect();
            let wish = Wish {
                create_revision: CREATED,
                contributors: &contributors,
                begin: Offset::ZERO,
                accept_loss: false,
                store_end: Offset::ZERO,
            };
            match agree(self.record.as_ref(), &wish, asked) {
                Agreed::At { after, base, source, .. } => break (after, base.get() as usize, source),
                Agreed::Ask(more) => {
                    prop_assert!(!asked, "who was asked is not asked again");
                    asked = true;
                    let up = |number: &usize| self.brokers[*number].is_up && more.contains(&id(*number));
                    told.extend((0..BROKERS).filter(up));
                }
                unknown @ Agreed::Unknown { .. } => panic!("an epoch that was never recorded: {unknown:?}"),
                Agreed::Refuse { .. } => {
                    prop_assert!(asked || told.len() >= members.len());
                    return Ok(());
                }
            }
        };
        let acknowledged = self.acknowledged.keys().next_back().map_or(0, |last| last + 1);
        if !self.may_lose {
            prop_assert!(base >= acknowledged, "base {base}, acknowledged {acknowledged}: {self:?}");
        }
        // What the primary lacks it fetches, piece by piece, in the epoch that it is of.
        if let Some(source) = source.and_then(|source| (0..BROKERS).find(|number| id(*number) == source))
            && source != primary
        {
            let from = self.brokers[source].clone();
            let done = self.fetch(&from, primary, base, if dies_after == 0 { fills } else { usize::MAX });
            if !done {
                self.stop(primary);
                return Ok(());
            }
        }
        // The record, if it is still the one that was agreed upon: nobody is quicker here.
        let number = after + 1;
        let next = Epoch {
            number,
            members: members.iter().map(|member| (&id(*member)).into()).collect(),
            logs: members.iter().map(|member| self.brokers[*member].log).collect(),
            begin: base as i64,
            ..Epoch::default()
        };
        let record = self.record.take();
        let record = record.unwrap_or_else(|| Lineage { create_revision: CREATED, ..Lineage::default() });
        self.record = Some(record.followed_by(next));
        // Bytes that are gone are gone; nobody is left to say what they were.
        if self.may_lose {
            self.acknowledged.retain(|at, _| *at < base);
            self.counted.retain(|at, _| *at < base);
        }
        self.may_lose = false;
        if dies_after == 1 {
            self.stop(primary);
            return Ok(());
        }
        self.enter(primary, number, base);
        for (place, member) in members.iter().enumerate().skip(1) {
            if dies_after == 1 + place {
                self.stop(primary);
                return Ok(());
            }
            let from = self.brokers[primary].clone();
            let knows = self.brokers[*member].spools.last().is_some_and(|open| open.epoch == after);
            if knows
                && !self.fetch(&from, *member, base, if dies_after == BROKERS { fills } else { usize::MAX })
            {
                self.stop(*member);
                return Ok(());
            }
            self.enter(*member, number, base);
        }
        self.pipeline = Some(Pipeline { epoch: number, members });
        // Everything below the base is committed now: it is shown.
        let primary = self.brokers[primary].clone();
        for spool in &primary.spools {
            self.count(spool, base)?;
        }
        Ok(())
    }

    fn enter(&mut self, broker: usize, epoch: u64, base: usize) {
        self.settle(broker);
        let broker = &mut self.brokers[broker];
        broker.cut(base);
        broker.spools.retain(|spool| !spool.bytes.is_empty());
        broker.spools.push(Spool { epoch, begin: base, bytes: Vec::new() });
    }

    /// Cuts off what a log has of epochs behind the begin of the next: while it was away, or led a route alone, others went on.
    fn settle(&mut self, broker: usize) {
        let record = self.record.as_ref();
        for spool in &mut self.brokers[broker].spools {
            let until = counts_until(record, spool.epoch).get() as usize;
            spool.bytes.truncate(until.saturating_sub(spool.begin));
        }
        let mut left = self.brokers[broker].spools.len();
        self.brokers[broker].spools.retain(|spool| {
            left -= 1;
            left == 0 || !spool.bytes.is_empty()
        });
    }

    /// Copies what a log lacks behind its own end from another. False: it died before it had all of it.
    fn fetch(&mut self, from: &Broker, to: usize, base: usize, most: usize) -> bool {
        let mut room = most;
        self.settle(to);
        for spool in &from.spools {
            let have = self.brokers[to].spools.last().map_or(spool.begin, Spool::end);
            let (begin, end) = (have.max(spool.begin), spool.end().min(base));
            if begin >= end {
                continue;
            }
            let length = (end - begin).min(room);
            room -= length;
            let bytes = &spool.bytes[begin - spool.begin..begin - spool.begin + length];
            self.brokers[to].fill(spool.epoch, begin, bytes);
            if begin + length < end {
                return false;
            }
        }
        true
    }

    fn round(&mut self, length: usize, reached: usize) -> Result<(), TestCaseError> {
        let Some(pipeline) = self.pipeline.clone() else { return Ok(()) };
        self.next += 1000;
        let bytes: Vec<Byte> = (0..length as u64).map(|n| self.next + n).collect();
        let begin = self.brokers[pipeline.members[0]].spools.last().map_or(0, Spool::end);
        for member in pipeline.members.iter().take(reached) {
            let open = self.brokers[*member].spools.last_mut().expect("it entered the epoch");
            prop_assert_eq!((open.epoch, open.end()), (pipeline.epoch, begin));
            open.bytes.extend_from_slice(&bytes);
        }
        if reached < pipeline.members.len() {
            self.pipeline = None;
            return Ok(());
        }
        for (place, byte) in bytes.into_iter().enumerate() {
            self.acknowledged.insert(begin + place, byte);
            let before = self.counted.insert(begin + place, byte);
            prop_assert!(before.is_none_or(|before| before == byte), "an offset is given out twice");
        }
        Ok(())
    }

    /// Notes that bytes of a spool, up to an offset, are shown or stored.
    fn count(&mut self, spool: &Spool, until: usize) -> Result<(), TestCaseError> {
        for (place, byte) in
            spool.bytes.iter().enumerate().take_while(|(place, _)| spool.begin + place < until)
        {
            let at = spool.begin + place;
            let before = self.counted.insert(at, *byte);
            prop_assert!(
                before.is_none_or(|before| before == *byte),
                "offset {at} counts with two contents: {self:?}"
            );
        }
        Ok(())
    }

    /// Every log is as if its process had just been started: what lineage lets count at once is uploaded.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let Some(newest) = self.record.as_ref().and_then(Lineage::newest).cloned() else { return Ok(()) };
        let settled = settled(self.record.as_ref(), &newest);
        for broker in self.brokers.clone() {
            for spool in &broker.spools {
                let recovered = Recovered {
                    cluster: CLUSTER,
                    create_revision: CREATED,
                    epoch: spool.epoch,
                    begin: offset(spool.begin),
                    end: offset(spool.end()),
                };
                let end = match judge(&recovered, CLUSTER, Some(CREATED), self.record.as_ref()) {
                    Verdict::Adopt => spool.end(),
                    Verdict::CutAt(at) => at.get() as usize,
                    Verdict::Quarantine(_) => continue,
                };
                self.count(spool, end.min(settled))?;
            }
        }
        Ok(())
    }
}

/// Below this, content that was recovered counts without an agreement.
fn settled(record: Option<&Lineage>, newest: &Epoch) -> usize {
    let me = id(BROKERS);
    let committed = super::super::judge::committed(record, &me);
    assert_eq!(committed, newest.begin());
    newest.begin as usize
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let broker = 0..BROKERS;
    let agrees = (broker.clone(), prop::collection::vec(broker.clone(), 0..3), 0usize..12, 0usize..8)
        .prop_map(|(primary, others, dies_after, fills)| Step::Agree { primary, others, dies_after, fills });
    let step = prop_oneof![
        5 => agrees,
        6 => (1usize..8, prop_oneof![1usize..4, Just(9)]).prop_map(|(length, reached)| Step::Round { length, reached }),
        2 => broker.clone().prop_map(Step::Kill),
        3 => broker.clone().prop_map(Step::Start),
        1 => (broker.clone(), 0usize..20).prop_map(|(broker, lost)| Step::Power { broker, lost }),
        1 => broker.prop_map(Step::Wipe),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]
    #[test]
    fn acknowledged_bytes_lie_below_every_base_and_no_offset_counts_twice(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step)?;
        }
    }
}
