//! Passes reports on once they have stayed the same for a while: those of one fault come one after the other, as each member notices by
//! itself, and what is done about the first of them must not be wrong by the last.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::View;
use super::lookout::Pace;
use super::record::Suspicion;

/// Passes on what `view` tells of suspects, until nobody tells any more.
pub(super) async fn settle(
    mut view: watch::Receiver<Arc<View>>,
    settled: watch::Sender<Arc<BTreeMap<Suspicion, bool>>>,
    pace: Pace,
) {
    loop {
        let mut told = view.borrow_and_update().told();
        if told == **settled.borrow() {
            if view.changed().await.is_err() {
                return;
            }
            continue;
        }
        let latest = Instant::now() + pace.settle_most;
        let mut until = Instant::now() + pace.settle;
        // News that say nothing else of suspects leave the time as it is.
        while let Ok(changed) = timeout_at(until.min(latest), view.changed()).await {
            if changed.is_err() {
                return;
            }
            let now = view.borrow_and_update().told();
            if now != told {
                told = now;
                until = Instant::now() + pace.settle;
            }
        }
        settled.send_replace(Arc::new(told));
    }
}
