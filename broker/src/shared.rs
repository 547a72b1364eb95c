//! What every request of a broker reaches: the mirror, the replicas, the cores, and where a journal is found.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use courant_fragment::store::Stores;
use courant_proto::header::Header;
use courant_proto::name::JournalName;
use courant_proto::spec::Suspend;
use courant_proto::status::Status;
use courant_proto::time::Clock;
use courant_proto::wire;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::core::Cores;
use crate::core::command::Command;
use crate::journal_space::{Space, SpaceMirror};
use crate::lineage::LineageKeeper;
use crate::member::Member;
use crate::metrics::Metrics;
use crate::peer::client::PeerClient;
use crate::peers::Peers;
use crate::quota::Quota;
use crate::read::ahead::ReadAhead;
use crate::replica::{Replica, Replicas};
use crate::resolver::resolve::{self, Ask, Resolution};
use crate::resolver::target::{self, Target};
use crate::scratch::Budget;
use crate::transaction::commit::Registry;
use crate::{apply, suspend};

/// How long a request waits for replicas of this process to follow the mirror.
const FOLLOW: Duration = Duration::from_secs(10);

/// The parts of a broker that its requests share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registry: Registry,
    pub(crate) mirror: SpaceMirror,
    /// Our place among the members: while it is not held, nothing may be acknowledged.
    pub(crate) member: Member,
    /// Which members are of our kind, and which of them cannot be reached.
    pub(crate) presence: Peers,
    pub(crate) stores: Arc<Stores>,
    pub(crate) lineage: LineageKeeper,
    pub(crate) cores: Cores,
    pub(crate) replicas: Replicas,
    /// The revision of the mirror that the replicas of this process correspond to.
    pub(crate) followed: watch::Receiver<i64>,
    pub(crate) budget: Budget,
    /// For stored content that readers have not asked for yet.
    pub(crate) read_ahead: ReadAhead,
    pub(crate) metrics: Metrics,
    /// Calls to other brokers.
    pub(crate) peers: PeerClient,
    /// How much may lie here that no store has yet.
    pub(crate) quota: Quota,
    /// The number of this process's log, if all of it was recovered.
    pub(crate) log_number: Option<u64>,
    /// Ends streams that would otherwise wait for ever, when the broker stops.
    pub(crate) closing: CancellationToken,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("id", &self.config.id).finish_non_exhaustive()
    }
}

/// What a request needs of a journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants<'a> {
    pub(crate) may_proxy: bool,
    /// Only the primary will do.
    pub(crate) primary: bool,
    /// A journal that does not exist may be created, if this broker does that at all.
    pub(crate) create: bool,
    /// A journal without members, or without a primary, may get them in a moment, which is waited for.
    pub(crate) settles: bool,
    /// The broker must have seen this revision of the registry.
    pub(crate) min_revision: i64,
    /// The header that a proxying broker sent along.
    pub(crate) header: Option<&'a wire::Header>,
}

/// Where a journal was found.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) resolution: Resolution,
    /// The replica of this process, if the resolution is to it.
    pub(crate) replica: Option<Arc<Replica>>,
    /// Else the peers that can serve the request, best first. Of a refusal there are none.
    pub(crate) targets: Vec<Target>,
}

impl Shared {
    /// The registry's keys as this broker has seen them last.
    pub(crate) fn space(&self) -> Arc<Space> {
        self.mirror.snapshot()
    }

    /// Finds a journal. States that pass by themselves are waited for, within a bound.
    pub(crate) async fn locate(
        &self,
        journal: &JournalName,
        wants: &Wants<'_>,
    ) -> Result<Located, tonic::Status> {
        let mut revision = wants.min_revision;
        if let Some(header) = wants.header {
            let header = Header::try_from(header.clone())?;
            resolve::check_header(&self.space(), &self.config.id, &header)
                .map_err(|misdirected| tonic::Status::unknown(misdirected.to_string()))?;
            revision = revision.max(header.etcd.revision);
        }
        let mut settle = None;
        let mut created = false;
        loop {
            self.await_revision(revision).await?;
            let mut news = self.mirror.subscribe();
            let space = self.space();
            let ask = Ask {
                journal,
                may_proxy: wants.may_proxy,
                require_primary: wants.primary,
                me: &self.config.id,
            };
            let resolution = resolve::resolve(&space, &ask);
            match resolution.status {
                Status::Ok if resolution.is_local => {
                    let replica = self.replica(journal, &resolution, &space, revision).await?;
                    if replica.take_stale() {
                        self.cores.send(journal, Command::Refresh { journal: journal.clone() }).await?;
                    }
                    return Ok(Located { resolution, replica: Some(replica), targets: Vec::new() });
                }
                Status::Ok => {
                    let me = &self.config.id;
                    let is_silent = |id: &_| self.presence.is_silent(id);
                    let has_failed = |endpoint: &_| self.peers.has_failed(endpoint);
                    let targets = target::targets(&space, &resolution, me, is_silent, has_failed);
                    for target in &targets {
                        self.peers.is_of_our_kind(&target.endpoint, self.presence.is_courant(&target.id));
                    }
                    if !targets.is_empty() {
                        return Ok(Located { resolution, replica: None, targets });
                    }
                    // Their members are gone, which their assignments follow in a moment.
                    let until = *settle.get_or_insert_with(|| Instant::now() + self.config.settle);
                    if !matches!(timeout_at(until, news.changed()).await, Ok(Ok(()))) {
                        return Err(tonic::Status::unavailable(format!(
                            "no broker that journal {journal} is assigned to is there; try again when others have taken its place"
                        )));
                    }
                }
                Status::JournalNotFound if wants.create && !created && self.config.auto_create.is_some() => {
                    if let Some(default) = &self.config.auto_create {
                        revision = {
                            let is_courant = |id: &_| self.presence.is_courant(id);
                            apply::create(&self.registry, &self.mirror, &is_courant, default, journal).await?
                        };
                    }
                    created = true;
                }
                Status::InsufficientJournalBrokers | Status::NoJournalPrimaryBroker if wants.settles => {
                    // A journal that was created a moment ago is assigned in the next.
                    let until = *settle.get_or_insert_with(|| Instant::now() + self.config.settle);
                    if !matches!(timeout_at(until, news.changed()).await, Ok(Ok(()))) {
                        return Ok(Located { resolution, replica: None, targets: Vec::new() });
                    }
                }
                _ => return Ok(Located { resolution, replica: None, targets: Vec::new() }),
            }
        }
    }

    /// Waits until the mirror has seen a revision.
    pub(crate) async fn await_revision(&self, revision: i64) -> Result<(), tonic::Status> {
        if revision <= 0 || self.space().read_through() >= revision {
            return Ok(());
        }
        tokio::select! {
            seen = self.mirror.at_least(revision) => {
                seen.map(|_| ()).map_err(|error| tonic::Status::unavailable(error.to_string()))
            }
            () = self.closing.cancelled() => Err(crate::core::stopping()),
        }
    }

    /// Waits until the cores know what the mirror showed at a revision.
    pub(crate) async fn await_followed(&self, revision: i64) -> Result<(), tonic::Status> {
        // Revisions that touch none of our keys are never followed; what the mirror shows now is.
        let wanted = revision.min(self.space().revision()).max(1);
        let mut followed = self.followed.clone();
        let caught_up =
            timeout_at(Instant::now() + FOLLOW, followed.wait_for(|followed| *followed >= wanted));
        match caught_up.await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(crate::core::stopping()),
        }
    }

    /// The replica that a resolution to this process names, as of `seen` at least: what the request relies on, a change of suspension
    /// say, must have reached the replica as well.
    async fn replica(
        &self,
        journal: &JournalName,
        resolution: &Resolution,
        space: &Space,
        seen: i64,
    ) -> Result<Arc<Replica>, tonic::Status> {
        let created = resolution.item.as_ref().map_or(0, |item| item.create_revision);
        let find = || self.replicas.get(journal).filter(|replica| replica.create_revision == created);
        let revision = space.revision();
        if *self.followed.borrow() >= seen.min(revision)
            && let Some(replica) = find()
        {
            return Ok(replica);
        }
        let mut followed = self.followed.clone();
        let caught_up = followed.wait_for(|followed| *followed >= revision);
        // A deadline for what takes milliseconds: past it something is wrong with this broker.
        let caught_up = timeout_at(Instant::now() + FOLLOW, caught_up).await;
        match (caught_up, find()) {
            (Ok(Ok(_)), Some(replica)) => Ok(replica),
            _ => Err(tonic::Status::unavailable("resolver has stopped serving local replicas")),
        }
    }

    /// Changes the suspension of a journal, and returns the revision at which it, or somebody else's change, holds.
    pub(crate) async fn resuspend(&self, journal: &JournalName, to: Suspend) -> Result<i64, tonic::Status> {
        suspend::update(&self.registry, &self.space(), journal, to).await
    }
}
