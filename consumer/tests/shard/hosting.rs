//! Members that host shards: who is killed is replaced, who leaves hands over, and what fails says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use courant_consumer::{BoxError, HostError, HostPorts, Membership, Program, ShardSpec, Topic, host};
use courant_message::Producer;
use courant_proto::{ProcessId, wire};
use courant_registry::{Config, Registry};
use futures::future::pending;
use prost::Message as _;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use wire::consumer::replica_status::Code;
use wire::consumer::{ReplicaStatus, ShardSpec as WireSpec, shard_spec};

use crate::scene::{SUMS, Scene};
use crate::stream_sum::{Chunker, PATIENCE, Sum};

const ROOT: &str = "/courant/consumers/sums";

/// Runs sums; or fails, if it is told to.
struct Sums {
    sums: Topic,
    fails: bool,
}

impl Program for Sums {
    type Application = Sum;

    async fn start(&self, _: &ShardSpec) -> Result<Sum, BoxError> {
        if self.fails {
            return Err("it is told to fail".into());
        }
        Ok(Sum { sums: self.sums.clone() })
    }
}

/// A registry, and members that have it.
struct Group {
    scene: Scene,
    etcd: etcd_client::Client,
    producers: Arc<AtomicU32>,
    members: JoinSet<Result<(), HostError>>,
    _registry: JoinHandle<()>,
}

impl Group {
    async fn start(standbys: u32) -> Self {
        let scene = Scene::start().await;
        let registry = Registry::in_memory(Config { seed: 9, ..Config::default() });
        let etcd = registry.client().await.expect("no socket is involved");
        let runtime = tokio::runtime::Handle::current();
        let registry =
            runtime.spawn(async move { registry.run(CancellationToken::new()).await.expect("it runs") });
        let group =
            Self { scene, etcd, producers: Arc::default(), members: JoinSet::new(), _registry: registry };
        for number in 0..2 {
            group.put(number, standbys, false).await;
        }
        group
    }

    async fn put(&self, number: u32, hot_standbys: u32, disable: bool) {
        let source = shard_spec::Source { journal: format!("examples/chunks/part-{number}"), min_offset: 0 };
        let spec = WireSpec {
            id: format!("sums-{number}"),
            sources: vec![source],
            recovery_log_prefix: "shards".to_owned(),
            max_txn_duration: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            hot_standbys,
            disable,
            ..Default::default()
        };
        let key = format!("{ROOT}/items/{}", spec.id);
        self.etcd.kv_client().put(key, spec.encode_to_vec(), None).await.expect("a put");
    }

    /// A member that is there until `stop` is ready, or until it is aborted.
    async fn join(
        &mut self,
        name: &str,
        fails: bool,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::AbortHandle {
        let id = ProcessId::new("zone", name).expect("an id");
        let membership = Membership { lease_ttl: Duration::from_secs(2), ..Membership::new(ROOT, id) };
        let producers = self.producers.clone();
        let ports = HostPorts {
            etcd: self.etcd.clone(),
            client: self.scene.client(),
            clock: self.scene.clock(),
            producers: Arc::new(move || {
                let [a, b, c, d] = producers.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                Producer::new([1, 1, a, b, c, d])
            }),
            seed: 3,
        };
        let sums = Topic::of_journal(&self.scene.client(), SUMS).await.expect("a journal");
        self.members.spawn(host(membership, ports, Sums { sums, fails }, stop))
    }

    /// How all members stand, by key.
    async fn statuses(&self) -> Vec<(String, ReplicaStatus)> {
        let options = etcd_client::GetOptions::new().with_prefix();
        let found = self.etcd.kv_client().get(format!("{ROOT}/assign/"), Some(options)).await.expect("keys");
        let statuses = found.kvs().iter().map(|found| {
            let key = found.key_str().expect("a key").trim_start_matches(ROOT).to_owned();
            (key, ReplicaStatus::decode(found.value()).expect("a status"))
        });
        statuses.collect()
    }

    async fn until(&self, what: impl Fn(&[(String, ReplicaStatus)]) -> bool) {
        let wait = async {
            while !what(&self.statuses().await) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("it stays at {:?}", self.statuses().await);
        }
    }
}

fn count(statuses: &[(String, ReplicaStatus)], name: &str, code: Code) -> usize {
    let of = |(key, status): &&(String, ReplicaStatus)| key.contains(name) && status.code() == code;
    statuses.iter().filter(of).count()
}

#[tokio::test]
async fn who_is_killed_is_replaced_and_sums_are_exact() {
    let mut group = Group::start(1).await;
    let mut chunker = Chunker::new(8);
    let mut members =
        vec![group.join("alice", false, pending()).await, group.join("bruno", false, pending()).await];
    for round in 0..4 {
        group.until(|all| count(all, "", Code::Primary) == 2 && count(all, "", Code::Standby) == 2).await;
        let streams = round * 20..round * 20 + 20;
        let load = chunker.publish(&group.scene, streams, 20);
        let kill = async {
            sleep(Duration::from_millis(150)).await;
            members.remove(0).abort();
        };
        tokio::join!(load, kill);
        chunker.check(&group.scene).await;
        let name = format!("next-{round}");
        members.push(group.join(&name, false, pending()).await);
    }
    chunker.check(&group.scene).await;
}

#[tokio::test]
async fn who_leaves_hands_over_first() {
    let mut group = Group::start(0).await;
    let mut chunker = Chunker::new(10);
    let leave = CancellationToken::new();
    let left = leave.clone();
    group.join("alice", false, async move { left.cancelled().await }).await;
    group.until(|all| count(all, "#alice#", Code::Primary) == 2).await;
    chunker.publish(&group.scene, 0..10, 20).await;
    group.join("bruno", false, pending()).await;
    leave.cancel();
    let ended = group.members.join_next().await.expect("a member").expect("no panic");
    assert!(ended.is_ok(), "{ended:?}");
    // Nobody had to wait for a lease to run out.
    let statuses = group.statuses().await;
    assert_eq!((statuses.len(), count(&statuses, "#bruno#0", Code::Idle)), (2, 0), "{statuses:?}");
    chunker.publish(&group.scene, 10..20, 20).await;
    chunker.check(&group.scene).await;
}

#[tokio::test]
async fn what_fails_says_so_until_its_spec_changes() {
    let mut group = Group::start(0).await;
    group.join("alice", true, pending()).await;
    group.until(|all| count(all, "", Code::Failed) == 2).await;
    let (_, status) = group.statuses().await.remove(0);
    assert_eq!(status.errors, ["the application failed: it is told to fail"]);
    // Disabled, a shard is nobody's.
    group.put(0, 0, true).await;
    group.until(|all| all.len() == 1).await;
    // A second member of the same name is refused.
    let second = group.join("alice", false, pending()).await;
    let ended = group.members.join_next().await.expect("a member").expect("no panic");
    assert!(matches!(ended, Err(HostError::Taken { .. })), "{ended:?}");
    drop(second);
}
