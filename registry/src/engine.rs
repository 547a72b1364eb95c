//! The one copy of the state that everybody shares, and the two loops that drive it: commits and lease expiry.
//!
//! A write changes the state at once and its record joins a queue; the commit loop makes everything queued durable
//! with one sync and moves the *watermark*. No answer leaves before the watermark has passed what it was decided
//! on: a read of a write that is not durable yet waits like the write itself, and watchers look no further than the
//! watermark. So nobody is ever told of something that a crash could take back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::config::Config;
use crate::error::Error;
use crate::log::Log;
use crate::record::{Fact, Record};
use crate::refusal::Refusal;
use crate::state::{State, Written};

/// Bytes that a record is taken to need in the queue besides its keys and values.
const RECORD_OVERHEAD: usize = 64;

/// Most leases revoked before others get the state again.
const EXPIRE_BATCH: usize = 128;

/// Shortest sleep of the expiry loop; tokio's clock has no finer grain.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// How far everything is durable, and whether the registry still works.
#[derive(Clone, Debug)]
pub(crate) struct Watermark {
    /// Number of the last durable record.
    pub(crate) record: u64,
    /// The last durable revision.
    pub(crate) revision: i64,
    /// Why there will be no more, if so.
    pub(crate) ended: Option<Arc<str>>,
}

#[derive(Debug)]
struct Core {
    state: State,
    /// Records that wait for the commit loop. Stays empty in memory.
    queue: Vec<Record>,
    queue_bytes: usize,
    /// Number of the last record made, durable or not.
    last: u64,
    backing: Backing,
}

#[derive(Debug)]
enum Backing {
    /// Nothing outlives the process; every write counts as durable at once.
    Memory,
    /// The log waits for a `run`.
    Idle(Box<Log>),
    /// The same, while a `run` is under way.
    MemoryRunning,
    /// A `run` has the log.
    Running,
    /// A `run` lost the log.
    Lost,
}

impl Backing {
    const fn is_memory(&self) -> bool {
        matches!(self, Self::Memory | Self::MemoryRunning)
    }
}

/// What the handles and services share.
#[derive(Debug)]
pub(crate) struct Engine {
    core: Mutex<Core>,
    watermark: watch::Sender<Watermark>,
    /// There is something in the queue.
    queued: Notify,
    /// A lease was granted: the expiry loop may have to wake earlier.
    granted: Notify,
    origin: Instant,
    pub(crate) config: Config,
}

impl Engine {
    /// `log` is the end of the log if there is one.
    pub(crate) fn new(state: State, log: Option<Log>, config: Config) -> Self {
        let last = log.as_ref().map_or(0, Log::last);
        let revision = state.store().revision();
        let (watermark, _) = watch::channel(Watermark { record: last, revision, ended: None });
        let backing = log.map_or(Backing::Memory, |log| Backing::Idle(Box::new(log)));
        let core = Core { state, queue: Vec::new(), queue_bytes: 0, last, backing };
        Self {
            core: Mutex::new(core),
            watermark,
            queued: Notify::new(),
            granted: Notify::new(),
            origin: Instant::now(),
            config,
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Watermark> {
        self.watermark.subscribe()
    }

    /// Answers from the state at once and lets it be changed in ways that are not remembered: lease renewals.
    pub(crate) fn renew<R>(&self, change: impl FnOnce(&mut State, Duration) -> R) -> Result<R, Status> {
        self.works()?;
        Ok(change(&mut self.core.lock().state, self.now()))
    }

    pub(crate) fn revision(&self) -> i64 {
        self.watermark.borrow().revision
    }

    /// Looks at the state without waiting for anything to be durable: for what is only ever told through the
    /// watermark, or never changes.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.core.lock().state)
    }

    /// Answers from the state, once what the answer was taken from is durable.
    pub(crate) async fn read<R>(&self, look: impl FnOnce(&mut State, Duration) -> R) -> Result<R, Status> {
        self.works()?;
        let (answer, record) = {
            let core = &mut *self.core.lock();
            (look(&mut core.state, self.now()), core.last)
        };
        self.durable(record).await?;
        Ok(answer)
    }

    /// Changes the state, and answers once the change is durable. A refusal waits as well: it may rest on a write
    /// that is not durable yet.
    pub(crate) async fn write<R>(
        &self,
        change: impl FnOnce(&mut State, Duration) -> Result<Written<R>, Refusal>,
    ) -> Result<R, Status> {
        self.works()?;
        let (answer, record) = {
            let core = &mut *self.core.lock();
            if core.queue_bytes > self.config.pending_bytes {
                return Err(Refusal::TooManyRequests.into());
            }
            let answer = change(&mut core.state, self.now()).map(|(response, fact)| {
                if let Some(fact) = fact {
                    self.made(core, fact);
                }
                response
            });
            (answer, core.last)
        };
        self.durable(record).await?;
        answer.map_err(Status::from)
    }

    /// Queues a fact, and whatever compaction it makes due. Called with the state locked, so that records are in
    /// the order of what they record.
    fn made(&self, core: &mut Core, fact: Fact) {
        if matches!(fact, Fact::Granted(_)) {
            self.granted.notify_one();
        }
        for fact in [Some(fact), core.state.compact_automatically()].into_iter().flatten() {
            core.last = core.last.saturating_add(1);
            if !core.backing.is_memory() {
                core.queue_bytes = core.queue_bytes.saturating_add(weight(&fact));
                core.queue.push(fact.into());
            }
        }
        if core.backing.is_memory() {
            let (record, revision) = (core.last, core.state.store().revision());
            self.watermark.send_modify(|mark| (mark.record, mark.revision) = (record, revision));
        } else {
            self.queued.notify_one();
        }
    }

    /// Waits until a record is durable.
    async fn durable(&self, record: u64) -> Result<(), Status> {
        let mut watermark = self.watermark.subscribe();
        let mark = watermark.wait_for(|mark| mark.record >= record || mark.ended.is_some()).await;
        match mark {
            Ok(mark) if mark.record >= record => Ok(()),
            Ok(mark) => Err(ended(mark.ended.as_deref())),
            Err(_) => Err(ended(None)),
        }
    }

    fn works(&self) -> Result<(), Status> {
        match &self.watermark.borrow().ended {
            None => Ok(()),
            reason => Err(ended(reason.as_deref())),
        }
    }

    /// Drives commits and expiry until cancelled, or until the log fails. What was queued by then is made durable.
    pub(crate) async fn run(&self, cancel: CancellationToken) -> Result<(), Error> {
        let (mut running, log) = Running::claim(self)?;
        self.watermark.send_modify(|mark| mark.ended = None);
        let outcome = tokio::select! {
            outcome = self.commit(log, &cancel) => outcome,
            never = self.expire() => match never {},
        };
        match outcome {
            Ok(log) => {
                running.log = log;
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "registry stops: what was not acknowledged is not known to be durable");
                running.reason = format!("etcdserver: server stopped: {error}");
                Err(error)
            }
        }
    }

    /// Makes what is queued durable, one batch after the other, and snapshots the log when it has grown.
    async fn commit(
        &self,
        log: Option<Box<Log>>,
        cancel: &CancellationToken,
    ) -> Result<Option<Box<Log>>, Error> {
        let Some(mut log) = log else {
            cancel.cancelled().await;
            return Ok(None);
        };
        let mut snapshot: Option<Snapshot> = None;
        let mut snapshot_at = self.config.log_bytes;
        loop {
            let stopping = tokio::select! {
                () = self.queued.notified() => false,
                () = cancel.cancelled() => true,
                written = finished(&mut snapshot) => {
                    match written {
                        // A snapshot as large as the log it replaces would gain nothing: wait for twice its size.
                        Ok(len) => snapshot_at = self.config.log_bytes.max(len.saturating_mul(2)),
                        Err(error) => {
                            tracing::warn!(%error, "registry snapshot failed; its log is kept, and it is tried again later");
                            snapshot_at = log.len().saturating_add(self.config.log_bytes);
                        }
                    }
                    continue;
                }
            };
            log = self.flush(log, |_| ()).await?.0;
            if log.len() > snapshot_at && snapshot.is_none() && !stopping {
                // The facts are taken together with the records that led to them, so that the roll right after
                // those records is where the snapshot belongs.
                let facts;
                (log, facts) = self.flush(log, State::facts).await?;
                let (rolled, snapshotter) = blocking(move || {
                    let snapshotter = log.roll()?;
                    Ok((log, snapshotter))
                })
                .await?;
                log = rolled;
                snapshot = Some(tokio::task::spawn_blocking(move || snapshotter.write(facts)));
            }
            if stopping {
                if snapshot.is_some()
                    && let Err(error) = finished(&mut snapshot).await
                {
                    tracing::warn!(%error, "registry snapshot failed; its log is kept");
                }
                return Ok(Some(log));
            }
        }
    }

    /// Makes everything queued durable and moves the watermark. `also` looks at the state that the batch leads to.
    async fn flush<T>(&self, log: Box<Log>, also: impl FnOnce(&State) -> T) -> Result<(Box<Log>, T), Error> {
        let (batch, record, revision, also) = {
            let core = &mut *self.core.lock();
            core.queue_bytes = 0;
            let batch = std::mem::take(&mut core.queue);
            (batch, core.last, core.state.store().revision(), also(&core.state))
        };
        if batch.is_empty() {
            return Ok((log, also));
        }
        let mut log = log;
        let log = blocking(move || {
            log.append(&batch)?;
            Ok(log)
        })
        .await?;
        self.watermark.send_modify(|mark| (mark.record, mark.revision) = (record, revision));
        Ok((log, also))
    }

    /// Revokes leases as they end.
    async fn expire(&self) -> Infallible {
        loop {
            let wait = {
                let core = &mut *self.core.lock();
                let now = self.now();
                for _ in 0..EXPIRE_BATCH {
                    let Some((lease, fact)) = core.state.expire(now) else { break };
                    tracing::debug!(lease, "lease ended");
                    self.made(core, fact);
                }
                let leases = core.state.leases_mut();
                leases.observe(now);
                let wait = leases.next_end(now).map(|end| end.clamp(SHORTEST_WAIT, self.config.lease_tick));
                leases.promise(wait.map(|wait| now.saturating_add(wait)));
                wait
            };
            match wait {
                Some(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.granted.notified() => {}
                },
                None => self.granted.notified().await,
            }
        }
    }
}

/// Held while a `run` is under way; however that ends, nobody waits in vain afterwards.
struct Running<'a> {
    engine: &'a Engine,
    /// The log, given back by a run that ended well.
    log: Option<Box<Log>>,
    reason: String,
}

impl<'a> Running<'a> {
    fn claim(engine: &'a Engine) -> Result<(Self, Option<Box<Log>>), Error> {
        let core = &mut *engine.core.lock();
        let log = match std::mem::replace(&mut core.backing, Backing::Running) {
            Backing::Idle(log) => Some(log),
            Backing::Memory => {
                core.backing = Backing::MemoryRunning;
                None
            }
            Backing::Lost => {
                core.backing = Backing::Lost;
                return Err(Error::Writer("an earlier run lost it; open the registry again".to_owned()));
            }
            busy @ (Backing::Running | Backing::MemoryRunning) => {
                core.backing = busy;
                return Err(Error::AlreadyRunning);
            }
        };
        // While nothing ran nobody could renew and nothing ended: everyone starts over with the full time.
        core.state.leases_mut().renew_all(engine.now());
        Ok((Self { engine, log: None, reason: "etcdserver: server stopped".to_owned() }, log))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let core = &mut *self.engine.core.lock();
        core.state.leases_mut().promise(None);
        core.backing = match (&core.backing, self.log.take()) {
            (Backing::MemoryRunning, _) => Backing::Memory,
            (_, Some(log)) => Backing::Idle(log),
            (_, None) => Backing::Lost,
        };
        let reason = std::mem::take(&mut self.reason);
        self.engine.watermark.send_modify(|mark| mark.ended = Some(reason.into()));
    }
}

type Snapshot = JoinHandle<Result<u64, Error>>;

/// The outcome of the snapshot under way, if there is one; never otherwise.
async fn finished(snapshot: &mut Option<Snapshot>) -> Result<u64, Error> {
    let Some(handle) = snapshot else { return std::future::pending().await };
    let outcome = handle.await;
    *snapshot = None;
    outcome.map_err(|error| Error::Writer(error.to_string()))?
}

/// Runs what blocks on the disk where it blocks nobody else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Writer(error.to_string()))?
}

fn ended(reason: Option<&str>) -> Status {
    Status::unavailable(reason.unwrap_or("etcdserver: server stopped"))
}

/// About how many bytes a fact keeps in memory while it waits.
fn weight(fact: &Fact) -> usize {
    let change = match fact {
        Fact::Change(change) => Some(change),
        Fact::Revoked(revoked) => revoked.change.as_ref(),
        _ => None,
    };
    let edits = change.map_or(&[][..], |change| &change.edits);
    edits
        .iter()
        .map(|edit| RECORD_OVERHEAD + edit.key.len() + edit.put.as_ref().map_or(0, |put| put.value.len()))
        .fold(RECORD_OVERHEAD, usize::saturating_add)
}

#[cfg(test)]
mod tests;
