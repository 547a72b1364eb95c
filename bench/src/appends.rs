//! Small appends: how many, how fast, and for how much processor time, in turn with a no-op through the same stack.

use std::time::Duration;

use anyhow::{Context as _, Result};
use courant_client::Client;
use serde::Serialize;

use crate::args::{AppendsArgs, Codec, Surface};
use crate::cluster::Cluster;
use crate::load::Load;
use crate::output::{Findings, Sheet, micros, number, times};
use crate::setup::{Home, Setup};
use crate::stats::{Percentiles, median, ratio};
use crate::{files, journals};

/// One way in, one size, one concurrency: the broker beside the no-op.
#[derive(Debug, Serialize)]
struct Row {
    surface: Surface,
    size_bytes: usize,
    in_flight: usize,
    courant: Measured,
    noop: Measured,
    /// The broker's appends per second by the no-op's.
    throughput_ratio: f64,
    /// The broker's p50 by the no-op's, or by two of the no-op's where others have to hold an append too.
    p50_ratio: f64,
}

/// Medians over the rounds.
#[derive(Debug, Serialize)]
struct Measured {
    appends_per_s: f64,
    #[serde(flatten)]
    percentiles: Percentiles,
    server_cpu_us_per_append: f64,
    generator_cpu_us_per_append: f64,
    resident_mib: f64,
}

/// One round.
struct Sample {
    per_second: f64,
    percentiles: Percentiles,
    server_cpu: Duration,
    generator_cpu: Duration,
    requests: u64,
    resident_bytes: u64,
}

pub(crate) async fn run(setup: &Setup, args: &AppendsArgs) -> Result<Findings> {
    let (home, noop_home) = (setup.home()?, setup.home()?);
    let courant = Cluster::courant(setup, &home).await?;
    let noop = Cluster::noop(&noop_home).await?;
    let client = journals::client(courant.address())?;
    let mut rows = Vec::new();
    for &surface in &args.surfaces {
        for &size in &args.sizes {
            for &in_flight in &args.in_flight {
                files::tell(&format!("appends: {} {size} B, {in_flight} in flight", surface.name()));
                let journal = format!("bench/{}-{size}-{in_flight}", surface.name());
                // Where it goes is known once the journal is there.
                let load = Load { surface, address: courant.address(), journal, size, in_flight };
                let pair = Pair { setup, load, courant: (&courant, &home), noop: (&noop, &noop_home) };
                let row = pair.measure(&client).await;
                let row = row.with_context(|| format!("{} {size} B, {in_flight} in flight", surface.name()));
                rows.push(courant.explain(row)?);
            }
        }
    }
    courant.stop_well().await?;
    let sheet = sheet(&rows, setup);
    Findings::new("appends", &rows, vec![sheet])
}

/// The two that take turns.
struct Pair<'a> {
    setup: &'a Setup,
    load: Load,
    courant: (&'a Cluster, &'a Home),
    noop: (&'a Cluster, &'a Home),
}

impl Pair<'_> {
    async fn measure(mut self, client: &Client) -> Result<Row> {
        let Load { surface, size, in_flight, .. } = self.load;
        let noop_load = Load { address: self.noop.0.address(), ..self.load.clone() };
        let placed = self.courant.0.place(client, &self.load.journal, Codec::None, vec![b'.'; size]).await?;
        self.load.address = placed.address;
        let name = &self.load.journal;
        let mut head = client.head(name).await?;

        let (requests, warmed) = self.load.warm_up(self.setup, self.courant.1).await?;
        head = journals::ensure_grew(client, name, head, warmed, size).await?;
        let (noop_requests, _) = noop_load.warm_up(self.setup, self.noop.1).await?;

        let (mut courant, mut noop) = (Vec::new(), Vec::new());
        for _ in 0..self.setup.rounds {
            let sample = sample(self.setup, &self.load, self.courant, requests).await?;
            head = journals::ensure_grew(client, name, head, sample.requests, size).await?;
            courant.push(sample);
            noop.push(self::sample(self.setup, &noop_load, self.noop, noop_requests).await?);
        }
        self.courant.0.ensure_stayed(client, &placed).await?;
        let (courant, noop) = (Measured::of(&courant), Measured::of(&noop));
        let least_us = noop.percentiles.p50_us * f64::from(self.courant.0.round_trips());
        Ok(Row {
            surface,
            size_bytes: size,
            in_flight,
            throughput_ratio: ratio(courant.appends_per_s, noop.appends_per_s),
            p50_ratio: ratio(courant.percentiles.p50_us, least_us),
            courant,
            noop,
        })
    }
}

async fn sample(
    setup: &Setup,
    load: &Load,
    (cluster, home): (&Cluster, &Home),
    requests: u64,
) -> Result<Sample> {
    let before = cluster.cpu()?;
    let outcome = load.run(setup, home, requests).await?;
    Ok(Sample {
        per_second: outcome.per_second(),
        percentiles: Percentiles::of(&outcome.times),
        server_cpu: cluster.cpu()?.saturating_sub(before),
        generator_cpu: outcome.generator_cpu,
        requests: outcome.requests,
        resident_bytes: cluster.resident_bytes()?,
    })
}

impl Measured {
    fn of(samples: &[Sample]) -> Self {
        let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value));
        let percentiles: Vec<Percentiles> = samples.iter().map(|sample| sample.percentiles).collect();
        Self {
            appends_per_s: of(|sample| sample.per_second),
            percentiles: Percentiles::medians(&percentiles),
            server_cpu_us_per_append: of(|sample| {
                sample.server_cpu.as_secs_f64() * 1e6 / sample.requests as f64
            }),
            generator_cpu_us_per_append: of(|sample| {
                sample.generator_cpu.as_secs_f64() * 1e6 / sample.requests as f64
            }),
            resident_mib: of(|sample| sample.resident_bytes as f64 / f64::from(1 << 20)),
        }
    }
}

fn sheet(rows: &[Row], setup: &Setup) -> Sheet {
    let cells = |row: &Row| {
        vec![
            row.surface.name().to_owned(),
            row.size_bytes.to_string(),
            row.in_flight.to_string(),
            number(row.courant.appends_per_s),
            micros(row.courant.percentiles.p50_us),
            micros(row.courant.percentiles.p99_us),
            micros(row.courant.percentiles.p999_us),
            number(row.courant.server_cpu_us_per_append),
            number(row.courant.generator_cpu_us_per_append),
            number(row.courant.resident_mib),
            number(row.noop.appends_per_s),
            micros(row.noop.percentiles.p50_us),
            number(row.noop.server_cpu_us_per_append),
            times(row.throughput_ratio),
            times(row.p50_ratio),
        ]
    };
    let mut notes = vec![
        "CPU is the server's per append; the ratios are broker by no-op: rate 1 and p50 1 are the limit."
            .to_owned(),
    ];
    notes.extend(setup.cluster_note());
    if setup.brokers > 1 {
        notes.push(
            "The p50 ratio is against two no-op round trips: to the primary, and on to the others."
                .to_owned(),
        );
    }
    Sheet {
        title: "Appends, and beside them a no-op through the same stack".to_owned(),
        headings: vec![
            "way in",
            "bytes",
            "in flight",
            "appends/s",
            "p50",
            "p99",
            "p99.9",
            "CPU µs",
            "load CPU µs",
            "RSS MiB",
            "no-op/s",
            "no-op p50",
            "no-op CPU µs",
            "rate ratio",
            "p50 ratio",
        ],
        rows: rows.iter().map(cells).collect(),
        notes,
    }
}
