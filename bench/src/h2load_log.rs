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
    /// How long they would have taken at the rate of the steady part, without the begin and the end of the run.
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
    let (mut first, mut ends) = (u64::MAX, Vec::new());
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
        ends.push(begin.saturating_add(took));
        stats::record(&mut log.times, Duration::from_micros(took));
    }
    ensure!(log.requests > 0, "h2load's log is empty: it made no request");
    ends.sort_unstable();
    log.elapsed = steady(first, &ends);
    Ok(log)
}

/// The time that all of the requests take at the rate between the ends of the first and of the last twentieth of
/// them: opening hundreds of connections may take longer than the requests themselves, and is not what is asked.
fn steady(first: u64, ends: &[u64]) -> Duration {
    let margin = ends.len() / 20;
    let last = ends.len() - 1;
    let (from, to) = if margin == 0 { (first, ends[last]) } else { (ends[margin], ends[last - margin]) };
    let counted = if margin == 0 { ends.len() } else { last - 2 * margin };
    let per_request = to.saturating_sub(from) as f64 / counted.max(1) as f64;
    Duration::from_secs_f64(per_request * ends.len() as f64 / 1e6)
}

/// How long the slowest connection took to open, out of the summary that h2load prints.
pub(crate) fn slowest_connect(summary: &str) -> Option<Duration> {
    let times = summary.lines().find_map(|line| line.trim_start().strip_prefix("time for connect:"))?;
    let slowest = times.split_ascii_whitespace().nth(1)?;
    let unit = slowest.find(|c: char| c.is_ascii_alphabetic())?;
    let value: f64 = slowest[..unit].parse().ok()?;
    let seconds = match &slowest[unit..] {
        "us" => value / 1e6,
        "ms" => value / 1e3,
        "s" => value,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
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
    fn a_slow_begin_does_not_count() {
        // One request each 10 µs, but for the first two, which came a second before.
        let rows = (0..100).map(|n| if n < 2 { n } else { 1_000_000 + n * 10 });
        let text: String = rows.map(|begin| format!("{begin}\t200\t5\n")).collect();
        assert_eq!(parse(&text, 200).unwrap().elapsed, Duration::from_millis(1));
    }

    #[test]
    fn the_slowest_connection() {
        let check = |summary: &str, expected: Option<u64>| {
            assert_eq!(slowest_connect(summary), expected.map(Duration::from_millis), "{summary}");
        };
        check("x\ntime for connect:     1.22ms       1.02s    452.12ms\ny", Some(1020));
        check("time for connect:     392us       5000us         392us", Some(5));
        check("time for connect:     1.5ms      21.00ms", Some(21));
        check("time for connect:     1.5ms      21.00m", None);
        check("time for request:     1.5ms      21.00ms", None);
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
