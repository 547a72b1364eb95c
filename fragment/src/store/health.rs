//! Pure: what is known of a store's health, and when it is looked at next.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::jittered;

/// Each delay is shortened or lengthened by up to so much of itself.
const JITTER: f64 = 0.2;

/// What is known of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The newest check.
    pub status: HealthStatus,
    /// Whether any check has ever succeeded.
    pub ever_worked: bool,
    /// Checks that failed since one succeeded.
    pub failures: u32,
}

/// What came of the newest check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthStatus {
    /// There was none yet.
    Unchecked,
    /// All of it worked.
    Healthy,
    /// The step that failed, and why.
    Failed(Arc<str>),
    /// Nobody used the store for long, and it is no longer looked at.
    Stopped,
}

impl Health {
    /// Before the first check.
    #[must_use]
    pub fn unchecked() -> Self {
        Self { status: HealthStatus::Unchecked, ever_worked: false, failures: 0 }
    }

    /// Why the store is not known to be healthy; none if it is.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match &self.status {
            HealthStatus::Unchecked => Some("first health check hasn't completed yet"),
            HealthStatus::Healthy => None,
            HealthStatus::Failed(reason) => Some(reason),
            HealthStatus::Stopped => Some("health checks have stopped"),
        }
    }

    /// What its newest check failed on; none if it succeeded, or there is none.
    #[must_use]
    pub fn failed(&self) -> Option<&str> {
        match &self.status {
            HealthStatus::Failed(reason) => Some(reason),
            HealthStatus::Unchecked | HealthStatus::Healthy | HealthStatus::Stopped => None,
        }
    }

    /// Why appends to journals of this store must wait; none if they need not. A store that has worked before
    /// is trusted to work again: spools keep what is written until then, and one failed check stops nobody.
    #[must_use]
    pub fn gate(&self) -> Option<&str> {
        if self.ever_worked { None } else { self.error() }
    }

    /// The state after a check.
    #[must_use]
    pub fn after(&self, check: Result<(), String>) -> Self {
        match check {
            Ok(()) => Self { status: HealthStatus::Healthy, ever_worked: true, failures: 0 },
            Err(reason) => Self {
                status: HealthStatus::Failed(reason.into()),
                ever_worked: self.ever_worked,
                failures: self.failures.saturating_add(1),
            },
        }
    }
}

/// When to check next, after so many failures in a row; `random` is drawn evenly from 0 to 1.
#[must_use]
pub fn next_check(failures: u32, random: f64) -> Duration {
    let delay = match failures {
        0 => Duration::from_secs(30 * 60),
        1 => Duration::ZERO,
        2 => Duration::from_millis(100),
        3 | 4 => Duration::from_secs(1),
        // Whoever waits for the store to come back waits no longer than this.
        _ => Duration::from_secs(10),
    };
    jittered(delay, JITTER, random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_come_closer_after_a_failure_and_then_further_apart() {
        let check = |failures, millis| {
            assert_eq!(next_check(failures, 0.5), Duration::from_millis(millis), "after {failures}");
            assert_eq!(next_check(failures, 0.0), Duration::from_millis(millis * 8 / 10));
            assert_eq!(next_check(failures, 1.0), Duration::from_millis(millis * 12 / 10));
        };
        check(0, 30 * 60 * 1000);
        check(1, 0);
        check(2, 100);
        check(3, 1_000);
        check(4, 1_000);
        check(5, 10_000);
        check(6, 10_000);
        check(7, 10_000);
        check(u32::MAX, 10_000);
    }

    #[test]
    fn appends_wait_only_for_a_store_that_never_worked() {
        let failed = |health: &Health| health.after(Err("PUT failed".to_owned()));
        let fresh = Health::unchecked();
        assert_eq!(fresh.gate(), Some("first health check hasn't completed yet"));
        let never = failed(&failed(&fresh));
        assert_eq!((never.gate(), never.failures), (Some("PUT failed"), 2));
        let healthy = never.after(Ok(()));
        assert_eq!((healthy.gate(), healthy.error(), healthy.failures), (None, None, 0));
        let failing = failed(&healthy);
        assert_eq!((failing.gate(), failing.error()), (None, Some("PUT failed")));
        let stopped = Health { status: HealthStatus::Stopped, ..failing };
        assert_eq!(stopped.error(), Some("health checks have stopped"));
    }
}
