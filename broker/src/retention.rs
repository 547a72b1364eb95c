//! Retention that brokers enforce, where a journal's label asks for it.
//!
//! | label `courant.dev/retention` | fragments that have outlived `fragment.retention` |
//! |---|---|
//! | none | stay, until somebody removes them |
//! | `enforce` | are removed by the journal's primary, each time its stores were listed |
//!
//! One run of a journal is under way at a time, and before each removal it asks whether the label, the retention and the primary are still the
//! same: a long run must not go on for an operator who has just taken the label away.
//!
//! What is removed is decided by a pure function on the listing itself, so that nothing goes which the listing did not show. A member of another make
//! enforces nothing, and needs to know nothing: it finds that fragments are gone, as with rules of a bucket.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use courant_fragment::retention;
use courant_fragment::store::Stores;
use courant_proto::fragment::Fragment;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::spec::JournalSpec;
use courant_proto::store::StoreUrl;
use courant_proto::time::Timestamp;

/// The label that asks for it.
pub(crate) const LABEL: &str = "courant.dev/retention";

/// Why a spec cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    Label(Vec<String>),
    Unlimited,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(found) => write!(
                f,
                "label {LABEL} is {found:?} (expected enforce; without it, nothing is removed by brokers)"
            ),
            Self::Unlimited => write!(
                f,
                "label {LABEL} is enforce, and fragment.retention says nothing (expected a duration above zero); set one, or leave the label out"
            ),
        }
    }
}

/// For how long brokers keep a journal's fragments; none: they remove nothing.
pub(crate) fn check(spec: &JournalSpec) -> Result<Option<Duration>, Unfit> {
    let values: Vec<&str> = spec.labels.values_of(LABEL).collect();
    let limit = spec.fragment.retention.to_std().filter(|limit| !limit.is_zero());
    match values[..] {
        [] => Ok(None),
        ["enforce"] => limit.map(Some).ok_or(Unfit::Unlimited),
        _ => Err(Unfit::Label(values.iter().map(|value| (*value).to_owned()).collect())),
    }
}

/// The same. A spec that [`check`] would refuse, and that came into the registry by another way, removes nothing.
pub(crate) fn enforced(spec: &JournalSpec) -> Option<Duration> {
    check(spec).unwrap_or_default()
}

/// A listing of a journal's stores, and how far the journal itself is known to go.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) fragments: Vec<Fragment>,
    pub(crate) at: Timestamp,
    pub(crate) end: Option<Offset>,
}

/// Removes what of a listing has outlived a journal's retention. `limit` is asked before each removal and tells the retention of that moment;
/// none, and nothing more is removed: others may be at it by then, or nobody is to be. How many fragments went.
pub(crate) async fn enforce(
    stores: &Stores,
    journal: &JournalName,
    listing: &Listing,
    limit: impl Fn() -> Option<Duration>,
) -> usize {
    let Some(first_limit) = limit() else { return 0 };
    let mut by_store: BTreeMap<StoreUrl, Vec<Fragment>> = BTreeMap::new();
    for fragment in retention::expired(&listing.fragments, listing.end, first_limit, listing.at) {
        if let Some(store) = fragment.store.clone() {
            by_store.entry(store).or_default().push(fragment);
        }
    }
    let mut removed = 0;
    'stores: for (url, fragments) in by_store {
        // A store of a listing is open.
        let Ok(store) = stores.get(&url) else { continue };
        for fragment in fragments {
            let Some(limit) = limit() else { break 'stores };
            if !retention::has_outlived(&fragment, limit, listing.at) {
                continue;
            }
            if let Err(error) = store.remove(&fragment).await {
                // It is there when the stores are listed again. What fails once may fail for all.
                tracing::warn!(%journal, %fragment, %error, "cannot remove a fragment that has outlived its journal's retention");
                break;
            }
            tracing::debug!(%journal, %fragment, ?limit, "removed a fragment that has outlived its journal's retention");
            removed += 1;
        }
    }
    if removed > 0 {
        tracing::info!(%journal, removed, "removed fragments that have outlived the journal's retention");
    }
    removed
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use courant_fragment::store::Config;
    use courant_proto::codec::Codec;
    use courant_proto::duration::GoDuration;
    use courant_proto::time::ManualClock;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::journal_space::fixture::{labelled, name};

    #[test]
    fn the_label_says_one_thing_and_needs_a_duration() {
        let check = |labels: &[(&str, &str)], seconds: i64, expected: Result<Option<u64>, &str>| {
            let mut spec = labelled("a/journal", labels);
            spec.fragment.retention = GoDuration::from_nanos(seconds * 1_000_000_000);
            let found = super::check(&spec);
            match (&found, expected) {
                (Ok(limit), Ok(expected)) => assert_eq!(limit.map(|limit| limit.as_secs()), expected),
                (Err(unfit), Err(expected)) => assert!(unfit.to_string().contains(expected), "{unfit}"),
                _ => panic!("{labels:?} {seconds}: {found:?}"),
            }
            assert_eq!(enforced(&spec), found.unwrap_or_default());
        };
        check(&[], 0, Ok(None));
        check(&[], 10, Ok(None));
        check(&[(LABEL, "enforce")], 10, Ok(Some(10)));
        check(&[(LABEL, "enforce")], 0, Err("expected a duration above zero"));
        check(&[(LABEL, "enforce")], -5, Err("expected a duration above zero"));
        check(&[(LABEL, "keep")], 10, Err("label courant.dev/retention is [\"keep\"] (expected enforce"));
        check(&[(LABEL, "")], 10, Err("expected enforce"));
        check(&[(LABEL, "enforce"), (LABEL, "keep")], 10, Err("expected enforce"));
    }

    /// Three fragments of ten bytes, all of them old.
    async fn stored(folder: &std::path::Path) -> (Stores, Listing) {
        let url = StoreUrl::parse("file:///root/").expect("a store");
        let journal = name("a/journal");
        let fragments: Vec<Fragment> = (0..3)
            .map(|number| Fragment {
                end: Offset::new(number * 10 + 10).expect("an offset"),
                store: Some(url.clone()),
                mod_time: 1,
                ..Fragment::empty_at(
                    journal.clone(),
                    Offset::new(number * 10).expect("an offset"),
                    Codec::None,
                )
            })
            .collect();
        for fragment in &fragments {
            let path = folder.join("root").join(fragment.content_path());
            tokio::fs::create_dir_all(path.parent().expect("a folder")).await.expect("a folder");
            tokio::fs::write(path, [b'x'; 10]).await.expect("a file");
        }
        let config = Config { file_root: Some(folder.to_owned()), ..Config::default() };
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000)));
        let stores = Stores::new(config, clock, StdRng::seed_from_u64(1));
        (stores, Listing { fragments, at: Timestamp::from_secs(1_000), end: None })
    }

    #[tokio::test]
    async fn a_run_ends_when_the_label_or_the_primary_has_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (stores, listing) = stored(folder.path()).await;
        let there = || {
            let is_there =
                |fragment: &&Fragment| folder.path().join("root").join(fragment.content_path()).exists();
            listing.fragments.iter().filter(is_there).count()
        };
        let hour = Duration::from_secs(3_600);
        // Once to decide, and once for the first removal.
        let asked = AtomicUsize::new(0);
        let second = Some(Duration::from_secs(1));
        let until = |asks, then| {
            let asked = &asked;
            move || if asked.fetch_add(1, Ordering::Relaxed) < asks { second } else { then }
        };
        let journal = name("a/journal");
        assert_eq!(enforce(&stores, &journal, &listing, until(1, None)).await, 0);
        assert_eq!(there(), 3);
        asked.store(0, Ordering::Relaxed);
        // What is kept longer from now on stays.
        assert_eq!(enforce(&stores, &journal, &listing, until(1, Some(hour))).await, 0);
        asked.store(0, Ordering::Relaxed);
        assert_eq!(enforce(&stores, &journal, &listing, until(2, None)).await, 1);
        assert_eq!(there(), 2);
        assert_eq!(enforce(&stores, &journal, &listing, || second).await, 2, "one of them was not there");
        assert_eq!(there(), 1, "the newest stays");
    }
}
