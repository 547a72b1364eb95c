//! How findings look: tables for people, and one JSON object for programs. It does not know what was measured.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Format;
use crate::setup::Setup;
use crate::{files, proc_text};

/// What a bench found.
#[derive(Debug)]
pub(crate) struct Findings {
    /// The command.
    pub(crate) bench: &'static str,
    /// For programs.
    pub(crate) values: Value,
    /// For people.
    pub(crate) sheets: Vec<Sheet>,
}

impl Findings {
    pub(crate) fn new(bench: &'static str, values: &impl Serialize, sheets: Vec<Sheet>) -> Result<Self> {
        Ok(Self { bench, values: serde_json::to_value(values).context("findings that are no JSON")?, sheets })
    }
}

/// One table.
#[derive(Debug)]
pub(crate) struct Sheet {
    pub(crate) title: String,
    pub(crate) headings: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) notes: Vec<String>,
}

/// Prints what was found.
pub(crate) fn print(setup: &Setup, format: Format, findings: &[Findings]) -> Result<()> {
    match format {
        Format::Json => {
            let text =
                serde_json::to_string_pretty(&whole(setup, findings)).context("findings that are no JSON")?;
            files::print(&format!("{text}\n"))
        }
        Format::Table => {
            let mut text = String::new();
            for sheet in findings.iter().flat_map(|findings| &findings.sheets) {
                // Writing to a string does not fail.
                let _ = writeln!(text, "\n{}\n{}", sheet.title, table(sheet));
                for note in &sheet.notes {
                    let _ = writeln!(text, "  {note}");
                }
            }
            if cfg!(debug_assertions) {
                text.push_str("\nThis is a debug build of the benches: the numbers mean nothing.\n");
            }
            files::print(&text)
        }
    }
}

/// Writes what was found into a file.
pub(crate) fn write(setup: &Setup, findings: &[Findings], path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(&whole(setup, findings)).context("findings that are no JSON")?;
    files::write(path, format!("{text}\n").as_bytes())
}

fn whole(setup: &Setup, findings: &[Findings]) -> Value {
    let benches: serde_json::Map<String, Value> =
        findings.iter().map(|findings| (findings.bench.to_owned(), findings.values.clone())).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "machine": machine(),
        "settings": setup.described(),
        "benches": benches,
    })
}

/// What the numbers were measured on.
fn machine() -> Value {
    let read = |path: &str| files::read(Path::new(path)).unwrap_or_default();
    let memory_kib = proc_text::kib_field(&read("/proc/meminfo"), "MemTotal");
    json!({
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "model": proc_text::cpu_model(&read("/proc/cpuinfo")),
        "memory_mib": memory_kib.map(|kib| kib / 1024),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

fn table(sheet: &Sheet) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    // A terminal folds long lines by itself.
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(
        sheet.headings.iter().map(|heading| Cell::new(heading).set_alignment(CellAlignment::Center)),
    );
    for row in &sheet.rows {
        table.add_row(row.iter().map(|cell| {
            let numeric = cell.starts_with(|c: char| c.is_ascii_digit());
            let alignment = if numeric { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(cell).set_alignment(alignment)
        }));
    }
    table.to_string()
}

/// A number with as many digits as it deserves, thousands apart.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let (sign, digits) =
                digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
            let mut grouped = String::from(sign);
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index).is_multiple_of(3) {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
    }
}

/// Microseconds, as milliseconds once there are many.
pub(crate) fn micros(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{} ms", number(value / 1_000.0))
    } else {
        format!("{} µs", number(value))
    }
}

/// A ratio.
pub(crate) fn times(value: f64) -> String {
    format!("{value:.2}x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (value, expected) in [
            (0.0, "0.00"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (999.6, "1,000"),
            (1_234_567.0, "1,234,567"),
            (-123_456.0, "-123,456"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), expected);
        }
        assert_eq!(micros(9_999.0), "9,999 µs");
        assert_eq!(micros(12_345.0), "12.3 ms");
        assert_eq!(times(1.0), "1.00x");
    }

    #[test]
    fn a_sheet_becomes_a_table() {
        let sheet = Sheet {
            title: String::new(),
            headings: vec!["what", "how many"],
            rows: vec![vec!["one".to_owned(), "1".to_owned()]],
            notes: Vec::new(),
        };
        let text = table(&sheet);
        assert!(text.contains("what") && text.contains("one"), "{text}");
        assert_eq!(
            text.lines().map(|line| line.chars().count()).collect::<std::collections::BTreeSet<_>>().len(),
            1
        );
    }
}
