//! Brokers that make themselves known, and report each other.

use courant_keyspace::LeaseConfig;

use super::*;
use crate::journal_space::fixture::*;
use crate::member::Join;
use crate::member::tests::{caught_up, witness};

const PACE: Pace = Pace {
    every: Duration::from_secs(1),
    answer: Duration::from_secs(2),
    silence: Duration::from_secs(4),
    calm: (Duration::from_secs(1), Duration::from_secs(5)),
    settle: Duration::from_secs(1),
    settle_most: Duration::from_secs(2),
};

/// No test takes so long.
const LATER: Duration = Duration::from_secs(100_000);

/// A member of a cluster, with its peers.
struct One {
    member: Member,
    peers: Peers,
    ended: JoinSet<Result<(), MemberError>>,
}

impl One {
    async fn start(cluster: &mut Cluster, who: &ProcessId, adopt: Option<i64>, seed: u64) -> Self {
        let lease = LeaseConfig { ttl: Duration::from_secs(6), adopt, seed, ..LeaseConfig::default() };
        let witness = witness(cluster).await;
        let join = Join { root: root(), spec: broker(who), lease, witness: witness.clone() };
        let (member, task) = Box::pin(Member::join(cluster.etcd().clone(), join)).await.expect("a place");
        let (mirror, cancel) = (cluster.mirror.clone(), cluster.cancel.clone());
        let (_, caught_up) = caught_up(cluster);
        cluster
            .tasks
            .spawn(async move { task.run(mirror, caught_up, cancel).await.expect("a place that is kept") });
        cluster.mirror.at_least(member.joined()).await.expect("a running mirror");
        let introduction = Introduction {
            etcd: cluster.etcd().clone(),
            root: root(),
            me: who.clone(),
            member: member.clone(),
            space: cluster.mirror.clone(),
            pace: PACE,
            witness,
            seed,
        };
        let (peers, task) = Box::pin(Peers::load(introduction)).await.expect("a registry that answers");
        // Nobody listens where these say that they are. All is as if everybody had answered.
        peers.found(Found { trusted: Some(Instant::now() + LATER), ..Found::default() });
        let mut ended = JoinSet::new();
        ended.spawn(task.run(cluster.cancel.clone()));
        Self { member, peers, ended }
    }

    async fn until(&self, what: &str, wanted: impl Fn(&View) -> bool) {
        let mut changed = self.peers.changed();
        let reached =
            tokio::time::timeout(Duration::from_secs(120), changed.wait_for(|view| wanted(view))).await;
        assert!(matches!(reached, Ok(Ok(_))), "never {what}: {:?}", self.peers.view());
    }

    async fn until_suspects(&self, expected: &[(&ProcessId, &ProcessId)]) {
        let expected: BTreeSet<Suspicion> = expected
            .iter()
            .map(|(suspect, by)| Suspicion { suspect: (*suspect).clone(), by: (*by).clone() })
            .collect();
        self.until(&format!("{expected:?}"), |view| view.suspected == expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn brokers_of_this_kind_know_each_other_while_they_live() {
    let mut cluster = Cluster::start().await;
    let (a, b, stranger) = (id("zone-a/self"), id("zone-b/other"), id("zone-c/stranger"));
    let one = One::start(&mut cluster, &a, None, 1).await;
    assert!(one.peers.is_courant(&a), "itself, whatever the registry says yet");
    assert!(!one.peers.is_courant(&b));
    let other = One::start(&mut cluster, &b, None, 2).await;
    one.until("both", |view| view.courant.len() == 2).await;
    assert!(one.peers.is_courant(&a) && one.peers.is_courant(&b));
    cluster.put_member(&broker(&stranger)).await;
    assert!(!one.peers.is_courant(&stranger), "a member of another kind");

    courant_keyspace::revoke(cluster.etcd(), other.member.lease_id()).await.expect("a revocation");
    one.until("without the other", |view| !view.courant.contains_key(&b)).await;
    one.until("the other again, under its new lease", |view| view.courant.contains_key(&b)).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_suspicion_is_told_taken_back_and_forgotten_in_time() {
    let mut cluster = Cluster::start().await;
    let (a, b, c) = (id("zone-a/self"), id("zone-b/other"), id("zone-c/third"));
    let one = One::start(&mut cluster, &a, None, 1).await;
    let other = One::start(&mut cluster, &b, None, 2).await;
    cluster.put_member(&broker(&c)).await;

    one.peers.suspect(&a);
    one.peers.suspect(&c);
    other.peers.suspect(&c);
    for peers in [&one, &other] {
        peers.until_suspects(&[(&c, &a), (&c, &b)]).await;
    }
    one.peers.clear(&c);
    one.peers.clear(&c);
    other.until_suspects(&[(&c, &b)]).await;
    let began = Instant::now();
    other.until_suspects(&[]).await;
    assert!(began.elapsed() > Duration::from_secs(50), "{:?}", began.elapsed());

    one.peers.suspect(&c);
    other.until_suspects(&[(&c, &a)]).await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    one.peers.suspect(&c);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(other.peers.view().suspected.len(), 1, "it was repeated");
    // Whoever comes back after it has gone is another, of whom nothing is known.
    cluster.delete(root().member(&c)).await;
    other.until_suspects(&[]).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_suspicion_goes_with_its_reporter_and_comes_back_with_it() {
    let mut cluster = Cluster::start().await;
    let (a, b) = (id("zone-a/self"), id("zone-b/other"));
    let one = One::start(&mut cluster, &a, None, 1).await;
    let other = One::start(&mut cluster, &b, None, 2).await;
    one.peers.suspect(&b);
    other.until_suspects(&[(&b, &a)]).await;
    courant_keyspace::revoke(cluster.etcd(), one.member.lease_id()).await.expect("a revocation");
    other.until_suspects(&[]).await;
    other.until_suspects(&[(&b, &a)]).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_removed_by_hand_are_put_again() {
    let mut cluster = Cluster::start().await;
    let a = id("zone-a/self");
    let one = One::start(&mut cluster, &a, None, 1).await;
    one.until("itself", |view| view.courant.contains_key(&a)).await;
    cluster
        .etcd()
        .kv_client()
        .delete("/courant-x/courant/cluster/members/zone-a#self", None)
        .await
        .expect("a delete");
    one.until("gone", |view| view.courant.is_empty()).await;
    one.until("itself again", |view| view.courant.contains_key(&a)).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_the_data_folder_cannot_share_the_place() {
    let mut cluster = Cluster::start().await;
    let a = id("zone-a/self");
    let mut first = One::start(&mut cluster, &a, None, 1).await;
    first.until("itself", |view| view.courant.contains_key(&a)).await;
    let mut second = One::start(&mut cluster, &a, Some(first.member.lease_id()), 2).await;
    assert_eq!(second.member.lease_id(), first.member.lease_id());
    let ended = first.ended.join_next().await.expect("a task").expect("no panic");
    assert!(matches!(ended, Err(MemberError::Taken { .. })), "{ended:?}");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(second.ended.try_join_next().is_none(), "the later one goes on");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_complaint_is_told_once_most_have_answered_and_silence_at_once() {
    let mut cluster = Cluster::start().await;
    let (a, b, c) = (id("zone-a/self"), id("zone-b/other"), id("zone-c/third"));
    let one = One::start(&mut cluster, &a, None, 1).await;
    let other = One::start(&mut cluster, &b, None, 2).await;
    cluster.put_member(&broker(&c)).await;

    one.peers.found(Found::default());
    one.peers.suspect(&b);
    one.peers.found(Found { silent: [c.clone()].into(), trusted: None });
    other.until_suspects(&[(&c, &a)]).await;
    assert!(one.peers.is_silent(&c) && !one.peers.is_silent(&b));
    one.peers.found(Found { silent: [c.clone()].into(), trusted: Some(Instant::now()) });
    other.until_suspects(&[(&b, &a), (&c, &a)]).await;
    // Only who lives reads what is said of it.
    other.until("b's sign of life", |view| view.read.iter().any(|read| read.suspect == b)).await;
    assert_eq!(other.peers.view().told().values().filter(|shows_life| **shows_life).count(), 1);
    // An agreement with it says nothing of one that answers nothing.
    one.peers.clear(&b);
    one.peers.clear(&c);
    other.until_suspects(&[(&c, &a)]).await;
    // Who answers again is complained of no more, however long ago that was: agreements failed for its silence.
    one.peers.suspect(&c);
    let began = Instant::now();
    one.peers.found(Found { silent: BTreeSet::new(), trusted: Some(Instant::now()) });
    other.until_suspects(&[]).await;
    assert!(began.elapsed() < LASTS, "only once the complaint had run out");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn reports_are_passed_on_when_they_have_stayed_the_same_or_have_changed_for_long() {
    let (a, b) = (id("zone-a/self"), id("zone-b/other"));
    let suspicion =
        |suspect: &ProcessId, by: &ProcessId| Suspicion { suspect: suspect.clone(), by: by.clone() };
    let (view, told) = watch::channel(Arc::new(View::default()));
    let (settled, mut passed_on) = watch::channel(Arc::default());
    let mut settling = JoinSet::new();
    settling.spawn(settle::settle(told, settled, PACE));
    let say = |suspected: &[Suspicion]| {
        view.send_replace(Arc::new(View {
            suspected: suspected.iter().cloned().collect(),
            ..View::default()
        }));
    };
    let one = [suspicion(&a, &b)];
    let began = Instant::now();
    say(&one);
    tokio::time::sleep(Duration::from_millis(600)).await;
    say(&[suspicion(&a, &b), suspicion(&b, &a)]);
    passed_on.changed().await.expect("a task");
    assert_eq!((passed_on.borrow_and_update().len(), began.elapsed().as_millis() / 100), (2, 16));
    // One that comes and goes holds up nobody for ever.
    let began = Instant::now();
    let mut rounds = 0;
    while !passed_on.has_changed().expect("a task") {
        say(if rounds % 2 == 0 { &[] } else { &one[..] });
        rounds += 1;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert_eq!(began.elapsed().as_millis() / 400, 6, "after two seconds");
    drop(view);
    settling.join_next().await.expect("a task").expect("an end");
}
