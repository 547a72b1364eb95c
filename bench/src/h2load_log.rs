//! Pure: what h2load's `--log-file` says. A row for each request: when it began in microseconds, the HTTP status
//! (-1 if there was none), and how many microseconds it took.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::stats::{self, Times};

/// A run's requests.
#[derive(Debug)]
pub(crate) struct Log {
    /// How many there were.
    pub(crate) requests: u64,
    /// How many had another status than the expected one, and the last of those statuses.
    pub(crate) failed: u64,
    pub(crate) failed_with: i64,
    /// From the first one's begin to the last one's end.
    pub(crate) elapsed: Duration,
    pub(crate) times: Times,
}

/// Reads the rows.
///
/// # Errors
/// A row that is not one, and a log without rows.
pub(crate) fn parse(text: &str, expected_status: i64) -> Result<Log> {
    let mut log =
        Log { requests: 0, failed: 0, failed_with: 0, elapsed: Duration::ZERO, times: stats::times() };
    let (mut first, mut last) = (u64::MAX, 0);
    for (number, line) in text.lines().enumerate() {
        let (begin, status, took) = row(line).with_context(|| {
            format!("h2load's log, line {}: {line:?} (expected begin, status, duration)", number + 1)
        })?;
        log.requests += 1;
        if status != expected_status {
            log.failed += 1;
            log.failed_with = status;
        }
        first = first.min(begin);
        last = last.max(begin.saturating_add(took));
        stats::record(&mut log.times, Duration::from_micros(took));
    }
    ensure!(log.requests > 0, "h2load's log is empty: it made no request");
    log.elapsed = Duration::from_micros(last.saturating_sub(first));
    Ok(log)
}

fn row(line: &str) -> Option<(u64, i64, u64)> {
    // Later versions may add columns.
    let mut columns = line.split('\t');
    Some((columns.next()?.parse().ok()?, columns.next()?.parse().ok()?, columns.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_times() {
        let log = parse("1000\t200\t400\n1100\t200\t100\n1050\t200\t900\tmore\n", 200).unwrap();
        assert_eq!((log.requests, log.failed), (3, 0));
        assert_eq!(log.elapsed, Duration::from_micros(950));
        assert_eq!(stats::Percentiles::of(&log.times).p50_us.round() as u64, 400);
    }

    #[test]
    fn other_statuses_are_failures() {
        let log = parse("1\t204\t4\n2\t-1\t1\n3\t404\t1\n", 204).unwrap();
        assert_eq!((log.requests, log.failed, log.failed_with), (3, 2, 404));
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = parse(text, 200).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check("", "h2load's log is empty");
        check("1\t200\t3\n1\t200\n", "h2load's log, line 2: ");
        check("x\t200\t3\n", "h2load's log, line 1: ");
        check("1\t200\t-3\n", "h2load's log, line 1: ");
    }
}
