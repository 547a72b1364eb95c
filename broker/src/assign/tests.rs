//! Assignments against a registry.

use courant_proto::spec::{BrokerSpec, JournalSpec, SuspendLevel};
use etcd_client::PutOptions;

use super::*;
use crate::journal_space::Space;
use crate::journal_space::fixture::*;
use crate::transaction::commit::commit;
use crate::transaction::{PutLease, Transaction, Write};

/// A cluster in which brokers are members, each under a lease, and the first assigns journals.
struct Assigned {
    cluster: Cluster,
    leases: Vec<i64>,
    reports: watch::Sender<Arc<BTreeMap<Reported, bool>>>,
}

async fn cluster(members: &[&str]) -> Assigned {
    let mut cluster = Cluster::start().await;
    let mut leases = Vec::new();
    for member in members {
        let lease = cluster.etcd().lease_client().grant(60, None).await.expect("a lease").id();
        leases.push(lease);
        put_member(&cluster, lease, &BrokerSpec { journal_limit: 100_000, ..broker(&id(member)) }).await;
    }
    let (reports, heeded) = watch::channel(Arc::default());
    let assigner = assigner(cluster.etcd().clone(), &cluster.mirror, heeded, &id(members[0]), 3);
    cluster.tasks.spawn(assigner.run(cluster.cancel.clone()));
    Assigned { cluster, leases, reports }
}

async fn put_member(cluster: &Cluster, lease: i64, spec: &BrokerSpec) {
    let options = Some(PutOptions::new().with_lease(lease));
    cluster.etcd().kv_client().put(root().member(&spec.id), spec.encode(), options).await.expect("a put");
}

const ONE: &str = "the/one";

fn is_ours(space: &Space, journal: &str) -> bool {
    let route = space.bare_route(&name(journal));
    route.primary_member() == Some(&me()) && space.is_consistent(&name(journal))
}

/// `zone/suffix(slot)` of all who hold the journal.
fn held(space: &Space) -> Vec<String> {
    let assignments = space.assignments(&name(ONE)).map(|assigned| assigned.assignment);
    assignments
        .map(|held| format!("{}/{}({})", held.member.zone(), held.member.suffix(), held.slot))
        .collect()
}

/// Says in all assignments of the journal that its members are synchronised, as its primary would.
async fn synchronise(cluster: &Cluster) {
    let space = cluster.mirror.snapshot();
    let route = space.bare_route(&name(ONE)).encode();
    for assigned in space.assignments(&name(ONE)) {
        let options = Some(PutOptions::new().with_ignore_lease());
        let key = assigned.entry.key.to_vec();
        cluster.etcd().kv_client().put(key, route.clone(), options).await.expect("a put");
    }
}

#[tokio::test]
async fn the_only_broker_gets_all_journals_as_they_come_rest_and_go() {
    let Assigned { cluster, leases, .. } = Box::pin(cluster(&["zone-a/self"])).await;
    cluster.put_item(&spec(ONE)).await;
    let space = cluster.until("an assignment", |space| is_ours(space, ONE)).await;
    let assigned = space.assignments(&name(ONE)).next().expect("an assignment");
    assert_eq!(assigned.entry.lease, leases[0], "it ends with its member");
    assert_eq!(assigned.entry.version, 1, "it was synchronised from the first");

    cluster.put_item(&suspended(ONE, SuspendLevel::Full)).await;
    cluster.until("no assignment", |space| space.all_assignments().is_empty()).await;
    cluster.put_item(&JournalSpec { replication: 3, ..spec(ONE) }).await;
    cluster.until("an assignment", |space| is_ours(space, ONE)).await;
    cluster.delete(root().item(&name(ONE))).await;
    cluster.until("no assignment", |space| space.all_assignments().is_empty()).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_journal_moves_only_when_its_new_holder_is_synchronised() {
    let members = ["zone-a/self", "zone-b/peer", "zone-c/peer"];
    let Assigned { cluster, leases, .. } = Box::pin(cluster(&members)).await;
    cluster.put_item(&JournalSpec { replication: 2, ..spec(ONE) }).await;
    let space = cluster.until("two replicas", |space| held(space).len() == 2).await;
    assert!(!space.is_consistent(&name(ONE)), "its members do not know each other yet");
    synchronise(&cluster).await;

    let before = held(&space);
    let leaving = members.iter().position(|member| before[0].starts_with(member)).expect("a member");
    let spec = BrokerSpec { exiting: true, journal_limit: 100_000, ..broker(&id(members[leaving])) };
    put_member(&cluster, leases[leaving], &spec).await;
    let space = cluster.until("a third replica", |space| held(space).len() == 3).await;
    assert!(before.iter().all(|held_before| held(&space).contains(held_before)), "{:?}", held(&space));

    synchronise(&cluster).await;
    let space = cluster
        .until("two others", |space| {
            let held = held(space);
            held.len() == 2 && held.iter().all(|held| !held.starts_with(members[leaving]))
        })
        .await;
    assert!(held(&space).iter().any(|held| held.ends_with("(0)")), "{:?}", held(&space));
    cluster.until("packed slots", |space| held(space).iter().any(|held| held.ends_with("(1)"))).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_broker_that_its_primary_cannot_reach_is_replaced_at_once() {
    let members = ["zone-a/self", "zone-b/peer", "zone-c/peer"];
    let Assigned { cluster, reports, .. } = Box::pin(cluster(&members)).await;
    cluster.put_item(&JournalSpec { replication: 2, ..spec(ONE) }).await;
    cluster.until("two replicas", |space| held(space).len() == 2).await;
    synchronise(&cluster).await;
    let space = cluster.until("a synchronised set", |space| space.is_consistent(&name(ONE))).await;
    let route = space.bare_route(&name(ONE));
    let by = route.primary_member().expect("a primary").clone();
    let assigned = space.assignments(&name(ONE)).map(|assigned| assigned.assignment.member.clone());
    let suspect = assigned.into_iter().find(|member| *member != by).expect("another one");

    let report = Reported { suspect: suspect.clone(), by: by.clone() };
    reports.send_replace(Arc::new([(report, true)].into()));
    let space = cluster
        .until("another one in its place", |space| {
            let holds =
                |id: &ProcessId| space.assignments(&name(ONE)).any(|held| held.assignment.member == *id);
            held(space).len() == 2 && holds(&by) && !holds(&suspect)
        })
        .await;
    assert_eq!(space.bare_route(&name(ONE)).primary_member(), Some(&by));
    cluster.stop().await;
}

#[tokio::test]
async fn ten_thousand_journals_are_assigned_together() {
    const JOURNALS: usize = 10_000;
    let Assigned { cluster, .. } = Box::pin(cluster(&["zone-a/self"])).await;
    let specs: Vec<JournalSpec> =
        (0..JOURNALS).map(|n| spec(&format!("many/{:02}/{n:05}", n % 100))).collect();
    for specs in specs.chunks(128) {
        let writes = specs.iter().map(|spec| Write::Put {
            key: root().item(&spec.name),
            value: spec.encode(),
            lease: PutLease::None,
        });
        let transaction = Transaction { writes: writes.collect(), ..Transaction::default() };
        commit(&cluster.as_registry(), transaction, String::new).await.expect("an answer");
    }
    let before = cluster.registry.revision();
    let space = cluster.until("all assignments", |space| space.all_assignments().len() == JOURNALS).await;
    assert!(specs.iter().all(|spec| is_ours(&space, spec.name.as_str())));
    // As many transactions as it takes with a hundred and some in each, and a few for what came in between.
    let transactions = cluster.registry.revision() - before;
    assert!(transactions < 200, "{transactions} transactions");
    cluster.stop().await;
}
