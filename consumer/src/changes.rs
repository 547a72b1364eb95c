//! Pure: what a transaction has changed of a view.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Bound;

use bytes::Bytes;

/// Keys with their new values, or with none where they were removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    entries: BTreeMap<Bytes, Option<Bytes>>,
    bytes: usize,
}

impl Changes {
    pub(crate) fn put(&mut self, key: Bytes, value: Option<Bytes>) {
        let length = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        self.bytes += length(&value);
        let key_length = key.len();
        match self.entries.insert(key, value) {
            Some(before) => self.bytes -= length(&before),
            None => self.bytes += key_length,
        }
    }

    /// What became of a key. None if nothing did.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<&Bytes>> {
        self.entries.get(key).map(Option::as_ref)
    }

    pub(crate) fn iter(&self) -> btree_map::Iter<'_, Bytes, Option<Bytes>> {
        self.entries.iter()
    }

    /// Those of keys from here on.
    pub(crate) fn from(&self, begin: &[u8]) -> btree_map::Range<'_, Bytes, Option<Bytes>> {
        self.entries.range::<[u8], _>((Bound::Included(begin), Bound::Unbounded))
    }

    /// Bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_of_a_key_counts() {
        let mut changes = Changes::default();
        changes.put("a".into(), Some("12345".into()));
        changes.put("b".into(), None);
        assert_eq!(changes.bytes(), 7);
        changes.put("a".into(), Some("1".into()));
        assert_eq!(changes.bytes(), 3);
        assert_eq!(changes.get(b"a"), Some(Some(&"1".into())));
        assert_eq!((changes.get(b"b"), changes.get(b"c")), (Some(None), None));
        assert_eq!(changes.from(b"aa").count(), 1);
    }
}
