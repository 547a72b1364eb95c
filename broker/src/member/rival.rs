//! Pure: whether the lease of another process, which has our place, is being kept alive or is running out.
//!
//! A lease that nobody renews loses a second per second. One that has more left than that was renewed, by its holder, or by the
//! registry itself, which lets all leases begin anew when it was restarted or has a new leader. So one renewal proves nothing; two do.

use std::time::Duration;

/// Renewals that show a living process.
const ENOUGH: u32 = 2;

/// Registries tell whole seconds, and two looks at the same lease are not rounded alike.
const TOLERANCE_MILLIS: i128 = 1500;

/// What was seen of another's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rival {
    pub(crate) lease: i64,
    /// What was left at the last renewal that was noticed, and when that was.
    seen: Option<(Duration, Duration)>,
    renewals: u32,
}

impl Rival {
    /// A lease of which nothing is known.
    pub(crate) fn new(lease: i64) -> Self {
        Self { lease, seen: None, renewals: 0 }
    }

    /// Takes in that `left` is what the lease has left at the time `at`, and says whether its holder is known to live.
    pub(crate) fn look(&mut self, left: Duration, at: Duration) -> bool {
        let millis = |duration: Duration| i128::try_from(duration.as_millis()).unwrap_or(i128::MAX);
        let renewed = self.seen.is_some_and(|(then, when)| {
            millis(left) > millis(then) - millis(at.saturating_sub(when)) + TOLERANCE_MILLIS
        });
        self.renewals += u32::from(renewed);
        if renewed || self.seen.is_none() {
            self.seen = Some((left, at));
        }
        self.renewals >= ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every half second at a lease of `ttl` that is renewed at `renewals` (milliseconds), until `end` or a verdict.
    fn lives(ttl: u64, renewals: impl Fn(u64) -> u64, end: u64) -> Option<u64> {
        let mut rival = Rival::new(1);
        (0..end).step_by(500).find(|now| {
            let left = (ttl * 1000).saturating_sub(now - renewals(*now)) / 1000;
            rival.look(Duration::from_secs(left), Duration::from_millis(*now))
        })
    }

    #[test]
    fn a_lease_that_runs_out_shows_no_life() {
        for ttl in [2, 4, 20, 60] {
            assert_eq!(lives(ttl, |_| 0, ttl * 1000), None, "{ttl}");
        }
    }

    #[test]
    fn a_lease_that_is_kept_shows_life_within_its_time_and_a_little() {
        for ttl in [2, 3, 4, 20, 60] {
            let every = ttl * 1000 / 3;
            let found = lives(ttl, |now| now - now % every, 10 * ttl * 1000).expect("a verdict");
            assert!(found <= ttl * 1000 + 3500, "{ttl}: {found}");
        }
    }

    #[test]
    fn one_renewal_is_what_a_restart_of_the_registry_looks_like() {
        assert_eq!(lives(20, |now| if now >= 7000 { 7000 } else { 0 }, 27_000), None);
    }
}
