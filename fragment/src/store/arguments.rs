//! Pure: the arguments of a store's URL that every scheme knows, and what they do to the path of an object.

use courant_proto::fragment::Fragment;
use courant_proto::store::StoreUrl;

use super::error::StoreError;

/// `find` and `replace`: the first occurrence of the one in an object's path becomes the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rewrite {
    find: String,
    replace: String,
}

impl Rewrite {
    /// Takes the two arguments out of a URL, and hands every other one, its name in lower case, to `scheme`,
    /// which says whether it knows it. Of an argument that is given twice the last one counts.
    pub(super) fn of(url: &StoreUrl, mut scheme: impl FnMut(&str, &str) -> bool) -> Result<Self, StoreError> {
        let mut rewrite = Self::default();
        for (name, value) in url.arguments() {
            match name.to_ascii_lowercase().as_str() {
                "find" => rewrite.find = value,
                "replace" => rewrite.replace = value,
                other if scheme(other, &value) => {}
                _ => return Err(StoreError::UnknownArgument { argument: name }),
            }
        }
        Ok(rewrite)
    }

    /// The path below the store's prefix. An empty `find` changes nothing.
    pub(super) fn apply(&self, path: &str) -> String {
        if self.find.is_empty() { path.to_owned() } else { path.replacen(&self.find, &self.replace, 1) }
    }
}

/// The key of a fragment's object in its bucket, or its path in the folder of all `file://` stores.
#[must_use]
pub fn object_key(store: &StoreUrl, fragment: &Fragment) -> String {
    // What else a URL says has no bearing on the key, and was looked at when the store was opened.
    let rewrite = Rewrite::of(store, |_, _| true).unwrap_or_default();
    format!("{}{}", store.prefix(), rewrite.apply(&fragment.content_path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(arguments: &str) -> Result<Rewrite, String> {
        let url = StoreUrl::parse(&format!("file:///base/{arguments}")).expect("a URL");
        Rewrite::of(&url, |name, value| name == "profile" && value == "p").map_err(|error| error.to_string())
    }

    #[test]
    fn paths_are_rewritten_once() {
        let check = |arguments: &str, path: &str, expected: &str| {
            assert_eq!(rewrite(arguments).expect("known arguments").apply(path), expected);
        };
        check("", "a/b/c", "a/b/c");
        check("?find=b&replace=xyz", "a/b/b", "a/xyz/b");
        check("?FIND=a/&Replace=", "a/b/a/", "b/a/");
        check("?find=&replace=zzz", "a/b", "a/b");
        check("?find=q&replace=z", "a/b", "a/b");
        check("?find=a&find=b&replace=c", "a/b", "a/c");
        check("?profile=p&find=a&replace=b", "a", "b");
    }

    #[test]
    fn unknown_arguments_are_refused() {
        let refused =
            |argument: &str| Err(format!("parsing store URL arguments: schema: invalid path \"{argument}\""));
        assert_eq!(rewrite("?bad=1"), refused("bad"));
        assert_eq!(rewrite("?find=a&Extra="), refused("Extra"));
        assert_eq!(rewrite("?profile=other"), refused("profile"));
    }
}
