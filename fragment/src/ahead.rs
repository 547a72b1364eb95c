//! Encoding ahead: open spools are encoded while they grow, so that a spool that is closed has little left to encode before its
//! upload can begin.
//!
//! ```text
//!  core: a mebibyte more is committed ── want ──► Task ── on a thread that may block ──► scratch file without a name
//!  persister: the spool is complete ──── finish ──► the rest, the digest ──► Encoded ──► store
//!  released, cut, no room ────────────── forget ──► file and encoder are gone
//! ```
//!
//! Nothing that is acknowledged waits for it, and nothing rests on it: what is encoded ahead is a copy that may be thrown away at any
//! moment, and then the spool is encoded when it is uploaded. So memory, files and disk are bounded by refusing, and a crash leaves
//! nothing (record 8 argues for that). A spool with less than a mebibyte never comes here.
//!
//! It does not know what is committed: its caller says how far a spool may be read.

mod side;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use courant_proto::codec::Codec;
use courant_proto::fragment::ContentSum;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::codec::Encoder;
use crate::disk::Disk;
use crate::persister::ContentReader;
use crate::spool::content::Content;
use crate::spool::{SpoolId, SpoolMap};

pub use side::Encoded;
use side::Side;

/// So much content has to wait before any of it is encoded ahead.
pub const LEAST: u64 = 1 << 20;

/// Content that a task encodes at most before it lets others go first.
const STEP: u64 = 8 << 20;

/// Bounds of what is encoded ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes that encoders may hold in memory, all together.
    pub memory: u64,
    /// Spools at a time. Each has a file open.
    pub spools: usize,
    /// Bytes in scratch files, all together.
    pub scratch: u64,
    /// Bytes of the file system that are left to others.
    pub spare: u64,
    /// A spool that did not grow for so long makes place for one that does.
    pub idle: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            spools: 256,
            scratch: 4 << 30,
            spare: 1 << 30,
            idle: Duration::from_secs(30),
        }
    }
}

/// Counters and gauges of what is encoded ahead.
#[derive(Debug, Default)]
pub struct AheadCounters {
    /// Bytes of content that were encoded ahead.
    pub content_bytes: AtomicU64,
    /// Spools that were uploaded from what was encoded ahead.
    pub used: AtomicU64,
    /// Spools of which it was thrown away, or that there was no room for.
    pub given_up: AtomicU64,
    /// Gauge: spools that are being encoded ahead, or wait encoded.
    pub spools: AtomicU64,
    /// Gauge: bytes in scratch files.
    pub scratch_bytes: AtomicU64,
}

/// The spools that are encoded ahead. Cloning shares them.
#[derive(Clone)]
pub struct Ahead(Arc<Inner>);

struct Inner {
    config: Config,
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    slots: Mutex<SpoolMap<Slot>>,
    /// What was thrown away, and is let go of by who may block: closing a large file without a name takes its time.
    trash: Mutex<Vec<Slot>>,
    /// Wakes who waits for a task to end.
    ended: Notify,
    /// Of the next scratch file.
    next: AtomicU64,
    counters: Arc<AheadCounters>,
}

/// A spool of which something is encoded.
struct Slot {
    content: Weak<Content>,
    codec: Codec,
    /// How far it may be read.
    wanted: u64,
    used: Instant,
    state: State,
}

enum State {
    Resting(Box<Side>),
    /// A task has it.
    Running,
    /// A task has it, and is to throw it away.
    Forgotten,
    Encoded(Arc<Encoded>),
    /// It failed once, and is not tried again.
    Failed,
}

impl State {
    const fn is_running(&self) -> bool {
        matches!(self, Self::Running | Self::Forgotten)
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead").field("spools", &self.0.slots.lock().len()).finish_non_exhaustive()
    }
}

/// Work on one spool, for a thread that may block.
#[must_use = "a spool is encoded ahead when this runs"]
pub struct Task {
    ahead: Ahead,
    spool: SpoolId,
    content: Arc<Content>,
    side: Option<Box<Side>>,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("spool", &self.spool).finish_non_exhaustive()
    }
}

impl Ahead {
    /// Nothing is encoded yet. Scratch files lie in `folder`, without names.
    #[must_use]
    pub fn new(config: Config, disk: Arc<dyn Disk>, folder: PathBuf) -> Self {
        Self(Arc::new(Inner {
            config,
            disk,
            folder,
            slots: Mutex::default(),
            trash: Mutex::default(),
            ended: Notify::new(),
            next: AtomicU64::new(0),
            counters: Arc::default(),
        }))
    }

    /// What was done, and what is held.
    #[must_use]
    pub fn counters(&self) -> &Arc<AheadCounters> {
        &self.0.counters
    }

    /// A spool has grown, and may be read up to `length`. Work that is to be run for it, if there is any that nobody does yet. It
    /// never blocks.
    pub fn want(&self, spool: SpoolId, content: &Arc<Content>, codec: Codec, length: u64) -> Option<Task> {
        if codec == Codec::None {
            return None;
        }
        let mut slots = self.0.slots.lock();
        if !slots.contains_key(&spool) {
            if !self.make_room(&mut slots, codec) {
                return None;
            }
            let side = Side::new(codec).ok()?;
            let (content, used) = (Arc::downgrade(content), Instant::now());
            let state = State::Resting(Box::new(side));
            slots.insert(spool, Slot { content, codec, wanted: 0, used, state });
            self.0.counters.spools.fetch_add(1, Ordering::Relaxed);
        }
        let slot = slots.get_mut(&spool)?;
        slot.wanted = slot.wanted.max(length);
        slot.used = Instant::now();
        if !matches!(&slot.state, State::Resting(side) if slot.wanted.saturating_sub(side.position()) >= LEAST)
        {
            return None;
        }
        let State::Resting(side) = std::mem::replace(&mut slot.state, State::Running) else { return None };
        Some(Task { ahead: self.clone(), spool, content: Arc::clone(content), side: Some(side) })
    }

    /// Throws away what was encoded of a spool: it was released, or lost bytes.
    pub fn forget(&self, spool: SpoolId) {
        let mut slots = self.0.slots.lock();
        if let Some(slot) = slots.get_mut(&spool)
            && slot.state.is_running()
        {
            slot.state = State::Forgotten;
            return;
        }
        self.discard(slots.remove(&spool));
    }

    /// Lets go of what was thrown away. It blocks, and has to be called now and then.
    pub fn sweep(&self) {
        let trash = std::mem::take(&mut *self.0.trash.lock());
        drop(trash);
    }

    fn discard(&self, slot: Option<Slot>) {
        if let Some(slot) = slot {
            self.0.counters.spools.fetch_sub(1, Ordering::Relaxed);
            self.0.trash.lock().push(slot);
        }
    }

    /// Ends what was encoded ahead of a spool that will not grow any more; none, if there is nothing of use. `content` reads all of
    /// it. Asked again, it gives the same.
    pub async fn finish(
        &self,
        spool: SpoolId,
        length: u64,
        sum: ContentSum,
        content: &ContentReader,
    ) -> Option<Arc<Encoded>> {
        let side = loop {
            let ended = self.0.ended.notified();
            let mut ended = std::pin::pin!(ended);
            ended.as_mut().enable();
            {
                let mut slots = self.0.slots.lock();
                let slot = slots.get_mut(&spool)?;
                slot.used = Instant::now();
                match std::mem::replace(&mut slot.state, State::Running) {
                    State::Encoded(encoded) => {
                        slot.state = State::Encoded(Arc::clone(&encoded));
                        return Some(encoded);
                    }
                    State::Resting(side) => break side,
                    state @ State::Running => {
                        // The task ends with its step.
                        slot.wanted = 0;
                        slot.state = state;
                    }
                    state @ (State::Forgotten | State::Failed) => {
                        slot.state = state;
                        return None;
                    }
                }
            }
            ended.await;
        };
        let (ahead, content) = (self.clone(), Arc::clone(content));
        let taken = Taken::of(self, spool);
        let finished = tokio::task::spawn_blocking(move || {
            let position = side.position();
            let encoded = side.finish(&ahead, length, sum, |position, buffer| content(position, buffer));
            ahead.0.counters.content_bytes.fetch_add(length.saturating_sub(position), Ordering::Relaxed);
            encoded
        });
        let state = match finished.await {
            Ok(Ok(encoded)) => State::Encoded(Arc::new(encoded)),
            Ok(Err(why)) => {
                tracing::warn!(%spool, %why, "what was encoded ahead is of no use; the spool is encoded anew");
                State::Failed
            }
            Err(error) => {
                tracing::warn!(%spool, %error, "encoding ahead ended early; the spool is encoded anew");
                State::Failed
            }
        };
        let encoded = match &state {
            State::Encoded(encoded) => Some(Arc::clone(encoded)),
            _ => None,
        };
        taken.put_back(state);
        encoded
    }

    /// Makes room for one more spool, by what rests longest if need be. False: there is none.
    fn make_room(&self, slots: &mut SpoolMap<Slot>, codec: Codec) -> bool {
        let config = &self.0.config;
        loop {
            let encoders = slots
                .values()
                .filter(|slot| matches!(slot.state, State::Resting(_) | State::Running | State::Forgotten));
            let memory: u64 = encoders.map(|slot| Encoder::memory(slot.codec)).sum();
            if slots.len() < config.spools.max(1) && memory + Encoder::memory(codec) <= config.memory {
                return true;
            }
            let now = Instant::now();
            let is_free = |slot: &Slot| {
                let rests = now.duration_since(slot.used) >= config.idle || slot.content.strong_count() == 0;
                !slot.state.is_running() && rests
            };
            let oldest = slots.iter().filter(|(_, slot)| is_free(slot)).min_by_key(|(_, slot)| slot.used);
            let Some(spool) = oldest.map(|(spool, _)| *spool) else {
                self.0.counters.given_up.fetch_add(1, Ordering::Relaxed);
                return false;
            };
            self.discard(slots.remove(&spool));
            self.0.counters.given_up.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Task {
    /// Encodes what waits, up to a bound. What is left is in the task that it returns.
    pub fn run(mut self) -> Option<Self> {
        let mut side = self.side.take()?;
        let taken = Taken::of(&self.ahead, self.spool);
        let from = side.position();
        let (content, wanted) = (&self.content, taken.wanted());
        let to = wanted.min(from + STEP);
        let grown = side.grow(&self.ahead, to, |position, buffer| Ok(content.read_at(position, buffer)?));
        let counters = &self.ahead.0.counters;
        counters.content_bytes.fetch_add(side.position() - from, Ordering::Relaxed);
        match grown {
            Ok(()) => {
                if taken.goes_on(side.position()) {
                    taken.keep();
                    self.side = Some(side);
                    return Some(self);
                }
                taken.put_back(State::Resting(side));
            }
            Err(why) => {
                tracing::debug!(spool = %self.spool, %why, "a spool is not encoded ahead");
                counters.given_up.fetch_add(1, Ordering::Relaxed);
                taken.put_back(State::Failed);
            }
        }
        None
    }
}

impl Drop for Task {
    /// One that is never run again gives its place back.
    fn drop(&mut self) {
        if let Some(side) = self.side.take() {
            Taken::of(&self.ahead, self.spool).put_back(State::Resting(side));
        }
    }
}

/// A slot that is being worked on. It is given back whatever happens.
struct Taken {
    ahead: Ahead,
    spool: SpoolId,
    is_settled: bool,
}

impl Taken {
    fn of(ahead: &Ahead, spool: SpoolId) -> Self {
        Self { ahead: ahead.clone(), spool, is_settled: false }
    }

    fn wanted(&self) -> u64 {
        self.ahead.0.slots.lock().get(&self.spool).map_or(0, |slot| slot.wanted)
    }

    /// Whether there is more to do at once.
    fn goes_on(&self, position: u64) -> bool {
        let slots = self.ahead.0.slots.lock();
        slots.get(&self.spool).is_some_and(|slot| {
            matches!(slot.state, State::Running) && slot.wanted.saturating_sub(position) >= LEAST
        })
    }

    fn put_back(self, state: State) {
        self.give_back(state);
        self.keep();
    }

    /// The slot is in other hands.
    fn keep(mut self) {
        self.is_settled = true;
    }

    fn give_back(&self, state: State) {
        let mut slots = self.ahead.0.slots.lock();
        if let Some(slot) = slots.get_mut(&self.spool) {
            if matches!(slot.state, State::Forgotten) {
                self.ahead.discard(slots.remove(&self.spool));
            } else {
                slot.state = state;
            }
        }
        drop(slots);
        self.ahead.0.ended.notify_waiters();
    }
}

impl Drop for Taken {
    /// A task that panicked, or a wait that was given up: what it had is gone.
    fn drop(&mut self) {
        if !self.is_settled {
            self.give_back(State::Failed);
        }
    }
}
