//! Pure: the keys of a cluster under its root, byte for byte as Gazette has them, and those of our own beside them.

use std::fmt;

use courant_proto::id::ProcessId;
use courant_proto::invalid::Invalid;
use courant_proto::name::JournalName;

/// What separates the parts of a key. No name, zone or suffix holds a byte at or below it, so keys sort as their parts do, and
/// `<journal>#` begins no key of another journal.
pub(crate) const SEPARATOR: u8 = b'#';

/// Where our own keys lie: not below the cluster's root, and under no prefix that anyone lists with it.
const OURS: &str = "/courant-x";

/// Where the keys of a cluster lie. It makes keys of names that were checked, so that none can be malformed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    folder: Box<str>,
    assign: Box<[u8]>,
    items: Box<[u8]>,
    members: Box<[u8]>,
    lineage: Box<[u8]>,
}

impl Root {
    /// A root such as `/courant/cluster`.
    ///
    /// # Errors
    /// When it is no clean absolute path.
    pub(crate) fn parse(prefix: &str) -> Result<Self, Invalid> {
        let clean = prefix.len() > 1
            && prefix.strip_prefix('/').is_some_and(|path| {
                path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
            });
        if !clean {
            return Err(Invalid::new(format!(
                "the prefix of the cluster's keys must be a clean path ({prefix}); expected one like /courant/cluster, \
                 without a slash at its end"
            )));
        }
        let below = |family: &str| format!("{prefix}/{family}/").into_bytes().into_boxed_slice();
        Ok(Self {
            folder: format!("{prefix}/").into(),
            assign: below("assign"),
            items: below("items"),
            members: below("members"),
            lineage: format!("{OURS}{prefix}/lineage/").into_bytes().into_boxed_slice(),
        })
    }

    /// The folder of all keys of the cluster, with its slash.
    pub(crate) fn folder(&self) -> &str {
        &self.folder
    }

    /// The folder of journals.
    pub(crate) fn items(&self) -> &[u8] {
        &self.items
    }

    /// The first key behind all journals.
    pub(crate) fn items_end(&self) -> Vec<u8> {
        end_of_folder(&self.items)
    }

    /// The folder of members.
    pub(crate) fn members(&self) -> &[u8] {
        &self.members
    }

    /// The folder of assignments.
    pub(crate) fn all_assignments(&self) -> &[u8] {
        &self.assign
    }

    /// The key of a journal.
    pub(crate) fn item(&self, journal: &JournalName) -> Vec<u8> {
        self.item_of(journal.as_str())
    }

    /// The key of a journal, or the beginning of the keys of several.
    pub(crate) fn item_of(&self, name: &str) -> Vec<u8> {
        joined(&self.items, &[name.as_bytes()])
    }

    /// The folder below a journal's key, `[from, to)`: where the keys of journals lie that are nested in it.
    pub(crate) fn nested_items(&self, journal: &JournalName) -> (Vec<u8>, Vec<u8>) {
        let from = joined(&self.items, &[journal.as_str().as_bytes(), b"/"]);
        let to = end_of_folder(&from);
        (from, to)
    }

    /// The key of a member.
    pub(crate) fn member(&self, id: &ProcessId) -> Vec<u8> {
        joined(&self.members, &[id.zone().as_bytes(), b"#", id.suffix().as_bytes()])
    }

    /// What the keys of all assignments of a journal begin with.
    pub(crate) fn assignments(&self, journal: &JournalName) -> Vec<u8> {
        joined(&self.assign, &[journal.as_str().as_bytes(), b"#"])
    }

    /// The key of an assignment.
    #[cfg(test)]
    pub(crate) fn assignment(&self, journal: &JournalName, member: &ProcessId, slot: u32) -> Vec<u8> {
        let slot = slot.to_string();
        let parts = [journal.as_str(), "#", member.zone(), "#", member.suffix(), "#", &slot];
        joined(&self.assign, &parts.map(str::as_bytes))
    }

    /// A folder of our own keys, with its slash.
    pub(crate) fn ours(&self, family: &str) -> String {
        format!("{OURS}{self}/{family}/")
    }

    /// The key that tells this registry from another, or from itself before it was wiped.
    pub(crate) fn incarnation(&self) -> Vec<u8> {
        format!("{OURS}{self}/incarnation").into_bytes()
    }

    /// The key of a journal's lineage.
    pub(crate) fn lineage(&self, journal: &JournalName) -> Vec<u8> {
        joined(&self.lineage, &[journal.as_str().as_bytes()])
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.folder.trim_end_matches('/'))
    }
}

fn joined(folder: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(folder.len() + parts.iter().map(|part| part.len()).sum::<usize>());
    key.extend_from_slice(folder);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// The first key behind a folder that is given with its slash: a zero is what follows a slash.
fn end_of_folder(folder: &[u8]) -> Vec<u8> {
    let mut end = folder.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
