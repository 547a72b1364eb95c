//! Sends transactions to the registry, within a deadline.

use std::time::Duration;

use courant_keyspace::Error;
use etcd_client::{Client, Compare, CompareOp, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use tokio::time::timeout;

use super::{Guard, MOST_OPERATIONS, PutLease, Transaction, Write};

/// No answer within this time is a failure; what was sent may still be carried out.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// What came of a transaction.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Every guard held, and every write happened.
    pub(crate) succeeded: bool,
    /// The registry's revision then: the one of the writes, if there were any.
    pub(crate) revision: i64,
    /// What was read because a guard did not hold: one for each key that was asked for.
    pub(crate) found: Vec<Option<KeyValue>>,
}

/// Carries out a transaction. `action` says what it is for, in errors.
pub(crate) async fn commit(
    etcd: &Client,
    transaction: Transaction,
    action: impl Fn() -> String,
) -> Result<Outcome, Error> {
    let answer = send(etcd, to_etcd(transaction), &action).await?;
    let header = answer.header().ok_or_else(|| Error::Malformed { action: action(), missing: "header" })?;
    let (succeeded, revision) = (answer.succeeded(), header.revision());
    let found = if succeeded { Vec::new() } else { found(&answer).collect() };
    Ok(Outcome { succeeded, revision, found })
}

/// Reads keys, each as it is at some moment during the call. One answer for each key, in their order.
pub(crate) async fn read(
    etcd: &Client,
    keys: Vec<Vec<u8>>,
    action: impl Fn() -> String,
) -> Result<Vec<Option<KeyValue>>, Error> {
    let mut values = Vec::with_capacity(keys.len());
    for keys in keys.chunks(MOST_OPERATIONS) {
        let gets: Vec<TxnOp> = keys.iter().map(|key| TxnOp::get(&**key, None)).collect();
        values.extend(found(&send(etcd, Txn::new().and_then(gets), &action).await?));
    }
    Ok(values)
}

async fn send(etcd: &Client, txn: Txn, action: &impl Fn() -> String) -> Result<TxnResponse, Error> {
    timeout(ANSWERED_WITHIN, etcd.kv_client().txn(txn))
        .await
        .map_err(|_| Error::TimedOut { action: action(), waited: ANSWERED_WITHIN })?
        .map_err(|source| Error::Etcd { action: action(), source })
}

fn found(answer: &TxnResponse) -> impl Iterator<Item = Option<KeyValue>> {
    answer.op_responses().into_iter().map(|response| match response {
        TxnOpResponse::Get(mut range) => range.take_kvs().into_iter().next(),
        _ => None,
    })
}

/// What a caller over gRPC is told of a registry that cannot be asked, or refuses.
pub(crate) fn fault(error: &Error) -> tonic::Status {
    let code = match error {
        Error::Etcd { source: etcd_client::Error::GRpcStatus(status), .. } => match status.code() {
            // Etcd's own refusals keep their code; what only its transport says is no answer of ours.
            tonic::Code::Unknown | tonic::Code::Cancelled => tonic::Code::Unavailable,
            code => code,
        },
        Error::Malformed { .. } => tonic::Code::Internal,
        _ => tonic::Code::Unavailable,
    };
    tonic::Status::new(code, error.to_string())
}

fn to_etcd(transaction: Transaction) -> Txn {
    let Transaction { guards, writes, otherwise } = transaction;
    let guards: Vec<Compare> = guards.into_iter().map(compare).collect();
    let writes: Vec<TxnOp> = writes.into_iter().map(operation).collect();
    let otherwise: Vec<TxnOp> = otherwise.into_iter().map(|key| TxnOp::get(key, None)).collect();
    Txn::new().when(guards).and_then(writes).or_else(otherwise)
}

fn compare(guard: Guard) -> Compare {
    match guard {
        Guard::Unchanged { key, mod_revision } => Compare::mod_revision(key, CompareOp::Equal, mod_revision),
        Guard::SameLife { key, create_revision } => {
            Compare::create_revision(key, CompareOp::Equal, create_revision)
        }
        // A key that is not there compares as zero, and so does a range without keys.
        Guard::NotCreatedAfter { key, end, revision } => {
            let compare = Compare::create_revision(key, CompareOp::Less, revision.saturating_add(1));
            match end {
                Some(end) => compare.with_range(end),
                None => compare,
            }
        }
    }
}

fn operation(write: Write) -> TxnOp {
    match write {
        Write::Delete { key } => TxnOp::delete(key, None),
        Write::Put { key, value, lease } => {
            let options = match lease {
                PutLease::None => None,
                PutLease::Kept => Some(PutOptions::new().with_ignore_lease()),
            };
            TxnOp::put(key, value, options)
        }
    }
}
