//! Many journals over some brokers, one of which is killed: how long it takes until all have their replicas again, and how
//! many of them were moved that need not have been.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use courant_proto::wire;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Held, holders};
use crate::journal;

/// Changes of one `Apply`: what a transaction of etcd holds.
const BATCH: usize = 100;

const TICK: Duration = Duration::from_millis(100);

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Exodus {
    /// How many journals there were.
    pub journals: usize,
    /// From the first `Apply` until all of them had their replicas.
    pub spread: Duration,
    /// From the kill until etcd had dropped the broker.
    pub noticed: Duration,
    /// From then on until all had their replicas again, each knowing the others.
    pub converged: Duration,
    /// Replicas of the killed broker, which had to go elsewhere.
    pub lost: usize,
    /// Replicas that are where they were not before.
    pub moved: usize,
    /// Most and fewest replicas of a broker after it.
    pub most: usize,
    /// See above.
    pub fewest: usize,
}

impl Exodus {
    /// How many times the least possible number was moved.
    pub fn ratio(&self) -> f64 {
        self.moved as f64 / self.lost.max(1) as f64
    }
}

impl fmt::Display for Exodus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { journals, lost, moved, most, fewest, .. } = self;
        let [spread, noticed, converged] =
            [self.spread, self.noticed, self.converged].map(|time| time.as_secs_f64());
        writeln!(f, "{journals} journals spread in {spread:.1} s")?;
        writeln!(f, "a broker killed: noticed after {noticed:.1} s, converged {converged:.1} s later")?;
        writeln!(
            f,
            "{moved} replicas moved, {lost} at least: {:.3} times; then {fewest} to {most} on a broker",
            self.ratio()
        )
    }
}

/// Creates the journals, kills a broker, and waits, so long at most, each time.
///
/// # Errors
/// What is missing when the time is over.
pub async fn run(
    cluster: &mut Cluster,
    journals: usize,
    replicas: usize,
    victim: usize,
    within: Duration,
) -> Result<Exodus, String> {
    let begin = Instant::now();
    let names: Vec<String> = (0..journals).map(|n| format!("exodus/{n:06}")).collect();
    for some in names.chunks(BATCH) {
        let specs = some.iter().map(|name| wire::JournalSpec {
            replication: i32::try_from(replicas).unwrap_or(1),
            ..journal::spec(name, wire::CompressionCodec::None, 1 << 20)
        });
        journal::apply(&cluster.client(), specs).await;
    }
    cluster.converged(&names, replicas, within).await?;
    let spread = begin.elapsed();

    let before = placed(cluster, &names).await;
    let lost = before.iter().filter(|(_, broker)| *broker == victim).count();
    cluster.kill(&[victim]);
    let killed = Instant::now();
    let id = cluster.id(victim);
    let key = format!("{}/members/{}#{}", crate::cluster::PREFIX, id.zone, id.suffix);
    if !cluster.etcd.until_gone(&key, within).await {
        return Err(format!("the killed broker is a member after {within:?}"));
    }
    let noticed = killed.elapsed();
    let gone = Instant::now();
    // A journal that has lost nobody is settled throughout.
    cluster.converged(&names, replicas, within).await?;
    let converged = gone.elapsed();
    // What follows is churn, if anything does.
    sleep(TICK * 10).await;
    let after = placed(cluster, &names).await;
    let moved = after.difference(&before).count();
    let mut loads = BTreeMap::<usize, usize>::new();
    for (_, broker) in &after {
        *loads.entry(*broker).or_default() += 1;
    }
    let most = loads.values().copied().max().unwrap_or(0);
    let fewest = loads.values().copied().min().unwrap_or(0);
    Ok(Exodus { journals, spread, noticed, converged, lost, moved, most, fewest })
}

/// Which journal lies on which broker.
async fn placed(cluster: &Cluster, names: &[String]) -> BTreeSet<(String, usize)> {
    let held: BTreeMap<String, Held> = cluster.journals().await;
    let placed = names.iter().filter_map(|name| Some((name, held.get(name)?)));
    placed
        .flat_map(|(name, held)| holders(held, cluster).into_iter().map(|broker| (name.clone(), broker)))
        .collect()
}
