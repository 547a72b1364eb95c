//! Retention that brokers enforce, where a journal's label asks for it.
//!
//! | label `courant.dev/retention` | fragments that have outlived `fragment.retention` |
//! |---|---|
//! | none | stay, until somebody removes them |
//! | `enforce` | are removed by the journal's primary, each time its stores were listed |
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

/// Removes what of a listing has outlived a journal's retention. How many fragments went.
pub(crate) async fn enforce(
    stores: &Stores,
    journal: &JournalName,
    listed: &[Fragment],
    limit: Duration,
    now: Timestamp,
) -> usize {
    let mut by_store: BTreeMap<StoreUrl, Vec<Fragment>> = BTreeMap::new();
    for fragment in retention::expired(listed, limit, now) {
        if let Some(store) = fragment.store.clone() {
            by_store.entry(store).or_default().push(fragment);
        }
    }
    let mut removed = 0;
    for (url, fragments) in by_store {
        // A store of a listing is open.
        let Ok(store) = stores.get(&url) else { continue };
        for fragment in fragments {
            if let Err(error) = store.remove(&fragment).await {
                // It is there when the stores are listed again. What fails once may fail for all.
                tracing::warn!(%journal, %fragment, %error, "cannot remove a fragment that has outlived its journal's retention");
                break;
            }
            tracing::debug!(%journal, %fragment, "removed a fragment that has outlived its journal's retention");
            removed += 1;
        }
    }
    if removed > 0 {
        tracing::info!(%journal, removed, ?limit, "removed fragments that have outlived the journal's retention");
    }
    removed
}

#[cfg(test)]
mod tests {
    use courant_proto::duration::GoDuration;

    use super::*;
    use crate::journal_space::fixture::labelled;

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
}
