//! What goes wrong between us and a real etcd: lines that stall and tear, an etcd that is frozen, killed, compacted; watches that split,
//! delay, repeat and are cancelled. The mirror comes to equal the store, and a fence closes before anything is given away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use courant_keyspace::{
    Announced, Config, Fence, Lease, LeaseConfig, Mirror, Revision, Witness, announce, announce_before,
    revoke,
};
use etcd_client::{Client, ConnectOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::etcd::Etcd;
use crate::mirror::{at_least, load, shown};
use crate::proxy::Proxy;
use crate::real::some_transactions;
use crate::support::{Text, in_time, put_all, read_at};
use crate::unruly::Unruly;

const TTL: Duration = Duration::from_secs(3);

/// A client whose connections are given up soon.
async fn through(proxy: &Proxy) -> Client {
    let options = ConnectOptions::new()
        .with_connect_timeout(Duration::from_secs(1))
        .with_keep_alive(Duration::from_secs(6), Duration::from_secs(2));
    Client::connect([proxy.url()], Some(options)).await.expect("a client")
}

fn hasty() -> Config {
    Config { request_timeout: Duration::from_secs(2), ..Config::default() }
}

async fn equals(mirror: &Mirror<String>, client: &Client, revision: Revision) {
    assert_eq!(shown(&*at_least(mirror, revision).await), read_at(client, revision).await);
}

async fn exists(client: &Client, key: &str) -> bool {
    client.kv_client().get(key, None).await.is_ok_and(|found| found.count() > 0)
}

/// A lease that is kept, with its fence standing over a key.
async fn fenced(
    client: Client,
    gate: Option<Arc<AtomicBool>>,
) -> (Lease, Fence, JoinSet<Result<(), courant_keyspace::Error>>) {
    let fence = Fence::new();
    let gate = gate.map(|gate| -> Arc<dyn Fn() -> bool + Send + Sync> {
        Arc::new(move || gate.load(Ordering::Relaxed))
    });
    let config = LeaseConfig { ttl: TTL, fence: Some(fence.clone()), gate, ..LeaseConfig::default() };
    let (lease, keeper) = Lease::establish(client.clone(), config).await.expect("a lease");
    announce(&client, "/m", "1", lease.id()).await.expect("a key");
    fence.stand(true);
    let mut keeping = JoinSet::new();
    keeping.spawn(keeper.run(CancellationToken::new()));
    (lease, fence, keeping)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mirror_comes_to_equal_the_store_over_a_line_that_stalls_tears_and_loses_replies() {
    let Some(etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let proxy = Proxy::to(etcd.port()).await;
    let mut rng = StdRng::seed_from_u64(18);
    some_transactions(&client, &mut rng).await;
    let (mirror, mut running, _cancel) = load(through(&proxy).await, hasty()).await;
    for round in 0..12 {
        match round % 6 {
            0 => proxy.tear(),
            1 => proxy.stall(true),
            2 => proxy.delay(Duration::from_millis(rng.random_range(1..40))),
            3 => proxy.in_pieces(true),
            4 => {
                // It can neither follow nor go on where it was.
                proxy.stall(true);
                let last = some_transactions(&client, &mut rng).await;
                client.kv_client().compact(last.get(), None).await.expect("a compaction");
                proxy.tear();
            }
            _ => {}
        }
        let last = some_transactions(&client, &mut rng).await;
        sleep(Duration::from_millis(rng.random_range(0..300))).await;
        proxy.stall(false);
        proxy.delay(Duration::ZERO);
        proxy.in_pieces(false);
        equals(&mirror, &client, last).await;
    }
    assert!(running.try_join_next().is_none(), "nothing ends because of an etcd that is away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_a_real_etcd_that_splits_delays_repeats_and_is_cancelled_does_no_harm() {
    let Some(etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let (unruly, meddled) = Unruly::before_etcd(client.clone(), &etcd.url()).await;
    put_all(&client, [("/cluster/00", "1")]).await;
    let (mirror, mut running, _cancel) = load(meddled, hasty()).await;
    let mut rng = StdRng::seed_from_u64(19);
    let mut kept = Vec::new();
    unruly.does(move |response| {
        let mut told = Vec::new();
        match rng.random_range(0..10) {
            // Held back, and told with the next: etcd delays what it tells, and keeps its order.
            0 => {
                kept.push(response);
                return told;
            }
            1 => told.extend([response.clone(), response]),
            2 | 3 => {
                for event in response.events.clone() {
                    let mut part = response.clone();
                    part.events = vec![event];
                    told.push(part);
                }
            }
            4 => {
                told.push(response.clone());
                let mut cancelled = response;
                cancelled.canceled = true;
                cancelled.events.clear();
                cancelled.cancel_reason = "the test says so".to_owned();
                told.push(cancelled);
            }
            _ => told.push(response),
        }
        kept.append(&mut told);
        std::mem::take(&mut kept)
    });
    let mut rng = StdRng::seed_from_u64(20);
    for _ in 0..6 {
        let last = some_transactions(&client, &mut rng).await;
        let expected = read_at(&client, last).await;
        in_time("the mirror to equal the store", async {
            while shown(&*at_least(&mirror, last).await) != expected {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    assert!(running.try_join_next().is_none());
}

/// No etcd tells out of order. What is told behind the end of a watch is told to nobody, and no later event need give that away.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_watch_tells_too_late_is_read_again_within_seconds() {
    let Some(etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let (unruly, meddled) = Unruly::before_etcd(client.clone(), &etcd.url()).await;
    put_all(&client, [("/cluster/00", "1")]).await;
    let (mirror, mut running, _cancel) = load(meddled, hasty()).await;
    for ends in [false, true] {
        let mut late = None;
        let mut done = false;
        unruly.does(move |response| {
            if done {
                return vec![response];
            }
            // The first response is told behind the second, and if the watch ends with that, never.
            let Some(late) = late.take() else {
                late = Some(response);
                return Vec::new();
            };
            done = true;
            let mut told = vec![response.clone(), late];
            if ends {
                let mut cancelled = response;
                (cancelled.canceled, cancelled.cancel_reason) = (true, "the test says so".to_owned());
                cancelled.events.clear();
                told.insert(1, cancelled);
            }
            told
        });
        let name = format!("/cluster/{ends}");
        put_all(&client, [(name.as_str(), "late")]).await;
        // The two are told apart.
        sleep(Duration::from_millis(200)).await;
        let last = put_all(&client, [("/cluster/00", "2")]).await;
        let expected = read_at(&client, last).await;
        let begin = Instant::now();
        in_time("the mirror to equal the store", async {
            while shown(&*at_least(&mirror, last).await) != expected {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}, ends: {ends}", begin.elapsed());
    }
    assert!(running.try_join_next().is_none());
}

/// Its revisions have passed those of the store before it, so that neither they nor the cluster's id tell.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_was_wiped_and_has_come_further_is_not_followed() {
    let Some(mut etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let (witness, cluster_id) = Witness::establish(&client, "/witness", "first").await.expect("a witness");
    let again = Witness::establish(&client, "/witness", "second").await.expect("a witness");
    assert_eq!(again, (witness.clone(), cluster_id));
    put_all(&client, [("/cluster/kept", "1")]).await;
    let config = Config { witness: Some(witness.clone()), ..hasty() };
    let (mirror, mut running, _cancel) = load(client.clone(), config).await;
    let cluster = mirror.snapshot().header().cluster_id;
    etcd.kill();
    etcd.wipe();
    etcd.resume();
    let fresh = etcd.client().await;
    let mut rng = StdRng::seed_from_u64(6);
    while some_transactions(&fresh, &mut rng).await < mirror.snapshot().read_through().next() {}
    let ended = in_time("the end of the feed", running.join_next()).await.expect("a feed");
    let error = ended.expect("no panic").expect_err("another store");
    assert!(error.is_exchanged(), "{error}");
    assert!(mirror.snapshot().get("/cluster/kept").is_some(), "the last picture stays");
    let other = Config { witness: Some(witness.clone()), ..hasty() };
    let unread = Mirror::load(fresh.clone(), "/cluster/", Text, other).await.map(|_| ());
    assert!(unread.expect_err("another store").is_exchanged(), "it is not even begun to be followed");
    let found = load(fresh.clone(), hasty()).await.0.snapshot().header().cluster_id;
    assert_eq!(found, cluster, "an etcd that was wiped is of the same cluster by its id");
    let config = LeaseConfig { ttl: TTL, ..LeaseConfig::default() };
    let (lease, _keeper) = Lease::establish(fresh.clone(), config).await.expect("a lease");
    let announced = announce_before(&fresh, Some(&witness), "/m", "1", lease.id()).await;
    assert!(announced.expect_err("another store").is_exchanged());
    assert!(!exists(&fresh, "/m").await);
}

/// It carries the witness, and its revisions have passed those that were seen: one key that is older than it was tells.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_was_restored_from_a_copy_and_has_come_further_is_not_followed() {
    let Some(mut etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let (witness, _) = Witness::establish(&client, "/witness", "first").await.expect("a witness");
    put_all(&client, [("/cluster/kept", "1")]).await;
    etcd.kill();
    etcd.copy(false);
    etcd.resume();
    let client = etcd.client().await;
    let config = Config { witness: Some(witness), ..hasty() };
    let (mirror, mut running, _cancel) = load(client.clone(), config).await;
    let last = put_all(&client, [("/cluster/kept", "2")]).await;
    equals(&mirror, &client, last).await;
    etcd.kill();
    etcd.copy(true);
    etcd.resume();
    let restored = etcd.client().await;
    let further = mirror.snapshot().read_through().next();
    while put_all(&restored, [("/elsewhere", "1")]).await <= further {}
    let ended = in_time("the end of the feed", running.join_next()).await.expect("a feed");
    let error = ended.expect("no panic").expect_err("another history");
    assert!(error.is_exchanged() && error.to_string().contains("a key went back"), "{error}");
    assert_eq!(mirror.snapshot().get("/cluster/kept").map(|entry| entry.value.as_str()), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_closes_before_etcd_gives_the_key_away() {
    let Some(etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let well = Arc::new(AtomicBool::new(true));
    let (_lease, fence, mut keeping) = Box::pin(fenced(client.clone(), Some(Arc::clone(&well)))).await;
    sleep(2 * TTL).await;
    assert!(fence.is_held() && exists(&client, "/m").await);
    well.store(false, Ordering::Relaxed);
    in_time("the key's end", async {
        loop {
            let held_before = fence.is_held();
            if !exists(&client, "/m").await {
                assert!(!held_before, "the key went while it was relied on");
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    well.store(true, Ordering::Relaxed);
    in_time("the loss", keeping.join_next())
        .await
        .expect("a keeper")
        .expect("no panic")
        .expect_err("it is gone");
    assert_eq!(fence.deadline(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_is_frozen_fences_by_our_own_clock_and_all_goes_on_after() {
    let Some(etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let (mirror, mut running, _cancel) = load(client.clone(), hasty()).await;
    let (lease, fence, mut keeping) = Box::pin(fenced(client.clone(), None)).await;
    sleep(TTL).await;
    assert!(fence.is_held());
    etcd.freeze(true);
    let frozen = Instant::now();
    in_time("the fence", async {
        while fence.is_held() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(frozen.elapsed() < TTL, "{:?}", frozen.elapsed());
    sleep(2 * TTL).await;
    assert!(!fence.is_held() && keeping.try_join_next().is_none(), "fenced, and nothing has ended");
    etcd.freeze(false);
    // What the keeper finds is etcd's to say: mostly it has let the lease run out while it was frozen.
    let ended = timeout(Duration::from_secs(10), keeping.join_next()).await;
    let again = match ended {
        Err(_) => lease.id(),
        Ok(ended) => {
            ended.expect("a keeper").expect("no panic").expect_err("the lease is gone");
            let (lease, fence, keeping) = Box::pin(fenced(client.clone(), None)).await;
            assert!(fence.is_held());
            drop(keeping);
            lease.id()
        }
    };
    let found = announce(&client, "/m", "1", again).await.expect("an answer");
    assert!(matches!(found, Announced::Kept { .. }), "{found:?}");
    let last = some_transactions(&client, &mut StdRng::seed_from_u64(3)).await;
    equals(&mirror, &client, last).await;
    assert!(running.try_join_next().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_is_killed_and_comes_back_keeps_the_lease_and_the_fence_opens_again() {
    let Some(mut etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let (mirror, mut running, _cancel) = load(client.clone(), hasty()).await;
    let (lease, fence, mut keeping) = Box::pin(fenced(client.clone(), None)).await;
    etcd.kill();
    sleep(2 * TTL).await;
    assert!(!fence.is_held() && keeping.try_join_next().is_none());
    etcd.resume();
    let back = etcd.client().await;
    let returned = Instant::now();
    in_time("the fence to open", async {
        while !fence.is_held() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(returned.elapsed() < Duration::from_secs(10), "{:?}", returned.elapsed());
    assert!(exists(&back, "/m").await, "nobody's lease runs out while all of etcd is away");
    let last = some_transactions(&back, &mut StdRng::seed_from_u64(4)).await;
    equals(&mirror, &back, last).await;
    assert!(running.try_join_next().is_none());
    revoke(&back, lease.id()).await.expect("a revocation");
    in_time("the loss", keeping.join_next())
        .await
        .expect("a keeper")
        .expect("no panic")
        .expect_err("it is gone");
    assert!(!fence.is_held());
}

/// A reply that never comes says nothing about what was done: asking again finds out, and does it once.
#[tokio::test(flavor = "multi_thread")]
async fn announcing_over_a_line_that_tears_makes_one_key_that_is_ours() {
    let Some(etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let proxy = Proxy::to(etcd.port()).await;
    let torn = through(&proxy).await;
    let config = LeaseConfig { ttl: Duration::from_secs(30), ..LeaseConfig::default() };
    let (lease, _keeper) = Lease::establish(client.clone(), config).await.expect("a lease");
    let mut rng = StdRng::seed_from_u64(5);
    for round in 0..20 {
        let key = format!("/m/{round}");
        proxy.delay(Duration::from_millis(3));
        let mut first = true;
        let announced = in_time("an announcement", async {
            loop {
                let asked = announce(&torn, &key, "1", lease.id());
                let tearing = async {
                    sleep(Duration::from_millis(rng.random_range(0..12))).await;
                    if std::mem::take(&mut first) {
                        proxy.tear();
                    }
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    answer = timeout(Duration::from_secs(2), asked) => if let Ok(Ok(announced)) = answer { break announced },
                    () = tearing => {}
                }
            }
        })
        .await;
        assert!(matches!(announced, Announced::Created { .. } | Announced::Kept { .. }), "{announced:?}");
        let found = client.kv_client().get(key, None).await.expect("a read");
        assert_eq!((found.kvs()[0].version(), found.kvs()[0].lease()), (1, lease.id()));
    }
}
