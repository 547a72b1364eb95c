//! A consumer built on Gazette's framework, on brokers of Courant's: its counts are right, and stay right when a broker
//! is killed below it, and when it is killed itself.

use std::ffi::OsStr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use courant_proto::wire::{self, CompressionCodec as Codec};
use serde_json::Value;
use tokio::process::Command;

use crate::cluster::Cluster;
use crate::processes::{Kind, Process, World, free_port, last_lines, until};
use crate::report::Report;
use crate::shell::{Ends, Gazctl};
use crate::talk::spec;

/// Writers, each with a partition of its own in both stages.
const WRITERS: usize = 3;

/// Messages of each writer and round.
const MESSAGES: usize = 400;

/// Everything is consumed within this long once it was published.
const CATCHING_UP: Duration = Duration::from_secs(60);

/// Brokers of one kind, three of them if they replicate.
pub(crate) async fn run(world: &World, report: &mut Report, kind: Kind, brokers: usize) -> Result<()> {
    let title = format!("consumer on {brokers} of {}", kind.name());
    let mut cluster = Cluster::new(world, "/gazette/brokers");
    for n in 0..brokers {
        cluster.add(kind, &format!("broker-{n}"), &format!("zone-{n}"), 1024).await?;
    }
    let replication = 2.min(brokers) as i32;
    cluster.any()?.create(journals(replication)).await?;
    cluster.settled().await?;

    let mut bench = Bench { cluster, published: 0, port: free_port()?, consumer: None, runs: 0 };
    bench.consume().await?;
    bench.shards().await?;
    let counted = bench.round(None).await;
    report.check(format!("{title}: counts are right"), counted);
    if brokers > 1 {
        for victim in 0..2 {
            let counted = bench.round(Some(victim)).await;
            report.check(format!("{title}: a broker is killed, {}: counts are right", victim + 1), counted);
        }
    }
    if let Some(consumer) = bench.consumer.take() {
        consumer.kill().await?;
    }
    bench.consume().await?;
    let counted = bench.round(None).await;
    report.check(format!("{title}: the consumer is killed: counts are right"), counted);
    if let Some(consumer) = bench.consumer.take() {
        consumer.kill().await?;
    }
    Ok(())
}

fn journals(replication: i32) -> Vec<wire::JournalSpec> {
    let labelled = |name: String, content_type: &str| {
        let label = wire::Label { name: "content-type".into(), value: content_type.into(), prefix: false };
        wire::JournalSpec {
            labels: Some(wire::LabelSet { labels: vec![label] }),
            ..spec(&name, replication, Codec::Gzip, 1 << 16)
        }
    };
    let mut specs = Vec::new();
    for stage in ["in", "out"] {
        specs.extend(
            (0..WRITERS).map(|n| labelled(format!("tally/{stage}/part-{n:03}"), "application/x-ndjson")),
        );
    }
    for shard in shard_ids() {
        specs.push(labelled(format!("tally/recovery/{shard}"), "application/x-gazette-recoverylog"));
    }
    specs
}

fn shard_ids() -> impl Iterator<Item = String> {
    ["relay", "tally"].into_iter().flat_map(|kind| (0..WRITERS).map(move |n| format!("{kind}-{n:03}")))
}

struct Bench<'a> {
    cluster: Cluster<'a>,
    /// Messages of each writer so far.
    published: usize,
    port: u16,
    consumer: Option<Process>,
    runs: usize,
}

impl Bench<'_> {
    /// Starts a consumer process. It is a new member each time, since the old one's lease may live on.
    async fn consume(&mut self) -> Result<()> {
        let world = self.cluster.world;
        self.runs += 1;
        self.port = free_port()?;
        // The one that is never killed: it is all that a client of Gazette's knows when its routes fail.
        let broker = self.cluster.running().last().context("no broker runs")?.url();
        let mut command = Command::new(world.programs.tool("consumer"));
        command
            .env_clear()
            .env("TMPDIR", world.folder())
            .arg("serve")
            .args([
                "--etcd.address",
                world.etcd_url(),
                "--etcd.prefix",
                "/gazette/tally",
                "--etcd.lease",
                "4s",
            ])
            .args(["--broker.address", &broker, "--broker.cache.size", "64"])
            // With a cache of routes it reads stored fragments by itself.
            .args([OsStr::new("--broker.file-root"), world.store().as_os_str()])
            .args(["--consumer.host", "127.0.0.1", "--consumer.port", &self.port.to_string()])
            .args(["--consumer.id", &format!("consumer-{}", self.runs), "--log.level", "info"]);
        self.consumer = Some(Process::start(&format!("consumer-{}", self.runs), world.folder(), command)?);
        until("the consumer listens", CATCHING_UP, || async { Ok(get(self.port).await.ok().map(|_| ())) })
            .await
    }

    /// Creates the shards, as an operator does.
    async fn shards(&self) -> Result<()> {
        let world = self.cluster.world;
        let mut tree =
            "common:\n  recovery_log_prefix: tally/recovery\n  hint_prefix: /gazette/hints/tally\n  \
                        hint_backups: 1\n  max_txn_duration: 500ms\nshards:\n"
                .to_owned();
        for shard in shard_ids() {
            let (kind, n) = shard.split_once('-').context("a shard's id")?;
            let stage = if kind == "relay" { "in" } else { "out" };
            tree.push_str(&format!("- id: {shard}\n  sources: [{{journal: tally/{stage}/part-{n}}}]\n"));
        }
        let file = world.file("shards.yaml", tree.as_bytes())?;
        let broker = self.cluster.running().next().context("no broker runs")?;
        let gazctl = Gazctl::new(world.programs.tool("gazctl"), world.folder(), broker);
        let consumer = format!("http://127.0.0.1:{}", self.port);
        let file = file.to_string_lossy().into_owned();
        let ran = gazctl
            .raw(
                &["shards", "apply", "--specs", &file],
                b"",
                &[("CONSUMER_ADDRESS", &consumer)],
                Ends::ByItself,
            )
            .await?;
        ensure!(ran.code == Some(0), "gazctl shards apply: {}", ran.describe());
        Ok(())
    }

    /// Publishes, perhaps while a broker is killed; then waits until everything was counted, each message once.
    async fn round(&mut self, victim: Option<usize>) -> Result<()> {
        let counted = self.publish_and_count(victim).await;
        if let Some(victim) = victim {
            let world = self.cluster.world;
            if !self.cluster.brokers[victim].runs() {
                self.cluster.brokers[victim].start(world).await?;
            }
            self.cluster.settled().await?;
        }
        counted
    }

    async fn publish_and_count(&mut self, victim: Option<usize>) -> Result<()> {
        let world = self.cluster.world;
        let survivor = self.cluster.brokers.iter().enumerate();
        let survivor =
            survivor.filter(|(at, broker)| broker.runs() && Some(*at) != victim).map(|(_, b)| b.url());
        let survivor = survivor.last().context("no broker is left")?;
        // The pace makes it last over the death of a broker, and the lease that has to run out then.
        let pace = if victim.is_some() { "20ms" } else { "1ms" };
        let first = (self.published + 1).to_string();
        let mut command = Command::new(world.programs.tool("consumer"));
        command
            .env_clear()
            .env("TMPDIR", world.folder())
            .args(["publish", "--broker", &survivor, "--pace", pace, "--first", &first])
            .args(["--messages", &MESSAGES.to_string(), "--writers", &WRITERS.to_string()])
            .kill_on_drop(true);
        let publisher = command.output();
        let kill = async {
            if let Some(victim) = victim {
                tokio::time::sleep(Duration::from_secs(2)).await;
                self.cluster.brokers[victim].kill().await?;
            }
            anyhow::Ok(())
        };
        let (output, killed) = tokio::join!(publisher, kill);
        killed?;
        let output = output.context("the publisher")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the publisher: {}", last_lines(&said));
        self.published += MESSAGES;

        let port = self.port;
        let published = self.published;
        until("everything is counted", CATCHING_UP, || async move {
            let states: Value = serde_json::from_slice(&get(port).await?).context("the consumer's answer")?;
            for shard in shard_ids() {
                let n = shard.split_once('-').map_or("", |(_, n)| n);
                let seen = &states[&shard]["Writers"][format!("writer-{n}")];
                let number = |name: &str| seen[name].as_u64().unwrap_or(0) as usize;
                ensure!(number("Wrong") == 0, "{shard}: out of order, lost or twice: {seen}");
                let counts = (number("Count"), number("Last"));
                ensure!(counts == (published, published), "{shard}: {seen}, and {published} were published");
            }
            Ok(Some(()))
        })
        .await
    }
}

/// The body of `GET /tally`.
#[expect(clippy::disallowed_methods, reason = "the seam to the consumer's page")]
async fn get(port: u16) -> Result<Vec<u8>> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.context("the consumer")?;
    stream.write_all(b"GET /tally HTTP/1.0\r\n\r\n").await.context("the consumer")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.context("the consumer")?;
    let at = answer.windows(4).position(|window| window == b"\r\n\r\n").context("an answer with a body")?;
    ensure!(answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200"), "no 200");
    Ok(answer.split_off(at + 4))
}
