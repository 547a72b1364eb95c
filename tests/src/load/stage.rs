//! A journal under load, and all that is known of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::checker::Violation;
use crate::conditional::Op;
use crate::history::{Append, Outcome, Seen};
use crate::linear::Timed;

/// How a journal is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everybody appends.
    Plain,
    /// Appends with conditions on a register.
    Registers,
    /// Appends with explicit offsets.
    Offsets,
}

/// A journal under load.
#[derive(Debug)]
pub struct Stage {
    name: String,
    kind: Kind,
    began: Instant,
    history: Mutex<Vec<Append>>,
    ops: Mutex<Vec<Timed<Op>>>,
    seen: Mutex<Seen>,
    broken: Mutex<Vec<Violation>>,
    refusals: Mutex<BTreeMap<String, u64>>,
    acknowledged: AtomicI64,
    /// How far each reader has come.
    followed: Mutex<BTreeMap<u32, i64>>,
    writers: AtomicU32,
}

impl Stage {
    pub(super) fn new(name: String, kind: Kind, began: Instant) -> Self {
        Self {
            name,
            kind,
            began,
            history: Mutex::default(),
            ops: Mutex::default(),
            seen: Mutex::default(),
            broken: Mutex::default(),
            refusals: Mutex::default(),
            acknowledged: AtomicI64::new(0),
            followed: Mutex::default(),
            // Those of the load count from zero.
            writers: AtomicU32::new(1_000),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is used.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The time since the load began.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A number for another writer than those of the load.
    pub fn another_writer(&self) -> u32 {
        self.writers.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes note of an attempt to append, and of the bytes that it tells of.
    pub fn settled(&self, append: Append, piece: &[u8], reason: &str) {
        match append.outcome {
            Outcome::Done { begin, end } => {
                // The answer tells of bytes at offsets, as a read does.
                self.see(begin, piece);
                self.acknowledged.fetch_max(end, Ordering::Relaxed);
            }
            Outcome::Failed | Outcome::Unknown => {
                *lock(&self.refusals).entry(reason.to_owned()).or_default() += 1;
            }
        }
        lock(&self.history).push(append);
    }

    /// Takes note of an append to a journal of which somebody makes conditions.
    pub fn decided(&self, op: Timed<Op>) {
        lock(&self.ops).push(op);
    }

    /// Takes note of bytes that somebody saw.
    pub fn see(&self, offset: i64, bytes: &[u8]) {
        let begin = usize::try_from(offset).unwrap_or(usize::MAX / 2);
        if let Err(at) = lock(&self.seen).add(begin, bytes) {
            self.breaks("J3", format!("offset {at} named other bytes before"));
        }
    }

    /// Takes note of a rule that was broken before anybody's eyes.
    pub fn breaks(&self, rule: &'static str, what: String) {
        let mut broken = lock(&self.broken);
        // One of a kind is enough to fail; thousands would say no more.
        if broken.len() < 100 {
            broken.push(Violation { rule, evidence: format!("{}: {what}", self.name) });
        }
    }

    /// All attempts so far.
    pub fn history(&self) -> Vec<Append> {
        lock(&self.history).clone()
    }

    /// All appends with conditions so far.
    pub fn ops(&self) -> Vec<Timed<Op>> {
        lock(&self.ops).clone()
    }

    /// Does something with all that was seen.
    pub fn with_seen<T>(&self, with: impl FnOnce(&Seen) -> T) -> T {
        with(&lock(&self.seen))
    }

    /// What was broken before anybody's eyes.
    pub fn broken(&self) -> Vec<Violation> {
        lock(&self.broken).clone()
    }

    /// What appends failed with, and how often.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        lock(&self.refusals).clone()
    }

    /// The furthest end that was acknowledged.
    pub fn acknowledged(&self) -> i64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// How far the slowest reader has come that follows the journal.
    pub fn followed(&self) -> i64 {
        lock(&self.followed).values().copied().min().unwrap_or(i64::MAX)
    }

    pub(super) fn follows(&self, reader: u32, offset: i64) {
        lock(&self.followed).insert(reader, offset);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}
