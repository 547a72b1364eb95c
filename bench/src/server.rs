//! Processes that are measured: started, watched in `/proc`, and ended, each by its own id and no other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::proc_text::{self, Cpu};
use crate::setup::{Home, Setup};
use crate::{files, net};

/// A process that is not ready after this has failed.
const STARTING: Duration = Duration::from_secs(120);

/// Longer than any drain of a broker.
const ENDING: Duration = Duration::from_secs(150);

/// A quiet process uses less than this share of a processor.
const QUIET_SHARE: f64 = 0.03;

/// Over this long.
const QUIET_WINDOW: Duration = Duration::from_millis(500);

/// Where brokers, and what stands in for one, tell that they are ready.
const READY: &str = "/healthz/ready";

/// Where an etcd does.
const HEALTHY: &str = "/health";

/// Without it an etcd does not start on some machines.
const ETCD_MACHINE: &str = "ETCD_UNSUPPORTED_ARCH";

/// A member of a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) number: usize,
    pub(crate) zone: &'static str,
}

/// A server of ours that runs. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pid: u32,
    log: PathBuf,
    pub(crate) address: SocketAddr,
    /// From the start until it said that it is ready.
    pub(crate) ready_after: Duration,
}

impl Server {
    /// Starts `courant serve` on a folder.
    pub(crate) async fn courant(setup: &Setup, home: &Home) -> Result<Self> {
        let mut command = serve(setup, &home.data());
        if let Some(cores) = setup.cores {
            command.arg("--cores").arg(cores.to_string());
        }
        Self::listening(command, home.file("courant.log")).await
    }

    /// Starts `courant serve` as a member of a cluster.
    pub(crate) async fn member(setup: &Setup, home: &Home, etcd: SocketAddr, member: Member) -> Result<Self> {
        let Member { number, zone } = member;
        let name = format!("broker-{number}");
        let mut command = serve(setup, &home.folder(&name)?);
        command
            .args(["--etcd", &format!("http://{etcd}"), "--id", &name, "--zone", zone])
            .args(["--cores", &setup.cores.unwrap_or(1).to_string()])
            .arg("--file-root")
            .arg(home.folder("store")?)
            // All of them end together: there is nobody to hand anything over to.
            .args(["--drain-timeout", "0s"]);
        Self::listening(command, home.file(&format!("{name}.log"))).await
    }

    /// Starts an etcd of one member, with the settings that it has by itself.
    pub(crate) async fn etcd(setup: &Setup, home: &Home) -> Result<Self> {
        let (address, peers) = (net::free_address()?, format!("http://{}", net::free_address()?));
        let clients = format!("http://{address}");
        let mut command = Command::new(&setup.etcd);
        command
            .arg("--data-dir")
            .arg(home.folder("etcd")?)
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}"), "--logger", "zap"]);
        Self::start(command, address, HEALTHY, home.file("etcd.log")).await.with_context(|| {
            format!(
                "several brokers need an etcd, and {} did not start: install one (on Debian and Ubuntu: apt-get install \
                 etcd-server), or say where it is with --etcd",
                setup.etcd.display()
            )
        })
    }

    /// Starts this program as a server that does nothing, behind the same stack.
    pub(crate) async fn noop(home: &Home) -> Result<Self> {
        let program = std::env::current_exe().context("cannot tell where this program lies")?;
        let mut command = Command::new(program);
        command.arg("noop-server");
        Self::listening(command, home.file("noop.log")).await
    }

    /// Starts what takes its address by `--listen`.
    async fn listening(mut command: Command, log: PathBuf) -> Result<Self> {
        let address = net::free_address()?;
        command.arg("--listen").arg(address.to_string());
        Self::start(command, address, READY, log).await
    }

    async fn start(mut command: Command, address: SocketAddr, ready: &str, log: PathBuf) -> Result<Self> {
        for (name, _) in std::env::vars_os() {
            // What is set for some other server is not meant for this one.
            let name_text = name.to_string_lossy();
            if name_text.starts_with("COURANT_")
                || name_text.starts_with("ETCD_") && name_text != ETCD_MACHINE
            {
                command.env_remove(name);
            }
        }
        let output = files::create(&log)?;
        let errors = output.try_clone().context("cannot share the log's descriptor")?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors).kill_on_drop(true);
        let began = Instant::now();
        let child =
            command.spawn().with_context(|| format!("cannot start {:?}", command.as_std().get_program()))?;
        let pid = child.id().context("the process ended at once")?;
        let mut server = Self { child, pid, log, address, ready_after: Duration::ZERO };
        match timeout(STARTING, server.until_ready(ready)).await {
            Ok(ready) => ready?,
            Err(_) => bail!("not ready within {STARTING:?}; it said:\n{}", server.said()),
        }
        server.ready_after = began.elapsed();
        Ok(server)
    }

    async fn until_ready(&mut self, path: &str) -> Result<()> {
        loop {
            if net::get(self.address, path).await.is_ok_and(|status| status == http::StatusCode::OK) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().context("cannot watch the process")? {
                bail!("the process ended with {status} before it was ready; it said:\n{}", self.said());
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Adds to an error what the server said last.
    pub(crate) fn explain<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| anyhow!("{error:#}\nthe server's output ends with:\n{}", self.said()))
    }

    /// The last lines of its log.
    pub(crate) fn said(&self) -> String {
        let text = files::read(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// Processor time until now.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(cpu_of(Path::new(&format!("/proc/{}/stat", self.pid)))?.own)
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        proc_text::resident_bytes(&files::read(Path::new(&format!("/proc/{}/status", self.pid)))?)
    }

    /// Descriptors that are open.
    pub(crate) fn open_files(&self) -> Result<usize> {
        files::count(Path::new(&format!("/proc/{}/fd", self.pid)))
    }

    /// Waits until it has no more work, and returns how long it had some. `None` if it still had after `limit`.
    pub(crate) async fn until_quiet(&self, limit: Duration) -> Result<Option<Duration>> {
        until_quiet(|| self.cpu(), 1, limit).await
    }

    /// Asks it to end, and waits for that. Returns how long it took and with what it ended.
    pub(crate) async fn stop(mut self) -> Result<(Duration, ExitStatus)> {
        let began = Instant::now();
        let pid =
            i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("a process id out of range")?;
        kill_process(pid, Signal::TERM).context("cannot signal the process")?;
        match timeout(ENDING, self.child.wait()).await {
            Ok(status) => Ok((began.elapsed(), status.context("cannot wait for the process")?)),
            Err(_) => {
                bail!("the process did not end within {ENDING:?} of SIGTERM; it said:\n{}", self.said())
            }
        }
    }

    /// [`Self::stop`], where anything but success is an error.
    pub(crate) async fn stop_well(self) -> Result<Duration> {
        let log = self.log.clone();
        let (took, status) = self.stop().await?;
        let said = || files::read(&log).unwrap_or_default();
        ensure!(status.success(), "the broker ended with {status}; it said:\n{}", said());
        Ok(took)
    }
}

/// `courant serve` with what every broker is given.
fn serve(setup: &Setup, data: &Path) -> Command {
    let mut command = Command::new(&setup.courant);
    command.arg("serve").arg("--data-dir").arg(data).args(["--log-level", "warn"]);
    command
}

/// Waits until so many processes, whose processor time is told by `cpu`, have no more work, and returns how long they had
/// some. `None` if they still had after `limit`.
pub(crate) async fn until_quiet(
    cpu: impl Fn() -> Result<Duration>,
    processes: usize,
    limit: Duration,
) -> Result<Option<Duration>> {
    let quiet = QUIET_SHARE * QUIET_WINDOW.as_secs_f64() * processes as f64;
    let began = Instant::now();
    loop {
        let (elapsed, before) = (began.elapsed(), cpu()?);
        if elapsed > limit {
            return Ok(None);
        }
        sleep(QUIET_WINDOW).await;
        if cpu()?.saturating_sub(before).as_secs_f64() <= quiet {
            return Ok(Some(elapsed));
        }
    }
}

/// Processor time of this process and of the children that it waited for: what generating the load cost.
pub(crate) fn own_cpu() -> Result<Duration> {
    let cpu = cpu_of(Path::new("/proc/self/stat"))?;
    Ok(cpu.own + cpu.children)
}

fn cpu_of(path: &Path) -> Result<Cpu> {
    proc_text::cpu(&files::read(path)?, rustix::param::clock_ticks_per_second())
}
