//! Every metric that a broker exports, in one list. Names and labels are Gazette's where it has the metric.
//!
//! What the broker does is counted where it happens; what stores and the persister count themselves is read when it is asked for.

mod calls;
mod collect;
mod commits;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use courant_fragment::ahead::AheadCounters;
use courant_fragment::persister::PersisterCounters;
use courant_fragment::store::Stores;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::time::Clock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub(crate) use calls::{Call, Operation};
pub(crate) use commits::Commits;

use crate::quota::Quota;

/// The label of figures that are kept per journal.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Journal {
    journal: String,
}

/// Counters and gauges of one broker. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Inner>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

struct Inner {
    calls: calls::Calls,
    write_head: Family<Journal, Gauge>,
    spool_commits: Counter,
    spool_commit_bytes: Counter,
    spool_rollbacks: Counter,
    spool_rollback_bytes: Counter,
    spool_completed: Counter,
    appends: Counter,
    read_gaps: Counter,
    read_gap_bytes: Counter,
    journals: Gauge,
}

impl Metrics {
    /// Creates the metrics of one broker and registers them.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let inner = Inner {
            calls: calls::Calls::new(registry),
            write_head: Family::default(),
            spool_commits: Counter::default(),
            spool_commit_bytes: Counter::default(),
            spool_rollbacks: Counter::default(),
            spool_rollback_bytes: Counter::default(),
            spool_completed: Counter::default(),
            appends: Counter::default(),
            read_gaps: Counter::default(),
            read_gap_bytes: Counter::default(),
            journals: Gauge::default(),
        };
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter("gazette_spool_commits", "Commits of spools", &inner.spool_commits);
        counter("gazette_spool_commit_bytes", "Bytes committed to spools", &inner.spool_commit_bytes);
        counter(
            "gazette_spool_rollbacks",
            "Commits that failed and were rolled back, with their bytes",
            &inner.spool_rollbacks,
        );
        counter("gazette_spool_rollback_bytes", "Bytes that were rolled back", &inner.spool_rollback_bytes);
        counter("gazette_spool_completed", "Spools closed with content", &inner.spool_completed);
        counter(
            "courant_appends",
            "Appends committed; a commit of a spool holds one or more",
            &inner.appends,
        );
        counter(
            "courant_read_gaps",
            "Jumps of reads over content that is missing, each of which its reader is told of",
            &inner.read_gaps,
        );
        counter("courant_read_gap_bytes", "Bytes that reads jumped over", &inner.read_gap_bytes);
        registry.register("courant_journals", "Journals that this broker holds", inner.journals.clone());
        registry.register(
            "gazette_write_head",
            "Next offset of journals that this broker is the primary of",
            inner.write_head.clone(),
        );
        Self(Arc::new(inner))
    }

    /// A call began. It ends with what is returned.
    pub(crate) fn began(&self, operation: Operation) -> Call {
        self.0.calls.started(operation);
        Call::new(self.clone(), operation)
    }

    /// Spools were committed to.
    pub(crate) fn committed(&self, commits: Commits) {
        self.0.spool_commits.inc_by(commits.spools);
        self.0.spool_commit_bytes.inc_by(commits.bytes);
        self.0.appends.inc_by(commits.appends);
    }

    /// Commits failed, and the spools are what they were.
    pub(crate) fn rolled_back(&self, commits: Commits) {
        self.0.spool_rollbacks.inc_by(commits.spools);
        self.0.spool_rollback_bytes.inc_by(commits.bytes);
    }

    /// A read was moved forward, over content that is missing.
    pub(crate) fn skipped(&self, bytes: u64) {
        self.0.read_gaps.inc();
        self.0.read_gap_bytes.inc_by(bytes);
    }

    /// A spool with content was closed.
    pub(crate) fn spool_completed(&self) {
        self.0.spool_completed.inc();
    }

    /// The gauge of a journal's write head, to be kept by whoever sets it often.
    pub(crate) fn write_head(&self, journal: &JournalName) -> Gauge {
        self.0.write_head.get_or_create(&Journal { journal: journal.as_str().to_owned() }).clone()
    }

    /// The journal is not ours any more.
    pub(crate) fn forget(&self, journal: &JournalName) {
        self.0.write_head.remove(&Journal { journal: journal.as_str().to_owned() });
    }

    /// Journals that this broker holds.
    pub(crate) fn journals(&self, count: usize) {
        self.0.journals.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// Exports what stores and the persister count.
pub(crate) fn register_counters(
    registry: &mut Registry,
    stores: Arc<Stores>,
    persister: Arc<PersisterCounters>,
) {
    registry.register_collector(Box::new(collect::StoreMetrics(stores)));
    registry.register_collector(Box::new(collect::PersisterMetrics(persister)));
}

/// Exports what is encoded ahead of uploads.
pub(crate) fn register_ahead(registry: &mut Registry, ahead: Arc<AheadCounters>) {
    registry.register_collector(Box::new(collect::AheadMetrics(ahead)));
}

/// Exports how much lies in spools that no store has yet, and how much may.
pub(crate) fn register_quota(registry: &mut Registry, quota: Quota, clock: Arc<dyn Clock>) {
    registry.register_collector(Box::new(collect::QuotaMetrics { quota, clock }));
}

/// Sets a write head.
pub(crate) fn set_head(gauge: &Gauge, head: Offset) {
    gauge.set(head.get());
}
