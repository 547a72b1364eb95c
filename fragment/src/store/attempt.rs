//! Pure: how long to wait after failures.

use std::time::Duration;

/// Delays between attempts: they double from the first one to the longest, each shortened or lengthened by up
/// to a half, so that those who failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Delay after the first failure.
    pub first: Duration,
    /// No delay is longer, but for its jitter.
    pub longest: Duration,
}

impl Backoff {
    /// The delay after so many failures in a row; `random` is drawn evenly from 0 to 1.
    #[must_use]
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        jittered(self.first.saturating_mul(1 << doublings).min(self.longest), 0.5, random)
    }
}

/// A duration changed by up to `share` of itself, either way; `random` is drawn evenly from 0 to 1.
pub(super) fn jittered(duration: Duration, share: f64, random: f64) -> Duration {
    duration.mul_f64(1.0 + share * (2.0 * random.clamp(0.0, 1.0) - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
        let check = |failures, random, millis| {
            assert_eq!(
                backoff.delay(failures, random),
                Duration::from_millis(millis),
                "{failures} at {random}"
            );
        };
        check(0, 0.5, 100);
        check(1, 0.5, 100);
        check(2, 0.5, 200);
        check(4, 0.5, 800);
        check(5, 0.5, 1000);
        check(u32::MAX, 0.5, 1000);
        check(1, 0.0, 50);
        check(1, 1.0, 150);
        check(9, 1.0, 1500);
    }
}
