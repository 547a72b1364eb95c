//! The etcd comes back empty under running brokers. Nobody ends, what they hold gets into the store, appends are refused until an
//! operator has applied the specs again and accepted that the registry's word is gone, and no offset is given out twice.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::fault::{Fault, felt, leases};
use super::{LIVENESS, Trial, outage};
use crate::cluster::PREFIX;

pub(super) async fn wipe(fault: Fault, trial: &mut Trial) {
    trial.cluster.etcd.kill();
    trial.cluster.etcd.wipe();
    sleep(Duration::from_millis(500)).await;
    trial.cluster.etcd.resume().await;
    trial.expected.extend(["JOURNAL_NOT_FOUND", "INDEX_HAS_GREATER_OFFSET"]);
    if !all_members(trial).await {
        let ended = trial.cluster.casualties();
        return trial.problem(format!("{fault}: not all brokers have joined the empty etcd: {ended:?}"));
    }
    let all = trial.cluster.all();
    trial.cluster.until_ready(&all).await;
    // As an operator is told to: nobody who has not heard of it believes in an earlier lease any more.
    sleep(leases(trial, 1.0)).await;
    let stages = trial.stages().to_vec();
    trial.apply_specs().await;
    trial.converge(fault.name()).await;
    let addresses = trial.cluster.addresses();
    for stage in stages.iter().filter(|stage| stage.acknowledged() > 0) {
        if outage::append(stage, addresses.clone(), &trial.cluster.alive()).await {
            trial.problem(format!("J20: {fault}: {} takes appends before anybody accepted it", stage.name()));
        }
    }
    let selector = format!("prefix={}/", trial.settings.prefix);
    let reset = ["journals", "reset-head", "-l", &selector];
    let node = trial.cluster.alive()[0];
    let ran = trial.cluster.node(node).verb(&reset, b"").await;
    if ran.code != 0 {
        trial.problem(format!("{fault}: reset-head ended with {}: {}{}", ran.code, ran.stdout, ran.stderr));
    }
    felt(fault, trial, &stages, &[]).await;
}

/// Waits until all brokers are members of the etcd that is there now.
async fn all_members(trial: &Trial) -> bool {
    let deadline = Instant::now() + LIVENESS;
    let client = trial.cluster.etcd.client().await;
    let options = etcd_client::GetOptions::new().with_prefix().with_count_only();
    while Instant::now() < deadline {
        let answer = client.kv_client().get(format!("{PREFIX}/members/"), Some(options.clone())).await;
        let members = answer.map_or(0, |answer| answer.count());
        if usize::try_from(members).is_ok_and(|members| members == trial.cluster.all().len()) {
            return true;
        }
        sleep(Duration::from_millis(50)).await;
    }
    false
}
