//! Pure: whose an object is that lies in a store, by its key alone.

use std::collections::HashSet;

use courant_proto::fragment::Fragment;
use courant_proto::name::JournalName;
use courant_proto::store::StoreUrl;

/// Where brokers try whether a store works.
const CHECKS: &str = ".test/";
const PROBE: &str = ".gazette-delete-probe";

/// Whose an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It lies in the folder of a journal, and is looked at with that.
    Journal,
    /// A broker's check of the store has written it.
    Check,
    /// It is called as a fragment is, and there is no such journal.
    Nobody {
        /// What the journal was called, as far as can be told: folders like `hour=10` are taken for partitions.
        journal: String,
        fragment: Box<Fragment>,
    },
    /// It is called as no fragment is.
    Stranger(String),
}

/// Whose the object of a key is. `folders` are those of all journals, each with a slash at its end.
pub(super) fn owner(store: &StoreUrl, key: &str, folders: &HashSet<String>) -> Owner {
    let slashes = key.match_indices('/').map(|(at, _)| &key[..=at]);
    if slashes.into_iter().any(|folder| folders.contains(folder)) {
        return Owner::Journal;
    }
    let path = key.strip_prefix(store.prefix()).unwrap_or(key);
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if path.starts_with(CHECKS) || name == PROBE {
        return Owner::Check;
    }
    let journal: Vec<&str> = folder.split('/').take_while(|part| !part.contains('=')).collect();
    let journal = journal.join("/");
    let relative = path.strip_prefix(&*journal).map_or(path, |rest| rest.trim_start_matches('/'));
    let parsed = JournalName::parse(&journal)
        .and_then(|journal| Fragment::parse_relative(&journal, relative, Some(store.clone()), 1));
    match parsed {
        Ok(fragment) => Owner::Nobody { journal, fragment: Box::new(fragment) },
        Err(invalid) => Owner::Stranger(invalid.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "0000000000000000-000000000000000a-0123456789012345678901234567890123456789.zst";

    #[test]
    fn objects_have_owners() {
        let store = StoreUrl::parse("s3://logs/pre/").unwrap();
        let folders = HashSet::from(["pre/acme/x/".to_owned()]);
        let check = |key: &str| match owner(&store, key, &folders) {
            Owner::Journal => "journal".to_owned(),
            Owner::Check => "check".to_owned(),
            Owner::Nobody { journal, fragment } => format!("nobody {journal} {}", fragment.postfix),
            Owner::Stranger(_) => "stranger".to_owned(),
        };
        for (key, expected) in [
            (format!("pre/acme/x/{NAME}"), "journal"),
            ("pre/acme/x/date=1/whatever".to_owned(), "journal"),
            (format!("pre/acme/xy/{NAME}"), "nobody acme/xy "),
            (
                format!("pre/acme/gone/date=2026-11-28/hour=10/{NAME}"),
                "nobody acme/gone date=2026-11-28/hour=10",
            ),
            ("pre/.test/health-check".to_owned(), "check"),
            ("pre/some/.gazette-delete-probe".to_owned(), "check"),
            ("pre/acme/gone/README".to_owned(), "stranger"),
            (format!("pre/{NAME}"), "stranger"),
            ("pre/acme/gone/0-1-2.zst".to_owned(), "stranger"),
        ] {
            assert_eq!(check(&key), expected, "{key}");
        }
    }
}
