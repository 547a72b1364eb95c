//! Pure: Go's reference-time layouts (`2006-01-02`, `15`), read once and printed for moments in UTC.
//! It does not know where a layout stood or what the printed text must be fit for.

use std::fmt::Write;

use jiff::civil::DateTime;

/// A layout, taken apart: literal text and the fields of a date between it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// One field of the reference time `Mon Jan 2 15:04:05 MST 2006`. Zones are constant, as all times are UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Year,
    YearOfCentury,
    Month(Pad),
    MonthName {
        short: bool,
    },
    Day(Pad),
    DayOfYear(Pad),
    Weekday {
        short: bool,
    },
    Hour,
    Hour12(Pad),
    Minute(Pad),
    Second(Pad),
    HalfOfDay {
        upper: bool,
    },
    Zone(&'static str),
    /// Digits after the second, with the character before them; trailing zeros may be dropped.
    Fraction {
        mark: char,
        digits: usize,
        trim: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pad {
    None,
    Zero,
    Space,
}

/// Fields by the text that stands for them. Where one text begins another, the longer comes first.
const FIELDS: &[(&str, Field)] = &[
    ("January", Field::MonthName { short: false }),
    ("Jan", Field::MonthName { short: true }),
    ("Monday", Field::Weekday { short: false }),
    ("Mon", Field::Weekday { short: true }),
    ("MST", Field::Zone("UTC")),
    ("002", Field::DayOfYear(Pad::Zero)),
    ("01", Field::Month(Pad::Zero)),
    ("02", Field::Day(Pad::Zero)),
    ("03", Field::Hour12(Pad::Zero)),
    ("04", Field::Minute(Pad::Zero)),
    ("05", Field::Second(Pad::Zero)),
    ("06", Field::YearOfCentury),
    ("15", Field::Hour),
    ("1", Field::Month(Pad::None)),
    ("2006", Field::Year),
    ("2", Field::Day(Pad::None)),
    ("__2", Field::DayOfYear(Pad::Space)),
    ("_2", Field::Day(Pad::Space)),
    ("3", Field::Hour12(Pad::None)),
    ("4", Field::Minute(Pad::None)),
    ("5", Field::Second(Pad::None)),
    ("PM", Field::HalfOfDay { upper: true }),
    ("pm", Field::HalfOfDay { upper: false }),
    ("-07:00:00", Field::Zone("+00:00:00")),
    ("-070000", Field::Zone("+000000")),
    ("-07:00", Field::Zone("+00:00")),
    ("-0700", Field::Zone("+0000")),
    ("-07", Field::Zone("+00")),
    ("Z07:00:00", Field::Zone("Z")),
    ("Z070000", Field::Zone("Z")),
    ("Z07:00", Field::Zone("Z")),
    ("Z0700", Field::Zone("Z")),
    ("Z07", Field::Zone("Z")),
];

impl Layout {
    /// Takes a layout apart. Every text is a layout: what names no field stands for itself.
    pub(super) fn parse(layout: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = layout;
        while let Some(first) = rest.chars().next() {
            match next_field(rest) {
                Some((field, length)) => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    parts.push(Part::Field(field));
                    rest = &rest[length..];
                }
                None => {
                    text.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Self { parts }
    }

    /// Appends the moment, which is in UTC, in this layout.
    pub(super) fn print(&self, time: DateTime, out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(field) => field.print(time, out),
            }
        }
    }
}

/// The field that the text begins with, and the length of what stands for it.
fn next_field(text: &str) -> Option<(Field, usize)> {
    // An underscore before a year is an underscore, not a day padded with a space.
    if text.starts_with("_2006") {
        return None;
    }
    if let Some(found) = fraction(text) {
        return Some(found);
    }
    FIELDS.iter().find(|(name, _)| text.starts_with(name)).and_then(|(name, field)| {
        // "Janet" and "Months" are words; but a longer word that begins with a full name is not spared.
        let word = matches!(*name, "Jan" | "Mon")
            && text[name.len()..].starts_with(|c: char| c.is_ascii_lowercase());
        (!word).then_some((*field, name.len()))
    })
}

/// `.000`, `,000`, `.999` and `,999` of any length, unless a further digit follows.
fn fraction(text: &str) -> Option<(Field, usize)> {
    let mark = text.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let digit = text[1..].chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let digits = text[1..].chars().take_while(|c| *c == digit).count();
    let more = text[1 + digits..].starts_with(|c: char| c.is_ascii_digit());
    (!more).then_some((Field::Fraction { mark, digits, trim: digit == '9' }, 1 + digits))
}

impl Field {
    fn print(self, time: DateTime, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Year => write!(out, "{:04}", time.year()),
            Self::YearOfCentury => write!(out, "{:02}", time.year().rem_euclid(100)),
            Self::Month(pad) => pad.print(i16::from(time.month()), 2, out),
            Self::MonthName { short } => {
                let name = MONTHS[usize::from(time.month().unsigned_abs().clamp(1, 12)) - 1];
                write!(out, "{}", if short { &name[..3] } else { name })
            }
            Self::Day(pad) => pad.print(i16::from(time.day()), 2, out),
            Self::DayOfYear(pad) => pad.print(time.day_of_year(), 3, out),
            Self::Weekday { short } => {
                let name =
                    WEEKDAYS[usize::from(time.weekday().to_monday_zero_offset().unsigned_abs().min(6))];
                write!(out, "{}", if short { &name[..3] } else { name })
            }
            Self::Hour => write!(out, "{:02}", time.hour()),
            Self::Hour12(pad) => pad.print((i16::from(time.hour()) + 11) % 12 + 1, 2, out),
            Self::Minute(pad) => pad.print(i16::from(time.minute()), 2, out),
            Self::Second(pad) => pad.print(i16::from(time.second()), 2, out),
            Self::HalfOfDay { upper } => {
                let half = if time.hour() >= 12 { "PM" } else { "AM" };
                write!(out, "{}", if upper { half.to_owned() } else { half.to_lowercase() })
            }
            Self::Zone(zone) => write!(out, "{zone}"),
            Self::Fraction { mark, digits, trim } => {
                let nanos = format!("{:09}", time.subsec_nanosecond());
                let mut shown: String = nanos.chars().chain(std::iter::repeat('0')).take(digits).collect();
                if trim {
                    shown.truncate(shown.trim_end_matches('0').len());
                }
                if shown.is_empty() { Ok(()) } else { write!(out, "{mark}{shown}") }
            }
        };
    }
}

impl Pad {
    fn print(self, value: i16, width: usize, out: &mut String) -> std::fmt::Result {
        match self {
            Self::None => write!(out, "{value}"),
            Self::Zero => write!(out, "{value:0width$}"),
            Self::Space => write!(out, "{value:width$}"),
        }
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
