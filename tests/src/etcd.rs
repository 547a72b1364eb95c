//! A real etcd as a process of its own, on loopback and in a folder that it alone uses: killed, stopped, started again,
//! emptied. Knows nothing of what is kept in it.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etcd_client::Client;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::process::{free_port, signal};

/// It answers in a fraction of a second; a machine that is busy otherwise gets this long.
const STARTING: Duration = Duration::from_secs(60);

const TICK: Duration = Duration::from_millis(20);

/// An etcd of one member. Killed when dropped.
#[derive(Debug)]
pub struct Etcd {
    folder: TempDir,
    port: u16,
    peer_port: u16,
    child: Option<Child>,
}

impl Etcd {
    /// Starts the `etcd` of `COURANT_TEST_ETCD` or of the `PATH`, and waits until it answers. None if
    /// `COURANT_SKIP_ETCD=1` says that there need not be one.
    pub async fn start() -> Option<Self> {
        if std::env::var_os("COURANT_SKIP_ETCD").is_some_and(|skip| skip == "1") {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let mut etcd = Self { folder, port: free_port(), peer_port: free_port(), child: None };
        etcd.resume().await;
        Some(etcd)
    }

    /// Starts it on what it kept, at the same address, and waits until it answers.
    pub async fn resume(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let program = std::env::var_os("COURANT_TEST_ETCD").unwrap_or_else(|| "etcd".into());
        let (url, peer) = (self.url(), format!("http://127.0.0.1:{}", self.peer_port));
        let child = Command::new(&program)
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--logger", "zap"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| {
            panic!("{program:?}: {error}: install etcd, name one with COURANT_TEST_ETCD, or set COURANT_SKIP_ETCD=1")
        }));
        drop(self.client().await);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// A client, once it answers.
    pub async fn client(&self) -> Client {
        let answering = async {
            loop {
                if let Ok(client) = Client::connect([self.url()], None).await
                    && timeout(Duration::from_secs(2), client.kv_client().get("ready", None))
                        .await
                        .is_ok_and(|answer| answer.is_ok())
                {
                    return client;
                }
                sleep(TICK).await;
            }
        };
        let client = timeout(STARTING, answering).await;
        client.unwrap_or_else(|_| panic!("the etcd at {} does not answer", self.url()))
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child");
        }
    }

    /// Holds it where it is.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Forgets all that a killed one has kept.
    pub fn wipe(&mut self) {
        assert!(self.child.is_none(), "it runs");
        std::fs::remove_dir_all(self.folder.path().join("data")).expect("its data");
    }

    /// Drops the history before now, so that nobody can watch from an older revision.
    pub async fn compact(&self) {
        let client = self.client().await;
        let answer = client.kv_client().get("ready", None).await.expect("it answers");
        let revision = answer.header().expect("a header").revision();
        // Another one may have been faster.
        drop(client.kv_client().compact(revision, None).await);
    }

    /// Waits until a key below a prefix is gone, or not.
    pub async fn until_gone(&self, key: &str, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let client = self.client().await;
        while Instant::now() < deadline {
            let answer = client.kv_client().get(key, None).await;
            if answer.is_ok_and(|answer| answer.kvs().is_empty()) {
                return true;
            }
            sleep(TICK).await;
        }
        false
    }

    fn signal(&self, name: &str) {
        signal(self.child.as_ref().expect("it runs").id(), name);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
