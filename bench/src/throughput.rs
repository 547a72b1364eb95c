//! One journal's bytes: bursts of 1-MiB appends by codec and callers, what they cost, and how long the codec takes
//! to catch up; beside a no-op through the same stack and the machine's own limits.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http_body_util::Full;
use serde::Serialize;
use tokio::time::{Instant, timeout};

use crate::args::{Codec, ThroughputArgs};
use crate::cluster::Cluster;
use crate::limits::{self, Limits};
use crate::output::{Findings, Sheet, number, times};
use crate::server::own_cpu;
use crate::setup::Setup;
use crate::stats::{median, ratio};
use crate::{files, framing, grpc, journals};

/// Bytes of one append.
const APPEND: usize = 1 << 20;

/// Different appends, so that no codec finds the one before within its window.
const BODIES: u64 = 16;

/// Longest wait for a codec.
const CATCHING_UP: Duration = Duration::from_secs(180);

/// Longest burst.
const BURST: Duration = Duration::from_secs(300);

#[derive(Debug, Serialize)]
struct Found {
    burst_mib: usize,
    limits: Limits,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    /// `None` is the no-op.
    codec: Option<Codec>,
    callers: usize,
    mb_per_s: f64,
    /// Of the server while the burst lasted, per GB.
    cpu_s_per_gb: f64,
    /// And until it had nothing more to do.
    cpu_s_per_gb_in_all: f64,
    generator_cpu_s_per_gb: f64,
    /// From the end of the burst until the server had nothing more to do.
    catch_up_s: f64,
    /// The rate of a journal with codec NONE and as many callers, by this one's. Zero for the no-op.
    slower_than_none: f64,
    /// This rate by that of the no-op with as many callers.
    of_noop: f64,
}

#[derive(Clone, Copy)]
struct Sample {
    mb_per_s: f64,
    cpu: f64,
    cpu_in_all: f64,
    generator_cpu: f64,
    catch_up: f64,
}

pub(crate) async fn run(setup: &Setup, args: &ThroughputArgs) -> Result<Findings> {
    ensure!(args.callers.iter().all(|callers| *callers > 0), "--callers 0: expected at least 1");
    let burst_mib = args.burst_mib.unwrap_or(if setup.quick { 128 } else { 512 });
    ensure!(burst_mib > 0, "--burst-mib 0: expected at least 1");
    let cases: Vec<(Option<Codec>, usize)> = args
        .callers
        .iter()
        .flat_map(|callers| {
            let codecs = args.codecs.iter().map(|codec| Some(*codec)).chain([None]);
            codecs.map(move |codec| (codec, *callers))
        })
        .collect();
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); cases.len()];
    let mut limits = Vec::new();
    for round in 0..setup.rounds {
        // A broker of its own for each round, so that what one left behind slows no other.
        let home = setup.home()?;
        limits.push(limits::measure(&home)?);
        let (courant, noop) = (Cluster::courant(setup, &home).await?, Cluster::noop(&home).await?);
        warm_up(&courant, &noop, args.chunk).await?;
        for (number, &(codec, callers)) in cases.iter().enumerate() {
            files::tell(&format!("throughput: round {}, {}, {callers} callers", round + 1, name(codec)));
            let journal = format!("bench/{}-{callers}", name(codec).to_lowercase());
            let burst = Burst { journal: &journal, callers, mib: burst_mib, chunk: args.chunk };
            let sample = match codec {
                Some(codec) => burst.on_courant(&courant, codec).await,
                None => burst.on(&noop, noop.address()).await,
            };
            samples[number].push(courant.explain(sample.context(journal))?);
        }
        courant.stop_well().await?;
    }
    let mut rows: Vec<Row> = cases
        .iter()
        .zip(&samples)
        .map(|(&(codec, callers), samples)| Row::of(codec, callers, samples))
        .collect();
    let rate_of = |codec: Option<Codec>, callers: usize| {
        let found = cases.iter().zip(&samples).find(|(case, _)| **case == (codec, callers));
        found.map_or(0.0, |(_, samples)| median(samples.iter().map(|sample| sample.mb_per_s)))
    };
    for row in &mut rows {
        row.of_noop = ratio(row.mb_per_s, rate_of(None, row.callers));
        if row.codec.is_some() {
            row.slower_than_none = ratio(rate_of(Some(Codec::None), row.callers), row.mb_per_s);
        }
    }
    let limits = Limits {
        sha1_gb_per_s: median(limits.iter().map(|l| l.sha1_gb_per_s)),
        copy_and_write_gb_per_s: median(limits.iter().map(|l| l.copy_and_write_gb_per_s)),
    };
    let found = Found { burst_mib, limits, rows };
    let sheet = sheet(&found, setup);
    Findings::new("throughput", &found, vec![sheet])
}

fn name(codec: Option<Codec>) -> &'static str {
    match codec {
        Some(Codec::None) => "NONE",
        Some(Codec::Gzip) => "GZIP",
        Some(Codec::Snappy) => "SNAPPY",
        Some(Codec::Zstandard) => "ZSTANDARD",
        None => "no-op",
    }
}

/// Memory that was never touched is dear: some of it is, before anything is measured.
async fn warm_up(courant: &Cluster, noop: &Cluster, chunk: usize) -> Result<()> {
    let burst = Burst { journal: "bench/warm-up", callers: 2, mib: 64, chunk };
    burst.on_courant(courant, Codec::None).await?;
    burst.on(noop, noop.address()).await?;
    Ok(())
}

/// So many MiB for one journal, by so many callers at once.
struct Burst<'a> {
    journal: &'a str,
    callers: usize,
    mib: usize,
    chunk: usize,
}

impl Burst<'_> {
    async fn on_courant(&self, courant: &Cluster, codec: Codec) -> Result<Sample> {
        let client = journals::client(courant.address())?;
        let placed = courant.place(&client, self.journal, codec, b"\n".to_vec()).await?;
        let head = client.head(self.journal).await?;
        let sample = self.on(courant, placed.address).await?;
        courant.ensure_stayed(&client, &placed).await?;
        journals::ensure_grew(&client, self.journal, head, u64::try_from(self.mib)?, APPEND).await?;
        Ok(sample)
    }

    async fn on(&self, cluster: &Cluster, address: SocketAddr) -> Result<Sample> {
        let bodies: Vec<Bytes> = (1..=BODIES)
            .map(|seed| framing::append_body(self.journal, &log_lines(APPEND, seed), self.chunk))
            .collect();
        let mut callers = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..self.callers {
            let (caller, connection) = grpc::connect::<Full<Bytes>>(address).await?;
            callers.push(caller);
            connections.push(connection);
        }
        let next = Cell::new(0);
        let (cpu_before, own_before, began) = (cluster.cpu()?, own_cpu()?, Instant::now());
        let loops = callers.into_iter().map(|mut caller| {
            let (next, bodies) = (&next, &bodies);
            async move {
                while next.get() < self.mib {
                    let body = bodies[next.get() % bodies.len()].clone();
                    next.set(next.get() + 1);
                    caller.append(Full::new(body)).await?;
                }
                anyhow::Ok(())
            }
        });
        timeout(BURST, try_join_all(loops))
            .await
            .with_context(|| format!("the burst took longer than {BURST:?}"))??;
        let elapsed = began.elapsed();
        let (cpu, generator_cpu) =
            (cluster.cpu()?.saturating_sub(cpu_before), own_cpu()?.saturating_sub(own_before));
        let catch_up = cluster.until_quiet(CATCHING_UP).await?;
        let catch_up =
            catch_up.with_context(|| format!("the codec had not caught up after {CATCHING_UP:?}"))?;
        let cpu_in_all = cluster.cpu()?.saturating_sub(cpu_before);
        let bytes = self.mib as f64 * APPEND as f64;
        let per_gb = |time: Duration| time.as_secs_f64() * 1e9 / bytes;
        Ok(Sample {
            mb_per_s: bytes / 1e6 / elapsed.as_secs_f64().max(1e-9),
            cpu: per_gb(cpu),
            cpu_in_all: per_gb(cpu_in_all),
            generator_cpu: per_gb(generator_cpu),
            catch_up: catch_up.as_secs_f64(),
        })
    }
}

/// Lines like those of an access log, which codecs find about as compressible.
fn log_lines(size: usize, seed: u64) -> Vec<u8> {
    // A xorshift generator: the same lines in each run.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut lines = String::with_capacity(size + 256);
    while lines.len() < size {
        let verb = ["GET", "GET", "GET", "POST", "PUT"][usize::try_from(next(5)).unwrap_or(0)];
        let status = [200, 200, 200, 204, 304, 404][usize::try_from(next(6)).unwrap_or(0)];
        lines.push_str(&format!(
            "10.{}.{}.{} - - [20/Nov/2026:13:{:02}:{:02} +0000] \"{verb} /items/{}/parts/{} HTTP/1.1\" {status} {} \"-\" \"agent/{}.{}\"\n",
            next(256), next(256), next(256), next(60), next(60), next(100_000), next(500), next(50_000), next(9), next(40),
        ));
    }
    lines.truncate(size);
    lines.into_bytes()
}

impl Row {
    fn of(codec: Option<Codec>, callers: usize, samples: &[Sample]) -> Self {
        let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value));
        Self {
            codec,
            callers,
            mb_per_s: of(|s| s.mb_per_s),
            cpu_s_per_gb: of(|s| s.cpu),
            cpu_s_per_gb_in_all: of(|s| s.cpu_in_all),
            generator_cpu_s_per_gb: of(|s| s.generator_cpu),
            catch_up_s: of(|s| s.catch_up),
            slower_than_none: 0.0,
            of_noop: 0.0,
        }
    }
}

fn sheet(found: &Found, setup: &Setup) -> Sheet {
    let cells = |row: &Row| {
        vec![
            name(row.codec).to_owned(),
            row.callers.to_string(),
            number(row.mb_per_s),
            number(row.cpu_s_per_gb),
            number(row.cpu_s_per_gb_in_all),
            number(row.generator_cpu_s_per_gb),
            number(row.catch_up_s),
            if row.slower_than_none > 0.0 { times(row.slower_than_none) } else { "-".to_owned() },
            times(row.of_noop),
        ]
    };
    let Limits { sha1_gb_per_s, copy_and_write_gb_per_s } = found.limits;
    let mut notes = vec![
        format!(
            "Limits of one thread in the same run: SHA-1 {} GB/s, copy and write to the data folder {} GB/s.",
            number(sha1_gb_per_s),
            number(copy_and_write_gb_per_s)
        ),
        "\"In all\" and \"catch-up\" go on until the server rests: what codecs and stores still had to do."
            .to_owned(),
    ];
    notes.extend(setup.cluster_note());
    Sheet {
        title: format!("One journal, bursts of {} appends of 1 MiB", found.burst_mib),
        headings: vec![
            "codec",
            "callers",
            "MB/s",
            "CPU-s/GB",
            "CPU-s/GB in all",
            "load CPU-s/GB",
            "catch-up s",
            "NONE by this",
            "this by no-op",
        ],
        rows: found.rows.iter().map(cells).collect(),
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_differ_by_seed_and_not_by_run() {
        let first = log_lines(10_000, 1);
        assert_eq!(first.len(), 10_000);
        assert_eq!(first, log_lines(10_000, 1));
        assert_ne!(first, log_lines(10_000, 2));
    }
}
