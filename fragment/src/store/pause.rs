//! Leaving a store alone for as long as it asked to be.
//!
//! Who is told "slow down" is told it for all of us: a store counts the calls of a process together.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A store is left alone for no longer, whatever it asks for.
const LONGEST: Duration = Duration::from_secs(60);

/// Until when a store is left alone.
#[derive(Debug, Default)]
pub(super) struct Pause {
    until: Mutex<Option<Instant>>,
}

impl Pause {
    /// Notes what a store asked for. A shorter wait does not replace a longer one.
    pub(super) fn note(&self, wait: Duration) {
        let until = Instant::now() + wait.min(LONGEST);
        let mut noted = self.until.lock();
        *noted = (*noted).max(Some(until));
    }

    /// Waits until the store may be asked again.
    pub(super) async fn wait(&self) {
        let until = *self.until.lock();
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
    }
}

/// How long a `Retry-After` header asks to wait: seconds, or a date. `now` is in Unix seconds. None if it is
/// neither.
pub(super) fn retry_after(header: &str, now: i64) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(header).ok()?;
    Some(Duration::from_secs(u64::try_from(date.timestamp().as_second() - now).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_seconds_or_a_date() {
        let check = |header: &str, expected: Option<u64>| {
            assert_eq!(retry_after(header, 1_700_000_000), expected.map(Duration::from_secs), "{header}");
        };
        check("7", Some(7));
        check(" 0 ", Some(0));
        check("Tue, 14 Nov 2023 22:13:50 GMT", Some(30));
        check("Tue, 14 Nov 2023 22:13:00 GMT", Some(0));
        check("-1", None);
        check("soon", None);
        check("", None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_wait_counts_within_bounds() {
        let pause = Pause::default();
        let waited = async |expected: u64| {
            let began = Instant::now();
            pause.wait().await;
            assert_eq!(began.elapsed().as_secs(), expected);
        };
        waited(0).await;
        pause.note(Duration::from_secs(9));
        pause.note(Duration::from_secs(2));
        waited(9).await;
        waited(0).await;
        pause.note(Duration::MAX);
        waited(LONGEST.as_secs()).await;
    }
}
