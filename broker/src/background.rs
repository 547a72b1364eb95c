//! What cores hand to other threads: listing stores, beginning epochs, persisting spools. Results come back as commands.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use courant_fragment::persister::{PersisterHandle, Report};
use courant_fragment::store::Stores;
use courant_proto::fragment::Fragment;
use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::spec::JournalSpec;
use courant_proto::time::Timestamp;
use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::core::Cores;
use crate::core::command::{Command, Unhealthy};
use crate::journal_space::decode::Value;
use crate::journal_space::{Space, SpaceMirror};
use crate::lineage::{BeginEpoch, EpochOutcome, LineageKeeper};
use crate::replica::Replica;

/// Where a core sends work that may wait. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Background {
    pub(crate) me: ProcessId,
    pub(crate) runtime: Handle,
    pub(crate) tasks: TaskTracker,
    /// The number of this process's log, if all of it was recovered.
    pub(crate) log_number: Option<u64>,
    pub(crate) mirror: SpaceMirror,
    pub(crate) stores: Arc<Stores>,
    pub(crate) lineage: LineageKeeper,
    pub(crate) persister: PersisterHandle,
    /// Where the persister reports to: the core that has this value.
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) cores: Cores,
}

impl Background {
    /// Lists the stores of a journal from `listed_at` on, which is now; its core is told.
    pub(crate) fn list_stores(&self, replica: Arc<Replica>, listed_at: Timestamp) {
        let (stores, cores) = (Arc::clone(&self.stores), self.cores.clone());
        let space = self.mirror.snapshot();
        self.tasks.spawn_on(
            async move {
                let journal = replica.journal.clone();
                let outcome =
                    AssertUnwindSafe(list(&stores, &space, &journal, &replica.spec())).catch_unwind().await;
                let outcome =
                    outcome.unwrap_or_else(|_| Err(Unhealthy("listing the stores panicked".to_owned())));
                // A core that has stopped needs no listing.
                let _ = cores.send(&journal, Command::Refreshed { replica, listed_at, outcome }).await;
            },
            &self.runtime,
        );
    }

    /// Asks the registry to record an epoch; the journal's core is told.
    pub(crate) fn begin_epoch(&self, begin: Epoch) {
        let (lineage, cores, me) = (self.lineage.clone(), self.cores.clone(), self.me.clone());
        let log_number = self.log_number;
        self.tasks.spawn_on(
            async move {
                let Epoch { replica, contributed, unknown, begin, accept_loss, store_end, registers } = begin;
                let journal = replica.journal.clone();
                let request = BeginEpoch {
                    journal: journal.clone(),
                    create_revision: replica.create_revision,
                    contributed,
                    begin,
                    accept_loss,
                    store_end,
                    registers,
                    members: vec![me],
                    unknown_to_log: log_number.filter(|_| unknown),
                };
                let outcome = AssertUnwindSafe(lineage.begin_epoch(request)).catch_unwind().await;
                // The journal's appends wait for this answer, so a bug must not keep it from them.
                let outcome = outcome
                    .unwrap_or_else(|_| EpochOutcome::Unavailable("beginning an epoch panicked".to_owned()));
                let _ = cores.send(&journal, Command::EpochBegan { replica, outcome }).await;
            },
            &self.runtime,
        );
    }
}

/// An epoch that a core wants to begin.
#[derive(Debug)]
pub(crate) struct Epoch {
    /// Who asks, and is told.
    pub(crate) replica: Arc<Replica>,
    /// The head that this member's log knows of the last epoch.
    pub(crate) contributed: Option<Offset>,
    /// This member's log has never heard of the journal.
    pub(crate) unknown: bool,
    pub(crate) begin: Offset,
    pub(crate) accept_loss: bool,
    pub(crate) store_end: Offset,
    pub(crate) registers: Registers,
}

/// The fragments of all stores of a journal. Any store's failure is the failure of the listing; where the first one has never worked,
/// that is said.
async fn list(
    stores: &Stores,
    space: &Space,
    journal: &JournalName,
    spec: &JournalSpec,
) -> Result<Vec<Fragment>, Unhealthy> {
    // Journals of another cluster's making may be nested; no broker of ours creates such names.
    let nested: Vec<JournalName> = space
        .item_entries_with_prefix(&format!("{journal}/"))
        .into_iter()
        .filter_map(|entry| match &entry.value {
            Value::Item(spec) => Some(spec.name.clone()),
            Value::Member(_) | Value::Assignment(_) => None,
        })
        .collect();
    let mut fragments = Vec::new();
    for (number, url) in spec.fragment.stores.iter().enumerate() {
        let unhealthy =
            |error: &dyn std::fmt::Display| Unhealthy(format!("fragment store {url} unhealthy: {error}"));
        let store = stores.get(url).map_err(|error| unhealthy(&error))?;
        if number == 0
            && let Some(reason) = store.checked().await.gate()
        {
            return Err(unhealthy(&reason));
        }
        fragments.extend(store.list(journal, &nested).await.map_err(|error| unhealthy(&error))?);
    }
    Ok(fragments)
}
