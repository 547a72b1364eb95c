//! A member that announces itself, restarts, and loses its lease.

use tokio::time::sleep;

use super::*;
use crate::core::Cores;
use crate::core::command::Command;
use crate::incarnation;
use crate::journal_space::fixture::*;

async fn joining(cluster: &Cluster, adopt: Option<i64>) -> Join {
    let lease = LeaseConfig { ttl: Duration::from_secs(6), adopt, seed: 5, ..LeaseConfig::default() };
    Join { root: root(), spec: broker(&me()), lease, witness: witness(cluster).await }
}

/// Of the cluster's registry.
pub(crate) async fn witness(cluster: &Cluster) -> Witness {
    incarnation::establish(cluster.etcd(), &root(), 7).await.expect("a registry that answers").0
}

async fn join(cluster: &Cluster, adopt: Option<i64>) -> Result<(Member, MemberTask), MemberError> {
    Box::pin(Member::join(cluster.etcd().clone(), joining(cluster, adopt).await)).await
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
    let first = keep(&mut cluster).await;
    let refused = join(&cluster, None).await.expect_err("the place is taken");
    let MemberError::Taken { id, endpoint, lease } = refused else { panic!("{refused}") };
    assert_eq!((id, &*endpoint, lease), (me(), "http://self:8080", first.lease_id()));
    let leases = cluster.etcd().lease_client().leases().await.expect("an answer");
    assert_eq!(leases.leases().len(), 1, "it leaves no lease behind");
    cluster.stop().await;
}

/// A process that has followed the registry up to what the sender says, and whose only core answers.
pub(crate) fn caught_up(cluster: &mut Cluster) -> (watch::Sender<i64>, CaughtUp) {
    let (sender, followed) = watch::channel(i64::MAX);
    let (cores, mut mailboxes) = Cores::new(1);
    let mut mailbox = mailboxes.remove(0);
    cluster.tasks.spawn(async move {
        while let Some(command) = mailbox.recv().await {
            let Command::Beat { reply } = command else { panic!("{command:?}") };
            let _ = reply.send(());
        }
    });
    (sender, CaughtUp { followed, cores })
}

/// A member whose place is kept.
async fn keep(cluster: &mut Cluster) -> Member {
    keep_with(cluster).await.0
}

async fn keep_with(cluster: &mut Cluster) -> (Member, watch::Sender<i64>) {
    let (member, task) = join(cluster, None).await.expect("a place");
    cluster.mirror.at_least(member.joined()).await.expect("a running mirror");
    let (mirror, cancel) = (cluster.mirror.clone(), cluster.cancel.clone());
    let (followed, caught_up) = caught_up(cluster);
    cluster
        .tasks
        .spawn(async move { task.run(mirror, caught_up, cancel).await.expect("a place that is kept") });
    (member, followed)
}

async fn until(member: &Member, what: &str, wanted: impl FnMut(&Standing) -> bool) -> Standing {
    let mut standing = member.standing();
    let reached = tokio::time::timeout(Duration::from_secs(60), standing.wait_for(wanted)).await;
    *reached.unwrap_or_else(|_| panic!("never {what}: {member:?}")).expect("a running task")
}

/// The key that the registry has, and its lease.
async fn key(cluster: &Cluster) -> Option<(BrokerSpec, i64)> {
    let found = cluster.etcd().kv_client().get(root().member(&me()), None).await.expect("an answer");
    found.kvs().first().map(|kv| (BrokerSpec::decode(kv.value()).expect("a spec"), kv.lease()))
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_revoked_by_hand_is_replaced_and_the_key_announced_again() {
    let mut cluster = Cluster::start().await;
    let member = keep(&mut cluster).await;
    let first = *member.standing().borrow();
    assert!(first.held && member.is_held());
    let began = Instant::now();
    courant_keyspace::revoke(cluster.etcd(), first.lease).await.expect("a revocation");
    let second = until(&member, "held under another lease", |now| now.held && now.lease != first.lease).await;
    assert!(second.joined > first.joined && member.is_held());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert_eq!(key(&cluster).await, Some((broker(&me()), second.lease)));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_lost_is_not_used_before_the_process_knows_what_went_with_it() {
    let mut cluster = Cluster::start().await;
    let (member, followed) = keep_with(&mut cluster).await;
    let first = *member.standing().borrow();
    followed.send_replace(first.joined.get());
    courant_keyspace::revoke(cluster.etcd(), first.lease).await.expect("a revocation");
    let second = until(&member, "announced again", |now| now.lease != first.lease).await;
    sleep(Duration::from_secs(60)).await;
    assert!(!member.is_held(), "it still believes to have what it had");
    followed.send_replace(second.joined.get());
    until(&member, "held", |now| now.held).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_removed_by_hand_is_announced_again_under_the_same_lease() {
    let mut cluster = Cluster::start().await;
    let member = keep(&mut cluster).await;
    let first = *member.standing().borrow();
    cluster.delete(root().member(&me())).await;
    let second = until(&member, "announced again", |now| now.held && now.joined > first.joined).await;
    assert_eq!(second.lease, first.lease);
    assert_eq!(key(&cluster).await, Some((broker(&me()), first.lease)));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_whose_place_was_given_to_a_live_one_ends() {
    let mut cluster = Cluster::start().await;
    let (_followed, caught_up) = caught_up(&mut cluster);
    let (member, task) = join(&cluster, None).await.expect("a place");
    cluster.mirror.at_least(member.joined()).await.expect("a running mirror");
    let running = task.run(cluster.mirror.clone(), caught_up, CancellationToken::new());
    let other = async {
        courant_keyspace::revoke(cluster.etcd(), member.lease_id()).await.expect("a revocation");
        let spec = BrokerSpec { journal_limit: 7, ..broker(&me()) };
        let lease = LeaseConfig { ttl: Duration::from_secs(6), ..LeaseConfig::default() };
        let (lease, keeper) = Lease::establish(cluster.etcd().clone(), lease).await.expect("a lease");
        let put = etcd_client::PutOptions::new().with_lease(lease.id());
        cluster.etcd().kv_client().put(root().member(&me()), spec.encode(), Some(put)).await.expect("a put");
        let _ = keeper.run(CancellationToken::new()).await;
        lease
    };
    let ended = tokio::select! { ended = running => ended, lease = other => panic!("{lease:?} ended") };
    let MemberError::Taken { endpoint, .. } = ended.expect_err("somebody else has it") else { panic!() };
    assert_eq!(endpoint, "http://self:8080");
    assert!(!member.is_held() && !member.standing().borrow().held);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn says_that_it_is_exiting_and_goes_on_saying_so() {
    let mut cluster = Cluster::start().await;
    let member = keep(&mut cluster).await;
    let lease = member.lease_id();
    member.begin_exit().await.expect("an update");
    let exiting = BrokerSpec { exiting: true, ..broker(&me()) };
    assert_eq!(key(&cluster).await, Some((exiting.clone(), lease)));
    assert!(member.is_held(), "it serves until others have taken over");
    courant_keyspace::revoke(cluster.etcd(), lease).await.expect("a revocation");
    let again = until(&member, "held again", |now| now.held && now.lease != lease).await;
    assert!(again.exiting);
    assert_eq!(key(&cluster).await, Some((exiting, again.lease)));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_without_a_lease_is_nobodys_and_is_told_so() {
    let cluster = Cluster::start().await;
    cluster.put_member(&broker(&me())).await;
    let refused = join(&cluster, None).await.expect_err("the key is there");
    assert!(refused.to_string().contains("/courant/cluster/members/zone-a#self"), "{refused}");
    cluster.stop().await;
}
