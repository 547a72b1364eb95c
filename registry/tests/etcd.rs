//! The suites against a real etcd: what this registry promises to be is what these runs say etcd is.
//!
//! An `etcd` from `PATH`, or the one that `COURANT_TEST_ETCD` names, is started on loopback for each test and killed
//! after it. Without one the tests fail, unless `COURANT_SKIP_ETCD=1` says that this is meant.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use courant_registry::conformance::conformance;
use courant_registry::differential::differential;
use courant_registry::{Config, Registry};
use etcd_client::Client;
use tokio_util::sync::CancellationToken;

/// A running etcd, killed when dropped.
struct Etcd {
    child: Child,
    url: String,
    _data: tempfile::TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Etcd {
    /// Starts one, or says nothing if the environment allows there to be none.
    fn start() -> Option<Self> {
        let program =
            std::env::var_os("COURANT_TEST_ETCD").map_or_else(|| PathBuf::from("etcd"), PathBuf::from);
        let data = tempfile::tempdir().expect("a temporary folder");
        let (client, peer) = (free_port(), free_port());
        let (url, peer_url) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let child = Command::new(&program)
            .arg("--data-dir")
            .arg(data.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .args(["--logger", "zap", "--log-outputs", "stderr"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Some(Self { child, url, _data: data }),
            Err(_) if std::env::var_os("COURANT_SKIP_ETCD").is_some_and(|skip| skip == "1") => None,
            Err(error) => panic!(
                "cannot start {}: {error}. Install an etcd, name one with COURANT_TEST_ETCD, or set COURANT_SKIP_ETCD=1",
                program.display()
            ),
        }
    }

    async fn client(&self) -> Client {
        for _ in 0..300 {
            if let Ok(mut client) = Client::connect([&self.url], None).await
                && client.get("ready", None).await.is_ok()
            {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("etcd did not become ready within 30 s at {}", self.url);
    }
}

#[expect(clippy::disallowed_methods, reason = "asks the operating system for a port that nobody uses")]
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

#[tokio::test]
async fn etcd_conforms() {
    let Some(etcd) = Etcd::start() else { return };
    conformance(etcd.client().await, "/conformance").await;
}

#[tokio::test]
async fn the_registry_does_what_etcd_does() {
    let Some(etcd) = Etcd::start() else { return };
    let real = etcd.client().await;
    for seed in 0..12 {
        let registry = Registry::in_memory(Config { seed, ..Config::default() });
        let cancel = CancellationToken::new();
        let (outcome, ()) = tokio::join!(registry.run(cancel.clone()), async {
            let ours = registry.client().await.expect("a client");
            differential(seed, 250, ours, real.clone()).await;
            cancel.cancel();
        });
        outcome.expect("a clean end");
    }
}
