//! Pure: what came of a trial, for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::outage::Outage;
use crate::history::{Append, Outcome};

/// What came of a trial.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Everything that was wrong. Nothing may be.
    pub problems: Vec<String>,
    /// For how long journals took no appends.
    pub outages: Vec<Outage>,
    /// What appends failed with, and how often.
    pub refusals: BTreeMap<String, u64>,
    /// Appends that were acknowledged.
    pub acknowledged: usize,
    /// Appends of unknown outcome.
    pub unknown: usize,
    /// Bytes of all journals in the end.
    pub bytes: usize,
    /// Histories of journals in which something was wrong, by their names.
    pub histories: BTreeMap<String, String>,
}

impl Report {
    /// Puts another one behind it.
    pub fn join(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.outages.extend(other.outages);
        for (reason, count) in other.refusals {
            *self.refusals.entry(reason).or_default() += count;
        }
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.bytes += other.bytes;
        self.histories.extend(other.histories);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "appends: {} acknowledged, {} unknown; {} bytes",
            self.acknowledged, self.unknown, self.bytes
        )?;
        writeln!(f, "{:<16} {:>8} {:>9} {:>9} {:>9}", "outage after", "journals", "p50", "p99", "max")?;
        let mut faults = BTreeMap::<&str, Vec<Duration>>::new();
        for outage in &self.outages {
            faults.entry(outage.fault).or_default().push(outage.lasted.unwrap_or(Duration::MAX));
        }
        for (fault, mut lasted) in faults {
            lasted.sort_unstable();
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| shown(quantile(&lasted, q)));
            writeln!(f, "{fault:<16} {:>8} {p50:>9} {p99:>9} {max:>9}", lasted.len())?;
        }
        for (reason, count) in &self.refusals {
            writeln!(f, "{count:>8} × {reason}")?;
        }
        for problem in self.problems.iter().take(30) {
            writeln!(f, "PROBLEM {problem}")?;
        }
        if self.problems.len() > 30 {
            writeln!(f, "PROBLEM … and {} more", self.problems.len() - 30)?;
        }
        Ok(())
    }
}

/// The smallest of sorted durations that is not below so large a part of them.
pub fn quantile(sorted: &[Duration], part: f64) -> Duration {
    let at = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

fn shown(duration: Duration) -> String {
    if duration == Duration::MAX { "never".to_owned() } else { format!("{:.2} s", duration.as_secs_f64()) }
}

pub(super) fn acknowledged(history: &[Append]) -> usize {
    history.iter().filter(|append| matches!(append.outcome, Outcome::Done { .. })).count()
}

pub(super) fn unknown(history: &[Append]) -> usize {
    history.iter().filter(|append| append.outcome == Outcome::Unknown).count()
}

#[test]
fn quantiles_are_among_what_was_measured() {
    let sorted: Vec<Duration> = (1..=100).map(Duration::from_secs).collect();
    assert_eq!(quantile(&sorted, 0.5), Duration::from_secs(50));
    assert_eq!(quantile(&sorted, 0.99), Duration::from_secs(99));
    assert_eq!(quantile(&sorted, 1.0), Duration::from_secs(100));
    assert_eq!(quantile(&sorted[..1], 0.5), Duration::from_secs(1));
    assert_eq!(quantile(&[], 0.5), Duration::ZERO);
}
