//! Tailing readers: how many deliveries a second, and how long from an append's begin until a reader has it.

mod reader;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::args::{Codec, TailArgs};
use crate::cluster::Cluster;
use crate::output::{Findings, Sheet, micros, number};
use crate::server::own_cpu;
use crate::setup::Setup;
use crate::stats::{self, Percentiles, Times, median};
use crate::{files, journals, records};

/// Bytes of one append.
const RECORD: usize = 1024;

/// How long the readers may take to begin, and to end once the writer has.
const SETTLING: Duration = Duration::from_secs(60);

/// How the writer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Pace {
    /// One append each millisecond, whatever became of those before.
    Paced,
    /// As fast as they are answered.
    Saturating,
}

#[derive(Debug, Serialize)]
struct Row {
    writer: Pace,
    readers: usize,
    appends_per_s: f64,
    deliveries_per_s: f64,
    #[serde(flatten)]
    end_to_end: Percentiles,
    server_cpu_us_per_delivery: f64,
    generator_cpu_us_per_delivery: f64,
}

#[derive(Clone, Copy)]
struct Sample {
    appends_per_s: f64,
    deliveries_per_s: f64,
    end_to_end: Percentiles,
    server_cpu: f64,
    generator_cpu: f64,
}

pub(crate) async fn run(setup: &Setup, args: &TailArgs) -> Result<Findings> {
    ensure!(args.in_flight > 0, "--in-flight 0: expected at least 1");
    ensure!(args.connections != Some(0), "--connections 0: expected at least 1");
    let home = setup.home()?;
    let courant = Cluster::courant(setup, &home).await?;
    let cases: Vec<(Pace, usize)> = [Pace::Paced, Pace::Saturating]
        .into_iter()
        .flat_map(|pace| args.readers.iter().map(move |readers| (pace, *readers)))
        .collect();
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); cases.len()];
    // The first round warms up.
    for round in 0..=setup.rounds {
        for (number, &(pace, readers)) in cases.iter().enumerate() {
            if round > 0 {
                files::tell(
                    &format!("tail: round {round}, {pace:?} writer, {readers} readers").to_lowercase(),
                );
            }
            let window = if round == 0 { setup.window / 8 } else { setup.window };
            let journal = format!("bench/tail-{round}-{number}");
            let case = Case { journal: &journal, pace, readers, args, window };
            let sample = case.measure(&courant).await;
            let sample = courant.explain(sample.context(journal))?;
            if round > 0 {
                samples[number].push(sample);
            }
        }
    }
    courant.stop_well().await?;
    let rows: Vec<Row> =
        cases.iter().zip(&samples).map(|(&(p, r), samples)| Row::of(p, r, samples)).collect();
    let sheet = sheet(&rows, setup);
    Findings::new("tail", &rows, vec![sheet])
}

struct Case<'a> {
    journal: &'a str,
    pace: Pace,
    readers: usize,
    args: &'a TailArgs,
    window: Duration,
}

impl Case<'_> {
    async fn measure(&self, courant: &Cluster) -> Result<Sample> {
        let client = journals::client(courant.address())?;
        let placed = courant.place(&client, self.journal, Codec::None, records::record(RECORD, 0)).await?;
        let address = placed.address;

        let epoch = Instant::now();
        let delivered = Arc::new(AtomicU64::new(0));
        let connections = self.args.connections.unwrap_or(self.readers).min(self.readers);
        let channels: Vec<_> = (0..connections).map(|_| reader::channel(address)).collect::<Result<_>>()?;
        let mut readers = JoinSet::new();
        let (begun, mut beginnings) = tokio::sync::mpsc::channel(self.readers);
        let (end, ended) = tokio::sync::watch::channel(None);
        for number in 0..self.readers {
            readers.spawn(reader::run(reader::Reader {
                channel: channels[number % connections].clone(),
                journal: self.journal.to_owned(),
                epoch,
                delivered: Arc::clone(&delivered),
                begun: begun.clone(),
                ended: ended.clone(),
            }));
        }
        drop(begun);
        let all_begun = async { while beginnings.recv().await.is_some() {} };
        timeout(SETTLING, all_begun).await.context("the readers did not begin in time")?;

        let (cpu_before, own_before, began) = (courant.cpu()?, own_cpu()?, Instant::now());
        let mut writing = JoinSet::new();
        let writer = writer::Writer { address, journal: self.journal.to_owned(), epoch };
        let (pace, in_flight, window) = (self.pace, self.args.in_flight, self.window);
        writing.spawn(async move {
            match pace {
                Pace::Paced => writer.paced(window).await,
                Pace::Saturating => writer.saturating(window, in_flight).await,
            }
        });
        sleep(self.window).await;
        let within = delivered.load(Ordering::Relaxed);
        let elapsed = began.elapsed();
        let written =
            timeout(SETTLING, writing.join_next()).await.context("the writer did not end in time")?;
        let written: u64 = written.context("there was no writer")???;
        // Readers end when they have it all; that they do is part of what is measured.
        end.send_replace(Some(written));
        let times = timeout(SETTLING, collect(&mut readers)).await;
        let times =
            times.with_context(|| format!("the readers did not get all of {written} records in time"))??;
        let (cpu, generator) =
            (courant.cpu()?.saturating_sub(cpu_before), own_cpu()?.saturating_sub(own_before));
        courant.ensure_stayed(&client, &placed).await?;
        let deliveries = (times.len() as f64).max(1.0);
        Ok(Sample {
            appends_per_s: written as f64 / elapsed.as_secs_f64(),
            deliveries_per_s: within as f64 / elapsed.as_secs_f64(),
            end_to_end: Percentiles::of(&times),
            server_cpu: cpu.as_secs_f64() * 1e6 / deliveries,
            generator_cpu: generator.as_secs_f64() * 1e6 / deliveries,
        })
    }
}

async fn collect(readers: &mut JoinSet<Result<Times>>) -> Result<Times> {
    let mut times = stats::times();
    while let Some(ended) = readers.join_next().await {
        times.add(ended??).context("times out of range")?;
    }
    Ok(times)
}

impl Row {
    fn of(writer: Pace, readers: usize, samples: &[Sample]) -> Self {
        let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value));
        let percentiles: Vec<Percentiles> = samples.iter().map(|sample| sample.end_to_end).collect();
        Self {
            writer,
            readers,
            appends_per_s: of(|s| s.appends_per_s),
            deliveries_per_s: of(|s| s.deliveries_per_s),
            end_to_end: Percentiles::medians(&percentiles),
            server_cpu_us_per_delivery: of(|s| s.server_cpu),
            generator_cpu_us_per_delivery: of(|s| s.generator_cpu),
        }
    }
}

fn sheet(rows: &[Row], setup: &Setup) -> Sheet {
    let cells = |row: &Row| {
        vec![
            format!("{:?}", row.writer).to_lowercase(),
            row.readers.to_string(),
            number(row.appends_per_s),
            number(row.deliveries_per_s),
            micros(row.end_to_end.p50_us),
            micros(row.end_to_end.p99_us),
            micros(row.end_to_end.p999_us),
            number(row.server_cpu_us_per_delivery),
            number(row.generator_cpu_us_per_delivery),
        ]
    };
    let mut notes = vec![
        "End to end, from the append's begin until the reader has it; CPU is per delivery. Writer and readers share one thread."
            .to_owned(),
    ];
    notes.extend(setup.cluster_note());
    Sheet {
        title: "Tailing readers of one journal, records of 1 KiB".to_owned(),
        headings: vec![
            "writer",
            "readers",
            "appends/s",
            "deliveries/s",
            "p50",
            "p99",
            "p99.9",
            "CPU µs",
            "load CPU µs",
        ],
        rows: rows.iter().map(cells).collect(),
        notes,
    }
}
