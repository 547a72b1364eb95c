//! Pure: medians over rounds, and percentiles of response times.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Response times in nanoseconds, to three digits.
pub(crate) type Times = Histogram<u64>;

/// An empty collection of times.
pub(crate) fn times() -> Times {
    Histogram::new(3).expect("a histogram may have three significant digits")
}

/// Adds a time.
pub(crate) fn record(times: &mut Times, time: Duration) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    if times.record(nanos).is_err() {
        // What it cannot grow to counts as the longest that it holds.
        times.saturating_record(nanos);
    }
}

/// The percentiles that are reported, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
}

impl Percentiles {
    pub(crate) fn of(times: &Times) -> Self {
        let at = |quantile| times.value_at_quantile(quantile) as f64 / 1_000.0;
        Self { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999) }
    }

    /// Each percentile's median over the rounds.
    pub(crate) fn medians(rounds: &[Self]) -> Self {
        let of = |field: fn(&Self) -> f64| median(rounds.iter().map(field));
        Self { p50_us: of(|p| p.p50_us), p99_us: of(|p| p.p99_us), p999_us: of(|p| p.p999_us) }
    }
}

/// The median; of an even count the mean of the middle two; of nothing zero.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// `a / b`, and zero where nothing was measured.
pub(crate) fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let check = |values: &[f64], expected: f64| {
            assert!((median(values.iter().copied()) - expected).abs() < 1e-9, "{values:?}");
        };
        check(&[], 0.0);
        check(&[3.0], 3.0);
        check(&[9.0, 1.0, 5.0], 5.0);
        check(&[4.0, 1.0, 2.0, 100.0], 3.0);
    }

    #[test]
    fn percentiles_are_in_microseconds_and_exact_to_a_thousandth() {
        let mut times = times();
        for micros in 1..=10_000 {
            record(&mut times, Duration::from_micros(micros));
        }
        let found = Percentiles::of(&times);
        for (found, expected) in [(found.p50_us, 5_000.0), (found.p99_us, 9_900.0), (found.p999_us, 9_990.0)]
        {
            assert!((found - expected).abs() / expected < 0.001, "{found} {expected}");
        }
    }

    #[test]
    fn medians_of_percentiles_are_taken_one_by_one() {
        let round = |p50_us, p99_us, p999_us| Percentiles { p50_us, p99_us, p999_us };
        let rounds = [round(1.0, 30.0, 5.0), round(2.0, 10.0, 9.0), round(3.0, 20.0, 1.0)];
        assert_eq!(Percentiles::medians(&rounds), round(2.0, 20.0, 5.0));
    }
}
