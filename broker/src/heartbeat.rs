//! Asks every core whether it still takes turns. A process whose core hangs must not renew its lease: it would keep journals that it cannot
//! serve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
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
        let asked = async {
            for core in 0..cores.count() {
                let (reply, beat) = oneshot::channel();
                cores.send_to(core, Command::Beat { reply }).await.ok()?;
                beat.await.ok()?;
            }
            Some(())
        };
        let alive = matches!(timeout(interval, asked).await, Ok(Some(())));
        if !alive && pulse.is_alive() {
            tracing::error!(?interval, "a core does not answer: the lease is not renewed until it does");
        }
        pulse.0.store(alive, Ordering::Relaxed);
    }
}
