//! Small appends on clusters of either kind, in turn, from one generator: how many a second, and how long a lone one takes.
//! Nothing here is right or wrong.

use std::time::Duration;

use anyhow::Result;
use courant_proto::wire::CompressionCodec as Codec;
use futures::future::try_join_all;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::processes::{Kind, World};
use crate::report::Report;
use crate::talk::{Talk, spec};

/// How long one measurement lasts.
const LASTING: Duration = Duration::from_secs(3);

/// Before it counts.
const WARMING: Duration = Duration::from_millis(700);

/// Measurements of each kind, of which the median is told.
const ROUNDS: usize = 3;

const BYTES: usize = 100;

const IN_FLIGHT: [usize; 2] = [1, 64];

/// One measurement.
#[derive(Clone, Copy, Debug)]
struct Sample {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

pub(crate) async fn run(world: &World, report: &mut Report) -> Result<()> {
    for brokers in [1, 3] {
        let mut samples = vec![Vec::new(); IN_FLIGHT.len() * Kind::BOTH.len()];
        let mut clusters = Vec::new();
        for kind in Kind::BOTH {
            let mut cluster = Cluster::new(world, &format!("/gazette/{}-{brokers}", kind.name()));
            for n in 0..brokers {
                cluster
                    .add(kind, &format!("{}-{brokers}-{n}", kind.name()), &format!("zone-{n}"), 1024)
                    .await?;
            }
            let name = journal(kind, brokers);
            cluster.any()?.create(vec![spec(&name, brokers, Codec::None, 256 << 20)]).await?;
            cluster.settled().await?;
            clusters.push((name, cluster));
        }
        for _ in 0..ROUNDS {
            for (n, in_flight) in IN_FLIGHT.into_iter().enumerate() {
                for (m, (name, cluster)) in clusters.iter().enumerate() {
                    let primary = cluster.places().await?[name][&0].clone();
                    let primary = cluster.brokers.iter().find(|broker| broker.id == primary);
                    let Some(primary) = primary else { continue };
                    appends(&primary.url(), name, in_flight, WARMING).await?;
                    samples[n * Kind::BOTH.len() + m]
                        .push(appends(&primary.url(), name, in_flight, LASTING).await?);
                }
            }
        }
        for (n, in_flight) in IN_FLIGHT.into_iter().enumerate() {
            let medians: Vec<Sample> =
                (0..Kind::BOTH.len()).map(|m| median(&samples[n * Kind::BOTH.len() + m])).collect();
            for (kind, sample) in Kind::BOTH.into_iter().zip(&medians) {
                report.note(format!(
                    "R={brokers}, {BYTES} B, {in_flight:2} in flight: {} {:8.0}/s, p50 {:6.2?}, p99 {:6.2?}",
                    kind.name(),
                    sample.per_second,
                    sample.p50,
                    sample.p99
                ));
            }
            if let [gazette, courant] = medians[..] {
                report.note(format!(
                    "    Courant by Gazette: {:.2} times",
                    courant.per_second / gazette.per_second
                ));
            }
        }
    }
    Ok(())
}

/// All clusters share a store, so that each has a journal of its own.
fn journal(kind: Kind, brokers: i32) -> String {
    format!("measured/{}-{brokers}", kind.name())
}

fn median(samples: &[Sample]) -> Sample {
    let mut sorted = samples.to_vec();
    sorted.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    sorted[sorted.len() / 2]
}

/// As many appends as there is time for, on one connection.
async fn appends(url: &str, journal: &str, in_flight: usize, lasting: Duration) -> Result<Sample> {
    let talk = Talk::to(url)?;
    let content = vec![b'.'; BYTES];
    talk.must_append(journal, &content).await?;
    let begin = Instant::now();
    let one = || async {
        let mut took = Vec::new();
        while begin.elapsed() < lasting {
            let sent = Instant::now();
            talk.must_append(journal, &content).await?;
            took.push(sent.elapsed());
        }
        anyhow::Ok(took)
    };
    let took = try_join_all((0..in_flight).map(|_| one())).await?;
    let elapsed = begin.elapsed();
    let mut took: Vec<Duration> = took.into_iter().flatten().collect();
    took.sort_unstable();
    let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or_default();
    Ok(Sample { per_second: took.len() as f64 / elapsed.as_secs_f64(), p50: at(50), p99: at(99) })
}
