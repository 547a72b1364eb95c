//! Pure: a producer's clock, which orders its messages. It follows the time of day as far as that goes forward, and reads no clock
//! itself.

use courant_proto::Timestamp;

/// 100 ns from 1582-10-15, where the time of UUIDs begins, to 1970-01-01.
const UNIX_EPOCH: i64 = 122_192_928_000_000_000;
const NANOS_PER_UNIT: i64 = 100;
/// Bits below the time, of a counter.
const COUNTER_BITS: u32 = 4;
/// A tick: 10 units of 100 ns.
const TICK: u64 = 10 << COUNTER_BITS;

/// A moment in the order of a producer: 60 bits of time, in units of 100 ns since 1582-10-15, and 4 bits of a counter. Zero is the clock
/// of messages that have no UUID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Clock(u64);

impl Clock {
    /// Before all others.
    pub const ZERO: Self = Self(0);

    /// The clock at a time of day, with the counter at zero.
    pub const fn at(time: Timestamp) -> Self {
        // A Timestamp is from 1677 at the earliest, so that the sum is positive, and takes less than 60 bits.
        Self(((time.nanos() / NANOS_PER_UNIT + UNIX_EPOCH) as u64) << COUNTER_BITS)
    }

    /// A clock as a number.
    pub const fn from_u64(clock: u64) -> Self {
        Self(clock)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Moves on to a time of day, unless that lies before it: a clock never goes back.
    pub fn update(&mut self, now: Timestamp) {
        *self = (*self).max(Self::at(now));
    }

    /// Moves on by a microsecond, and tells the clock from then on. A million ticks a second keep up with the time of day; more run
    /// ahead of it, which does no harm.
    pub fn tick(&mut self) -> Self {
        self.0 = self.0.saturating_add(TICK);
        *self
    }

    /// The time of day; of a clock that no `Timestamp` can tell the nearest that there is.
    pub const fn time(self) -> Timestamp {
        let units = (self.0 >> COUNTER_BITS) as i64 - UNIX_EPOCH;
        Timestamp::from_nanos(units.saturating_mul(NANOS_PER_UNIT))
    }

    /// The clock right before this one; of zero, zero.
    pub(crate) const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The clock a while earlier; at the least zero.
    pub(crate) fn minus(self, time: std::time::Duration) -> Self {
        let units = u64::try_from(time.as_nanos() / NANOS_PER_UNIT as u128).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(units.saturating_mul(1 << COUNTER_BITS)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clock_never_goes_back() {
        let mut clock = Clock::at(Timestamp::from_secs(1_700_000_000));
        assert_eq!(clock.get(), 0x1ee8_33b0_4afc_0000);
        clock.update(Timestamp::from_secs(1_600_000_000));
        assert_eq!(clock.get(), 0x1ee8_33b0_4afc_0000);
        assert_eq!(clock.tick().get(), 0x1ee8_33b0_4afc_00a0);
        assert_eq!(clock.get(), 0x1ee8_33b0_4afc_00a0);
        // The time of day has not caught up with the tick yet.
        clock.update(Timestamp::from_nanos(1_700_000_000_000_000_900));
        assert_eq!(clock.get(), 0x1ee8_33b0_4afc_00a0);
        clock.update(Timestamp::from_nanos(1_700_000_000_000_001_100));
        assert_eq!(clock.get(), 0x1ee8_33b0_4afc_00b0);
    }

    #[test]
    fn a_tick_is_a_microsecond() {
        let mut clock = Clock::at(Timestamp::UNIX_EPOCH);
        let begun = clock.time();
        for _ in 0..1_000_000 {
            clock.tick();
        }
        assert_eq!(clock.time().since(begun), Duration::from_secs(1));
        assert_eq!(Clock::from_u64(u64::MAX).tick(), Clock::from_u64(u64::MAX));
    }

    #[test]
    fn times_beyond_what_can_be_told_become_the_nearest() {
        assert_eq!(Clock::ZERO.time(), Timestamp::from_nanos(i64::MIN));
        assert_eq!(Clock::from_u64(u64::MAX).time(), Timestamp::from_nanos(i64::MAX));
        assert_eq!(Clock::ZERO.minus(Duration::MAX), Clock::ZERO);
        assert_eq!(Clock::from_u64(21 << 4).minus(Duration::from_nanos(1_999)), Clock::from_u64(2 << 4));
        assert_eq!(Clock::ZERO.before(), Clock::ZERO);
    }

    proptest! {
        #[test]
        fn times_come_back_to_a_hundred_nanoseconds(nanos in any::<i64>()) {
            let time = Clock::at(Timestamp::from_nanos(nanos)).time();
            prop_assert_eq!(time.nanos(), nanos / 100 * 100);
        }
    }
}
