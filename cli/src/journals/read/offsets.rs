//! The offsets that a read starts at and that it reached: a JSON object in a file.

use std::collections::BTreeMap;
use std::path::Path;

use crate::failure::Failure;
use crate::files;

/// Largest file of offsets that is read.
const MAX_BYTES: usize = 256 << 20;

/// The next offset of each journal, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets(BTreeMap<String, i64>);

impl Offsets {
    /// Reads a file, which must exist.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let refuse = |reason: String| Failure::usage([format!("--offsets {}: {reason}", path.display())]);
        let text = files::read_text(path, MAX_BYTES).map_err(|error| refuse(error.to_string()))?;
        Self::parse(&text).map_err(refuse)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected a JSON object like {\"acme/x\": 1024}";
        let offsets: BTreeMap<String, i64> =
            serde_json::from_str(text).map_err(|error| format!("{error} ({expected})"))?;
        match offsets.iter().find(|(_, offset)| **offset < 0) {
            Some((name, offset)) => Err(format!("the offset {offset} of {name} is negative ({expected})")),
            None => Ok(Self(offsets)),
        }
    }

    /// Writes a file whole.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        files::replace(path, &format!("{}\n", self.print()))
            .map_err(|error| Failure::of_io(format!("--offsets-out {}", path.display()), &error))
    }

    fn print(&self) -> String {
        // Names and numbers have nothing that JSON could not say.
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    pub(super) fn of(&self, journal: &str) -> Option<i64> {
        self.0.get(journal).copied()
    }

    pub(super) fn set(&mut self, journal: &str, offset: i64) {
        self.0.insert(journal.to_owned(), offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_survive() {
        let mut offsets = Offsets::parse("{\"b\": 7, \"a\": 0}").unwrap();
        offsets.set("c", 9);
        assert_eq!(offsets.print(), r#"{"a":0,"b":7,"c":9}"#);
        assert_eq!(Offsets::parse(&offsets.print()), Ok(offsets.clone()));
        assert_eq!((offsets.of("b"), offsets.of("x")), (Some(7), None));
    }

    #[test]
    fn bad_offsets_are_refused() {
        for (text, expected) in [
            ("", "EOF"),
            ("[]", "expected a JSON object like"),
            ("{\"a\": -1}", "the offset -1 of a is negative"),
            ("{\"a\": \"1\"}", "expected i64"),
            ("{\"a\": 9223372036854775808}", "expected i64"),
        ] {
            let error = Offsets::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
