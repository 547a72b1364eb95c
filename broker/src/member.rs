//! This broker's place in the cluster: its key among the members, and the lease that the key lives by.
//!
//! ```text
//!  earlier lease still lives ─► taken up again ─┐
//!  no, or there was none ─────► a new one ──────┴─► announce ─► ours (new, or as we left it)
//!                                                      └─► under another lease: wait until that has run out, no longer
//! ```
//!
//! A process that is restarted takes its own place at once. Two live processes of one id cannot both have it: the second one is
//! refused once the first has shown that it lives.

use std::sync::Arc;
use std::time::Duration;

use courant_keyspace::{Announced, Error as KeyspaceError, Lease, LeaseConfig, LeaseKeeper, Revision};
use courant_proto::id::ProcessId;
use courant_proto::spec::BrokerSpec;
use etcd_client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use thiserror::Error;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::journal_space::{Root, SpaceMirror};

/// How long a registry that does not answer is asked again before the broker gives up starting.
const REGISTRY_WITHIN: Duration = Duration::from_secs(60);

/// What a lease may outlast its time to live by, as registries are not punctual.
const LEASE_SLACK: Duration = Duration::from_secs(5);

/// How often a place that somebody else has is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why this broker has no place in the cluster, or has lost it.
#[derive(Debug, Error)]
pub enum MemberError {
    /// The registry; among others, that the lease is lost.
    #[error(transparent)]
    Registry(#[from] KeyspaceError),
    /// Somebody else lives under our id.
    #[error(
        "another process is member {id} of this cluster, and keeps its lease {lease:x} alive; give this one another --id, or \
         stop the other"
    )]
    Taken {
        /// Our id.
        id: ProcessId,
        /// The other's lease.
        lease: i64,
    },
    /// Our key is gone though we did not remove it.
    #[error("member key not found in Etcd ({key}); its lease has ended, or somebody removed it")]
    KeyGone {
        /// The full key.
        key: String,
    },
}

/// What a broker joins its cluster with.
#[derive(Clone, Debug)]
pub(crate) struct Join {
    pub(crate) root: Arc<Root>,
    pub(crate) spec: BrokerSpec,
    /// How the lease is kept; it names an earlier process's lease to go on with.
    pub(crate) lease: LeaseConfig,
}

/// A handle on the broker's place in the cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    lease: Lease,
    joined: Revision,
}

/// Keeps the place: renews the lease, and sees to it that the key is there.
#[derive(Debug)]
pub(crate) struct MemberTask {
    key: String,
    id: ProcessId,
    keeper: LeaseKeeper,
}

impl Member {
    /// Takes this broker's place. The task must run to keep it.
    pub(crate) async fn join(etcd: Client, join: Join) -> Result<(Self, MemberTask), MemberError> {
        let Join { root, spec, lease: config } = join;
        let key = root.member(&spec.id);
        let mut rng = StdRng::seed_from_u64(config.seed);
        let mut config = config;
        let give_up = Instant::now() + REGISTRY_WITHIN;
        loop {
            match Box::pin(attempt(&etcd, &key, &spec, config.clone())).await {
                Ok((lease, keeper, joined)) => {
                    let key = String::from_utf8_lossy(&key).into_owned();
                    return Ok((Self { lease, joined }, MemberTask { key, id: spec.id, keeper }));
                }
                Err(MemberError::Registry(error)) if may_pass(&error) && Instant::now() < give_up => {
                    // The lease that we went on with may have run out in between.
                    if is_lease_gone(&error) {
                        config.adopt = None;
                    }
                    tracing::warn!(%error, "could not join the cluster yet");
                    sleep(Duration::from_secs(1).mul_f64(0.5 + rng.random::<f64>())).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The lease's id, to be kept for the next process of this data folder.
    pub(crate) fn lease_id(&self) -> i64 {
        self.lease.id()
    }

    /// The lease.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The revision at which the key is known to be there: what a mirror must reflect to show it.
    pub(crate) fn joined(&self) -> i64 {
        self.joined.get()
    }

    /// Gives the place up, and with it every journal. For an orderly exit, when the task has ended.
    pub(crate) async fn leave(&self) -> Result<(), MemberError> {
        Ok(self.lease.revoke().await?)
    }
}

impl MemberTask {
    /// Keeps the place until cancelled. `mirror` shows at least [`Member::joined`].
    ///
    /// # Errors
    /// When the lease is lost, or the key is gone: the broker must end, for its journals are somebody else's now.
    pub(crate) async fn run(self, mirror: SpaceMirror, cancel: CancellationToken) -> Result<(), MemberError> {
        let Self { key, id, keeper } = self;
        let mut news = mirror.subscribe();
        let gone = async {
            while mirror.snapshot().member(&id).is_some() {
                if news.changed().await.is_err() {
                    // The mirror has ended, which whoever runs it reports.
                    return std::future::pending().await;
                }
            }
        };
        tokio::select! {
            kept = keeper.run(cancel) => Ok(kept?),
            () = gone => Err(MemberError::KeyGone { key }),
        }
    }
}

/// Establishes a lease and announces the key under it, until one of them fails.
async fn attempt(
    etcd: &Client,
    key: &[u8],
    spec: &BrokerSpec,
    config: LeaseConfig,
) -> Result<(Lease, LeaseKeeper, Revision), MemberError> {
    let (lease, keeper) = Lease::establish(etcd.clone(), config).await?;
    match announce(etcd, key, spec, &lease).await {
        Ok(revision) => Ok((lease, keeper, revision)),
        Err(error) => {
            // A lease of ours that holds nothing is not left behind. If it cannot be revoked it runs out.
            if !lease.is_adopted() {
                let _ = lease.revoke().await;
            }
            Err(error)
        }
    }
}

async fn announce(
    etcd: &Client,
    key: &[u8],
    spec: &BrokerSpec,
    lease: &Lease,
) -> Result<Revision, MemberError> {
    let value = spec.encode();
    let mut other: Option<(i64, Instant)> = None;
    loop {
        match courant_keyspace::announce(etcd, key, value.clone(), lease.id()).await? {
            Announced::Created { revision } => return Ok(revision),
            Announced::Kept { revision, value: kept } if kept == value => return Ok(revision),
            // What an earlier process announced: another endpoint, or that it was exiting.
            Announced::Kept { revision, .. } => {
                return Ok(courant_keyspace::update(etcd, key, value, revision).await?);
            }
            Announced::Taken { lease: theirs, .. } => {
                let until = match other {
                    Some((lease, until)) if lease == theirs => until,
                    _ => {
                        let left = time_left(etcd, theirs).await;
                        tracing::info!(
                            ?left,
                            "the place of this broker is taken; waiting for the lease to run out"
                        );
                        Instant::now() + left + LEASE_SLACK
                    }
                };
                if theirs == 0 || Instant::now() >= until {
                    return Err(MemberError::Taken { id: spec.id.clone(), lease: theirs });
                }
                other = Some((theirs, until));
                sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// How long a lease lives if nobody renews it any more.
async fn time_left(etcd: &Client, lease: i64) -> Duration {
    match etcd.lease_client().time_to_live(lease, None).await {
        Ok(answer) => Duration::from_secs(u64::try_from(answer.ttl()).unwrap_or(0)),
        // If it cannot be asked now, the next look will tell; the slack is waited for in any case.
        Err(_) => Duration::ZERO,
    }
}

fn may_pass(error: &KeyspaceError) -> bool {
    error.is_transient() || matches!(error, KeyspaceError::LeaseLost { .. })
}

fn is_lease_gone(error: &KeyspaceError) -> bool {
    match error {
        KeyspaceError::LeaseLost { .. } => true,
        KeyspaceError::Etcd { source: etcd_client::Error::GRpcStatus(status), .. } => {
            status.message().contains("requested lease not found")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
