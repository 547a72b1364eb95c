//! Pure: which fragments of a journal have outlived its retention.
//!
//! A fragment goes when it was stored longer ago than the retention, by the time that its store gives: all of its content is older than that.
//! A retention of zero keeps everything. The newest fragment stays however old it is, as it marks where the journal goes on; where the end of
//! the journal is known, that is the newest that does not end above it, and what does stays as well: it says nothing of where the journal
//! ends. Fragments that others cover are judged like all, by their own time.

use std::time::Duration;

use courant_proto::fragment::Fragment;
use courant_proto::offset::Offset;
use courant_proto::time::Timestamp;

/// Those of a journal's stored fragments that go, in their order. `stored` are all of all its stores, what others cover included; `end` is
/// that of the journal, where it is known.
#[must_use]
pub fn expired(
    stored: &[Fragment],
    end: Option<Offset>,
    retention: Duration,
    now: Timestamp,
) -> Vec<Fragment> {
    let is_below = |at: Offset| end.is_none_or(|end| at <= end);
    let ends = stored.iter().map(|fragment| fragment.end);
    let newest = ends.filter(|at| is_below(*at)).max().unwrap_or(Offset::ZERO);
    let goes = |fragment: &&Fragment| {
        fragment.end != newest && is_below(fragment.end) && has_outlived(fragment, retention, now)
    };
    stored.iter().filter(goes).cloned().collect()
}

/// Whether a fragment is older than a retention. A retention of zero keeps everything.
#[must_use]
pub fn has_outlived(fragment: &Fragment, retention: Duration, now: Timestamp) -> bool {
    // A time that is not known is no age.
    !retention.is_zero()
        && fragment.mod_time > 0
        && now.since(Timestamp::from_secs(fragment.mod_time)) > retention
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
        assert_eq!(spans(&expired(&stored, None, Duration::from_secs(retention), NOW)), goes);
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
        assert_eq!(expired(&stored, None, Duration::from_secs(1), NOW), []);
    }

    #[test]
    fn what_lies_above_the_end_of_the_journal_takes_nobodys_place() {
        let stored = [fragment(0, 10, 1), fragment(10, 20, 1), fragment(500, 600, 1)];
        let goes = |end: Option<i64>| {
            spans(&expired(&stored, end.and_then(Offset::new), Duration::from_secs(1), NOW))
        };
        assert_eq!(goes(Some(20)), [(0, 10)]);
        assert_eq!(goes(Some(25)), [(0, 10)]);
        assert_eq!(goes(Some(5)), []);
        assert_eq!(goes(Some(600)), [(0, 10), (10, 20)]);
        assert_eq!(goes(None), [(0, 10), (10, 20)]);
    }

    proptest! {
        #[test]
        fn only_the_old_goes_and_never_the_newest(
            stored in proptest::collection::vec((0_i64..1000, 1_i64..1000, 0_i64..2_000_000), 0..20),
            retention in 0_u64..1_000_000,
            now in 0_i64..2_000_000,
            head in proptest::option::of(0_i64..2_500),
        ) {
            let head = head.and_then(Offset::new);
            let stored: Vec<_> =
                stored.into_iter().map(|(begin, length, at)| fragment(begin, begin + length, at)).collect();
            let goes = expired(&stored, head, Duration::from_secs(retention), Timestamp::from_secs(now));
            let ends = stored.iter().map(|fragment| fragment.end);
            let end = ends.filter(|end| head.is_none_or(|head| *end <= head)).max();
            for fragment in &goes {
                prop_assert!(retention > 0 && fragment.mod_time > 0 && Some(fragment.end) != end);
                prop_assert!(Some(fragment.end) < end);
                prop_assert!(now - fragment.mod_time > retention.cast_signed());
            }
            // Whoever asks later sees no less go.
            let later = expired(&stored, head, Duration::from_secs(retention), Timestamp::from_secs(now + 1));
            prop_assert!(later.len() >= goes.len());
        }
    }
}
