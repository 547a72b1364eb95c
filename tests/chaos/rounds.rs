//! Rounds of load and faults on one cluster. Each has journals of its own, so that neither memory nor disk grow with time.
#![expect(clippy::disallowed_methods, reason = "keeps what is needed to find out why a round failed")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use courant_tests::cluster::Cluster;
use courant_tests::journal;
use courant_tests::trial::{Fault, Report, Settings, Trial};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::{Outages, Run, Shape, say};

/// Load before the first fault, and between two.
const CALM_MS: u64 = 3_000;

/// What a round takes beside its faults: to begin, to be read and judged, and to start the brokers again.
const AROUND: Duration = Duration::from_secs(40);

/// Rounds for as long as was asked. Whether nothing was wrong.
pub(crate) async fn run(run: &Run) -> bool {
    let begin = Instant::now();
    let mut rng = StdRng::seed_from_u64(run.seed);
    let mut cluster = run.shape.cluster().await;
    let mut total = Report::default();
    let choice = if run.faults.is_empty() { &Fault::ALL[..] } else { &run.faults };
    say(&format!("seed {}: {} brokers are ready", run.seed, run.shape.brokers));
    for round in 1.. {
        let left = || run.duration.saturating_sub(begin.elapsed());
        let faults =
            (0..run.per_round).map(|_| choice[rng.random_range(0..choice.len())]).collect::<Vec<_>>();
        let seed = rng.random();
        let until = begin + run.duration.saturating_sub(AROUND);
        let (after, report) =
            Box::pin(one(cluster, &run.shape, round, faults, seed, (begin, Some(until)))).await;
        cluster = after;
        keep(&run.keep, run.seed, round, &cluster, &report);
        let failed = !report.problems.is_empty();
        total.join(report);
        if failed || left() < AROUND * 2 {
            break;
        }
        cluster.restart(&cluster.all()).await;
        clear(&cluster).await;
    }
    say(&total.to_string());
    total.problems.is_empty()
}

/// Each fault so often, in one round. Whether nothing was wrong.
pub(crate) async fn outages(outages: &Outages) -> bool {
    let cluster = outages.shape.cluster().await;
    let faults: Vec<Fault> = (0..outages.times).flat_map(|_| outages.faults.iter().copied()).collect();
    let (cluster, report) =
        Box::pin(one(cluster, &outages.shape, 1, faults, outages.seed, (Instant::now(), None))).await;
    keep(&outages.keep, outages.seed, 1, &cluster, &report);
    say(&report.to_string());
    report.problems.is_empty()
}

async fn one(
    cluster: Cluster,
    shape: &Shape,
    round: u32,
    faults: Vec<Fault>,
    seed: u64,
    (begin, until): (Instant, Option<Instant>),
) -> (Cluster, Report) {
    let conditional = match faults.contains(&Fault::EtcdWiped) {
        // Registers go with the registry and the spools.
        true => 0,
        false => Settings::default().conditional,
    };
    let settings = Settings {
        conditional,
        journals: shape.journals,
        replicas: shape.replicas,
        prefix: format!("round/{round}"),
        ..Settings::default()
    };
    let mut trial = match Trial::begin(cluster, settings, seed).await {
        Ok(trial) => trial,
        Err((cluster, missing)) => {
            return (*cluster, Report { problems: vec![missing], ..Report::default() });
        }
    };
    let mut rng = StdRng::seed_from_u64(seed);
    let progress = |trial: &Trial, what: &str| {
        say(&format!(
            "[{:>5} s] round {round}: {what:<16} {:>8} appends, {} problems",
            begin.elapsed().as_secs(),
            trial.acknowledged(),
            trial.problems().len()
        ));
    };
    for fault in faults {
        trial.calm(Duration::from_millis(rng.random_range(0..CALM_MS))).await;
        if until.is_some_and(|until| Instant::now() > until) || !trial.problems().is_empty() {
            break;
        }
        let before = trial.problems().len();
        trial.strike(fault).await;
        progress(&trial, fault.name());
        trial.problems()[before..].iter().take(5).for_each(|problem| say(problem));
    }
    trial.calm(Duration::from_millis(CALM_MS)).await;
    progress(&trial, "ends");
    trial.end().await
}

/// Removes the journals of the round before, and what is stored of them.
async fn clear(cluster: &Cluster) {
    let names: Vec<String> = cluster.journals().await.into_keys().collect();
    for some in names.chunks(100) {
        let changes = some.iter().map(|name| journal::delete(name)).collect();
        let deleted = cluster.client().apply(courant_proto::wire::ApplyRequest { changes }).await;
        deleted.expect("journals can be deleted");
    }
    drop(std::fs::remove_dir_all(cluster.store().join("round")));
}

fn keep(folder: &Path, seed: u64, round: u32, cluster: &Cluster, report: &Report) {
    if report.problems.is_empty() {
        return;
    }
    let folder: PathBuf = folder.join(format!("seed-{seed}-round-{round}"));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("report"), format!("{report}\n{}", report.problems.join("\n")))
        .expect("a file");
    for (journal, history) in &report.histories {
        let name = format!("{}.history.jsonl", journal.replace('/', "-"));
        std::fs::write(folder.join(name), history).expect("a file");
    }
    for index in cluster.all() {
        std::fs::write(folder.join(format!("broker-{index}.log")), cluster.node(index).log())
            .expect("a file");
    }
    say(&format!("kept in {}", folder.display()));
}
