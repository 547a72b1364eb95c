//! The variables that a process was started with, as far as stores look at them: credentials, mostly.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Names and values of variables. Cheap to clone. What it holds is secret, and never shown.
#[derive(Clone, Default)]
pub struct Environment(Arc<BTreeMap<String, String>>);

impl Environment {
    /// Takes the variables of a process, or others that are to stand in for them.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(Arc::new(variables.into_iter().collect()))
    }

    /// The value of a variable. An empty one counts as none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value of the first of some variables that has one.
    pub(super) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("variables", &self.0.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_not_shown() {
        let pairs = [("A", ""), ("B", "secret"), ("C", "other")];
        let environment = Environment::of(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(
            (environment.get("A"), environment.get("B"), environment.get("D")),
            (None, Some("secret"), None)
        );
        assert_eq!(environment.first(&["A", "C", "B"]), Some("other"));
        assert!(!format!("{environment:?}").contains("secret"));
    }
}
