//! A key that tells one store from another that answers at the same address.
//!
//! An etcd that was wiped has the id of the cluster that it was before, since that is made of its members' names, and its revisions
//! pass those of the earlier one by and by. A key with a value that nobody else draws tells the two apart.

use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp, TxnOpResponse};
use tokio::time::timeout;

use crate::error::Error;
use crate::etcd::printable;

/// A key and the value that it has in one store alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The full key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

impl Witness {
    /// The witness of a store: the value that is there, or `fresh`, which is put if there is none. With it comes the id of the store's
    /// cluster.
    ///
    /// # Errors
    ///
    /// What etcd answered. Asking again is safe.
    pub async fn establish(
        client: &Client,
        key: impl Into<Vec<u8>>,
        fresh: impl Into<Vec<u8>>,
    ) -> Result<(Self, u64), Error> {
        let (key, fresh) = (key.into(), fresh.into());
        let action = || format!("establishing the witness {:?}", printable(&key));
        let txn = Txn::new()
            .when([Compare::version(key.clone(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key.clone(), fresh.clone(), None)])
            .or_else([TxnOp::get(key.clone(), None)]);
        let answer =
            Box::pin(client.kv_client().txn(txn)).await.map_err(|source| Error::etcd(action(), source))?;
        let cluster_id = crate::etcd::header(&action(), answer.header())?.cluster_id;
        if answer.succeeded() {
            return Ok((Self { key, value: fresh }, cluster_id));
        }
        let Some(TxnOpResponse::Get(found)) = answer.op_responses().into_iter().next() else {
            return Err(Error::Malformed { action: action(), missing: "range response" });
        };
        let value = found.kvs().first().map(|found| found.value().to_vec());
        let value = value.ok_or_else(|| Error::Malformed { action: action(), missing: "key" })?;
        Ok((Self { key, value }, cluster_id))
    }

    /// Whether the store that answers now is the one. An answer that the store as a whole agrees upon, within `waited`.
    ///
    /// # Errors
    ///
    /// What etcd answered. Asking again is safe.
    pub async fn is_there(&self, client: &Client, waited: Duration) -> Result<bool, Error> {
        let action = || format!("reading the witness {:?}", printable(&self.key));
        let mut kv = client.kv_client();
        let asked = Box::pin(kv.get(self.key.clone(), None));
        let answer = timeout(waited, asked)
            .await
            .map_err(|_| Error::TimedOut { action: action(), waited })?
            .map_err(|source| Error::etcd(action(), source))?;
        Ok(answer.kvs().first().is_some_and(|found| found.value() == self.value))
    }

    /// What a transaction compares, so that it changes nothing in any other store.
    #[must_use]
    pub fn compare(&self) -> Compare {
        Compare::value(self.key.clone(), CompareOp::Equal, self.value.clone())
    }
}
