//! How results look: tables for people, lines for programs, and nothing that a terminal would act upon by
//! surprise. It does not know what the results are.

use std::io::{self, IsTerminal, Write};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, ContentLineStyle, LineStyle, Table};

use crate::failure::Failure;

/// Writes to standard output, and through to whoever reads it.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::of_io("standard output", &error))
}

/// Writes one line to standard output.
pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
    print(&format!("{line}\n"))
}

/// A table with a frame, of upper-case headings over left-aligned cells.
pub(crate) fn table(headings: &[String], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    let style = UTF8_FULL_CONDENSED
        .header_lines(ContentLineStyle::new('│', '│', '│'))
        .header_separator(LineStyle::new('├', '─', '┼', '┤'))
        .content_lines(ContentLineStyle::new('│', '│', '│'));
    table.load_style(style);
    // A terminal folds long lines by itself; a program that reads them wants them whole.
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(|heading| {
        let heading = heading.to_uppercase().replace(['.', '_'], " ");
        Cell::new(one_line(&heading)).set_alignment(CellAlignment::Center)
    }));
    for row in rows {
        table.add_row(row.iter().map(|cell| one_line(cell)));
    }
    format!("{table}\n")
}

/// A count of bytes as people read it, like `12 KiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = (count.checked_ilog2().unwrap_or(0) / 10) as usize;
    let unit = 1_u64 << (10 * power);
    let whole = count / unit;
    // Of small numbers a tenth matters.
    let tenth = u128::from(count % unit) * 10 / u128::from(unit);
    if power > 0 && whole < 10 && tenth > 0 {
        format!("{whole}.{tenth} {}", UNITS[power])
    } else {
        format!("{whole} {}", UNITS[power])
    }
}

/// How long ago something was, roughly.
pub(crate) fn ago(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..1 => return "now".to_owned(),
        1..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

/// The text on one line, with characters that steer a terminal made visible.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// Whether colours are welcome: on a terminal, unless `NO_COLOR` is set to anything.
pub(crate) fn is_colourful(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_framed() {
        let rows =
            vec![vec!["acme/x".to_owned(), "3".to_owned()], vec!["a\u{1b}[31m\nb".to_owned(), String::new()]];
        assert_eq!(
            table(&["Name".to_owned(), "content-type.x".to_owned()], rows),
            "\
┌────────────────┬────────────────┐
│      NAME      │ CONTENT-TYPE X │
├────────────────┼────────────────┤
│ acme/x         │ 3              │
│ a\\u{1b}[31m\\nb │                │
└────────────────┴────────────────┘
"
        );
    }

    #[test]
    fn bytes_read_like_bytes() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (12 << 10, "12 KiB"),
            (268_435_456, "256 MiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn times_read_like_times() {
        for (seconds, expected) in [
            (-5, "now"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (7_200, "2 hours ago"),
            (i64::MAX, "106751991167300 days ago"),
        ] {
            assert_eq!(ago(seconds), expected);
        }
    }
}
