//! One turn of a core: decide every journal that something waits for, write the log once, then send, show and answer.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use courant_fragment::disk::DiskFile;
use courant_fragment::error::Error;
use courant_fragment::index::LocalExtent;
use courant_fragment::spool::log::{Commit, Opening, Source, Turn as LogTurn};
use courant_fragment::spool::state::Proposal;
use courant_fragment::spool::{Identity, Spool, SpoolId};
use courant_proto::codec::Codec;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::spec::JournalSpec;
use courant_proto::status::Status as Refusal;
use courant_proto::time::Timestamp;
use tonic::Status;

use super::command::Outcome;
use super::durable::{Owed, unsafe_to_write};
use super::journal::{self, Owned, Waiting};
use super::line::{Line, Round};
use super::obey::StagedStep;
use super::run::{Core, ROLL_AGAIN};
use super::veil::Veiled;
use super::wheel::Due;
use crate::append::group::{self, Group, Turn};
use crate::append::receive::Content;
use crate::append::rpc::MOST_REPLICATION;
use crate::background::Background;
use crate::durability::Level;
use crate::journal_space::effective_replication;
use crate::metrics::Commits;
use crate::replication::messages::{self, Payload, Rolling};

/// Peers that answer no round for so long, in seconds, have failed: below the life of a lease.
pub(super) const ANSWERED: i64 = 8;

/// A journal without appends for so long lets go of what only a busy one needs, in seconds.
pub(super) const REST_SECONDS: i64 = 10;

/// What is staged in the log, and counts when that was written.
enum Staged {
    /// A group that this broker decided as primary.
    Group(Box<StagedGroup>),
    /// A step that the primary's stream asked for.
    Step(Box<StagedStep>),
}

struct StagedGroup {
    journal: JournalName,
    group: Group,
    waiting: Vec<Waiting>,
    /// The spool that the group goes to, if it has content or begins one.
    spool: Option<SpoolId>,
    /// The spool that the group closed.
    completed: Option<SpoolId>,
    /// Where the one that it began begins.
    rolled: Option<Rolling>,
    /// What the spool is with it.
    grown: Option<LocalExtent>,
    proposal: Option<Proposal>,
    tail: Vec<Bytes>,
    file: Option<(Arc<dyn DiskFile>, u64)>,
    /// The registers before the group.
    before: Registers,
    /// The disk has to have it before it counts.
    durable: bool,
}

impl Core {
    /// Decides what waits, and writes it.
    pub(super) fn turn(&mut self) {
        let ready = mem::take(&mut self.state.ready);
        if ready.is_empty() && self.state.released.is_empty() && !self.log.wants_turn() {
            self.state.ready = ready;
            return;
        }
        let now = self.clock.now();
        let is_held = self.background.place.is_held();
        let mut staged = Vec::with_capacity(ready.len());
        let mut postponed = Vec::new();
        let mut agreements = Vec::new();
        let mut released = mem::take(&mut self.state.released);
        let is_tight = self.background.quota.is_tight(&self.background.presence);
        let mut turn = self.log.turn();
        // One that the log does not know any more, or that may still grow, needs no release. What the disk refuses is
        // kept for a later turn: until then it holds the space that a full disk waits for.
        released.retain(|spool| {
            !matches!(turn.release(*spool), Err(Error::UnknownSpool(_) | Error::StillOpen(_)))
        });
        for journal in &ready {
            let Some(owned) = self.state.journals.get_mut(journal) else { continue };
            owned.ready = false;
            if !owned.taken.is_empty() {
                let mut steps = Vec::new();
                if owned.stage_steps(&mut turn, &mut steps, now) {
                    postponed.push(journal.clone());
                }
                staged.extend(steps.into_iter().map(Box::new).map(Staged::Step));
            }
            if !owned.place.is_primary || owned.queue.is_empty() && !owned.flush {
                continue;
            }
            if !is_held {
                owned.answer_all(|_| Outcome::Fault(not_held()));
                if mem::take(&mut owned.flush) {
                    self.state.wheel.set(journal, Due::Flush, now.secs().saturating_add(ROLL_AGAIN));
                }
                continue;
            }
            if is_tight {
                let Background { quota, presence, stores, .. } = &self.background;
                let spec = owned.replica.spec();
                if let Some(refused) = quota.refusal(&spec, &owned.place.route, presence, stores) {
                    quota.count_refused(owned.answer_content(|| refused.outcome()));
                }
            }
            if let Some(why) = self.state.syncs.failed().filter(|_| owned.level().is_fsync()) {
                let refused =
                    Status::resource_exhausted(format!("{}; nothing was committed", unsafe_to_write(why)));
                owned.answer_all(|_| Outcome::Fault(refused.clone()));
                continue;
            }
            if let Line::Agreeing { .. } | Line::Pausing { .. } = owned.line {
                if let Some(full) = owned.full.clone() {
                    owned.answer_all(|_| Outcome::Fault(full.clone()));
                }
                continue;
            }
            let mut quiet = true;
            if let Some(pipeline) = owned.line.pipeline() {
                if !pipeline.has_room() {
                    continue;
                }
                quiet = pipeline.rounds.is_empty();
            }
            quiet &= !owned.waits_for_store();
            // A spool is closed all the same: it is what the store waits for.
            if !owned.has_room_to_store() && !owned.flush {
                continue;
            }
            let spec = owned.replica.spec();
            // The route may have lost a member since the asker looked at it.
            if effective_replication(&spec, MOST_REPLICATION) > owned.place.route.members().len() {
                owned.answer_all(|_| Outcome::Refused {
                    status: Refusal::InsufficientJournalBrokers,
                    registers: None,
                    detail: None,
                });
                continue;
            }
            let standing = owned.standing(owned.spool.and_then(|open| turn.spool(open)));
            if owned.flush && owned.line.is_open() && standing.spool.end == standing.spool.begin {
                owned.flush = false;
            }
            if owned.flush && owned.line.is_open() {
                owned.flush = false;
                let end = standing.spool.end;
                let group = Group {
                    roll: Some(end),
                    verdicts: Vec::new(),
                    begin: end,
                    end,
                    registers: None,
                    registers_at: Vec::new(),
                };
                match stage(&mut turn, journal, owned, group, standing.registers, &spec, now) {
                    Ok(one) => staged.push(Staged::Group(Box::new(one))),
                    Err(Error::Staged(_)) => owned.flush = true,
                    Err(fault) => {
                        tracing::warn!(%journal, %fault, "cannot close the open spool; it is tried again");
                        self.state.wheel.set(journal, Due::Flush, now.secs().saturating_add(ROLL_AGAIN));
                    }
                }
                // What waits is decided on what this leaves.
                postponed.push(journal.clone());
                continue;
            }
            let asks = owned.queue.iter().map(|waiting| &waiting.ask);
            // What suspends a journal looks at all that was committed, so nothing may be on its way.
            let asks = asks.take_while(|ask| quiet || !ask.may_suspend());
            match group::turn(&standing, &owned.known(), &spec, asks, now) {
                // Nothing is asked, but the spool is to be closed.
                Turn::Rest if owned.flush && !owned.line.is_open() => {
                    agreements.push((journal.clone(), standing.spool.end, false));
                }
                Turn::Rest => {}
                Turn::Refresh => {
                    if !mem::replace(&mut owned.refreshing, true) {
                        self.background.list_stores(Arc::clone(&owned.replica), now);
                    }
                }
                Turn::Begin { begin, accept_loss } => {
                    agreements.push((journal.clone(), begin, accept_loss));
                }
                Turn::Commit(group) => {
                    let wanted = Commits::of(&group);
                    match stage(&mut turn, journal, owned, group, standing.registers, &spec, now) {
                        Ok(one) => {
                            if one.group.end == one.group.begin {
                                self.metrics.rolled_back(wanted);
                            }
                            staged.push(Staged::Group(Box::new(one)));
                        }
                        // The turn carries this very spool forward, and a file cannot join it before that is written.
                        Err(Error::Staged(_)) => postponed.push(journal.clone()),
                        Err(fault) => {
                            tracing::warn!(%journal, %fault, "cannot stage a commit");
                            self.metrics.rolled_back(wanted);
                            owned.answer_all(|_| Outcome::Fault(refused(&fault)));
                        }
                    }
                }
            }
        }
        let commits = staged
            .iter()
            .map(|one| match one {
                Staged::Group(one) => Commits::of(&one.group),
                Staged::Step(_) => Commits::default(),
            })
            .sum();
        match turn.write() {
            Ok(_) => {
                // Where the release itself was refused, the log still has the spool.
                released.retain(|spool| self.log.spool(*spool).is_some());
                // Whoever hears of a commit finds it counted.
                self.metrics.committed(commits);
                for one in staged {
                    match one {
                        Staged::Group(one) => self.written(*one),
                        Staged::Step(step) => self.obeyed(*step),
                    }
                }
                for journal in &postponed {
                    self.state.make_ready(journal);
                }
            }
            Err(fault) => {
                tracing::warn!(%fault, "cannot write the log; nothing of this turn was committed");
                self.metrics.rolled_back(commits);
                for one in staged {
                    match one {
                        Staged::Group(one) => {
                            for waiting in one.waiting {
                                let _ = waiting.reply.send(Outcome::Fault(refused(&fault)));
                            }
                            if one.group.verdicts.is_empty() {
                                // It was to close the spool.
                                let again = now.secs().saturating_add(ROLL_AGAIN);
                                self.state.wheel.set(&one.journal, Due::Flush, again);
                            }
                            // What its group had no room for waits for an answer as well.
                            self.state.make_ready(&one.journal);
                        }
                        Staged::Step(step) => self.not_obeyed(*step, &fault),
                    }
                }
                for journal in &postponed {
                    if let Some(owned) = self.state.journals.get_mut(journal) {
                        owned.answer_all(|_| Outcome::Fault(refused(&fault)));
                    }
                    self.state.make_ready(journal);
                }
            }
        }
        self.state.released.append(&mut released);
        for (journal, begin, accept_loss) in agreements {
            self.agree(&journal, begin, accept_loss);
        }
        let mut ready = ready;
        ready.clear();
        // Journals whose queue was longer than a group are ready again, and the buffer serves the next turn.
        ready.append(&mut self.state.ready);
        self.state.ready = ready;
    }

    /// A group lies in our log. It is sent to the peers, and counts once they have it; without peers at once.
    fn written(&mut self, one: StagedGroup) {
        let StagedGroup {
            journal,
            group,
            waiting,
            spool,
            completed,
            rolled,
            grown,
            proposal,
            tail,
            file,
            before,
            durable,
        } = one;
        if let Some(completed) = completed {
            self.completed(&journal, completed);
        }
        let Some(owned) = self.state.journals.get_mut(&journal) else { return };
        if spool.is_some() {
            owned.spool = spool;
        }
        let is_stored_first = owned.level().persist_interval().is_some();
        let codec = owned.spool(&self.log).map_or(owned.replica.spec().fragment.codec, Spool::codec);
        let after = group.registers.clone().unwrap_or_else(|| before.clone());
        let end = group.end;
        let length = end.distance_from(group.begin).unwrap_or(0);
        let watermark = owned.veil.committed();
        let round = Round { group, waiting, before: before.clone(), codec, end };
        let Some(pipeline) = owned.line.pipeline() else {
            // Nothing was committed, and nobody else holds the journal.
            journal::answer(round.group, round.waiting, &round.before, codec);
            self.state.make_ready(&journal);
            return;
        };
        let mut is_sent = true;
        if !pipeline.links.is_empty() {
            let proposal = proposal
                .or_else(|| owned.spool.and_then(|spool| self.log.spool(spool)).map(journal::proposal));
            if let Some(proposal) = proposal {
                let payload = match file {
                    Some((file, length)) => Payload::File { file, length },
                    None => Payload::Memory(tail.clone()),
                };
                let messages = messages::Round {
                    journal: &journal,
                    rolled: rolled.map(|rolled| (rolled, &before)),
                    payload,
                    proposal,
                    registers: &after,
                    committed: watermark,
                };
                pipeline.told = pipeline.told.max(watermark);
                is_sent = pipeline.send(&self.background, &owned.replica, messages);
            }
        }
        pipeline.rounds.sent(round, length);
        if !self.state.wheel.has(&journal, Due::Answer) {
            pipeline.progress = pipeline.rounds.committed();
            self.state.wheel.set(&journal, Due::Answer, self.clock.now().secs().saturating_add(ANSWERED));
        }
        let attempt = pipeline.attempt;
        if durable {
            owned.synced_by = self.state.syncs.covering();
        }
        if self.state.syncs.is_done(owned.synced_by) || self.state.syncs.failed().is_some() {
            // After a failure only journals get here that need no disk.
            pipeline.disk_answered();
        } else {
            // Also one that needs no disk itself comes behind those that do.
            let (synced_by, replica) = (owned.synced_by, Arc::clone(&owned.replica));
            self.state.syncs.wait(synced_by, Owed::Round { replica, attempt });
        }
        if let Some(extent) = grown {
            // Who waits for the store does not keep what it waits for in memory.
            let tail = if is_stored_first { Vec::new() } else { tail };
            owned.veil.hide(Veiled::Grown { extent, tail });
        }
        if is_stored_first {
            self.close_in_time(&journal);
        }
        self.settle(&journal);
        if !is_sent {
            self.break_line(&journal, "a stream to a member of the route takes no more");
            self.agree_if_wanted(&journal);
        }
        self.state.make_ready(&journal);
    }
}

/// Stages a group: the roll, if one is due, and the content of all its appends as one commit. Where the roll is staged and the commit
/// is refused, the roll stands, as the turn cannot take it back alone, and everything that waits is told of the fault.
fn stage(
    turn: &mut LogTurn<'_>,
    journal: &JournalName,
    owned: &mut Owned,
    mut group: Group,
    before: Registers,
    spec: &JournalSpec,
    now: Timestamp,
) -> Result<StagedGroup, Error> {
    let mut spool = None;
    let mut completed = None;
    let mut rolled = None;
    if let (Some(begin), Some(epoch), Some(open)) = (group.roll, owned.epoch, owned.spool) {
        let registers = turn.spool(open).map(|open| open.registers().clone()).unwrap_or_default();
        let identity =
            Identity { journal: journal.clone(), create_revision: owned.replica.create_revision, epoch };
        let codec: Codec = spec.fragment.codec;
        let rolling = turn.roll(open, Opening { identity, begin, codec, registers })?;
        spool = Some(rolling.opened);
        completed = rolling.completed;
        rolled = Some(Rolling { begin, codec });
    }
    let mut tail = Vec::new();
    let mut taken = None;
    let durable = Level::of(spec).is_fsync();
    if group.end > group.begin {
        // A group with content was decided in an epoch that has begun, and an epoch begins with a spool.
        let open = spool.or(owned.spool).ok_or(Error::UnknownSpool(SpoolId(0)))?;
        let waiting = owned.queue.make_contiguous();
        let registers = group.registers.as_ref();
        let committed = if let Some(Waiting { content: Content::Scratch { file }, ask, .. }) = waiting.first()
        {
            taken = Some((Arc::clone(file), ask.length));
            let content = Source::File { file: &**file, length: ask.length };
            turn.commit(open, Commit { content, registers, now, digest: None, durable })
        } else {
            tail = journal::gather(&group, waiting);
            let content = Source::Memory(&tail);
            turn.commit(open, Commit { content, registers, now, digest: None, durable })
        };
        match committed {
            Ok(_) => spool = Some(open),
            Err(fault) if spool.is_none() => return Err(fault),
            Err(fault) => {
                tracing::warn!(%journal, %fault, "cannot stage a commit");
                owned.answer_all(|_| Outcome::Fault(refused(&fault)));
                group = Group {
                    verdicts: Vec::new(),
                    end: group.begin,
                    registers: None,
                    registers_at: Vec::new(),
                    ..group
                };
                tail.clear();
                taken = None;
            }
        }
    }
    let is_grown = group.end > group.begin;
    let changed = spool.and_then(|spool| turn.spool(spool));
    let grown = changed.filter(|_| is_grown).map(journal::extent);
    // Its sum is wanted by peers alone.
    let proposal = changed.filter(|_| owned.place.has_peers()).map(journal::proposal);
    let waiting = owned.queue.drain(..group.verdicts.len()).collect();
    Ok(StagedGroup {
        journal: journal.clone(),
        group,
        waiting,
        spool,
        completed,
        rolled,
        grown,
        proposal,
        tail,
        file: taken,
        before,
        durable: durable && is_grown,
    })
}

/// What an asker is told of a fault of the disk: nothing was committed, and what it can do.
pub(super) fn refused(fault: &Error) -> Status {
    Status::resource_exhausted(format!(
        "{fault}; nothing was committed, try again when the disk has room and works"
    ))
}

/// What an asker is told while this broker does not hold its place among the members.
fn not_held() -> Status {
    Status::unavailable(
        "this broker's lease is not confirmed, so that another may be the journal's primary by now; nothing was committed, try again",
    )
}

impl std::fmt::Debug for StagedGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StagedGroup").field("journal", &self.journal).finish_non_exhaustive()
    }
}

/// The offset that a spool reaches, for what is hidden.
pub(super) fn end_of(spool: Option<&Spool>) -> Offset {
    spool.map_or(Offset::ZERO, Spool::end)
}
