//! `courant serve` as a process of its own: started on a folder, found on a free port, killed or asked to stop; and the
//! operator's verbs run against it. Knows nothing of what is served.
#![expect(
    clippy::disallowed_methods,
    reason = "the seam at which tests make folders and read what processes print"
)]

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use courant_client::Client;
use courant_proto::wire::journal_client::JournalClient;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;

use crate::http::{self, Answer};

/// A start takes a fraction of a second; a machine that is busy otherwise gets this long.
const STARTING: Duration = Duration::from_secs(60);

/// A process that was told to stop persists what it has first.
const STOPPING: Duration = Duration::from_secs(120);

/// How often a process is looked at.
const TICK: Duration = Duration::from_millis(5);

/// The folders of the product: what a program older than them is not built from.
const SOURCES: [&str; 8] =
    ["proto", "registry", "keyspace", "fragment", "broker", "client", "gateway", "cli"];

/// The program under test: `COURANT_BIN`, or that of this workspace and profile, which is built if it is missing or
/// older than its sources.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("COURANT_BIN") {
        Some(given) => given.into(),
        None => built(),
    })
}

fn built() -> PathBuf {
    // Tests lie in the folder `deps` of their profile's, other programs in the profile's itself.
    let this = std::env::current_exe().expect("a test knows where it is");
    let tests = this.ancestors().find(|folder| folder.ends_with("deps")).and_then(Path::parent);
    let profile = tests.or_else(|| this.parent()).expect("cargo runs programs from a profile's folder");
    let program = profile.join("courant");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let sources = SOURCES.iter().filter_map(|folder| newest(&workspace.join(folder))).max();
    let made = program.metadata().and_then(|program| program.modified()).ok();
    if made.is_none() || made < sources {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--package", "courant-cli"]).current_dir(workspace);
        match profile.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => {}
            Some(profile) => drop(cargo.args(["--profile", profile])),
        }
        let output = cargo.output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    program
}

/// When the youngest file in a folder was changed.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?;
    let times = entries.flatten().filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        if metadata.is_dir() { newest(&entry.path()) } else { metadata.modified().ok() }
    });
    times.max()
}

/// A broker with all that is in its process, on a folder that it alone uses. Killed when dropped.
#[derive(Debug)]
pub struct Node {
    folder: TempDir,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Node {
    /// Starts one with these flags besides `--data-dir` and `--listen`, and waits until it is ready.
    pub async fn start(flags: &[&str]) -> Self {
        let mut node = Self::prepared(flags);
        node.restart().await;
        node
    }

    /// One whose folder is there and which was not started yet.
    pub fn prepared(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Self { folder, flags, environment: Vec::new(), running: None }
    }

    /// Has these variables in the environment of processes that are started from now on.
    pub fn set_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        self.environment.extend(variables);
    }

    /// Starts it on the same folder, and waits until it is ready. Its port is another one than before.
    pub async fn restart(&mut self) {
        self.launch().await;
        assert!(self.becomes_ready(STARTING).await, "the broker is not ready:\n{}", self.log());
    }

    /// Starts it on the same folder, and waits until it listens.
    pub async fn launch(&mut self) {
        self.launch_seen(|_| ()).await;
    }

    /// The same; `seen` is told its process as soon as there is one, before it speaks to anybody.
    pub async fn launch_seen(&mut self, seen: impl FnOnce(u32)) {
        assert!(self.running.is_none(), "it runs already");
        let mut child = self.command().spawn().expect("the program starts");
        seen(child.id());
        let begun = self.log().len();
        let started = async {
            loop {
                let log = self.log();
                if let Some(address) = log.get(begun.min(log.len())..).and_then(listening) {
                    return address;
                }
                if let Some(status) = child.try_wait().expect("a child") {
                    panic!("the broker ended with {status} instead of starting:\n{log}");
                }
                sleep(TICK).await;
            }
        };
        let Ok(address) = timeout(STARTING, started).await else {
            let _ = child.kill();
            panic!("the broker did not start in {STARTING:?}:\n{}", self.log());
        };
        self.running = Some(Running { child, address });
    }

    /// Whether it says that it is ready, within a while.
    pub async fn becomes_ready(&self, within: Duration) -> bool {
        let address = self.address();
        let ready = async {
            while http::once(address, "GET", "/healthz/ready", &[], b"").await.map_or(0, |a| a.status) != 200
            {
                sleep(TICK).await;
            }
        };
        timeout(within, ready).await.is_ok()
    }

    /// Runs another process on this one's folder, which is expected to end by itself: its code, and what it wrote.
    pub async fn second(&self) -> Ran {
        let mut command = self.command();
        command.stderr(Stdio::piped()).stdout(Stdio::piped());
        finish(command, b"", STARTING).await
    }

    /// Runs another process with these flags on an empty folder, which is expected to end by itself.
    pub async fn impostor(&self) -> Ran {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder.path().join("data"));
        command.args(&self.flags).current_dir(folder.path()).env_clear();
        finish(command, b"", STOPPING).await
    }

    /// Removes the data folder of one that does not run.
    pub fn forget(&self) {
        assert!(self.running.is_none(), "it runs");
        std::fs::remove_dir_all(self.data()).expect("its data");
    }

    fn command(&self) -> Command {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"));
        let mut command = Command::new(program());
        command
            .arg("serve")
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(self.data())
            .args(&self.flags)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log file"));
        if let Some(level) = std::env::var_os("COURANT_TEST_LOG_LEVEL") {
            command.env("COURANT_LOG_LEVEL", level);
        }
        command
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder in which it runs, for files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where its stores lie.
    pub fn fragments(&self) -> PathBuf {
        self.data().join("fragments")
    }

    /// What its processes have written to stderr so far.
    pub fn log(&self) -> String {
        std::fs::read(self.folder.path().join("log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running.as_ref().expect("it runs").address
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Whether a process of it was started, and its end not seen.
    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// The status with which it ended by itself, if it did.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        let ended = self.running.as_mut()?.child.try_wait().expect("a child");
        if ended.is_some() {
            self.running = None;
        }
        ended
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").child.id()
    }

    /// A client of its gRPC service.
    pub fn client(&self) -> Client {
        Client::connect(&self.url()).expect("an address")
    }

    /// Its gRPC service with nothing between, for requests that a client would not send.
    pub async fn grpc(&self) -> JournalClient<Channel> {
        JournalClient::connect(self.url()).await.expect("a connection")
    }

    /// One request over a connection of its own.
    pub async fn http(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        http::once(self.address(), method, target, &[], body).await.expect("an answer")
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.child.kill().expect("a child can be killed");
            running.child.wait().expect("a child");
        }
    }

    /// Sends a signal by its name, like `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Asks it to stop, and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("it runs");
        let deadline = Instant::now() + STOPPING;
        loop {
            if let Some(status) = running.child.try_wait().expect("a child") {
                return status;
            }
            if Instant::now() > deadline {
                let _ = running.child.kill();
                let _ = running.child.wait();
                panic!("the broker did not stop in {STOPPING:?}:\n{}", self.log());
            }
            sleep(TICK).await;
        }
    }

    /// Runs the program as its client, with `COURANT_BROKER` set: `verb(&["journals", "list"], b"")`.
    pub async fn verb(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut command = Command::new(program());
        command.args(args).current_dir(self.folder.path()).env_clear().env("COURANT_BROKER", self.url());
        finish(command, input, STOPPING).await
    }

    /// Writes a file into the folder in which verbs run, and returns its name.
    pub fn file<'a>(&self, name: &'a str, content: impl AsRef<[u8]>) -> &'a str {
        std::fs::write(self.folder.path().join(name), content).expect("a file");
        name
    }
}

/// Sends a signal by its name, like `STOP`, to a process that this one started.
pub(crate) fn signal(pid: u32, name: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -s \"$1\" \"$2\"", "sh", name]).arg(pid.to_string());
    let sent = shell.status().expect("a shell");
    assert!(sent.success(), "signal {name}");
}

/// A port of this machine that nobody uses.
#[expect(clippy::disallowed_methods, reason = "asks the operating system for one")]
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

#[expect(clippy::print_stderr, reason = "what a failed test has to say of its broker")]
impl Drop for Node {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.char_indices().rev().nth(4_000).map_or(0, |(at, _)| at);
            eprintln!("--- the broker's log ends with:\n{}", &log[tail..]);
        }
    }
}

/// The address of a banner.
fn listening(log: &str) -> Option<SocketAddr> {
    // The line is whole when another one follows it.
    let (_, rest) = log.split_once("listening on")?;
    let (address, _) = rest.split_once('\n')?;
    address.trim().strip_prefix("http://")?.parse().ok()
}

/// A program that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// Runs the program with these arguments alone, without a broker.
pub async fn run(args: &[&str], folder: &Path, env: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(program());
    command.args(args).current_dir(folder).env_clear().envs(env.iter().copied());
    finish(command, b"", STARTING).await
}

async fn finish(mut command: Command, input: &[u8], within: Duration) -> Ran {
    // Files, since a pipe that nobody reads stops its writer.
    let (mut stdin, mut out, mut err) = (temporary(), temporary(), temporary());
    stdin.write_all(input).and_then(|()| stdin.rewind()).expect("a temporary file");
    let copy = |file: &File| file.try_clone().expect("a file");
    command.stdin(stdin).stdout(copy(&out)).stderr(copy(&err));
    let mut child = command.spawn().expect("the program starts");
    let deadline = Instant::now() + within;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?} did not end in {within:?}: {}", text(&mut err));
        }
        sleep(TICK).await;
    };
    Ran { code: status.code().unwrap_or(-1), stdout: text(&mut out), stderr: text(&mut err) }
}

fn temporary() -> File {
    tempfile::tempfile().expect("a temporary file")
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a temporary file");
    String::from_utf8_lossy(&bytes).into_owned()
}
