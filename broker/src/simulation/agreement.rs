//! How a primary brings the members of its route to one end, a step at a time.

use courant_proto::offset::Offset;
use courant_proto::wire;
use courant_proto::wire::courant::Attach;

use super::Bug;
use super::member::{Route, offset, place};
use super::primary::{Leading, Stream, spec};
use super::world::World;
use crate::lineage::agree::{Agreed, Contributor, Wish, agree};
use crate::lineage::judge::counts_until;
use crate::lineage::record::{Epoch, Lineage};
use crate::replicate::follow::Follow;
use crate::replication::messages::propose;
use crate::replication::rounds::Rounds;

/// The registry's revision that created the journal.
pub(super) const CREATED: i64 = 7;

/// An agreement under way.
#[derive(Debug)]
pub(super) struct Agreeing {
    route: Route,
    /// The record that it rests on, as it was read.
    record: Option<Lineage>,
    contributors: Vec<Contributor>,
    /// The tokens of the members of the route who were asked.
    tokens: Vec<(usize, u64)>,
    /// Where an operator lets the journal go on, knowing that bytes may be missing below.
    accepts: Option<usize>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    Heads,
    Decide { asked: bool },
    Record { after: u64, base: Offset, source: Option<usize>, registers: courant_proto::registers::Registers },
    Attach { epoch: u64, prior: u64, base: Offset, streams: Vec<usize> },
}

impl World {
    /// Begins an agreement: fences the own log, and reads the record.
    pub(super) fn begin_agreement(&mut self, index: usize) {
        let member = &mut self.members[index];
        member.generation += 1;
        let contributors = vec![member.contributor()];
        member.agreeing = Some(Agreeing {
            route: member.view.clone(),
            record: self.lineage.clone(),
            contributors,
            tokens: Vec::new(),
            accepts: None,
            next: Next::Heads,
        });
    }

    /// Takes one step of an agreement. Whatever fails ends it.
    pub(super) fn agree_on(&mut self, index: usize) {
        let Some(agreeing) = self.members[index].agreeing.take() else { return };
        self.members[index].agreeing = self.next(index, agreeing);
    }

    fn next(&mut self, me: usize, mut agreeing: Agreeing) -> Option<Agreeing> {
        match agreeing.next {
            Next::Heads => {
                let peer = agreeing.route.members.get(agreeing.tokens.len() + 1).copied();
                match peer {
                    Some(peer) => {
                        let (token, head) = self.heads(me, peer, &agreeing.route)?;
                        agreeing.tokens.push((peer, token));
                        agreeing.contributors.push(head);
                    }
                    None => agreeing.next = Next::Decide { asked: false },
                }
            }
            Next::Decide { asked } => {
                let wish = Wish {
                    create_revision: CREATED,
                    contributors: &agreeing.contributors,
                    begin: agreeing.accepts.map_or(Offset::ZERO, offset),
                    accept_loss: agreeing.accepts.is_some(),
                    store_end: offset(self.stored),
                };
                match agree(agreeing.record.as_ref(), &wish, asked) {
                    Agreed::Ask(others) => {
                        for other in others {
                            let index = self.members.iter().position(|member| member.id == other)?;
                            if let Some((_, head)) = self.heads(me, index, &agreeing.route) {
                                agreeing.contributors.push(head);
                            }
                        }
                        agreeing.next = Next::Decide { asked: true };
                    }
                    // An operator who sees that nobody comes back goes on behind all that anybody has seen.
                    Agreed::Refuse { floor } if agreeing.accepts.is_none() && self.gives_up(place(floor)) => {
                        agreeing.accepts = Some(self.seen.end());
                    }
                    Agreed::Refuse { .. } | Agreed::Unknown { .. } => return None,
                    Agreed::At { after, base, registers, source } => {
                        let source =
                            source.and_then(|id| self.members.iter().position(|member| member.id == id));
                        agreeing.next = Next::Record { after, base, source, registers };
                    }
                }
            }
            Next::Record { after, base, source, registers } => {
                if self.lineage != agreeing.record {
                    return None;
                }
                self.cut_superseded(me, place(base));
                if let Some(source) = source.filter(|source| *source != me) {
                    self.fetch(me, source, base)?;
                }
                let record = agreeing
                    .record
                    .clone()
                    .unwrap_or_else(|| Lineage { create_revision: CREATED, ..Lineage::default() });
                let members = &agreeing.route.members;
                let id = |index: &usize| wire::process_spec::Id::from(&self.members[*index].id);
                let epoch = Epoch {
                    number: after + 1,
                    members: members.iter().map(id).collect(),
                    begin: base.get(),
                    registers: Some((&registers).into()),
                    attempt: self.now,
                    sealed: None,
                    logs: members.iter().map(|index| self.members[*index].log.number).collect(),
                };
                self.lineage = Some(record.followed_by(epoch));
                // Our own log: what lies above the base belongs to nobody.
                if self.bug != Some(Bug::NoRollback) {
                    let own = self.members[me].log.open.as_ref().map_or(after, |open| open.epoch);
                    let counts = counts_until(self.lineage.as_ref(), own).min(base);
                    self.members[me].log.cut(place(counts));
                }
                self.leave_behind(me, place(base));
                self.members[me].log.roll(base, registers, after + 1);
                agreeing.next = Next::Attach { epoch: after + 1, prior: after, base, streams: Vec::new() };
            }
            Next::Attach { epoch, prior, base, mut streams } => {
                let Some((peer, token)) = agreeing.tokens.get(streams.len()).copied() else {
                    if streams.iter().any(|stream| self.streams[*stream].broken) {
                        return None;
                    }
                    let member = &mut self.members[me];
                    member.shown = member.shown.max(place(base));
                    let rounds = Rounds::new(streams.len());
                    member.leading = Some(Leading { rounds, streams, revision: agreeing.route.revision });
                    return None;
                };
                let theirs = self.members[peer].log.open.as_ref().map_or(prior, |open| open.epoch);
                let counts = counts_until(self.lineage.as_ref(), theirs).min(base).get();
                let base_at = base.get();
                let attach = Attach { token, create_revision: CREATED, epoch, prior, base: base_at, counts };
                let stream = self.attach(me, peer, streams.len(), attach, &agreeing.route)?;
                streams.push(stream);
                agreeing.next = Next::Attach { epoch, prior, base, streams };
            }
        }
        Some(agreeing)
    }

    /// A broker that is reached catches up with the caller, and looks whether the caller is the primary.
    fn answers(&mut self, caller: usize, other: usize, route: &Route) -> bool {
        let (registry, bug) = (self.route.clone(), self.bug);
        let member = &mut self.members[other];
        if !member.acts() || self.cut.contains(&(caller.min(other), caller.max(other))) {
            return false;
        }
        if member.view.revision < route.revision && bug != Some(Bug::AcceptStaleRoute) {
            member.view = registry;
            self.looked(other);
        }
        bug == Some(Bug::AcceptStaleRoute) || self.members[other].view.members.first() == Some(&caller)
    }

    fn heads(&mut self, me: usize, other: usize, route: &Route) -> Option<(u64, Contributor)> {
        if !self.answers(me, other, route) {
            return None;
        }
        let ends_others = self.bug != Some(Bug::AcceptStaleRoute);
        let member = &mut self.members[other];
        member.generation += u64::from(ends_others);
        Some((member.generation, member.contributor()))
    }

    /// Brings our log to the end of another member's, as far as it is of the epoch of that end.
    fn fetch(&mut self, me: usize, source: usize, base: Offset) -> Option<()> {
        if !self.members[source].acts() || self.cut.contains(&(me.min(source), me.max(source))) {
            return None;
        }
        let theirs = self.members[source].log.open.clone()?;
        let own = self.members[me].log.open.as_ref().filter(|own| own.epoch == theirs.epoch);
        let from = own.map_or(theirs.committed.begin, |own| own.committed.end);
        if from >= base {
            return Some(());
        }
        let (from, to) = (place(from), place(base));
        let bytes = self.members[source].log.slice(from, to).to_vec();
        if bytes.len() != to - from {
            return None;
        }
        if self.members[me].log.open.as_ref().is_none_or(|own| own.epoch != theirs.epoch) {
            self.members[me].log.cut(from);
            self.leave_behind(me, from);
            self.members[me].log.roll(offset(from), theirs.registers.clone(), theirs.epoch);
        }
        self.members[me].log.commit(&bytes, Some(theirs.registers));
        Some(())
    }

    /// What a log that was left behind holds of an older epoch counts no further than the next one's begin.
    fn cut_superseded(&mut self, index: usize, base: usize) {
        let Some(open) = self.members[index].log.open.clone() else { return };
        let counts = place(counts_until(self.lineage.as_ref(), open.epoch).min(offset(base)));
        if self.bug == Some(Bug::NoRollback) || self.members[index].log.end() <= counts {
            return;
        }
        self.judge(index);
        let log = &mut self.members[index].log;
        log.cut(counts);
        if counts < place(open.committed.begin) {
            log.roll(offset(counts), open.registers, open.epoch);
        } else {
            log.lose_tail(place(open.committed.end) - counts);
        }
    }

    /// Opens a stream to a peer, which agrees.
    fn attach(&mut self, me: usize, to: usize, peer: usize, attach: Attach, route: &Route) -> Option<usize> {
        if !self.answers(me, to, route) {
            return None;
        }
        let stale =
            self.members[to].generation != attach.token || self.members[to].view.members != route.members;
        if stale && self.bug != Some(Bug::AcceptStaleRoute) {
            return None;
        }
        let spec = spec();
        let head = self.members[me].log.open.clone()?;
        let request = wire::ReplicateRequest {
            header: Some(wire::Header::default()),
            attach: Some(attach),
            committed: 0,
            ..propose(&spec.name, &head.committed, &head.registers, true)
        };
        let mut follow = Follow::new(spec.name, self.members[to].log.open.clone());
        if let Some(lacking) = follow.lacking(&attach, &request).expect("an attachment") {
            let (from, until) = (place(lacking.from), place(lacking.to));
            let bytes = self.members[me].log.slice(from, until).to_vec();
            if bytes.len() == until - from {
                self.members[to].log.commit(&bytes, Some(lacking.registers));
                follow.filled(self.members[to].log.open.clone()?);
            }
        }
        let proposed = follow.attach(&attach, &request).expect("an attachment");
        let stream = self.streams.len();
        self.streams.push(Stream {
            from: me,
            to,
            peer,
            generation: attach.token,
            follow,
            kept: Vec::new(),
            there: Default::default(),
            back: Default::default(),
            broken: false,
        });
        self.carry_out(stream, proposed);
        let agreed = self.streams[stream].back.pop_front();
        (agreed == Some(true)).then_some(stream)
    }
}
