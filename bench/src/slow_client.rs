//! One client that sends slowly, among many that do not, on one journal: what it does to the others.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::args::{Codec, Surface};
use crate::load::Load;
use crate::output::{Findings, Sheet, micros, number, times};
use crate::server::Server;
use crate::setup::{Home, Setup};
use crate::stats::{Percentiles, median, ratio};
use crate::{files, framing, grpc, journals};

const JOURNAL: &str = "bench/slow-client";
const FAST: usize = 63;
const SIZE: usize = 100;

/// The slow client sends so much, so often: 64 KiB a second, little above what a broker may demand.
const PIECE: usize = 6_554;
const PIECES_EVERY: Duration = Duration::from_millis(100);

/// How long the slow append may take to commit.
const COMMITTING: Duration = Duration::from_secs(30);

#[derive(Debug, Serialize)]
struct Found {
    fast_clients: usize,
    without: Measured,
    with_slow: Measured,
    p99_ratio: f64,
    /// Bytes of the last slow append, which was committed whole.
    slow_append_bytes: usize,
}

#[derive(Debug, Serialize)]
struct Measured {
    appends_per_s: f64,
    #[serde(flatten)]
    percentiles: Percentiles,
}

struct Sample {
    per_second: f64,
    percentiles: Percentiles,
}

pub(crate) async fn run(setup: &Setup) -> Result<Findings> {
    let home = setup.home()?;
    let courant = Server::courant(setup, &home).await?;
    let found = courant.explain(compare(setup, &home, &courant).await)?;
    courant.stop_well().await?;
    let sheet = sheet(&found);
    Findings::new("slow-client", &found, vec![sheet])
}

async fn compare(setup: &Setup, home: &Home, courant: &Server) -> Result<Found> {
    let client = journals::client(courant.address)?;
    journals::create_and_append(&client, JOURNAL, Codec::None, 1, vec![b'.'; SIZE]).await?;
    let load = Load {
        surface: Surface::Grpc,
        address: courant.address,
        journal: JOURNAL.to_owned(),
        size: SIZE,
        in_flight: FAST,
    };
    let (requests, _) = load.warm_up(setup, home).await?;
    let (mut without, mut with_slow, mut slow_append_bytes) = (Vec::new(), Vec::new(), 0);
    for round in 1..=setup.rounds {
        files::tell(&format!("slow-client: round {round}"));
        without.push(sample(&load, setup, home, requests).await?);

        let head = client.head(JOURNAL).await?;
        let (stop, stopped) = watch::channel(false);
        let mut slow = JoinSet::new();
        slow.spawn(slow_append(courant.address, stopped));
        sleep(PIECES_EVERY * 3).await;
        with_slow.push(sample(&load, setup, home, requests).await?);
        stop.send_replace(true);
        let ended = timeout(COMMITTING, slow.join_next()).await.context("the slow append did not end")?;
        slow_append_bytes = ended.context("there was no slow append")??.context("the slow append failed")?;
        let grown = usize::try_from(client.head(JOURNAL).await?.saturating_sub(head)).unwrap_or(0);
        let expected = usize::try_from(requests)? * SIZE + slow_append_bytes;
        anyhow::ensure!(grown == expected, "{JOURNAL} grew by {grown} bytes (expected {expected})");
    }
    let (without, with_slow) = (Measured::of(&without), Measured::of(&with_slow));
    Ok(Found {
        fast_clients: FAST,
        p99_ratio: ratio(with_slow.percentiles.p99_us, without.percentiles.p99_us),
        without,
        with_slow,
        slow_append_bytes,
    })
}

async fn sample(load: &Load, setup: &Setup, home: &Home, requests: u64) -> Result<Sample> {
    let outcome = load.run(setup, home, requests).await?;
    Ok(Sample { per_second: outcome.per_second(), percentiles: Percentiles::of(&outcome.times) })
}

type SlowBody = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// Sends piece by piece until told to stop, then commits. Returns the bytes of content.
async fn slow_append(address: std::net::SocketAddr, stopped: watch::Receiver<bool>) -> Result<usize> {
    let (mut caller, _connection) = grpc::connect::<SlowBody>(address).await?;
    let (sent, counted) = watch::channel(0);
    let pieces =
        futures::stream::unfold((sent, stopped, false), |(sent, mut stopped, committed)| async move {
            if committed {
                return None;
            }
            let told = timeout(PIECES_EVERY, stopped.wait_for(|stop| *stop)).await.is_ok();
            let (piece, committed) = if told {
                (framing::commit(), true)
            } else {
                sent.send_modify(|bytes| *bytes += PIECE);
                (framing::content_message(Bytes::from(vec![b's'; PIECE])), false)
            };
            Some((piece, (sent, stopped, committed)))
        });
    let opening = futures::stream::iter([framing::parameters(JOURNAL)]);
    let body: BoxStream<'static, _> = opening.chain(pieces).map(|piece| Ok(Frame::data(piece))).boxed();
    caller.append(StreamBody::new(body)).await?;
    let bytes = *counted.borrow();
    Ok(bytes)
}

impl Measured {
    fn of(samples: &[Sample]) -> Self {
        let percentiles: Vec<Percentiles> = samples.iter().map(|sample| sample.percentiles).collect();
        Self {
            appends_per_s: median(samples.iter().map(|sample| sample.per_second)),
            percentiles: Percentiles::medians(&percentiles),
        }
    }
}

fn sheet(found: &Found) -> Sheet {
    let cells = |what: &str, measured: &Measured, ratio: String| {
        let Percentiles { p50_us, p99_us, p999_us } = measured.percentiles;
        vec![
            what.to_owned(),
            number(measured.appends_per_s),
            micros(p50_us),
            micros(p99_us),
            micros(p999_us),
            ratio,
        ]
    };
    Sheet {
        title: format!("{} fast clients on one journal, appends of {SIZE} bytes", found.fast_clients),
        headings: vec!["beside them", "appends/s", "p50", "p99", "p99.9", "p99 ratio"],
        rows: vec![
            cells("nobody", &found.without, times(1.0)),
            cells("one that sends 64 KiB/s", &found.with_slow, times(found.p99_ratio)),
        ],
        notes: vec![format!(
            "The last slow append was committed whole, with {} bytes.",
            found.slow_append_bytes
        )],
    }
}
