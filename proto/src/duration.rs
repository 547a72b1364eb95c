//! Pure: durations as Go writes and reads them, since every Gazette spec, flag and JSON reply uses that form.
//! Knows text and nanoseconds; it does not know what the duration is for, nor any clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

#[cfg(test)]
mod tests;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Longest text that is looked at. Anything a person or a program means is far shorter.
const MAX_TEXT_BYTES: usize = 256;

/// A signed span of whole nanoseconds, between -292 and +292 years: Go's `time.Duration`.
///
/// Reads `1h30m`, `.5s`, `-1.5h`, `10µs` and a bare `0`; prints `1h30m0s`, `500ms`, `-1h30m0s`, `10µs`, `0s`.
///
/// ```
/// use courant_proto::duration::GoDuration;
///
/// let interval: GoDuration = "90m".parse()?;
/// assert_eq!(interval.to_string(), "1h30m0s");
/// # Ok::<(), courant_proto::duration::ParseDurationError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration {
    nanos: i64,
}

/// Why a text is not a duration.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "invalid duration {text:?}: {reason} (expected numbers with units, like 10s, 5m, 1h30m or 1.5h; units are ns, us, ms, s, m, h)"
)]
pub struct ParseDurationError {
    text: String,
    reason: &'static str,
}

impl GoDuration {
    /// No time at all.
    pub const ZERO: Self = Self { nanos: 0 };

    /// This many nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self { nanos }
    }

    /// This many seconds, held to the range of the type.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Self { nanos: seconds.saturating_mul(NANOS_PER_SECOND) }
    }

    /// The whole span in nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.nanos
    }

    /// The span as the standard library's type, unless it is negative.
    #[must_use]
    pub fn to_std(self) -> Option<Duration> {
        u64::try_from(self.nanos).ok().map(Duration::from_nanos)
    }

    /// The span of a wire message, or `None` where Go could not hold it or the parts disagree in sign.
    #[must_use]
    pub fn from_wire(wire: &prost_types::Duration) -> Option<Self> {
        let nanos = i64::from(wire.nanos);
        let mixed = (wire.seconds > 0 && nanos < 0) || (wire.seconds < 0 && nanos > 0);
        if mixed || nanos.abs() >= NANOS_PER_SECOND {
            return None;
        }
        // Wide, since the least duration has whole seconds that alone lie below what the type can hold.
        let total = i128::from(wire.seconds) * i128::from(NANOS_PER_SECOND) + i128::from(nanos);
        i64::try_from(total).ok().map(Self::from_nanos)
    }

    /// The wire message of this span.
    #[must_use]
    pub fn to_wire(self) -> prost_types::Duration {
        prost_types::Duration {
            seconds: self.nanos / NANOS_PER_SECOND,
            nanos: i32::try_from(self.nanos % NANOS_PER_SECOND).unwrap_or_default(),
        }
    }
}

impl TryFrom<Duration> for GoDuration {
    type Error = std::num::TryFromIntError;

    fn try_from(duration: Duration) -> Result<Self, Self::Error> {
        i64::try_from(duration.as_nanos()).map(Self::from_nanos)
    }
}

impl FromStr for GoDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason| ParseDurationError { text: text.chars().take(64).collect(), reason };
        if text.len() > MAX_TEXT_BYTES {
            return Err(refuse("too long"));
        }
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(refuse("no number"));
        }
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let (part, after) = parse_part(rest).map_err(refuse)?;
            rest = after;
            total += part;
            if total > u128::from(i64::MIN.unsigned_abs()) {
                return Err(refuse("beyond 292 years"));
            }
        }
        let signed = i128::try_from(total).map_err(|_| refuse("beyond 292 years"))?;
        let signed = if negative { -signed } else { signed };
        i64::try_from(signed).map(Self::from_nanos).map_err(|_| refuse("beyond 292 years"))
    }
}

/// Reads one number with its unit: its nanoseconds, rounded towards zero, and what follows it.
fn parse_part(text: &str) -> Result<(u128, &str), &'static str> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err("expected a number before each unit");
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let unit: u128 = match unit {
        "ns" => 1,
        // Two characters look like this micro sign, and Go takes both.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err("missing unit"),
        _ => return Err("unknown unit"),
    };
    let mut nanos: u128 = 0;
    for digit in whole.bytes() {
        nanos = nanos * 10 + u128::from(digit - b'0');
        // Also keeps the sum of all parts far from overflow.
        if nanos > u128::from(u64::MAX) {
            return Err("beyond 292 years");
        }
    }
    nanos *= unit;
    // Digits past the sixteenth cannot make a nanosecond, even of an hour.
    let (mut numerator, mut scale) = (0_u128, 1_u128);
    for digit in fraction.bytes().take(18) {
        numerator = numerator * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    Ok((nanos + numerator * unit / scale, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.nanos.unsigned_abs();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if self.nanos < 0 {
            f.write_str("-")?;
        }
        match nanos {
            0..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write_decimal(f, nanos, 1_000, "µs"),
            1_000_000..1_000_000_000 => write_decimal(f, nanos, 1_000_000, "ms"),
            _ => {
                let minutes = nanos / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                write_decimal(f, nanos % 60_000_000_000, 1_000_000_000, "s")
            }
        }
    }
}

/// Writes `nanos / unit` as a decimal without trailing zeros.
fn write_decimal(f: &mut fmt::Formatter<'_>, nanos: u64, unit: u64, name: &str) -> fmt::Result {
    write!(f, "{}", nanos / unit)?;
    let mut fraction = nanos % unit;
    if fraction > 0 {
        let mut width = unit.ilog10() as usize;
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            width -= 1;
        }
        write!(f, ".{fraction:0width$}")?;
    }
    f.write_str(name)
}
