//! The same promises against a real etcd, which is killed in between.

use std::time::Duration;

use courant_keyspace::{Announced, Config, Error, Lease, LeaseConfig, Mirror, Revision, announce};
use etcd_client::{Client, TxnOp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::etcd::Etcd;
use crate::mirror::{at_least, load, shown};
use crate::support::{in_time, put_all, read_at, transact};

pub(crate) async fn some_transactions(client: &Client, rng: &mut StdRng) -> Revision {
    let mut last = Revision::ZERO;
    for _ in 0..100 {
        let first: u8 = rng.random_range(0..30);
        let operations = (first..first + rng.random_range(1..4)).map(|key| {
            let place = if rng.random_bool(0.2) { "/elsewhere" } else { "/cluster" };
            let key = format!("{place}/{key:02}");
            let value: u32 = rng.random();
            if rng.random_bool(0.3) {
                TxnOp::delete(key, None)
            } else {
                TxnOp::put(key, value.to_string(), None)
            }
        });
        last = transact(client, operations.collect()).await;
    }
    last
}

#[tokio::test]
async fn the_mirror_follows_a_real_etcd_across_kill_and_compaction() {
    let Some(mut etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let mut rng = StdRng::seed_from_u64(14);
    some_transactions(&client, &mut rng).await;
    let (mirror, _running, _cancel) = load(client.clone(), Config::default()).await;
    for _ in 0..3 {
        let last = some_transactions(&client, &mut rng).await;
        assert_eq!(shown(&*at_least(&mirror, last).await), read_at(&client, last).await);
    }
    let elsewhere = put_all(&client, [("/elsewhere", "1")]).await;
    let snapshot = at_least(&mirror, elsewhere).await;
    assert!(snapshot.revision() < elsewhere && snapshot.read_through() >= elsewhere);

    etcd.kill();
    tokio::time::sleep(Duration::from_millis(500)).await;
    etcd.resume();
    let client = etcd.client().await;
    let last = some_transactions(&client, &mut rng).await;
    assert_eq!(shown(&*at_least(&mirror, last).await), read_at(&client, last).await);

    // A mirror that begins before the compaction has to read again.
    let config = Config { load_at: Some(last), ..Config::default() };
    let (late, feed) =
        Mirror::load(client.clone(), crate::support::PREFIX, crate::support::Text, config).await.unwrap();
    let last = some_transactions(&client, &mut rng).await;
    client.kv_client().compact(last.get(), None).await.unwrap();
    let mut running = JoinSet::new();
    running.spawn(feed.run(CancellationToken::new()));
    for mirror in [&mirror, &late] {
        assert_eq!(shown(&*at_least(mirror, last).await), read_at(&client, last).await);
    }
}

#[tokio::test]
async fn a_lease_of_a_real_etcd_is_taken_up_kept_and_lost() {
    let Some(etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let config = LeaseConfig { ttl: Duration::from_secs(2), ..LeaseConfig::default() };
    let (first, _) = Lease::establish(client.clone(), config.clone()).await.unwrap();
    announce(&client, "/m", "1", first.id()).await.unwrap();

    let config = LeaseConfig { adopt: Some(first.id()), ..config };
    let (lease, keeper) = Lease::establish(client.clone(), config.clone()).await.unwrap();
    assert!(lease.is_adopted());
    let again = announce(&client, "/m", "1", lease.id()).await.unwrap();
    assert!(matches!(again, Announced::Kept { .. }), "{again:?}");
    let mut running = JoinSet::new();
    running.spawn(keeper.run(CancellationToken::new()));
    tokio::time::sleep(2 * lease.ttl()).await;
    assert!(lease.deadline().is_some());
    assert_eq!(client.kv_client().get("/m", None).await.unwrap().count(), 1);

    lease.revoke().await.unwrap();
    lease.revoke().await.expect("what is gone already is no failure");
    let error = in_time("the loss", running.join_next()).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, Error::LeaseLost { .. }), "{error}");
    let (second, _) = Lease::establish(client, config).await.unwrap();
    assert!(!second.is_adopted() && second.id() != lease.id());
}
