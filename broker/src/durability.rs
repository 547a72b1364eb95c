//! Pure: what an acknowledgement of a journal says, as its labels have it (decision D7 and `docs/adr/0006-durability.md`).
//!
//! | label `courant.dev/durability` | an append is acknowledged when |
//! |---|---|
//! | `replicated`, or none | all replicas have it in their logs |
//! | `fsync` | all replicas have it on their disks |
//! | `persisted` | all replicas have it in their logs, and the first store has it |

use std::fmt;
use std::time::Duration;

use courant_proto::duration::GoDuration;
use courant_proto::spec::JournalSpec;

/// The label that chooses the level.
pub(crate) const LABEL: &str = "courant.dev/durability";

/// The label that says how long bytes of a `persisted` journal are collected before they go to the store.
pub(crate) const INTERVAL_LABEL: &str = "courant.dev/persist-interval";

/// The interval where nothing is said.
const INTERVAL: Duration = Duration::from_secs(1);

/// What an interval may be.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// What an acknowledgement says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Level {
    /// All replicas have it in their logs.
    #[default]
    Replicated,
    /// All replicas have it on their disks.
    Fsync,
    /// The first store has it too. Bytes are collected for so long.
    Persisted { interval: Duration },
}

/// Why a spec cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    Level(Vec<String>),
    Interval(Vec<String>),
    NoStores,
}

impl Level {
    /// The level of a journal. Labels that [`check`] would refuse, and that came into the registry by another way, mean the level that
    /// takes the most care and needs nothing else.
    pub(crate) fn of(spec: &JournalSpec) -> Self {
        check(spec).unwrap_or(Self::Fsync)
    }

    /// Whether brokers of another make do not know it.
    pub(crate) fn is_own(self) -> bool {
        self != Self::Replicated
    }

    /// Whether it is the same level, whatever its interval is.
    pub(crate) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// Whether an acknowledgement waits for the disks.
    pub(crate) fn is_fsync(self) -> bool {
        self == Self::Fsync
    }

    /// How long bytes are collected before they go to the store that an acknowledgement waits for.
    pub(crate) const fn persist_interval(self) -> Option<Duration> {
        match self {
            Self::Persisted { interval } => Some(interval),
            Self::Replicated | Self::Fsync => None,
        }
    }
}

/// The level that a spec asks for.
pub(crate) fn check(spec: &JournalSpec) -> Result<Level, Unfit> {
    let values: Vec<&str> = spec.labels.values_of(LABEL).collect();
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    match values[..] {
        [] | ["replicated"] => Ok(Level::Replicated),
        ["fsync"] => Ok(Level::Fsync),
        ["persisted"] if spec.fragment.stores.is_empty() => Err(Unfit::NoStores),
        ["persisted"] => {
            let intervals: Vec<&str> = spec.labels.values_of(INTERVAL_LABEL).collect();
            match intervals[..] {
                [] => Ok(Level::Persisted { interval: INTERVAL }),
                [interval] => interval_of(interval)
                    .map(|interval| Level::Persisted { interval })
                    .ok_or_else(|| Unfit::Interval(owned(&intervals))),
                _ => Err(Unfit::Interval(owned(&intervals))),
            }
        }
        _ => Err(Unfit::Level(owned(&values))),
    }
}

fn interval_of(text: &str) -> Option<Duration> {
    let interval = text.parse::<GoDuration>().ok()?.to_std()?;
    (INTERVALS.0 <= interval && interval <= INTERVALS.1).then_some(interval)
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(found) => write!(
                f,
                "label {LABEL} is {found:?} (expected one of replicated, fsync, persisted; without it, replicated)"
            ),
            Self::Interval(found) => write!(
                f,
                "label {INTERVAL_LABEL} is {found:?} (expected one duration from {:?} to {:?}, as in 500ms; without it, {INTERVAL:?})",
                INTERVALS.0, INTERVALS.1
            ),
            Self::NoStores => write!(
                f,
                "label {LABEL} is persisted, and there are no stores to persist to (expected one at least); add a store, or choose fsync"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use courant_proto::label::LabelSet;
    use courant_proto::store::StoreUrl;

    use super::*;
    use crate::append::group::tests::spec;

    fn labelled(labels: &[(&str, &str)]) -> JournalSpec {
        JournalSpec { labels: LabelSet::from_pairs(labels.iter().copied()).expect("labels"), ..spec() }
    }

    #[test]
    fn labels_choose_the_level() {
        let mut with_store = spec();
        with_store.fragment.stores = [StoreUrl::parse("file:///").expect("a store")].into_iter().collect();
        let check = |labels: &[(&str, &str)], expected: Result<Level, &str>| {
            let spec = JournalSpec { fragment: with_store.fragment.clone(), ..labelled(labels) };
            match (super::check(&spec), expected) {
                (Ok(level), Ok(expected)) => assert_eq!(level, expected, "{labels:?}"),
                (Err(unfit), Err(expected)) => {
                    let unfit = unfit.to_string();
                    assert!(unfit.contains(expected), "{labels:?}: {unfit}");
                }
                (found, _) => panic!("{labels:?}: {found:?}"),
            }
        };
        let persisted = |millis| Ok(Level::Persisted { interval: Duration::from_millis(millis) });
        check(&[], Ok(Level::Replicated));
        check(&[(LABEL, "replicated")], Ok(Level::Replicated));
        check(&[(LABEL, "fsync")], Ok(Level::Fsync));
        check(&[(LABEL, "persisted")], persisted(1000));
        check(&[(LABEL, "persisted"), (INTERVAL_LABEL, "250ms")], persisted(250));
        check(&[(LABEL, "persisted"), (INTERVAL_LABEL, "1m")], persisted(60_000));
        check(&[(LABEL, "persisted"), (INTERVAL_LABEL, "99ms")], Err("from 100ms to 60s"));
        check(&[(LABEL, "persisted"), (INTERVAL_LABEL, "61s")], Err("from 100ms to 60s"));
        check(&[(LABEL, "persisted"), (INTERVAL_LABEL, "soon")], Err("[\"soon\"]"));
        check(&[(LABEL, "persisted"), (INTERVAL_LABEL, "1s"), (INTERVAL_LABEL, "2s")], Err("\"1s\", \"2s\""));
        check(&[(LABEL, "fsynced")], Err("one of replicated, fsync, persisted"));
        check(&[(LABEL, "fsync"), (LABEL, "persisted")], Err("\"fsync\", \"persisted\""));
    }

    #[test]
    fn nothing_is_persisted_without_a_store() {
        let mut spec = labelled(&[(LABEL, "persisted")]);
        spec.fragment.stores.clear();
        assert_eq!(check(&spec), Err(Unfit::NoStores));
        assert_eq!(Level::of(&spec), Level::Fsync, "what got in all the same takes the most care");
    }
}
