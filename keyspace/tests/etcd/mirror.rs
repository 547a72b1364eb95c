//! The mirror against a registry that writes, compacts, stops, comes back, and is exchanged for another.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Line, PREFIX, Server, Text, in_time, put_all, read_at, transact};
use courant_keyspace::{Config, Error, Feed, Mirror, Revision, Snapshot, Trouble};
use courant_registry::Config as RegistryConfig;
use etcd_client::{Client, TxnOp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) type Running = JoinSet<Result<(), Error>>;

fn run(feed: Feed<Text>) -> (Running, CancellationToken) {
    let (mut running, cancel) = (JoinSet::new(), CancellationToken::new());
    running.spawn(feed.run(cancel.clone()));
    (running, cancel)
}

pub(crate) async fn load(client: Client, config: Config) -> (Mirror<String>, Running, CancellationToken) {
    let (mirror, feed) = Mirror::load(client, PREFIX, Text, config).await.expect("a first load");
    let (running, cancel) = run(feed);
    (mirror, running, cancel)
}

pub(crate) fn shown(snapshot: &Snapshot<String>) -> Vec<(String, String, i64)> {
    let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    snapshot
        .all()
        .iter()
        .map(|entry| (text(&entry.key), entry.value.clone(), entry.mod_revision.get()))
        .collect()
}

fn keys(snapshot: &Snapshot<String>) -> Vec<String> {
    shown(snapshot).into_iter().map(|(key, ..)| key).collect()
}

pub(crate) async fn at_least(mirror: &Mirror<String>, revision: Revision) -> Arc<Snapshot<String>> {
    in_time("waiting for a revision", mirror.at_least(revision)).await.expect("a running feed")
}

#[tokio::test(start_paused = true)]
async fn loads_a_past_revision_and_the_watch_brings_the_rest() {
    let server = Server::start(RegistryConfig::default());
    let client = server.client().await;
    let past = put_all(&client, [("/cluster/a", "1"), ("/cluster/b", "bad"), ("/cluster2/x", "1")]).await;
    put_all(&client, [("/cluster/a", "2"), ("/cluster/c", "1"), ("/elsewhere", "1")]).await;
    let last = put_all(&client, [("/cluster/a", ""), ("/cluster/d", "1")]).await;

    let config = Config { load_at: Some(past), ..Config::default() };
    let (mirror, feed) = Mirror::load(client.clone(), PREFIX, Text, config).await.unwrap();
    let first = mirror.snapshot();
    assert_eq!(shown(&first), [("/cluster/a".to_owned(), "1".to_owned(), past.get())]);
    assert_eq!((first.revision(), first.set_aside().len()), (past, 1));
    assert_eq!(first.header().cluster_id, server.registry.cluster_id());

    let (_running, _cancel) = run(feed);
    let snapshot = at_least(&mirror, last).await;
    assert_eq!(
        (keys(&snapshot), snapshot.revision()),
        (vec!["/cluster/c".into(), "/cluster/d".into()], last)
    );
    assert_eq!(keys(&first), ["/cluster/a"], "a snapshot never changes");

    let mended = put_all(&client, [("/cluster/b", "good")]).await;
    let snapshot = at_least(&mirror, mended).await;
    assert_eq!((snapshot.get("/cluster/b").unwrap().value.as_str(), snapshot.set_aside().len()), ("good", 0));
    let broken = put_all(&client, [("/cluster/b", "bad")]).await;
    let snapshot = at_least(&mirror, broken).await;
    assert_eq!((snapshot.get("/cluster/b").unwrap().value.as_str(), snapshot.set_aside().len()), ("good", 1));
}

#[tokio::test(start_paused = true)]
async fn loads_in_pages_at_one_revision() {
    let server = Server::start(RegistryConfig::default());
    let client = server.client().await;
    for page in 0..10 {
        let puts = (0..100).map(|n| TxnOp::put(format!("/cluster/{page}/{n:02}"), "1", None)).collect();
        transact(&client, puts).await;
    }
    for page_size in [1, 7, 100, 1000, 5000] {
        let config = Config { page_size, ..Config::default() };
        let (mirror, _feed) = Mirror::load(client.clone(), PREFIX, Text, config).await.unwrap();
        assert_eq!(shown(&mirror.snapshot()), read_at(&client, mirror.snapshot().revision()).await);
        assert_eq!(mirror.snapshot().len(), 1000);
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_prefix_is_all_keys() {
    let server = Server::start(RegistryConfig::default());
    let client = server.client().await;
    put_all(&client, [("a", "1"), ("z", "1")]).await;
    let (mirror, feed) = Mirror::load(client.clone(), "", Text, Config::default()).await.unwrap();
    assert_eq!(keys(&mirror.snapshot()), ["a", "z"]);
    let (_running, _cancel) = run(feed);
    let last = put_all(&client, [("\u{7f}", "1")]).await;
    assert_eq!(at_least(&mirror, last).await.len(), 3);
}

/// At any moment the mirror is what a read at its revision finds.
#[tokio::test(start_paused = true)]
async fn equals_the_store_at_its_revision() {
    let server = Server::start(RegistryConfig::default());
    let client = server.client().await;
    let (mirror, _running, _cancel) = load(client.clone(), Config::default()).await;
    let mut rng = StdRng::seed_from_u64(8);
    for _ in 0..400 {
        let mut touched = Vec::new();
        for _ in 0..rng.random_range(1..6) {
            let key: u8 = rng.random_range(0..40);
            if !touched.contains(&key) {
                touched.push(key);
            }
        }
        let operations = touched
            .into_iter()
            .map(|key| {
                let place = if rng.random_bool(0.2) { "/elsewhere" } else { "/cluster" };
                let key = format!("{place}/{key:02}");
                let value: u32 = rng.random();
                if rng.random_bool(0.3) {
                    TxnOp::delete(key, None)
                } else {
                    TxnOp::put(key, value.to_string(), None)
                }
            })
            .collect();
        let revision = transact(&client, operations).await;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..20))).await;
        let snapshot = mirror.snapshot();
        assert_eq!(shown(&snapshot), read_at(&client, snapshot.revision()).await);
        assert_eq!(shown(&snapshot), read_at(&client, snapshot.read_through()).await);
        if rng.random_bool(0.3) {
            let snapshot = at_least(&mirror, revision).await;
            assert_eq!(shown(&snapshot), read_at(&client, revision).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_one_change_for_subscribers() {
    let server = Server::start(RegistryConfig::default());
    let client = server.client().await;
    let (mirror, _running, _cancel) = load(client.clone(), Config::default()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut news = mirror.subscribe();
    assert!(!news.has_changed().unwrap(), "only what comes from now on is news");
    let mut last = Revision::ZERO;
    for n in 0..50 {
        last = put_all(&client, [("/cluster/a", n.to_string().as_str())]).await;
    }
    let mut seen = 0;
    while mirror.snapshot().revision() < last {
        in_time("news", news.changed()).await.unwrap();
        news.mark_unchanged();
        seen += 1;
    }
    assert!((1..10).contains(&seen), "{seen} changes for 50 puts");
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_touched_nothing_here_is_not_waited_for() {
    let server = Server::start(RegistryConfig::default());
    let client = server.client().await;
    let here = put_all(&client, [("/cluster/a", "1"), ("/cluster/b", "bad")]).await;
    let (mirror, _running, _cancel) = load(client.clone(), Config::default()).await;
    for _ in 0..3 {
        let elsewhere = put_all(&client, [("/elsewhere", "1")]).await;
        let started = tokio::time::Instant::now();
        let snapshot = at_least(&mirror, elsewhere).await;
        assert!(started.elapsed() < Duration::from_secs(2), "it took {:?}", started.elapsed());
        assert_eq!((snapshot.revision(), snapshot.read_through()), (here, elsewhere));
    }
    let deleted = put_all(&client, [("/cluster/a", "")]).await;
    let snapshot = at_least(&mirror, deleted).await;
    assert_eq!((snapshot.revision(), keys(&snapshot)), (deleted, vec![]));
}

#[tokio::test(start_paused = true)]
async fn progress_notifications_move_read_through() {
    let every_second =
        RegistryConfig { progress_interval: Duration::from_secs(1), ..RegistryConfig::default() };
    let server = Server::start(every_second);
    let client = server.client().await;
    let here = put_all(&client, [("/cluster/a", "1")]).await;
    let never_asks = Config { probe_after: Duration::from_secs(3600), ..Config::default() };
    let (mirror, _running, _cancel) = load(client.clone(), never_asks).await;
    let elsewhere = put_all(&client, [("/elsewhere", "1")]).await;
    let snapshot = at_least(&mirror, elsewhere).await;
    assert_eq!((snapshot.revision(), snapshot.read_through()), (here, elsewhere));
}

#[tokio::test(start_paused = true)]
async fn what_was_compacted_away_is_read_again() {
    let server = Server::start(RegistryConfig::default());
    let client = server.client().await;
    let past = put_all(&client, [("/cluster/a", "1"), ("/cluster/b", "1")]).await;
    let config = Config { load_at: Some(past), ..Config::default() };
    let (mirror, feed) = Mirror::load(client.clone(), PREFIX, Text, config).await.unwrap();
    put_all(&client, [("/cluster/a", ""), ("/cluster/c", "1")]).await;
    let last = put_all(&client, [("/cluster/c", "2")]).await;
    client.kv_client().compact(last.get(), None).await.unwrap();

    let (_running, _cancel) = run(feed);
    let snapshot = at_least(&mirror, last).await;
    assert_eq!(shown(&snapshot), read_at(&client, last).await);
    assert_eq!(keys(&snapshot), ["/cluster/b", "/cluster/c"]);
    let after = put_all(&client, [("/cluster/d", "1")]).await;
    assert_eq!(at_least(&mirror, after).await.len(), 3, "and followed from there");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_out() {
    let mut server = Server::start(RegistryConfig::default());
    let line = Line::to(&server);
    let (mirror, mut running, _cancel) = load(line.client().await, Config::default()).await;
    let client = server.client().await;
    let before = put_all(&client, [("/cluster/a", "1")]).await;
    at_least(&mirror, before).await;
    assert!(mirror.interruption().is_none());

    line.cut(true);
    server.stop().await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    let interruption = mirror.interruption().expect("an interruption");
    assert!(interruption.since.elapsed() > Duration::from_secs(290), "{interruption:?}");
    assert!(interruption.reason.contains("watching \"/cluster/\" from revision"), "{interruption:?}");
    assert_eq!(keys(&mirror.snapshot()), ["/cluster/a"], "the last picture stays");
    server.resume().await;
    let missed = put_all(&client, [("/cluster/b", "1")]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(mirror.snapshot().revision() < missed);

    line.cut(false);
    let back = tokio::time::Instant::now();
    assert_eq!(at_least(&mirror, missed).await.len(), 2);
    assert!(back.elapsed() < Duration::from_secs(10), "it took {:?}", back.elapsed());
    assert!(mirror.interruption().is_none());
    assert!(running.try_join_next().is_none(), "the feed goes on");
}

/// What a feed ends with when the line leads to `other` after a mirror followed `first`.
async fn exchange(first: Server, other: Server) -> Error {
    let line = Line::to(&first);
    let client = first.client().await;
    let last = put_all(&client, [("/cluster/a", "1")]).await;
    let (mirror, mut running, _cancel) = load(line.client().await, Config::default()).await;
    at_least(&mirror, last).await;
    line.lead_to(&other);
    let mut first = first;
    first.stop().await;
    in_time("the end of the feed", running.join_next()).await.unwrap().unwrap().unwrap_err()
}

fn named(seed: u64) -> Server {
    Server::start(RegistryConfig { seed, ..RegistryConfig::default() })
}

#[tokio::test(start_paused = true)]
async fn another_cluster_is_not_followed() {
    let (first, other) = (named(1), named(2));
    let (expected, got) = (first.registry.cluster_id(), other.registry.cluster_id());
    let Error::Mirror { prefix, trouble } = exchange(first, other).await else { panic!("another error") };
    assert_eq!((prefix.as_str(), trouble), (PREFIX, Trouble::ClusterMismatch { expected, got }));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_wiped_is_not_followed() {
    let error = exchange(named(1), named(1)).await;
    assert!(matches!(error, Error::Mirror { trouble: Trouble::RevisionMismatch { .. }, .. }), "{error}");
    assert!(error.to_string().contains("etcd Revision mismatch (expected >= 2, got 1)"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_on_a_feed_that_ended_is_told() {
    let server = Server::start(RegistryConfig::default());
    let (mirror, mut running, cancel) = load(server.client().await, Config::default()).await;
    let reached = mirror.snapshot().read_through();
    let wanted = Revision::new(1000);
    let (outcome, ()) = tokio::join!(mirror.at_least(wanted), async { cancel.cancel() });
    assert!(running.join_next().await.unwrap().unwrap().is_ok());
    assert_eq!(
        outcome.unwrap_err().to_string(),
        format!("waiting for etcd revision 1000: the mirror has stopped at {reached}")
    );
    assert!(mirror.at_least(reached).await.is_ok(), "what is here is still answered");
}

#[tokio::test(start_paused = true)]
async fn a_first_load_that_fails_says_why() {
    let server = Server::start(RegistryConfig::default());
    let line = Line::to(&server);
    let client = line.client().await;
    line.cut(true);
    let error = Mirror::load(client.clone(), PREFIX, Text, Config::default()).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().starts_with("loading \"/cluster/\": "), "{error}");
    line.cut(false);
    line.delay(Duration::from_secs(60));
    let error = Mirror::load(client, PREFIX, Text, Config::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "loading \"/cluster/\": no answer from etcd within 10s");
}
