//! For tests: pictures of a cluster made by hand, and a small cluster on a registry in this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use courant_keyspace::{Config, KeyValue, Revision, Snapshot, StoreHeader};
use courant_proto::codec::Codec;
use courant_proto::duration::GoDuration;
use courant_proto::endpoint::Endpoint;
use courant_proto::id::ProcessId;
use courant_proto::label::LabelSet;
use courant_proto::name::JournalName;
use courant_proto::route::Route;
use courant_proto::spec::{BrokerSpec, Flags, FragmentSpec, JournalSpec, Suspend, SuspendLevel};
use courant_registry::Registry;
use etcd_client::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::decode::SpaceDecoder;
use super::{Root, Space, SpaceMirror};

/// The lease of members and assignments that fixtures make.
pub(crate) const LEASE: i64 = 0x77;

pub(crate) fn root() -> Arc<Root> {
    Arc::new(Root::parse("/courant/cluster").expect("a root"))
}

pub(crate) fn name(name: &str) -> JournalName {
    JournalName::parse(name).expect("a name")
}

/// `zone/suffix`.
pub(crate) fn id(text: &str) -> ProcessId {
    let (zone, suffix) = text.split_once('/').expect("zone/suffix");
    ProcessId::new(zone, suffix).expect("an id")
}

pub(crate) fn me() -> ProcessId {
    id("zone-a/self")
}

/// A spec of one replica that is never stored.
pub(crate) fn spec(journal: &str) -> JournalSpec {
    JournalSpec {
        name: name(journal),
        replication: 1,
        labels: LabelSet::empty(),
        fragment: FragmentSpec {
            length: 1 << 20,
            codec: Codec::None,
            stores: Vec::new(),
            refresh_interval: Duration::from_secs(300),
            retention: GoDuration::ZERO,
            flush_interval: None,
            path_postfix_template: String::new(),
        },
        flags: Flags::READ_WRITE,
        max_append_rate: None,
        suspend: None,
    }
}

pub(crate) fn labelled(journal: &str, labels: &[(&str, &str)]) -> JournalSpec {
    let labels = LabelSet::from_pairs(labels.iter().copied()).expect("labels");
    JournalSpec { labels, ..spec(journal) }
}

pub(crate) fn suspended(journal: &str, level: SuspendLevel) -> JournalSpec {
    JournalSpec { suspend: Some(Suspend { level, ..Suspend::default() }), ..spec(journal) }
}

pub(crate) fn broker(id: &ProcessId) -> BrokerSpec {
    BrokerSpec {
        id: id.clone(),
        endpoint: Endpoint::parse(&format!("http://{}:8080", id.suffix())).expect("an endpoint"),
        journal_limit: 1000,
        exiting: false,
    }
}

/// `members` in order; the index of the primary.
pub(crate) fn route(members: &[&str], primary: Option<usize>) -> Route {
    Route::new(members.iter().map(|member| id(member)).collect(), primary).expect("a route")
}

/// The keys of a cluster, put one after the other as a registry would.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    revision: i64,
    keys: BTreeMap<Vec<u8>, KeyValue>,
}

impl Keys {
    /// A cluster at revision 1, without keys.
    pub(crate) fn new() -> Self {
        Self { revision: 1, keys: BTreeMap::new() }
    }

    /// A cluster with these members.
    pub(crate) fn with_members(members: &[&str]) -> Self {
        let mut keys = Self::new();
        for member in members {
            keys.member(&broker(&id(member)));
        }
        keys
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>, lease: i64) -> &mut Self {
        self.revision += 1;
        let revision = Revision::new(self.revision);
        let entry = self.keys.entry(key.clone()).or_insert_with(|| KeyValue {
            key,
            create_revision: revision,
            ..KeyValue::default()
        });
        *entry =
            KeyValue { value, lease, mod_revision: revision, version: entry.version + 1, ..entry.clone() };
        self
    }

    pub(crate) fn delete(&mut self, key: &[u8]) -> &mut Self {
        self.revision += 1;
        self.keys.remove(key).expect("a key that is there");
        self
    }

    pub(crate) fn item(&mut self, spec: &JournalSpec) -> &mut Self {
        self.put(root().item(&spec.name), spec.encode(), 0)
    }

    pub(crate) fn member(&mut self, spec: &BrokerSpec) -> &mut Self {
        self.put(root().member(&spec.id), spec.encode(), LEASE)
    }

    pub(crate) fn assign(
        &mut self,
        journal: &str,
        member: &str,
        slot: u32,
        known: Option<&Route>,
    ) -> &mut Self {
        let key = root().assignment(&name(journal), &id(member), slot);
        self.put(key, known.map(Route::encode).unwrap_or_default(), LEASE)
    }

    pub(crate) fn unassign(&mut self, journal: &str, member: &str, slot: u32) -> &mut Self {
        let key = root().assignment(&name(journal), &id(member), slot);
        self.delete(&key)
    }

    pub(crate) fn delete_item(&mut self, journal: &str) -> &mut Self {
        self.delete(&root().item(&name(journal)))
    }

    /// The picture of the keys as they are.
    pub(crate) fn space(&self) -> Space {
        let header = StoreHeader {
            cluster_id: 0xc1,
            member_id: 0x3e,
            revision: Revision::new(self.revision),
            raft_term: 7,
        };
        let snapshot = Snapshot::loaded(header, self.keys.values().cloned(), &SpaceDecoder::new(root()));
        assert_eq!(
            snapshot.set_aside().map(|aside| &aside.reason).collect::<Vec<_>>(),
            Vec::<&String>::new()
        );
        Space::new(root(), Arc::new(snapshot))
    }
}

/// A registry in this process, with a mirror of the cluster in it that is kept current.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) registry: Registry,
    pub(crate) mirror: SpaceMirror,
    pub(crate) cancel: CancellationToken,
    client: ClientHandle,
    pub(crate) tasks: JoinSet<()>,
}

struct ClientHandle(Client);

impl std::fmt::Debug for ClientHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let registry = Registry::in_memory(courant_registry::Config { seed: 11, ..Default::default() });
        let etcd = registry.client().await.expect("no socket is involved");
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (running, until) = (registry.clone(), cancel.clone());
        tasks.spawn(async move { running.run(until).await.expect("a registry in memory") });
        let (mirror, feed) =
            SpaceMirror::load(etcd.clone(), root(), Config::default()).await.expect("an empty cluster");
        let until = cancel.clone();
        tasks.spawn(async move { feed.run(until).await.expect("a mirror of it") });
        Self { registry, mirror, cancel, client: ClientHandle(etcd), tasks }
    }

    pub(crate) fn etcd(&self) -> &Client {
        &self.client.0
    }

    /// The registry as transactions take it, whatever it may be exchanged for.
    pub(crate) fn as_registry(&self) -> crate::transaction::commit::Registry {
        self.etcd().clone().into()
    }

    /// Puts a key without a lease, and waits until the mirror shows it.
    pub(crate) async fn put(&self, key: Vec<u8>, value: Vec<u8>) -> i64 {
        let put = self.etcd().kv_client().put(key, value, None).await.expect("a put");
        let revision = put.header().expect("a header").revision();
        self.mirror.at_least(revision).await.expect("a running mirror");
        revision
    }

    /// Deletes a key, and waits until the mirror shows it.
    pub(crate) async fn delete(&self, key: Vec<u8>) {
        let delete = self.etcd().kv_client().delete(key, None).await.expect("a delete");
        let revision = delete.header().expect("a header").revision();
        self.mirror.at_least(revision).await.expect("a running mirror");
    }

    pub(crate) async fn put_item(&self, spec: &JournalSpec) -> i64 {
        self.put(root().item(&spec.name), spec.encode()).await
    }

    pub(crate) async fn put_member(&self, spec: &BrokerSpec) -> i64 {
        self.put(root().member(&spec.id), spec.encode()).await
    }

    /// Waits until the mirror shows what `wanted` looks for.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Space) -> bool) -> Arc<Space> {
        let mut news = self.mirror.subscribe();
        let seen = async {
            loop {
                let space = self.mirror.snapshot();
                if wanted(&space) {
                    return space;
                }
                news.changed().await.expect("a running mirror");
            }
        };
        tokio::time::timeout(Duration::from_secs(30), seen)
            .await
            .unwrap_or_else(|_| panic!("never saw {what}"))
    }

    /// Ends everything, and whatever a test has added to the tasks.
    pub(crate) async fn stop(mut self) {
        self.cancel.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a task that did not panic");
        }
    }
}
