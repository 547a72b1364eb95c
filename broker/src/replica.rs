//! A journal that this broker holds, as every thread may see it: what its core writes and all others read.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use courant_fragment::index::Index;
use courant_proto::name::JournalName;
use courant_proto::spec::JournalSpec;
use courant_proto::time::Timestamp;
use parking_lot::{Mutex, RwLock};

use crate::append::flow::Bucket;

/// The shared half of a replica. The other half is plain data of the core that owns the journal.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) journal: JournalName,
    /// Tells this journal from another one of its name, before or after.
    pub(crate) create_revision: i64,
    pub(crate) index: Arc<Index>,
    /// What flow control saved up, from one append to the next.
    pub(crate) bucket: Mutex<Option<Bucket>>,
    spec: RwLock<Arc<JournalSpec>>,
    /// Nobody used it for a refresh interval, so its stores are to be listed when somebody does.
    stale: AtomicBool,
    /// When a reader had its stores listed last, in Unix milliseconds.
    looked: AtomicI64,
    /// What has outlived its retention is being removed.
    removing: Arc<AtomicBool>,
}

/// A run that removes fragments. Its end is when it is dropped.
#[derive(Debug)]
pub(crate) struct Removing(Arc<AtomicBool>);

impl Drop for Removing {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Replica {
    pub(crate) fn new(
        journal: JournalName,
        create_revision: i64,
        spec: Arc<JournalSpec>,
        index: Arc<Index>,
    ) -> Self {
        Self {
            journal,
            create_revision,
            index,
            bucket: Mutex::new(None),
            spec: RwLock::new(spec),
            stale: AtomicBool::new(false),
            looked: AtomicI64::new(0),
            removing: Arc::default(),
        }
    }

    /// The spec as of the last change that this broker has seen.
    pub(crate) fn spec(&self) -> Arc<JournalSpec> {
        Arc::clone(&self.spec.read())
    }

    /// Says that what is known of its stores is old, and nobody uses it.
    pub(crate) fn set_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    /// Whether what is known of its stores is old. Whoever asks sees to it that they are listed.
    pub(crate) fn take_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed) && self.stale.swap(false, Ordering::Relaxed)
    }

    /// Whether a reader that lacks content may have the stores listed: once in so long, however many readers wait.
    pub(crate) fn may_look_again(&self, now: Timestamp, interval: Duration) -> bool {
        let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        let (now, looked) = (now.millis(), self.looked.load(Ordering::Relaxed));
        let is_due = now.saturating_sub(looked) >= interval;
        is_due && self.looked.compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Begins to remove fragments. None: another run is under way, which may take longer than it is to the next listing.
    pub(crate) fn begin_removing(&self) -> Option<Removing> {
        let is_under_way = self.removing.swap(true, Ordering::AcqRel);
        (!is_under_way).then(|| Removing(Arc::clone(&self.removing)))
    }

    pub(crate) fn set_spec(&self, spec: Arc<JournalSpec>) {
        *self.spec.write() = spec;
    }
}

/// The replicas of this broker by journal. The task that follows the mirror writes it; requests read it.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    by_journal: RwLock<HashMap<JournalName, Arc<Replica>>>,
}

impl Replicas {
    pub(crate) fn get(&self, journal: &JournalName) -> Option<Arc<Replica>> {
        self.by_journal.read().get(journal).cloned()
    }

    pub(crate) fn insert(&self, replica: Arc<Replica>) -> Option<Arc<Replica>> {
        self.by_journal.write().insert(replica.journal.clone(), replica)
    }

    pub(crate) fn remove(&self, journal: &JournalName) -> Option<Arc<Replica>> {
        self.by_journal.write().remove(journal)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_journal.read().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal_space::fixture::{name, spec};

    #[test]
    fn one_run_removes_at_a_time() {
        let journal = name("a/journal");
        let index = Arc::new(Index::new(journal.clone(), 0));
        let replica = Replica::new(journal, 1, Arc::new(spec("a/journal")), index);
        let run = replica.begin_removing().expect("the first");
        assert!(replica.begin_removing().is_none());
        drop(run);
        assert!(replica.begin_removing().is_some());
    }
}
