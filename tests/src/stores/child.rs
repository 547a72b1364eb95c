//! A server in a process of its own, of programs that `tests/setup` has installed. It ends with the test, also when
//! that is killed: a shell holds its hand, and ends it when the pipe to us breaks.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child as Process, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::free_port;

/// It answers within seconds; a machine that is busy otherwise gets this long.
const STARTING: Duration = Duration::from_secs(90);
const TICK: Duration = Duration::from_millis(20);
/// Runs what follows, until its own input ends.
const HOLD: &str =
    r#""$@" </dev/null & server=$!; cat >/dev/null; kill "$server" 2>/dev/null; wait "$server""#;

/// A server. Killed when dropped.
#[derive(Debug)]
pub(super) struct Child {
    shell: Process,
    address: SocketAddr,
}

impl Child {
    /// Starts a program with arguments, among which `PORT` stands for a free port, and waits until it listens there.
    pub(super) fn start(program: &str, arguments: &[&str]) -> Self {
        let port = free_port();
        let path = installed().join(program);
        assert!(
            path.exists(),
            "{} is missing: run tests/setup test, or set COURANT_SKIP_STORES=1 to leave out what needs it",
            path.display()
        );
        // Scripts name their interpreter themselves, but for those of Node.
        let interpreter = (path.extension().is_some_and(|extension| extension == "js")).then_some("node");
        let port_text = port.to_string();
        let shell = Command::new("sh")
            .args(["-c", HOLD, "sh"])
            .args(interpreter)
            .arg(&path)
            .args(arguments.iter().map(|argument| if *argument == "PORT" { &port_text } else { *argument }))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut child = Self { shell, address: ([127, 0, 0, 1], port).into() };
        child.wait_until_it_listens(program);
        child
    }

    #[expect(clippy::disallowed_methods, reason = "the seam at which tests wait for a server's port")]
    fn wait_until_it_listens(&mut self, program: &str) {
        let deadline = Instant::now() + STARTING;
        while std::net::TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.shell.try_wait().expect("a child") {
                panic!("{program} ended with {status} instead of starting");
            }
            assert!(Instant::now() < deadline, "{program} does not listen within {STARTING:?}");
            std::thread::sleep(TICK);
        }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Where the programs are.
fn installed() -> PathBuf {
    match std::env::var_os("COURANT_TEST_STORES") {
        Some(folder) => folder.into(),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/stores")),
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
