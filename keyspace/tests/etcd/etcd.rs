//! A real etcd on loopback. `COURANT_TEST_ETCD` says which program; `COURANT_SKIP_ETCD=1` leaves its tests out.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etcd_client::Client;

use crate::support::in_time;

/// Its process, killed when dropped.
pub(crate) struct Etcd {
    folder: tempfile::TempDir,
    client_port: u16,
    peer_port: u16,
    child: Option<Child>,
}

impl Etcd {
    /// `None` if the caller does not want a real one.
    pub(crate) fn start() -> Option<Self> {
        if std::env::var_os("COURANT_SKIP_ETCD").is_some_and(|skip| skip == "1") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut etcd = Self { folder, client_port: free_port(), peer_port: free_port(), child: None };
        etcd.resume();
        Some(etcd)
    }

    /// Starts again on what was kept.
    pub(crate) fn resume(&mut self) {
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

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Also one that is frozen.
            child.kill().expect("a child that can be killed");
            child.wait().expect("a child that ends");
        }
    }

    /// Forgets all that a killed one has kept.
    pub(crate) fn wipe(&mut self) {
        assert!(self.child.is_none(), "it runs");
        std::fs::remove_dir_all(self.folder.path().join("member")).expect("its data");
    }

    /// Copies all that a killed one has kept, or puts the copy back in its place.
    pub(crate) fn copy(&mut self, back: bool) {
        assert!(self.child.is_none(), "it runs");
        let (kept, copy) = (self.folder.path().join("member"), self.folder.path().join("copy"));
        let (from, to) = if back { (&copy, &kept) } else { (&kept, &copy) };
        if back {
            self.wipe();
        }
        let copied = Command::new("cp").arg("-r").args([from, to]).status();
        assert!(copied.expect("a cp command").success());
    }

    /// Freezes it where it is, or lets it go on.
    pub(crate) fn freeze(&self, frozen: bool) {
        let child = self.child.as_ref().expect("an etcd that runs");
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(sent.expect("a kill command").success());
    }

    pub(crate) fn port(&self) -> u16 {
        self.client_port
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// A client of an etcd that answers.
    pub(crate) async fn client(&self) -> Client {
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
