//! What a primary does between agreements: it decides appends, sends rounds, and answers when they are committed.

use bytes::Bytes;
use courant_fragment::spool::state::Proposal;
use courant_proto::codec::Codec;
use courant_proto::offset::Offset;
use courant_proto::spec::JournalSpec;
use courant_proto::status::Status;
use courant_proto::time::Timestamp;
use courant_proto::wire;

use super::Bug;
use super::member::place;
use super::world::{Settled, World};
use crate::append::group::{self, Known, Standing, Turn, Verdict};
use crate::append::roll::OpenSpool;
use crate::replicate::follow::{Decided, Follow, Proposed, Taken};
use crate::replication::messages::{self, Payload, Rolling, Round};
use crate::replication::rounds::Rounds;

/// A broker that leads the journal.
#[derive(Debug)]
pub(super) struct Leading {
    pub(super) rounds: Rounds<Sent>,
    pub(super) streams: Vec<usize>,
    pub(super) revision: i64,
}

/// A round on its way.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) end: usize,
    pub(super) answers: Vec<(usize, Settled)>,
}

/// A stream from a primary to a follower, with what is under way in either direction.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) from: usize,
    pub(super) to: usize,
    /// The place of the follower among the primary's peers.
    pub(super) peer: usize,
    pub(super) generation: u64,
    pub(super) follow: Follow,
    pub(super) kept: Vec<u8>,
    pub(super) there: std::collections::VecDeque<wire::ReplicateRequest>,
    pub(super) back: std::collections::VecDeque<bool>,
    pub(super) broken: bool,
}

/// A spec without surprises: short fragments, no flushing.
pub(super) fn spec() -> JournalSpec {
    let mut spec = group::tests::spec();
    spec.fragment.flush_interval = None;
    spec
}

impl World {
    /// Decides what waits at a primary, writes it, and sends it.
    pub(super) fn turn(&mut self, index: usize) {
        let held = self.now < self.members[index].lease_until;
        let member = &mut self.members[index];
        let Some(leading) = member.leading.as_mut().filter(|leading| held && leading.rounds.has_room())
        else {
            return;
        };
        let Some(open) = member.log.open.clone() else { return };
        let Proposal { begin, end, .. } = open.committed;
        let standing = Standing {
            spool: OpenSpool { begin, end, first_append: (end > begin).then(|| Timestamp::from_secs(1)) },
            registers: open.registers.clone(),
            agreed: true,
            floor: Offset::ZERO,
        };
        let known = Known { refreshed: true, begin: Offset::ZERO, end: Offset::ZERO, last_mod_time: 0 };
        let mut asks: Vec<group::Ask> = member.queue.iter().map(|op| self.asked[*op].ask.clone()).collect();
        if self.bug == Some(Bug::SkipRegisterCheck) {
            asks.iter_mut().for_each(|ask| ask.check = None);
        }
        let spec = spec();
        let Turn::Commit(decided) =
            group::turn(&standing, &known, &spec, asks.iter(), Timestamp::from_secs(2))
        else {
            return;
        };
        let rolled = decided.roll.map(|begin| Rolling { begin, codec: Codec::None });
        if let Some(begin) = decided.roll {
            member.log.roll(begin, open.registers.clone(), open.epoch);
        }
        let mut content = Vec::new();
        let mut answers = Vec::new();
        let ops: Vec<usize> = member.queue.drain(..decided.verdicts.len()).collect();
        for ((op, verdict), registers) in ops.into_iter().zip(&decided.verdicts).zip(&decided.registers_at) {
            let registers = registers.clone().unwrap_or_else(|| open.registers.clone());
            let settled = match verdict {
                Verdict::Span { begin, end } => {
                    content.extend_from_slice(&self.asked[op].piece);
                    Settled::Done { begin: begin.get(), end: end.get(), registers }
                }
                Verdict::Refused(Status::RegisterMismatch) => Settled::Mismatch { registers },
                Verdict::Refused(Status::WrongAppendOffset) => Settled::WrongOffset,
                other => panic!("{other:?} was not asked for"),
            };
            answers.push((op, settled));
        }
        if !content.is_empty() {
            member.log.commit(&content, decided.registers.clone());
        }
        let now = member.log.open.as_ref().expect("a spool is open");
        let journal = spec.name.clone();
        let payload = Payload::Memory(vec![Bytes::from(content.clone())]);
        let round = Round {
            journal: &journal,
            rolled: rolled.map(|rolled| (rolled, &open.registers)),
            payload,
            proposal: now.committed,
            registers: &now.registers,
            committed: super::member::offset(member.shown),
        };
        for stream in &leading.streams {
            let there = &mut self.streams[*stream].there;
            there.extend(round.first());
            // In two parts, so that one may come without the other.
            let (one, two) = content.split_at(content.len() / 2);
            for (part, delta) in [(one, 0), (two, one.len())] {
                if !part.is_empty() {
                    there.push_back(messages::content(Bytes::copy_from_slice(part), delta as u64));
                }
            }
            there.push_back(round.last());
        }
        leading.rounds.sent(Sent { end: place(now.committed.end), answers }, content.len() as u64);
        self.commit_rounds(index);
    }

    /// Takes note of what all peers have answered.
    pub(super) fn commit_rounds(&mut self, index: usize) {
        let member = &mut self.members[index];
        let Some(leading) = &mut member.leading else { return };
        if self.bug == Some(Bug::AcknowledgeBeforeFollowers) {
            // A wrapper that answers for the peers.
            for peer in 0..leading.streams.len() {
                while leading.rounds.answered(peer, 1).is_ok() {}
            }
        }
        let mut settled = Vec::new();
        while let Some(Sent { end, answers }) = leading.rounds.next_committed() {
            member.shown = member.shown.max(end);
            settled.extend(answers);
        }
        let revision = leading.revision;
        for (op, how) in settled {
            self.settle(op, how, Some((index, revision)));
        }
    }

    /// A stream ends, and with it the pipeline that it belongs to.
    pub(super) fn break_stream(&mut self, stream: usize) {
        if std::mem::replace(&mut self.streams[stream].broken, true) {
            return;
        }
        let from = self.streams[stream].from;
        let leads =
            self.members[from].leading.as_ref().is_some_and(|leading| leading.streams.contains(&stream));
        if leads {
            self.stop_leading(from);
        }
    }

    /// A pipeline ends: nobody knows what became of its rounds.
    pub(super) fn stop_leading(&mut self, index: usize) {
        let Some(leading) = self.members[index].leading.take() else { return };
        for stream in &leading.streams {
            self.streams[*stream].broken = true;
        }
        for sent in leading.rounds.into_unknown() {
            for (op, _) in sent.answers {
                self.settle(op, Settled::Unknown, None);
            }
        }
    }

    /// The next message of a stream arrives.
    pub(super) fn deliver(&mut self, at: usize) {
        let to = self.streams[at].to;
        if self.streams[at].broken || !self.members[to].acts() {
            return;
        }
        let Some(message) = self.streams[at].there.pop_front() else { return };
        let current = self.members[to].generation == self.streams[at].generation
            || self.bug == Some(Bug::AcceptStaleRoute);
        let taken = self.streams[at].follow.take(message);
        match taken {
            Ok(Taken::Content(content)) => self.streams[at].kept.extend_from_slice(&content),
            Ok(Taken::Nothing) => {}
            Ok(Taken::Proposed(proposed)) if current => {
                if !self.carry_out(at, proposed) {
                    self.break_stream(at);
                }
            }
            Ok(Taken::Proposed(_)) | Err(_) => self.break_stream(at),
        }
    }

    /// Writes what a follower's rules came to. Whether that was possible.
    pub(super) fn carry_out(&mut self, at: usize, proposed: Proposed) -> bool {
        let Proposed { step, committed, answer, keeps } = proposed;
        let stream = &mut self.streams[at];
        let to = stream.to;
        let kept = if keeps { Vec::new() } else { std::mem::take(&mut stream.kept) };
        let member = &mut self.members[to];
        match step {
            Decided::Skip | Decided::Nothing => {}
            Decided::Commit { at, registers, .. } => {
                let here = member.log.open.as_ref().map(|open| open.committed.end);
                if here != Some(at) || member.log.end() != place(at) {
                    return false;
                }
                member.log.commit(&kept, registers);
            }
            Decided::Roll { cut, begin, registers, epoch, .. } => {
                if let Some(cut) = cut.filter(|_| self.bug != Some(Bug::NoRollback)) {
                    member.log.cut(place(cut));
                }
                let own = member.log.open.as_ref().map_or(0, |open| open.epoch);
                self.leave_behind(to, place(begin));
                self.members[to].log.roll(begin, registers, epoch.unwrap_or(own));
            }
        }
        let member = &mut self.members[to];
        member.shown = member.shown.max(place(committed));
        if let Some(answer) = answer {
            self.streams[at].back.push_back(answer.status == Status::Ok as i32);
        }
        true
    }

    /// The next answer of a stream arrives.
    pub(super) fn hear(&mut self, at: usize) {
        let (from, peer) = (self.streams[at].from, self.streams[at].peer);
        if self.streams[at].broken || !self.members[from].acts() {
            return;
        }
        let Some(agreed) = self.streams[at].back.pop_front() else { return };
        let heard = self.members[from]
            .leading
            .as_mut()
            .filter(|leading| leading.streams.contains(&at))
            .is_some_and(|leading| agreed && leading.rounds.answered(peer, 1).is_ok());
        if heard || self.bug == Some(Bug::AcknowledgeBeforeFollowers) {
            self.commit_rounds(from);
        } else {
            self.break_stream(at);
        }
    }
}
