//! The loop of one core: drain the mailbox, take a turn, until there is nothing left to serve.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use courant_fragment::persister::{CompletedSpool, Report};
use courant_fragment::spool::log::{Adopted, Opening, SpoolLog};
use courant_fragment::spool::recover::RecoveredJournal;
use courant_fragment::spool::{Identity, Spool, SpoolId};
use courant_proto::fragment::Fragment;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::status::Status;
use courant_proto::time::Clock;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::command::{AppendJob, Command, Outcome, Start, Unhealthy};
use super::journal::{Owned, Waiting};
use super::turn;
use super::wheel::{Due, Wheel};
use crate::background::Background;
use crate::lineage::{EpochOutcome, Rolled, Sealing};
use crate::metrics::Metrics;
use crate::recovery::Adoptable;

/// Commands taken from the mailbox at once: one turn's worth.
const DRAINED: usize = 4_096;

/// Reports of the persister that may wait for a core.
const REPORTS: usize = 256;

/// A core looks after itself this often, however quiet it is.
const IDLE: Duration = Duration::from_secs(5);

/// A spool that could not be closed is tried again after so many seconds.
const ROLL_AGAIN: i64 = 5;

/// One core. [`Core::run`] is its thread's work.
pub struct Core {
    number: usize,
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
    pub(super) journals: HashMap<JournalName, Owned>,
    /// Journals with appends to decide in this turn.
    pub(super) ready: Vec<JournalName>,
    pub(super) wheel: Wheel,
    /// Spools that nothing needs any more; their release is written with the next turn.
    pub(super) released: Vec<SpoolId>,
    /// Complete spools that the persister had no room for.
    backlog: Vec<SpoolId>,
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
        Self { number, mailbox, reports, log, clock, background, metrics, state: State::default() }
    }

    /// Serves the core's journals until everyone who could send it a command is gone, or `cancel`.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut commands = Vec::with_capacity(DRAINED);
        loop {
            let busy = !self.state.ready.is_empty();
            let wait = self.until_due();
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                drained = self.mailbox.recv_many(&mut commands, DRAINED) => if drained == 0 { break },
                Some(report) = self.reports.recv() => self.persisted(report),
                () = tokio::task::yield_now(), if busy => {}
                () = sleep(wait) => {}
            }
            for command in commands.drain(..) {
                self.apply(command);
            }
            // Also while the mailbox is never empty.
            while let Ok(report) = self.reports.try_recv() {
                self.persisted(report);
            }
            self.due();
            self.offer_backlog();
            self.turn();
        }
        // Whoever still waits learns that nothing was decided.
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

    fn apply(&mut self, command: Command) {
        match command {
            Command::Append(job) => self.enqueue(*job),
            Command::Start(start) => self.start(*start),
            Command::SetAside { journal, reason } => self.set_aside(*journal, &reason),
            Command::Stop { journal, create_revision, deleted } => {
                self.stop(&journal, create_revision, deleted)
            }
            Command::Refresh { journal } => self.refresh(&journal),
            Command::Refreshed { journal, create_revision, outcome } => {
                self.refreshed(&journal, create_revision, outcome);
            }
            Command::EpochBegan { journal, create_revision, outcome } => {
                self.epoch_began(&journal, create_revision, outcome);
            }
            Command::Roll { journal } => self.roll(&journal),
            Command::Drain { done } => {
                let all: Vec<JournalName> = self.state.journals.keys().cloned().collect();
                for journal in all {
                    self.roll(&journal);
                }
                let _ = done.send(());
            }
            Command::Seal { done } => {
                self.seal();
                let _ = done.send(());
            }
            Command::Beat { reply } => {
                let _ = reply.send(());
            }
        }
    }

    fn due(&mut self) {
        let now = self.clock.now().secs();
        while let Some((journal, due)) = self.state.wheel.pop(now) {
            match due {
                Due::Flush => self.roll(&journal),
                Due::Refresh => {
                    // A journal that nobody used since is listed when somebody does.
                    if self.state.journals.get(&journal).is_some_and(|owned| owned.used) {
                        self.refresh(&journal);
                    }
                }
                Due::Rest => self.rest(&journal),
            }
        }
    }

    fn enqueue(&mut self, job: AppendJob) {
        let owned = self.state.journals.get_mut(&job.journal);
        let Some(owned) = owned.filter(|owned| owned.replica.create_revision == job.create_revision) else {
            let _ = job.reply.send(Outcome::Moved { content: job.content });
            return;
        };
        owned.used = true;
        if !mem::replace(&mut owned.ready, true) {
            self.state.ready.push(job.journal.clone());
        }
        owned.queue.push_back(Waiting::from(job));
    }

    /// Takes over a journal, with what an earlier process left of it.
    fn start(&mut self, Start { replica, recovered }: Start) {
        let journal = replica.journal.clone();
        let mut owned = Owned::new(replica, None);
        if let Some(Adoptable { journal: recovered, cuts }) = recovered {
            // A head that may not be the last is not contributed to the next epoch, and nothing begins below it.
            owned.floor = recovered.head;
            owned.certain = recovered.certain;
            let Adopted { open, mut complete } = self.log.adopt(recovered);
            owned.spool = open;
            self.cut(cuts);
            complete.retain(|spool| self.log.spool(*spool).is_some());
            let head = owned.spool(&self.log).map_or(Offset::ZERO, Spool::end);
            owned.replica.index.raise_head(head);
            for spool in complete {
                if let Some(complete) = self.log.spool(spool) {
                    owned.publish_complete(complete);
                }
                owned.pending.push(spool);
                self.persist(spool);
            }
            if let Some(spool) = owned.spool(&self.log).filter(|spool| spool.length() > 0) {
                owned.publish(spool, &[]);
                // Content of the process before is closed soon, whatever its interval was.
                self.state.wheel.set(&journal, Due::Flush, self.clock.now().secs());
            }
        }
        self.state.journals.insert(journal, owned);
    }

    /// Takes from spools what lies at offsets and behind them.
    fn cut(&mut self, cuts: Vec<(SpoolId, Offset)>) {
        let mut turn = self.log.turn();
        for (spool, at) in cuts {
            match turn.cut(spool, at) {
                Ok(None) => {}
                Ok(Some(aside)) => tracing::warn!(
                    journal = %aside.identity.journal, begin = %aside.begin, end = %aside.end, path = %aside.path.display(),
                    "put aside bytes that lineage says belong to nobody"
                ),
                Err(fault) => tracing::error!(%spool, %fault, "cannot put aside what belongs to nobody"),
            }
        }
        if let Err(fault) = turn.write() {
            tracing::error!(%fault, "cannot put aside what belongs to nobody");
        }
    }

    /// Puts aside all that was recovered of a journal.
    fn set_aside(&mut self, journal: RecoveredJournal, reason: &str) {
        let name = journal.identity.journal.clone();
        tracing::warn!(journal = %name, reason, "what an earlier process left of the journal counts for nothing");
        let Adopted { open, complete } = self.log.adopt(journal);
        self.cut(open.iter().chain(&complete).map(|spool| (*spool, Offset::ZERO)).collect());
        let Some(open) = open else { return };
        let mut turn = self.log.turn();
        if let Err(fault) = turn.forget(open).and_then(|_| turn.write().map(|_| ())) {
            tracing::error!(journal = %name, %fault, "cannot forget the journal");
        }
    }

    /// Lets a journal go. Its content is persisted by us all the same, unless the journal was deleted.
    fn stop(&mut self, journal: &JournalName, create_revision: i64, deleted: bool) {
        let ours = |owned: &Owned| owned.replica.create_revision == create_revision;
        if !self.state.journals.get(journal).is_some_and(ours) {
            return;
        }
        let Some(mut owned) = self.state.journals.remove(journal) else { return };
        self.state.wheel.forget(journal);
        self.metrics.forget(journal);
        owned.replica.index.close();
        owned.answer_all(|content| Outcome::Moved { content });
        if deleted {
            self.background.lineage.forget(journal.clone(), create_revision);
        }
        let Some(open) = owned.spool else { return };
        let mut turn = self.log.turn();
        let forgotten = turn.forget(open).and_then(|completed| turn.write().map(|_| completed));
        match forgotten {
            Ok(None) => {}
            Ok(Some(completed)) if deleted => self.state.released.push(completed),
            Ok(Some(completed)) => self.persist(completed),
            Err(fault) => {
                tracing::error!(%journal, %fault, "cannot let the journal go; its spool stays on disk")
            }
        }
    }

    /// Begins a listing of the journal's stores, unless one is under way.
    fn refresh(&mut self, journal: &JournalName) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        owned.used = true;
        if !mem::replace(&mut owned.refreshing, true) {
            let spec = owned.replica.spec();
            self.background.list_stores(journal.clone(), owned.replica.create_revision, spec);
        }
    }

    fn refreshed(
        &mut self,
        journal: &JournalName,
        create_revision: i64,
        outcome: Result<Vec<Fragment>, Unhealthy>,
    ) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        if owned.replica.create_revision != create_revision {
            return;
        }
        owned.refreshing = false;
        owned.used = false;
        let now = self.clock.now();
        let interval = owned.replica.spec().fragment.refresh_interval.as_secs();
        let interval = i64::try_from(interval).unwrap_or(i64::MAX);
        self.state.wheel.set(journal, Due::Refresh, now.secs().saturating_add(interval));
        match outcome {
            Ok(fragments) => {
                owned.replica.index.replace_remote(fragments, now);
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

    /// The registry has recorded an epoch: the spool of the one before is closed, and the next begins.
    fn epoch_began(&mut self, journal: &JournalName, create_revision: i64, outcome: EpochOutcome) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        if owned.replica.create_revision != create_revision {
            return;
        }
        owned.beginning = false;
        match outcome {
            EpochOutcome::Began { epoch, begin, registers } => {
                let identity = Identity { journal: journal.clone(), create_revision, epoch };
                let codec = owned.replica.spec().fragment.codec;
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
                        owned.replica.index.raise_head(begin);
                        if let Some(completed) = completed {
                            self.completed(journal, completed);
                        }
                    }
                    Err(fault) => {
                        tracing::warn!(%journal, %fault, "cannot begin an epoch");
                        owned.answer_all(|_| Outcome::Fault(turn::refused(&fault)));
                    }
                }
            }
            EpochOutcome::Refused { floor } => {
                tracing::warn!(
                    %journal, %floor,
                    "bytes of the journal's last epoch may be missing here and in its store; appends are refused until \
                     `courant journals reset-head` accepts that"
                );
                owned.floor = owned.floor.max(floor);
                owned.answer_all(|_| Outcome::Refused {
                    status: Status::IndexHasGreaterOffset,
                    registers: None,
                    detail: None,
                });
            }
            EpochOutcome::Unavailable(why) => {
                let fault = tonic::Status::unavailable(format!(
                    "the registry did not record an epoch of journal {journal}: {why}; nothing was committed, try again"
                ));
                owned.answer_all(|_| Outcome::Fault(fault.clone()));
            }
        }
        self.state.make_ready(journal);
    }

    /// A spool lies verified in a store, or belongs to nobody any more.
    fn persisted(&mut self, report: Report) {
        let spool = match report {
            Report::Persisted { spool, fragment } => {
                if let Some(owned) = self.state.journals.get_mut(&fragment.journal) {
                    owned.pending.retain(|pending| *pending != spool);
                    if let Some(stored) = owned.stored(&self.log) {
                        self.background.lineage.note_roll(Rolled {
                            journal: fragment.journal.clone(),
                            create_revision: owned.replica.create_revision,
                            stored,
                            sealed: None,
                        });
                    }
                    owned.replica.index.persisted(spool, fragment);
                }
                spool
            }
            Report::JournalGone { spool, .. } => spool,
        };
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

    /// Closes the open spool of a journal, if it has content.
    fn roll(&mut self, journal: &JournalName) {
        let Some(owned) = self.state.journals.get_mut(journal) else { return };
        let Some(spool) = owned.spool(&self.log).filter(|spool| spool.length() > 0) else { return };
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

    /// Ends the epochs of journals whose content lies in their stores whole: whoever begins the next one needs nothing of ours.
    fn seal(&mut self) {
        for (journal, owned) in &mut self.state.journals {
            let Some(open) = owned.spool(&self.log) else { continue };
            let Some(epoch) = owned.epoch.filter(|_| owned.pending.is_empty() && open.length() == 0) else {
                continue;
            };
            let (stored, registers) = (open.begin(), open.registers().clone());
            // Nothing more is committed in it: an append from here on begins another.
            owned.epoch = None;
            self.background.lineage.note_roll(Rolled {
                journal: journal.clone(),
                create_revision: owned.replica.create_revision,
                stored,
                sealed: Some(Sealing { epoch, registers }),
            });
        }
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
    }
}

impl State {
    pub(super) fn make_ready(&mut self, journal: &JournalName) {
        if let Some(owned) = self.journals.get_mut(journal)
            && !owned.queue.is_empty()
            && !mem::replace(&mut owned.ready, true)
        {
            self.ready.push(journal.clone());
        }
    }
}
