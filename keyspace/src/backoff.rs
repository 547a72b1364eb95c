//! Pure: how long to wait before an attempt, given a fraction drawn by the caller.

use std::time::Duration;

/// The wait before attempt number `attempt`, counted from 0 at the last success, spread by `jitter` in `[0, 1)`.
///
/// A first hiccup costs nothing; an etcd that stays away is asked about every five seconds, by each of its clients at
/// another moment.
pub(crate) fn delay(attempt: u32, jitter: f64) -> Duration {
    let full = match attempt {
        0 | 1 => return Duration::ZERO,
        2 => Duration::from_millis(5),
        3 => Duration::from_secs(2),
        4 => Duration::from_secs(3),
        5 => Duration::from_secs(4),
        _ => Duration::from_secs(5),
    };
    full.mul_f64(0.75 + 0.25 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_five_seconds_and_are_spread_below_that() {
        let millis = |attempt, jitter| delay(attempt, jitter).as_millis();
        let latest: Vec<u128> = (0..9).map(|attempt| millis(attempt, 1.0)).collect();
        assert_eq!(latest, [0, 0, 5, 2000, 3000, 4000, 5000, 5000, 5000]);
        let earliest: Vec<u128> = (0..9).map(|attempt| millis(attempt, 0.0)).collect();
        assert_eq!(earliest, [0, 0, 3, 1500, 2250, 3000, 3750, 3750, 3750]);
    }
}
