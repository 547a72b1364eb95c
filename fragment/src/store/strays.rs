//! Pure: which objects in a listing are fragments of a journal, and how often the others are spoken of.
//!
//! Whoever may write to a bucket may put anything there under any name. A stray must not become a fragment
//! that readers are sent to, nor end a listing, nor move a journal's head to where no append can follow.

use std::collections::HashMap;
use std::time::Duration;

use courant_proto::codec::Codec;
use courant_proto::fragment::Fragment;
use courant_proto::name::JournalName;
use courant_proto::store::StoreUrl;
use courant_proto::time::Timestamp;

use super::counters::StrayReason;

/// No fragment is longer: four times the longest that a spec may ask for, as a fragment overshoots by an
/// append.
const LENGTH_MAX: u64 = 64 << 30;
/// No fragment ends beyond: an exbibyte. One that did would leave a journal hardly any offsets.
const END_MAX: i64 = 1 << 60;
/// A stray is warned of once in this time.
const WARN_EVERY: Duration = Duration::from_secs(60 * 60);
/// Names remembered at most; beyond, strays are only counted.
const NAMES_MAX: usize = 1024;

/// An entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Path within the bucket or folder.
    pub(super) key: String,
    /// Size of the object in bytes.
    pub(super) size: u64,
    /// When it was last written, in Unix seconds.
    pub(super) modified: i64,
}

/// An entry that is no fragment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stray {
    pub(super) reason: StrayReason,
    pub(super) detail: String,
}

/// Reads an entry below `prefix`, the place of the journal's fragments, as a fragment.
///
/// `nested` are the journals that are known to lie below this one in name.
pub(super) fn read_entry(
    journal: &JournalName,
    store: &StoreUrl,
    prefix: &str,
    nested: &[JournalName],
    entry: &Listed,
) -> Result<Fragment, Stray> {
    let stray = |reason, detail| Err(Stray { reason, detail });
    let Some(path) = entry.key.strip_prefix(prefix) else {
        return stray(StrayReason::Name, format!("does not lie below {prefix}"));
    };
    // Zero means "not stored", and an object from 1970 is stored.
    let modified = entry.modified.max(1);
    let fragment = match Fragment::parse_relative(journal, path, Some(store.clone()), modified) {
        Ok(fragment) => fragment,
        Err(invalid) => return stray(StrayReason::Name, invalid.to_string()),
    };
    let below = |name: &JournalName| {
        let folder = format!("{journal}/{}", fragment.postfix);
        folder.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if !fragment.postfix.is_empty()
        && let Some(owner) = nested.iter().find(|name| below(name))
    {
        return stray(StrayReason::Nested, format!("belongs to journal {owner}"));
    }
    let length = fragment.length();
    if length == 0 || length > LENGTH_MAX || fragment.end.get() > END_MAX {
        return stray(
            StrayReason::Extent,
            format!(
                "offsets {} to {}, expected 1 to {LENGTH_MAX} bytes below {END_MAX}",
                fragment.begin, fragment.end
            ),
        );
    }
    if !may_hold(fragment.codec, entry.size, length) {
        return stray(
            StrayReason::Size,
            format!("{} bytes cannot hold {length} bytes as {}", entry.size, fragment.codec),
        );
    }
    Ok(fragment)
}

/// Whether an object of `size` bytes can hold `length` bytes of content.
pub(super) fn may_hold(codec: Codec, size: u64, length: u64) -> bool {
    match codec {
        Codec::None => size == length,
        // What a codec adds to content that it cannot compress is far below a half and a mebibyte.
        Codec::Gzip | Codec::Zstandard | Codec::Snappy | Codec::GzipOffload => {
            size > 0 && size <= length.saturating_add(length / 2).saturating_add(1 << 20)
        }
    }
}

/// When each stray was last warned of.
#[derive(Debug, Default)]
pub(super) struct Warned {
    at: HashMap<String, Timestamp>,
}

impl Warned {
    /// Whether to warn of this name now.
    pub(super) fn is_due(&mut self, key: &str, now: Timestamp) -> bool {
        // A clock that was set back would silence warnings for as long.
        let is_recent = |at: &Timestamp| *at <= now && now.since(*at) < WARN_EVERY;
        if self.at.get(key).is_some_and(is_recent) {
            return false;
        }
        if self.at.len() >= NAMES_MAX {
            self.at.retain(|_, at| is_recent(at));
        }
        if self.at.len() >= NAMES_MAX {
            return false;
        }
        self.at.insert(key.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "0102030405060708090a0b0c0d0e0f1011121314";

    fn journal() -> JournalName {
        JournalName::parse("a/journal").expect("a name")
    }

    fn read(path: &str, size: u64) -> Result<Fragment, StrayReason> {
        let store = StoreUrl::parse("file:///").expect("a URL");
        let nested = [JournalName::parse("a/journal/nested/one").expect("a name")];
        let entry = Listed { key: format!("root/a/journal/{path}"), size, modified: 0 };
        read_entry(&journal(), &store, "root/a/journal/", &nested, &entry).map_err(|stray| stray.reason)
    }

    #[test]
    fn fragments_are_read_and_strays_are_told_apart() {
        let good = |path: String, size, extent: (i64, i64), codec, postfix: &str| {
            let fragment = read(&path, size).expect("a fragment");
            assert_eq!((fragment.begin.get(), fragment.end.get()), extent);
            assert_eq!((fragment.codec, &*fragment.postfix, fragment.mod_time), (codec, postfix, 1));
        };
        good(format!("0000000000000010-0000000000000020-{SUM}.raw"), 16, (16, 32), Codec::None, "");
        good(format!("10-20-{SUM}.GZIP"), 9, (16, 32), Codec::Gzip, "");
        good(format!("day=1/hour=2/10-20-{SUM}.zst"), 9, (16, 32), Codec::Zstandard, "day=1/hour=2");
        good(format!("nested/10-20-{SUM}"), 9, (16, 32), Codec::GzipOffload, "nested");
        good(format!("nested/only/10-20-{SUM}.sz"), 9, (16, 32), Codec::Snappy, "nested/only");

        let stray = |path: String, size, reason| assert_eq!(read(&path, size), Err(reason), "{path}");
        for name in [
            String::new(),
            "folder/".to_owned(),
            ".partial-10-20".to_owned(),
            format!("10-{SUM}.raw"),
            format!("10-20-30-{SUM}.raw"),
            format!("20-10-{SUM}.raw"),
            format!("-10-20-{SUM}.raw"),
            format!("0x10-20-{SUM}.raw"),
            format!("+10-20-{SUM}.raw"),
            format!("10-8000000000000000-{SUM}.raw"),
            format!("10-20-{}.raw", &SUM[2..]),
            format!("10-20-{SUM}00.raw"),
            format!("10-20-{SUM}.zip"),
            format!("../other/10-20-{SUM}.raw"),
            format!("a/../10-20-{SUM}.raw"),
            format!("a//10-20-{SUM}.raw"),
            format!("10-20-{SUM}.raw#1"),
        ] {
            stray(name, 16, StrayReason::Name);
        }
        stray(format!("10-10-{SUM}.raw"), 0, StrayReason::Extent);
        stray(format!("10-7fffffffffffffff-{SUM}.gz"), 9, StrayReason::Extent);
        stray(format!("7ffffffffffffff0-7fffffffffffffff-{SUM}.raw"), 15, StrayReason::Extent);
        stray(format!("0-1000000001-{SUM}.gz"), 9, StrayReason::Extent);
        stray(format!("10-20-{SUM}.raw"), 15, StrayReason::Size);
        stray(format!("10-20-{SUM}.raw"), 17, StrayReason::Size);
        stray(format!("10-20-{SUM}.gz"), 0, StrayReason::Size);
        stray(format!("10-20-{SUM}.gz"), 2 << 20, StrayReason::Size);
        stray(format!("nested/one/10-20-{SUM}.raw"), 16, StrayReason::Nested);
        stray(format!("nested/one/day=1/10-20-{SUM}.raw"), 16, StrayReason::Nested);
        good(format!("nested/one2/10-20-{SUM}.raw"), 16, (16, 32), Codec::None, "nested/one2");
    }

    #[test]
    fn a_stray_is_warned_of_once_an_hour() {
        let mut warned = Warned::default();
        let at = Timestamp::from_secs;
        assert!(warned.is_due("one", at(1000)));
        assert!(!warned.is_due("one", at(4599)));
        assert!(warned.is_due("two", at(4599)));
        assert!(warned.is_due("one", at(4600)));
        // The clock was set back.
        assert!(warned.is_due("one", at(0)));
        for n in 0..5000 {
            warned.is_due(&format!("many {n}"), at(10));
        }
        assert!(warned.at.len() <= NAMES_MAX);
        assert!(warned.is_due("later", at(10_000)));
    }
}
