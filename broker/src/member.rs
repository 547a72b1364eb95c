//! This broker's place in the cluster: its key among the members, and the lease that the key lives by.
//!
//! ```text
//!  earlier lease still lives ─► taken up again ─┐
//!  no, or there was none ─────► a new one ──────┴─► announce ─► ours (new, or as we left it)
//!                        ▲                             └─► under another lease: wait until that has run out, or shows life
//!                        │
//!  the lease is lost, or the key is gone: fenced, and once more from here, for as long as it takes
//! ```
//!
//! A process that is restarted takes its own place at once. A process that has lost its place (the registry was away, the lease was
//! revoked) does not end: it serves no appends until it has a place again. Two live processes of one id cannot both have it: the
//! one that comes later is refused once the other has shown that it lives.
//!
//! [`MemberTask`] alone writes the key. Others see where things stand by [`Member`], and what they may rely on by its fence.

mod announce;
mod exit;
mod outlook;
mod rival;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use courant_keyspace::{Error as KeyspaceError, Fence, Lease, LeaseConfig, LeaseKeeper, Revision, Witness};
use courant_proto::id::ProcessId;
use courant_proto::spec::BrokerSpec;
use etcd_client::Client;
use rand::SeedableRng;
use rand::rngs::StdRng;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::heartbeat::CaughtUp;
use crate::journal_space::{Root, SpaceMirror};
pub(crate) use announce::{ANSWER_WITHIN, pause};
pub use exit::Unshed;

/// How long a registry that does not answer is asked again before the broker gives up starting.
pub(crate) const REGISTRY_WITHIN: Duration = Duration::from_secs(60);

/// How long the news that this broker is exiting may take to reach the registry.
const EXIT_WITHIN: Duration = Duration::from_secs(15);

/// Why this broker has no place in the cluster.
#[derive(Debug, Error)]
pub enum MemberError {
    /// The registry, at the start.
    #[error(transparent)]
    Registry(#[from] KeyspaceError),
    /// Somebody else lives under our id.
    #[error(
        "another process, at {endpoint}, is member {id} of this cluster, and keeps its lease {lease:x} alive; give this one another \
         --id, or stop the other"
    )]
    Taken {
        /// Our id.
        id: ProcessId,
        /// Where the other is reached, by its own account.
        endpoint: String,
        /// The other's lease.
        lease: i64,
    },
    /// The key is there under no lease, so no process of any kind keeps it, and it never goes away.
    #[error(
        "the key of member {id} is there without a lease, so somebody put it by hand; remove {key:?} from the registry"
    )]
    Orphaned {
        /// Our id.
        id: ProcessId,
        /// The full key.
        key: String,
    },
    /// The registry was not told in time that we are exiting.
    #[error("could not tell the registry within {waited:?} that this broker is exiting")]
    ExitUnheard {
        /// How long was waited.
        waited: Duration,
    },
}

impl MemberError {
    /// Whether the registry is not the one that it was.
    pub(crate) const fn is_exchange(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_exchanged())
    }
}

/// What a broker joins its cluster with.
#[derive(Clone, Debug)]
pub(crate) struct Join {
    pub(crate) root: Arc<Root>,
    pub(crate) spec: BrokerSpec,
    /// How the lease is kept; it names an earlier process's lease to go on with.
    pub(crate) lease: LeaseConfig,
    /// The registry in which the place is taken.
    pub(crate) witness: Witness,
}

/// Where this broker stands in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the place is ours. What is fenced may become held again, under this lease or a later one.
    pub held: bool,
    /// The lease that we have, or had last.
    pub lease: i64,
    /// The revision at which the key was last written, or found: what a mirror must reflect to show it.
    pub joined: Revision,
    /// Whether the key says that we are exiting.
    pub exiting: bool,
}

/// A handle on the broker's place in the cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Member(Arc<Place>);

/// What handles and the task have in common.
struct Place {
    id: ProcessId,
    etcd: Client,
    fence: Fence,
    standing: watch::Sender<Standing>,
    /// What the key shall say.
    exiting: watch::Sender<bool>,
    /// The registry in which the place was taken is another one now, and the place is gone for good.
    estranged: CancellationToken,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place")
            .field("id", &self.id)
            .field("standing", &*self.standing.borrow())
            .finish_non_exhaustive()
    }
}

/// Keeps the place: renews the lease, sees to it that the key is there and says what it shall, and takes the place again when it was lost.
#[derive(Debug)]
pub(crate) struct MemberTask {
    place: Arc<Place>,
    key: Vec<u8>,
    spec: BrokerSpec,
    config: LeaseConfig,
    witness: Witness,
    tenure: Tenure,
    rng: StdRng,
}

/// A lease of ours, and who keeps it alive.
#[derive(Debug)]
struct Tenure {
    lease: Lease,
    keeping: JoinSet<Result<(), KeyspaceError>>,
}

/// Why holding the place has come to an end.
enum Interrupted {
    Lease(KeyspaceError),
    Key,
    /// The place is as it was, and the key is to say something else.
    Exit,
}

impl Tenure {
    fn new(lease: Lease, keeper: LeaseKeeper) -> Self {
        let mut keeping = JoinSet::new();
        // It ends with the tenure, which aborts it.
        keeping.spawn(keeper.run(CancellationToken::new()));
        Self { lease, keeping }
    }

    /// Ends when the lease is lost.
    async fn lost(&mut self) -> KeyspaceError {
        match self.keeping.join_next().await {
            Some(Ok(Err(error))) => error,
            // The keeper has nothing else to say; after a panic of it the lease is as good as lost.
            _ => KeyspaceError::LeaseLost { id: self.lease.id() },
        }
    }
}

impl Member {
    /// Takes this broker's place. The task must run to keep it.
    pub(crate) async fn join(etcd: Client, join: Join) -> Result<(Self, MemberTask), MemberError> {
        let Join { root, spec, lease: config, witness } = join;
        let fence = Fence::new();
        let mut config = LeaseConfig { fence: Some(fence.clone()), ..config };
        let key = root.member(&spec.id);
        let mut rng = StdRng::seed_from_u64(config.seed);
        let give_up = Some(Instant::now() + REGISTRY_WITHIN);
        let bid = announce::Bid {
            etcd: &etcd,
            key: &key,
            spec: &spec,
            config: &config,
            witness: &witness,
            give_up,
        };
        let (tenure, joined) = Box::pin(bid.take(None, &mut rng)).await?;
        config.adopt = None;
        fence.stand(true);
        let standing = Standing { held: true, lease: tenure.lease.id(), joined, exiting: spec.exiting };
        let place = Arc::new(Place {
            id: spec.id.clone(),
            etcd,
            fence,
            exiting: watch::Sender::new(spec.exiting),
            standing: watch::Sender::new(standing),
            estranged: CancellationToken::new(),
        });
        let member = Self(Arc::clone(&place));
        Ok((member, MemberTask { place, key, spec, config, witness, tenure, rng }))
    }

    /// Whether the place is ours at this moment, by our own clock. While it is not, nothing may be acknowledged. For any thread, on
    /// every turn.
    pub(crate) fn is_held(&self) -> bool {
        self.0.fence.is_held() && !self.0.estranged.is_cancelled()
    }

    /// Gives the place up for good, as the registry in which it was taken is another one now.
    pub(crate) fn estrange(&self, why: &dyn std::fmt::Display) {
        self.0.estranged.cancel();
        self.0.fence.stand(false);
        self.0.tell(|standing| standing.held = false);
        tracing::error!(
            %why,
            "the registry was wiped, restored or exchanged: this broker takes no appends, and keeps what it holds"
        );
    }

    /// Ends when the place was given up for good.
    pub(crate) fn estranged(&self) -> CancellationToken {
        self.0.estranged.clone()
    }

    /// News of where we stand: each loss, each return, each new lease. It may come a moment later than [`Member::is_held`] tells.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.0.standing.subscribe()
    }

    /// The lease's id, to be kept for the next process of this data folder.
    pub(crate) fn lease_id(&self) -> i64 {
        self.0.standing.borrow().lease
    }

    /// The revision at which the key is known to be there: what a mirror must reflect to show it.
    pub(crate) fn joined(&self) -> i64 {
        self.0.standing.borrow().joined.get()
    }

    /// Tells the cluster that this broker is exiting, so that others take over what it holds. The place is kept until then.
    ///
    /// # Errors
    /// When the registry did not hear of it in time; the task goes on trying.
    pub(crate) async fn begin_exit(&self) -> Result<(), MemberError> {
        self.0.exiting.send_replace(true);
        let mut standing = self.0.standing.subscribe();
        match timeout(EXIT_WITHIN, standing.wait_for(|standing| standing.exiting && standing.held)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(MemberError::ExitUnheard { waited: EXIT_WITHIN }),
        }
    }

    /// Gives the place up, and with it every journal. For an orderly exit, when the task has ended.
    pub(crate) async fn leave(&self) -> Result<(), MemberError> {
        self.0.fence.stand(false);
        Ok(courant_keyspace::revoke(&self.0.etcd, self.lease_id()).await?)
    }
}

impl Place {
    /// Tells `standing` how it is, if that is news.
    fn tell(&self, change: impl FnOnce(&mut Standing)) {
        self.standing.send_if_modified(|standing| {
            let before = *standing;
            change(standing);
            *standing != before
        });
    }
}

impl MemberTask {
    /// Keeps the place until cancelled. Whatever the registry does is waited out.
    ///
    /// # Errors
    /// When another process has our place, and lives.
    pub(crate) async fn run(
        self,
        mirror: SpaceMirror,
        caught_up: CaughtUp,
        cancel: CancellationToken,
    ) -> Result<(), MemberError> {
        let estranged = self.place.estranged.clone();
        tokio::select! {
            biased;
            () = cancel.cancelled() => Ok(()),
            () = estranged.cancelled() => {
                cancel.cancelled().await;
                Ok(())
            }
            ended = Box::pin(self.stay(mirror, caught_up)) => ended,
        }
    }

    async fn stay(mut self, mirror: SpaceMirror, mut caught_up: CaughtUp) -> Result<(), MemberError> {
        loop {
            let kept = match self.hold(&mirror).await {
                Interrupted::Lease(error) => {
                    self.fenced();
                    tracing::warn!(%error, "this broker has lost its place: it takes no appends until it has one again");
                    None
                }
                Interrupted::Key => {
                    self.fenced();
                    tracing::warn!(
                        "the key of this member is gone, or somebody else's: it takes no appends until it is announced again"
                    );
                    Some(())
                }
                Interrupted::Exit => Some(()),
            };
            self.spec.exiting = *self.place.exiting.borrow();
            let Self { place, key, spec, config, witness, tenure, mut rng } = self;
            let bid = announce::Bid {
                etcd: &place.etcd,
                key: &key,
                spec: &spec,
                config: &config,
                witness: &witness,
                give_up: None,
            };
            let (tenure, joined) = Box::pin(bid.take(kept.map(|()| tenure), &mut rng)).await?;
            let lease = tenure.lease.id();
            place.tell(|standing| {
                *standing = Standing { held: place.fence.is_held(), lease, joined, exiting: spec.exiting };
            });
            tracing::info!(lease = format!("{lease:x}"), revision = %joined, exiting = spec.exiting, "announced");
            // With the old lease went the journals that were held under it, and others may have them. What still thinks that they are
            // ours must have heard of that before anything is acknowledged again.
            caught_up.with(joined.get()).await;
            place.fence.stand(true);
            self = Self { place, key, spec, config, witness, tenure, rng };
        }
    }

    fn fenced(&self) {
        self.place.fence.stand(false);
        self.place.tell(|standing| standing.held = false);
    }

    /// Until the lease is lost, the key is gone, or it is to say something else.
    async fn hold(&mut self, mirror: &SpaceMirror) -> Interrupted {
        let Self { place, spec, tenure, .. } = self;
        let mut renewals = tenure.lease.subscribe();
        let mut exiting = place.exiting.subscribe();
        let joined = place.standing.borrow().joined;
        let gone = key_gone(mirror, &place.id, tenure.lease.id(), joined);
        tokio::pin!(gone);
        loop {
            let held = place.fence.is_held();
            if !held && place.standing.borrow().held {
                tracing::warn!(
                    "the lease could not be renewed in time: this broker takes no appends until it is"
                );
            }
            place.tell(|standing| standing.held = held);
            // While fenced there is nothing to wait for but a renewal.
            let deadline = place.fence.deadline().filter(|_| held);
            tokio::select! {
                biased;
                error = tenure.lost() => return Interrupted::Lease(error),
                () = &mut gone => return Interrupted::Key,
                true = async { exiting.wait_for(|exiting| *exiting != spec.exiting).await.is_ok() } => {
                    return Interrupted::Exit;
                }
                renewed = renewals.changed() => if renewed.is_err() {
                    return Interrupted::Lease(tenure.lost().await);
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            }
        }
    }
}

/// Ends when a picture that must show our key under our lease does not.
async fn key_gone(mirror: &SpaceMirror, id: &ProcessId, lease: i64, joined: Revision) {
    let mut news = mirror.subscribe();
    // A mirror that has ended is reported by whoever runs it.
    if mirror.at_least(joined.get()).await.is_err() {
        return std::future::pending().await;
    }
    while mirror.snapshot().member_entry(id).is_some_and(|(entry, _)| entry.lease == lease) {
        if news.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
