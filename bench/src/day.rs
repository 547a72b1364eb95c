//! A day of many small journals, shortened: each is written to a little in every hour, and flushed at the end of it. An hour is a flush
//! interval, of which the shortest that there may be is a minute. What the broker takes of memory meanwhile, and what it asks of its store.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http_body_util::Full;
use serde::Serialize;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::args::{Codec, DayArgs};
use crate::output::{Findings, Sheet, number};
use crate::server::Server;
use crate::setup::Setup;
use crate::{files, framing, grpc, journals, net};

/// Bytes that are written to each journal in an hour.
const WRITTEN: usize = 500;

/// Journals that are written to at the same time.
const WRITERS: usize = 16;

/// How long an hour is: the flush interval that journals are made with.
const HOUR: Duration = Duration::from_secs(60);

/// The part of an hour over which what is written is spread.
const WRITING: Duration = Duration::from_secs(45);

/// How often the broker is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Longest wait until all is stored.
const STORED: Duration = Duration::from_secs(120);

#[derive(Debug, Default, Serialize)]
struct Found {
    journals: usize,
    hours: u32,
    appends: u64,
    base_rss_bytes: u64,
    most_rss_bytes: u64,
    /// Spools that were uploaded.
    uploads: f64,
    /// Requests of each kind: all, in a second on the mean, and in one at most.
    requests: BTreeMap<String, Requests>,
    /// From the end of the last hour until all was stored.
    stored_after_s: f64,
    /// Stopping with an hour's content that is not stored.
    drain_s: f64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Requests {
    total: f64,
    mean: f64,
    most: f64,
}

pub(crate) async fn run(setup: &Setup, args: &DayArgs) -> Result<Findings> {
    let count = args.journals.unwrap_or(if setup.quick { 500 } else { 10_000 });
    let hours = args.hours.unwrap_or(if setup.quick { 1 } else { 24 });
    ensure!(count > 0 && hours > 0, "--journals {count} --hours {hours}: expected at least 1 of each");
    let names: Vec<String> =
        (0..count).map(|number| format!("day/{:03}/{number:06}", number % 997)).collect();
    let home = setup.home()?;
    let courant = Server::courant(setup, &home).await?;
    let client = journals::client(courant.address)?;
    let base_rss_bytes = courant.resident_bytes()?;
    files::tell(&format!("day: creating {count} journals"));
    journals::create(&client, &names, Codec::Gzip, 1).await?;

    let mut found = Found { journals: count, hours, base_rss_bytes, ..Found::default() };
    for hour in 1..=hours {
        files::tell(&format!("day: hour {hour} of {hours}"));
        let began = Instant::now();
        let mut watch = Watch::begin(&courant).await?;
        let work = async {
            courant.explain(write_each(&courant, &names).await)?;
            sleep(HOUR.saturating_sub(began.elapsed())).await;
            anyhow::Ok(())
        };
        let mut work = std::pin::pin!(work);
        let mut looks = interval(LOOK);
        loop {
            tokio::select! {
                done = &mut work => { done?; break }
                _ = looks.tick() => watch.look(&courant, &mut found).await?,
            }
        }
        watch.look(&courant, &mut found).await?;
        found.appends += count as u64;
    }
    let ended = Instant::now();
    let mut watch = Watch::begin(&courant).await?;
    while Metrics::of(courant.address).await?.value("courant_unpersisted_bytes") > 0.0 {
        ensure!(ended.elapsed() < STORED, "not all is stored {STORED:?} after the last hour");
        sleep(LOOK / 4).await;
        if ended.elapsed().as_millis() % 1000 < 300 {
            watch.look(&courant, &mut found).await?;
        }
    }
    found.stored_after_s = ended.elapsed().as_secs_f64();
    let span = f64::from(hours) * HOUR.as_secs_f64();
    for requests in found.requests.values_mut() {
        requests.mean = requests.total / span;
    }
    found.uploads = Metrics::of(courant.address)
        .await?
        .value("courant_spool_persist_attempts_total{outcome=\"uploaded\"}");
    courant.explain(write_each_at_once(&courant, &names).await)?;
    found.drain_s = courant.stop_well().await?.as_secs_f64();
    let sheet = sheet(&found);
    Findings::new("day", &found, vec![sheet])
}

/// Writes to each journal once, spread evenly.
async fn write_each(courant: &Server, names: &[String]) -> Result<()> {
    let (caller, _connection) = grpc::connect::<Full<Bytes>>(courant.address).await?;
    let began = Instant::now();
    let left = RefCell::new(names.iter().enumerate());
    let loops = (0..WRITERS).map(|_| async {
        let mut caller = caller.clone();
        loop {
            let Some((number, name)) = left.borrow_mut().next() else { return anyhow::Ok(()) };
            let at = began + WRITING.mul_f64(number as f64 / names.len() as f64);
            tokio::time::sleep_until(at).await;
            let body = framing::append_body(name, &[b'.'; WRITTEN], WRITTEN);
            caller.append(Full::new(body)).await.with_context(|| format!("cannot append to {name}"))?;
        }
    });
    try_join_all(loops).await?;
    Ok(())
}

async fn write_each_at_once(courant: &Server, names: &[String]) -> Result<()> {
    let (caller, _connection) = grpc::connect::<Full<Bytes>>(courant.address).await?;
    let left = RefCell::new(names.iter());
    let loops = (0..WRITERS).map(|_| async {
        let mut caller = caller.clone();
        loop {
            let Some(name) = left.borrow_mut().next() else { return anyhow::Ok(()) };
            let body = framing::append_body(name, &[b'.'; WRITTEN], WRITTEN);
            caller.append(Full::new(body)).await.with_context(|| format!("cannot append to {name}"))?;
        }
    });
    try_join_all(loops).await?;
    Ok(())
}

/// What was seen last of the broker's metrics.
struct Watch {
    at: Instant,
    metrics: Metrics,
}

impl Watch {
    async fn begin(courant: &Server) -> Result<Self> {
        Ok(Self { at: Instant::now(), metrics: Metrics::of(courant.address).await? })
    }

    async fn look(&mut self, courant: &Server, found: &mut Found) -> Result<()> {
        found.most_rss_bytes = found.most_rss_bytes.max(courant.resident_bytes()?);
        let next = Self::begin(courant).await?;
        let span = next.at.duration_since(self.at).as_secs_f64().max(0.1);
        for (kind, total) in &next.metrics.requests() {
            let more = total - self.metrics.requests().get(kind).copied().unwrap_or(0.0);
            let requests = found.requests.entry(kind.clone()).or_default();
            requests.total += more;
            requests.most = requests.most.max(more / span);
        }
        *self = next;
        Ok(())
    }
}

/// The samples of an exposition, by name and labels.
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    async fn of(address: SocketAddr) -> Result<Self> {
        let text = timeout(Duration::from_secs(30), net::text(address, "/metrics")).await??;
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Self(samples.collect()))
    }

    fn value(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// Requests to stores by kind.
    fn requests(&self) -> BTreeMap<String, f64> {
        let mut requests = BTreeMap::new();
        for (name, value) in &self.0 {
            let Some(labels) = name.strip_prefix("gazette_store_operation_total{") else { continue };
            let kind = labels.split("operation=\"").nth(1).and_then(|rest| rest.split('"').next());
            // A URL is signed without a request.
            if let Some(kind) = kind.filter(|kind| *kind != "signget") {
                *requests.entry(kind.to_owned()).or_default() += value;
            }
        }
        requests
    }
}

fn sheet(found: &Found) -> Sheet {
    let mib = |bytes: u64| number(bytes as f64 / f64::from(1 << 20));
    let row = |what: String, value: String, unit: &str| vec![what, value, unit.to_owned()];
    let mut rows = vec![
        row("appends".to_owned(), found.appends.to_string(), ""),
        row("RSS without journals".to_owned(), mib(found.base_rss_bytes), "MiB"),
        row("RSS at most".to_owned(), mib(found.most_rss_bytes), "MiB"),
        row("uploads".to_owned(), number(found.uploads), ""),
    ];
    for (kind, requests) in &found.requests {
        rows.push(row(format!("requests: {kind}"), number(requests.total), ""));
        rows.push(row("  in a second, on the mean".to_owned(), number(requests.mean), "1/s"));
        rows.push(row("  in a second, at most".to_owned(), number(requests.most), "1/s"));
    }
    rows.push(row("all stored after the last hour in".to_owned(), number(found.stored_after_s), "s"));
    rows.push(row("stopping with an hour's content".to_owned(), number(found.drain_s), "s"));
    Sheet {
        title: format!("{} journals, {} hours of {} s each", found.journals, found.hours, HOUR.as_secs()),
        headings: vec!["what", "value", "unit"],
        rows,
        notes: vec![
            "In a day as long as a day, requests come at most as often in a second, and on the mean a sixtieth as often."
                .to_owned(),
        ],
    }
}
