//! Moments, and the port through which they are read. The system's clock is not here: who composes a process
//! hands one in, and a simulation hands in its own.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// A moment, in nanoseconds since 1970-01-01 UTC: from the year 1677 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);

    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From seconds since the epoch; what cannot be told becomes the nearest end.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(NANOS_PER_SECOND))
    }

    /// From milliseconds since the epoch; what cannot be told becomes the nearest end.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(NANOS_PER_MILLI))
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(NANOS_PER_SECOND)
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(NANOS_PER_MILLI)
    }

    /// The moment a while later; at most the last that can be told.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// The moment a while earlier; at least the first that can be told.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// The time since an earlier moment; none when that one is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

/// RFC 3339, in UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{} ns", self.0),
        }
    }
}

/// Tells the time of day. Durations within a process are the runtime's to measure, not a clock's.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The present moment. May step back when the system's clock is set.
    fn now(&self) -> Timestamp;
}

/// A clock that stands still until it is moved, for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows this moment.
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Sets it, forward or back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::Relaxed);
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_round_down_and_saturate() {
        let t = Timestamp::from_nanos(-1);
        assert_eq!((t.secs(), t.millis(), t.nanos()), (-1, -1, -1));
        let t = Timestamp::from_millis(1_999);
        assert_eq!((t.secs(), t.millis()), (1, 1_999));
        assert_eq!(Timestamp::from_secs(i64::MAX).nanos(), i64::MAX);
        assert_eq!(Timestamp::from_secs(5).plus(Duration::MAX).nanos(), i64::MAX);
        assert_eq!(Timestamp::from_secs(5).minus(Duration::from_secs(7)).secs(), -2);
        assert_eq!(Timestamp::from_secs(5).since(Timestamp::from_secs(3)), Duration::from_secs(2));
        assert_eq!(Timestamp::from_secs(3).since(Timestamp::from_secs(5)), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(1_500).to_string(), "1970-01-01T00:00:01.5Z");
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let clock = ManualClock::new(Timestamp::from_secs(10));
        clock.advance(Duration::from_millis(500));
        assert_eq!(clock.now().millis(), 10_500);
        clock.set(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
    }
}
