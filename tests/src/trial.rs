//! A trial of a cluster: load on its journals, faults one after the other, and in the end every rule held against all
//! that was asked, answered and seen.
//!
//! ```text
//!  journals, load ──► fault ─► outage ─► heal ─► converged ──► … ──► load ends ──► read from everywhere ──► judge
//! ```

mod fault;
mod finale;
mod outage;
mod partition;
mod store;
mod verdict;
mod wipe;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use courant_proto::wire;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{sleep, timeout};

pub use self::fault::Fault;
pub use self::outage::Outage;
pub use self::verdict::{Report, quantile};
use crate::cluster::{Cluster, Held, holders};
use crate::journal;
use crate::load::{self, Kind, Load, Stage};

/// After a fault has passed, everything must be as before within this. Machines that are busy otherwise take a part of it.
pub(crate) const LIVENESS: Duration = Duration::from_secs(60);

/// What a trial is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many journals are appended to by everybody.
    pub journals: usize,
    /// How many there are of each kind with conditions.
    pub conditional: usize,
    /// Replicas of each.
    pub replicas: usize,
    /// The load on each of them.
    pub load: load::Plan,
    /// Length of fragments: short, so that they roll under load.
    pub fragment: i64,
    /// What their names begin with.
    pub prefix: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            journals: 26,
            conditional: 2,
            replicas: 3,
            load: load::Plan::default(),
            fragment: 64 << 10,
            prefix: "trial".to_owned(),
        }
    }
}

/// A trial under way.
#[derive(Debug)]
pub struct Trial {
    /// The cluster that is tried.
    pub cluster: Cluster,
    settings: Settings,
    load: Load,
    rng: StdRng,
    outages: Vec<Outage>,
    problems: Vec<String>,
    /// Refusals that a fault brings about until it has passed.
    expected: Vec<&'static str>,
}

impl Trial {
    /// Creates the journals, waits until they have their replicas, and begins with the load.
    ///
    /// # Errors
    /// The cluster, and what is missing, if they do not get their replicas.
    pub async fn begin(
        cluster: Cluster,
        settings: Settings,
        seed: u64,
    ) -> Result<Self, (Box<Cluster>, String)> {
        let prefix = &settings.prefix;
        let plain = (0..settings.journals).map(|n| (format!("{prefix}/plain/{n:03}"), Kind::Plain));
        let registers =
            (0..settings.conditional).map(|n| (format!("{prefix}/registers/{n}"), Kind::Registers));
        let offsets = (0..settings.conditional).map(|n| (format!("{prefix}/offsets/{n}"), Kind::Offsets));
        let journals: Vec<(String, Kind)> = plain.chain(registers).chain(offsets).collect();
        let names: Vec<String> = journals.iter().map(|(name, _)| name.clone()).collect();
        apply(&cluster, &settings, &names).await;
        if let Err(missing) = cluster.converged(&names, settings.replicas, LIVENESS).await {
            return Err((Box::new(cluster), missing));
        }
        let load = Load::start(&cluster.addresses(), journals, settings.load, seed);
        let rng = StdRng::seed_from_u64(seed);
        Ok(Self {
            cluster,
            settings,
            load,
            rng,
            outages: Vec::new(),
            problems: Vec::new(),
            expected: Vec::new(),
        })
    }

    /// Applies the specs of all journals again.
    async fn apply_specs(&self) {
        apply(&self.cluster, &self.settings, &self.names()).await;
    }

    /// The journals under load.
    pub fn stages(&self) -> &[Arc<Stage>] {
        self.load.stages()
    }

    /// The outages so far.
    pub fn outages(&self) -> &[Outage] {
        &self.outages
    }

    /// What was wrong so far.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// How many appends were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.stages().iter().map(|stage| verdict::acknowledged(&stage.history())).sum()
    }

    fn names(&self) -> Vec<String> {
        self.stages().iter().map(|stage| stage.name().to_owned()).collect()
    }

    fn problem(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }

    /// One of the brokers that are alive, and that hold something if any does.
    async fn victim(&mut self) -> usize {
        let alive = self.cluster.alive();
        let placed = self.placed().await;
        let holds = |index: &usize| placed.values().any(|held| holders(held, &self.cluster).contains(index));
        let holding: Vec<usize> = alive.iter().copied().filter(holds).collect();
        let choice = if holding.is_empty() { alive } else { holding };
        choice[self.rng.random_range(0..choice.len())]
    }

    /// All journals, or those that brokers hold.
    async fn held_by(&self, brokers: &[usize]) -> Vec<Arc<Stage>> {
        let held = self.cluster.journals().await;
        let concerned = |stage: &&Arc<Stage>| {
            let Some(held) = held.get(stage.name()) else { return false };
            holders(held, &self.cluster).iter().any(|holder| brokers.contains(holder))
        };
        self.stages().iter().filter(concerned).cloned().collect()
    }

    /// Who holds the journals of this trial.
    async fn placed(&self) -> BTreeMap<String, Held> {
        let mut held = self.cluster.journals().await;
        let names = self.names();
        held.retain(|name, _| names.contains(name));
        held
    }

    /// Waits until each journal has all its replicas, and notes it if that does not come.
    async fn converge(&mut self, after: &str) {
        let names = self.names();
        if let Err(missing) = self.cluster.converged(&names, self.settings.replicas, LIVENESS).await {
            self.problem(format!("J21: after {after}: {missing}"));
        }
        for ended in self.cluster.casualties() {
            self.problem(format!("{after}: {ended}"));
        }
    }

    /// Lets the load go on for a while.
    pub async fn calm(&self, duration: Duration) {
        sleep(duration).await;
    }

    /// Lets a fault happen, measures for how long it is felt, makes it pass, and waits until everything is as before.
    pub async fn strike(&mut self, fault: Fault) {
        let struck = timeout(Duration::from_secs(600), Box::pin(fault.strike(self))).await;
        if struck.is_err() {
            self.problem(format!("{fault}: the test itself hangs"));
        }
        self.cluster.net.heal();
        self.converge(fault.name()).await;
    }

    /// Ends the load, reads every journal from everywhere, and judges. The brokers are stopped after that, so that what
    /// they leave in the store can be read.
    pub async fn end(self) -> (Cluster, Report) {
        Box::pin(finale::end(self)).await
    }
}

/// Creates journals, with one codec after the other.
async fn apply(cluster: &Cluster, settings: &Settings, names: &[String]) {
    let codecs =
        [wire::CompressionCodec::None, wire::CompressionCodec::Gzip, wire::CompressionCodec::Zstandard];
    for some in (0..names.len()).collect::<Vec<_>>().chunks(100) {
        let specs = some.iter().map(|n| {
            let mut spec = journal::spec(&names[*n], codecs[n % codecs.len()], settings.fragment);
            spec.replication = i32::try_from(settings.replicas).unwrap_or(1);
            // A replica that came later knows what is stored by listing the store.
            spec.fragment.get_or_insert_default().refresh_interval = Some(journal::seconds(3));
            spec
        });
        journal::apply(&cluster.client(), specs).await;
    }
}
