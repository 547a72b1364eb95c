//! A primary and its peers: agreements on where an epoch begins, rounds that peers answer, and what is done when one of them fails.
//!
//! ```text
//!  Idle ──► Agreeing ──► Open ── rounds ──► committed: shown, answered
//!   ▲          │ fails     │ a stream breaks, the route changes, a later primary asks for heads
//!   └──────────┴───────────┘ what was on its way is answered as not known
//! ```

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use courant_fragment::spool::log::Opening;
use courant_fragment::spool::{Identity, Spool};
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::status::Status;
use tokio::sync::oneshot;

use super::command::{Agreed, Outcome};
use super::durable::Owed;
use super::journal::{self, Owned, open_head};
use super::line::{AbortOnDrop, Line, Pipeline, Round};
use super::place::Place;
use super::run::Core;
use super::turn::ANSWERED;
use super::veil::Veiled;
use super::wheel::Due;
use crate::append::group;
use crate::listing::{self, Standpoint};
use crate::replica::Replica;
use crate::replication::local::{Fault, Head, OpenHead, Unfollowed};
use crate::replication::messages;
use crate::replication::sync::{Agreement, GoesOn};

/// Appends wait for so long, in seconds, while an agreement fails again and again; then they are told why.
const PATIENCE: i64 = 5;

/// The first and the longest pause between agreements that fail.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Rounds on their way get so long to end in order when the route changes.
const CLOSING: Duration = Duration::from_secs(1);

impl Core {
    /// Begins an agreement of the members of a journal, in place of any that is under way.
    pub(super) fn agree(&mut self, journal: &JournalName, begin: Offset, accept_loss: bool) {
        let attempt = self.state.next_number();
        // Streams of an earlier primary end here.
        let token = self.state.next_number();
        let Some(owned) = self.state.journals.get(journal) else { return };
        if !owned.place.is_primary {
            return;
        }
        if self.refused_for_ever(owned).is_some() {
            // Who waits is told so in the next turn.
            return;
        }
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        owned.generation = token;
        // Only what this agreement comes to says so again: it may record an epoch, and end before it can be entered.
        let agreed_members = owned.agreed_members.take();
        let goes_on = match (&owned.epoch, &agreed_members) {
            (Some(epoch), Some(members))
                if members.iter().map(|held| &held.member).eq(owned.place.route.members()) =>
            {
                Some(GoesOn { epoch: *epoch, members: Arc::clone(members) })
            }
            _ => None,
        };
        let open = owned.spool(&self.log).map(open_head);
        let agreement = Agreement {
            replica: Arc::clone(&owned.replica),
            attempt,
            route: Arc::clone(&owned.place.route),
            revision: owned.place.revision,
            own: Head { token, certain: owned.certain, open },
            goes_on,
            begin,
            accept_loss,
            store_end: owned.known().end,
            codec: owned.replica.spec().fragment.codec,
            entered: owned.epoch,
            failures: owned.failures,
        };
        let task = AbortOnDrop(self.background.begin_agreement(agreement));
        owned.line = Line::Agreeing { attempt, accepts_loss: accept_loss, task };
    }

    /// Begins an agreement if the journal needs one that nobody waits for: a new route, or content that is not known to be committed.
    pub(super) fn agree_if_wanted(&mut self, journal: &JournalName) {
        let Some(owned) = self.state.journals.get(journal) else { return };
        if matches!(owned.line, Line::Idle) && owned.place.is_primary && self.wants_agreement(owned) {
            let begin = owned.spool(&self.log).map_or(Offset::ZERO, Spool::end);
            self.agree(journal, begin, false);
        }
    }

    fn wants_agreement(&self, owned: &Owned) -> bool {
        !owned.is_fenced
            && (!owned.place.is_noted
                || owned.flush
                || owned.place.has_peers() && owned.is_unsettled(&self.log))
    }

    /// What came of an agreement.
    pub(super) fn agreed(&mut self, replica: &Arc<Replica>, attempt: u64, outcome: Agreed) {
        let journal = &replica.journal;
        let now = self.clock.now();
        let Some(owned) = self.state.journals.get_mut(journal).filter(|owned| owned.is(replica)) else {
            return;
        };
        let Line::Agreeing { attempt: awaited, accepts_loss, .. } = owned.line else { return };
        if awaited != attempt {
            return;
        }
        owned.line = Line::Idle;
        match outcome {
            Agreed::Open { epoch, base, members, links, knows_end, lost_end } => {
                owned.failing_since = None;
                owned.full = None;
                owned.failures = 0;
                owned.epoch = Some(epoch);
                owned.agreed_members = Some(members);
                let mut pipeline = Box::new(Pipeline::new(attempt, links));
                // A journal goes on with an epoch where its open spool ends.
                let end = owned.spool(&self.log).map_or(base, Spool::end);
                // Whatever was rumoured of it, this is what its members hold.
                owned.floor = base;
                if let Some(lost_end) = lost_end {
                    owned.lost_end = lost_end;
                    // Whoever accepts the loss reads the write head to know where the journal goes on.
                    owned.replica.index.raise_head(lost_end);
                }
                // Where members of an epoch before have told how far it went, what the stores seem to hold apart from that, further
                // up, was never part of the journal. Without them the stores are all there is to go by.
                let reaches = owned.replica.index.reaches(end);
                let standpoint = Standpoint::agreed(end, epoch > 1 && knows_end, reaches);
                let (_, aside) = listing::believe(owned.replica.index.stored(), standpoint);
                if !aside.is_empty() {
                    owned.replica.index.set_aside(&aside, end);
                    self.background.tell_of_contradictions(replica, &aside);
                }
                let is_synced = self.state.syncs.is_done(owned.synced_by) || !owned.level().is_fsync();
                if is_synced {
                    owned.veil.replicate(end);
                } else {
                    // All peers hold it on their disks, and ours has yet to.
                    pipeline.answered_by_peers(Round::of_peers(end, owned.replica.spec().fragment.codec));
                }
                owned.line = Line::Open(pipeline);
                let synced_by = owned.synced_by;
                if !owned.place.is_noted {
                    self.background.note_route(replica, &owned.place);
                }
                if !is_synced {
                    self.owe(synced_by, Owed::Round { replica: Arc::clone(replica), attempt });
                }
                self.settle_stored(journal);
                self.close_in_time(journal);
                self.tell_watermark(journal);
                if !self.state.wheel.has(journal, Due::Rest) {
                    self.state.wheel.set(
                        journal,
                        Due::Rest,
                        now.secs().saturating_add(super::turn::REST_SECONDS),
                    );
                }
                self.flush_if_wanted(journal);
            }
            Agreed::Refused { floor } => {
                tracing::warn!(
                    %journal, %floor,
                    "bytes of the journal's last epoch may be missing here and in its store; appends are refused until a member of that \
                     epoch is back, or `courant journals reset-head` accepts the loss, or, where the offset is 0, the journal is created anew"
                );
                owned.floor = owned.floor.max(floor);
                // Whoever accepts the loss reads the write head to know where the journal goes on.
                owned.replica.index.raise_head(owned.floor);
                let (standing, known) = (owned.standing(owned.spool(&self.log)), owned.known());
                for waiting in mem::take(&mut owned.queue) {
                    // One that names the offset came while others were agreed for: it has its turn, once.
                    if !accepts_loss && group::may_accept_loss(&standing, &known, &waiting.ask) {
                        owned.queue.push_back(waiting);
                        continue;
                    }
                    let _ = waiting.reply.send(Outcome::Refused {
                        status: Status::IndexHasGreaterOffset,
                        registers: None,
                        detail: None,
                    });
                }
                if owned.queue.is_empty() && owned.place.has_peers() {
                    self.try_again(journal);
                    return;
                }
            }
            Agreed::Full(why) => {
                owned.failing_since.get_or_insert(now.secs());
                tracing::debug!(%journal, why, "no agreement for want of room");
                let full = tonic::Status::resource_exhausted(format!(
                    "{why}; nothing was committed, try again when the disk has room and works"
                ));
                owned.answer_all(|_| Outcome::Fault(full.clone()));
                owned.full = Some(full);
                self.try_again(journal);
                return;
            }
            Agreed::Unavailable(why) => {
                owned.full = None;
                let since = *owned.failing_since.get_or_insert(now.secs());
                if !owned.place.has_peers() || now.secs().saturating_sub(since) >= PATIENCE {
                    let fault = tonic::Status::unavailable(format!(
                        "the members of journal {journal} cannot agree: {why}; nothing was committed, try again"
                    ));
                    owned.answer_all(|_| Outcome::Fault(fault.clone()));
                }
                tracing::debug!(%journal, why, "no agreement yet");
                self.try_again(journal);
                return;
            }
        }
        self.state.make_ready(journal);
    }

    /// Tries an agreement again in a while, if somebody still wants it.
    fn try_again(&mut self, journal: &JournalName) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        owned.failures = owned.failures.saturating_add(1);
        let pause = PAUSES.0.saturating_mul(1 << owned.failures.min(5)).min(PAUSES.1);
        let Some(owned) = self.state.journals.get(journal) else { return };
        if self.wants_agreement(owned) || !owned.queue.is_empty() {
            let replica = Arc::clone(&owned.replica);
            let attempt = self.state.next_number();
            self.background.resume_after(&replica, attempt, pause);
            if let Some(owned) = self.state.journals.get_mut(journal) {
                owned.line = Line::Pausing { attempt };
            }
        }
    }

    /// The pause after an agreement that failed is over: who waits has a turn, and otherwise it is tried again if it is still wanted.
    pub(super) fn resume(&mut self, replica: &Arc<Replica>, attempt: u64) {
        let journal = &replica.journal;
        let Some(owned) = self.state.journals.get_mut(journal).filter(|owned| owned.is(replica)) else {
            return;
        };
        if !matches!(owned.line, Line::Pausing { attempt: awaited } if awaited == attempt) {
            return;
        }
        owned.line = Line::Idle;
        self.state.make_ready(journal);
        if self.state.journals.get(journal).is_some_and(|owned| owned.queue.is_empty()) {
            self.agree_if_wanted(journal);
        }
    }

    /// The assignments of a journal have changed.
    pub(super) fn rerouted(&mut self, replica: &Arc<Replica>, place: Place) {
        let journal = &replica.journal;
        let Some(owned) = self.state.journals.get_mut(journal).filter(|owned| owned.is(replica)) else {
            return;
        };
        let same = owned.place.route.equivalent(&place.route);
        owned.place = place;
        if !owned.place.is_primary {
            owned.give_up_storing(Offset::ZERO, "another broker has become the journal's primary");
            return;
        }
        // The mirror has caught up with whatever fenced us.
        owned.is_fenced = false;
        if !same {
            owned.failures = 0;
        }
        match &mut owned.line {
            // One that is closing was agreed on in another route, whatever is the same since.
            Line::Open(pipeline) if same && !pipeline.is_closing => {
                if !owned.place.is_noted {
                    self.background.note_route(replica, &owned.place);
                }
            }
            Line::Open(pipeline) if !pipeline.rounds.is_empty() => {
                // Who is still a member answers what is on its way; the rest is told that its outcome is not known.
                pipeline.is_closing = true;
                let attempt = pipeline.attempt;
                self.background.close_after(replica, attempt, CLOSING);
            }
            Line::Open(_) => {
                owned.line = Line::Idle;
                self.state.make_ready(journal);
                self.agree_if_wanted(journal);
            }
            Line::Agreeing { .. } if same => {}
            Line::Agreeing { .. } | Line::Pausing { .. } | Line::Idle => {
                owned.line = Line::Idle;
                self.state.make_ready(journal);
                self.agree_if_wanted(journal);
            }
        }
    }

    /// A pipeline that was to end has not, or may have.
    pub(super) fn close(&mut self, replica: &Arc<Replica>, attempt: u64) {
        let owned = self.state.journals.get(&replica.journal).filter(|owned| owned.is(replica));
        if owned.is_some_and(|owned| matches!(&owned.line, Line::Open(open) if open.attempt == attempt)) {
            self.break_line(&replica.journal, "the route of the journal has changed");
            self.agree_if_wanted(&replica.journal);
        }
    }

    /// A peer has answered rounds, or failed.
    pub(super) fn answered(
        &mut self,
        replica: &Arc<Replica>,
        attempt: u64,
        peer: usize,
        rounds: u64,
        failure: Option<String>,
    ) {
        let journal = &replica.journal;
        let Some(owned) = self.state.journals.get_mut(journal).filter(|owned| owned.is(replica)) else {
            return;
        };
        let Some(pipeline) = owned.line.pipeline().filter(|pipeline| pipeline.attempt == attempt) else {
            return;
        };
        let unasked = pipeline.rounds.answered(peer, rounds).is_err();
        let name = pipeline.links.get(peer).map(|link| link.peer.clone());
        self.settle(journal);
        if unasked || failure.is_some() {
            let why = failure.unwrap_or_else(|| "it answered more than it was asked".to_owned());
            let name = name.map_or_else(String::new, |name| name.to_string());
            if let Some(owned) = self.state.journals.get_mut(journal) {
                // Should the peer not be reached now, it is the second time in a row.
                owned.failures = owned.failures.saturating_add(1);
            }
            self.break_line(journal, &format!("replication to {name} failed: {why}"));
            self.agree_if_wanted(journal);
            return;
        }
        self.close_if_done(journal);
    }

    /// Settles what was answered, and ends a pipeline that was to end when all is.
    pub(super) fn settle_and_close(&mut self, journal: &JournalName) {
        self.settle(journal);
        self.close_if_done(journal);
    }

    fn close_if_done(&mut self, journal: &JournalName) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        if let Line::Open(pipeline) = &owned.line
            && pipeline.is_closing
            && pipeline.rounds.is_empty()
        {
            owned.line = Line::Idle;
            self.agree_if_wanted(journal);
        }
        self.state.make_ready(journal);
    }

    /// All of a round's content was handed to the connections.
    pub(super) fn sent(&mut self, replica: &Arc<Replica>, attempt: u64) {
        let journal = &replica.journal;
        let owned = self.state.journals.get_mut(journal).filter(|owned| owned.is(replica));
        let pipeline = owned.and_then(|owned| owned.line.pipeline());
        if let Some(pipeline) = pipeline.filter(|pipeline| pipeline.attempt == attempt) {
            pipeline.is_sending = false;
            self.tell_watermark(journal);
            self.state.make_ready(journal);
        }
    }

    /// Ends a pipeline whose peers have answered nothing for too long: one of them stands still, and its connection does not tell.
    pub(super) fn look_for_answers(&mut self, journal: &JournalName) {
        let again = self.clock.now().secs().saturating_add(ANSWERED);
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        let Some(pipeline) = owned.line.pipeline().filter(|pipeline| !pipeline.rounds.is_empty()) else {
            return;
        };
        let committed = pipeline.rounds.committed();
        if pipeline.is_sending || committed != mem::replace(&mut pipeline.progress, committed) {
            self.state.wheel.set(journal, Due::Answer, again);
            return;
        }
        self.break_line(journal, "a member of the route has not answered for too long");
        self.agree_if_wanted(journal);
    }

    /// Shows and answers the rounds that all members have.
    pub(super) fn settle(&mut self, journal: &JournalName) {
        let mut settled = false;
        loop {
            let Some(owned) = self.state.journals.get_mut(journal) else { return };
            let Some(round) = owned.line.pipeline().and_then(|pipeline| pipeline.rounds.next_committed())
            else {
                break;
            };
            settled = true;
            if owned.waits_for_store() || owned.level().persist_interval().is_some() {
                owned.replicated(round);
                continue;
            }
            owned.veil.commit(round.end);
            if round.group.verdicts.is_empty() {
                owned.replica.index.raise_head(round.end);
            }
            self.show(journal);
            // Readers first: whoever is told that it is committed finds it.
            journal::answer(round.group, round.waiting, &round.before, round.codec);
        }
        if settled {
            if self.state.journals.get(journal).is_some_and(|owned| owned.storing.is_some()) {
                self.settle_stored(journal);
            }
            self.tell_watermark(journal);
            self.state.make_ready(journal);
        }
    }

    /// Tells peers how far the journal is committed, where no round will tell them soon.
    pub(super) fn tell_watermark(&mut self, journal: &JournalName) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        let committed = owned.veil.committed();
        if let Line::Open(pipeline) = &mut owned.line
            && pipeline.rounds.is_empty()
            && !pipeline.is_sending
            && pipeline.told < committed
        {
            pipeline.told = committed;
            for link in pipeline.links.iter().filter(|link| link.is_courant) {
                // A stream that is broken says so by itself.
                let _ = link.send(messages::watermark(committed));
            }
        }
    }

    /// Ends a pipeline. What was on its way may be in the peers' logs or not.
    pub(super) fn break_line(&mut self, journal: &JournalName, why: &str) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        if let Line::Open(pipeline) = mem::take(&mut owned.line) {
            let fault = tonic::Status::unavailable(format!(
                "{why}; whether the append was committed is not known, try again"
            ));
            let mut lost = 0;
            for round in pipeline.rounds.into_unknown() {
                for waiting in round.waiting {
                    lost += 1;
                    let _ = waiting.reply.send(Outcome::Fault(fault.clone()));
                }
            }
            tracing::info!(%journal, why, lost, "a pipeline has ended");
        }
        self.state.make_ready(journal);
    }

    /// Puts aside what the journal went on without.
    pub(super) fn put_aside(
        &mut self,
        replica: &Arc<Replica>,
        attempt: u64,
        at: Offset,
        reply: oneshot::Sender<Result<Option<OpenHead>, String>>,
    ) {
        let journal = &replica.journal;
        let cut = if self.is_agreeing(replica, attempt) { self.cut_above(journal, at) } else { false };
        let head = self.state.journals.get(journal).and_then(|owned| owned.spool(&self.log)).map(open_head);
        let _ = reply.send(if cut {
            Ok(head)
        } else {
            Err("what counts for nothing cannot be put aside".to_owned())
        });
    }

    fn is_agreeing(&self, replica: &Arc<Replica>, attempt: u64) -> bool {
        let owned = self.state.journals.get(&replica.journal).filter(|owned| owned.is(replica));
        owned.is_some_and(
            |owned| matches!(owned.line, Line::Agreeing { attempt: awaited, .. } if awaited == attempt),
        )
    }

    /// The registry has recorded an epoch: the spool of the one before is closed, and the next begins.
    pub(super) fn enter(
        &mut self,
        replica: &Arc<Replica>,
        attempt: u64,
        (epoch, begin, registers): (u64, Offset, Registers),
        reply: oneshot::Sender<Result<OpenHead, Fault>>,
    ) {
        let journal = &replica.journal;
        if !self.is_agreeing(replica, attempt) {
            let _ = reply.send(Err(Fault::Unfollowed(Unfollowed::Superseded)));
            return;
        }
        if !self.cut_above(journal, begin) {
            let why = "what belongs to nobody cannot be put aside".to_owned();
            let _ = reply.send(Err(Fault::Disk(why)));
            return;
        }
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        let identity = Identity { journal: journal.clone(), create_revision: replica.create_revision, epoch };
        let codec = replica.spec().fragment.codec;
        let opening = Opening { identity, begin, codec, registers };
        let open = owned.spool;
        let mut turn = self.log.turn();
        let opened = match open {
            Some(open) => turn.roll(open, opening).map(|rolled| (rolled.opened, rolled.completed)),
            None => turn.open(opening).map(|opened| (opened, None)),
        };
        match opened.and_then(|opened| turn.write().map(|_| opened)) {
            Ok((opened, completed)) => {
                owned.spool = Some(opened);
                owned.epoch = Some(epoch);
                // Until all have attached, the members of the record are not those of the epoch before, even if they look it.
                owned.agreed_members = None;
                // Its begin was agreed on, whatever may be missing below.
                owned.certain = true;
                if let Some(completed) = completed {
                    self.completed(journal, completed);
                }
                let Some(head) = self.log.spool(opened).map(open_head) else {
                    let _ = reply.send(Err(Fault::Elsewhere));
                    return;
                };
                // Everything below its begin counts from now on, so all of it has to be on the disk.
                let synced_by = self.keep(journal);
                self.owe(synced_by, Owed::Entered { reply, head });
            }
            Err(fault) => {
                tracing::warn!(%journal, %fault, "cannot begin an epoch");
                // It stays recorded; the next agreement begins another.
                let _ = reply.send(Err(Fault::Disk(fault.to_string())));
            }
        }
    }

    /// The open spool of a journal was closed with content. The persister takes it on when all of it is committed: at once if it is by
    /// now, as nothing may be appended that would bring another look, and no agreement be reached before the broker stops.
    pub(super) fn completed(&mut self, journal: &JournalName, completed: courant_fragment::spool::SpoolId) {
        self.metrics.spool_completed();
        if let (Some(owned), Some(spool)) = (self.state.journals.get_mut(journal), self.log.spool(completed))
        {
            owned.pending.push(completed);
            owned.veil.hide(Veiled::Completed {
                spool: completed,
                end: spool.end(),
                sum: spool.sum(),
                is_offered: false,
            });
            self.show(journal);
        }
    }

    /// Closes the open spool of a journal that others hold too, as soon as a round can say so.
    fn flush_if_wanted(&mut self, journal: &JournalName) {
        if self.state.journals.get(journal).is_some_and(|owned| owned.flush) {
            self.state.make_ready(journal);
        }
    }
}
