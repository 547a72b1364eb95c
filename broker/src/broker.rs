//! A broker: opened from its data folder and the registry, run in the background, drained at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use courant_fragment::ahead::{self, Ahead};
use courant_fragment::disk::Disk;
use courant_fragment::persister::{self, Journal, Journals, Left as Unpersisted, Persister, PersisterHandle};
use courant_fragment::spool::Identity;
use courant_fragment::spool::log::SpoolLog;
use courant_fragment::spool::recover::Recovery;
use courant_fragment::spool::volume::Layout;
use courant_fragment::store::Stores;
use courant_keyspace::LeaseConfig;
use courant_proto::endpoint::Endpoint;
use courant_proto::id::ProcessId;
use courant_proto::spec::BrokerSpec;
use courant_proto::time::Clock;
use courant_proto::wire::journal_server::JournalServer;
use futures::future::BoxFuture;
use prometheus_client::registry::Registry;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::assign::assigner;
use crate::background::{Background, MOST_AGREEMENTS};
use crate::config::Config;
use crate::core::command::Command;
use crate::core::{Core, Cores};
use crate::error::Error;
use crate::follow::Follower;
use crate::heartbeat::{self, CaughtUp, Pulse};
use crate::incarnation::{self, heed};
use crate::journal_space::{Root, SpaceMirror};
use crate::lineage::LineageTask;
use crate::lost_ends::LostEndsFile;
use crate::member::{Join, Member, MemberError, Standing};
use crate::metrics::{self, Metrics};
use crate::peer::client::PeerClient;
use crate::peers::lookout::Pace;
use crate::peers::{Introduction, Peers, Scout};
use crate::quota::{self, Quota};
use crate::read::ahead::ReadAhead;
use crate::recovery::{self, LogFound};
use crate::replica::Replicas;
use crate::replication::notes::RouteNotes;
use crate::scratch::Budget;
use crate::service::Grpc;
use crate::shared::Shared;
use crate::transaction::commit::Registry as Transactions;

/// What a broker reaches the outside by. A simulation gives it others.
pub struct Components {
    /// The registry.
    pub etcd: etcd_client::Client,
    /// Where spools lie.
    pub disk: Arc<dyn Disk>,
    /// Where fragments go.
    pub stores: Arc<Stores>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Threads for everything but journals: stores, codecs, the registry, the mirror.
    pub background: Handle,
    /// Entropy that everything random in the broker grows from.
    pub seed: u64,
}

impl fmt::Debug for Components {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Components").finish_non_exhaustive()
    }
}

/// A handle on a broker of this process. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Broker {
    pub(crate) shared: Arc<Shared>,
    lost_ends: LostEndsFile,
    persister: PersisterHandle,
    tasks: TaskTracker,
}

/// What a broker needs run, besides its handle.
#[derive(Debug)]
pub struct Tasks {
    /// The cores; each wants a thread of its own with a runtime of its own.
    pub cores: Vec<Core>,
    /// Everything else, for the background.
    pub background: BackgroundTasks,
}

/// The background half of a broker.
#[derive(Default)]
pub struct BackgroundTasks {
    jobs: Vec<(&'static str, Job)>,
}

type Job =
    Box<dyn FnOnce(CancellationToken) -> futures::future::BoxFuture<'static, Result<(), Error>> + Send>;

impl fmt::Debug for BackgroundTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.jobs.iter().map(|(name, _)| name)).finish()
    }
}

/// Journals as the persister asks for them.
#[derive(Debug)]
struct Specs {
    mirror: SpaceMirror,
    me: ProcessId,
}

impl Journals for Specs {
    fn look_up(&self, identity: &Identity) -> Option<Journal> {
        let space = self.mirror.snapshot();
        let item = space.item(&identity.journal)?;
        let is_primary = space.route(&identity.journal).primary_member() == Some(&self.me);
        (item.create_revision == identity.create_revision).then_some(Journal { spec: item.spec, is_primary })
    }
}

impl Broker {
    /// Opens a broker: tells the registry what was lost with others, takes its place among the members, recovers its spools, asks lineage
    /// which of them count, and loads the mirror. Nothing is served before its [`Tasks`] run.
    pub async fn open(
        config: Config,
        components: Components,
        registry: &mut Registry,
    ) -> Result<(Self, Tasks), Error> {
        let Components { etcd, disk, stores, clock, background: runtime, seed } = components;
        let root = Arc::new(Root::parse(&config.prefix)?);
        let pulse = Pulse::new();
        let gate = {
            let pulse = pulse.clone();
            Arc::new(move || pulse.is_alive())
        };
        let spec = BrokerSpec {
            id: config.id.clone(),
            endpoint: Endpoint::parse(&config.endpoint)?,
            journal_limit: config.journal_limit,
            exiting: false,
        };
        let lease = LeaseConfig {
            ttl: config.lease_ttl,
            adopt: config.previous_lease,
            gate: Some(gate),
            fence: None,
            seed,
        };
        let (witness, cluster) = incarnation::establish(&etcd, &root, seed).await?;
        let transactions = Transactions { etcd: etcd.clone(), witness: Some(witness.clone()) };
        // Whoever sees this broker among the members may rely on that the registry knows what was lost.
        let lost_ends = LostEndsFile::new(Arc::clone(&disk), &config.spools);
        lost_ends.settle(&transactions, &root, cluster, seed).await?;
        let join = Join { root: Arc::clone(&root), spec, lease, witness: witness.clone() };
        let (member, member_task) = Member::join(etcd.clone(), join).await?;
        let mirror_config =
            courant_keyspace::Config { seed, witness: Some(witness.clone()), ..Default::default() };
        let (mirror, feed) = SpaceMirror::load(etcd.clone(), Arc::clone(&root), mirror_config).await?;

        let layout = Layout { segment_bytes: config.segment_bytes, seed, ..Layout::default() };
        let (lineage, lineage_task) = LineageTask::new(transactions.clone(), Arc::clone(&root), seed);
        let recovered = recovery::recover(Arc::clone(&disk), config.spools.clone(), cluster, layout).await?;
        let log = LogFound::of(&recovered);
        let Recovery { volume, journals, .. } = recovered;
        let judged =
            recovery::judge(journals, cluster, &mirror.snapshot(), &transactions, &config.id).await?;
        if !judged.unheard.is_empty() {
            let lost = lost_ends.add(judged.unheard.clone()).await?;
            lost_ends.tell(&transactions, &root, lost, seed).await?;
        }
        let log = log.forgetting(&judged);
        let log_number = recovery::log_number(&*disk, &config.spools, &log, seed)?;

        let limit = match config.spool_quota {
            Some(limit) => limit,
            None => quota::default_limit(&*disk, &config.spools)?,
        };
        let quota = Quota::new(config.id.clone(), limit, config.cores.max(1));
        let tasks = TaskTracker::new();
        let metrics = Metrics::new(registry);
        let (cores, mailboxes) = Cores::new(config.cores);
        let specs = Specs { mirror: mirror.clone(), me: config.id.clone() };
        let (persister_task, persister) = Persister::new(
            persister::Config::default(),
            Arc::clone(&stores),
            Arc::new(specs),
            Arc::clone(&clock),
            StdRng::seed_from_u64(seed),
        );
        let ahead = Ahead::new(ahead::Config::default(), Arc::clone(&disk), config.spools.clone());
        let persister_task = persister_task.with_ahead(ahead.clone());
        metrics::register_ahead(registry, Arc::clone(ahead.counters()));
        metrics::register_counters(registry, Arc::clone(&stores), Arc::clone(persister.counters()));
        metrics::register_quota(registry, quota.clone(), Arc::clone(&clock));
        let pace = Pace::of(config.lease_ttl);
        let introduction = Introduction {
            etcd: etcd.clone(),
            root: Arc::clone(&root),
            me: config.id.clone(),
            member: member.clone(),
            space: mirror.clone(),
            pace,
            witness: witness.clone(),
            seed,
        };
        let (presence, presence_task) = Box::pin(Peers::load(introduction)).await?;
        let (notes, notes_task) = RouteNotes::new(transactions.clone(), mirror.clone(), seed);
        let peers = PeerClient::default();
        let scout = Scout { peers: presence.clone(), client: peers.clone(), space: mirror.clone(), pace };
        let read_ahead = ReadAhead::new(config.read_ahead, runtime.clone());
        let background = Background {
            me: config.id.clone(),
            runtime,
            tasks: tasks.clone(),
            log_number,
            mirror: mirror.clone(),
            stores: Arc::clone(&stores),
            lineage: lineage.clone(),
            persister: persister.clone(),
            // Each core puts its own in its place.
            reports: mpsc::channel(1).0,
            cores: cores.clone(),
            here: None,
            cluster,
            registry: transactions.clone(),
            place: member.clone(),
            peers: peers.clone(),
            presence: presence.clone(),
            notes,
            seed,
            ahead: ahead.clone(),
            quota: quota.clone(),
            agreements: Arc::new(Semaphore::new(MOST_AGREEMENTS)),
        };
        let core_tasks = mailboxes
            .into_iter()
            .enumerate()
            .map(|(number, mailbox)| {
                let log = SpoolLog::new(Arc::clone(&volume), u32::try_from(number).unwrap_or(u32::MAX));
                Core::new(number, mailbox, log, Arc::clone(&clock), background.clone(), metrics.clone())
            })
            .collect();
        let (followed_sender, followed) = watch::channel(0);
        let budget = Budget::new(config.append_memory, config.append_memory / 8, disk, config.spools.clone());
        let beat = config.lease_ttl / 8;
        let assigner =
            assigner(etcd, &mirror, presence.settled(), &config.id, seed).with_guard(witness.compare());
        let shared = Arc::new(Shared {
            config,
            clock,
            registry: transactions,
            mirror: mirror.clone(),
            member: member.clone(),
            presence,
            stores: Arc::clone(&stores),
            lineage,
            cores: cores.clone(),
            replicas: Replicas::default(),
            followed,
            budget,
            read_ahead,
            metrics,
            peers,
            quota,
            log_number,
            closing: CancellationToken::new(),
        });
        let follower = Follower::new(Arc::clone(&shared), judged, followed_sender, seed);
        let mut jobs = BackgroundTasks::default();
        let (estranged, place) = (member.clone(), member.clone());
        jobs.add("the mirror", move |cancel| {
            let is_exchange = courant_keyspace::Error::is_exchanged;
            heed(feed.run(cancel.clone()), is_exchange, move |why| estranged.estrange(why), cancel)
        });
        // Told apart from other ends: that another process has our place is no fault of this one.
        let caught_up = CaughtUp { followed: shared.followed.clone(), cores: cores.clone() };
        let place: Job = Box::new(move |cancel| {
            let kept = member_task.run(mirror, caught_up, cancel.clone());
            let estrange = move |why: &MemberError| place.estrange(why);
            let kept = Box::pin(heed(kept, MemberError::is_exchange, estrange, cancel));
            Box::pin(async move { Ok(kept.await?) })
        });
        jobs.jobs.push(("the member's place", place));
        jobs.add("presence", move |cancel| {
            let estrange = move |why: &MemberError| member.estrange(why);
            heed(presence_task.run(cancel.clone()), MemberError::is_exchange, estrange, cancel)
        });
        jobs.add("the scout", move |cancel| endless(scout.run(cancel)));
        jobs.add("the routes", move |cancel| endless(notes_task.run(cancel)));
        jobs.add("lineage", move |cancel| endless(async move { lineage_task.run(cancel).await }));
        jobs.add("the persister", move |cancel| endless(persister_task.run(cancel)));
        jobs.add("the replicas", move |cancel| follower.run(cancel));
        jobs.add("the assigner", move |cancel| endless(assigner.run(cancel)));
        jobs.add("the stores", move |cancel| endless(async move { stores.run(cancel).await }));
        jobs.add("the heartbeat", move |cancel| heartbeat::run(cores, pulse, beat, cancel));
        jobs.add("the sweeper", move |cancel| recovery::sweep(volume, ahead, cancel));
        let broker = Self { shared, lost_ends, persister, tasks };
        Ok((broker, Tasks { cores: core_tasks, background: jobs }))
    }

    /// The service for a tonic server.
    pub fn grpc(&self) -> JournalServer<Grpc> {
        JournalServer::new(Grpc(self.clone()))
    }

    /// Where this broker stands among the members: now, and whenever that changes. Its lease is to be kept for the next process of
    /// this data folder, which takes it over.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.shared.member.standing()
    }

    /// Ends when the registry turned out to be another one than the broker came to: wiped, restored from a copy, exchanged. Nobody can be
    /// a member of what is not there any more. The broker takes no appends from then on and keeps what it holds; whoever runs it
    /// drains it, which persists that, and opens another one.
    pub fn estranged(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shared.member.estranged().cancelled_owned()
    }

    /// Whether the broker can serve: its place is held, and its replicas follow the mirror.
    pub fn is_ready(&self) -> bool {
        self.shared.member.is_held()
            && *self.shared.followed.borrow() >= self.shared.member.joined()
            && !self.shared.closing.is_cancelled()
    }

    /// Bytes of content that one append may have.
    pub fn max_append_bytes(&self) -> u64 {
        self.shared.config.max_append_bytes
    }

    /// Journals that this broker holds.
    pub fn journals(&self) -> usize {
        self.shared.replicas.len()
    }

    /// Gives up the place among the members, for another broker to take. To be called after [`Broker::drain`] and the end of the background.
    pub async fn leave(&self) -> Result<(), Error> {
        // A place in a registry that is not there any more is nobody's.
        if self.shared.member.estranged().is_cancelled() {
            return Ok(());
        }
        Ok(self.shared.member.leave().await?)
    }

    /// Ends reads that wait, so that connections can end.
    pub fn close_streams(&self) {
        self.shared.closing.cancel();
    }

    /// Closes all spools and persists what they hold, for at most `bound`. What could not be persisted is returned, and stays in
    /// the data folder.
    pub async fn drain(&self, bound: Duration) -> Vec<Unpersisted> {
        let until = Instant::now() + bound;
        self.close_streams();
        if self.shared.member.estranged().is_cancelled() {
            self.leave_unsettled(until).await;
        }
        for core in 0..self.shared.cores.count() {
            let (done, rolled) = oneshot::channel();
            // A core that hangs is not waited for beyond the bound.
            let drained = async {
                self.shared.cores.send_to(core, Command::Drain { done }).await.is_ok() && rolled.await.is_ok()
            };
            let _ = timeout_at(until, drained).await;
        }
        let left = self.persister.drain(until.saturating_duration_since(Instant::now())).await;
        if self.shared.member.estranged().is_cancelled() {
            // What is to be noted is of a registry that is not there.
            self.tasks.close();
            return left;
        }
        for core in 0..self.shared.cores.count() {
            let (done, sealed) = oneshot::channel();
            if self.shared.cores.send_to(core, Command::Seal { done }).await.is_ok() {
                let _ = timeout_at(until, sealed).await;
            }
        }
        // What could not be noted costs the next process nothing but the question to its own spools.
        let _ = timeout_at(until, self.shared.lineage.flush()).await;
        self.tasks.close();
        left
    }

    /// Nobody will ever tell what counts of content whose commitment is not known. It is noted how far it went, and then taken from what
    /// does count, which can be stored so.
    async fn leave_unsettled(&self, until: Instant) {
        let mut ends = BTreeMap::new();
        for core in 0..self.shared.cores.count() {
            let (reply, told) = oneshot::channel();
            if self.shared.cores.send_to(core, Command::HeldEnds { reply }).await.is_ok()
                && let Ok(Ok(told)) = timeout_at(until, told).await
            {
                ends.extend(told);
            }
        }
        if let Err(error) = self.lost_ends.add(ends).await {
            // It stays in the spools, where the next start finds it.
            return tracing::error!(%error, "content that counts stays unstored beside what may not");
        }
        for core in 0..self.shared.cores.count() {
            let (done, left) = oneshot::channel();
            if self.shared.cores.send_to(core, Command::LeaveUnsettled { done }).await.is_ok() {
                let _ = timeout_at(until, left).await;
            }
        }
    }
}

/// A job that has no fault of its own.
async fn endless(job: impl Future<Output = ()>) -> Result<(), std::convert::Infallible> {
    job.await;
    Ok(())
}

impl BackgroundTasks {
    fn add<F, E>(&mut self, name: &'static str, job: impl FnOnce(CancellationToken) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let job = move |cancel: CancellationToken| {
            let running = job(cancel);
            Box::pin(async move {
                running.await.map_err(|error| Error::Ended { part: name, reason: error.to_string() })
            }) as BoxFuture<'static, Result<(), Error>>
        };
        self.jobs.push((name, Box::new(job)));
    }

    /// Runs all of them until `cancel`. The first that fails stops the others, and is returned. One that has nothing left to do does not: the
    /// mirror of a registry that was exchanged ends, and what follows it, while the persister has the most to do.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        let stop = cancel.child_token();
        let mut running = JoinSet::new();
        for (_, job) in self.jobs {
            running.spawn(job(stop.clone()));
        }
        let mut outcome = Ok(());
        while let Some(ended) = running.join_next().await {
            let ended = ended.unwrap_or_else(|panic| {
                Err(Error::Ended { part: "a background task", reason: panic.to_string() })
            });
            if ended.is_err() {
                stop.cancel();
            }
            outcome = outcome.and(ended);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_has_nothing_left_to_do_stops_no_other() {
        let jobs = |fails: bool| {
            let mut jobs = BackgroundTasks::default();
            jobs.add("the mirror", move |_| async move { if fails { Err("it failed") } else { Ok(()) } });
            jobs.add("the persister", |cancel| endless(async move { cancel.cancelled().await }));
            jobs
        };
        let cancel = CancellationToken::new();
        let mut running = Box::pin(jobs(false).run(cancel.clone()));
        let (early, instant) = (Duration::from_millis(50), Instant::now());
        assert!(timeout_at(instant + early, &mut running).await.is_err(), "the persister was stopped");
        cancel.cancel();
        running.await.expect("both ended in order");
        let failed = jobs(true).run(CancellationToken::new()).await.expect_err("the others were stopped");
        assert!(failed.to_string().contains("it failed"), "{failed}");
    }
}
