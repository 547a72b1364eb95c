//! The persister: takes spools that will not grow any more to their journals' stores, and does not rest before they are there.
//!
//! ```text
//!  cores ── submit ──► queue ──due──► attempt ──► store
//!    ▲                   ▲               │
//!    │                   └── failed ─────┤
//!    └────── Persisted, JournalGone ◄────┘
//! ```
//!
//! A spool is its owner's until the owner hears that the store holds it; nothing is released on the strength of an
//! attempt. What the primary completes is attempted at once, what other replicas complete two to three minutes later: then it is
//! usually there already, which is found by asking. The journal's spec is looked up at each attempt, so a changed store list, codec
//! or template counts from the next attempt on. Failures are repeated for as long as the process runs, ever more slowly.
//!
//! It holds descriptions of spools, up to a bound, and no content. It knows neither replication nor leases; what a journal's
//! spec is and who its primary is, it asks.

mod attempt;
mod counters;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use courant_proto::codec::Codec;
use courant_proto::fragment::{ContentSum, Fragment};
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::spec::JournalSpec;
use courant_proto::time::{Clock, Timestamp};
use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::spool::{Identity, Spool, SpoolId};
use crate::store::{Backoff, Cause, Stores};

use attempt::{Attempt, Outcome};
pub use counters::PersisterCounters;
use queue::Queue;

/// Delays after failures.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(5 * 60) };
/// The same, while draining.
const BACKOFF_DRAINING: Backoff =
    Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(2) };
/// What a replica completed waits so long, and up to half as long again.
const REPLICA_DELAY: Duration = Duration::from_secs(2 * 60);
/// A spool of a journal without stores is looked at again after about so long.
const STORELESS_DELAY: Duration = Duration::from_secs(60);

/// The age of the oldest spool is looked at so often.
const OBSERVE_EVERY: Duration = Duration::from_secs(5);

/// Reads a spool's content: at a position, into a buffer, telling how much. It may block.
pub type ContentReader = Arc<dyn Fn(u64, &mut [u8]) -> Result<usize, Cause> + Send + Sync>;

/// A spool that will not grow any more.
#[derive(Clone)]
pub struct CompletedSpool {
    /// The spool.
    pub id: SpoolId,
    /// Whose bytes it holds.
    pub identity: Identity,
    /// First offset, inclusive.
    pub begin: Offset,
    /// Last offset, exclusive.
    pub end: Offset,
    /// SHA-1 of its content.
    pub sum: ContentSum,
    /// The codec to store it with.
    pub codec: Codec,
    /// When its first content was committed.
    pub first_append: Option<Timestamp>,
    /// The journal's registers at its end.
    pub registers: Registers,
    /// Its bytes.
    pub content: ContentReader,
}

impl fmt::Debug for CompletedSpool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletedSpool")
            .field("id", &self.id)
            .field("identity", &self.identity)
            .field("begin", &self.begin)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl From<&Spool> for CompletedSpool {
    fn from(spool: &Spool) -> Self {
        let content = Arc::clone(spool.content());
        Self {
            id: spool.id(),
            identity: spool.identity().clone(),
            begin: spool.begin(),
            end: spool.end(),
            sum: spool.sum(),
            codec: spool.codec(),
            first_append: spool.first_append(),
            registers: spool.registers().clone(),
            content: Arc::new(move |position, buffer| content.read_at(position, buffer).map_err(Cause::from)),
        }
    }
}

impl CompletedSpool {
    /// How many bytes it holds.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.end.distance_from(self.begin).unwrap_or_default()
    }
}

/// What the persister has to know of a journal.
#[derive(Debug, Clone)]
pub struct Journal {
    /// Its spec of this moment.
    pub spec: Arc<JournalSpec>,
    /// Whether we are its primary.
    pub is_primary: bool,
}

/// Where journals are looked up.
pub trait Journals: fmt::Debug + Send + Sync + 'static {
    /// The journal of a spool; none if it does not exist any more, or only another one of its name does.
    fn look_up(&self, identity: &Identity) -> Option<Journal>;
}

/// What a spool's owner hears. Not before, its content may be released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The store holds it.
    Persisted {
        /// The spool.
        spool: SpoolId,
        /// The fragment that it became, with store, time and path.
        fragment: Fragment,
    },
    /// Its journal does not exist any more, and it was not stored.
    JournalGone {
        /// The spool.
        spool: SpoolId,
        /// Whose bytes it holds.
        identity: Identity,
    },
}

/// A spool that a drain could not persist. Its content stays where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The spool.
    pub spool: SpoolId,
    /// Whose bytes it holds.
    pub identity: Identity,
    /// First offset, inclusive.
    pub begin: Offset,
    /// Last offset, exclusive.
    pub end: Offset,
    /// Why it is not stored.
    pub reason: String,
}

/// Bounds of a persister.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Attempts at a time.
    pub attempts: usize,
    /// Spools it takes on at most. More have to be offered again later.
    pub pending: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { attempts: 32, pending: 1 << 16 }
    }
}

/// A spool on its way.
#[derive(Debug)]
struct Job {
    spool: CompletedSpool,
    reports: mpsc::Sender<Report>,
    /// Attempts that failed since it came.
    failures: u32,
    /// Why it is still here.
    reason: String,
    since: Instant,
}

impl Job {
    fn left(&self) -> Left {
        Left {
            spool: self.spool.id,
            identity: self.spool.identity.clone(),
            begin: self.spool.begin,
            end: self.spool.end,
            reason: self.reason.clone(),
        }
    }
}

enum Command {
    Submit(Box<Job>),
    Drain { deadline: Instant, reply: oneshot::Sender<Vec<Left>> },
}

/// The way to hand spools to a persister. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PersisterHandle {
    commands: mpsc::Sender<Command>,
    counters: Arc<PersisterCounters>,
    pending_max: usize,
}

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
}

impl PersisterHandle {
    /// Hands a completed spool over; what becomes of it is told to `reports`. An empty spool is nothing, and nothing is told.
    ///
    /// # Errors
    /// The persister has as many spools as it takes on, or has ended: the spool comes back, and should be offered again later.
    pub fn submit(
        &self,
        spool: CompletedSpool,
        reports: &mpsc::Sender<Report>,
    ) -> Result<(), Box<CompletedSpool>> {
        let length = spool.length();
        if length == 0 {
            return Ok(());
        }
        let pending = &self.counters.pending;
        if pending.fetch_add(1, Ordering::AcqRel) >= self.pending_max as u64 {
            pending.fetch_sub(1, Ordering::AcqRel);
            return Err(Box::new(spool));
        }
        let job = Job {
            spool,
            reports: reports.clone(),
            failures: 0,
            reason: "it was not attempted yet".to_owned(),
            since: Instant::now(),
        };
        match self.commands.try_send(Command::Submit(Box::new(job))) {
            Ok(()) => {
                self.counters.pending_bytes.fetch_add(length, Ordering::AcqRel);
                Ok(())
            }
            Err(refused) => {
                pending.fetch_sub(1, Ordering::AcqRel);
                match refused.into_inner() {
                    Command::Submit(job) => Err(Box::new(job.spool)),
                    Command::Drain { .. } => Ok(()),
                }
            }
        }
    }

    /// Attempts everything at once and again, until nothing is left or the time is over, and returns exactly what is
    /// left. Spools that are submitted meanwhile are included. Nothing is attempted after the deadline.
    pub async fn drain(&self, limit: Duration) -> Vec<Left> {
        let (reply, left) = oneshot::channel();
        let command = Command::Drain { deadline: Instant::now() + limit, reply };
        if self.commands.send(command).await.is_err() {
            return Vec::new();
        }
        left.await.unwrap_or_default()
    }

    /// Counters of what it did, and gauges of what it has to do.
    #[must_use]
    pub fn counters(&self) -> &Arc<PersisterCounters> {
        &self.counters
    }
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
        let handle = PersisterHandle {
            commands: sender,
            counters: Arc::clone(&counters),
            pending_max: config.pending.max(1),
        };
        let persister = Self { config, stores, journals, clock, rng: Mutex::new(rng), commands, counters };
        (persister, handle)
    }

    /// Persists what is submitted, until cancelled or until every handle is gone. Attempts that are under way then are
    /// given up: their spools are still their owners'.
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
                    // Whoever is still being attempted has run out of time, and is left as well.
                    work.running.shutdown().await;
                    work.give_up();
                    while let Ok(Command::Submit(job)) = self.commands.try_recv() {
                        self.enqueue(&mut work, *job);
                    }
                    work.reply();
                }
            }
        }
        work.running.shutdown().await;
    }

    /// Puts a new spool in line.
    fn enqueue(&self, work: &mut Work, job: Job) {
        let is_replica =
            self.journals.look_up(&job.spool.identity).is_some_and(|journal| !journal.is_primary);
        let now = Instant::now();
        let due = if is_replica && !work.is_draining() {
            now + REPLICA_DELAY + REPLICA_DELAY.mul_f64(self.random() / 2.0)
        } else {
            now
        };
        work.queue.push(due, job);
    }

    /// Starts attempts at what is due, as many as may run.
    fn start_due(&self, work: &mut Work) {
        let now = Instant::now();
        while self.has_room(work)
            && let Some(job) = work.queue.pop(now)
        {
            let attempt = Attempt {
                stores: Arc::clone(&self.stores),
                journal: self.journals.look_up(&job.spool.identity),
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
        let Some(mut job) = work.attempted.remove(&id) else { return };
        let spool = &job.spool;
        match outcome {
            Outcome::Stored { fragment, was_there } => {
                self.counters.stored(was_there);
                tracing::debug!(spool = %spool.id, %fragment, was_there, "persisted");
            }
            Outcome::JournalGone => {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                tracing::info!(spool = %spool.id, journal = %spool.identity.journal, "its journal is gone, and so is the need to persist it");
            }
            Outcome::NoStores => {
                self.counters.storeless.fetch_add(1, Ordering::Relaxed);
                job.reason = "its journal has no store".to_owned();
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

/// What a running persister has in hand.
#[derive(Default)]
struct Work {
    queue: Queue<Instant, Job>,
    running: JoinSet<Outcome>,
    attempted: HashMap<Id, Job>,
    draining: Option<(Instant, Option<oneshot::Sender<Vec<Left>>>)>,
    /// The drain's deadline has passed: nothing is attempted any more.
    is_over: bool,
    oldest_observed: Option<Instant>,
}

impl Work {
    fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// When a drain that was not answered ends.
    fn deadline(&self) -> Option<Instant> {
        self.draining.as_ref().and_then(|(deadline, reply)| reply.is_some().then_some(*deadline))
    }

    fn is_drained(&self) -> bool {
        self.deadline().is_some() && self.queue.is_empty() && self.attempted.is_empty()
    }

    fn drain(&mut self, deadline: Instant, reply: oneshot::Sender<Vec<Left>>) {
        self.queue.make_due(Instant::now());
        self.draining = Some((deadline, Some(reply)));
    }

    /// Takes back what was being attempted.
    fn give_up(&mut self) {
        self.is_over = true;
        for (_, mut job) in self.attempted.drain() {
            job.reason = format!("an attempt was given up at the deadline ({})", job.reason);
            self.queue.push(Instant::now(), job);
        }
    }

    /// Answers a drain with what is left.
    fn reply(&mut self) {
        if let Some((_, reply)) = &mut self.draining
            && let Some(reply) = reply.take()
        {
            let mut left: Vec<Left> = self.queue.iter().map(Job::left).collect();
            left.sort_by_key(|left| (left.identity.journal.clone(), left.begin));
            // Nobody waits for it any more, and nothing is lost by that.
            let _ = reply.send(left);
        }
    }

    /// Sets the gauge of the oldest spool's age, now and then: it looks at each of them.
    fn observe_oldest(&mut self, counters: &PersisterCounters) {
        let now = Instant::now();
        let is_fresh = self.oldest_observed.is_some_and(|at| now.duration_since(at) < OBSERVE_EVERY);
        if is_fresh && !self.queue.is_empty() {
            return;
        }
        self.oldest_observed = Some(now);
        let oldest = self.queue.iter().chain(self.attempted.values()).map(|job| job.since).min();
        counters.observe_oldest(oldest.map_or(Duration::ZERO, |since| now.duration_since(since)));
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
        Outcome::NoStores | Outcome::Failed(_) => None,
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
