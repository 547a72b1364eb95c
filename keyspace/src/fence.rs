//! A fence: whether what is held under a lease is still ours, by our own clock, for anyone who asks at any moment.
//!
//! A lease comes and goes, and with it whoever keeps it; the fence stays, so that a thread can ask it on every turn without knowing which
//! lease there is now. It is open while two things hold: the lease was renewed recently enough, and its holder says that what it
//! holds is there. It does not know etcd.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The part of a lease's time that is not used: what was begun just before the fence closed shall have ended before etcd gives
/// the keys away, and two clocks do not run exactly alike.
const MARGIN: u32 = 10;

/// Whether something is still ours. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Fence(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Instant,
    /// Microseconds after `origin`. Zero is never.
    until: AtomicU64,
    standing: AtomicBool,
}

impl Default for Fence {
    fn default() -> Self {
        Self::new()
    }
}

impl Fence {
    /// A closed one.
    #[must_use]
    pub fn new() -> Self {
        let inner =
            Inner { origin: Instant::now(), until: AtomicU64::new(0), standing: AtomicBool::new(false) };
        Self(Arc::new(inner))
    }

    /// Whether it is open now. Costs a look at the clock.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.standing.load(Ordering::Acquire) && self.deadline().is_some_and(|until| Instant::now() < until)
    }

    /// When the lease is not to be relied on any more unless it is renewed until then. `None`: there is none.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.0.until.load(Ordering::Acquire) {
            0 => None,
            micros => Some(self.0.origin + Duration::from_micros(micros)),
        }
    }

    /// The lease's renewal that was sent at `sent` is confirmed, for `ttl`.
    pub fn renewed(&self, sent: Instant, ttl: Duration) {
        let until = sent + (ttl - ttl / MARGIN);
        let micros = until.saturating_duration_since(self.0.origin).as_micros();
        self.0.until.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// The lease is gone.
    pub fn lost(&self) {
        self.0.until.store(0, Ordering::Release);
    }

    /// Whether what the lease holds is there; only then is it of any use.
    pub fn stand(&self, standing: bool) {
        self.0.standing.store(standing, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn is_open_while_renewed_and_standing_and_closes_before_the_lease_ends() {
        let (fence, ttl) = (Fence::new(), Duration::from_secs(20));
        tokio::time::advance(ttl).await;
        let sent = Instant::now();
        assert_eq!((fence.is_held(), fence.deadline()), (false, None));
        fence.renewed(sent, ttl);
        assert!(!fence.is_held(), "nothing is held yet");
        fence.stand(true);
        assert!(fence.is_held() && fence.clone().is_held());
        assert_eq!(fence.deadline(), Some(sent + Duration::from_secs(18)));
        tokio::time::advance(Duration::from_secs(18)).await;
        assert!(!fence.is_held(), "by our own clock, with nobody doing anything");
        fence.renewed(sent + Duration::from_secs(5), ttl);
        assert!(fence.is_held(), "a late renewal opens it again");
        fence.lost();
        assert_eq!((fence.is_held(), fence.deadline()), (false, None));
        fence.renewed(Instant::now(), ttl);
        fence.stand(false);
        assert!(!fence.is_held());
    }
}
