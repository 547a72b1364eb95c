//! What uploads of a process share: memory for their pieces, and each store's patience.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use super::Store;

/// Bytes that one permit stands for.
const UNIT: u64 = 64 << 10;

/// Uploads that are under way, and the bytes that they may have in memory: now, and at most so far.
#[derive(Debug, Default)]
pub struct UploadCounters {
    /// Uploads.
    pub running: AtomicU64,
    /// Uploads, at most.
    pub most_running: AtomicU64,
    /// Bytes.
    pub bytes: AtomicU64,
    /// Bytes, at most.
    pub most_bytes: AtomicU64,
}

/// The memory that uploads share.
#[derive(Debug)]
pub(super) struct Uploads {
    memory: Arc<Semaphore>,
    units: u64,
    counters: Arc<UploadCounters>,
}

/// An upload's share of it; given back with it.
#[derive(Debug)]
pub(super) struct Share {
    _permits: [Option<OwnedSemaphorePermit>; 2],
    bytes: u64,
    counters: Arc<UploadCounters>,
}

impl Uploads {
    pub(super) fn new(memory: u64) -> Self {
        let units = (memory / UNIT).clamp(1, Semaphore::MAX_PERMITS as u64);
        let permits = usize::try_from(units).unwrap_or(Semaphore::MAX_PERMITS);
        Self { memory: Arc::new(Semaphore::new(permits)), units, counters: Arc::default() }
    }

    pub(super) fn counters(&self) -> &Arc<UploadCounters> {
        &self.counters
    }

    /// The part of it that one store may have: half, so that one that hangs leaves room for others.
    pub(super) fn of_a_store(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(usize::try_from(self.part()).unwrap_or(Semaphore::MAX_PERMITS)))
    }

    fn part(&self) -> u64 {
        (self.units / 2).max(1)
    }

    /// Waits until an upload to a store may have so many bytes in memory; one that wants more than there is has all of that for itself.
    pub(super) async fn share(&self, store: &Arc<Semaphore>, bytes: u64) -> Share {
        let units = bytes.div_ceil(UNIT).clamp(1, self.part());
        let permits = u32::try_from(units).unwrap_or(u32::MAX);
        // Never closed, so they always grant.
        let own = Arc::clone(store).acquire_many_owned(permits).await.ok();
        let all = Arc::clone(&self.memory).acquire_many_owned(permits).await.ok();
        let counters = Arc::clone(&self.counters);
        let bytes = units * UNIT;
        let running = counters.running.fetch_add(1, Ordering::Relaxed) + 1;
        counters.most_running.fetch_max(running, Ordering::Relaxed);
        let held = counters.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        counters.most_bytes.fetch_max(held, Ordering::Relaxed);
        Share { _permits: [own, all], bytes, counters }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.counters.running.fetch_sub(1, Ordering::Relaxed);
        self.counters.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Store {
    /// Waits until an upload may make so many requests more.
    pub(super) async fn paced(&self, requests: u32) {
        let now = Instant::now().saturating_duration_since(self.shared.began);
        let wait = self.pace.lock().take(requests, now, self.shared.random());
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}
