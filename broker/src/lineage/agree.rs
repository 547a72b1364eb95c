//! Pure: where the next epoch of a journal begins, when those who may know it have told how far their logs go.
//!
//! ```text
//!  newest epoch of the record: members P Q R, begin b
//!                 b
//!  P  ────────────┼───────────▌ 140     counts: it has every byte that was acknowledged
//!  Q  ────────────┼───────────────▌ 160 counts, and is the furthest: base 160, fetched from Q
//!  R  (another log since, or away)      counts for nothing
//!  S  ────────▌                         no member: counts for nothing
//! ```
//!
//! It knows no broker and no stream: who is asked, and what is done about it, is its caller's.

use courant_proto::id::ProcessId;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;

use super::log_number::{may_be_one, may_have_lost};
use super::record::{Epoch, Lineage};

/// The open spool of a journal in somebody's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The epoch that it is in; zero before there was any.
    pub(crate) epoch: u64,
    /// The offset behind its last byte, whether acknowledged or not.
    pub(crate) end: Offset,
    /// The registers there.
    pub(crate) registers: Registers,
}

/// What a broker told of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contributor {
    pub(crate) id: ProcessId,
    /// The number of its log; none, or zero, where that is not known.
    pub(crate) log: Option<u64>,
    /// Nothing that was committed here can lie behind the head.
    pub(crate) certain: bool,
    /// None where the log does not know the journal.
    pub(crate) head: Option<Known>,
}

/// An epoch that somebody wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish<'a> {
    /// The registry's revision that created the journal.
    pub(crate) create_revision: i64,
    /// All who were asked and answered, the caller first.
    pub(crate) contributors: &'a [Contributor],
    /// Where the epoch is to begin, or above.
    pub(crate) begin: Offset,
    /// An operator gave that offset, knowing that bytes may be missing below it.
    pub(crate) accept_loss: bool,
    /// The end of what the store holds.
    pub(crate) store_end: Offset,
}

/// What they agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Agreed {
    /// An epoch may begin.
    At {
        /// The number of the newest epoch, on whose record this rests; zero if there is none.
        after: u64,
        /// Where it begins: no acknowledged byte, and none that is in the store, lies at it or above.
        base: Offset,
        /// The registers there.
        registers: Registers,
        /// Who has the bytes below the base, if anybody who was asked does.
        source: Option<ProcessId>,
    },
    /// These were members of the last epoch and were not asked. With their answers, or without them, it is decided again as asked.
    Ask(Vec<ProcessId>),
    /// A log has the journal in an epoch that the record has never heard of: the registry is not what it was.
    Unknown {
        /// Whose log.
        by: ProcessId,
        /// Its epoch.
        theirs: u64,
        /// The newest of the record.
        newest: u64,
    },
    /// Bytes of the last epoch may be missing. An operator can let the journal go on at this offset or above.
    Refuse {
        /// That offset.
        floor: Offset,
    },
}

/// Decides where an epoch may begin after those of `record`. `asked`: whoever else was a member of the last one has been asked.
pub(crate) fn agree(record: Option<&Lineage>, wish: &Wish<'_>, asked: bool) -> Agreed {
    let newest = record
        .filter(|record| record.create_revision == wish.create_revision)
        .and_then(|record| Some((record, record.newest()?)));
    match newest {
        Some((record, newest)) => after(record, newest, wish, asked),
        None => first(wish),
    }
}

/// No epoch was ever recorded. What logs know of the journal was written for a primary of another make.
fn first(wish: &Wish<'_>) -> Agreed {
    let heads = || wish.contributors.iter().filter_map(|one| Some((one, one.head.as_ref()?)));
    // Also of a log with gaps: what it once had is not to be written anew with other bytes.
    let highest = heads().map(|(_, head)| head.end).max().unwrap_or(Offset::ZERO);
    let base = highest.max(wish.begin);
    // Of equal ones the first, which is the caller's if it is among them.
    let known = heads().filter(|(one, _)| one.certain).rev().max_by_key(|(_, head)| head.end);
    Agreed::At {
        after: 0,
        base,
        registers: known.map(|(_, head)| head.registers.clone()).unwrap_or_default(),
        source: known.filter(|(_, head)| head.end == base).map(|(one, _)| one.id.clone()),
    }
}

/// What a member of the newest epoch contributes.
struct Contribution<'a> {
    by: &'a Contributor,
    /// Its head in that epoch; none where it committed nothing in it.
    head: Option<&'a Known>,
    /// Whether records of its log may be missing, as far as numbers of logs tell.
    has_gaps: bool,
}

fn after(record: &Lineage, newest: &Epoch, wish: &Wish<'_>, asked: bool) -> Agreed {
    // An epoch is recorded before anybody holds a byte of it, and the record was read after this was told.
    let epochs = wish.contributors.iter().filter_map(|one| Some((one, one.head.as_ref()?.epoch)));
    if let Some((one, theirs)) = epochs.max_by_key(|(_, epoch)| *epoch)
        && theirs > newest.number
    {
        return Agreed::Unknown { by: one.id.clone(), theirs, newest: newest.number };
    }
    let counting: Vec<Contribution<'_>> =
        wish.contributors.iter().filter_map(|one| contribution(newest, one)).collect();
    let answered = |id: &ProcessId| wish.contributors.iter().any(|one| one.id == *id);
    let others: Vec<ProcessId> = newest.ids().filter(|id| !answered(id)).collect();
    // For a tail that was lost the others make good. Without them it is not known how long it was; with all of them it is gone.
    let is_whole = |one: &Contribution<'_>| !one.has_gaps || others.is_empty() || newest.sealed.is_some();
    if counting.iter().any(is_whole) {
        return at_highest(record, newest, wish, &counting);
    }
    // What is sealed was in the store whole; that it may have been pruned since takes no offset back.
    if let Some(sealed) = &newest.sealed {
        let base = sealed.end().max(newest.begin()).max(record.stored()).max(wish.begin);
        return Agreed::At { after: newest.number, base, registers: sealed.registers(), source: None };
    }
    if !asked && !others.is_empty() {
        return Agreed::Ask(others);
    }
    // What a member knows that does not count all the same is not to be written anew.
    let rumours: Vec<&Known> = wish
        .contributors
        .iter()
        .filter(|one| newest.has_member(&one.id))
        .filter_map(|one| one.head.as_ref())
        .filter(|head| head.epoch == newest.number)
        .collect();
    let rumoured = rumours.iter().rev().max_by_key(|head| head.end);
    let floor = newest.begin().max(record.stored()).max(wish.store_end).max(record.lost_end());
    let floor = rumoured.map_or(floor, |head| head.end.max(floor));
    if !wish.accept_loss || wish.begin < floor {
        return Agreed::Refuse { floor };
    }
    // The fence that stood before the loss still stands.
    let registers = rumoured.map_or_else(|| newest.registers(), |head| head.registers.clone());
    Agreed::At { after: newest.number, base: wish.begin, registers, source: None }
}

/// Whether a broker's answer counts: it was a member of the newest epoch, and its log is the one that was.
fn contribution<'a>(newest: &Epoch, one: &'a Contributor) -> Option<Contribution<'a>> {
    let recorded = newest.log_of(&one.id)?;
    let log = one.log.unwrap_or(0);
    // Another log is in its place. What that has of the epoch it fetched, and perhaps not to the end.
    if !may_be_one(recorded, log) {
        return None;
    }
    let has_gaps = may_have_lost(recorded, log);
    match &one.head {
        Some(head) if one.certain && head.epoch <= newest.number => {
            // It stays in an older epoch as long as nothing is committed in a newer one.
            let head = Some(head).filter(|head| head.epoch == newest.number);
            Some(Contribution { by: one, head, has_gaps })
        }
        // It never had anything of the journal, and nobody acknowledges what a member does not have.
        None if log != 0 && log == recorded => Some(Contribution { by: one, head: None, has_gaps }),
        _ => None,
    }
}

fn at_highest(record: &Lineage, newest: &Epoch, wish: &Wish<'_>, counting: &[Contribution<'_>]) -> Agreed {
    let highest = counting
        .iter()
        .filter_map(|one| one.head.filter(|head| head.end >= newest.begin()))
        // Of equal ones the first, which is the caller's if it is among them.
        .rev()
        .max_by_key(|head| head.end);
    let (end, registers) = highest
        .map_or_else(|| (newest.begin(), newest.registers()), |head| (head.end, head.registers.clone()));
    // A tail that was lost, and is in the store, takes no offset back.
    let (end, registers) = match &newest.sealed {
        Some(sealed) if sealed.end() > end => (sealed.end(), sealed.registers()),
        _ => (end, registers),
    };
    let base = end.max(record.stored()).max(wish.begin);
    let is_source = |one: &&Contribution<'_>| one.head.is_some_and(|head| head.end == base);
    let source = counting.iter().find(is_source).map(|one| one.by.id.clone());
    let source = source.or_else(|| source_before(record, newest, wish, base));
    Agreed::At { after: newest.number, base, registers, source }
}

/// Where nothing was committed in the newest epoch: a member of the one before that is far enough.
fn source_before(record: &Lineage, newest: &Epoch, wish: &Wish<'_>, base: Offset) -> Option<ProcessId> {
    if base != newest.begin() {
        return None;
    }
    let before = record.epochs.iter().rev().nth(1)?;
    let holds = |one: &&Contributor| {
        let log = before.log_of(&one.id).filter(|log| may_be_one(*log, one.log.unwrap_or(0)));
        let reaches = |head: &Known| head.epoch == before.number && head.end >= base;
        log.is_some() && one.certain && one.head.as_ref().is_some_and(reaches)
    };
    wish.contributors.iter().find(holds).map(|one| one.id.clone())
}

#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;
