//! Pure: from the text of a path template to its pieces. It does not know what the pieces evaluate to.

use super::layout::Layout;
use super::{Piece, TimePart, shown};
use crate::invalid::Invalid;

/// White space in the sense of the template language.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Takes a template apart into literal text and the values between it.
pub(super) fn pieces(template: &str) -> Result<Vec<Piece>, Invalid> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trim_left = false;
    loop {
        let (text, action) = match rest.split_once("{{") {
            Some((text, action)) => (text, Some(action)),
            None => (rest, None),
        };
        let text = if trim_left { text.trim_start_matches(SPACE) } else { text };
        let Some(action) = action else {
            push_text(&mut pieces, text);
            return Ok(pieces);
        };
        let (action, trim_before) = match action.strip_prefix('-') {
            Some(inner) if inner.starts_with(SPACE) => (inner, true),
            _ => (action, false),
        };
        push_text(&mut pieces, if trim_before { text.trim_end_matches(SPACE) } else { text });

        let end = action_end(action).ok_or_else(|| {
            Invalid::new(format!("unclosed action (expected }}}} after {{{{{})", shown(action)))
        })?;
        let inner = &action[..end];
        rest = &action[end + 2..];
        let (inner, trim_after) = match inner.strip_suffix('-') {
            Some(inner) if inner.ends_with(SPACE) => (inner, true),
            _ => (inner, false),
        };
        trim_left = trim_after;
        let inner = inner.trim_matches(SPACE);
        if !(inner.starts_with("/*") && inner.ends_with("*/") && inner.len() >= 4) {
            pieces.push(piece(inner)?);
        }
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Where the `}}` of an action is, which may not be inside of a quoted text.
fn action_end(action: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in action.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`') => quote = Some(c),
            None if action[at..].starts_with("}}") => return Some(at),
            None => {}
        }
    }
    None
}

/// Reads what stands between the braces.
fn piece(action: &str) -> Result<Piece, Invalid> {
    if let Some((text, "")) = quoted(action)? {
        return Ok(Piece::Text(text));
    }
    let (path, argument) = match action.split_once(SPACE) {
        Some((path, rest)) => (path, Some(rest.trim_start_matches(SPACE))),
        None => (action, None),
    };
    let argument = match argument.map(quoted).transpose()? {
        None => None,
        Some(Some((text, ""))) => Some(text),
        Some(_) => return Err(unknown(action)),
    };
    let Some(path) = path.strip_prefix('.') else {
        return Err(unknown(action));
    };
    // The spec is embedded beside the spool, so each of its fields has a long name and a short one.
    let path = path.strip_prefix("JournalSpec.").map_or(path, |spec| match spec {
        "Name" | "LabelSet.ValueOf" => spec,
        _ => path,
    });
    Ok(match (path, argument) {
        ("Name" | "Spool.Journal", None) => Piece::Journal,
        ("Spool.Begin", None) => Piece::Begin,
        ("Spool.End", None) => Piece::End,
        ("Spool.CompressionCodec", None) => Piece::CompressionCodec,
        ("Spool.Registers.ValueOf", Some(name)) => Piece::Register(name),
        ("LabelSet.ValueOf", Some(name)) => Piece::Label(name),
        (path, argument) => match (path.strip_prefix("Spool.FirstAppendTime."), argument) {
            (Some(method), argument) => time(method.strip_prefix("UTC.").unwrap_or(method), argument)
                .ok_or_else(|| unknown(action))?,
            (None, _) if path == "Fragment" || path.starts_with("Fragment.") => {
                return Err(Invalid::new(format!(
                    "ambiguous field {{{{{}}}}} (both the spool and the spec have a Fragment; use .Spool…)",
                    shown(action)
                )));
            }
            (None, _) => return Err(unknown(action)),
        },
    })
}

fn time(method: &str, argument: Option<String>) -> Option<Piece> {
    Some(match (method, argument) {
        ("Format", Some(layout)) => Piece::FirstAppend(Layout::parse(&layout)),
        ("Month", None) => Piece::FirstAppend(Layout::parse("January")),
        ("Weekday", None) => Piece::FirstAppend(Layout::parse("Monday")),
        ("Unix", None) => Piece::FirstAppendPart(TimePart::Unix),
        ("Year", None) => Piece::FirstAppendPart(TimePart::Year),
        ("Day", None) => Piece::FirstAppendPart(TimePart::Day),
        ("Hour", None) => Piece::FirstAppendPart(TimePart::Hour),
        ("Minute", None) => Piece::FirstAppendPart(TimePart::Minute),
        ("YearDay", None) => Piece::FirstAppendPart(TimePart::YearDay),
        _ => return None,
    })
}

/// The quoted text that the input begins with, and what follows it.
fn quoted(input: &str) -> Result<Option<(String, &str)>, Invalid> {
    if let Some(raw) = input.strip_prefix('`') {
        return Ok(raw.split_once('`').map(|(text, rest)| (text.to_owned(), rest)));
    }
    let Some(inner) = input.strip_prefix('"') else {
        return Ok(None);
    };
    let mut text = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok(Some((text, &inner[at + 1..]))),
            // No other escape stands for a character that a path may hold.
            '\\' => match chars.next() {
                Some((_, c @ ('"' | '\\'))) => text.push(c),
                _ => {
                    return Err(Invalid::new(format!("unknown escape in quoted text ({})", shown(input))));
                }
            },
            c => text.push(c),
        }
    }
    Err(Invalid::new(format!("unterminated quoted text ({})", shown(input))))
}

fn unknown(action: &str) -> Invalid {
    Invalid::new(format!(
        "unknown form {{{{{}}}}} (expected .Spool.FirstAppendTime.Format \"2006-01-02\", .Spool.Journal, \
         .Spool.Begin, .Spool.End, .Name, .Spool.Registers.ValueOf \"name\" or .LabelSet.ValueOf \"name\")",
        shown(action)
    ))
}
