//! The same promises against a real etcd, which is killed in between. `COURANT_TEST_ETCD` says which one;
//! `COURANT_SKIP_ETCD=1` leaves these out.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use courant_keyspace::{Announced, Config, Error, Lease, LeaseConfig, Mirror, Revision, announce};
use etcd_client::{Client, TxnOp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::mirror::{at_least, load, shown};
use crate::support::{in_time, put_all, read_at, transact};

struct Etcd {
    folder: tempfile::TempDir,
    client_port: u16,
    peer_port: u16,
    child: Option<Child>,
}

impl Etcd {
    /// `None` if the caller does not want a real one.
    fn start() -> Option<Self> {
        if std::env::var_os("COURANT_SKIP_ETCD").is_some_and(|skip| skip == "1") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut etcd = Self { folder, client_port: free_port(), peer_port: free_port(), child: None };
        etcd.resume();
        Some(etcd)
    }

    fn resume(&mut self) {
        let program = std::env::var_os("COURANT_TEST_ETCD").unwrap_or_else(|| "etcd".into());
        let (client, peer) = (self.url(), format!("http://127.0.0.1:{}", self.peer_port));
        let child = Command::new(&program)
            .arg("--data-dir")
            .arg(self.folder.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| {
            panic!(
                "{program:?}: {error}: install etcd, or set COURANT_TEST_ETCD to its path or COURANT_SKIP_ETCD=1"
            )
        }));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child that can be killed");
            child.wait().expect("a child that ends");
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// A client of an etcd that answers.
    async fn client(&self) -> Client {
        let ready = async {
            loop {
                if let Ok(client) = Client::connect([self.url()], None).await
                    && client.kv_client().get("ready", None).await.is_ok()
                {
                    return client;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        in_time("etcd's start", Box::pin(ready)).await
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

#[expect(clippy::disallowed_methods, reason = "etcd has to be told a port, so one is taken and let go")]
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn some_transactions(client: &Client, rng: &mut StdRng) -> Revision {
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
