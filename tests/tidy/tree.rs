//! The repository's text files, read once per check; build products and data folders are not looked into.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 5] = ["target", ".git", "courant-data", "node_modules", "proptest-regressions"];

/// Text files by path from the top of the repository, with `/` between segments.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
    /// Every file and folder, also those that are not text.
    paths: BTreeSet<String>,
}

impl Tree {
    pub(crate) fn of_the_repository() -> Self {
        let top =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the repository");
        let mut tree = Self::default();
        tree.read(top, "");
        assert!(tree.files.contains_key("Cargo.toml"), "{} is not the repository", top.display());
        tree
    }

    /// A planted tree.
    pub(crate) fn planted<const N: usize>(files: [(&str, &str); N]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.add(path.to_owned(), Some(text.to_owned()));
        }
        tree
    }

    #[expect(clippy::disallowed_methods, reason = "the sources are what is tested here")]
    fn read(&mut self, folder: &Path, prefix: &str) {
        for entry in std::fs::read_dir(folder).expect("a readable folder") {
            let entry = entry.expect("a readable folder entry");
            let name = entry.file_name().into_string().expect("a file name in UTF-8");
            let kind = entry.file_type().expect("a file type");
            let path = format!("{prefix}{name}");
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                self.paths.insert(path.clone());
                self.read(&entry.path(), &format!("{path}/"));
            } else if kind.is_file() {
                self.add(path, std::fs::read_to_string(entry.path()).ok());
            }
        }
    }

    fn add(&mut self, path: String, text: Option<String>) {
        for (slash, _) in path.match_indices('/') {
            self.paths.insert(path[..slash].to_owned());
        }
        self.paths.insert(path.clone());
        self.files.extend(text.map(|text| (path, text)));
    }

    /// Text files whose name ends so.
    pub(crate) fn ending(&self, end: &str) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(move |(path, _)| path.ends_with(end))
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether there is such a file or folder; folders may end in a slash.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.paths.contains(path.trim_start_matches("./").trim_end_matches('/'))
    }
}
