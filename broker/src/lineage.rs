//! Lineage: which recovered bytes of a journal count, and when it may go on (`docs/adr/0002-lineage.md`).
//!
//! ```text
//!  start-up:  load ─► judge (pure) ─► adopt, cut or quarantine what an earlier process left
//!  heads of members ─► agree (pure) ─► LineageKeeper ─► task: one transaction for many journals ─► the epoch has begun
//!  roll ───────────────────────────►        │             noted now and then, together; best effort
//! ```
//!
//! One small record per journal, under a root of our own: a cluster's other brokers neither see nor list it.

pub(crate) mod agree;
mod begin;
pub(crate) mod judge;
mod keeper;
mod known;
pub(crate) mod log_number;
mod notes;
pub(crate) mod record;
mod task;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use courant_keyspace::Error;
use courant_proto::name::JournalName;

use crate::journal_space::Root;
use crate::transaction::commit::{Registry, read};

pub(crate) use keeper::{BeginEpoch, EpochOutcome, LineageKeeper, Rolled, Sealing};
pub(crate) use record::{Lineage, Loss};
pub(crate) use task::LineageTask;

/// Reads the records of journals, where there are any: what spools are judged by when a process starts.
pub(crate) async fn load(
    registry: &Registry,
    root: &Root,
    journals: impl IntoIterator<Item = JournalName>,
) -> Result<HashMap<JournalName, Lineage>, Error> {
    let journals: Vec<JournalName> = journals.into_iter().collect();
    let keys = journals.iter().map(|journal| root.lineage(journal)).collect();
    let found = read(registry, keys, || "reading the lineage of recovered spools".to_owned()).await?;
    let mut records = HashMap::with_capacity(journals.len());
    for (journal, found) in journals.into_iter().zip(found) {
        let Some(found) = found else { continue };
        match Lineage::read(found.value()) {
            Ok(record) => {
                records.insert(journal, record);
            }
            // Without a record that can be read nothing of the journal counts, and nothing is lost: it is put aside.
            Err(error) => tracing::error!(%journal, %error, "the lineage of a journal cannot be read"),
        }
    }
    Ok(records)
}
