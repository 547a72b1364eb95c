//! Asks every core whether it still takes turns. A process whose core hangs must not renew its lease: it would keep journals that it cannot
//! serve. And a process that gets its place back must not use it before its cores have heard what they have lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::core::Cores;
use crate::core::command::Command;

/// Whether all cores answered when they were asked last. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Pulse(Arc<AtomicBool>);

impl Pulse {
    /// Alive, until a core does not answer.
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Asks every `interval`, and waits as long for the answers. A core that answers again is trusted again.
pub(crate) async fn run(
    cores: Cores,
    pulse: Pulse,
    interval: Duration,
    cancel: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = sleep(interval) => {}
        }
        let alive = matches!(timeout(interval, all_beat(&cores)).await, Ok(Some(())));
        if !alive && pulse.is_alive() {
            tracing::error!(?interval, "a core does not answer: the lease is not renewed until it does");
        }
        pulse.0.store(alive, Ordering::Relaxed);
    }
}

/// Ends when every core has taken in all that it was sent before. None: one has stopped.
async fn all_beat(cores: &Cores) -> Option<()> {
    for core in 0..cores.count() {
        let (reply, beat) = oneshot::channel();
        cores.send_to(core, Command::Beat { reply }).await.ok()?;
        beat.await.ok()?;
    }
    Some(())
}

/// What a member waits for before it uses a place that it got back: that every core has heard of all that was so at a revision of the
/// registry, among others which journals are not ours any more.
#[derive(Clone, Debug)]
pub(crate) struct CaughtUp {
    /// The revision that the replicas of this process correspond to.
    pub(crate) followed: watch::Receiver<i64>,
    pub(crate) cores: Cores,
}

impl CaughtUp {
    /// Ends when it is so; never, when the broker is ending.
    pub(crate) async fn with(&mut self, revision: i64) {
        let followed = self.followed.wait_for(|followed| *followed >= revision).await.is_ok();
        if !followed || all_beat(&self.cores).await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
