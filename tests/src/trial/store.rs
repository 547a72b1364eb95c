//! Brokers lose their store while everybody appends: no append fails for it, and in the end everything is there.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use super::Trial;
use super::fault::{Fault, felt};

/// How long the store is away: longer than fragments take to be completed under load, and to be tried.
const AWAY: Duration = Duration::from_secs(5);

/// What a workload with conditions brings about by itself.
const OF_CONDITIONS: [&str; 2] = ["REGISTER_MISMATCH", "WRONG_APPEND_OFFSET"];

pub(super) async fn cut(fault: Fault, trial: &mut Trial) {
    let before = refusals(trial);
    trial.cluster.hide_store(true);
    // What was under way may still arrive.
    sleep(AWAY / 5).await;
    let stored = trial.cluster.stored();
    sleep(AWAY).await;
    if trial.cluster.stored() != stored {
        trial.problem(format!("{fault}: the store was not away"));
    }
    let stages = trial.stages().to_vec();
    felt(fault, trial, &stages, &[]).await;
    trial.cluster.hide_store(false);
    for (reason, count) in refusals(trial) {
        let more = count - before.get(&reason).copied().unwrap_or(0);
        if more > 0 && !OF_CONDITIONS.contains(&reason.as_str()) {
            trial.problem(format!("{fault}: {more} appends failed with {reason}"));
        }
    }
}

fn refusals(trial: &Trial) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for stage in trial.stages() {
        for (reason, count) in stage.refusals() {
            *all.entry(reason).or_default() += count;
        }
    }
    all
}
