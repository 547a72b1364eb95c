//! Keeps a running sum of each of many streams, exactly: `stream_sum`.
//!
//! Chunks of streams are lines of `examples/stream-sum/chunks`, such as `{"stream":"a","number":1,"data":"battery"}`. One without data ends its stream,
//! whose sum is then published to `examples/stream-sum/sums`. See README.md beside this file.
#![expect(clippy::disallowed_methods, reason = "a whole program reads the clock and draws entropy by itself")]

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use courant_consumer::{
    Application, BoxError, Flow, Incoming, JournalStore, Ports, Shard, Source, Topic, Transaction, ViewFile,
    run,
};
use courant_message::{Meta, Producer};
use courant_proto::Timestamp;
use courant_proto::wire::{ApplyRequest, JournalSpec, Label, LabelSet, apply_request, journal_spec};
use serde::{Deserialize, Serialize};
use tokio::signal::ctrl_c;
use tokio::time::sleep;

const CHUNKS: &str = "examples/stream-sum/chunks";
const SUMS: &str = "examples/stream-sum/sums";
const SHARD: &str = "examples/stream-sum/shard";

#[derive(Deserialize)]
struct Chunk {
    stream: String,
    /// Counts from one.
    number: u64,
    data: Option<String>,
}

/// What is known of a stream, and published at its end.
#[derive(Default, Deserialize, Serialize)]
struct Sum {
    stream: String,
    chunks: u64,
    /// FNV-1a over all data.
    sum: u64,
}

struct StreamSum {
    sums: Topic,
}

impl Application for StreamSum {
    type Store = JournalStore;

    async fn consume(
        &mut self,
        transaction: &mut Transaction<'_, JournalStore>,
        message: &Incoming,
    ) -> Result<Flow, BoxError> {
        let chunk: Chunk = serde_json::from_slice(&message.payload.decode()?.body.to_vec())?;
        let mut sum: Sum = match transaction.store.get(chunk.stream.as_bytes())? {
            Some(known) => serde_json::from_slice(&known)?,
            None => Sum { sum: 0xcbf2_9ce4_8422_2325, stream: chunk.stream.clone(), ..Sum::default() },
        };
        // A line that was written by hand has no UUID, and may come twice.
        if chunk.number != sum.chunks + 1 {
            return Ok(Flow::Next);
        }
        sum.chunks += 1;
        for byte in chunk.data.iter().flat_map(|data| data.bytes()) {
            sum.sum = (sum.sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if chunk.data.is_none() {
            let meta = Meta { key: chunk.stream.as_str().into(), ..Meta::default() };
            transaction.publish(&self.sums, &meta, &serde_json::to_vec(&sum)?)?;
        }
        transaction.store.put(chunk.stream, serde_json::to_vec(&sum)?);
        Ok(Flow::Next)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let client = courant_examples::client()?;
    for (name, content_type) in [
        (CHUNKS, "application/x-ndjson"),
        (SUMS, "application/x-ndjson"),
        (SHARD, "application/x-protobuf-fixed"),
    ] {
        // One that is there stays as it is.
        let change = apply_request::Change { upsert: Some(spec(name, content_type)), ..Default::default() };
        let _ = client.apply(ApplyRequest { changes: vec![change] }).await;
    }
    let mut application = StreamSum { sums: Topic::of_journal(&client, SUMS).await? };
    let shard = Shard { sources: vec![Source::new(CHUNKS)], ..Shard::default() };
    let file = ViewFile::in_memory()?;
    loop {
        let producer = Producer::new(rand::random());
        let store = JournalStore::open(&client, SHARD, file.clone(), producer).await?;
        let (epoch, transactions) = (store.owner().epoch, store.sequence());
        writeln!(
            std::io::stdout(),
            "primary of {SHARD} in epoch {epoch}, after {transactions} transactions"
        )?;
        let ports = Ports { client: client.clone(), clock: Arc::new(Wall), producer };
        let stop = async { drop(ctrl_c().await) };
        match run(&shard, ports, store, &mut application, stop).await {
            // A broker was lost: what was not committed is made again.
            Err(error) if error.is_transient() => sleep(Duration::from_secs(1)).await,
            ended => return ended.context("the shard has ended"),
        }
    }
}

#[derive(Debug)]
struct Wall;

impl courant_proto::Clock for Wall {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::UNIX_EPOCH.plus(since)
    }
}

fn spec(name: &str, content_type: &str) -> JournalSpec {
    let label = Label { name: "content-type".to_owned(), value: content_type.to_owned(), prefix: false };
    JournalSpec {
        name: name.to_owned(),
        replication: 1,
        labels: Some(LabelSet { labels: vec![label] }),
        fragment: Some(journal_spec::Fragment {
            length: 64 << 20,
            compression_codec: 2,
            stores: vec!["file:///".to_owned()],
            refresh_interval: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
            ..Default::default()
        }),
        ..Default::default()
    }
}
