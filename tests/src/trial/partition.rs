//! Faults of the links between brokers: two sides, a ring, a bridge between two halves, and links that come and go. All of them still
//! reach the etcd, so nothing but what they say of each other can tell who is to go on.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::{Instant, sleep};

use super::fault::{felt, leases};
use super::outage::{self, Outage};
use super::{Fault, LIVENESS, Trial};
use crate::net::Party;

/// Links come and go for so many milliseconds each.
const FLAP_MS: std::ops::Range<u64> = 1_000..7_000;

/// Which links are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// All between a minority and the rest.
    TwoSides,
    /// All but those to two neighbours.
    Ring,
    /// All between two halves, but for one broker that reaches both.
    Bridge,
}

/// A cut of brokers.
#[derive(Debug, PartialEq, Eq)]
struct Parted {
    links: Vec<(usize, usize)>,
    /// Brokers through which every journal is to be reached.
    through: Vec<usize>,
}

/// Parts brokers, in the order in which they are given.
fn parted(form: Form, brokers: &[usize]) -> Parted {
    let count = brokers.len();
    let across = |one: &[usize], other: &[usize]| {
        one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))).collect::<Vec<_>>()
    };
    match form {
        Form::TwoSides => {
            let (fewer, more) = brokers.split_at(count.saturating_sub(1) / 2);
            Parted { links: across(fewer, more), through: more.to_vec() }
        }
        Form::Ring => {
            let is_near = |a: usize, b: usize| b - a == 1 || b - a == count - 1;
            let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
            let links = pairs.filter(|(a, b)| !is_near(*a, *b)).map(|(a, b)| (brokers[a], brokers[b]));
            Parted { links: links.collect(), through: brokers.to_vec() }
        }
        Form::Bridge => {
            let (bridge, rest) = brokers.split_at(count.min(1));
            let (one, other) = rest.split_at(rest.len() / 2);
            Parted { links: across(one, other), through: bridge.to_vec() }
        }
    }
}

/// Parts the brokers, measures until every journal takes appends again, and then how long it takes after all links work again.
pub(super) async fn part(fault: Fault, trial: &mut Trial, form: Form) {
    let mut brokers = trial.cluster.all();
    for at in (1..brokers.len()).rev() {
        brokers.swap(at, trial.rng.random_range(0..=at));
    }
    let Parted { links, through } = parted(form, &brokers);
    for (one, other) in links {
        trial.cluster.net.cut(Party::Broker(one), Party::Broker(other));
    }
    let stages = trial.stages().to_vec();
    let but: Vec<usize> = brokers.into_iter().filter(|index| !through.contains(index)).collect();
    felt(fault, trial, &stages, &but).await;
    sleep(leases(trial, 0.5)).await;
    heal(trial, healed(fault)).await;
}

/// Cuts a broker off from the others again and again, for moments and for longer.
pub(super) async fn flap(fault: Fault, trial: &mut Trial) {
    let victim = trial.victim().await;
    let until = Instant::now() + leases(trial, 3.0);
    while Instant::now() < until {
        for other in trial.cluster.all() {
            trial.cluster.net.cut(Party::Broker(other), Party::Broker(victim));
        }
        sleep(Duration::from_millis(trial.rng.random_range(FLAP_MS))).await;
        trial.cluster.net.heal();
        sleep(Duration::from_millis(trial.rng.random_range(FLAP_MS))).await;
    }
    heal(trial, healed(fault)).await;
}

fn healed(fault: Fault) -> &'static str {
    match fault {
        Fault::TwoSides => "two-sides healed",
        Fault::Ring => "ring healed",
        Fault::Bridge => "bridge healed",
        _ => "flap healed",
    }
}

/// Heals all links, and measures how long each journal takes no append after that, and all of them lack replicas.
async fn heal(trial: &mut Trial, name: &'static str) {
    trial.cluster.net.heal();
    let begin = Instant::now();
    let (stages, names) = (trial.stages().to_vec(), trial.names());
    let (addresses, through) = (trial.cluster.addresses(), trial.cluster.alive());
    let (outages, converged) = tokio::join!(
        outage::measure(name, &stages, &addresses, &through),
        trial.cluster.converged(&names, trial.settings.replicas, LIVENESS)
    );
    trial.outages.extend(outages);
    let lasted = converged.is_ok().then(|| begin.elapsed());
    trial.outages.push(Outage { fault: name, journal: "all replicas".to_owned(), lasted });
    for stuck in trial.outages.iter().filter(|outage| outage.fault == name && outage.lasted.is_none()) {
        trial.problems.push(format!("J21: {name}: {} is not as before within {LIVENESS:?}", stuck.journal));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_cut_as_the_form_says() {
        let check = |form, brokers: &[usize], links: &[(usize, usize)], through: &[usize]| {
            assert_eq!(parted(form, brokers), Parted { links: links.to_vec(), through: through.to_vec() });
        };
        let two = [(4, 2), (4, 0), (4, 3), (1, 2), (1, 0), (1, 3)];
        check(Form::TwoSides, &[4, 1, 2, 0, 3], &two, &[2, 0, 3]);
        check(Form::TwoSides, &[1, 0, 2, 3], &[(1, 0), (1, 2), (1, 3)], &[0, 2, 3]);
        let ring = [(4, 2), (4, 0), (1, 0), (1, 3), (2, 3)];
        check(Form::Ring, &[4, 1, 2, 0, 3], &ring, &[4, 1, 2, 0, 3]);
        check(Form::Ring, &[0, 1, 2], &[], &[0, 1, 2]);
        check(Form::Bridge, &[4, 1, 2, 0, 3], &[(1, 0), (1, 3), (2, 0), (2, 3)], &[4]);
    }
}
