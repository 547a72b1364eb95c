//! How far a follower has told of each journal: a JSON object in a file, which is replaced whole.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::files;

/// Largest cursor that is read.
const MAX_BYTES: usize = 256 << 20;

/// Where a follower is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    /// The offset of each journal below which all was told.
    pub(super) offsets: BTreeMap<String, i64>,
    /// The end of the last time that was told to be complete, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) complete: Option<i64>,
}

impl Cursor {
    /// Reads a file. One that is not there is the beginning.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let refuse = |reason: String| Failure::usage([format!("--cursor {}: {reason}", path.display())]);
        match files::read_text(path, MAX_BYTES) {
            Ok(text) => Self::parse(&text).map_err(refuse),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(refuse(error.to_string())),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected a JSON object like {\"offsets\":{\"acme/x\":1024}}";
        let cursor: Self = serde_json::from_str(text).map_err(|error| format!("{error} ({expected})"))?;
        match cursor.offsets.iter().find(|(_, offset)| **offset < 0) {
            Some((name, offset)) => Err(format!("the offset {offset} of {name} is negative ({expected})")),
            None => Ok(cursor),
        }
    }

    /// Writes a file whole.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        // Names and numbers have nothing that JSON could not say.
        let text = serde_json::to_string(self).unwrap_or_default();
        files::replace(path, &format!("{text}\n"))
            .map_err(|error| Failure::of_io(format!("--cursor {}", path.display()), &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursor.json");
        assert_eq!(Cursor::read(&path), Ok(Cursor::default()));
        let mut cursor = Cursor::parse(r#"{"offsets":{"acme/x":7}}"#).unwrap();
        cursor.complete = Some(3600);
        cursor.write(&path).unwrap();
        assert_eq!(Cursor::read(&path), Ok(cursor));
    }

    #[test]
    fn bad_cursors_are_refused() {
        for (text, expected) in [
            ("", "EOF"),
            ("[]", "expected a JSON object like"),
            ("{}", "missing field `offsets`"),
            (r#"{"offsets":{"a":-1}}"#, "the offset -1 of a is negative"),
            (r#"{"offsets":{},"more":1}"#, "unknown field `more`"),
        ] {
            let error = Cursor::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
