//! `README.md` beside this file names tests that exist, or gives a reason, in every line.
#![expect(clippy::disallowed_methods, reason = "a test reads the sources")]

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_line_has_a_test_that_exists_or_a_reason() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut tests = BTreeSet::new();
    for folder in std::fs::read_dir(workspace).expect("the workspace").flatten() {
        if folder.file_name() != "target" {
            collect(&folder.path(), &mut tests);
        }
    }
    let problems = problems(include_str!("README.md"), &tests);
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn lines_that_show_nothing_are_noticed() {
    let tests = BTreeSet::from(["a_test".to_owned()]);
    let check = |line: &str, expected: usize| assert_eq!(problems(line, &tests).len(), expected, "{line}");
    check("| it works | `a_test` |", 0);
    check("| `STATUS` of `this` | `a_test`, `no_test` |", 1);
    check("| it works | `no_test` |", 2);
    check("| it works |  |", 1);
    check("| it works | seen by hand |", 1);
    check("| it works | otherwise: it does not |", 0);
    check("| it works | `a_test`; otherwise: partly |", 0);
    check("| it works | not built: tokens |", 0);
    check("| it works | otherwise: |", 1);
}

/// What is wrong with the rows of a table: tests that are not there, and lines that name none and give no reason.
fn problems(table: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    for row in table.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')) {
        // The last column alone; statuses and texts stand in the first.
        let Some((line, shown)) = row.rsplit_once('|') else { continue };
        if line.trim() == "what is relied on" || line.trim().chars().all(|c| c == '-') {
            continue;
        }
        let named = shown.split('`').skip(1).step_by(2).filter(|name| is_a_name(name));
        let (there, missing): (Vec<&str>, Vec<&str>) = named.partition(|name| tests.contains(*name));
        problems.extend(missing.iter().map(|name| format!("{}: no test is named {name}", line.trim())));
        let has_reason = ["otherwise: ", "not built: ", "not shown: "]
            .iter()
            .any(|word| shown.split_once(word).is_some_and(|(_, reason)| !reason.trim().is_empty()));
        if there.is_empty() && !has_reason {
            problems.push(format!("{}: neither a test nor a reason", line.trim()));
        }
    }
    problems
}

fn is_a_name(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The names of all functions that follow an attribute of a test.
fn collect(path: &Path, tests: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            collect(&entry.path(), tests);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut is_test = false;
        for line in text.lines().map(str::trim_start) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            let name =
                line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            if let Some(name) = name.filter(|_| is_test) {
                tests.insert(name.to_owned());
                is_test = false;
            }
        }
    }
}
