//! Brokers of this process on one registry, over real sockets, and beside them scripted ones that do as a test tells them. A scripted
//! broker that joins first leads, and assigns nothing: the test does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courant_fragment::disk::{Disk, MemoryDisk};
use courant_fragment::store::Stores;
use courant_proto::endpoint::Endpoint;
use courant_proto::header::Header;
use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::service::{AppendRequests, JournalService};
use courant_proto::spec::{BrokerSpec, JournalSpec};
use courant_proto::time::{ManualClock, Timestamp};
use courant_proto::wire;
use etcd_client::{Txn, TxnOp};
use futures::{StreamExt, stream};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use super::scripted::{self, Scripted};
use crate::broker::{Broker, Components, Tasks};
use crate::config::Config;
use crate::journal_space::fixture::{broker, id, name, root};
use crate::lineage::Loss;
use crate::lost_ends::LostEndsFile;
use crate::peer::client::PeerClient;

/// What a test waits for comes within this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    registry: courant_registry::Registry,
    pub(crate) brokers: Vec<Broker>,
    /// What each of them writes to.
    pub(crate) disks: Vec<MemoryDisk>,
    /// What time it is for all of them.
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) peers: PeerClient,
    /// The spool quotas of those that join, in order; who has none is left without end.
    quotas: Vec<u64>,
    /// What the first broker that joins lost with another registry.
    lost_ends: BTreeMap<JournalName, Loss>,
    cancel: CancellationToken,
    tasks: JoinSet<()>,
    /// The registry and all cores. They end after everything that asks them: to that, what is gone before it is told to end is a fault.
    foundation: JoinSet<()>,
    foundation_cancel: CancellationToken,
}

impl Cluster {
    /// A registry, and nobody on it.
    pub(crate) fn empty() -> Self {
        let registry =
            courant_registry::Registry::in_memory(courant_registry::Config { seed: 7, ..Default::default() });
        let foundation_cancel = CancellationToken::new();
        let mut foundation = JoinSet::new();
        let (running, until) = (registry.clone(), foundation_cancel.clone());
        foundation.spawn(async move { running.run(until).await.expect("a registry in memory") });
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        Self {
            registry,
            brokers: Vec::new(),
            disks: Vec::new(),
            clock,
            peers: PeerClient::default(),
            quotas: Vec::new(),
            lost_ends: BTreeMap::new(),
            cancel: CancellationToken::new(),
            tasks: JoinSet::new(),
            foundation,
            foundation_cancel,
        }
    }

    /// Brokers that assign journals to themselves.
    pub(crate) async fn start(members: &[&str]) -> Self {
        let mut cluster = Self::empty();
        cluster.join_all(members).await;
        cluster
    }

    /// The same, whose spools may hold so much that no store has.
    pub(crate) async fn start_with_quotas(members: &[&str], quotas: &[u64]) -> Self {
        let mut cluster = Self::empty();
        cluster.quotas = quotas.to_vec();
        cluster.join_all(members).await;
        cluster
    }

    /// Brokers to which a test assigns journals. The first of them had content up to here of a journal of another registry.
    pub(crate) async fn led_after(
        scripted: &str,
        members: &[&str],
        (journal, lost_end): (&str, Offset),
    ) -> (Self, Scripted) {
        let mut cluster = Self::empty();
        cluster.lost_ends.insert(name(journal), Loss::up_to(lost_end, 3));
        let leader = cluster.join_scripted(scripted).await;
        cluster.join_all(members).await;
        (cluster, leader)
    }

    /// Brokers to which a test assigns journals, as a scripted one came first; and that one.
    pub(crate) async fn led_by(scripted: &str, members: &[&str]) -> (Self, Scripted) {
        let mut cluster = Self::empty();
        let leader = cluster.join_scripted(scripted).await;
        cluster.join_all(members).await;
        (cluster, leader)
    }

    async fn join_all(&mut self, members: &[&str]) {
        for (number, member) in members.iter().enumerate() {
            self.join(&id(member), number as u64).await;
        }
        let all_know_all = || {
            let mut known = self.brokers.iter().map(|broker| &broker.shared.presence);
            known.all(|known| members.iter().all(|member| known.is_courant(&id(member))))
        };
        self.until("of what make the others are", all_know_all).await;
    }

    /// Adds a broker of another make, which does what a test tells it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the sockets of a test are opened where it composes its brokers"
    )]
    pub(crate) async fn join_scripted(&mut self, member: &str) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let endpoint = Endpoint::parse(&format!("http://{address}")).expect("an endpoint");
        let spec = BrokerSpec { endpoint, ..broker(&id(member)) };
        self.put(root().member(&spec.id), spec.encode()).await;
        let (service, scripted) = scripted::scripted(spec.id);
        let until = self.cancel.clone().cancelled_owned();
        self.tasks.spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            let _ = tokio::select! {
                served = server.serve_with_incoming(TcpListenerStream::new(listener)) => served,
                () = until => Ok(()),
            };
        });
        scripted
    }

    /// Adds a member that nobody can reach.
    #[expect(
        clippy::disallowed_methods,
        reason = "the sockets of a test are opened where it composes its brokers"
    )]
    pub(crate) async fn join_unreachable(&self, member: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let endpoint = Endpoint::parse(&format!("http://{address}")).expect("an endpoint");
        let spec = BrokerSpec { endpoint, ..broker(&id(member)) };
        self.put(root().member(&spec.id), spec.encode()).await;
    }

    async fn put(&self, key: Vec<u8>, value: Vec<u8>) {
        let etcd = self.registry.client().await.expect("no socket is involved");
        etcd.kv_client().put(key, value, None).await.expect("a put");
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the sockets of a test are opened where it composes its brokers"
    )]
    async fn join(&mut self, id: &ProcessId, seed: u64) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("spools")).expect("a folder");
        self.disks.push(disk.clone());
        let clock = Arc::clone(&self.clock);
        let rng = StdRng::seed_from_u64(seed);
        let components = Components {
            etcd: self.registry.client().await.expect("no socket is involved"),
            disk: Arc::new(disk),
            stores: Arc::new(Stores::new(
                courant_fragment::store::Config::default(),
                Arc::clone(&clock) as _,
                rng,
            )),
            clock,
            background: Handle::current(),
            seed,
        };
        let mut config = Config::new(id.clone(), format!("http://{address}"), "spools");
        config.spool_quota = Some(self.quotas.get(self.brokers.len()).copied().unwrap_or(0));
        let lost_ends = std::mem::take(&mut self.lost_ends);
        if !lost_ends.is_empty() {
            let file = LostEndsFile::new(Arc::clone(&components.disk), "spools");
            file.add(lost_ends).await.expect("kept");
        }
        let mut metrics = prometheus_client::registry::Registry::default();
        let opened = Box::pin(Broker::open(config, components, &mut metrics)).await;
        let (broker, Tasks { cores, background }) = opened.expect("a broker");
        for core in cores {
            self.foundation.spawn(core.run(self.foundation_cancel.clone()));
        }
        let until = self.cancel.clone();
        self.tasks.spawn(async move { background.run(until).await.expect("nothing ends") });
        let server =
            tonic::transport::Server::builder().add_service(broker.grpc()).add_service(broker.peer());
        let until = self.cancel.clone().cancelled_owned();
        self.tasks.spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            // Streams between brokers are open as long as these are: what is left is dropped with the test.
            let _ = tokio::select! {
                served = server.serve_with_incoming(incoming) => served,
                () = until => Ok(()),
            };
        });
        self.brokers.push(broker);
    }

    /// Creates a journal, and waits until as many members have it as it wants.
    pub(crate) async fn create(&self, spec: &JournalSpec) {
        self.apply(spec).await;
        let wanted = usize::try_from(spec.replication).expect("a few");
        self.until("all replicas", || {
            self.brokers.iter().all(|broker| {
                let route = broker.shared.space().bare_route(&spec.name);
                route.members().len() == wanted && route.primary().is_some()
            })
        })
        .await;
    }

    async fn apply(&self, spec: &JournalSpec) {
        self.apply_at(spec, 0).await;
    }

    /// Changes a journal that is there.
    pub(crate) async fn change(&self, spec: &JournalSpec) {
        self.apply_at(spec, -1).await;
        self.until("the change", || {
            self.brokers.iter().all(|broker| {
                let replica = broker.shared.replicas.get(&spec.name);
                replica.is_none_or(|replica| *replica.spec() == *spec)
            })
        })
        .await;
    }

    async fn apply_at(&self, spec: &JournalSpec, expect_mod_revision: i64) {
        let upsert = Some(spec.into());
        let change = wire::apply_request::Change { expect_mod_revision, upsert, ..Default::default() };
        let request = wire::ApplyRequest { changes: vec![change] };
        let applied = self.brokers[0].apply(request).await.expect("an answer");
        assert_eq!(applied.status(), wire::Status::Ok);
    }

    /// Creates a journal that these have, the first of them as primary.
    pub(crate) async fn create_at(&self, spec: &JournalSpec, members: &[&str]) {
        self.apply(spec).await;
        let slots: Vec<(&str, u32)> = members.iter().copied().zip(0..).collect();
        self.assign(&spec.name, &slots).await;
    }

    /// Gives a journal to members in these slots, and to nobody else, in one transaction.
    pub(crate) async fn assign(&self, journal: &JournalName, slots: &[(&str, u32)]) {
        let wanted: Vec<Vec<u8>> =
            slots.iter().map(|(member, slot)| root().assignment(journal, &id(member), *slot)).collect();
        let space = self.brokers[0].shared.space();
        let held: Vec<Vec<u8>> = space.assignments(journal).map(|held| held.entry.key.to_vec()).collect();
        let gone =
            held.iter().filter(|key| !wanted.contains(key)).map(|key| TxnOp::delete(key.clone(), None));
        let new =
            wanted.iter().filter(|key| !held.contains(key)).map(|key| TxnOp::put(key.clone(), "", None));
        let etcd = self.registry.client().await.expect("no socket is involved");
        let changes: Vec<TxnOp> = gone.chain(new).collect();
        let done = etcd.kv_client().txn(Txn::new().and_then(changes)).await.expect("a transaction");
        let revision = done.header().expect("a header").revision();
        self.until("the assignments", || {
            self.brokers.iter().all(|broker| broker.shared.space().read_through() >= revision)
        })
        .await;
    }

    pub(crate) async fn delete(&self, key: Vec<u8>) {
        let etcd = self.registry.client().await.expect("no socket is involved");
        etcd.kv_client().delete(key, None).await.expect("a delete");
    }

    /// Writes the same assignments once more, as who notes a route in them does.
    pub(crate) async fn touch(&self, journal: &JournalName) {
        let space = self.brokers[0].shared.space();
        for held in space.assignments(journal) {
            self.put(held.entry.key.to_vec(), space.bare_route(journal).encode()).await;
        }
    }

    /// Deletes all keys with a prefix, at one revision.
    pub(crate) async fn delete_all(&self, prefix: &str) {
        let etcd = self.registry.client().await.expect("no socket is involved");
        let options = if prefix.is_empty() {
            etcd_client::DeleteOptions::new().with_all_keys()
        } else {
            etcd_client::DeleteOptions::new().with_prefix()
        };
        etcd.kv_client().delete(prefix, Some(options)).await.expect("a delete");
    }

    pub(crate) async fn until(&self, what: &str, mut seen: impl FnMut() -> bool) {
        let wait = async {
            while !seen() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never saw {what}"));
    }

    pub(crate) fn endpoint(&self, broker: usize) -> Endpoint {
        Endpoint::parse(&self.brokers[broker].shared.config.endpoint).expect("an endpoint")
    }

    pub(crate) fn of(&self, journal: &JournalName, primary: bool) -> usize {
        let route = self.brokers[0].shared.space().bare_route(journal);
        let is_wanted = |broker: &Broker| {
            let me = &broker.shared.config.id;
            if primary {
                route.primary_member() == Some(me)
            } else {
                route.members().contains(me) && route.primary_member() != Some(me)
            }
        };
        self.brokers.iter().position(is_wanted).expect("a member")
    }

    pub(crate) fn outside(&self, journal: &JournalName) -> usize {
        let route = self.brokers[0].shared.space().bare_route(journal);
        let is_outside = |broker: &Broker| !route.members().contains(&broker.shared.config.id);
        self.brokers.iter().position(is_outside).expect("one that has it not")
    }

    pub(crate) fn header(&self, to: usize, journal: &JournalName) -> Header {
        let space = self.brokers[to].shared.space();
        let process_id = Some(self.brokers[to].shared.config.id.clone());
        Header { process_id, route: space.route(journal), etcd: space.etcd() }
    }

    pub(crate) async fn stop(mut self) {
        self.cancel.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a task that did not panic");
        }
        self.foundation_cancel.cancel();
        while let Some(ended) = self.foundation.join_next().await {
            ended.expect("a task that did not panic");
        }
    }
}

/// The messages of an append.
pub(crate) fn requests(journal: &str, chunks: &[&'static [u8]]) -> AppendRequests {
    let first = wire::AppendRequest { journal: journal.to_owned(), ..Default::default() };
    let contents = chunks.iter().copied().chain([&b""[..]]);
    let contents = contents
        .map(|content| wire::AppendRequest { content: Bytes::from_static(content), ..Default::default() });
    let requests: Vec<_> = std::iter::once(first).chain(contents).map(Ok).collect();
    stream::iter(requests).boxed()
}

/// Appends; retries what says that it was not committed.
pub(crate) async fn append(broker: &Broker, journal: &str, chunks: &[&'static [u8]]) -> wire::AppendResponse {
    let appended = async {
        loop {
            match broker.append(requests(journal, chunks)).await {
                Ok(answer) if answer.status() == wire::Status::InsufficientJournalBrokers => {}
                Ok(answer) => return answer,
                Err(fault) => {
                    assert!(fault.message().contains("nothing was committed"), "{fault:?}");
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, appended).await.expect("an append that ends")
}

/// Reads up to an offset, waiting for it.
pub(crate) async fn read(broker: &Broker, journal: &str, end: i64) -> Vec<u8> {
    read_from(broker, journal, 0, end).await
}

/// Reads from an offset up to another, waiting for it.
pub(crate) async fn read_from(broker: &Broker, journal: &str, begin: i64, end: i64) -> Vec<u8> {
    let request = wire::ReadRequest {
        journal: journal.to_owned(),
        offset: begin,
        block: true,
        end_offset: end,
        ..Default::default()
    };
    let content = async {
        let responses: Vec<_> = broker.read(request).collect().await;
        responses.into_iter().flat_map(|response| response.expect("a response").content.to_vec()).collect()
    };
    let member = &broker.shared.config.id;
    timeout(PATIENCE, content).await.unwrap_or_else(|_| panic!("the read of {member} does not end"))
}
