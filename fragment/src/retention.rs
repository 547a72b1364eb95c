//! Pure: which fragments of a journal have outlived its retention.
//!
//! A fragment goes when it was stored longer ago than the retention, by the time that its store gives: all of its content is older than that.
//! A retention of zero keeps everything. The newest fragment stays however old it is, as it marks where the journal goes on. Fragments that
//! others cover are judged like all, by their own time.

use std::time::Duration;

use courant_proto::fragment::Fragment;
use courant_proto::offset::Offset;
use courant_proto::time::Timestamp;

/// Those of a journal's stored fragments that go, in their order. `stored` are all of all its stores, what others cover included.
#[must_use]
pub fn expired(stored: &[Fragment], retention: Duration, now: Timestamp) -> Vec<Fragment> {
    if retention.is_zero() {
        return Vec::new();
    }
    let newest = stored.iter().map(|fragment| fragment.end).max().unwrap_or(Offset::ZERO);
    let is_old = |fragment: &Fragment| {
        let stored_at = Timestamp::from_secs(fragment.mod_time);
        // A time that is not known is no age.
        fragment.mod_time > 0 && now.since(stored_at) > retention
    };
    stored.iter().filter(|fragment| fragment.end != newest && is_old(fragment)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use courant_proto::codec::Codec;
    use courant_proto::name::JournalName;
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn fragment(begin: i64, end: i64, mod_time: i64) -> Fragment {
        let at = |offset| Offset::new(offset).expect("an offset");
        let journal = JournalName::parse("a/journal").expect("a name");
        Fragment { end: at(end), mod_time, ..Fragment::empty_at(journal, at(begin), Codec::None) }
    }

    fn spans(fragments: &[Fragment]) -> Vec<(i64, i64)> {
        fragments.iter().map(|fragment| (fragment.begin.get(), fragment.end.get())).collect()
    }

    fn check(stored: &[(i64, i64, i64)], retention: u64, goes: &[(i64, i64)]) {
        let stored: Vec<_> =
            stored.iter().map(|(begin, end, age)| fragment(*begin, *end, NOW.secs() - age)).collect();
        assert_eq!(spans(&expired(&stored, Duration::from_secs(retention), NOW)), goes);
    }

    #[test]
    fn what_is_older_than_the_retention_goes_and_the_newest_stays() {
        let hour = 3600;
        check(&[], 10, &[]);
        check(&[(0, 10, 3 * hour), (10, 20, 2 * hour), (20, 30, 10)], hour as u64, &[(0, 10), (10, 20)]);
        check(&[(0, 10, 3 * hour), (10, 20, 2 * hour)], hour as u64, &[(0, 10)]);
        check(&[(0, 10, hour), (10, 20, 0)], hour as u64, &[]);
        check(&[(0, 10, hour + 1), (10, 20, 0)], hour as u64, &[(0, 10)]);
        // Nothing goes where nothing is asked, nor from a clock that is behind.
        check(&[(0, 10, 3 * hour), (10, 20, 2 * hour)], 0, &[]);
        check(&[(0, 10, -5), (10, 20, -5)], 1, &[]);
        // Covered ones are judged by their own time, and whatever ends with the journal is its newest.
        check(&[(0, 5, 3 * hour), (0, 10, 10), (5, 10, 3 * hour)], hour as u64, &[(0, 5)]);
        // A time that is not known.
        let stored = [fragment(0, 10, 0), fragment(10, 20, 1)];
        assert_eq!(expired(&stored, Duration::from_secs(1), NOW), []);
    }

    proptest! {
        #[test]
        fn only_the_old_goes_and_never_the_newest(
            stored in proptest::collection::vec((0_i64..1000, 1_i64..1000, 0_i64..2_000_000), 0..20),
            retention in 0_u64..1_000_000,
            now in 0_i64..2_000_000,
        ) {
            let stored: Vec<_> =
                stored.into_iter().map(|(begin, length, at)| fragment(begin, begin + length, at)).collect();
            let goes = expired(&stored, Duration::from_secs(retention), Timestamp::from_secs(now));
            let end = stored.iter().map(|fragment| fragment.end).max();
            for fragment in &goes {
                prop_assert!(retention > 0 && fragment.mod_time > 0 && Some(fragment.end) != end);
                prop_assert!(now - fragment.mod_time > retention.cast_signed());
            }
            // Whoever asks later sees no less go.
            let later = expired(&stored, Duration::from_secs(retention), Timestamp::from_secs(now + 1));
            prop_assert!(later.len() >= goes.len());
        }
    }
}
