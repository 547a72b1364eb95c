//! The flags of `courant journals fragments`.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use courant_proto::duration::GoDuration;

use super::{MaybeSelect, positive_duration, unix_seconds};

pub(super) const EXAMPLES: &str = "\
With --follow, each fragment is printed once when it is stored, in order within its journal; its `offset` says from where on it is new.
What happened while nobody followed is told at the next start, from --cursor on. docs/batch.md says what exactly is promised.

Examples:
  courant journals fragments -l prefix=acme/orders/
  courant journals fragments -l prefix=acme/orders/ --from 2h --format ndjson --url-ttl 1h | jq -r .url
  courant journals fragments -l name=acme/orders/part-000 --from 2026-07-01T00:00:00Z --url-ttl 1h -o json
  courant journals fragments -l prefix=acme/orders/ --follow --complete hour --cursor at.json -o ndjson";

#[derive(Debug, Args)]
pub(crate) struct FragmentsArgs {
    #[command(flatten)]
    pub(crate) select: MaybeSelect,
    /// Only fragments persisted at this time or later: Unix seconds, like 2026-07-01T00:00:00Z, or as long ago as 2h
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = moment)]
    pub(crate) from: Moment,
    /// Only fragments persisted at this time or earlier; 0 is without end
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = moment, conflicts_with = "follow")]
    pub(crate) to: Moment,
    /// Add URLs that fetch the fragments and are good for this long
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = positive_duration)]
    pub(crate) url_ttl: GoDuration,
    /// Form of the output
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: FragmentsFormat,
    /// Go on, and print each fragment once when it is stored, until interrupted
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// File that remembers what was printed: where to go on, if it is there
    #[arg(long, value_name = "FILE", requires = "follow")]
    pub(crate) cursor: Option<PathBuf>,
    /// Print a line once all that was appended in an hour or day (UTC) was printed, of all journals
    #[arg(long, value_name = "UNIT", requires = "follow")]
    pub(crate) complete: Option<Unit>,
    /// How long after its end an hour or day is judged: more than clocks of brokers differ, and than their leases live
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = positive_duration)]
    pub(crate) settle: GoDuration,
    /// Print a gap and pass over it once what lies behind it has been stored for so long
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = positive_duration)]
    pub(crate) gap_after: GoDuration,
    /// How often journals are asked
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive_duration)]
    pub(crate) poll: GoDuration,
    /// Journals asked in a second, at most
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
}

/// How fragments are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FragmentsFormat {
    /// For people
    Table,
    /// A list of the broker's messages
    Yaml,
    /// The broker's messages, one on each line
    Json,
    /// Flat rows, one on each line: with location, key, partition and time
    Ndjson,
}

/// A length of time that is told to be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unit {
    /// Partitions date=YYYY-MM-DD/hour=HH
    Hour,
    /// Partitions date=YYYY-MM-DD
    Day,
}

impl Unit {
    pub(crate) fn seconds(self) -> i64 {
        match self {
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// What the partition is called that begins at a time of RFC 3339.
    pub(crate) fn partition(self, begin: &str) -> String {
        let (date, time) = begin.split_once('T').unwrap_or((begin, "00"));
        match self {
            Self::Hour => format!("date={date}/hour={}", time.get(..2).unwrap_or("00")),
            Self::Day => format!("date={date}"),
        }
    }
}

/// A time, or how long ago it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// In Unix seconds.
    At(i64),
    Ago(GoDuration),
}

impl Moment {
    /// In Unix seconds.
    pub(crate) fn at(self, now: i64) -> i64 {
        match self {
            Self::At(seconds) => seconds,
            Self::Ago(ago) => now.saturating_sub(ago.as_nanos() / 1_000_000_000).max(1),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(seconds) => write!(f, "{seconds}"),
            Self::Ago(ago) => write!(f, "{ago} ago"),
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    let text = text.trim();
    if let Ok(ago) = positive_duration(text.strip_suffix(" ago").unwrap_or(text))
        && text.parse::<i64>().is_err()
    {
        return Ok(Moment::Ago(ago));
    }
    unix_seconds(text).map(Moment::At).map_err(|reason| format!("{reason}, or how long ago, like 2h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_three_ways() {
        let now = 1_795_860_000;
        for (text, expected) in [
            ("0", 0),
            ("1795860000", now),
            ("2026-11-28T10:00:00Z", now),
            ("2h", now - 7_200),
            ("1h30m ago", now - 5_400),
            ("0s", now),
            ("999999h", 1),
        ] {
            assert_eq!(moment(text).map(|moment| moment.at(now)), Ok(expected), "{text}");
        }
        for text in ["", "-1", "yesterday", "2026-11-28", "-2h"] {
            assert!(moment(text).unwrap_err().contains("expected"), "{text}");
        }
    }

    #[test]
    fn partitions_are_called_as_hive_does() {
        assert_eq!(Unit::Hour.partition("2026-11-28T09:00:00Z"), "date=2026-11-28/hour=09");
        assert_eq!(Unit::Day.partition("2026-11-28T00:00:00Z"), "date=2026-11-28");
    }
}
