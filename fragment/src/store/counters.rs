//! Plain counters of what a store was asked and how it went. Who exports them reads them; nothing here knows
//! a metrics library.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a store is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Whether an object is there.
    Exists,
    /// An object's content.
    Get,
    /// A new object.
    Put,
    /// The objects below a path.
    List,
    /// An object's end.
    Remove,
    /// A URL that others may read an object by.
    SignGet,
}

impl Operation {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 6] = [Self::Exists, Self::Get, Self::Put, Self::List, Self::Remove, Self::SignGet];

    /// Its name as a metric's label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::Get => "get",
            Self::Put => "put",
            Self::List => "list",
            Self::Remove => "remove",
            Self::SignGet => "signget",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A histogram of six buckets, each four times as wide as the one before, and what lies beyond.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Observations per bucket; not cumulative. The last one has no upper bound.
    pub buckets: [AtomicU64; 7],
    /// Sum of the observations, in millionths of the unit.
    pub sum_millionths: AtomicU64,
}

impl Histogram {
    /// Upper bounds, in seconds, of a histogram of durations (`gazette_store_operation_duration_seconds`).
    pub const SECONDS: [f64; 6] = [0.01, 0.04, 0.16, 0.64, 2.56, 10.24];
    /// Upper bounds of a histogram of counts (`gazette_store_list_items_count`).
    pub const ITEMS: [f64; 6] = [10.0, 40.0, 160.0, 640.0, 2560.0, 10240.0];

    fn observe(&self, bounds: &[f64; 6], value: f64) {
        let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_millionths.fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }
}

/// How one operation went.
#[derive(Debug, Default)]
pub struct OperationCounters {
    /// Attempts that were answered (`gazette_store_operation_total` with status `success`).
    pub success: AtomicU64,
    /// Attempts that failed (status `error`).
    pub error: AtomicU64,
    /// How long attempts took that were answered, in [`Histogram::SECONDS`].
    pub duration: Histogram,
    /// How long attempts took that failed, in [`Histogram::SECONDS`].
    pub error_duration: Histogram,
}

/// Why an entry of a listing is not a fragment of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StrayReason {
    /// Its name is not one of a fragment.
    Name,
    /// Its offsets cannot be those of a fragment.
    Extent,
    /// Its size cannot hold its content.
    Size,
    /// It belongs to a journal further down.
    Nested,
    /// It ends above the journal's head.
    Head,
}

impl StrayReason {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 5] = [Self::Name, Self::Extent, Self::Size, Self::Nested, Self::Head];

    /// Its name as a metric's label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Extent => "extent",
            Self::Size => "size",
            Self::Nested => "nested",
            Self::Head => "head",
        }
    }
}

/// Counters of one store.
#[derive(Debug, Default)]
pub struct StoreCounters {
    operations: [OperationCounters; 6],
    strays: [AtomicU64; 5],
    /// Bytes of objects that were put, without a content encoding (`gazette_store_put_bytes_total`).
    pub put_bytes: AtomicU64,
    /// Bytes of objects that were put with content encoding `gzip`.
    pub put_bytes_gzip: AtomicU64,
    /// Entries per listing, in [`Histogram::ITEMS`].
    pub list_items: Histogram,
    /// Health checks that succeeded (`gazette_store_health_check_total` with status `ok`).
    pub health_ok: AtomicU64,
    /// Health checks that failed (status `error`).
    pub health_error: AtomicU64,
    /// Objects that turned out not to hold what their names promise.
    pub data_loss: AtomicU64,
}

impl StoreCounters {
    /// Counters of an operation.
    #[must_use]
    pub fn operation(&self, operation: Operation) -> &OperationCounters {
        &self.operations[operation as usize]
    }

    /// How often entries were skipped for a reason.
    #[must_use]
    pub fn strays(&self, reason: StrayReason) -> u64 {
        self.strays[reason as usize].load(Ordering::Relaxed)
    }

    pub(super) fn attempted(&self, operation: Operation, took: Duration, success: bool) {
        let counters = self.operation(operation);
        let (status, duration) = if success {
            (&counters.success, &counters.duration)
        } else {
            (&counters.error, &counters.error_duration)
        };
        status.fetch_add(1, Ordering::Relaxed);
        duration.observe(&Histogram::SECONDS, took.as_secs_f64());
    }

    pub(super) fn listed(&self, items: usize) {
        self.list_items.observe(&Histogram::ITEMS, items as f64);
    }

    /// Counts entries whose keys were left out before their listing was read.
    pub(super) fn strays_in_pages(&self, count: u64) {
        self.strays[StrayReason::Name as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn stray(&self, reason: StrayReason) {
        self.strays[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}
