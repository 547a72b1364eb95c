//! Pure: which keys a request's `key` and `range_end` speak of.
//!
//! An empty `range_end` means one key, a single zero byte means "everything from `key` on", anything else is
//! an exclusive upper bound. A range that ends at or before its start holds nothing.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// The keys of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyRange {
    /// Exactly this key.
    One(Bytes),
    /// Every key from the first on, below the end if there is one.
    Span(Bytes, Option<Bytes>),
}

impl KeyRange {
    /// Reads the two fields as etcd does.
    pub(crate) fn new(key: impl Into<Bytes>, range_end: impl Into<Bytes>) -> Self {
        let (key, end) = (key.into(), range_end.into());
        match &end[..] {
            [] => Self::One(key),
            [0] => Self::Span(key, None),
            _ => Self::Span(key, Some(end)),
        }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::One(one) => one == key,
            Self::Span(start, end) => start <= key && end.as_ref().is_none_or(|end| key < &end[..]),
        }
    }

    /// True if no key can lie in the range.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Span(start, Some(end)) if end <= start)
    }

    /// The entries of `map` whose keys lie in the range, in key order.
    pub(crate) fn of<'a, V>(&self, map: &'a BTreeMap<Bytes, V>) -> impl Iterator<Item = (&'a Bytes, &'a V)> {
        // `BTreeMap::range` panics on a range that ends before it starts, so an empty one never reaches it.
        let bounds: Option<(Bound<&'_ [u8]>, _)> = match self {
            _ if self.is_empty() => None,
            Self::One(key) => Some((Bound::Included(&key[..]), Bound::Included(&key[..]))),
            Self::Span(start, None) => Some((Bound::Included(&start[..]), Bound::Unbounded)),
            Self::Span(start, Some(end)) => Some((Bound::Included(&start[..]), Bound::Excluded(&end[..]))),
        };
        bounds.into_iter().flat_map(|bounds| map.range::<[u8], _>(bounds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_etcd_says() {
        #[track_caller]
        fn check(key: &str, end: &str, expected: &str) {
            let range = KeyRange::new(key.to_owned(), end.to_owned());
            let map: BTreeMap<Bytes, ()> =
                ["a", "aa", "b", "c"].map(|k| (Bytes::from_static(k.as_bytes()), ())).into();
            let found: Vec<_> =
                range.of(&map).map(|(k, ())| String::from_utf8_lossy(k).into_owned()).collect();
            assert_eq!(found.join(" "), expected);
            for key in map.keys() {
                assert_eq!(range.contains(key), found.iter().any(|f| f.as_bytes() == key), "{key:?}");
            }
        }
        check("a", "", "a");
        check("a", "b", "a aa");
        check("a", "\0", "a aa b c");
        check("aa", "\0", "aa b c");
        check("\0", "\0", "a aa b c");
        check("b", "b", "");
        check("c", "a", "");
        check("x", "", "");
    }
}
