//! Pure: what commits come to, in figures.

use std::iter::Sum;

use crate::append::group::{Group, Verdict};

/// Commits with content, which are counted whether they succeed or are rolled back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Commits {
    /// Spools committed to.
    pub(super) spools: u64,
    /// Appends whose bytes they are.
    pub(super) appends: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

impl Commits {
    /// The commit of a group; nothing, if the group has no content.
    pub(crate) fn of(group: &Group) -> Self {
        let has_content = |verdict: &&Verdict| matches!(verdict, Verdict::Span { begin, end } if begin < end);
        match group.end.distance_from(group.begin) {
            None | Some(0) => Self::default(),
            Some(bytes) => {
                let appends = group.verdicts.iter().filter(has_content).count() as u64;
                Self { spools: 1, appends, bytes }
            }
        }
    }
}

impl Sum for Commits {
    fn sum<I: Iterator<Item = Self>>(commits: I) -> Self {
        commits.fold(Self::default(), |sum, one| Self {
            spools: sum.spools + one.spools,
            appends: sum.appends + one.appends,
            bytes: sum.bytes.saturating_add(one.bytes),
        })
    }
}
