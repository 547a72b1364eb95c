//! Sends transactions to the registry, within a deadline, and to no other registry than the one that was come to.

use std::time::Duration;

use bytes::Bytes;
use courant_keyspace::{Error, Witness};
use etcd_client::{Client, Compare, CompareOp, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use tokio::time::timeout;

use super::{Guard, MOST_WITNESSED, PutLease, Transaction, Write};

/// No answer within this time is a failure; what was sent may still be carried out.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// A registry as it was come to: its client, and what no other registry has that answers at the same address.
#[derive(Clone)]
pub(crate) struct Registry {
    pub(crate) etcd: Client,
    /// None only where a test has none.
    pub(crate) witness: Option<Witness>,
}

impl Registry {
    /// What brokers tell each other of it.
    pub(crate) fn incarnation(&self) -> Bytes {
        self.witness.as_ref().map(|witness| witness.value.clone().into()).unwrap_or_default()
    }
}

impl From<Client> for Registry {
    fn from(etcd: Client) -> Self {
        Self { etcd, witness: None }
    }
}

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

/// Carries out a transaction. `action` says what it is for, in errors. One that is as large as etcd takes is the only kind that cannot look at
/// the witness as well.
pub(crate) async fn commit(
    registry: &Registry,
    transaction: Transaction,
    action: impl Fn() -> String,
) -> Result<Outcome, Error> {
    let has_room = transaction.guards.len().max(transaction.otherwise.len()) <= MOST_WITNESSED;
    let witness = registry.witness.as_ref().filter(|_| has_room);
    let answer = send(&registry.etcd, to_etcd(transaction, witness), &action).await?;
    let header = answer.header().ok_or_else(|| Error::Malformed { action: action(), missing: "header" })?;
    let (succeeded, revision) = (answer.succeeded(), header.revision());
    let mut found: Vec<_> = if succeeded { Vec::new() } else { found(&answer).collect() };
    if let Some(witness) = witness.filter(|_| !succeeded) {
        is_the_one(witness, found.pop().flatten().as_ref(), &action)?;
    }
    Ok(Outcome { succeeded, revision, found })
}

fn is_the_one(
    witness: &Witness,
    found: Option<&KeyValue>,
    action: &impl Fn() -> String,
) -> Result<(), Error> {
    if found.is_some_and(|found| found.value() == witness.value) {
        return Ok(());
    }
    let key = String::from_utf8_lossy(&witness.key).into_owned();
    Err(Error::Exchanged { action: action(), key })
}

/// Reads keys, each as it is at some moment during the call. One answer for each key, in their order.
pub(crate) async fn read(
    registry: &Registry,
    keys: Vec<Vec<u8>>,
    action: impl Fn() -> String,
) -> Result<Vec<Option<KeyValue>>, Error> {
    let mut values = Vec::with_capacity(keys.len());
    for keys in keys.chunks(MOST_WITNESSED) {
        let witness = registry.witness.as_ref();
        let asked = keys.iter().chain(witness.map(|witness| &witness.key));
        let gets: Vec<TxnOp> = asked.map(|key| TxnOp::get(&**key, None)).collect();
        let answer = send(&registry.etcd, Txn::new().and_then(gets), &action).await?;
        let mut found: Vec<_> = found(&answer).collect();
        if let Some(witness) = witness {
            is_the_one(witness, found.pop().flatten().as_ref(), &action)?;
        }
        values.extend(found);
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

fn to_etcd(transaction: Transaction, witness: Option<&Witness>) -> Txn {
    let Transaction { guards, writes, otherwise } = transaction;
    let guards = guards.into_iter().map(compare).chain(witness.map(Witness::compare));
    let guards: Vec<Compare> = guards.collect();
    let writes: Vec<TxnOp> = writes.into_iter().map(operation).collect();
    let otherwise = otherwise.into_iter().chain(witness.map(|witness| witness.key.clone()));
    let otherwise: Vec<TxnOp> = otherwise.map(|key| TxnOp::get(key, None)).collect();
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
