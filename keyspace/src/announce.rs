//! Creating a key of our own under a lease, and changing it later, so that a lost reply does no harm.

use etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp, TxnOpResponse};

use crate::error::Error;
use crate::etcd::printable;
use crate::revision::Revision;
use crate::witness::Witness;

/// What came of announcing a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announced {
    /// The key is new, and ours.
    Created {
        /// When it was created.
        revision: Revision,
    },
    /// The key was there under our lease: an earlier attempt's reply was lost, or an earlier process's lease is ours now.
    Kept {
        /// When it was last changed.
        revision: Revision,
        /// Its value, which may not be the announced one.
        value: Vec<u8>,
    },
    /// The key is there under another lease, or none.
    Taken {
        /// That lease, or 0.
        lease: i64,
        /// When it was last changed.
        revision: Revision,
        /// Its value.
        value: Vec<u8>,
    },
}

/// Creates `key` under `lease` unless it is there already.
///
/// # Errors
///
/// What etcd answered. Asking again is safe, also if the first request was carried out.
pub async fn announce(
    client: &Client,
    key: impl AsRef<[u8]>,
    value: impl Into<Vec<u8>>,
    lease: i64,
) -> Result<Announced, Error> {
    announce_before(client, None, key, value, lease).await
}

/// As [`announce`], in the store of this witness alone.
///
/// # Errors
///
/// [`Error::Exchanged`] if another store answers; otherwise what etcd answered.
pub async fn announce_before(
    client: &Client,
    witness: Option<&Witness>,
    key: impl AsRef<[u8]>,
    value: impl Into<Vec<u8>>,
    lease: i64,
) -> Result<Announced, Error> {
    let key = key.as_ref();
    let action = || format!("announcing {:?}", printable(key));
    let malformed = |missing| Error::Malformed { action: action(), missing };
    let put = TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease)));
    let mut compares = vec![Compare::version(key, CompareOp::Equal, 0)];
    let mut reads = vec![TxnOp::get(key, None)];
    if let Some(witness) = witness {
        compares.push(witness.compare());
        reads.push(TxnOp::get(witness.key.clone(), None));
    }
    let txn = Txn::new().when(compares).and_then([put]).or_else(reads);
    let answer =
        Box::pin(client.kv_client().txn(txn)).await.map_err(|source| Error::etcd(action(), source))?;
    if answer.succeeded() {
        let header = answer.header().ok_or_else(|| malformed("header"))?;
        return Ok(Announced::Created { revision: Revision::new(header.revision()) });
    }
    let mut found = answer.op_responses().into_iter();
    let (first, second) = (found.next(), found.next());
    if let (Some(witness), Some(TxnOpResponse::Get(found))) = (witness, second)
        && found.kvs().first().is_none_or(|found| found.value() != witness.value)
    {
        return Err(Error::Exchanged { action: action(), key: printable(&witness.key) });
    }
    let Some(TxnOpResponse::Get(found)) = first else {
        return Err(malformed("range response"));
    };
    let found = found.kvs().first().ok_or_else(|| malformed("key"))?;
    let (revision, value) = (Revision::new(found.mod_revision()), found.value().to_vec());
    Ok(if found.lease() == lease {
        Announced::Kept { revision, value }
    } else {
        Announced::Taken { lease: found.lease(), revision, value }
    })
}

/// Puts a new value under `key`, which keeps its lease, if it is as it was at revision `expected`.
///
/// # Errors
///
/// [`Error::Conflict`] if the key was changed or deleted since; otherwise what etcd answered.
pub async fn update(
    client: &Client,
    key: impl AsRef<[u8]>,
    value: impl Into<Vec<u8>>,
    expected: Revision,
) -> Result<Revision, Error> {
    let key = key.as_ref();
    let action = || format!("updating {:?}", printable(key));
    let put = TxnOp::put(key, value, Some(PutOptions::new().with_ignore_lease()));
    let txn = Txn::new().when([Compare::mod_revision(key, CompareOp::Equal, expected.get())]).and_then([put]);
    let answer =
        Box::pin(client.kv_client().txn(txn)).await.map_err(|source| Error::etcd(action(), source))?;
    if !answer.succeeded() {
        return Err(Error::Conflict { key: printable(key), expected });
    }
    let header = answer.header().ok_or_else(|| Error::Malformed { action: action(), missing: "header" })?;
    Ok(Revision::new(header.revision()))
}
