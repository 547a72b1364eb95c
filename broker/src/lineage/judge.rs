//! Pure: which bytes of a recovered spool count.
//!
//! ```text
//!  epoch 1   ├───────────────┤· · ·┐ bytes past the begin of the next epoch: acknowledged by nobody, cut off
//!  epoch 2                   ├─────┴────┤· ·┐
//!  epoch 3                              ├───┴──────► the newest counts wholly
//! ```

use std::fmt;

use courant_proto::id::ProcessId;
use courant_proto::offset::Offset;

use super::record::Lineage;

/// A spool that an earlier process left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recovered {
    pub(crate) cluster: u64,
    pub(crate) create_revision: i64,
    pub(crate) epoch: u64,
    pub(crate) begin: Offset,
    pub(crate) end: Offset,
}

/// What counts of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All.
    Adopt,
    /// What lies below this offset, which is inside it. The rest is quarantined.
    CutAt(Offset),
    /// Nothing.
    Quarantine(Reason),
}

/// Why nothing of a spool counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    OtherCluster { theirs: u64, ours: u64 },
    NoJournal,
    OtherJournal { theirs: i64, ours: i64 },
    NoLineage,
    UnknownEpoch { theirs: u64, newest: u64 },
    ForgottenEpoch { theirs: u64, oldest: u64 },
    BeforeEpoch { begin: Offset, epoch_begin: Offset },
    Superseded { begin: Offset, next_begin: Offset },
}

/// Judges a spool. `item` is the revision at which its journal was created, if there is such a journal.
pub(crate) fn judge(spool: &Recovered, cluster: u64, item: Option<i64>, record: Option<&Lineage>) -> Verdict {
    let quarantine = Verdict::Quarantine;
    if spool.cluster != cluster {
        return quarantine(Reason::OtherCluster { theirs: spool.cluster, ours: cluster });
    }
    let Some(created) = item else { return quarantine(Reason::NoJournal) };
    if spool.create_revision != created {
        return quarantine(Reason::OtherJournal { theirs: spool.create_revision, ours: created });
    }
    let record = record.filter(|record| record.create_revision == created);
    let Some((record, newest)) = record.and_then(|record| Some((record, record.newest()?))) else {
        return quarantine(Reason::NoLineage);
    };
    if spool.epoch > newest.number {
        return quarantine(Reason::UnknownEpoch { theirs: spool.epoch, newest: newest.number });
    }
    if let Some(own) = record.epochs.iter().find(|epoch| epoch.number == spool.epoch)
        && spool.begin < own.begin()
    {
        return quarantine(Reason::BeforeEpoch { begin: spool.begin, epoch_begin: own.begin() });
    }
    if spool.epoch == newest.number {
        return Verdict::Adopt;
    }
    let next = record.epochs.iter().find(|epoch| epoch.number > spool.epoch).unwrap_or(newest);
    let is_head_alone = spool.begin == spool.end && spool.end <= next.begin();
    if is_head_alone {
        return Verdict::Adopt;
    }
    if spool.epoch.checked_add(1) != Some(next.number) {
        return quarantine(Reason::ForgottenEpoch { theirs: spool.epoch, oldest: next.number });
    }
    let next_begin = counts_until(Some(record), spool.epoch);
    if spool.end <= next_begin {
        Verdict::Adopt
    } else if spool.begin < next_begin {
        Verdict::CutAt(next_begin)
    } else {
        quarantine(Reason::Superseded { begin: spool.begin, next_begin })
    }
}

/// Up to where content of an epoch counts: the begin of the next one, and everything of the newest. Where the next is not remembered
/// nobody knows, so nothing does; what did lies in the store.
///
/// Also a log whose process lived on may have been left behind: what it holds of an older epoch counts no further than this.
pub(crate) fn counts_until(record: Option<&Lineage>, epoch: u64) -> Offset {
    match record.and_then(|record| record.epochs.iter().find(|next| next.number > epoch)) {
        None => Offset::MAX,
        Some(next) if epoch.checked_add(1) == Some(next.number) => next.begin(),
        Some(_) => Offset::ZERO,
    }
}

/// Below this offset whatever counts is committed; what lies at it or above waits for an agreement of the members, or a later
/// epoch. Nothing waits where this broker alone decides, and where the newest epoch was closed in order.
pub(crate) fn committed(record: Option<&Lineage>, me: &ProcessId) -> Offset {
    let Some(newest) = record.and_then(Lineage::newest) else { return Offset::ZERO };
    let is_alone = newest.members.len() == 1 && newest.has_member(me);
    if is_alone || newest.sealed.is_some() { Offset::MAX } else { newest.begin() }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherCluster { theirs, ours } => {
                write!(f, "it belongs to cluster {theirs:016x}, and this is cluster {ours:016x}")
            }
            Self::NoJournal => f.write_str("its journal is not there any more"),
            Self::OtherJournal { theirs, ours } => write!(
                f,
                "it belongs to the journal of this name that was created at revision {theirs}; the present one was at {ours}"
            ),
            Self::NoLineage => f.write_str("the registry has no lineage of its journal"),
            Self::UnknownEpoch { theirs, newest } => {
                write!(f, "it is of epoch {theirs}, and the newest that was ever begun is {newest}")
            }
            Self::ForgottenEpoch { theirs, oldest } => {
                write!(f, "it is of epoch {theirs}, and the lineage remembers none before {oldest}")
            }
            Self::BeforeEpoch { begin, epoch_begin } => {
                write!(f, "it begins at {begin}, before its epoch did at {epoch_begin}")
            }
            Self::Superseded { begin, next_begin } => {
                write!(f, "it begins at {begin}, and the journal went on in the next epoch from {next_begin}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
