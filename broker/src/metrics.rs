//! Every metric that a broker exports, in one list. Names and labels are Gazette's where it has the metric.

use std::fmt;
use std::sync::Arc;

use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The label of started calls.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

/// The labels of completed calls: `ok`, `error`, or the name of a status.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Completion {
    operation: &'static str,
    status: &'static str,
}

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

#[derive(Default)]
struct Inner {
    started: Family<Operation, Counter>,
    completed: Family<Completion, Counter>,
    write_head: Family<Journal, Gauge>,
    spool_commits: Counter,
    spool_commit_bytes: Counter,
    spool_rollbacks: Counter,
    spool_rollback_bytes: Counter,
    spool_completed: Counter,
    appends: Counter,
    journals: Gauge,
}

impl Metrics {
    /// Creates the metrics of one broker and registers them.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let inner = Inner::default();
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter("gazette_spool_commits", "Commits of spools", &inner.spool_commits);
        counter("gazette_spool_commit_bytes", "Bytes committed to spools", &inner.spool_commit_bytes);
        counter(
            "gazette_spool_rollbacks",
            "Commits that failed and were rolled back",
            &inner.spool_rollbacks,
        );
        counter("gazette_spool_rollback_bytes", "Bytes that were rolled back", &inner.spool_rollback_bytes);
        counter("gazette_spool_completed", "Spools closed with content", &inner.spool_completed);
        counter(
            "courant_appends",
            "Appends committed; a commit of a spool holds one or more",
            &inner.appends,
        );
        registry.register("courant_journals", "Journals that this broker holds", inner.journals.clone());
        registry.register(
            "gazette_journal_server_started",
            "Calls of the Journal service that began",
            inner.started.clone(),
        );
        registry.register(
            "gazette_journal_server_completed",
            "Calls of the Journal service that ended",
            inner.completed.clone(),
        );
        registry.register(
            "gazette_write_head",
            "Next offset of journals that this broker is the primary of",
            inner.write_head.clone(),
        );
        Self(Arc::new(inner))
    }

    /// A call began.
    pub(crate) fn started(&self, operation: &'static str) {
        self.0.started.get_or_create(&Operation { operation }).inc();
    }

    /// A call ended.
    pub(crate) fn completed(&self, operation: &'static str, status: &'static str) {
        self.0.completed.get_or_create(&Completion { operation, status }).inc();
    }

    /// A group of appends was committed.
    pub(crate) fn committed(&self, appends: usize, bytes: u64) {
        self.0.spool_commits.inc();
        self.0.spool_commit_bytes.inc_by(bytes);
        self.0.appends.inc_by(appends as u64);
    }

    /// A commit failed, and the spools are what they were.
    pub(crate) fn rolled_back(&self, bytes: u64) {
        self.0.spool_rollbacks.inc();
        self.0.spool_rollback_bytes.inc_by(bytes);
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

/// Sets a write head.
pub(crate) fn set_head(gauge: &Gauge, head: Offset) {
    gauge.set(head.get());
}
