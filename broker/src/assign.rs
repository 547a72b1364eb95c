//! Who holds which journal, while one broker is the whole cluster: it assigns every journal to itself.
//!
//! What is to be done is [`plan`]'s to decide; here it is done, and again whenever the mirror has news. Where another member
//! is, nothing is done at all: then this is the work of an allocator.

pub(crate) mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use courant_keyspace::Error;
use courant_proto::id::ProcessId;
use etcd_client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::journal_space::{Space, SpaceMirror};
use crate::transaction::commit::commit;
use plan::{Plan, plan};

/// The pause after a registry that did not answer, or keys that were not as the mirror has them.
const PAUSE: Duration = Duration::from_millis(250);

/// Assigns all journals to the only member there is.
pub(crate) struct Assigner {
    etcd: Client,
    mirror: SpaceMirror,
    me: ProcessId,
    rng: StdRng,
    /// The picture whose journals are all as they should be.
    settled: Option<Arc<Space>>,
    told: bool,
}

impl std::fmt::Debug for Assigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assigner").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Assigner {
    pub(crate) fn new(etcd: Client, mirror: SpaceMirror, me: ProcessId, seed: u64) -> Self {
        Self { etcd, mirror, me, rng: StdRng::seed_from_u64(seed), settled: None, told: false }
    }

    /// Follows the mirror until cancelled, or until it ends.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        cancel.run_until_cancelled(Box::pin(self.follow())).await;
    }

    async fn follow(&mut self) {
        let mut news = self.mirror.subscribe();
        loop {
            match self.pass().await {
                // Until then the mirror shows what was before this pass, and the next would do it all again.
                Ok(Some(revision)) => {
                    if self.mirror.at_least(revision).await.is_err() {
                        return;
                    }
                }
                Ok(None) => {
                    if news.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    // There is no end to this but the broker's own: without assignments it serves nothing.
                    tracing::warn!(%error, "could not assign journals");
                    sleep(PAUSE.mul_f64(0.5 + self.rng.random::<f64>())).await;
                }
            }
        }
    }

    /// One pass over what has changed. Returns the revision that the next one has to see; none if nothing was to be done.
    async fn pass(&mut self) -> Result<Option<i64>, Error> {
        let space = self.mirror.snapshot();
        let transactions = match plan(&space, self.settled.as_deref(), &self.me) {
            Plan::NotAlone { other } => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!(%other, "another member is in the cluster; this broker assigns no journals beside it");
                }
                self.settled = None;
                return Ok(None);
            }
            Plan::Absent => {
                self.settled = None;
                return Ok(None);
            }
            Plan::Alone(transactions) => transactions,
        };
        self.told = false;
        let mut revision = None;
        for transaction in transactions {
            let outcome = commit(&self.etcd, transaction, || "assigning journals".to_owned()).await?;
            revision = Some(outcome.revision);
            if !outcome.succeeded {
                // A key is not as the mirror has it, which it soon will be.
                return Ok(revision);
            }
        }
        self.settled = Some(space);
        Ok(revision)
    }
}
