//! The `Apply` RPC: journals are created, changed and deleted, all of a request or none.
//!
//! ```text
//!  request ─► changes ─► plan (pure, on the mirror) ─► one transaction ─► done: wait for our own mirror
//!                          ▲                              │
//!                          │ a journal was created since  ├─► a journal is not as the request expects:
//!                          └── the plan, where it matters ┘   ETCD_TRANSACTION_FAILED
//! ```
//!
//! The registry checks what the request expects. What it does not know is that names must not nest: that is decided on the
//! mirror, and the transaction is guarded by nothing having been created since, where that would matter.

pub(crate) mod plan;
#[cfg(test)]
mod tests;

use std::time::Duration;

use courant_proto::header::{Etcd, Header};
use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use courant_proto::spec::JournalSpec;
use courant_proto::validate::Validate;
use courant_proto::wire;
use tokio::time::timeout;

use crate::journal_space::SpaceMirror;
use crate::transaction::commit::{Registry, commit, fault};
use crate::transaction::{MOST_OPERATIONS, Transaction};
use plan::{Change, Expect, Refusal, Target, check_durability, check_retention, plan};

/// How often a request is planned anew because of journals that others created meanwhile.
const MOST_ATTEMPTS: usize = 16;

/// How long an answer waits for this broker's own mirror to show what was done.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// Tells which members are brokers of this kind.
pub(crate) type Kin<'a> = &'a (dyn Fn(&ProcessId) -> bool + Sync);

/// What came of changes that were carried out, or were not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// All of them happened, at this revision.
    Done { revision: i64 },
    /// A journal was not as expected at this revision, and none of them happened.
    Unexpected { revision: i64 },
}

/// Serves one request.
pub(crate) async fn respond(
    registry: &Registry,
    mirror: &SpaceMirror,
    me: &ProcessId,
    is_courant: Kin<'_>,
    request: wire::ApplyRequest,
) -> Result<wire::ApplyResponse, tonic::Status> {
    request.validate()?;
    let changes = request.changes.into_iter().map(Change::from_wire).collect::<Result<Vec<_>, _>>()?;
    let (status, revision) = match carry_out(registry, mirror, &changes, is_courant, of_many).await? {
        Applied::Done { revision } => (wire::Status::Ok, revision),
        Applied::Unexpected { revision } => (wire::Status::EtcdTransactionFailed, revision),
    };
    let space = mirror.snapshot();
    let header = space.unrouted(me);
    let header = Header { etcd: Etcd { revision, ..header.etcd }, ..header };
    Ok(wire::ApplyResponse { status: status.into(), header: Some((&header).into()) })
}

/// Creates a journal from the default spec, and returns a revision at which it is there.
pub(crate) async fn create(
    registry: &Registry,
    mirror: &SpaceMirror,
    is_courant: Kin<'_>,
    default: &JournalSpec,
    journal: &JournalName,
) -> Result<i64, tonic::Status> {
    let spec = Box::new(JournalSpec { name: journal.clone(), ..default.clone() });
    let change = Change { expect: Expect::Absent, to: Target::Upsert(spec) };
    match carry_out(registry, mirror, &[change], is_courant, of_one).await? {
        // Somebody else was first, which is as good.
        Applied::Done { revision } | Applied::Unexpected { revision } => Ok(revision),
    }
}

/// Carries out changes, all or none. When they are done, this broker's mirror shows them.
async fn carry_out(
    registry: &Registry,
    mirror: &SpaceMirror,
    changes: &[Change],
    is_courant: Kin<'_>,
    refused: fn(&Refusal) -> tonic::Status,
) -> Result<Applied, tonic::Status> {
    let action = || format!("applying {} changes of journals", changes.len());
    check_retention(changes).map_err(|refusal| refused(&refusal))?;
    check_durability(&mirror.snapshot(), changes, is_courant).map_err(|refusal| refused(&refusal))?;
    for _ in 0..MOST_ATTEMPTS {
        let transaction = planned(registry, mirror, changes, refused).await?;
        let outcome = commit(registry, transaction, action).await.map_err(|error| fault(&error))?;
        let revision = outcome.revision;
        if outcome.succeeded {
            if !matches!(timeout(SEEN_WITHIN, mirror.at_least(revision)).await, Ok(Ok(_))) {
                // It has happened all the same, and the answer names the revision for whoever wants to wait.
                tracing::warn!(
                    revision,
                    "changes of journals were applied, but the mirror does not show them yet"
                );
            }
            return Ok(Applied::Done { revision });
        }
        let mut found = outcome.found.iter().map(|found| found.as_ref().map_or(0, |kv| kv.mod_revision()));
        if !changes.iter().all(|change| change.expect.holds(found.next().unwrap_or(0))) {
            return Ok(Applied::Unexpected { revision });
        }
        // All is as the request expects: somebody created a journal near it, which the next plan has to see.
        catch_up(mirror, revision).await?;
    }
    Err(tonic::Status::aborted(format!(
        "{}: other journals are being created all the time, and none of the changes was made; try again",
        action()
    )))
}

/// Plans on the mirror. A refusal rests on what the registry has at present, not on what the mirror has not seen gone.
async fn planned(
    registry: &Registry,
    mirror: &SpaceMirror,
    changes: &[Change],
    refused: fn(&Refusal) -> tonic::Status,
) -> Result<Transaction, tonic::Status> {
    if let Ok(transaction) = plan(&mirror.snapshot(), changes, MOST_OPERATIONS) {
        return Ok(transaction);
    }
    let now =
        commit(registry, Transaction::default(), || "asking the registry for its revision".to_owned()).await;
    catch_up(mirror, now.map_err(|error| fault(&error))?.revision).await?;
    plan(&mirror.snapshot(), changes, MOST_OPERATIONS).map_err(|refusal| refused(&refusal))
}

async fn catch_up(mirror: &SpaceMirror, revision: i64) -> Result<(), tonic::Status> {
    match timeout(SEEN_WITHIN, mirror.at_least(revision)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(fault(&error)),
        Err(_) => Err(tonic::Status::unavailable(format!(
            "this broker has not seen revision {revision} of the registry within {SEEN_WITHIN:?}; try again, or elsewhere"
        ))),
    }
}

/// A refusal that names the change of the request.
fn of_many(refusal: &Refusal) -> tonic::Status {
    match refusal {
        Refusal::ChangedTwice { .. } | Refusal::Unfit { .. } | Refusal::Unlimited { .. } => {
            tonic::Status::invalid_argument(refusal.to_string())
        }
        Refusal::Nested { .. } | Refusal::Stranger { .. } => {
            tonic::Status::failed_precondition(refusal.to_string())
        }
    }
}

/// A refusal of the only change there is, which nobody has numbered.
fn of_one(refusal: &Refusal) -> tonic::Status {
    match refusal {
        Refusal::ChangedTwice { .. }
        | Refusal::Unfit { .. }
        | Refusal::Unlimited { .. }
        | Refusal::Stranger { .. } => of_many(refusal),
        Refusal::Nested { conflict, .. } => tonic::Status::failed_precondition(conflict.to_string()),
    }
}
