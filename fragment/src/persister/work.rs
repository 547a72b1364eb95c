//! What a running persister has in hand: spools in line, spools being attempted, and a drain to be answered.

use std::collections::HashMap;
use std::time::Duration;

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
        !self.replies.is_empty() && self.attempted.is_empty() && self.queue.iter().all(|job| job.is_storeless)
    }

    pub(super) fn drain(&mut self, deadline: Instant, reply: oneshot::Sender<Vec<Left>>) {
        self.queue.make_due(Instant::now());
        self.deadline = Some(self.deadline().map_or(deadline, |earlier| earlier.min(deadline)));
        self.replies.push(reply);
    }

    /// Takes back what was being attempted.
    pub(super) fn give_up(&mut self) {
        self.is_over = true;
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

    /// What is in line, by journal and offset.
    pub(super) fn left(&self) -> Vec<Left> {
        let mut left: Vec<Left> = self.queue.iter().map(Job::left).collect();
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
        let oldest = self.queue.iter().chain(self.attempted.values()).map(|job| job.since).min();
        counters.observe_oldest(oldest.map_or(Duration::ZERO, |since| now.duration_since(since)));
    }
}
