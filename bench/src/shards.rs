//! A shard that counts: how much it gets through, how long a message takes until what it caused is committed, and how long a successor takes to know
//! what its predecessor knew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::BytesMut;
use courant_client::{Client, ReadEvent, Reader};
use courant_consumer::{
    Application, BoxError, Flow, Incoming, JournalStore, Ports, Shard, Source, Standby, Topic, Transaction,
    ViewFile,
};
use courant_message::{Clock, Flags, Frames, Framing, Item, Meta, Producer, Uuid, envelope};
use courant_proto::{Offset, Timestamp, wire};
use futures::StreamExt as _;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::args::ShardsArgs;
use crate::output::{Findings, Sheet, micros, number};
use crate::server::Server;
use crate::setup::Setup;
use crate::stats::{self, Percentiles, median};
use crate::{files, journals};

/// Nothing takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Bytes of messages in an append.
const BATCH: usize = 256 << 10;

#[derive(Debug, Serialize)]
struct Found {
    messages: u64,
    keys: u64,
    messages_per_s: f64,
    transactions_per_s: f64,
    /// Of the shard and everything else in this process.
    cpu_us_per_message: f64,
    latency: Percentiles,
    view_bytes: u64,
    /// A successor without a file: all that it reads of the shard's journal, and how long it takes.
    recovery_bytes: u64,
    recovery_s: f64,
    recovery_s_per_gb: f64,
    /// A standby that takes over: until it may commit.
    standby_takeover_ms: f64,
}

/// Counts each key, and publishes the count.
struct Count {
    counts: Topic,
    publishes: bool,
    consumed: Arc<AtomicU64>,
    transactions: Arc<AtomicU64>,
    enough: Arc<Notify>,
    until: u64,
}

impl Application for Count {
    type Store = JournalStore;

    async fn consume(
        &mut self,
        transaction: &mut Transaction<'_, JournalStore>,
        message: &Incoming,
    ) -> Result<Flow, BoxError> {
        let envelope = message.payload.decode()?;
        let key = envelope.meta.key.as_bytes();
        let before = match transaction.store.get(key)? {
            Some(count) => u64::from_be_bytes(count[..8].try_into()?),
            None => 0,
        };
        let mut value = (before + 1).to_be_bytes().to_vec();
        value.extend_from_slice(&envelope.body.to_vec());
        transaction.store.put(key.to_vec(), value);
        if self.publishes {
            let meta = Meta { key: envelope.meta.key.clone(), ..Meta::default() };
            transaction.publish(&self.counts, &meta, (before + 1).to_string().as_bytes())?;
        }
        if self.consumed.fetch_add(1, Ordering::Relaxed) + 1 == self.until {
            self.enough.notify_one();
        }
        Ok(Flow::Next)
    }

    async fn finalize(&mut self, _: &mut Transaction<'_, JournalStore>) -> Result<(), BoxError> {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The time of day, from a moment that was long ago.
#[derive(Debug)]
struct Wall(Instant);

impl courant_proto::Clock for Wall {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_700_000_000).plus(self.0.elapsed())
    }
}

/// A broker with the journals of one shard.
struct Scene {
    client: Client,
    name: String,
    begun: Instant,
    producers: u32,
}

pub(crate) async fn run(setup: &Setup, args: &ShardsArgs) -> Result<Findings> {
    let home = setup.home()?;
    let courant = Server::courant(setup, &home).await?;
    let found = courant.explain(measure(setup, args, &courant).await)?;
    courant.stop_well().await?;
    let sheet = sheet(&found);
    Findings::new("shards", &found, vec![sheet])
}

async fn measure(setup: &Setup, args: &ShardsArgs, courant: &Server) -> Result<Found> {
    let messages = if setup.quick { args.messages / 10 } else { args.messages }.max(1);
    let keys = args.keys.clamp(1, messages);
    let (mut rates, mut transactions, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    let (mut latencies, mut recoveries, mut takeovers) = (Vec::new(), Vec::new(), Vec::new());
    let (mut view_bytes, mut recovery_bytes) = (0, 0);
    for round in 1..=setup.rounds {
        files::tell(&format!("shards: round {round}"));
        let client = journals::client(courant.address)?;
        let mut scene = Scene::make(client, round).await?;
        view_bytes = scene.fill(messages, keys, args.size).await?;

        let (file, began) = (ViewFile::in_memory()?, Instant::now());
        let cpu_before = crate::server::own_cpu()?;
        let counted = scene.count(&file, messages).await?;
        let elapsed = began.elapsed().as_secs_f64();
        rates.push(messages as f64 / elapsed);
        transactions.push(counted as f64 / elapsed);
        cpu.push((crate::server::own_cpu()? - cpu_before).as_secs_f64() * 1e6 / messages as f64);

        let (anew, producer) = (ViewFile::in_memory()?, scene.producer());
        let began = Instant::now();
        let store = JournalStore::open(&scene.client, &scene.journal("own"), anew, producer).await?;
        recoveries.push(began.elapsed().as_secs_f64());
        let head = Offset::new(scene.client.head(&scene.journal("own")).await?).unwrap_or_default();
        recovery_bytes = head.distance_from(store.recovered_from()).unwrap_or(0);
        let known = store.scan(b"")?.count() as u64;
        ensure!(known == keys, "the successor knows {known} keys (expected {keys})");
        drop(store);

        takeovers.push(scene.take_over(&file).await?);
        latencies.push(scene.latency(&file, setup.window).await?);
    }
    let recovery_s = median(recoveries);
    Ok(Found {
        messages,
        keys,
        messages_per_s: median(rates),
        transactions_per_s: median(transactions),
        cpu_us_per_message: median(cpu),
        latency: Percentiles::medians(&latencies),
        view_bytes,
        recovery_bytes,
        recovery_s,
        recovery_s_per_gb: recovery_s / (recovery_bytes as f64 / 1e9),
        standby_takeover_ms: median(takeovers),
    })
}

impl Scene {
    async fn make(client: Client, round: u32) -> Result<Self> {
        let name = format!("bench/shards-{round}");
        let scene = Self { client, name, begun: Instant::now(), producers: round << 16 };
        let specs = [("in", Framing::Lines), ("out", Framing::Lines), ("own", Framing::Fixed)];
        let changes = specs.map(|(part, framing)| wire::apply_request::Change {
            upsert: Some(spec(&scene.journal(part), framing)),
            ..Default::default()
        });
        scene.client.apply(wire::ApplyRequest { changes: changes.to_vec() }).await?;
        Ok(scene)
    }

    fn journal(&self, part: &str) -> String {
        format!("{}/{part}", self.name)
    }

    fn producer(&mut self) -> Producer {
        self.producers += 1;
        let [a, b, c, d] = self.producers.to_be_bytes();
        Producer::new([1, 0, a, b, c, d])
    }

    async fn append(&self, content: BytesMut) -> Result<()> {
        let request = wire::AppendRequest { journal: self.journal("in"), ..Default::default() };
        self.client.append(request, content.freeze()).await?;
        Ok(())
    }

    /// Messages that wait to be counted. Bytes of keys and bodies of a view of all keys.
    async fn fill(&mut self, messages: u64, keys: u64, size: usize) -> Result<u64> {
        let producer = self.producer();
        let mut clock = Clock::at(Timestamp::from_secs(1_600_000_000));
        let mut batch = BytesMut::new();
        let body = vec![b'x'; size];
        for number in 0..messages {
            line(producer, &mut clock, number % keys, &body, &mut batch)?;
            if batch.len() >= BATCH {
                self.append(batch.split()).await?;
            }
        }
        self.append(batch).await?;
        Ok(keys * (size as u64 + 8 + 12))
    }

    fn shard(&self) -> Shard {
        Shard { sources: vec![Source::new(self.journal("in"))], ..Shard::default() }
    }

    async fn counter(&self, publishes: bool, until: u64) -> Result<Count> {
        Ok(Count {
            counts: Topic::of_journal(&self.client, &self.journal("out")).await?,
            publishes,
            consumed: Arc::default(),
            transactions: Arc::default(),
            enough: Arc::default(),
            until,
        })
    }

    async fn open(&mut self, file: &ViewFile) -> Result<(JournalStore, Ports)> {
        let producer = self.producer();
        let own = self.journal("own");
        let store = JournalStore::open(&self.client, &own, file.clone(), producer).await?;
        let ports = Ports { client: self.client.clone(), clock: Arc::new(Wall(self.begun)), producer };
        Ok((store, ports))
    }

    /// Counts all that waits. In so many transactions.
    async fn count(&mut self, file: &ViewFile, messages: u64) -> Result<u64> {
        let (store, ports) = self.open(file).await?;
        let mut count = self.counter(true, messages).await?;
        let (enough, transactions) = (count.enough.clone(), count.transactions.clone());
        let shard = self.shard();
        let ran = courant_consumer::run(&shard, ports, store, &mut count, enough.notified());
        timeout(PATIENCE, Box::pin(ran)).await.context("messages were not counted in time")??;
        Ok(transactions.load(Ordering::Relaxed))
    }

    /// A standby that knows all takes over. In milliseconds.
    async fn take_over(&mut self, file: &ViewFile) -> Result<f64> {
        let standby = Standby::open(&self.client, &self.journal("own"), file.clone()).await?;
        drop(standby);
        let began = Instant::now();
        self.open(file).await?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }

    /// From the append of a message until what it caused is read as committed, one after the other.
    async fn latency(&mut self, file: &ViewFile, window: Duration) -> Result<Percentiles> {
        let (store, ports) = self.open(file).await?;
        let mut count = self.counter(true, u64::MAX).await?;
        let shard = self.shard();
        let producer = self.producer();
        let out = self.journal("out");
        let head = self.client.head(&out).await?;
        let request = wire::ReadRequest { journal: out, offset: head, block: true, ..Default::default() };
        let mut tail = Tail {
            reader: self.client.reader(request),
            frames: Frames::new(Framing::Lines, Offset::new(head).unwrap_or_default(), 1 << 20),
            piece: bytes::Bytes::new(),
        };
        let mut times = stats::times();
        let asks = async {
            let mut clock = Clock::at(Timestamp::from_secs(1_600_000_000));
            let began = Instant::now();
            // The first ones open connections, and are not counted.
            for number in 0.. {
                let mut message = BytesMut::new();
                line(producer, &mut clock, number, b"{}", &mut message)?;
                let sent = Instant::now();
                self.append(message).await?;
                timeout(PATIENCE, tail.committed()).await.context("nothing was committed in time")??;
                if number >= 10 {
                    stats::record(&mut times, sent.elapsed());
                }
                if began.elapsed() > window + Duration::from_millis(100) && number > 20 {
                    break;
                }
            }
            anyhow::Ok(())
        };
        let ran = courant_consumer::run(&shard, ports, store, &mut count, std::future::pending());
        tokio::select! {
            ran = Box::pin(ran) => bail!("the shard ended: {ran:?}"),
            asked = asks => asked?,
        }
        Ok(Percentiles::of(&times))
    }
}

/// What is published, as it comes.
struct Tail {
    reader: Reader,
    frames: Frames,
    piece: bytes::Bytes,
}

impl Tail {
    /// Waits for the next acknowledgement.
    async fn committed(&mut self) -> Result<()> {
        loop {
            while let Some(item) = self.frames.next(&mut self.piece) {
                let Item::Frame(frame) = item else { bail!("damaged: {item:?}") };
                if envelope::peek(Framing::Lines, &frame.payload)?.flags() == Flags::ACK_TXN {
                    return Ok(());
                }
            }
            match self.reader.next().await.context("a reader that blocks does not end")?? {
                ReadEvent::Content { content, .. } => self.piece = content,
                ReadEvent::Metadata(_) => {}
            }
        }
    }
}

fn line(producer: Producer, clock: &mut Clock, key: u64, body: &[u8], out: &mut BytesMut) -> Result<()> {
    let uuid = Uuid::new(producer, clock.tick(), Flags::OUTSIDE_TXN);
    let meta = Meta { key: format!("{key:012}").into(), ..Meta::of(uuid) };
    Ok(envelope::append(Framing::Lines, &meta, body, out)?)
}

fn spec(name: &str, framing: Framing) -> wire::JournalSpec {
    let label = wire::Label {
        name: "content-type".to_owned(),
        value: framing.content_type().to_owned(),
        ..Default::default()
    };
    wire::JournalSpec {
        labels: Some(wire::LabelSet { labels: vec![label] }),
        ..journals::spec(name, crate::args::Codec::None, 1)
    }
}

fn sheet(found: &Found) -> Sheet {
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    let mib = |bytes: u64| format!("{} MiB", number(bytes as f64 / f64::from(1 << 20)));
    Sheet {
        title: format!("A shard that counts {} messages of {} keys", found.messages, found.keys),
        headings: vec!["what", "how much"],
        rows: vec![
            row("messages/s", number(found.messages_per_s)),
            row("transactions/s", number(found.transactions_per_s)),
            row("CPU per message, without the broker's", micros(found.cpu_us_per_message)),
            row("from append to committed output, p50", micros(found.latency.p50_us)),
            row("the same, p99", micros(found.latency.p99_us)),
            row("a standby takes over in", micros(found.standby_takeover_ms * 1e3)),
            row("a successor without a file takes", micros(found.recovery_s * 1e6)),
            row("and reads", mib(found.recovery_bytes)),
            row("for a view of", mib(found.view_bytes)),
            row("seconds per GB read", number(found.recovery_s_per_gb)),
        ],
        notes: vec!["Broker and shard share the machine. A successor must know every key.".to_owned()],
    }
}
