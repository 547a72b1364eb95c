//! What came of a run: one row for each thing that was tried, held against the differences that the documentation lists.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What came of one thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It went as it has to, or both kinds did the same.
    Same,
    /// The kinds differ, or it did not go as it has to: what was seen.
    Differs(String),
}

/// Characters of a difference that are shown.
const SHOWN: usize = 3_000;

/// The rows of a run, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<(String, Outcome)>,
    notes: Vec<String>,
}

/// The heading in the documentation below which differences are listed, each as a row whose first cell is the name of
/// what was tried, in backticks.
const HEADING: &str = "## Seen side by side";

/// The names that the documentation lists, each with its reason.
pub(crate) fn listed(documentation: &str) -> BTreeMap<String, String> {
    let section = documentation.split(HEADING).nth(1).unwrap_or("");
    let section = section.split("\n## ").next().unwrap_or("");
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        let reason = cells.rfind(|cell| !cell.is_empty()).unwrap_or("");
        Some((name.to_owned(), reason.to_owned()))
    });
    rows.collect()
}

impl Report {
    pub(crate) fn add(&mut self, name: impl Into<String>, outcome: Outcome) {
        self.rows.push((name.into(), outcome));
    }

    /// A figure, which is neither right nor wrong.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// A row that is as it has to be, or says what was wrong.
    pub(crate) fn check(&mut self, name: impl Into<String>, result: anyhow::Result<()>) {
        let outcome = result.map_or_else(|error| Outcome::Differs(format!("{error:#}")), |()| Outcome::Same);
        self.add(name, outcome);
    }

    /// The table, what each difference was, and whether all of them are listed.
    pub(crate) fn render(&self, listed: &BTreeMap<String, String>) -> (String, bool) {
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let (mut table, mut details, mut clean) = (String::new(), String::new(), true);
        for (name, outcome) in &self.rows {
            let verdict = match (outcome, listed.get(name)) {
                (Outcome::Same, None) => "same".to_owned(),
                (Outcome::Same, Some(_)) => {
                    clean = false;
                    "same, but listed as a difference: take it out of the list".to_owned()
                }
                (Outcome::Differs(_), Some(reason)) => format!("differs, listed: {reason}"),
                (Outcome::Differs(what), None) => {
                    clean = false;
                    let shown: String = what.chars().take(SHOWN).collect();
                    let _ = write!(details, "\n--- {name}\n{shown}\n");
                    "DIFFERS".to_owned()
                }
            };
            let _ = writeln!(table, "{name:width$}  {verdict}");
        }
        let count = |wanted: fn(&Outcome) -> bool| self.rows.iter().filter(|(_, o)| wanted(o)).count();
        let (same, differs) =
            (count(|o| matches!(o, Outcome::Same)), count(|o| matches!(o, Outcome::Differs(_))));
        let _ = writeln!(table, "\n{same} as they should be, {differs} different");
        for note in &self.notes {
            let _ = writeln!(table, "{note}");
        }
        (format!("{table}{details}"), clean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOC: &str = "# x\n\n## Seen side by side\n\n| what | reason |\n|---|---|\n| `a b` | because |\n\n## Next\n| `c` | no |\n";

    #[test]
    fn only_rows_below_the_heading_are_listed() {
        assert_eq!(listed(DOC), BTreeMap::from([("a b".to_owned(), "because".to_owned())]));
    }

    #[test]
    fn a_difference_has_to_be_listed_and_what_is_listed_has_to_differ() {
        let clean = |name: &str, outcome| {
            let mut report = Report::default();
            report.add(name, outcome);
            report.render(&listed(DOC)).1
        };
        assert!(clean("a b", Outcome::Differs("seen".to_owned())));
        assert!(!clean("a b", Outcome::Same));
        assert!(!clean("c", Outcome::Differs("seen".to_owned())));
        assert!(clean("c", Outcome::Same));
    }
}
