//! The faults that a trial can let happen: each is chosen, felt, measured, and made to pass.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::partition::{self, Form};
use super::{LIVENESS, Trial, outage};
use crate::cluster::{Held, PREFIX};
use crate::load::Stage;
use crate::net::Party;

/// A fault, by what happens to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A broker is killed, and started again when others have taken over.
    Kill,
    /// Two holders of a journal are killed at once.
    KillTwo,
    /// All brokers are killed at once, and started again.
    KillAll,
    /// A broker is told to stop, and started again.
    Drain,
    /// All brokers are told to stop, one after the other, each started again.
    DrainEach,
    /// A broker stands still for three times the lease's time, with clients that wait for it, and goes on.
    Freeze,
    /// A broker stands still for half of the lease's time.
    FreezeBriefly,
    /// No broker reaches a certain one, nor does it reach any.
    Cut,
    /// No broker reaches a certain one. What it says itself arrives.
    CutOneWay,
    /// A minority of the brokers and the others do not reach each other.
    TwoSides,
    /// Each broker reaches its two neighbours alone.
    Ring,
    /// Two halves do not reach each other, but one broker reaches both.
    Bridge,
    /// A broker's links to the others come and go.
    Flap,
    /// No client reaches a certain broker, and then none reaches any for a moment.
    CutFromClients,
    /// No broker reaches the store, for some seconds.
    CutFromStore,
    /// A broker does not reach the etcd.
    CutFromEtcd,
    /// What brokers say to each other comes late, and connections break off.
    Slow,
    /// The etcd is killed and comes back before leases run out.
    EtcdRestart,
    /// The etcd is away until all leases have run out, and comes back.
    EtcdAway,
    /// The etcd stands still for moments, forgets its history, and breaks off its connections.
    EtcdUnruly,
    /// The etcd loses all that it kept, and comes back empty. The specs are applied again, and the loss is accepted.
    EtcdWiped,
    /// A broker's lease is revoked.
    Revoke,
    /// Another process with a broker's id is started.
    Impostor,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Kill,
        Self::KillTwo,
        Self::KillAll,
        Self::Drain,
        Self::DrainEach,
        Self::Freeze,
        Self::FreezeBriefly,
        Self::Cut,
        Self::CutOneWay,
        Self::TwoSides,
        Self::Ring,
        Self::Bridge,
        Self::Flap,
        Self::CutFromClients,
        Self::CutFromStore,
        Self::CutFromEtcd,
        Self::Slow,
        Self::EtcdRestart,
        Self::EtcdAway,
        Self::EtcdUnruly,
        Self::EtcdWiped,
        Self::Revoke,
        Self::Impostor,
    ];

    /// Those of a short trial: each kind of fault once, with the shortest of those that are alike.
    pub const SHORT: [Self; 13] = [
        Self::Kill,
        Self::KillTwo,
        Self::KillAll,
        Self::Drain,
        Self::Freeze,
        Self::FreezeBriefly,
        Self::Cut,
        Self::CutOneWay,
        Self::CutFromEtcd,
        Self::EtcdRestart,
        Self::EtcdUnruly,
        Self::Revoke,
        Self::Impostor,
    ];

    /// As it is called in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillTwo => "kill-two",
            Self::KillAll => "kill-all",
            Self::Drain => "drain",
            Self::DrainEach => "drain-each",
            Self::Freeze => "freeze",
            Self::FreezeBriefly => "freeze-briefly",
            Self::Cut => "cut",
            Self::CutOneWay => "cut-one-way",
            Self::TwoSides => "two-sides",
            Self::Ring => "ring",
            Self::Bridge => "bridge",
            Self::Flap => "flap",
            Self::CutFromClients => "cut-from-clients",
            Self::CutFromStore => "cut-from-store",
            Self::CutFromEtcd => "cut-from-etcd",
            Self::Slow => "slow",
            Self::EtcdRestart => "etcd-restart",
            Self::EtcdAway => "etcd-away",
            Self::EtcdUnruly => "etcd-unruly",
            Self::EtcdWiped => "etcd-wiped",
            Self::Revoke => "revoke",
            Self::Impostor => "impostor",
        }
    }

    /// The one that is called so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    pub(super) async fn strike(self, trial: &mut Trial) {
        match self {
            Self::Kill => kill(self, trial, 1).await,
            Self::KillTwo => kill(self, trial, 2).await,
            Self::KillAll => kill_all(self, trial).await,
            Self::Drain => {
                let victim = trial.victim().await;
                drain(self, trial, victim).await;
            }
            Self::DrainEach => {
                for victim in trial.cluster.all() {
                    drain(self, trial, victim).await;
                    trial.converge(self.name()).await;
                }
            }
            Self::Freeze => freeze(self, trial, 3.0).await,
            Self::FreezeBriefly => freeze(self, trial, 0.5).await,
            Self::Cut => cut(self, trial, true).await,
            Self::CutOneWay => cut(self, trial, false).await,
            Self::TwoSides => partition::part(self, trial, Form::TwoSides).await,
            Self::Ring => partition::part(self, trial, Form::Ring).await,
            Self::Bridge => partition::part(self, trial, Form::Bridge).await,
            Self::Flap => partition::flap(self, trial).await,
            Self::CutFromClients => cut_from_clients(self, trial).await,
            Self::CutFromStore => super::store::cut(self, trial).await,
            Self::CutFromEtcd => cut_from_etcd(self, trial).await,
            Self::Slow => slow(self, trial).await,
            Self::EtcdRestart => etcd_restart(self, trial).await,
            Self::EtcdAway => etcd_away(self, trial).await,
            Self::EtcdUnruly => Box::pin(etcd_unruly(self, trial)).await,
            Self::EtcdWiped => Box::pin(super::wipe::wipe(self, trial)).await,
            Self::Revoke => Box::pin(revoke(self, trial)).await,
            Self::Impostor => impostor(trial).await,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Measures how long these journals take no appends from now on, through all living brokers but some.
pub(super) async fn felt(fault: Fault, trial: &mut Trial, stages: &[Arc<Stage>], but: &[usize]) {
    let through: Vec<usize> =
        trial.cluster.alive().into_iter().filter(|index| !but.contains(index)).collect();
    let outages = outage::measure(fault.name(), stages, &trial.cluster.addresses(), &through).await;
    for stuck in outages.iter().filter(|outage| outage.lasted.is_none()) {
        trial.problem(format!("J21: {fault}: {} took no append within {LIVENESS:?}", stuck.journal));
    }
    trial.outages.extend(outages);
}

/// The time to live of leases, this many times.
pub(super) fn leases(trial: &Trial, times: f64) -> Duration {
    trial.cluster.plan().lease_ttl.mul_f64(times)
}

async fn kill(fault: Fault, trial: &mut Trial, count: usize) {
    let first = trial.victim().await;
    let mut victims = vec![first];
    // The others are those that hold something together with the first.
    let held = trial.placed().await;
    for held in held.values() {
        let holders = crate::cluster::holders(held, &trial.cluster);
        if holders.contains(&first) {
            victims.extend(holders.into_iter().filter(|holder| *holder != first));
            break;
        }
    }
    victims.truncate(count);
    let stages = trial.held_by(&victims).await;
    trial.cluster.kill(&victims);
    felt(fault, trial, &stages, &[]).await;
    trial.cluster.restart(&victims).await;
}

async fn kill_all(fault: Fault, trial: &mut Trial) {
    let all = trial.cluster.all();
    trial.cluster.kill(&all);
    trial.cluster.restart(&all).await;
    let stages = trial.stages().to_vec();
    felt(fault, trial, &stages, &[]).await;
}

async fn drain(fault: Fault, trial: &mut Trial, victim: usize) {
    let stages = trial.held_by(&[victim]).await;
    let addresses = trial.cluster.addresses();
    let others: Vec<usize> = trial.cluster.alive().into_iter().filter(|index| *index != victim).collect();
    let begin = Instant::now();
    let which = [victim];
    let (statuses, outages) = tokio::join!(
        trial.cluster.terminate(&which),
        outage::measure(fault.name(), &stages, &addresses, &others)
    );
    trial.outages.extend(outages);
    if statuses.iter().any(|status| status.code() != Some(0)) {
        let log = trial.cluster.node(victim).log();
        let last: Vec<&str> = log.lines().rev().take(8).collect();
        trial.problem(format!("J19: broker {victim} was drained and ended with {statuses:?}: {last:?}"));
    }
    if begin.elapsed() > LIVENESS {
        trial.problem(format!("J19: draining broker {victim} took {:?}", begin.elapsed()));
    }
    trial.cluster.restart(&[victim]).await;
}

async fn freeze(fault: Fault, trial: &mut Trial, times: f64) {
    let victim = trial.victim().await;
    let stages = trial.held_by(&[victim]).await;
    let until = Instant::now() + leases(trial, times);
    trial.cluster.freeze(victim);
    // Clients that know only this broker, and whose appends lie before it when it goes on.
    let mut waiting = JoinSet::new();
    for stage in &stages {
        let (stage, addresses) = (Arc::clone(stage), trial.cluster.addresses());
        waiting.spawn(async move { outage::append(&stage, addresses, &[victim]).await });
    }
    if times >= 1.0 {
        felt(fault, trial, &stages, &[victim]).await;
    }
    tokio::time::sleep_until(until).await;
    trial.cluster.thaw(victim);
    if times < 1.0 {
        felt(fault, trial, &stages, &[]).await;
    }
    waiting.join_all().await;
    trial.cluster.until_ready(&[victim]).await;
}

async fn cut(fault: Fault, trial: &mut Trial, both_ways: bool) {
    let victim = trial.victim().await;
    let stages = trial.held_by(&[victim]).await;
    for other in trial.cluster.all() {
        let (other, victim) = (Party::Broker(other), Party::Broker(victim));
        if both_ways {
            trial.cluster.net.cut(other, victim);
        } else {
            trial.cluster.net.change(other, victim, |weather| weather.stalled = true);
        }
    }
    felt(fault, trial, &stages, &[victim]).await;
    sleep(leases(trial, 0.5)).await;
    trial.cluster.net.heal();
}

async fn cut_from_clients(fault: Fault, trial: &mut Trial) {
    if !trial.cluster.plan().clients_through_net {
        return trial.problem(format!("{fault}: clients do not come through the network"));
    }
    let victim = trial.victim().await;
    let stages = trial.held_by(&[victim]).await;
    trial.cluster.net.cut(Party::Outside, Party::Broker(victim));
    // It still is a primary, and others pass on to it what they are asked.
    felt(fault, trial, &stages, &[victim]).await;
    sleep(leases(trial, 0.5)).await;
    for broker in trial.cluster.all() {
        trial.cluster.net.cut(Party::Outside, Party::Broker(broker));
    }
    sleep(leases(trial, 0.5)).await;
    trial.cluster.net.heal();
    let stages = trial.stages().to_vec();
    felt(fault, trial, &stages, &[]).await;
}

async fn cut_from_etcd(fault: Fault, trial: &mut Trial) {
    let victim = trial.victim().await;
    let stages = trial.held_by(&[victim]).await;
    trial.cluster.net.cut(Party::Broker(victim), Party::Etcd);
    let until = Instant::now() + leases(trial, 1.5);
    // Until it stops believing in its lease everything goes on.
    sleep(leases(trial, 0.6)).await;
    felt(fault, trial, &stages, &[victim]).await;
    tokio::time::sleep_until(until).await;
    trial.cluster.net.heal();
    trial.cluster.until_ready(&[victim]).await;
}

async fn slow(fault: Fault, trial: &mut Trial) {
    let all = trial.cluster.all();
    for one in &all {
        for other in all.iter().filter(|other| *other != one) {
            let delay = Duration::from_millis(trial.rng.random_range(1..80));
            let single = trial.rng.random_range(0..10) == 0;
            trial.cluster.net.change(Party::Broker(*one), Party::Broker(*other), |weather| {
                (weather.delay, weather.single) = (delay, single);
            });
        }
    }
    let stages = trial.stages().to_vec();
    felt(fault, trial, &stages, &[]).await;
    for _ in 0..6 {
        let (one, other) = (trial.victim().await, trial.victim().await);
        trial.cluster.net.reset(Party::Broker(one), Party::Broker(other));
        sleep(Duration::from_millis(400)).await;
    }
    trial.cluster.net.heal();
}

async fn etcd_restart(fault: Fault, trial: &mut Trial) {
    let before = trial.placed().await;
    trial.cluster.etcd.kill();
    sleep(leases(trial, 0.25)).await;
    trial.cluster.etcd.resume().await;
    let stages = trial.stages().to_vec();
    felt(fault, trial, &stages, &[]).await;
    sleep(leases(trial, 1.0)).await;
    let after = trial.placed().await;
    let slots = |held: &Held| held.slots.clone();
    if let Some((name, held)) =
        before.iter().find(|(name, held)| after.get(*name).map(slots) != Some(slots(held)))
    {
        trial.problem(format!("J16: {fault}: {name} was moved from {held:?} to {:?}", after.get(name)));
    }
}

async fn etcd_away(fault: Fault, trial: &mut Trial) {
    trial.cluster.etcd.kill();
    sleep(leases(trial, 2.0)).await;
    trial.cluster.etcd.resume().await;
    let stages = trial.stages().to_vec();
    felt(fault, trial, &stages, &[]).await;
    trial.cluster.until_ready(&trial.cluster.all()).await;
}

async fn etcd_unruly(fault: Fault, trial: &mut Trial) {
    let victim = trial.victim().await;
    // While the victim hears nothing, things happen, and their history is dropped.
    trial.cluster.net.change(Party::Etcd, Party::Broker(victim), |weather| weather.stalled = true);
    for round in 0..5 {
        let client = trial.cluster.etcd.client().await;
        let key = format!("{PREFIX}-elsewhere/{round}");
        // It is for the revision alone.
        drop(client.kv_client().put(key, "x", None).await);
        trial.cluster.etcd.freeze();
        sleep(leases(trial, 0.05)).await;
        trial.cluster.etcd.thaw();
        trial.cluster.etcd.compact().await;
    }
    trial.cluster.net.reset(Party::Broker(victim), Party::Etcd);
    trial.cluster.net.heal();
    let stages = trial.stages().to_vec();
    felt(fault, trial, &stages, &[]).await;
    trial.cluster.until_ready(&trial.cluster.all()).await;
}

async fn revoke(fault: Fault, trial: &mut Trial) {
    let victim = trial.victim().await;
    let stages = trial.held_by(&[victim]).await;
    let id = trial.cluster.id(victim);
    let client = trial.cluster.etcd.client().await;
    let key = format!("{PREFIX}/members/{}#{}", id.zone, id.suffix);
    let answer = client.kv_client().get(key.as_str(), None).await.expect("etcd answers");
    let Some(member) = answer.kvs().first() else {
        return trial.problem(format!("{fault}: broker {victim} is no member"));
    };
    client.lease_client().revoke(member.lease()).await.expect("the lease is revoked");
    felt(fault, trial, &stages, &[]).await;
    trial.cluster.until_ready(&[victim]).await;
}

async fn impostor(trial: &mut Trial) {
    let victim = trial.victim().await;
    let ran = trial.cluster.impostor(victim).await;
    let endpoint = trial.cluster.endpoint(victim);
    if ran.code == 0 || !ran.stderr.contains(&endpoint) {
        trial.problem(format!(
            "D14: a second broker with an id ended with {}, not naming {endpoint}: {}",
            ran.code, ran.stderr
        ));
    }
    if !trial.cluster.node(victim).becomes_ready(LIVENESS).await {
        trial.problem(format!("D14: broker {victim} lost its place to a second one"));
    }
}
