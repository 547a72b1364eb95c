//! Plain counters of what a persister did. Who exports them reads them.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Counters and gauges of a persister.
///
/// `gazette_spool_persisted_total` is the sum of `uploaded`, `already_there` and `dropped`.
#[derive(Debug, Default)]
pub struct PersisterCounters {
    /// Spools that were uploaded.
    pub uploaded: AtomicU64,
    /// Spools that were found in the store, whole.
    pub already_there: AtomicU64,
    /// Spools whose journal was gone.
    pub dropped: AtomicU64,
    /// Attempts that failed.
    pub failed: AtomicU64,
    /// Attempts at spools of journals without a store.
    pub storeless: AtomicU64,
    /// Gauge: spools not persisted yet.
    pub pending: AtomicU64,
    /// Gauge: their bytes.
    pub pending_bytes: AtomicU64,
    /// Gauge: for how long the oldest of them waits, in seconds, as of the last change.
    pub oldest_seconds: AtomicU64,
    /// When the last spool was persisted, in Unix seconds; zero if none was.
    pub finished_at: AtomicI64,
}

impl PersisterCounters {
    /// `gazette_spool_persisted_total`.
    #[must_use]
    pub fn persisted_total(&self) -> u64 {
        [&self.uploaded, &self.already_there, &self.dropped]
            .map(|counter| counter.load(Ordering::Relaxed))
            .iter()
            .sum()
    }

    pub(super) fn stored(&self, was_there: bool) {
        let counter = if was_there { &self.already_there } else { &self.uploaded };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn observe_oldest(&self, age: Duration) {
        self.oldest_seconds.store(age.as_secs(), Ordering::Relaxed);
    }
}
