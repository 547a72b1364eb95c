//! The processes of a run: an etcd, brokers of both kinds, a consumer. Each has a name, a log and a port of its own, and
//! ends with the run. Knows nothing of what they are asked.
#![expect(
    clippy::disallowed_methods,
    reason = "the seam at which the run starts programs, makes folders and takes ports"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// A start takes a fraction of a second, and more on a machine that is busy otherwise.
const STARTING: Duration = Duration::from_secs(60);

/// How long a process may take that was told to stop.
const STOPPING: Duration = Duration::from_secs(90);

/// How often a process is looked at.
const TICK: Duration = Duration::from_millis(50);

/// The lease of every broker, in seconds: how long a killed one is waited for.
pub(crate) const LEASE_SECONDS: u64 = 4;

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// Folder of etcd, gazette, gazctl and consumer.
    pub(crate) tools: PathBuf,
    pub(crate) courant: PathBuf,
}

impl Programs {
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.tools.join(name)
    }
}

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts a program that writes into `folder/name.log`, in that folder, and with no variables but those of the command.
    pub(crate) fn start(name: &str, folder: &Path, mut command: Command) -> Result<Self> {
        let log = File::options().create(true).append(true).open(folder.join(format!("{name}.log")));
        let log = log.with_context(|| format!("the log of {name}"))?;
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("a second handle of a log")?)
            .stderr(log)
            .kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    pub(crate) fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it at once, as a crash would.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    pub(crate) async fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().with_context(|| format!("{} has ended", self.name))?;
        let sent = Command::new("kill").args(["-s", signal, &pid.to_string()]).status().await;
        ensure!(sent.context("kill")?.success(), "cannot send {signal} to {}", self.name);
        Ok(())
    }

    /// Asks it to stop, and waits until it has: its exit code.
    pub(crate) async fn terminate(mut self) -> Result<i32> {
        self.signal("TERM").await?;
        let status = timeout(STOPPING, self.child.wait()).await;
        let status = status.with_context(|| format!("{} did not stop in {STOPPING:?}", self.name))?;
        Ok(status.context("a child")?.code().unwrap_or(-1))
    }
}

/// A port that nobody uses now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    Ok(listener.local_addr().context("a bound listener")?.port())
}

/// The folder and the etcd that a scenario runs on.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) programs: Programs,
    folder: PathBuf,
    etcd_url: String,
    _etcd: Process,
}

impl World {
    /// Starts an etcd in a folder of its own.
    pub(crate) async fn start(programs: &Programs, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder.join("store")).context("the folder of a scenario")?;
        let (client, peer) = (free_port()?, free_port()?);
        let [client, peer] = [client, peer].map(|port| format!("http://127.0.0.1:{port}"));
        let mut command = Command::new(programs.tool("etcd"));
        command
            .env_clear()
            .args(["--name", "one", "--data-dir", "etcd", "--log-level", "error", "--unsafe-no-fsync"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")]);
        let etcd = Process::start("etcd", folder, command)?;
        let world =
            Self { programs: programs.clone(), folder: folder.to_owned(), etcd_url: client, _etcd: etcd };
        let up = async {
            loop {
                if let Ok(mut etcd) = world.etcd().await
                    && etcd.status().await.is_ok()
                {
                    return;
                }
                sleep(TICK).await;
            }
        };
        timeout(STARTING, up).await.context("etcd does not answer")?;
        Ok(world)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder that all brokers have as `file:///`.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    pub(crate) fn etcd_url(&self) -> &str {
        &self.etcd_url
    }

    pub(crate) async fn etcd(&self) -> Result<etcd_client::Client> {
        etcd_client::Client::connect([&self.etcd_url], None).await.context("etcd")
    }

    /// Writes a file into the scenario's folder.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.folder.join(name);
        File::create(&path).and_then(|mut file| file.write_all(content)).with_context(|| name.to_owned())?;
        Ok(path)
    }

    /// What lies in a file of the scenario's folder, as text.
    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read(self.folder.join(name))
            .map_or_else(|error| format!("{error}"), |text| String::from_utf8_lossy(&text).into_owned())
    }

    /// Paths of all files below the store, from there, in order.
    pub(crate) fn stored(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.store(), "", &mut found);
        found.sort();
        found
    }
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), found);
        } else {
            found.push(name);
        }
    }
}

/// Whose broker it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Gazette,
    Courant,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Gazette, Self::Courant];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gazette => "gazette",
            Self::Courant => "courant",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Gazette => Self::Courant,
            Self::Courant => Self::Gazette,
        }
    }
}

/// A broker, which may run or not.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) kind: Kind,
    /// Its name among the members.
    pub(crate) id: String,
    zone: String,
    prefix: String,
    store: PathBuf,
    limit: u32,
    port: u16,
    /// What its data folder and its log are called.
    kept: String,
    process: Option<Process>,
}

impl Broker {
    /// One that is not started yet. Its data folder is named for it, and kept when it starts again.
    pub(crate) fn new(world: &World, kind: Kind, id: &str, zone: &str, prefix: &str) -> Result<Self> {
        let (id, zone, prefix) = (id.to_owned(), zone.to_owned(), prefix.to_owned());
        let (store, port, kept) = (world.store(), free_port()?, id.clone());
        Ok(Self { kind, id, zone, prefix, store, limit: 1024, port, kept, process: None })
    }

    /// With another folder as `file:///` than the world's.
    pub(crate) fn with_store(mut self, store: &Path) -> Result<Self> {
        std::fs::create_dir_all(store).context("a store")?;
        store.clone_into(&mut self.store);
        Ok(self)
    }

    /// With another number of replicas at most.
    pub(crate) fn with_limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// With a data folder and a log of another name than its id.
    pub(crate) fn keep_in(&mut self, name: &str) {
        name.clone_into(&mut self.kept);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts it, and waits until it serves.
    pub(crate) async fn start(&mut self, world: &World) -> Result<()> {
        self.launch(world)?;
        let up = async {
            loop {
                if !self.process.as_mut().is_some_and(Process::alive) {
                    bail!("{} ended instead of starting: {}", self.id, last_lines(&world.text(&self.log())));
                }
                // A Gazette broker listens before it has announced itself.
                if ready(self.port).await && self.announced(world).await {
                    return Ok(());
                }
                sleep(TICK).await;
            }
        };
        timeout(STARTING, up).await.with_context(|| format!("{} is not ready", self.id))?
    }

    fn log(&self) -> String {
        format!("{}.log", self.kept)
    }

    async fn announced(&self, world: &World) -> bool {
        let key = format!("{}/members/{}#{}", self.prefix, self.zone, self.id);
        let Ok(mut etcd) = world.etcd().await else { return false };
        etcd.get(key, None).await.is_ok_and(|answer| answer.count() == 1)
    }

    fn launch(&mut self, world: &World) -> Result<()> {
        let (port, lease, limit) =
            (self.port.to_string(), format!("{LEASE_SECONDS}s"), self.limit.to_string());
        let mut command = match self.kind {
            Kind::Gazette => {
                let mut command = Command::new(world.programs.tool("gazette"));
                command
                    .arg("serve")
                    .args(["--etcd.address", &world.etcd_url, "--etcd.prefix", &self.prefix])
                    .args(["--etcd.lease", &lease, "--broker.limit", &limit])
                    .args(["--broker.id", &self.id, "--broker.zone", &self.zone])
                    .args(["--broker.host", "127.0.0.1", "--broker.port", &port])
                    .args([OsStr::new("--broker.file-root"), self.store.as_os_str()])
                    .args(["--log.level", "info"]);
                command
            }
            Kind::Courant => {
                let mut command = Command::new(&world.programs.courant);
                command
                    .arg("serve")
                    .args(["--etcd", &world.etcd_url, "--prefix", &self.prefix])
                    .args(["--lease-ttl", &lease, "--limit", &limit])
                    .args(["--id", &self.id, "--zone", &self.zone])
                    .args(["--listen", &format!("127.0.0.1:{port}"), "--data-dir", &self.kept])
                    .args([OsStr::new("--file-root"), self.store.as_os_str()]);
                command
            }
        };
        command.env_clear();
        self.process = Some(Process::start(&self.kept, &world.folder, command)?);
        Ok(())
    }

    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Ends the process at once.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.kill().await,
            None => bail!("{} does not run", self.id),
        }
    }

    /// Asks it to hand over what it has, and waits until it has ended.
    pub(crate) async fn drain(&mut self) -> Result<i32> {
        match self.process.take() {
            Some(process) => process.terminate().await,
            None => bail!("{} does not run", self.id),
        }
    }
}

/// Whether `GET /debug/ready` answers 200: both kinds serve it.
async fn ready(port: u16) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET /debug/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    matches!(timeout(Duration::from_secs(5), asked).await, Ok(Ok(true)))
}

/// The end of a log.
pub(crate) fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// Asks again and again until there is an answer, for so long at most; `what` is what is waited for.
pub(crate) async fn until<T, F: Future<Output = Result<Option<T>>>>(
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> F,
) -> Result<T> {
    let deadline = Instant::now() + within;
    let mut last = None;
    loop {
        match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        if Instant::now() > deadline {
            let because = last.map_or_else(String::new, |error| format!(", last: {error:#}"));
            bail!("{what}: not within {within:?}{because}");
        }
        sleep(Duration::from_millis(100)).await;
    }
}
