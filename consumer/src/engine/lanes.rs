//! Pure: what one producer has for many journals: to each, one append in flight.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use courant_message::Outbox;
use courant_message::publisher::Answer;

use super::Journal;

/// What waits or is on its way, by journal.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<Journal, Lane>,
    /// Those that may have an append due.
    due: VecDeque<Journal>,
}

#[derive(Debug)]
struct Lane {
    outbox: Outbox,
    /// Whether something of this producer waits in it, and not an earlier one's alone.
    holds_own: bool,
}

/// An append that is due.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) journal: Journal,
    pub(super) content: Bytes,
    pub(super) holds_own: bool,
}

impl Lanes {
    /// Takes what an earlier producer was to append.
    pub(super) fn push_recovered(&mut self, journal: &Journal, content: &[u8]) {
        let pushed = self.of(journal).outbox.push_bytes(content);
        pushed.expect("an outbox without a limit takes all");
    }

    pub(super) fn push(&mut self, journal: &Journal, content: &[u8]) {
        let lane = self.of(journal);
        lane.holds_own = true;
        lane.outbox.push_bytes(content).expect("an outbox without a limit takes all");
    }

    fn of(&mut self, journal: &Journal) -> &mut Lane {
        self.lanes.entry(journal.clone()).or_insert_with(|| {
            self.due.push_back(journal.clone());
            // What is bounded is the transactions, of which no more than two have anything here.
            Lane { outbox: Outbox::new(usize::MAX), holds_own: false }
        })
    }

    pub(super) fn next_append(&mut self) -> Option<Due> {
        let journal = self.due.pop_front()?;
        let lane = self.lanes.get_mut(&journal)?;
        let content = lane.outbox.next_append()?;
        let holds_own = std::mem::take(&mut lane.holds_own);
        Some(Due { journal, content, holds_own })
    }

    /// # Panics
    /// When no append to the journal is in flight.
    pub(super) fn appended(&mut self, journal: &Journal) {
        let lane = self.lanes.get_mut(journal).expect("an append in flight");
        lane.outbox.answered(Answer::Committed);
        if lane.outbox.is_empty() {
            self.lanes.remove(journal);
        } else {
            self.due.push_back(journal.clone());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}
