//! The writer of records that carry the time at which they were sent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::future::try_join_all;
use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::RECORD;
use crate::grpc::{self, Caller};
use crate::{framing, records};

/// Between two appends of the paced writer.
const PACE: Duration = Duration::from_millis(1);

/// Appends of the paced writer that may wait for their answer; beyond, it is late.
const MOST_WAITING: usize = 256;

pub(super) struct Writer {
    pub(super) address: SocketAddr,
    pub(super) journal: String,
    /// What times count from.
    pub(super) epoch: Instant,
}

impl Writer {
    /// Appends one record each millisecond for so long, and returns how many.
    pub(super) async fn paced(self, window: Duration) -> Result<u64> {
        let (caller, _connection) = grpc::connect::<Full<Bytes>>(self.address).await?;
        let mut ticks = interval(PACE);
        // No bursts to make good for what was missed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut waiting = JoinSet::new();
        let (began, mut written) = (Instant::now(), 0);
        while began.elapsed() < window {
            ticks.tick().await;
            waiting.spawn(append(caller.clone(), self.body()));
            written += 1;
            while waiting.len() >= MOST_WAITING {
                waiting.join_next().await.context("nothing to wait for")???;
            }
        }
        while let Some(ended) = waiting.join_next().await {
            ended??;
        }
        Ok(written)
    }

    /// Keeps so many appends in flight for so long, and returns how many there were.
    pub(super) async fn saturating(self, window: Duration, in_flight: usize) -> Result<u64> {
        let (caller, _connection) = grpc::connect::<Full<Bytes>>(self.address).await?;
        let (began, written) = (Instant::now(), AtomicU64::new(0));
        let loops = (0..in_flight).map(|_| async {
            let mut caller = caller.clone();
            while began.elapsed() < window {
                caller.append(self.body()).await?;
                written.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
        try_join_all(loops).await?;
        Ok(written.load(Ordering::Relaxed))
    }

    /// A record of now.
    fn body(&self) -> Full<Bytes> {
        // Time zero is not counted, and is over.
        let now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        Full::new(framing::append_body(&self.journal, &records::record(RECORD, now), RECORD))
    }
}

async fn append(mut caller: Caller<Full<Bytes>>, body: Full<Bytes>) -> Result<()> {
    caller.append(body).await
}
