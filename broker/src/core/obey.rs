//! A follower's side: it tells how far its log knows a journal, and does what the stream of the journal's primary asks for.
//!
//! Every telling and every stream begins a generation; what belongs to an earlier one is refused, wherever it still waits.

use std::mem;

use courant_fragment::error::Error;
use courant_fragment::index::LocalExtent;
use courant_fragment::spool::log::{Commit, Opening, Source, Turn as LogTurn};
use courant_fragment::spool::{Identity, Spool, SpoolId};
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::time::Timestamp;
use tokio::sync::oneshot;

use super::durable::{Owed, unsafe_to_write};
use super::journal::{Owned, extent, open_head};
use super::run::Core;
use super::turn::end_of;
use super::veil::Veiled;
use super::wheel::Due;
use crate::append::receive::Content;
use crate::replication::local::{Fault, Filling, Following, Head, Piece, Step, Taking, Unfollowed};

/// Tokens of journals that are not here which are kept in mind.
const MOST_TOKENS: usize = 65_536;

/// How often a follower asks to be told how far its journal is committed, in seconds.
const TOLD: i64 = 10;

/// How long it may hold that before it asks, in seconds: the watermark may be lost with its stream.
const TOLD_FIRST: i64 = 2;

/// A step that is staged in the log.
#[derive(Debug)]
pub(super) struct StagedStep {
    journal: JournalName,
    generation: u64,
    spool: Option<SpoolId>,
    completed: Option<SpoolId>,
    grown: Option<(LocalExtent, Vec<bytes::Bytes>)>,
    committed: Offset,
    /// The journal went on further away: what was held until here and not shown belongs to nobody that is known.
    leaves_behind: bool,
    /// The disk has to have it before it is answered.
    durable: bool,
    reply: Option<oneshot::Sender<Result<(), Fault>>>,
}

impl Core {
    /// Tells how far the log knows a journal. From here on no stream that began before changes it.
    pub(super) fn head(&mut self, journal: &JournalName, create_revision: i64) -> Head {
        let token = self.state.next_number();
        if let Some(owned) = self.state.journals.get_mut(journal)
            && owned.replica.create_revision == create_revision
        {
            owned.generation = token;
            // Whoever asks may record an epoch, also if nobody ever hears of it.
            owned.agreed_members = None;
            let head = Head { token, certain: owned.certain, open: owned.spool(&self.log).map(open_head) };
            if owned.place.is_primary {
                // Somebody else is, as the registry has it; we shall see that in a moment.
                owned.is_fenced = true;
                self.break_line(journal, "another broker has become the journal's primary");
            }
            return head;
        }
        if let Some(rested) = self.state.rested.get_mut(journal)
            && rested.create_revision == create_revision
        {
            rested.generation = token;
            let open = rested.spool.and_then(|spool| self.log.spool(spool)).map(open_head);
            return Head { token, certain: rested.certain, open };
        }
        if self.state.tokens.len() >= MOST_TOKENS {
            // Whoever shows one of them asks again.
            self.state.tokens.clear();
        }
        self.state.tokens.insert(journal.clone(), token);
        Head { token, certain: true, open: None }
    }

    /// Lets a stream change a journal, in place of any before it.
    pub(super) fn follow(
        &mut self,
        journal: &JournalName,
        create_revision: i64,
        token: Option<u64>,
    ) -> Result<Following, Unfollowed> {
        let number = self.state.next_number();
        let owned = self.state.journals.get_mut(journal);
        let owned =
            owned.filter(|owned| owned.replica.create_revision == create_revision && !owned.place.is_primary);
        let owned = owned.ok_or(Unfollowed::NotHeld)?;
        match token {
            // Zero is what nobody was told.
            Some(token) if token != owned.generation || token == 0 => return Err(Unfollowed::Superseded),
            Some(_) => {}
            None => owned.generation = number,
        }
        let open = owned.spool(&self.log).map(open_head);
        Ok(Following { generation: owned.generation, open })
    }

    /// Asks the primary how far the journal is committed, while this follower holds what nobody has told it to be.
    pub(super) fn ask_to_be_told(&mut self, journal: &JournalName) {
        let Some(owned) = self.state.journals.get(journal) else { return };
        if !owned.place.is_primary && owned.is_unsettled(&self.log) {
            self.background.ask_for_a_round(journal);
            let again = self.clock.now().secs().saturating_add(TOLD);
            self.state.wheel.set(journal, Due::Told, again);
        }
    }

    /// Takes a step of a stream into the next turn.
    pub(super) fn take(&mut self, journal: &JournalName, create_revision: i64, taking: Taking) {
        let owned = self.state.journals.get(journal);
        let is_current = owned.is_some_and(|owned| {
            owned.replica.create_revision == create_revision && owned.generation == taking.generation
        });
        if !is_current {
            refuse(taking.reply, Fault::Unfollowed(Unfollowed::Superseded));
            return;
        }
        if let Some(why) = self.state.syncs.failed()
            && self.state.journals.get(journal).is_some_and(|owned| owned.level().is_fsync())
        {
            refuse(taking.reply, Fault::Disk(unsafe_to_write(why)));
            return;
        }
        if let Step::Roll { cut: Some(at), .. } = taking.step
            && !self.cut_above(journal, at)
        {
            refuse(taking.reply, Fault::Disk("cannot put aside what belongs to nobody".to_owned()));
            return;
        }
        if let Some(owned) = self.state.journals.get_mut(journal) {
            owned.taken.push_back(taking);
            if !mem::replace(&mut owned.ready, true) {
                self.state.ready.push(journal.clone());
            }
        }
    }

    /// Extends the log by what another member had of an epoch.
    pub(super) fn fill(&mut self, journal: &JournalName, create_revision: i64, filling: Filling) {
        let now = self.clock.now();
        let Filling { generation, epoch, at, codec, content, length, registers, reply } = filling;
        let owned = self.state.journals.get_mut(journal).filter(|owned| {
            owned.replica.create_revision == create_revision && owned.generation == generation
        });
        let Some(owned) = owned else {
            let _ = reply.send(Err(Fault::Unfollowed(Unfollowed::Superseded)));
            return;
        };
        let identity = Identity { journal: journal.clone(), create_revision, epoch };
        let open = owned.spool(&self.log);
        let goes_on = open.is_some_and(|open| open.identity().epoch == epoch && open.end() == at);
        // Within an epoch there may be a gap, of what lies in the store by now.
        if !goes_on && open.is_some_and(|open| open.end() > at || open.identity().epoch > epoch) {
            let here = open.map(|open| (open.identity().epoch, open.begin(), open.end()));
            tracing::debug!(%journal, epoch, %at, ?here, "what was fetched does not follow what is here");
            let _ = reply.send(Err(Fault::Elsewhere));
            return;
        }
        // The stream, or the agreement, that it is for waits for the disk before it goes on.
        let durable = owned.level().is_fsync();
        let mut turn = self.log.turn();
        let mut completed = None;
        let opening = Opening { identity, begin: at, codec, registers: registers.clone() };
        let spool = match owned.spool {
            Some(open) if goes_on => Ok(open),
            Some(open) => turn.roll(open, opening).map(|rolled| {
                completed = rolled.completed;
                rolled.opened
            }),
            None => turn.open(opening),
        };
        let written = spool.and_then(|spool| {
            let (source, _) = source(&content, length);
            let commit = Commit { content: source, registers: Some(&registers), now, digest: None, durable };
            turn.commit(spool, commit)?;
            turn.write()?;
            Ok(spool)
        });
        match written {
            Ok(spool) => {
                owned.spool = Some(spool);
                if durable {
                    owned.synced_by = self.state.syncs.covering();
                }
                if let Some(completed) = completed {
                    self.completed(journal, completed);
                }
                let (Some(owned), Some(spool)) =
                    (self.state.journals.get_mut(journal), self.log.spool(spool))
                else {
                    return;
                };
                owned.veil.hide(Veiled::Grown { extent: extent(spool), tail: Vec::new() });
                let _ = reply.send(Ok(open_head(spool)));
            }
            Err(fault) => {
                tracing::warn!(%journal, %fault, "cannot keep what was fetched from another member");
                let _ = reply.send(Err(Fault::Disk(fault.to_string())));
            }
        }
    }

    /// Where the content of an epoch lies here, from an offset up to another. What is gone at the begin is left out.
    pub(super) fn pieces(
        &self,
        journal: &JournalName,
        create_revision: i64,
        epoch: u64,
        (from, to): (Offset, Offset),
    ) -> Vec<Piece> {
        let (spools, created) = match (self.state.journals.get(journal), self.state.rested.get(journal)) {
            (Some(owned), _) => (
                owned.pending.iter().copied().chain(owned.spool).collect::<Vec<_>>(),
                owned.replica.create_revision,
            ),
            (None, Some(rested)) => {
                (rested.pending.iter().copied().chain(rested.spool).collect(), rested.create_revision)
            }
            (None, None) => return Vec::new(),
        };
        if created != create_revision {
            return Vec::new();
        }
        let mut pieces = Vec::new();
        let mut at = None;
        for spool in spools.into_iter().filter_map(|spool| self.log.spool(spool)) {
            let (begin, end) = (spool.begin().max(from), spool.end().min(to));
            if spool.identity().epoch != epoch || begin >= end {
                continue;
            }
            if at.is_some_and(|at| at != begin) {
                // With a hole in it only what lies behind is of use.
                pieces.clear();
            }
            at = Some(end);
            pieces.push(Piece {
                content: spool.content().clone(),
                position: begin.distance_from(spool.begin()).unwrap_or(0),
                length: end.distance_from(begin).unwrap_or(0),
            });
        }
        // What does not reach the end leads nowhere.
        if at != Some(to) {
            pieces.clear();
        }
        pieces
    }

    /// A step lies in the log: it is shown as far as it is committed, and answered.
    pub(super) fn obeyed(&mut self, step: StagedStep) {
        let StagedStep { journal, spool, completed, grown, committed, leaves_behind, durable, reply, .. } =
            step;
        let grown_nothing = grown.is_none();
        if leaves_behind {
            if let Some(owned) = self.state.journals.get_mut(&journal) {
                let shown = owned.veil.committed();
                owned.veil.cut(shown);
                // It is judged when the journal, or the process, comes back.
                owned.pending.extend(completed);
            }
        } else if let Some(completed) = completed {
            self.completed(&journal, completed);
        }
        if let Some(owned) = self.state.journals.get_mut(&journal) {
            if spool.is_some() {
                owned.spool = spool;
                owned.certain = true;
                // What we agreed on as primary is over.
                owned.epoch = None;
            }
            if let Some((extent, tail)) = grown {
                owned.veil.hide(Veiled::Grown { extent, tail });
            }
            if committed > owned.veil.committed() {
                // What the primary has committed and we do not hold is not ours to show.
                let end = end_of(owned.spool(&self.log));
                owned.veil.commit(committed.min(end));
                owned.replica.index.raise_head(committed.min(end));
                self.show(&journal);
            }
        }
        if let Some(owned) = self.state.journals.get(&journal)
            && owned.is_unsettled(&self.log)
            && !self.state.wheel.has(&journal, Due::Told)
        {
            let until = self.clock.now().secs().saturating_add(TOLD_FIRST);
            self.state.wheel.set(&journal, Due::Told, until);
        }
        let synced_by = match self.state.journals.get_mut(&journal) {
            // A spool that begins an epoch makes everything below it count.
            Some(_) if durable && grown_nothing => self.keep(&journal),
            Some(owned) => {
                if durable {
                    owned.synced_by = self.state.syncs.covering();
                }
                if owned.level().is_fsync() { owned.synced_by } else { 0 }
            }
            None => 0,
        };
        if let Some(reply) = reply {
            self.owe(synced_by, Owed::Step { reply });
        }
    }

    /// The log could not be written: the stream ends, and the next one begins where the log is.
    pub(super) fn not_obeyed(&mut self, step: StagedStep, fault: &Error) {
        let number = self.state.next_number();
        if let Some(owned) = self.state.journals.get_mut(&step.journal)
            && owned.generation == step.generation
        {
            owned.generation = number;
        }
        refuse(step.reply, Fault::Disk(fault.to_string()));
    }

    /// Takes from a journal what lies at an offset and behind it: a later epoch begins there. False: something is still there.
    pub(super) fn cut_above(&mut self, journal: &JournalName, at: Offset) -> bool {
        let Some(owned) = self.state.journals.get_mut(journal) else { return true };
        let above = |spool: &SpoolId| self.log.spool(*spool).is_some_and(|spool| spool.end() > at);
        let cuts: Vec<(SpoolId, Offset)> =
            owned.pending.iter().copied().chain(owned.spool).filter(above).map(|spool| (spool, at)).collect();
        if cuts.is_empty() {
            return true;
        }
        owned.give_up_storing(at, "the journal goes on without what was appended");
        owned.veil.cut(at);
        owned.floor = owned.floor.min(at);
        let spools: Vec<SpoolId> = cuts.iter().map(|(spool, _)| *spool).collect();
        let done = self.cut(cuts);
        if let Some(owned) = self.state.journals.get_mut(journal) {
            owned.pending.retain(|spool| self.log.spool(*spool).is_some());
            // What is left of them was hidden together with what is gone.
            for spool in spools.into_iter().filter_map(|spool| self.log.spool(spool)) {
                if spool.length() > 0 {
                    owned.veil.hide(Veiled::Grown { extent: extent(spool), tail: Vec::new() });
                }
                if spool.length() > 0 && spool.is_complete() {
                    let (id, end, sum) = (spool.id(), spool.end(), spool.sum());
                    owned.veil.hide(Veiled::Completed { spool: id, end, sum, is_offered: false });
                }
            }
        }
        done
    }
}

impl Owned {
    /// Stages the steps that wait. True: some have to wait for the next turn.
    pub(super) fn stage_steps(
        &mut self,
        turn: &mut LogTurn<'_>,
        staged: &mut Vec<StagedStep>,
        now: Timestamp,
    ) -> bool {
        let durable = self.level().is_fsync();
        let mut open = self.spool;
        while let Some(taking) = self.taken.pop_front() {
            if taking.generation != self.generation {
                refuse(taking.reply, Fault::Unfollowed(Unfollowed::Superseded));
                continue;
            }
            let end = end_of(open.and_then(|open| turn.spool(open)));
            // A primary that attaches says what counts; one of another make only where it goes on.
            let leaves_behind = matches!(
                taking.step,
                Step::Roll { cut: None, epoch: None, begin, .. } if begin > end && taking.committed >= begin
            );
            match self.stage_step(turn, open, &taking, (now, durable)) {
                Ok((spool, completed, grown)) => {
                    open = spool.or(open);
                    staged.push(StagedStep {
                        journal: self.replica.journal.clone(),
                        generation: taking.generation,
                        spool,
                        completed,
                        grown,
                        committed: taking.committed,
                        leaves_behind,
                        // A message without content or spool waits for those before it, and asks for nothing more.
                        durable: durable && spool.is_some(),
                        reply: taking.reply,
                    });
                }
                Err(NotStaged::Later) => {
                    self.taken.push_front(taking);
                    return true;
                }
                Err(NotStaged::Never(fault)) => {
                    // Whatever follows it on the stream rests on it.
                    self.generation = 0;
                    refuse(taking.reply, fault);
                }
            }
        }
        false
    }

    #[expect(
        clippy::type_complexity,
        reason = "what a step changes: the spool, the one before it, what is to be shown"
    )]
    fn stage_step(
        &self,
        turn: &mut LogTurn<'_>,
        open: Option<SpoolId>,
        taking: &Taking,
        (now, durable): (Timestamp, bool),
    ) -> Result<(Option<SpoolId>, Option<SpoolId>, Option<(LocalExtent, Vec<bytes::Bytes>)>), NotStaged> {
        match &taking.step {
            Step::Nothing => Ok((None, None, None)),
            Step::Commit { at, content, length, digest, registers } => {
                let follows = |spool: &Spool| {
                    spool.end() == *at && spool.length().checked_add(*length) == Some(digest.length())
                };
                let open = open.filter(|open| turn.spool(*open).is_some_and(follows));
                let open = open.ok_or(NotStaged::Never(Fault::Elsewhere))?;
                let (source, tail) = source(content, *length);
                let commit = Commit {
                    content: source,
                    registers: registers.as_ref(),
                    now,
                    digest: Some(digest.clone()),
                    durable,
                };
                turn.commit(open, commit)?;
                Ok((Some(open), None, turn.spool(open).map(|spool| (extent(spool), tail))))
            }
            Step::Roll { begin, codec, registers, epoch, .. } => {
                let before = open.and_then(|open| turn.spool(open));
                let epoch = epoch.or_else(|| before.map(|before| before.identity().epoch)).unwrap_or(0);
                let identity = Identity {
                    journal: self.replica.journal.clone(),
                    create_revision: self.replica.create_revision,
                    epoch,
                };
                let opening =
                    Opening { identity, begin: *begin, codec: *codec, registers: registers.clone() };
                match open {
                    Some(open) => {
                        let rolled = turn.roll(open, opening)?;
                        Ok((Some(rolled.opened), rolled.completed, None))
                    }
                    None => Ok((Some(turn.open(opening)?), None, None)),
                }
            }
        }
    }
}

/// Why a step is not in this turn.
enum NotStaged {
    /// The turn carries this very spool forward.
    Later,
    Never(Fault),
}

impl From<Error> for NotStaged {
    fn from(error: Error) -> Self {
        match error {
            Error::Staged(_) => Self::Later,
            error => Self::Never(Fault::Disk(error.to_string())),
        }
    }
}

/// Content as the log takes it, and as tailing readers are served it.
fn source(content: &Content, length: u64) -> (Source<'_>, Vec<bytes::Bytes>) {
    match content {
        Content::Memory { chunks, .. } => (Source::Memory(chunks), chunks.clone()),
        Content::Scratch { file } => (Source::File { file: &**file, length }, Vec::new()),
    }
}

fn refuse(reply: Option<oneshot::Sender<Result<(), Fault>>>, fault: Fault) {
    if let Some(reply) = reply {
        let _ = reply.send(Err(fault));
    }
}
