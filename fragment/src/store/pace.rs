//! Pure: how fast uploads may ask a store, and how much of them may be in memory.
//!
//! Journals of one flush interval all close their spools in the same second. What they upload is spread: requests come no faster than a
//! rate, after a burst, each at a moment of its own; and pieces are encoded only as there is memory for them.

use std::time::Duration;

use super::attempt::jittered;

/// Each wait is shortened or lengthened by up to so much of itself: brokers that were told to wait do not come back together.
const JITTER: f64 = 0.2;

/// A token bucket, kept as the moment at which it is full again. Times count from any beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    interval: Duration,
    burst: u32,
    full_at: Duration,
}

impl Pace {
    /// So many requests in a second at most, zero for any number, and as many at once.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Self { interval, burst: burst.max(1), full_at: Duration::ZERO }
    }

    /// Takes so many requests out, and says how long they have to wait; `random` is drawn evenly from 0 to 1.
    pub(super) fn take(&mut self, requests: u32, now: Duration, random: f64) -> Duration {
        self.full_at = self.full_at.max(now) + self.interval * requests;
        let wait = self.full_at.saturating_sub(now).saturating_sub(self.interval * self.burst);
        jittered(wait, JITTER, random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_at_a_rate_after_a_burst() {
        let mut pace = Pace::new(100, 10);
        let second = Duration::from_secs(1);
        let waits: Vec<u128> = (0..20).map(|_| pace.take(1, second, 0.5).as_millis()).collect();
        assert_eq!(waits[..10], [0; 10]);
        assert_eq!(waits[10..], [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
        // The bucket fills again, and not beyond the burst.
        assert_eq!(pace.take(10, 100 * second, 0.5), Duration::ZERO);
        assert_eq!(pace.take(1, 100 * second, 0.5), Duration::from_millis(10));
        assert_eq!(pace.take(1, 100 * second, 1.0), Duration::from_millis(24));
        // A clock that stands still for all is no reason to go faster.
        assert_eq!(pace.take(100, 100 * second, 0.5), Duration::from_millis(1020));
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let mut pace = Pace::new(0, 1);
        assert_eq!(pace.take(1_000_000, Duration::ZERO, 1.0), Duration::ZERO);
    }
}
