//! `etcdctl`, as an operator uses it, against this registry on a socket.
//!
//! It is found on `PATH` or named by `COURANT_ETCDCTL`; without one the test fails, unless `COURANT_SKIP_ETCD=1`.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use courant_registry::{Config, Registry};
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
struct Etcdctl {
    program: OsString,
    endpoint: Arc<str>,
}

impl Etcdctl {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command with an input and returns what it printed.
    async fn run(&self, args: &[&str], input: &str) -> String {
        let (mut command, input) = (self.command(args), input.to_owned());
        // On a thread of its own: this one serves it.
        let run = move || {
            let mut child = command.spawn()?;
            child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()))?;
            child.wait_with_output()
        };
        let output = tokio::task::spawn_blocking(run).await.expect("a thread").expect("an etcdctl");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "etcdctl {args:?}: {out}{err}");
        // Some answers are written to standard error.
        format!("{out}{err}")
    }

    /// Runs a command that does not end by itself, and returns its first lines.
    async fn first_lines(&self, args: &[&str], count: usize) -> Vec<String> {
        let mut command = self.command(args);
        let run = move || {
            let mut child = command.spawn()?;
            let stdout = child.stdout.take().expect("a pipe");
            let lines: std::io::Result<Vec<String>> = BufReader::new(stdout).lines().take(count).collect();
            child.kill()?;
            child.wait()?;
            lines
        };
        tokio::task::spawn_blocking(run).await.expect("a thread").expect("an etcdctl")
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test composes a server")]
async fn etcdctl_works() {
    let program = std::env::var_os("COURANT_ETCDCTL").unwrap_or_else(|| "etcdctl".into());
    if let Err(error) = Command::new(&program).arg("version").stdout(Stdio::null()).status() {
        if std::env::var_os("COURANT_SKIP_ETCD").is_some_and(|skip| skip == "1") {
            return;
        }
        panic!(
            "cannot run {}: {error}. Install an etcdctl, name one with COURANT_ETCDCTL, or set COURANT_SKIP_ETCD=1",
            program.display()
        );
    }
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let endpoint: Arc<str> = listener.local_addr().expect("an address").to_string().into();
    let urls = vec![format!("http://{endpoint}")];
    let registry = Registry::in_memory(Config { client_urls: urls, ..Config::default() });
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let done = CancellationToken::new();
    let server = tonic::transport::Server::builder()
        .add_routes(registry.routes())
        .serve_with_incoming_shutdown(incoming, done.clone().cancelled_owned());
    let commands = async {
        Box::pin(commands(&Etcdctl { program, endpoint })).await;
        done.cancel();
    };
    let (served, ran, ()) = tokio::join!(server, registry.run(done.clone()), commands);
    served.expect("a clean end");
    ran.expect("a clean end");
}

async fn commands(etcdctl: &Etcdctl) {
    #[track_caller]
    fn check(found: &str, expected: &str) {
        assert!(found.contains(expected), "expected {expected:?} in {found:?}");
    }
    check(&etcdctl.run(&["put", "a", "1"], "").await, "OK");
    assert_eq!(etcdctl.run(&["get", "a"], "").await, "a\n1\n");
    assert_eq!(etcdctl.run(&["get", "--prefix", "", "--keys-only", "--limit=5"], "").await.trim(), "a");
    let txn = "mod(\"a\") > \"0\"\n\nput b 2\nget a\n\nput c 3\n\n";
    let answer = etcdctl.run(&["txn"], txn).await;
    check(&answer, "SUCCESS");
    check(&answer, "a\n1");
    check(&etcdctl.run(&["del", "a"], "").await, "1");

    let granted = etcdctl.run(&["lease", "grant", "60"], "").await;
    let lease = granted.split_whitespace().nth(1).expect("an id").to_owned();
    etcdctl.run(&["put", "--lease", &lease, "leased", "v"], "").await;
    check(&etcdctl.run(&["lease", "timetolive", "--keys", &lease], "").await, "attached keys([leased])");
    check(&etcdctl.run(&["lease", "keep-alive", "--once", &lease], "").await, "keepalived with TTL(60)");
    check(&etcdctl.run(&["lease", "list"], "").await, &lease);
    check(&etcdctl.run(&["lease", "revoke", &lease], "").await, "revoked");
    assert_eq!(etcdctl.run(&["get", "leased"], "").await, "");

    check(&etcdctl.run(&["endpoint", "health"], "").await, "is healthy");
    let status = etcdctl.run(&["endpoint", "status"], "").await;
    check(&status, "+courant-");
    check(&status, "true");
    check(&etcdctl.run(&["member", "list"], "").await, "courant-single-node");
    check(&etcdctl.run(&["alarm", "list"], "").await, "");
    check(&etcdctl.run(&["defrag"], "").await, "Finished");

    let seen = etcdctl.first_lines(&["watch", "--prefix", "--rev=2", "a"], 3).await;
    assert_eq!(seen, ["PUT", "a", "1"]);
    check(&etcdctl.run(&["compaction", "4"], "").await, "compacted revision 4");
}
