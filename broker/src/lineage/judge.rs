//! Pure: the two questions that a lineage answers: which bytes of a recovered spool count, and whether an epoch may begin.
//!
//! ```text
//!  epoch 1   ├───────────────┤· · ·┐ bytes past the begin of the next epoch: acknowledged by nobody, cut off
//!  epoch 2                   ├─────┴────┤· ·┐
//!  epoch 3                              ├───┴──────► the newest counts wholly
//! ```

use std::fmt;

use courant_proto::id::ProcessId;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;

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
    if spool.epoch.checked_add(1) != Some(next.number) && !is_head_alone {
        return quarantine(Reason::ForgottenEpoch { theirs: spool.epoch, oldest: next.number });
    }
    if spool.end <= next.begin() {
        Verdict::Adopt
    } else if spool.begin < next.begin() {
        Verdict::CutAt(next.begin())
    } else {
        quarantine(Reason::Superseded { begin: spool.begin, next_begin: next.begin() })
    }
}

/// An epoch that somebody wants to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish<'a> {
    pub(crate) create_revision: i64,
    /// Who will hold its bytes.
    pub(crate) members: &'a [ProcessId],
    /// The head that the logs of these members know, with or without its content.
    pub(crate) contributed: Option<Offset>,
    /// Where the epoch is to begin, or above.
    pub(crate) begin: Offset,
    /// An operator gave that offset, knowing that bytes may be missing below it.
    pub(crate) accept_loss: bool,
    /// The end of what the store holds.
    pub(crate) store_end: Offset,
    /// The registers that these members know.
    pub(crate) registers: &'a Registers,
    /// The log of the only member, if it is whole and does not know the journal.
    pub(crate) unknown_to_log: Option<u64>,
}

/// Whether it may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// It may, as this epoch, at this offset and with these registers.
    At { epoch: u64, begin: Offset, registers: Registers },
    /// Bytes of the last epoch may be missing. An operator can let the journal go on at this offset or above.
    Refuse { floor: Offset },
}

/// Decides whether an epoch may begin after those of `record`.
pub(crate) fn may_begin(record: Option<&Lineage>, wish: &Wish<'_>) -> Begin {
    let newest = record
        .filter(|record| record.create_revision == wish.create_revision)
        .and_then(|record| Some((record, record.newest()?)));
    let Some((record, newest)) = newest else {
        return Begin::At {
            epoch: 1,
            begin: wish.contributed.map_or(wish.begin, |head| head.max(wish.begin)),
            registers: wish.registers.clone(),
        };
    };
    let epoch = newest.number.saturating_add(1);
    // Whoever was a member of the last epoch and knows the journal at all has every byte that was acknowledged in it; where its
    // log has none of that epoch, none was.
    let contributed = wish.contributed.filter(|_| newest.has_any_member(wish.members));
    if let Some(head) = contributed {
        let begin = head.max(newest.begin()).max(wish.begin);
        return Begin::At { epoch, begin, registers: wish.registers.clone() };
    }
    // The log did not know the journal when this epoch began, and does not now: nothing was committed in it.
    let untouched = newest.unknown_to_log != 0 && wish.unknown_to_log == Some(newest.unknown_to_log);
    if untouched && newest.has_any_member(wish.members) {
        return Begin::At { epoch, begin: newest.begin().max(wish.begin), registers: newest.registers() };
    }
    // What is sealed was in the store whole; that it may have been pruned since takes no offset back.
    if let Some(sealed) = &newest.sealed {
        let begin = sealed.end().max(newest.begin()).max(wish.begin);
        return Begin::At { epoch, begin, registers: sealed.registers() };
    }
    let floor = newest.begin().max(record.stored()).max(wish.store_end);
    if !wish.accept_loss || wish.begin < floor {
        return Begin::Refuse { floor };
    }
    // The fence that stood before the loss still stands.
    let registers = if wish.registers.is_empty() { newest.registers() } else { wish.registers.clone() };
    Begin::At { epoch, begin: wish.begin, registers }
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
