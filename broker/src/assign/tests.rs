//! Assignments against a registry.

use courant_proto::spec::{JournalSpec, SuspendLevel};
use etcd_client::PutOptions;

use super::*;
use crate::journal_space::fixture::*;
use crate::transaction::{PutLease, Transaction, Write};

/// A cluster in which this broker is a member, under a lease, and assigns journals.
async fn cluster() -> (Cluster, i64) {
    let mut cluster = Cluster::start().await;
    let lease = cluster.etcd().lease_client().grant(60, None).await.expect("a lease").id();
    let options = Some(PutOptions::new().with_lease(lease));
    let (key, value) = (root().member(&me()), broker(&me()));
    let value = courant_proto::spec::BrokerSpec { journal_limit: 100_000, ..value }.encode();
    cluster.etcd().kv_client().put(key, value, options).await.expect("a put");
    let assigner = Assigner::new(cluster.etcd().clone(), cluster.mirror.clone(), me(), 3);
    cluster.tasks.spawn(assigner.run(cluster.cancel.clone()));
    (cluster, lease)
}

fn is_ours(space: &Space, journal: &str) -> bool {
    let route = space.bare_route(&name(journal));
    route.primary_member() == Some(&me()) && space.is_consistent(&name(journal))
}

#[tokio::test]
async fn follows_journals_as_they_come_rest_and_go() {
    let (cluster, lease) = Box::pin(cluster()).await;
    cluster.put_item(&spec("the/one")).await;
    let space = cluster.until("an assignment", |space| is_ours(space, "the/one")).await;
    let assigned = space.assignments(&name("the/one")).next().expect("an assignment");
    assert_eq!(assigned.entry.lease, lease, "it ends with its member");

    cluster.put_item(&suspended("the/one", SuspendLevel::Full)).await;
    cluster.until("no assignment", |space| space.all_assignments().is_empty()).await;
    cluster.put_item(&JournalSpec { replication: 3, ..spec("the/one") }).await;
    cluster.until("an assignment", |space| is_ours(space, "the/one")).await;
    cluster.delete(root().item(&name("the/one"))).await;
    cluster.until("no assignment", |space| space.all_assignments().is_empty()).await;
    cluster.stop().await;
}

#[tokio::test]
async fn leaves_a_cluster_of_several_alone() {
    let (cluster, _) = Box::pin(cluster()).await;
    cluster.put_member(&broker(&id("zone-b/peer"))).await;
    cluster.put_item(&spec("the/one")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(cluster.mirror.snapshot().all_assignments().len(), 0);
    cluster.delete(root().member(&id("zone-b/peer"))).await;
    cluster.until("an assignment", |space| is_ours(space, "the/one")).await;
    cluster.stop().await;
}

#[tokio::test]
async fn ten_thousand_journals_are_assigned_together() {
    const JOURNALS: usize = 10_000;
    let (cluster, _) = Box::pin(cluster()).await;
    let specs: Vec<JournalSpec> =
        (0..JOURNALS).map(|n| spec(&format!("many/{:02}/{n:05}", n % 100))).collect();
    for specs in specs.chunks(128) {
        let writes = specs.iter().map(|spec| Write::Put {
            key: root().item(&spec.name),
            value: spec.encode(),
            lease: PutLease::None,
        });
        let transaction = Transaction { writes: writes.collect(), ..Transaction::default() };
        commit(cluster.etcd(), transaction, String::new).await.expect("an answer");
    }
    let before = cluster.registry.revision();
    let space = cluster.until("all assignments", |space| space.all_assignments().len() == JOURNALS).await;
    assert!(specs.iter().all(|spec| is_ours(&space, spec.name.as_str())));
    // As many transactions as it takes with a hundred and some in each, and a few for what came in between.
    let transactions = cluster.registry.revision() - before;
    assert!(transactions < 200, "{transactions} transactions");
    cluster.stop().await;
}
