//! Pure: the deadlines of a core's journals, in one ordered set instead of a timer each.

use std::collections::{BTreeSet, HashMap};

use courant_proto::name::JournalName;

/// Room for so many deadlines is kept, however few there are.
const SPARE: usize = 64;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Due {
    /// The open spool has to be closed.
    Flush,
    /// The stores have to be listed again.
    Refresh,
    /// Appends have waited for the store for long.
    Stored,
    /// A peer should have answered a round by now.
    Answer,
    /// What a follower holds and nobody has told it to be committed should have been told by now.
    Told,
    /// Nothing happened for a while: what only a busy journal needs is let go.
    Rest,
}

/// Deadlines in Unix seconds, at most one of each kind per journal.
#[derive(Debug, Default)]
pub(crate) struct Wheel {
    by_time: BTreeSet<(i64, JournalName, Due)>,
    by_journal: HashMap<(JournalName, Due), i64>,
}

impl Wheel {
    /// Sets a deadline, replacing an earlier one of its kind.
    pub(crate) fn set(&mut self, journal: &JournalName, due: Due, at: i64) {
        if let Some(before) = self.by_journal.insert((journal.clone(), due), at) {
            self.by_time.remove(&(before, journal.clone(), due));
        }
        self.by_time.insert((at, journal.clone(), due));
    }

    /// Whether a deadline of this kind is set.
    pub(crate) fn has(&self, journal: &JournalName, due: Due) -> bool {
        self.by_journal.contains_key(&(journal.clone(), due))
    }

    /// Drops all deadlines of a journal.
    pub(crate) fn forget(&mut self, journal: &JournalName) {
        for due in [Due::Flush, Due::Refresh, Due::Stored, Due::Rest] {
            if let Some(at) = self.by_journal.remove(&(journal.clone(), due)) {
                self.by_time.remove(&(at, journal.clone(), due));
            }
        }
    }

    /// The next deadline.
    pub(crate) fn next(&self) -> Option<i64> {
        self.by_time.first().map(|(at, ..)| *at)
    }

    /// Takes one deadline that has come.
    pub(crate) fn pop(&mut self, now: i64) -> Option<(JournalName, Due)> {
        if self.next()? > now {
            return None;
        }
        let (_, journal, due) = self.by_time.pop_first()?;
        self.by_journal.remove(&(journal.clone(), due));
        // A flush and a rest of thousands of journals leave one deadline for each.
        if self.by_journal.capacity() > SPARE && self.by_journal.len() < self.by_journal.capacity() / 4 {
            self.by_journal.shrink_to(self.by_journal.len() * 2);
        }
        Some((journal, due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> JournalName {
        JournalName::parse(name).expect("a valid name")
    }

    #[test]
    fn deadlines_come_in_order_once_each_and_can_be_moved() {
        let mut wheel = Wheel::default();
        wheel.set(&name("a/one"), Due::Flush, 30);
        wheel.set(&name("a/two"), Due::Flush, 20);
        wheel.set(&name("a/one"), Due::Refresh, 25);
        wheel.set(&name("a/one"), Due::Flush, 10);
        assert_eq!(wheel.pop(9), None);
        assert_eq!(wheel.pop(25), Some((name("a/one"), Due::Flush)));
        assert_eq!(wheel.pop(25), Some((name("a/two"), Due::Flush)));
        assert_eq!(wheel.next(), Some(25));
        wheel.forget(&name("a/one"));
        assert_eq!(wheel.pop(i64::MAX), None);
        assert!(wheel.by_journal.is_empty());
    }
}
