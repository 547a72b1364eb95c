//! The loop of one core: drain the mailbox, take a turn, until there is nothing left to serve.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use courant_fragment::persister::{CompletedSpool, Report};
use courant_fragment::spool::log::{Opening, SpoolLog};
use courant_fragment::spool::{Spool, SpoolId};
use courant_proto::fragment::Fragment;
use courant_proto::name::JournalName;
use courant_proto::status::Status;
use courant_proto::time::{Clock, Timestamp};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::command::{AppendJob, Command, Outcome, Unhealthy};
use super::durable::Owed;
use super::hold::Rested;
use super::journal::{Owned, Waiting};
use super::line::Line;
use super::syncs::Syncs;
use super::turn;
use super::veil::Veiled;
use super::wheel::{Due, Wheel};
use crate::append::roll;
use crate::background::Background;
use crate::lineage::{Rolled, Sealing};
use crate::listing;
use crate::metrics::{self, Metrics};
use crate::quota::Use;
use crate::replica::Replica;
use crate::retention::{self, Listing};

/// Commands taken from the mailbox at once: one turn's worth.
const DRAINED: usize = 4_096;

/// Reports of the persister that may wait for a core.
const REPORTS: usize = 256;

/// A core looks after itself this often, however quiet it is.
const IDLE: Duration = Duration::from_secs(5);

/// A spool that could not be closed is tried again after so many seconds.
pub(super) const ROLL_AGAIN: i64 = 5;

/// One core. [`Core::run`] is its thread's work.
pub struct Core {
    pub(super) number: usize,
    mailbox: mpsc::Receiver<Command>,
    reports: mpsc::Receiver<Report>,
    pub(super) log: SpoolLog,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) background: Background,
    pub(super) metrics: Metrics,
    pub(super) state: State,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("number", &self.number).finish_non_exhaustive()
    }
}

#[derive(Default)]
pub(super) struct State {
    /// Boxed: the map has room for more than it holds.
    pub(super) journals: HashMap<JournalName, Box<Owned>>,
    /// Journals with appends to decide in this turn.
    pub(super) ready: Vec<JournalName>,
    pub(super) wheel: Wheel,
    /// Spools that nothing needs any more; their release is written with the next turn.
    pub(super) released: Vec<SpoolId>,
    /// What is here of journals that this core does not serve at present.
    pub(super) rested: HashMap<JournalName, Rested>,
    /// Complete spools that the persister had no room for.
    backlog: Vec<SpoolId>,
    /// What was told of journals that are not here at all, until they are.
    pub(super) tokens: HashMap<JournalName, u64>,
    /// What waits for the disk.
    pub(super) syncs: Syncs<Owed>,
    /// When the age of what the log holds was looked at last.
    observed: Option<Instant>,
    /// Given out to agreements and generations. They begin somewhere else in every process: what was told by the one before counts for nothing.
    numbers: u64,
}

impl Core {
    /// A core that owns nothing yet.
    pub(crate) fn new(
        number: usize,
        mailbox: mpsc::Receiver<Command>,
        log: SpoolLog,
        clock: Arc<dyn Clock>,
        mut background: Background,
        metrics: Metrics,
    ) -> Self {
        let (sender, reports) = mpsc::channel(REPORTS);
        background.reports = sender;
        let state = State { numbers: background.seed, ..State::default() };
        Self { number, mailbox, reports, log, clock, background, metrics, state }
    }

    /// Serves the core's journals until everyone who could send it a command is gone, or `cancel`.
    pub async fn run(mut self, cancel: CancellationToken) {
        // Streams to peers are served by this thread, beside the journals that they replicate.
        self.background.here = Some(tokio::runtime::Handle::current());
        let mut commands = Vec::with_capacity(DRAINED);
        // Set anew only where it would fire too late: an early one costs a look, and each setting a wake-up of the runtime.
        let mut timer = std::pin::pin!(sleep(IDLE));
        loop {
            let busy = !self.state.ready.is_empty();
            let due = Instant::now() + self.until_due();
            if due < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(due);
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                drained = self.mailbox.recv_many(&mut commands, DRAINED) => if drained == 0 { break },
                Some(report) = self.reports.recv() => self.persisted(report),
                () = tokio::task::yield_now(), if busy => {}
                () = timer.as_mut() => {}
            }
            // Also while the mailbox is never empty; and before commands, as a seal looks at what is persisted.
            while let Ok(report) = self.reports.try_recv() {
                self.persisted(report);
            }
            for command in commands.drain(..) {
                self.apply(command);
            }
            self.due();
            self.offer_backlog();
            self.turn();
            self.count_held();
            self.sync();
            // Connections of this core come next: what they bring is one group of the turn after.
            tokio::task::yield_now().await;
        }
        // Whoever still waits learns that nothing was decided.
        let journals: Vec<JournalName> = self.state.journals.keys().cloned().collect();
        for journal in journals {
            self.break_line(&journal, "the broker is stopping");
        }
        for owned in self.state.journals.values_mut() {
            owned.answer_all(|_| Outcome::Fault(super::stopping()));
        }
    }

    /// Time until the next deadline. Deadlines are whole seconds, so one that is due fires at the beginning of its second.
    fn until_due(&self) -> Duration {
        let now = self.clock.now();
        let until = self.state.wheel.next().map(|at| at.saturating_mul(1000).saturating_sub(now.millis()));
        let until = until.map_or(IDLE, |millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0)));
        until.min(IDLE)
    }

    /// Tells the quota what the log holds by now; how old that is, now and then, as each spool is looked at.
    fn count_held(&mut self) {
        let held = self.log.held_bytes();
        self.background.quota.hold(self.number, held, &self.background.presence);
        self.background.persister.hurry(self.background.quota.used() > Use::Free);
        let now = Instant::now();
        if self.state.observed.is_none_or(|at| now.duration_since(at) >= IDLE) {
            self.state.observed = Some(now);
            let oldest = (held > 0).then(|| self.log.spools().filter_map(Spool::first_append).min());
            self.background.quota.observe_oldest(self.number, oldest.flatten());
        }
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Append(job) => self.enqueue(*job),
            Command::Adopt(adoptable) => self.adopt(*adoptable),
            Command::Start { replica, place } => self.start(replica, place),
            Command::Rerouted { replica, place } => self.rerouted(&replica, place),
            Command::SetAside { journal, reason } => self.set_aside(*journal, &reason),
            Command::Stop { journal, create_revision, deleted } => {
                self.stop(&journal, create_revision, deleted)
            }
            Command::Refresh { journal } => self.refresh(&journal),
            Command::Refreshed { replica, listed_at, outcome } => {
                self.refreshed(&replica, listed_at, outcome);
            }
            Command::Enter { replica, attempt, epoch, begin, registers, reply } => {
                self.enter(&replica, attempt, (epoch, begin, registers), reply);
            }
            Command::Cut { replica, attempt, at, reply } => self.put_aside(&replica, attempt, at, reply),
            Command::Agreed { replica, attempt, outcome } => self.agreed(&replica, attempt, outcome),
            Command::Answered { replica, attempt, peer, answered, failure } => {
                self.answered(&replica, attempt, peer, answered, failure);
            }
            Command::Sent { replica, attempt } => self.sent(&replica, attempt),
            Command::Close { replica, attempt } => self.close(&replica, attempt),
            Command::Resume { replica, attempt } => self.resume(&replica, attempt),
            Command::Rejudged { journal, create_revision, rejudged } => {
                self.rejudged(&journal, create_revision, rejudged);
            }
            Command::Roll { journal } => self.roll(&journal),
            Command::HeldEnds { reply } => {
                let _ = reply.send(self.held_ends());
            }
            Command::LeaveUnsettled { done } => {
                self.leave_unsettled();
                let _ = done.send(());
            }
            Command::Drain { done } => {
                let all: Vec<JournalName> = self.state.journals.keys().cloned().collect();
                for journal in all {
                    if self.state.journals.get(&journal).is_some_and(|owned| owned.place.has_peers()) {
                        // Its peers learn of it when they agree anew.
                        self.break_line(&journal, "the broker is stopping");
                    }
                    self.roll_alone(&journal);
                }
                let rested: Vec<JournalName> = self.state.rested.keys().cloned().collect();
                for journal in rested {
                    self.offer_rested(&journal);
                }
                let _ = done.send(());
            }
            Command::Seal { done } => {
                self.seal();
                self.tell_unsettled();
                let _ = done.send(());
            }
            Command::Synced { outcome } => self.synced(outcome),
            Command::Beat { reply } => {
                let _ = reply.send(());
            }
            Command::Head { journal, create_revision, reply } => {
                let _ = reply.send(self.head(&journal, create_revision));
            }
            Command::Follow { journal, create_revision, token, reply } => {
                let _ = reply.send(self.follow(&journal, create_revision, token));
            }
            Command::Take { journal, create_revision, taking } => {
                self.take(&journal, create_revision, *taking);
            }
            Command::Fill { journal, create_revision, filling } => {
                self.fill(&journal, create_revision, *filling);
            }
            Command::Pieces { journal, create_revision, epoch, from, to, reply } => {
                let _ = reply.send(self.pieces(&journal, create_revision, epoch, (from, to)));
            }
        }
    }

    fn due(&mut self) {
        let now = self.clock.now().secs();
        while let Some((journal, due)) = self.state.wheel.pop(now) {
            match due {
                Due::Flush if self.state.rested.contains_key(&journal) => self.offer_rested(&journal),
                Due::Flush => self.roll(&journal),
                Due::Refresh => {
                    let Some(owned) = self.state.journals.get(&journal) else { continue };
                    let enforces =
                        owned.place.is_primary && retention::enforced(&owned.replica.spec()).is_some();
                    // A reader that waits holds the replica, as this core and the list of all replicas do.
                    if owned.used || enforces || Arc::strong_count(&owned.replica) > 2 {
                        self.refresh(&journal);
                    } else {
                        // It is listed when somebody uses it again.
                        owned.replica.set_stale();
                    }
                }
                Due::Stored => self.stored_late(&journal),
                Due::Rest => self.rest(&journal),
                Due::Answer => self.look_for_answers(&journal),
                Due::Told => self.ask_to_be_told(&journal),
            }
        }
    }

    fn enqueue(&mut self, job: AppendJob) {
        let owned = self.state.journals.get_mut(&job.journal);
        let Some(owned) = owned.filter(|owned| owned.replica.create_revision == job.create_revision) else {
            let _ = job.reply.send(Outcome::Moved { content: job.content });
            return;
        };
        if !owned.place.is_primary {
            // Whoever sent it looks again: it knows less, or more, than this core.
            let _ = job.reply.send(Outcome::Moved { content: job.content });
            return;
        }
        owned.used = true;
        if !mem::replace(&mut owned.ready, true) {
            self.state.ready.push(job.journal.clone());
        }
        owned.queue.push_back(Waiting::from(job));
    }

    /// Begins a listing of the journal's stores, unless one is under way.
    fn refresh(&mut self, journal: &JournalName) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        owned.used = true;
        if !mem::replace(&mut owned.refreshing, true) {
            self.background.list_stores(Arc::clone(&owned.replica), self.clock.now());
        }
    }

    fn refreshed(
        &mut self,
        replica: &Arc<Replica>,
        listed_at: Timestamp,
        outcome: Result<Vec<Fragment>, Unhealthy>,
    ) {
        let journal = &replica.journal;
        let Some(owned) = self.state.journals.get_mut(journal).filter(|owned| owned.is(replica)) else {
            return;
        };
        owned.refreshing = false;
        owned.used = false;
        let now = self.clock.now();
        let interval = owned.replica.spec().fragment.refresh_interval.as_secs();
        let interval = i64::try_from(interval).unwrap_or(i64::MAX);
        self.state.wheel.set(journal, Due::Refresh, now.secs().saturating_add(interval));
        match outcome {
            Ok(fragments) => {
                let (believed, aside) = listing::believe(fragments, owned.standpoint(&self.log));
                if owned.place.is_primary {
                    let end = owned.spool(&self.log).map(Spool::end);
                    let listing = || Listing { fragments: believed.clone(), at: listed_at, end };
                    self.background.enforce_retention(&owned.replica, listing);
                }
                owned.replica.index.replace_remote(believed, listed_at);
                self.background.tell_of_contradictions(replica, &aside);
                self.state.make_ready(journal);
            }
            Err(Unhealthy(why)) => {
                tracing::warn!(%journal, why, "cannot list the stores of the journal");
                // What was listed before still stands; only a journal whose stores never answered has to refuse.
                if !owned.replica.index.is_refreshed() {
                    owned.answer_all(|_| Outcome::Refused {
                        status: Status::FragmentStoreUnhealthy,
                        registers: None,
                        detail: Some(why.clone()),
                    });
                }
            }
        }
    }

    /// A spool lies verified in a store, or belongs to nobody any more.
    fn persisted(&mut self, report: Report) {
        let (spool, fragment) = match report {
            Report::Persisted { spool, fragment } => (spool, Some(fragment)),
            Report::JournalGone { spool, .. } => (spool, None),
        };
        let name = self.log.spool(spool).map(|spool| spool.identity().journal.clone());
        if let (Some(journal), Some(fragment)) = (name, &fragment)
            && self.stored_ahead(&journal, spool, fragment)
        {
            return;
        }
        self.let_go(spool, fragment);
    }

    /// A spool is needed no more, as it lies in a store or belongs to nobody.
    pub(super) fn let_go(&mut self, spool: SpoolId, fragment: Option<Fragment>) {
        // A spool of an earlier journal of the same name is nobody's here, and neither is the fragment that it became.
        if let Some(identity) = self.log.spool(spool).map(Spool::identity) {
            if let Some(rested) = self.state.rested.get_mut(&identity.journal) {
                rested.pending.retain(|pending| *pending != spool);
            }
            if let Some(owned) = self.state.journals.get_mut(&identity.journal)
                && owned.pending.contains(&spool)
            {
                owned.pending.retain(|pending| *pending != spool);
                if owned.pending.is_empty() {
                    owned.pending = Vec::new();
                }
                if let Some(fragment) = fragment {
                    owned.replica.index.persisted(spool, fragment);
                    if let Some(stored) = owned.stored(&self.log) {
                        self.background.lineage.note_roll(Rolled {
                            journal: identity.journal.clone(),
                            create_revision: owned.replica.create_revision,
                            from: owned.replica.index.stored_from(stored),
                            stored,
                            sealed: None,
                        });
                    }
                }
            }
        }
        self.background.ahead.forget(spool);
        self.state.released.push(spool);
    }

    /// Hands a complete spool to the persister, or keeps it in mind until that has room.
    pub(super) fn persist(&mut self, spool: SpoolId) {
        if let Some(complete) = self.log.spool(spool)
            && self
                .background
                .persister
                .submit(CompletedSpool::from(complete), &self.background.reports)
                .is_err()
        {
            self.state.backlog.push(spool);
        }
    }

    /// Offers again what the persister had no room for.
    fn offer_backlog(&mut self) {
        for spool in mem::take(&mut self.state.backlog) {
            self.persist(spool);
        }
    }

    /// Closes the open spool of a journal, if it has content. Where others hold the journal, its primary says so to all.
    fn roll(&mut self, journal: &JournalName) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        if let Some(storing) = &mut owned.storing {
            storing.closes();
        }
        if !owned.place.has_peers() {
            self.roll_alone(journal);
        } else if owned.place.is_primary && owned.spool(&self.log).is_some_and(|spool| spool.length() > 0) {
            owned.flush = true;
            self.state.make_ready(journal);
            self.agree_if_wanted(journal);
        }
    }

    /// Closes the open spool of a journal here, if it has content and all of it counts.
    fn roll_alone(&mut self, journal: &JournalName) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        let replicated = owned.veil.replicated();
        let wanted = |spool: &&Spool| spool.length() > 0 && spool.end() <= replicated;
        let Some(spool) = owned.spool(&self.log).filter(wanted) else { return };
        let next = Opening {
            identity: spool.identity().clone(),
            begin: spool.end(),
            codec: owned.replica.spec().fragment.codec,
            registers: spool.registers().clone(),
        };
        let open = spool.id();
        let mut turn = self.log.turn();
        let rolled = turn.roll(open, next).and_then(|rolled| turn.write().map(|_| rolled));
        match rolled {
            Ok(rolled) => {
                owned.spool = Some(rolled.opened);
                if let Some(completed) = rolled.completed {
                    self.completed(journal, completed);
                }
            }
            Err(fault) => {
                tracing::warn!(%journal, %fault, "cannot close the open spool; it is tried again");
                self.state.wheel.set(journal, Due::Flush, self.clock.now().secs().saturating_add(ROLL_AGAIN));
            }
        }
    }

    /// Shows readers, and the persister, what is committed by now.
    pub(super) fn show(&mut self, journal: &JournalName) {
        let now = self.clock.now();
        loop {
            let Some(owned) = self.state.journals.get_mut(journal) else { return };
            if let Some(spool) = owned.veil.next_offered() {
                self.persist(spool);
                continue;
            }
            match owned.veil.next_shown() {
                None => return,
                Some(Veiled::Grown { extent, tail }) => {
                    let (begin, end, spool) = (extent.begin, extent.end, extent.spool);
                    owned.replica.index.committed(extent, &tail);
                    owned.committed_at = now.secs();
                    let gauge = owned.head.get_or_insert_with(|| self.metrics.write_head(journal));
                    metrics::set_head(gauge, end);
                    let is_open = owned.spool == Some(spool);
                    let open = self.log.spool(spool).filter(|_| is_open);
                    if let Some(open) = open {
                        owned.encode_ahead(open, end, &self.background);
                    }
                    let first = open.and_then(Spool::first_append);
                    let deadline = first.and_then(|first| roll::flush_deadline(first, &owned.replica.spec()));
                    if let Some(deadline) = deadline.filter(|_| end > begin)
                        && !self.state.wheel.has(journal, Due::Flush)
                    {
                        self.state.wheel.set(journal, Due::Flush, deadline);
                    }
                    if !self.state.wheel.has(journal, Due::Rest) {
                        self.state.wheel.set(
                            journal,
                            Due::Rest,
                            now.secs().saturating_add(turn::REST_SECONDS),
                        );
                    }
                }
                Some(Veiled::Completed { spool, sum, .. }) => {
                    owned.replica.index.completed(spool, sum);
                }
            }
        }
    }

    /// Ends the epochs of journals whose content lies in their stores whole: whoever begins the next one needs nothing of ours.
    fn seal(&mut self) {
        let all: Vec<JournalName> = self.state.journals.keys().cloned().collect();
        for journal in all {
            self.seal_one(&journal);
        }
    }

    /// Ends the epoch of a journal, if this broker is its primary and all of it is stored.
    pub(super) fn seal_one(&mut self, journal: &JournalName) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        let Some(open) = owned.spool(&self.log) else { return };
        let is_whole = owned.pending.is_empty() && open.length() == 0;
        let Some(epoch) = owned.epoch.filter(|_| is_whole && owned.place.is_primary) else { return };
        let (stored, registers) = (open.begin(), open.registers().clone());
        if owned.line.pipeline().is_some_and(|pipeline| !pipeline.rounds.is_empty()) {
            return;
        }
        // Nothing more is committed in it: an append from here on begins another.
        owned.epoch = None;
        owned.agreed_members = None;
        owned.line = Line::Idle;
        self.background.lineage.note_roll(Rolled {
            journal: journal.clone(),
            create_revision: owned.replica.create_revision,
            from: owned.replica.index.stored_from(stored),
            stored,
            sealed: Some(Sealing { epoch, registers }),
        });
    }

    /// Lets go of what only a journal that is being written needs.
    fn rest(&mut self, journal: &JournalName) {
        let now = self.clock.now();
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        if now.secs().saturating_sub(owned.committed_at) < turn::REST_SECONDS {
            self.state.wheel.set(journal, Due::Rest, now.secs().saturating_add(turn::REST_SECONDS));
            return;
        }
        owned.replica.index.trim_tail();
        owned.queue.shrink_to_fit();
        owned.taken.shrink_to_fit();
        owned.veil.shrink();
        // Streams to peers end; who appends again agrees anew, within the epoch.
        if let Line::Open(pipeline) = &owned.line
            && pipeline.rounds.is_empty()
            && !pipeline.links.is_empty()
        {
            owned.line = Line::Idle;
        }
    }
}

impl State {
    /// A number that was not given out before; never zero.
    pub(super) fn next_number(&mut self) -> u64 {
        self.numbers = self.numbers.wrapping_add(1).max(1);
        self.numbers
    }

    pub(super) fn make_ready(&mut self, journal: &JournalName) {
        if let Some(owned) = self.journals.get_mut(journal)
            && (!owned.queue.is_empty() || !owned.taken.is_empty() || owned.flush)
            && !mem::replace(&mut owned.ready, true)
        {
            self.ready.push(journal.clone());
        }
    }
}
