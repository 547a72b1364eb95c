//! Changing how far a journal is suspended: one transaction that replaces nothing of its spec but that.

use courant_proto::name::JournalName;
use courant_proto::spec::{JournalSpec, Suspend};

use crate::journal_space::Space;
use crate::transaction::commit::{Registry, commit, fault};
use crate::transaction::{Guard, PutLease, Transaction, Write};

/// Sets a journal's suspension, if neither its spec nor its assignments have changed since `space`. Returns the revision at which
/// that, or somebody else's change, is seen: whoever asked resolves the journal anew there, whether it was won or lost.
pub(crate) async fn update(
    registry: &Registry,
    space: &Space,
    journal: &JournalName,
    to: Suspend,
) -> Result<i64, tonic::Status> {
    let Some(transaction) = plan(space, journal, to) else { return Ok(space.read_through()) };
    let action = || format!("changing the suspension of journal {journal}");
    let outcome = commit(registry, transaction, action).await.map_err(|error| fault(&error))?;
    Ok(outcome.revision)
}

/// The transaction; none if there is no such journal, or nothing to change.
fn plan(space: &Space, journal: &JournalName, to: Suspend) -> Option<Transaction> {
    let item = space.item(journal)?;
    if item.spec.suspend == Some(to) {
        return None;
    }
    let key = space.root().item(journal);
    let mut guards = vec![Guard::Unchanged { key: key.clone(), mod_revision: item.mod_revision }];
    guards.extend(space.assignments(journal).map(|assigned| Guard::Unchanged {
        key: assigned.entry.key.to_vec(),
        mod_revision: assigned.entry.mod_revision.get(),
    }));
    let value = JournalSpec { suspend: Some(to), ..(*item.spec).clone() }.encode();
    let writes = vec![Write::Put { key, value, lease: PutLease::None }];
    Some(Transaction { guards, writes, otherwise: Vec::new() })
}

#[cfg(test)]
mod tests;
