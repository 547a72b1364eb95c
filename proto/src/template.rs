//! Pure: the path postfix of a journal's fragments, from the template in its spec.
//!
//! Gazette evaluates these with a general template engine. Specs use a handful of forms, mostly the date of a
//! spool's first append, so this module reads exactly those, into pieces that cannot fail or grow later on. It
//! does not know stores, nor when a fragment is persisted.
//!
//! | form, between `{{` and `}}` | becomes |
//! |---|---|
//! | `.Spool.FirstAppendTime.Format "2006-01-02"` | the time of the first append in UTC, in this Go layout |
//! | `.Spool.FirstAppendTime.Unix`, `.Year`, `.Month`, `.Day`, `.Hour`, `.Minute`, `.YearDay`, `.Weekday` | that part of it |
//! | `.Spool.Journal`, `.Name`, `.JournalSpec.Name` | the journal's name |
//! | `.Spool.Begin`, `.Spool.End` | the fragment's offsets, in decimal |
//! | `.Spool.CompressionCodec` | the name of the codec |
//! | `.Spool.Registers.ValueOf "x"` | the first value of register `x`, or nothing |
//! | `.LabelSet.ValueOf "x"`, `.JournalSpec.LabelSet.ValueOf "x"` | the first value of label `x`, or nothing |
//! | `"text"`, `/* text */` | the text, or nothing |

use std::fmt::Write;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::codec::Codec;
use crate::invalid::Invalid;
use crate::label::LabelSet;
use crate::time::Timestamp;
use crate::token;
use layout::Layout;

mod layout;
mod parse;
#[cfg(test)]
mod tests;

/// Longest evaluated postfix, in bytes. Also the longest template, which has no reason to be longer.
pub const MAX_POSTFIX_BYTES: usize = 512;

/// A template that was parsed, and that evaluates to a path wherever its values are path components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    pieces: Vec<Piece>,
}

/// What a template may speak of: a fragment about to be persisted, and the spec of its journal.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Name of the journal.
    pub journal: &'a str,
    /// First offset of the fragment, inclusive.
    pub begin: i64,
    /// Last offset of the fragment, exclusive.
    pub end: i64,
    /// Codec of the fragment.
    pub compression_codec: Codec,
    /// When the first append of the fragment was received.
    pub first_append_time: Timestamp,
    /// Registers of the journal, as the spool knows them.
    pub registers: &'a LabelSet,
    /// Labels of the journal's spec.
    pub labels: &'a LabelSet,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    FirstAppend(Layout),
    FirstAppendPart(TimePart),
    Journal,
    Begin,
    End,
    CompressionCodec,
    Register(String),
    Label(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimePart {
    Unix,
    Year,
    Day,
    Hour,
    Minute,
    YearDay,
}

impl PathTemplate {
    /// Reads a template, and tries it on a fragment without labels or registers.
    ///
    /// # Errors
    /// Names the form that is not known, or says why the result could never be a path under the journal.
    pub fn parse(template: &str) -> Result<Self, Invalid> {
        if template.len() > MAX_POSTFIX_BYTES {
            return Err(Invalid::new(format!(
                "invalid length ({}; expected 0 <= length <= {MAX_POSTFIX_BYTES})",
                template.len()
            )));
        }
        let parsed = Self { pieces: parse::pieces(template)? };
        if let Some(Piece::Text(text)) = parsed.pieces.first()
            && text.starts_with('/')
        {
            return Err(Invalid::new(format!("cannot begin with '/' ({text})")));
        }
        let nothing = LabelSet::default();
        parsed.evaluate(&Context {
            journal: "a/journal",
            begin: 0,
            end: 0,
            compression_codec: Codec::None,
            first_append_time: Timestamp::UNIX_EPOCH,
            registers: &nothing,
            labels: &nothing,
        })?;
        Ok(parsed)
    }

    /// The postfix for this fragment: empty, or a clean relative path.
    ///
    /// Where a value is empty, the slashes around it collapse, as they do when a store joins the path.
    ///
    /// # Errors
    /// When a value brings a character or a `..` that no fragment path may hold, or the result is too long.
    pub fn evaluate(&self, context: &Context<'_>) -> Result<String, Invalid> {
        let mut out = String::new();
        for piece in &self.pieces {
            piece.evaluate(context, &mut out);
        }
        let mut clean = String::with_capacity(out.len());
        for component in out.split('/').filter(|component| !matches!(*component, "" | ".")) {
            if component == ".." {
                return Err(Invalid::new(format!("cannot traverse outside the journal ({})", shown(&out))));
            }
            if !clean.is_empty() {
                clean.push('/');
            }
            clean.push_str(component);
        }
        token::check_path(&clean, 0, MAX_POSTFIX_BYTES)?;
        Ok(clean)
    }
}

impl Piece {
    fn evaluate(&self, context: &Context<'_>, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Text(text) => out.write_str(text),
            Self::FirstAppend(layout) => {
                layout.print(civil(context.first_append_time), out);
                Ok(())
            }
            Self::FirstAppendPart(part) => {
                let time = civil(context.first_append_time);
                match part {
                    TimePart::Unix => write!(out, "{}", context.first_append_time.secs()),
                    TimePart::Year => write!(out, "{}", time.year()),
                    TimePart::Day => write!(out, "{}", time.day()),
                    TimePart::Hour => write!(out, "{}", time.hour()),
                    TimePart::Minute => write!(out, "{}", time.minute()),
                    TimePart::YearDay => write!(out, "{}", time.day_of_year()),
                }
            }
            Self::Journal => out.write_str(context.journal),
            Self::Begin => write!(out, "{}", context.begin),
            Self::End => write!(out, "{}", context.end),
            Self::CompressionCodec => out.write_str(context.compression_codec.name()),
            Self::Register(name) => out.write_str(context.registers.value_of(name).unwrap_or_default()),
            Self::Label(name) => out.write_str(context.labels.value_of(name).unwrap_or_default()),
        };
    }
}

/// The moment as a date in UTC. Every moment that the type can hold has one.
fn civil(moment: Timestamp) -> DateTime {
    let instant = jiff::Timestamp::from_nanosecond(i128::from(moment.nanos())).unwrap_or_default();
    TimeZone::UTC.to_datetime(instant)
}

/// The beginning of a text, fit for an error.
fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}
