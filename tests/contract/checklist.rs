//! `README.md` beside this file names tests that exist.
#![expect(clippy::disallowed_methods, reason = "a test reads the sources")]

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_named_test_exists() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut tests = BTreeSet::new();
    for folder in std::fs::read_dir(workspace).expect("the workspace").flatten() {
        if folder.file_name() != "target" {
            collect(&folder.path(), &mut tests);
        }
    }
    let table = include_str!("README.md");
    // The last column of rows alone; statuses and texts stand in the first.
    let named = table
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')?.rsplit_once('|'))
        .flat_map(|(_, tests)| tests.split('`').skip(1).step_by(2))
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    let missing: Vec<&str> = named.filter(|name| !tests.contains(*name)).collect();
    assert_eq!(missing, Vec::<&str>::new());
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
