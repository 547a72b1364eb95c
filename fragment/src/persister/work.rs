//! What a running persister has in hand: spools in line, spools being attempted, and a drain to be answered.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use courant_proto::store::StoreUrl;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use super::attempt::Outcome;
use super::queue::Queue;
use super::{CompletedSpool, Left, PersisterCounters, Report};

/// The age of the oldest spool is looked at so often.
const OBSERVE_EVERY: Duration = Duration::from_secs(5);

/// A spool on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) spool: CompletedSpool,
    pub(super) reports: mpsc::Sender<Report>,
    /// Attempts that failed since it came.
    pub(super) failures: u32,
    /// Why it is still here.
    pub(super) reason: String,
    /// Its journal has no store: a drain does not wait for what cannot be.
    pub(super) is_storeless: bool,
    pub(super) since: Instant,
    /// The primary is expected to store it until then, unless that becomes us.
    pub(super) waits_until: Option<Instant>,
    /// When it was looked last whether it is stored, or tried to store it.
    pub(super) looked: Option<Instant>,
    /// The store at which it is being attempted.
    pub(super) store: Option<StoreUrl>,
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

/// What a running persister has in hand.
#[derive(Default)]
pub(super) struct Work {
    pub(super) queue: Queue<Instant, Job>,
    pub(super) running: JoinSet<Outcome>,
    pub(super) attempted: HashMap<Id, Job>,
    /// How many are being attempted at each store.
    stores: HashMap<StoreUrl, usize>,
    /// What is due, and waits for a place at its store.
    held: HashMap<StoreUrl, VecDeque<Job>>,
    /// Since there is a drain, its deadline; the earliest, should there be several.
    deadline: Option<Instant>,
    /// Drains which were not answered.
    replies: Vec<oneshot::Sender<Vec<Left>>>,
    /// The drain's deadline has passed: nothing is attempted any more.
    pub(super) is_over: bool,
    oldest_observed: Option<Instant>,
}

impl Work {
    pub(super) fn is_draining(&self) -> bool {
        self.deadline.is_some()
    }

    /// When a drain that was not answered ends.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| !self.replies.is_empty())
    }

    pub(super) fn is_drained(&self) -> bool {
        !self.replies.is_empty()
            && self.attempted.is_empty()
            && self.held.is_empty()
            && self.queue.iter().all(|job| job.is_storeless)
    }

    pub(super) fn drain(&mut self, deadline: Instant, reply: oneshot::Sender<Vec<Left>>) {
        self.queue.make_due(Instant::now());
        self.deadline = Some(self.deadline().map_or(deadline, |earlier| earlier.min(deadline)));
        self.replies.push(reply);
    }

    /// The next spool to attempt: one that is held, if its store has a place by now, else the first that is due. A held one may turn out to
    /// go elsewhere, as its journal has moved; then the next one finds the place still free.
    pub(super) fn next(&mut self, now: Instant, most: usize) -> Option<Job> {
        let free = |store: &StoreUrl| self.stores.get(store).is_none_or(|running| *running < most.max(1));
        let Some(store) = self.held.keys().find(|store| free(store)).cloned() else {
            return self.queue.pop(now);
        };
        let held = self.held.get_mut(&store)?;
        let job = held.pop_front();
        if held.is_empty() {
            self.held.remove(&store);
        }
        job
    }

    /// Gives a spool that is due a place at its journal's first store; where there is none it waits for one.
    pub(super) fn admit(&mut self, mut job: Job, store: Option<&StoreUrl>, most: usize) -> Option<Job> {
        job.store = store.cloned();
        let Some(store) = store else { return Some(job) };
        job.is_storeless = false;
        let running = self.stores.entry(store.clone()).or_default();
        if *running < most.max(1) {
            *running += 1;
            return Some(job);
        }
        self.held.entry(store.clone()).or_default().push_back(job);
        None
    }

    /// Takes out a spool whose attempt has ended. Its place is free.
    pub(super) fn take_attempted(&mut self, id: Id) -> Option<Job> {
        let mut job = self.attempted.remove(&id)?;
        if let Some(store) = job.store.take()
            && let Some(running) = self.stores.get_mut(&store)
        {
            *running -= 1;
            if *running == 0 {
                self.stores.remove(&store);
            }
        }
        Some(job)
    }

    /// Takes back what was being attempted, and what waited for a place.
    pub(super) fn give_up(&mut self) {
        self.is_over = true;
        self.stores.clear();
        for job in self.held.drain().flat_map(|(_, held)| held) {
            self.queue.push(Instant::now(), job);
        }
        for (_, mut job) in self.attempted.drain() {
            job.reason = format!("an attempt was given up at the deadline ({})", job.reason);
            self.queue.push(Instant::now(), job);
        }
    }

    /// Answers all drains with what is left.
    pub(super) fn reply(&mut self) {
        let left = self.left();
        for reply in self.replies.drain(..) {
            // Whoever asked may not wait for it any more, and nothing is lost by that.
            let _ = reply.send(left.clone());
        }
    }

    /// What is not being attempted.
    fn waiting(&self) -> impl Iterator<Item = &Job> {
        self.queue.iter().chain(self.held.values().flatten())
    }

    /// What is in line, by journal and offset.
    pub(super) fn left(&self) -> Vec<Left> {
        let mut left: Vec<Left> = self.waiting().map(Job::left).collect();
        left.sort_by(|one, other| {
            (&one.identity.journal, one.begin).cmp(&(&other.identity.journal, other.begin))
        });
        left
    }

    /// Sets the gauge of the oldest spool's age, now and then: it looks at each of them.
    pub(super) fn observe_oldest(&mut self, counters: &PersisterCounters) {
        let now = Instant::now();
        let is_fresh = self.oldest_observed.is_some_and(|at| now.duration_since(at) < OBSERVE_EVERY);
        if is_fresh && !self.queue.is_empty() {
            return;
        }
        self.oldest_observed = Some(now);
        let oldest = self.waiting().chain(self.attempted.values()).map(|job| job.since).min();
        counters.observe_oldest(oldest.map_or(Duration::ZERO, |since| now.duration_since(since)));
    }
}
