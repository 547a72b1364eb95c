//! Pure: the number by which a log is known again, and what two numbers tell of each other.
//!
//! ```text
//!  ┌ identity, 40 bits ─┬ losses, 12 bits ─┬ forgets, 12 bits ─┐
//!  │ drawn when a       │ counted up when  │ counted up when   │
//!  │ folder begins      │ records may be   │ journals were put │
//!  │                    │ missing          │ aside             │
//!  └────────────────────┴──────────────────┴───────────────────┘
//! ```

const FORGETS: u64 = (1 << 12) - 1;
const LOSSES: u64 = FORGETS << 12;
const IDENTITY: u64 = !(LOSSES | FORGETS);

/// A number for a folder that begins.
pub(crate) const fn drawn(random: u64) -> u64 {
    (random & IDENTITY) | 1
}

/// The number of the same log after it put aside what it knew.
pub(crate) const fn after_forgetting(number: u64) -> u64 {
    let forgets = number.wrapping_add(1) & FORGETS;
    (number & !FORGETS) | if forgets == 0 { 1 } else { forgets }
}

/// The number of the same log after records of it may have been lost.
pub(crate) const fn after_loss(number: u64) -> u64 {
    (number & !LOSSES) | (number.wrapping_add(1 << 12) & LOSSES)
}

/// Whether it may be one log: where either identity is not known, it may.
pub(crate) const fn may_be_one(one: u64, other: u64) -> bool {
    let (one, other) = (one & IDENTITY, other & IDENTITY);
    one == other || one == 0 || other == 0
}

/// Whether records may have been lost between the two, as far as they tell.
pub(crate) const fn may_have_lost(before: u64, now: u64) -> bool {
    before != 0 && (now == 0 || before & LOSSES != now & LOSSES)
}

/// Whether it is known of the log that it never lost a record.
pub(crate) const fn is_unbroken(number: u64) -> bool {
    number & IDENTITY != 0 && number & LOSSES == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_known_again_and_told_from_another() {
        let first = drawn(0x1234_5678_9abc_def0);
        let forgot = after_forgetting(first);
        assert!(forgot != first && may_be_one(first, forgot) && !may_have_lost(first, forgot));
        let lost = after_loss(forgot);
        assert!(lost != forgot && may_be_one(first, lost) && may_have_lost(first, lost));
        assert!(!may_be_one(first, drawn(0x4321_5678_9abc_def0)));
        assert!(may_be_one(0, first) && may_be_one(first, 7), "another make's, or one whose number was lost");
        assert!(is_unbroken(first) && is_unbroken(forgot) && !is_unbroken(lost));
        assert!(!is_unbroken(after_forgetting(lost)) && !is_unbroken(0) && !is_unbroken(drawn(0)));
        assert!(!may_have_lost(0, lost) && may_have_lost(first, 0));
        // They begin anew some time, and are never mistaken for none.
        assert_eq!(after_forgetting(first | FORGETS), first);
        assert_eq!(after_loss(first | LOSSES), first);
    }
}
