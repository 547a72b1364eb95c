//! Pure: the keys of items, members and assignments below a root.

/// What separates the parts of a key. No part holds a byte at or below it, so keys sort as their parts do.
const SEPARATOR: char = '#';

/// Makes keys of parts that whoever decoded them has checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    root: Box<str>,
}

impl Keys {
    /// Keys below a root such as `/courant/cluster`, which is given without a slash at its end.
    #[must_use]
    pub fn new(root: impl Into<Box<str>>) -> Self {
        Self { root: root.into() }
    }

    /// The key of an item.
    #[must_use]
    pub fn item(&self, id: &str) -> Vec<u8> {
        format!("{}/items/{id}", self.root).into_bytes()
    }

    /// The key of a member.
    #[must_use]
    pub fn member(&self, zone: &str, suffix: &str) -> Vec<u8> {
        format!("{}/members/{zone}{SEPARATOR}{suffix}", self.root).into_bytes()
    }

    /// What the keys of all assignments of an item begin with.
    #[must_use]
    pub fn assignments(&self, item: &str) -> Vec<u8> {
        format!("{}/assign/{item}{SEPARATOR}", self.root).into_bytes()
    }

    /// The key of an assignment.
    #[must_use]
    pub fn assignment(&self, item: &str, zone: &str, suffix: &str, slot: u32) -> Vec<u8> {
        let s = SEPARATOR;
        format!("{}/assign/{item}{s}{zone}{s}{suffix}{s}{slot}", self.root).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_a_cluster_of_gazettes() {
        let check = |key: Vec<u8>, expected: &str| assert_eq!(key, expected.as_bytes());
        let keys = Keys::new("/gazette/cluster");
        check(keys.item("acme/events"), "/gazette/cluster/items/acme/events");
        check(keys.member("us-a", "brk1"), "/gazette/cluster/members/us-a#brk1");
        check(
            keys.assignment("acme/events", "us-a", "brk1", 0),
            "/gazette/cluster/assign/acme/events#us-a#brk1#0",
        );
    }

    #[test]
    fn keys_sort_as_their_parts_do() {
        let keys = Keys::new("/root");
        let parts = [("a", "z", "m"), ("a", "z", "n"), ("a", "z1", "m"), ("a/b", "z", "m"), ("a0", "z", "m")];
        assert!(parts.map(|(item, zone, suffix)| keys.assignment(item, zone, suffix, 0)).is_sorted());
    }
}
