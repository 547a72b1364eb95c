//! Each kind of fault once, under load.

use std::time::Duration;

use courant_tests::cluster::{Cluster, Plan};
use courant_tests::exodus;
use courant_tests::trial::{Fault, Report, Settings, Trial};

use crate::alone;

/// `COURANT_TEST_SEED`, or another one each time.
#[expect(clippy::print_stderr, reason = "who wants to see a failure again needs its seed")]
fn seed() -> u64 {
    let given = std::env::var("COURANT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("COURANT_TEST_SEED={seed} chooses the same faults again");
    seed
}

#[expect(clippy::print_stderr, reason = "figures are for whoever reads the log")]
async fn tried(plan: Plan, settings: Settings, faults: &[Fault]) -> Report {
    let _alone = alone().await;
    let Some(cluster) = Cluster::start(plan).await else { return Report::default() };
    let mut trial = match Box::pin(Trial::begin(cluster, settings, seed())).await {
        Ok(trial) => trial,
        Err((_, missing)) => panic!("{missing}"),
    };
    trial.calm(Duration::from_secs(2)).await;
    for fault in faults {
        Box::pin(trial.strike(*fault)).await;
    }
    trial.calm(Duration::from_secs(1)).await;
    let (_, report) = Box::pin(trial.end()).await;
    eprintln!("{report}");
    assert!(report.problems.is_empty(), "{} problems", report.problems.len());
    assert!(report.acknowledged > 100, "{} appends are no load", report.acknowledged);
    report
}

/// No journal was without its primary for much longer than a lease lives. The bound is a generous one: what it costs on a quiet machine
/// is measured by `chaos outages`.
fn soon_over(report: &Report, plan: Plan, faults: &[Fault]) {
    let bound = (plan.lease_ttl + Duration::from_secs(2)) * 3;
    let felt = report.outages.iter().filter(|outage| faults.iter().any(|fault| fault.name() == outage.fault));
    let long: Vec<_> = felt.filter(|outage| outage.lasted.is_none_or(|lasted| lasted > bound)).collect();
    assert!(long.is_empty(), "longer than {bound:?}: {long:?}");
}

#[tokio::test]
async fn one_broker_on_an_etcd() {
    let plan = Plan { brokers: 1, zones: 1, ..Plan::default() };
    let settings = Settings { journals: 6, conditional: 1, replicas: 1, ..Settings::default() };
    tried(plan, settings, &[Fault::KillAll, Fault::EtcdRestart]).await;
}

#[tokio::test]
async fn processes_die_and_return() {
    tried(Plan::default(), Settings::default(), &[Fault::Kill, Fault::KillTwo, Fault::KillAll, Fault::Drain])
        .await;
}

#[tokio::test]
async fn processes_and_links_stand_still() {
    let faults = [Fault::Freeze, Fault::FreezeBriefly, Fault::Cut, Fault::CutOneWay, Fault::Slow];
    let report = tried(Plan::default(), Settings::default(), &faults).await;
    soon_over(&report, Plan::default(), &[Fault::Freeze, Fault::Cut, Fault::CutOneWay]);
}

#[tokio::test]
async fn links_part_the_brokers() {
    let faults = [Fault::TwoSides, Fault::Ring, Fault::Bridge, Fault::Flap];
    let report = tried(Plan::default(), Settings::default(), &faults).await;
    soon_over(&report, Plan::default(), &[Fault::TwoSides, Fault::Ring, Fault::Bridge]);
}

#[tokio::test]
async fn the_registry_is_away() {
    let faults = [Fault::CutFromEtcd, Fault::EtcdRestart, Fault::EtcdUnruly, Fault::Revoke, Fault::Impostor];
    tried(Plan::default(), Settings::default(), &faults).await;
}

#[tokio::test]
async fn clients_and_the_store_are_out_of_reach() {
    let plan = Plan { clients_through_net: true, ..Plan::default() };
    tried(plan, Settings::default(), &[Fault::CutFromClients, Fault::CutFromStore]).await;
}

#[tokio::test]
async fn all_are_drained_in_turn() {
    let plan = Plan { brokers: 4, ..Plan::default() };
    let settings = Settings { journals: 12, ..Settings::default() };
    tried(plan, settings, &[Fault::DrainEach]).await;
}

#[tokio::test]
async fn the_registry_comes_back_empty() {
    let plan = Plan { brokers: 3, ..Plan::default() };
    // Registers go with the registry and the spools, so that nobody may rely on them.
    let settings = Settings { journals: 8, conditional: 0, ..Settings::default() };
    tried(plan, settings, &[Fault::EtcdWiped]).await;
}

#[tokio::test]
async fn a_thousand_journals_lose_a_broker() {
    let _alone = alone().await;
    // The lease that the aim is for. A shorter one has members replaced that are merely busy with a thousand agreements.
    let plan = Plan { lease_ttl: Duration::from_secs(10), ..Plan::default() };
    let Some(mut cluster) = Cluster::start(plan).await else { return };
    let done = exodus::run(&mut cluster, 1_000, 3, 1, Duration::from_secs(60)).await;
    let done = done.unwrap_or_else(|missing| panic!("{missing}"));
    assert!(done.ratio() <= 1.2, "{done}");
}
