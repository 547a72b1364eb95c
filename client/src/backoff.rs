//! Pure: how long to pause before an attempt is made again. Knows nothing of what is attempted, nor of clocks.

use std::time::Duration;

use rand::{Rng, RngExt as _};

/// The pause after the given number of consecutive failures, which counts from zero.
///
/// The steps are 50 ms twice, 100 ms twice, 1 s twice and 5 s from then on, as other clients of the protocol
/// pause. Each is spread over half to one and a half times itself, so that clients that failed together do not
/// come back together.
pub(crate) fn pause(failures: u32, rng: &mut impl Rng) -> Duration {
    let step = match failures {
        0 | 1 => 50,
        2 | 3 => 100,
        4 | 5 => 1_000,
        _ => 5_000,
    };
    Duration::from_millis(rng.random_range(step / 2..=step * 3 / 2))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn steps_are_spread_around_their_middle() {
        let mut rng = SmallRng::seed_from_u64(7);
        for (failures, middle) in
            [(0, 50), (1, 50), (2, 100), (3, 100), (4, 1_000), (6, 5_000), (u32::MAX, 5_000)]
        {
            let pauses: Vec<_> = (0..100).map(|_| pause(failures, &mut rng).as_millis() as u64).collect();
            assert!(
                pauses.iter().all(|p| (middle / 2..=middle * 3 / 2).contains(p)),
                "{failures}: {pauses:?}"
            );
            assert!(pauses.iter().any(|p| *p != pauses[0]), "{failures}: the pauses are all alike");
        }
    }

    #[test]
    fn equal_seeds_pause_equally() {
        let sequence = |seed| {
            let mut rng = SmallRng::seed_from_u64(seed);
            (0..8).map(|n| pause(n, &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(sequence(1), sequence(1));
        assert_ne!(sequence(1), sequence(2));
    }
}
