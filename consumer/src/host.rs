//! A member of a group of processes that host shards: its place among them, and the shards that it is assigned.
//!
//! ```text
//!  registry ─► mirror ─► allocator: who is to hold what, on the member that leads
//!                 └────► follow: what is assigned here ─► tend, for each: standby ◄─► primary
//!  lease ─► our key among the members; when it is gone, so is all that was assigned
//! ```
//!
//! Leases say who is to run a shard, and not who may: that is for the register of its journal. So a member that is frozen, or cut off from the
//! registry, does no harm while others take over.

mod space;
mod spec;
mod tend;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use courant_allocator::{Allocator, Keys};
use courant_client::Client;
use courant_keyspace::{
    Announced, Config, Error as KeyspaceError, Lease, LeaseConfig, Mirror, Revision, announce, revoke, update,
};
use courant_message::Producer;
use courant_proto::{Clock, ProcessId, wire};
use prost::Message as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::space::{Assigned, ShardReader, SpaceDecoder, Value, assigned};
pub use self::spec::ShardSpec;
use crate::{Application, BoxError, JournalStore};

/// How long others may take to take over what a member holds that exits.
const HAND_OVER: Duration = Duration::from_secs(60);

/// What a member is.
#[derive(Clone, Debug)]
pub struct Membership {
    /// Below which the keys of the group lie: a clean path such as `/courant/consumers/sums`.
    pub root: String,
    /// Who it is. No two live members have the same.
    pub id: ProcessId,
    /// Where it is reached, for others to know.
    pub endpoint: String,
    /// Shards that it may hold.
    pub limit: u32,
    /// Others take over when it has not renewed its lease for so long.
    pub lease_ttl: Duration,
    /// Hot standbys that a shard may have, whatever its spec says.
    pub most_standbys: u32,
    /// A folder for the files of views. Without one, they are in memory.
    pub views: Option<PathBuf>,
}

impl Membership {
    /// That of a group and a member, with Gazette's limits: 32 shards, a lease of 20 seconds, 3 standbys.
    pub fn new(root: impl Into<String>, id: ProcessId) -> Self {
        Self {
            root: root.into(),
            id,
            endpoint: String::new(),
            limit: 32,
            lease_ttl: Duration::from_secs(20),
            most_standbys: 3,
            views: None,
        }
    }
}

/// What a member is given of the world.
#[derive(Clone)]
pub struct HostPorts {
    /// The registry.
    pub etcd: etcd_client::Client,
    /// Where the journals are.
    pub client: Client,
    /// Tells the time of day.
    pub clock: Arc<dyn Clock>,
    /// Makes a producer that nobody else has.
    pub producers: Arc<dyn Fn() -> Producer + Send + Sync>,
    /// Of pauses.
    pub seed: u64,
}

/// Makes the application of each shard.
pub trait Program: Send + Sync + 'static {
    /// What a shard runs.
    type Application: Application<Store = JournalStore>;

    /// The application of a shard, each time that this member becomes its primary.
    ///
    /// # Errors
    /// Whatever they are, the shard has failed.
    fn start(&self, shard: &ShardSpec) -> impl Future<Output = Result<Self::Application, BoxError>> + Send;
}

/// Why a member has lost its place, or has not had one. It may be started again.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] KeyspaceError),
    /// Somebody else is there.
    #[error(
        "member {id} is there already, under lease {lease:x} (expected another id, or that the other stops first)"
    )]
    Taken {
        /// Our id.
        id: ProcessId,
        /// The other's.
        lease: i64,
    },
    /// What the member is built of has ended.
    #[error("a member's {0} has ended by itself")]
    Ended(&'static str),
}

impl std::fmt::Debug for HostPorts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostPorts").field("client", &self.client).finish_non_exhaustive()
    }
}

/// What the shards of a member share.
pub(crate) struct Shared<P> {
    pub(crate) membership: Membership,
    pub(crate) ports: HostPorts,
    pub(crate) mirror: Mirror<Value>,
    pub(crate) program: P,
}

/// Is a member until `stop` is ready; then it hands its shards over, and leaves. Dropped, or killed, it leaves others to take over when its lease has run out.
///
/// # Errors
/// When it cannot join, or has lost its place. Its shards are stopped then.
pub async fn host<P: Program>(
    membership: Membership,
    ports: HostPorts,
    program: P,
    stop: impl Future<Output = ()>,
) -> Result<(), HostError> {
    let (root, id, etcd) = (membership.root.clone(), membership.id.clone(), ports.etcd.clone());
    let cancel = CancellationToken::new();
    // Whatever way this ends, what runs for it ends too.
    let _ended = cancel.clone().drop_guard();
    let mut parts: JoinSet<Result<(), HostError>> = JoinSet::new();

    let lease = LeaseConfig { ttl: membership.lease_ttl, seed: ports.seed, ..LeaseConfig::default() };
    let (lease, keeper) = Lease::establish(etcd.clone(), lease).await?;
    let keeping = cancel.clone();
    parts.spawn(async move { keeper.run(keeping).await.map_err(HostError::from) });

    let config = Config { seed: ports.seed, ..Config::default() };
    let decoder = SpaceDecoder::new(&root);
    let (mirror, feed) = Mirror::load(etcd.clone(), format!("{root}/"), decoder, config).await?;
    let following = cancel.clone();
    parts.spawn(async move { feed.run(following).await.map_err(HostError::from) });

    let keys = Keys::new(root.clone());
    let key = keys.member(id.zone(), id.suffix());
    let joined = match announce(&etcd, &key, member(&membership, false), lease.id()).await? {
        Announced::Created { revision } | Announced::Kept { revision, .. } => revision,
        Announced::Taken { lease, .. } => return Err(HostError::Taken { id, lease }),
    };
    let reader = ShardReader { most_standbys: membership.most_standbys };
    let allocator =
        Allocator::new(etcd.clone(), mirror.clone(), keys, reader, (id.zone(), id.suffix()), ports.seed);
    let allocating = cancel.clone();
    parts.spawn(async move {
        allocator.run(allocating).await;
        Err(HostError::Ended("allocator"))
    });

    let shared = Shared { membership, ports, mirror, program };
    let mut house = House { shared: Arc::new(shared), tended: BTreeMap::new(), tending: JoinSet::new() };
    {
        let work = house.follow(false);
        tokio::select! {
            biased;
            ended = broken(&mut parts) => return Err(ended),
            () = stop => {}
            () = work => return Err(HostError::Ended("mirror")),
        }
    }
    leave(house, &etcd, &key, joined, &mut parts).await?;
    Ok(revoke(&etcd, lease.id()).await?)
}

/// Tells the others, and waits until they have taken over.
async fn leave<P: Program>(
    mut house: House<P>,
    etcd: &etcd_client::Client,
    key: &[u8],
    joined: Revision,
    parts: &mut JoinSet<Result<(), HostError>>,
) -> Result<(), HostError> {
    update(etcd, key, member(&house.shared.membership, true), joined).await?;
    tokio::select! {
        biased;
        ended = broken(parts) => return Err(ended),
        handed_over = timeout(HAND_OVER, house.follow(true)) => {
            if handed_over.is_err() {
                tracing::warn!("shards are left behind: nobody has taken them over");
            }
        }
    }
    house.close().await;
    Ok(())
}

/// What went wrong with what a member is built of.
async fn broken(parts: &mut JoinSet<Result<(), HostError>>) -> HostError {
    match parts.join_next().await {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        _ => HostError::Ended("task"),
    }
}

fn member(membership: &Membership, exiting: bool) -> Vec<u8> {
    let Membership { id, endpoint, limit, .. } = membership;
    let process = wire::ProcessSpec {
        id: Some(wire::process_spec::Id { zone: id.zone().to_owned(), suffix: id.suffix().to_owned() }),
        endpoint: endpoint.clone(),
    };
    let spec = wire::consumer::ConsumerSpec { process_spec: Some(process), shard_limit: *limit, exiting };
    spec.encode_to_vec()
}

/// The shards that are held here.
struct House<P> {
    shared: Arc<Shared<P>>,
    /// What each is told. One that was told to end is there until it has.
    tended: BTreeMap<String, watch::Sender<Option<Assigned>>>,
    tending: JoinSet<String>,
}

impl<P: Program> House<P> {
    /// Has each shard tended as it is assigned, until the mirror ends; or until nothing is assigned any more.
    async fn follow(&mut self, until_empty: bool) {
        let mut news = self.shared.mirror.subscribe();
        loop {
            let snapshot = Arc::clone(&news.borrow_and_update());
            let Membership { root, id, .. } = &self.shared.membership;
            let wanted = assigned(&snapshot, root, id);
            if until_empty && wanted.is_empty() {
                return;
            }
            self.tell(wanted);
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                Some(ended) = self.tending.join_next() => match ended {
                    Ok(shard) => drop(self.tended.remove(&shard)),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
            }
        }
    }

    fn tell(&mut self, mut wanted: BTreeMap<String, Assigned>) {
        for (shard, told) in &self.tended {
            let assigned = wanted.remove(shard);
            told.send_if_modified(|before| {
                let is_news = *before != assigned;
                *before = assigned;
                is_news
            });
        }
        for (shard, assigned) in wanted {
            let (told, hears) = watch::channel(Some(assigned));
            let shared = self.shared.clone();
            let name = shard.clone();
            self.tended.insert(shard, told);
            self.tending.spawn(async move {
                tend::tend(&shared, &name, hears).await;
                name
            });
        }
    }

    /// Ends all, each behind its transaction.
    async fn close(mut self) {
        self.tell(BTreeMap::new());
        while self.tending.join_next().await.is_some() {}
    }
}
