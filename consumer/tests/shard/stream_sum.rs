//! Many streams of chunks, and a shard that keeps a running sum of each: killed at any point, again and again.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use courant_consumer::{Application, BoxError, Flow, Incoming, JournalStore, Topic, Transaction, ViewFile};
use courant_message::{Clock, Flags, Meta};
use courant_proto::wire;
use futures::future::pending;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{sleep, timeout};

use crate::scene::{SUMS, Scene, message};

/// Nothing here takes that long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A stream's number, the chunk's, and what it holds; nothing at the stream's end.
type Chunk = (u32, u32, Option<u32>);

/// The sum of each stream, which is published at its end. A chunk that is not the next one of its stream is an error.
pub(crate) struct Sum {
    pub(crate) sums: Topic,
}

impl Sum {
    pub(crate) async fn on(scene: &Scene) -> Self {
        Self { sums: Topic::of_journal(&scene.client(), SUMS).await.expect("a journal") }
    }
}

impl Application for Sum {
    type Store = JournalStore;

    async fn consume(
        &mut self,
        transaction: &mut Transaction<'_, JournalStore>,
        message: &Incoming,
    ) -> Result<Flow, BoxError> {
        let (stream, number, value): Chunk =
            serde_json::from_slice(&message.payload.decode()?.body.to_vec())?;
        let key = stream.to_be_bytes().to_vec();
        let known = transaction.store.get(&key)?;
        let (before, sum) = match &known {
            Some(known) => serde_json::from_slice(known)?,
            None => (0_u32, 0_u64),
        };
        if number != before + 1 {
            return Err(format!("chunk {number} of stream {stream} after {before}").into());
        }
        let sum = sum.wrapping_mul(31).wrapping_add(value.unwrap_or_default().into());
        transaction.store.put(key, serde_json::to_vec(&(number, sum))?);
        if value.is_none() {
            transaction.publish(&self.sums, &Meta::default(), &serde_json::to_vec(&(stream, sum))?)?;
        }
        Ok(Flow::Next)
    }
}

/// Streams on their way to the journals; what their sums come to.
pub(crate) struct Chunker {
    rng: SmallRng,
    pub(crate) sums: BTreeMap<u32, u64>,
}

impl Chunker {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), sums: BTreeMap::new() }
    }

    /// Publishes streams from one number up to another, interleaved, in and outside of transactions, with appends that are repeated.
    pub(crate) async fn publish(&mut self, scene: &Scene, streams: std::ops::Range<u32>, chunks: u32) {
        let client = scene.client();
        let producer = scene.producer();
        let mut clock = Clock::at(scene.now());
        let mut open: Vec<(u32, u32, u64)> = streams.map(|stream| (stream, 0, 0)).collect();
        while !open.is_empty() {
            // A producer has transactions in a journal, or none.
            let mut batches = [BytesMut::new(), BytesMut::new()];
            for _ in 0..self.rng.random_range(1..40) {
                if open.is_empty() {
                    break;
                }
                let index = self.rng.random_range(0..open.len());
                let (stream, number, sum) = &mut open[index];
                *number += 1;
                let value: Option<u32> = (*number <= chunks).then(|| self.rng.random());
                *sum = sum.wrapping_mul(31).wrapping_add(value.unwrap_or_default().into());
                let part = usize::from(*stream % 2 == 1);
                let flags = if part == 1 { Flags::CONTINUE_TXN } else { Flags::OUTSIDE_TXN };
                let chunk: Chunk = (*stream, *number, value);
                let body = serde_json::to_vec(&chunk).expect("JSON");
                batches[part].extend_from_slice(&message(producer, &mut clock, flags, &body));
                if value.is_none() {
                    self.sums.insert(*stream, *sum);
                    open.swap_remove(index);
                }
            }
            for (part, mut batch) in batches.into_iter().enumerate() {
                if batch.is_empty() {
                    continue;
                }
                if part == 1 {
                    batch.extend_from_slice(&message(producer, &mut clock, Flags::ACK_TXN, b"{}"));
                }
                let batch = batch.freeze();
                for _ in 0..self.rng.random_range(1..=2) {
                    let journal = format!("examples/chunks/part-{part}");
                    let request = wire::AppendRequest { journal, ..Default::default() };
                    client.append(request, batch.clone()).await.expect("appended");
                }
            }
        }
    }

    /// Waits until as many sums are there as there should be; then each must be there once, and right.
    pub(crate) async fn check(&self, scene: &Scene) {
        let all = async {
            while scene.committed(SUMS).await.len() < self.sums.len() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, all).await.expect("all sums are there in the end");
        let found = scene.committed(SUMS).await;
        let sums: Vec<(u32, u64)> =
            found.iter().map(|body| serde_json::from_slice(body).expect("a sum")).collect();
        let by_stream: BTreeMap<u32, u64> = sums.iter().copied().collect();
        assert_eq!(by_stream.len(), sums.len(), "a sum was published twice: {sums:?}");
        assert_eq!(by_stream, self.sums);
    }
}

#[tokio::test]
async fn a_run_goes_on_to_its_end() {
    let scene = Scene::start().await;
    let mut chunker = Chunker::new(1);
    let mut application = Sum::on(&scene).await;
    let file = ViewFile::in_memory().expect("a view");
    let stop = async {
        chunker.publish(&scene, 0..20, 20).await;
        chunker.check(&scene).await;
    };
    scene.run(&file, &mut application, stop).await.expect("it stops");
    // Nothing is left to be done, nor done again.
    scene.run(&file, &mut application, sleep(Duration::from_millis(200))).await.expect("it stops");
    chunker.check(&scene).await;
}

/// Runs are dropped anywhere: with appends on their way, before a commit and after it, while they recover.
#[tokio::test]
async fn sums_are_exact_whatever_is_dropped() {
    let scene = Scene::start().await;
    let mut chunker = Chunker::new(2);
    let mut application = Sum::on(&scene).await;
    let folder = tempfile::tempdir().expect("a folder");
    let kept = ViewFile::open(&folder.path().join("view")).expect("a view");
    let mut rng = SmallRng::seed_from_u64(3);
    let mut dropped = 0_u64;
    let runs = async {
        loop {
            // Some have to make their view anew.
            let file = if rng.random() { kept.clone() } else { ViewFile::in_memory().expect("a view") };
            // On a busy machine the first ones do not live long enough to come to anything.
            let life = Duration::from_millis(rng.random_range(1..60 + 10 * dropped));
            match timeout(life, scene.run(&file, &mut application, pending())).await {
                Err(_) => dropped += 1,
                Ok(Err(error)) if error.is_transient() => {}
                Ok(ended) => panic!("it ended by itself: {ended:?}"),
            }
        }
    };
    let load = async {
        for round in 0..10 {
            chunker.publish(&scene, round * 10..round * 10 + 10, 30).await;
            sleep(Duration::from_millis(100)).await;
        }
        chunker.check(&scene).await;
    };
    tokio::select! {
        () = runs => {}
        () = load => {}
    }
    assert!(dropped > 5, "{dropped} runs were dropped");
    // What was on its way when the last one was dropped makes no difference either.
    let done = sleep(Duration::from_millis(300));
    scene.run(&kept, &mut application, done).await.expect("it stops");
    chunker.check(&scene).await;
}

#[tokio::test]
async fn sums_are_exact_though_the_broker_is_killed() {
    let mut scene = Scene::start().await;
    let mut chunker = Chunker::new(4);
    let mut application = Sum::on(&scene).await;
    let file = ViewFile::in_memory().expect("a view");
    for round in 0..4 {
        chunker.publish(&scene, round * 10..round * 10 + 10, 30).await;
        let life = Duration::from_millis(150 + 100 * u64::from(round));
        let _ = timeout(life, scene.run(&file, &mut application, pending())).await;
        // In the middle of a run as well.
        let run = scene.run(&file, &mut application, pending());
        let run = timeout(Duration::from_millis(40), run).await;
        assert!(run.as_ref().map_or(true, |ended| ended.as_ref().is_err()), "{run:?}");
        scene.node.kill();
        scene.node.restart().await;
    }
    let stop = chunker.check(&scene);
    scene.run(&file, &mut application, stop).await.expect("it stops");
}
