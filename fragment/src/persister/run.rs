//! A persister at work: what is due is attempted, and what comes of it is acted on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use courant_proto::time::Clock;
use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, Outcome};
use super::work::{Job, Work};
use super::{Command, CompletedSpool, Config, Journals, Left, PersisterCounters, PersisterHandle, Report};
use crate::ahead::Ahead;
use crate::store::{Backoff, Stores};

/// Delays after failures. However long a store was away, what waits for it is attempted within a minute of its return.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(40) };
/// The same, while draining.
const BACKOFF_DRAINING: Backoff =
    Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(2) };
/// What a replica completed waits so long, and up to half as long again.
const REPLICA_DELAY: Duration = Duration::from_secs(2 * 60);
/// While it waits, it is looked this often whether this broker has become the primary.
const REPLICA_LOOK: Duration = Duration::from_secs(5);
/// Where room is short, it is looked this often whether it is stored.
const HURRIED_LOOK: Duration = Duration::from_secs(15);
/// A spool of a journal without stores is looked at again after about so long.
const STORELESS_DELAY: Duration = Duration::from_secs(60);

/// A persister. [`Persister::run`] is all of its life.
#[derive(Debug)]
pub struct Persister {
    config: Config,
    stores: Arc<Stores>,
    journals: Arc<dyn Journals>,
    clock: Arc<dyn Clock>,
    rng: Mutex<StdRng>,
    commands: mpsc::Receiver<Command>,
    counters: Arc<PersisterCounters>,
    remains: Arc<Mutex<Vec<Left>>>,
    ahead: Option<Ahead>,
    /// Room is short.
    hurries: Arc<AtomicBool>,
}

impl Persister {
    /// A persister, and the handle to it. `rng` draws jitter, and nothing that must be secret.
    #[must_use]
    pub fn new(
        config: Config,
        stores: Arc<Stores>,
        journals: Arc<dyn Journals>,
        clock: Arc<dyn Clock>,
        rng: StdRng,
    ) -> (Self, PersisterHandle) {
        // A slot for each spool that may be pending, and one for the drain.
        let (sender, commands) = mpsc::channel(config.pending.max(1) + 1);
        let counters = Arc::new(PersisterCounters::default());
        let remains = Arc::new(Mutex::new(Vec::new()));
        let hurries = Arc::new(AtomicBool::new(false));
        let handle = PersisterHandle {
            commands: sender,
            counters: Arc::clone(&counters),
            remains: Arc::clone(&remains),
            hurries: Arc::clone(&hurries),
            pending_max: config.pending.max(1),
        };
        let rng = Mutex::new(rng);
        (
            Self { config, stores, journals, clock, rng, commands, counters, remains, ahead: None, hurries },
            handle,
        )
    }

    /// Uploads what was encoded ahead, where there is such.
    #[must_use]
    pub fn with_ahead(self, ahead: Ahead) -> Self {
        Self { ahead: Some(ahead), ..self }
    }

    /// Persists what is submitted, until cancelled or until every handle is gone. Attempts that are under way
    /// then are given up: their spools are still their owners'.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut work = Work::default();
        loop {
            self.start_due(&mut work);
            work.observe_oldest(&self.counters);
            if work.is_drained() {
                work.reply();
            }
            let next_due = work.queue.next_due().filter(|_| self.has_room(&work));
            let deadline = work.deadline();
            tokio::select! {
                () = cancel.cancelled() => break,
                command = self.commands.recv() => match command {
                    Some(Command::Submit(job)) => self.enqueue(&mut work, *job),
                    Some(Command::Drain { deadline, reply }) => work.drain(deadline, reply),
                    None => break,
                },
                Some(ended) = work.running.join_next_with_id() => self.ended(&mut work, ended),
                () = sleep_until(next_due) => {}
                () = sleep_until(deadline) => {
                    self.stop(&mut work).await;
                    work.reply();
                }
            }
        }
        self.stop(&mut work).await;
        *self.remains.lock() = work.left();
        // From here on a drain finds nobody, and reads what remains.
        self.commands.close();
    }

    /// Stops attempting. Whoever is being attempted has run out of time, and is left like those in line.
    async fn stop(&mut self, work: &mut Work) {
        work.running.shutdown().await;
        work.give_up();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Submit(job) => self.enqueue(work, *job),
                Command::Drain { deadline, reply } => work.drain(deadline, reply),
            }
        }
    }

    /// Puts a new spool in line.
    fn enqueue(&self, work: &mut Work, mut job: Job) {
        let now = Instant::now();
        if self.is_replica(&job) {
            job.waits_until = Some(now + REPLICA_DELAY + REPLICA_DELAY.mul_f64(self.random() / 2.0));
        }
        self.queue(work, job, now);
    }

    /// Puts a spool in line, at once or when it is looked again whether its primary is another.
    fn queue(&self, work: &mut Work, job: Job, now: Instant) {
        let waits = job.waits_until.filter(|until| *until > now && !work.is_draining());
        work.queue.push(waits.map_or(now, |until| until.min(now + REPLICA_LOOK)), job);
    }

    fn is_replica(&self, job: &Job) -> bool {
        self.journals.look_up(&job.spool.identity).is_some_and(|journal| !journal.is_primary)
    }

    /// Starts attempts at what is due, as many as may run.
    fn start_due(&self, work: &mut Work) {
        let now = Instant::now();
        while self.has_room(work)
            && let Some(mut job) = work.next(now, self.config.attempts_of_a_store)
        {
            // Whoever has become primary in the meantime is the one that readers wait for.
            let waits = job.waits_until.is_some_and(|until| until > now)
                && !work.is_draining()
                && self.is_replica(&job);
            // Where room is short, what the primary has stored is let go of at once, and not when it would be our turn to store it.
            let only_looks = waits
                && self.hurries.load(Ordering::Relaxed)
                && job.looked.is_none_or(|at| now.duration_since(at) >= HURRIED_LOOK);
            if waits && !only_looks {
                self.queue(work, job, now);
                continue;
            }
            job.looked = Some(now);
            let journal = self.journals.look_up(&job.spool.identity);
            let first = journal.as_ref().and_then(|journal| journal.spec.fragment.stores.first());
            // A store that hangs must not take all places: others go on.
            let Some(job) = work.admit(job, first, self.config.attempts_of_a_store) else { continue };
            let attempt = Attempt {
                stores: Arc::clone(&self.stores),
                journal,
                ahead: self.ahead.clone(),
                only_looks,
                is_exiting: work.is_draining(),
            };
            let (spool, reports) = (job.spool.clone(), job.reports.clone());
            let task = work.running.spawn(async move {
                let outcome = attempt.run(&spool).await;
                if let Some(report) = report(&spool, &outcome) {
                    // An owner that is gone has no use for it; one that is slow takes up this one place.
                    let _ = reports.send(report).await;
                }
                outcome
            });
            work.attempted.insert(task.id(), job);
        }
    }

    fn has_room(&self, work: &Work) -> bool {
        !work.is_over && work.running.len() < self.config.attempts.max(1)
    }

    /// Acts on the outcome of an attempt, of which the owner has heard by now.
    fn ended(&self, work: &mut Work, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Outcome::Failed(format!("its attempt ended early: {error}"))),
        };
        let Some(mut job) = work.take_attempted(id) else { return };
        let spool = &job.spool;
        match outcome {
            Outcome::Stored { fragment, was_there } => {
                self.counters.stored(was_there);
                tracing::debug!(spool = %spool.id, %fragment, was_there, "persisted");
            }
            Outcome::JournalGone => {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                let journal = &spool.identity.journal;
                tracing::info!(spool = %spool.id, %journal, "not persisting it: its journal is gone");
            }
            Outcome::NotThere => {
                self.queue(work, job, Instant::now());
                return;
            }
            Outcome::NoStores => {
                self.counters.storeless.fetch_add(1, Ordering::Relaxed);
                job.reason = "its journal has no store".to_owned();
                job.is_storeless = true;
                let delay = STORELESS_DELAY.mul_f64(0.5 + self.random());
                work.queue.push(Instant::now() + delay, job);
                return;
            }
            Outcome::Failed(reason) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                job.failures = job.failures.saturating_add(1);
                let backoff = if work.is_draining() { BACKOFF_DRAINING } else { BACKOFF };
                let delay = backoff.delay(job.failures, self.random());
                tracing::warn!(
                    spool = %spool.id, journal = %spool.identity.journal, begin = %spool.begin, end = %spool.end,
                    failures = job.failures, retry_after = ?delay, reason, "cannot persist a spool yet"
                );
                job.reason = reason;
                work.queue.push(Instant::now() + delay, job);
                return;
            }
        }
        self.counters.pending.fetch_sub(1, Ordering::AcqRel);
        self.counters.pending_bytes.fetch_sub(spool.length(), Ordering::AcqRel);
        self.counters.finished_at.store(self.clock.now().secs(), Ordering::Relaxed);
    }

    /// Drawn evenly from 0 to 1.
    fn random(&self) -> f64 {
        self.rng.lock().random()
    }
}

/// What the owner of a spool hears of an attempt.
fn report(spool: &CompletedSpool, outcome: &Outcome) -> Option<Report> {
    match outcome {
        Outcome::Stored { fragment, .. } => {
            Some(Report::Persisted { spool: spool.id, fragment: fragment.clone() })
        }
        Outcome::JournalGone => {
            Some(Report::JournalGone { spool: spool.id, identity: spool.identity.clone() })
        }
        Outcome::NoStores | Outcome::NotThere | Outcome::Failed(_) => None,
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
