//! Pure: whether the name of a new journal is a path prefix of another's, or another's of it.
//!
//! Fragments of `a/b` lie in the folder `a/b/`, and so would a whole journal `a/b/c`: its files would be taken for
//! fragments of `a/b`. It does not know where the names that exist are kept.

use std::fmt;

/// Two names of which one is a path prefix of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NestingConflict {
    /// The name that is to be created.
    pub new: String,
    /// The name that exists.
    pub existing: String,
}

impl fmt::Display for NestingConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { new, existing } = self;
        let (outer, inner) = if new.len() < existing.len() { (new, existing) } else { (existing, new) };
        write!(
            f,
            "journal {new} cannot be created beside {existing}: {outer} is a path prefix of {inner}, so their \
             fragments would share a folder; choose a name that does not nest"
        )
    }
}

impl std::error::Error for NestingConflict {}

/// Looks for a conflict among names in ascending order of their bytes. An equal name is none.
///
/// It takes as many binary searches as the name has components, and one more.
pub fn nesting_conflict<S: AsRef<str>>(existing: &[S], new: &str) -> Option<NestingConflict> {
    nesting_conflict_by(
        new,
        |name| existing.binary_search_by(|other| other.as_ref().cmp(name)).is_ok(),
        |bound| existing.get(existing.partition_point(|other| other.as_ref() < bound)).map(S::as_ref),
    )
}

/// Looks for a conflict among names that are kept in any ordered form: `exists` tells whether a name is there, and
/// `first_from` gives the first name at or after a bound.
pub fn nesting_conflict_by<'a>(
    new: &str,
    exists: impl Fn(&str) -> bool,
    first_from: impl FnOnce(&str) -> Option<&'a str>,
) -> Option<NestingConflict> {
    let conflict = |existing: &str| NestingConflict { new: new.to_owned(), existing: existing.to_owned() };
    if let Some((end, _)) = new.match_indices('/').find(|(end, _)| exists(&new[..*end])) {
        return Some(conflict(&new[..end]));
    }
    let folder = format!("{new}/");
    first_from(&folder).filter(|name| name.starts_with(&folder)).map(conflict)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_prefixes_in_both_directions() {
        let existing = ["a/b/c", "a/bcd", "a/bcd-e/f", "k/l/m/n", "x/y"];
        let check = |new: &str, expected: Option<&str>| {
            assert_eq!(nesting_conflict(&existing, new).map(|c| c.existing).as_deref(), expected, "{new}");
        };
        check("a/b", Some("a/b/c"));
        check("a/b/c/d", Some("a/b/c"));
        check("a/bcd/e", Some("a/bcd"));
        check("k/l", Some("k/l/m/n"));
        check("a/bcd-e", Some("a/bcd-e/f"));
        check("x/y/z/1/2/3", Some("x/y"));
        for free in ["a/b/cc", "a/b/c-d", "a/bc", "a/bcd", "x/y-z", "x/yy/z", "z", "k/l/m/nn/o", "a/b/d"] {
            check(free, None);
        }
        assert_eq!(nesting_conflict::<&str>(&[], "a/b"), None);
    }

    #[test]
    fn says_both_names_and_why() {
        let text = nesting_conflict(&["a/b/c"], "a/b").expect("conflict").to_string();
        assert!(
            text.contains("a/b is a path prefix of a/b/c, so their fragments would share a folder"),
            "{text}"
        );
        let text = nesting_conflict(&["a/b"], "a/b/c").expect("conflict").to_string();
        assert!(
            text.starts_with("journal a/b/c cannot be created beside a/b: a/b is a path prefix of a/b/c")
        );
    }

    proptest! {
        #[test]
        fn agrees_with_comparing_each(
            existing in prop::collection::btree_set("[ab+-]{1,2}(/[ab+-]{1,2}){0,3}", 0..12),
            new in "[ab+-]{1,2}(/[ab+-]{1,2}){0,3}",
        ) {
            let nests = |a: &str, b: &str| a.starts_with(&format!("{b}/")) || b.starts_with(&format!("{a}/"));
            let conflicts: BTreeSet<&String> = existing.iter().filter(|name| nests(name, &new)).collect();
            let sorted: Vec<&String> = existing.iter().collect();
            let found = nesting_conflict(&sorted, &new).map(|conflict| conflict.existing);
            prop_assert_eq!(found.is_some(), !conflicts.is_empty());
            if let Some(found) = found {
                prop_assert!(conflicts.contains(&found));
            }
        }
    }
}
