//! Pure: the appends of one journal that are there at the same time, decided one after the other and committed as one.
//!
//! ```text
//!            ┌─────────── Refresh (the store's fragments are not known yet)
//!  asks ──► turn ──────── Begin   (the journal has no epoch in this process yet)
//!            └─────────── Commit  (a roll, spans, refusals) ──► a round ──► answers
//! ```
//!
//! Every ask is decided on the state that its predecessors in the group leave behind, so a refusal can rest on bytes that are
//! not committed. That is why refusals are part of the group, and answered only when it has committed; where it fails,
//! they fail with it (decision D13).

use std::time::Duration;

use courant_proto::label::LabelSet;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::selector::LabelSelector;
use courant_proto::spec::{JournalSpec, SuspendLevel};
use courant_proto::status::Status;
use courant_proto::time::Timestamp;

use super::roll::{self, OpenSpool};

/// Content of one group, beyond which further asks wait for the next: what a commit holds in flight is bounded.
const GROUP_BYTES: u64 = 4 << 20;

/// What an append asks of suspension (`AppendRequest.Suspend`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SuspendAsk {
    /// Resume a suspended journal.
    #[default]
    Resume,
    /// Refuse if the journal is suspended.
    NoResume,
    /// Suspend if nothing local waits to be persisted.
    IfFlushed,
    /// Suspend, whatever waits.
    Now,
    /// Leave suspension as it is.
    Keep,
}

/// What one append asks of its journal; its content is known here by length alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) length: u64,
    /// The offset that must be the journal's furthest one; zero is no expectation.
    pub(crate) offset: Offset,
    pub(crate) check: Option<LabelSelector>,
    pub(crate) union: LabelSet,
    pub(crate) subtract: LabelSet,
    pub(crate) suspend: SuspendAsk,
    /// Its content is not in memory, and it makes a group of its own.
    pub(crate) alone: bool,
}

impl Ask {
    /// Whether it may suspend the journal, which rests on all that was ever decided.
    pub(crate) const fn may_suspend(&self) -> bool {
        matches!(self.suspend, SuspendAsk::IfFlushed | SuspendAsk::Now)
    }

    fn changes_registers(&self) -> bool {
        !self.union.is_empty() || !self.subtract.is_empty()
    }
}

/// What the store and local content of the journal amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The stores were listed at least once, or there are none.
    pub(crate) refreshed: bool,
    pub(crate) begin: Offset,
    pub(crate) end: Offset,
    /// Unix seconds of the last fragment; zero while it is only local.
    pub(crate) last_mod_time: i64,
}

/// The journal as its owner holds it, between groups.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) spool: OpenSpool,
    pub(crate) registers: Registers,
    /// All members have agreed on an epoch that commits can lie in. Nothing is decided before: what this broker knows of the journal
    /// may be what it was before somebody else held it.
    pub(crate) agreed: bool,
    /// The next offset cannot be below this, whatever spool and store say: the begin of the last epoch known.
    pub(crate) floor: Offset,
}

impl Standing {
    fn furthest(&self, known: &Known) -> Offset {
        self.spool.end.max(known.end).max(self.floor)
    }
}

/// How one ask was decided.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Its content becomes these bytes of the journal; none of them for an append without content.
    Span { begin: Offset, end: Offset },
    /// Refused, with a status of the protocol.
    Refused(Status),
    /// Its stream broke a rule of the protocol, and this is what Gazette's clients are told.
    Broken(&'static str),
    /// Suspension has to change first; the asker does that and asks again, or is done.
    Resuspend { level: SuspendLevel, offset: Offset },
}

/// What must be done before anything of the journal can be decided, or the group that was decided.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Turn {
    /// Nothing waits.
    Rest,
    /// List the stores; ask again when they are known.
    Refresh,
    /// Agree with all members on an epoch that begins at this offset or above; ask again when it began. `accept_loss` is set when the offset was given by the asker.
    Begin { begin: Offset, accept_loss: bool },
    /// Commit this.
    Commit(Group),
}

/// Appends that commit together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// Close the open spool first, and begin the next one here.
    pub(crate) roll: Option<Offset>,
    /// One verdict for each of the first asks of the queue, in order.
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) begin: Offset,
    pub(crate) end: Offset,
    /// The registers after the group, if it changed them.
    pub(crate) registers: Option<Registers>,
    /// For each verdict the registers after it, where they differ from the ones before the group.
    pub(crate) registers_at: Vec<Option<Registers>>,
}

/// Decides the appends that wait.
pub(crate) fn turn<'a>(
    standing: &Standing,
    known: &Known,
    spec: &JournalSpec,
    asks: impl Iterator<Item = &'a Ask> + Clone,
    now: Timestamp,
) -> Turn {
    let Some(first) = asks.clone().next() else { return Turn::Rest };
    if !known.refreshed {
        return Turn::Refresh;
    }
    let jump = jump(standing, known, spec, first);
    if !standing.agreed {
        let begin = jump.unwrap_or(standing.spool.end);
        return Turn::Begin { begin, accept_loss: accepts_loss(standing, known, first, begin) };
    }
    let roll = roll::roll(standing.spool, spec, known.begin, jump, now);
    let begin = roll.unwrap_or(standing.spool.end);
    let mut running = Running {
        end: begin,
        furthest: begin.max(known.end).max(standing.floor),
        registers: standing.registers.clone(),
        changed: false,
        bytes: 0,
    };
    let mut verdicts = Vec::new();
    let mut registers_at = Vec::new();
    for ask in asks {
        let crowded = !verdicts.is_empty()
            && (ask.alone
                || first.alone
                || running.bytes.saturating_add(ask.length) > GROUP_BYTES
                || running.end != running.furthest && ask.offset == running.furthest);
        if crowded {
            break;
        }
        verdicts.push(running.decide(ask, known, spec, now));
        registers_at.push(running.changed.then(|| running.registers.clone()));
    }
    Turn::Commit(Group {
        roll,
        verdicts,
        begin,
        end: running.end,
        registers: running.changed.then_some(running.registers),
        registers_at,
    })
}

/// Whether an ask would accept the loss of bytes below the furthest offset, if it came first.
pub(crate) fn may_accept_loss(standing: &Standing, known: &Known, ask: &Ask) -> bool {
    accepts_loss(standing, known, ask, standing.furthest(known))
}

/// Whether an asker knows that bytes may be missing below the offset at which an epoch is to begin: it was given by the asker, to move the
/// journal there, or as all that an empty append says. An ordinary writer that expects an offset knows nothing of the kind.
fn accepts_loss(standing: &Standing, known: &Known, first: &Ask, begin: Offset) -> bool {
    let is_move = standing.spool.end != begin || first.length == 0;
    let is_furthest = first.offset == begin && begin == standing.furthest(known);
    let is_let = first.check.as_ref().is_none_or(|selector| standing.registers.check(selector));
    first.offset != Offset::ZERO && is_move && is_furthest && is_let
}

/// An offset that the journal must go on at before `first` can be decided.
fn jump(standing: &Standing, known: &Known, spec: &JournalSpec, first: &Ask) -> Option<Offset> {
    let suspended_at = spec.suspend.as_ref().map_or(Offset::ZERO, |suspend| suspend.offset);
    let furthest = standing.furthest(known);
    if standing.spool.end < suspended_at {
        Some(suspended_at)
    } else if first.offset != Offset::ZERO
        && first.offset == furthest
        && standing.spool.end != furthest
        // One that its check refuses accepts no loss.
        && first.check.as_ref().is_none_or(|selector| standing.registers.check(selector))
    {
        Some(furthest)
    } else {
        None
    }
}

/// The state that the asks decided so far leave behind.
struct Running {
    end: Offset,
    furthest: Offset,
    registers: Registers,
    changed: bool,
    bytes: u64,
}

impl Running {
    fn decide(&mut self, ask: &Ask, known: &Known, spec: &JournalSpec, now: Timestamp) -> Verdict {
        let writable = spec.flags.may_write();
        if ask.check.as_ref().is_some_and(|selector| !self.registers.check(selector)) {
            return Verdict::Refused(Status::RegisterMismatch);
        }
        if self.end != self.furthest && ask.offset == Offset::ZERO && writable {
            return Verdict::Refused(Status::IndexHasGreaterOffset);
        }
        if ask.offset != Offset::ZERO && ask.offset != self.furthest {
            return Verdict::Refused(Status::WrongAppendOffset);
        }
        if let Some(verdict) = self.suspension(ask, known, spec, now) {
            return verdict;
        }
        let may_hold_content = matches!(ask.suspend, SuspendAsk::Resume | SuspendAsk::NoResume);
        if ask.length > 0 && !(writable && may_hold_content) {
            return Verdict::Refused(Status::NotAllowed);
        }
        if ask.length == 0 && ask.changes_registers() {
            return Verdict::Broken("append stream: register modification requires non-empty Append");
        }
        let begin = self.end;
        let Some(end) = begin.plus(ask.length) else {
            return Verdict::Refused(Status::NotAllowed);
        };
        if ask.changes_registers() {
            self.registers = self.registers.apply(&ask.union, &ask.subtract);
            self.changed = true;
        }
        self.end = end;
        self.furthest = self.furthest.max(end);
        self.bytes += ask.length;
        Verdict::Span { begin, end }
    }

    /// What suspension says to an ask, where it says anything.
    fn suspension(&self, ask: &Ask, known: &Known, spec: &JournalSpec, now: Timestamp) -> Option<Verdict> {
        let level = spec.suspend.as_ref().map_or(SuspendLevel::None, |suspend| suspend.level);
        // An index without fragments tells neither where it begins nor where it ends.
        let empty = known.begin == known.end && self.bytes == 0;
        let resuspend = |level| Some(Verdict::Resuspend { level, offset: self.end });
        match (level, ask.suspend) {
            (SuspendLevel::None, SuspendAsk::IfFlushed) if empty => resuspend(SuspendLevel::Full),
            (SuspendLevel::None, SuspendAsk::IfFlushed) if self.bytes == 0 && clean(known, spec, now) => {
                resuspend(SuspendLevel::Partial)
            }
            (SuspendLevel::None, SuspendAsk::Now) if empty => resuspend(SuspendLevel::Full),
            (SuspendLevel::None, SuspendAsk::Now) => resuspend(SuspendLevel::Partial),
            (SuspendLevel::None, _) | (SuspendLevel::Partial, SuspendAsk::Keep) => None,
            (SuspendLevel::Partial, SuspendAsk::Resume) => resuspend(SuspendLevel::None),
            (SuspendLevel::Partial, SuspendAsk::IfFlushed | SuspendAsk::Now) if empty => {
                resuspend(SuspendLevel::Full)
            }
            (SuspendLevel::Full, SuspendAsk::Resume) => resuspend(SuspendLevel::None),
            (SuspendLevel::Partial | SuspendLevel::Full, _) => Some(Verdict::Refused(Status::Suspended)),
        }
    }
}

/// Everything is persisted, and for longer than a flush interval.
fn clean(known: &Known, spec: &JournalSpec, now: Timestamp) -> bool {
    let day = Duration::from_secs(24 * 3600);
    let interval = spec.fragment.flush_interval.unwrap_or(day).as_secs();
    let interval = i64::try_from(interval).unwrap_or(i64::MAX);
    known.last_mod_time != 0 && known.last_mod_time < now.secs().saturating_sub(interval)
}

#[cfg(test)]
pub(crate) mod tests;
