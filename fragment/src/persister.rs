//! The persister: takes spools that will not grow any more to their journals' stores, and does not rest
//! before they are there.
//!
//! ```text
//!  cores ── submit ──► queue ──due──► attempt ──► store
//!    ▲                   ▲               │
//!    │                   └── failed ─────┤
//!    └────── Persisted, JournalGone ◄────┘
//! ```
//!
//! A spool is its owner's until the owner hears that the store holds it; nothing is released on the strength
//! of an attempt. What the primary completes is attempted at once, what other replicas complete two to three
//! minutes later: then it is usually there already, which is found by asking. The journal's spec is looked up
//! at each attempt, so a changed store list, codec or template counts from the next attempt on. Failures are
//! repeated for as long as the process runs, ever more slowly.
//!
//! It holds descriptions of spools, up to a bound, and no content. It knows neither replication nor leases;
//! what a journal's spec is and who its primary is, it asks.

mod attempt;
mod counters;
mod queue;
mod run;
#[cfg(test)]
mod tests;
mod work;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use courant_proto::codec::Codec;
use courant_proto::fragment::{ContentSum, Fragment};
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::spec::JournalSpec;
use courant_proto::time::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::spool::{Identity, Spool, SpoolId};
use crate::store::Cause;

pub use counters::PersisterCounters;
pub use run::Persister;
use work::Job;

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
    /// Of these, at journals with the same first store: one that hangs leaves places to others.
    pub attempts_of_a_store: usize,
    /// Spools it takes on at most. More have to be offered again later.
    pub pending: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { attempts: 96, attempts_of_a_store: 32, pending: 1 << 16 }
    }
}

/// What reaches a persister.
enum Command {
    Submit(Box<Job>),
    Drain { deadline: Instant, reply: oneshot::Sender<Vec<Left>> },
}

/// The way to hand spools to a persister. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PersisterHandle {
    commands: mpsc::Sender<Command>,
    counters: Arc<PersisterCounters>,
    /// What a persister that has ended had in hand.
    remains: Arc<Mutex<Vec<Left>>>,
    hurries: Arc<AtomicBool>,
    pending_max: usize,
}

impl PersisterHandle {
    /// Hands a completed spool over; what becomes of it is told to `reports`. An empty spool is nothing, and
    /// nothing is told.
    ///
    /// # Errors
    /// The persister has as many spools as it takes on, or has ended: the spool comes back, and should be
    /// offered again later.
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
            is_storeless: false,
            since: Instant::now(),
            waits_until: None,
            looked: None,
            store: None,
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

    /// Says whether room is short: then a replica looks more often whether what it completed is stored by now.
    pub fn hurry(&self, is_short: bool) {
        self.hurries.store(is_short, Ordering::Relaxed);
    }

    /// Attempts everything at once and again, until nothing is left or the time is over, and returns exactly
    /// what is left. Spools that are submitted meanwhile are included. Nothing is attempted after the
    /// deadline. Of a persister that has ended, it is what it had in hand then.
    pub async fn drain(&self, limit: Duration) -> Vec<Left> {
        let (reply, left) = oneshot::channel();
        let command = Command::Drain { deadline: Instant::now() + limit, reply };
        // Who does not answer has ended, and left a note before.
        let answer = match self.commands.send(command).await {
            Ok(()) => left.await.ok(),
            Err(_) => None,
        };
        answer.unwrap_or_else(|| self.remains.lock().clone())
    }

    /// Counters of what it did, and gauges of what it has to do.
    #[must_use]
    pub fn counters(&self) -> &Arc<PersisterCounters> {
        &self.counters
    }
}
