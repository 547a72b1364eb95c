//! Brokers lose their store while everybody appends: no append fails for it, and in the end everything is there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Trial;
use super::fault::{Fault, felt};
use crate::history::Outcome;
use crate::load::{Kind, Stage};

/// How long the store is away: longer than fragments take to be completed under load, and to be tried.
const AWAY: Duration = Duration::from_secs(5);

pub(super) async fn cut(fault: Fault, trial: &mut Trial) {
    let stages = trial.stages().to_vec();
    trial.cluster.hide_store(true);
    let hidden: Vec<(Arc<Stage>, Duration)> =
        stages.iter().map(|stage| (Arc::clone(stage), stage.now())).collect();
    // What was under way may still arrive.
    sleep(AWAY / 5).await;
    let stored = trial.cluster.stored();
    sleep(AWAY).await;
    if trial.cluster.stored() != stored {
        trial.problem(format!("{fault}: the store was not away"));
    }
    let mut appended = 0;
    // Of appends with conditions some are refused whatever happens.
    for (stage, since) in hidden.iter().filter(|(stage, _)| stage.kind() == Kind::Plain) {
        let history = stage.history();
        let sent = history.iter().filter(|append| append.sent >= *since);
        let (done, failed): (Vec<_>, Vec<_>) =
            sent.partition(|append| matches!(append.outcome, Outcome::Done { .. }));
        appended += done.len();
        if !failed.is_empty() {
            trial.problem(format!("{fault}: appends to {} failed: {failed:?}", stage.name()));
        }
    }
    if appended < stages.len() {
        trial.problem(format!("{fault}: {appended} appends are no load"));
    }
    felt(fault, trial, &stages, &[]).await;
    trial.cluster.hide_store(false);
}
