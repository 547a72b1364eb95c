//! A member that announces itself, restarts, and loses its lease.

use courant_keyspace::LeaseState;

use super::*;
use crate::journal_space::fixture::*;

fn joining(adopt: Option<i64>) -> Join {
    let lease = LeaseConfig { ttl: Duration::from_secs(6), adopt, gate: None, seed: 5 };
    Join { root: root(), spec: broker(&me()), lease }
}

async fn join(cluster: &Cluster, adopt: Option<i64>) -> Result<(Member, MemberTask), MemberError> {
    Box::pin(Member::join(cluster.etcd().clone(), joining(adopt))).await
}

#[tokio::test]
async fn takes_a_place_and_leaves_it() {
    let cluster = Cluster::start().await;
    let (member, _task) = join(&cluster, None).await.expect("a place");
    let space = cluster.mirror.at_least(member.joined()).await.expect("a running mirror");
    let (entry, spec) = space.member_entry(&me()).expect("our key");
    assert_eq!((entry.lease, &**spec), (member.lease_id(), &broker(&me())));
    member.leave().await.expect("a revocation");
    cluster.until("the end", |space| space.member(&me()).is_none()).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_restarted_process_takes_its_own_place_at_once() {
    let cluster = Cluster::start().await;
    let (first, _) = join(&cluster, None).await.expect("a place");
    let exiting = BrokerSpec { exiting: true, ..broker(&me()) };
    let revision = Revision::new(first.joined());
    courant_keyspace::update(cluster.etcd(), root().member(&me()), exiting.encode(), revision)
        .await
        .expect("an update");
    let key = root().assignment(&name("the/one"), &me(), 0);
    let options = etcd_client::PutOptions::new().with_lease(first.lease_id());
    cluster.etcd().kv_client().put(key, "", Some(options)).await.expect("a put");

    let (second, _) = join(&cluster, Some(first.lease_id())).await.expect("the same place");
    assert_eq!(second.lease_id(), first.lease_id());
    let space = cluster.mirror.at_least(second.joined()).await.expect("a running mirror");
    assert_eq!(space.member(&me()).map(|spec| spec.exiting), Some(false), "what it announces holds");
    assert_eq!(space.all_assignments().len(), 1, "and it has kept its journals");
    cluster.stop().await;
}

#[tokio::test]
async fn a_lease_that_is_gone_is_replaced() {
    let cluster = Cluster::start().await;
    let (first, _) = join(&cluster, None).await.expect("a place");
    first.leave().await.expect("a revocation");
    let (second, _) = join(&cluster, Some(first.lease_id())).await.expect("a new place");
    assert_ne!(second.lease_id(), first.lease_id());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_place_of_a_dead_process_is_waited_for() {
    let cluster = Cluster::start().await;
    let (dead, _) = join(&cluster, None).await.expect("a place");
    let began = Instant::now();
    let (second, _) = join(&cluster, None).await.expect("the place, in the end");
    assert_ne!(second.lease_id(), dead.lease_id());
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_live_process_is_refused() {
    let mut cluster = Cluster::start().await;
    let (first, task) = join(&cluster, None).await.expect("a place");
    cluster.mirror.at_least(first.joined()).await.expect("a running mirror");
    let (mirror, cancel) = (cluster.mirror.clone(), cluster.cancel.clone());
    cluster.tasks.spawn(async move { task.run(mirror, cancel).await.expect("a place that is kept") });
    let refused = join(&cluster, None).await.expect_err("the place is taken");
    let MemberError::Taken { id, lease } = refused else { panic!("{refused}") };
    assert_eq!((id, lease), (me(), first.lease_id()));
    let leases = cluster.etcd().lease_client().leases().await.expect("an answer");
    assert_eq!(leases.leases().len(), 1, "it leaves no lease behind");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn tells_a_lost_lease_from_a_key_that_is_gone() {
    let cluster = Cluster::start().await;
    let (member, task) = join(&cluster, None).await.expect("a place");
    cluster.mirror.at_least(member.joined()).await.expect("a running mirror");
    cluster.delete(root().member(&me())).await;
    let lost = task.run(cluster.mirror.clone(), CancellationToken::new()).await.expect_err("the key is gone");
    assert!(lost.to_string().starts_with("member key not found in Etcd"), "{lost}");

    let (member, task) = join(&cluster, None).await.expect("a place");
    let MemberTask { keeper, .. } = task;
    member.lease().revoke().await.expect("a revocation");
    let lost = MemberError::from(keeper.run(CancellationToken::new()).await.expect_err("the lease is gone"));
    assert!(lost.to_string().ends_with("unable to keep member lease alive"), "{lost}");
    assert_eq!(*member.lease().subscribe().borrow(), LeaseState::Lost);
    cluster.stop().await;
}
