//! Pure: what waits for the disk of a core, and which sync it waits for.
//!
//! One sync is under way at a time. It covers what was written before it began; what is written meanwhile is covered by the next, all of
//! it together.

use std::mem;

/// Things that wait for a disk.
#[derive(Debug)]
pub(super) struct Syncs<T> {
    /// Syncs that have begun, and those that were done.
    begun: u64,
    done: u64,
    /// What the sync under way covers.
    covered: Vec<T>,
    /// What the next one will cover.
    next: Vec<T>,
    /// Why nothing is synced any more.
    failed: Option<String>,
}

impl<T> Default for Syncs<T> {
    fn default() -> Self {
        Self { begun: 0, done: 0, covered: Vec::new(), next: Vec::new(), failed: None }
    }
}

impl<T> Syncs<T> {
    /// The sync that covers what is written now.
    pub(super) const fn covering(&self) -> u64 {
        self.begun + 1
    }

    /// Whether a sync was done.
    pub(super) const fn is_done(&self, sync: u64) -> bool {
        sync <= self.done
    }

    /// Keeps something until a sync is done that is not yet.
    pub(super) fn wait(&mut self, sync: u64, waiting: T) {
        if sync <= self.begun {
            self.covered.push(waiting);
        } else {
            self.next.push(waiting);
        }
    }

    /// Begins the next sync, if something waits for it and none is under way.
    pub(super) fn begin(&mut self) -> bool {
        let begins = self.begun == self.done && !self.next.is_empty() && self.failed.is_none();
        if begins {
            self.begun += 1;
            mem::swap(&mut self.covered, &mut self.next);
        }
        begins
    }

    /// The sync under way is done: what it covered.
    pub(super) fn done(&mut self) -> Vec<T> {
        self.done = self.begun;
        mem::take(&mut self.covered)
    }

    /// It failed. What was written before may be on the disk or not, and no later sync tells: all that waits, which is in vain.
    pub(super) fn fail(&mut self, why: String) -> Vec<T> {
        self.failed = Some(why);
        let mut all = mem::take(&mut self.covered);
        all.append(&mut self.next);
        all
    }

    /// Why nothing is synced any more.
    pub(super) fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_during_a_sync_is_covered_by_the_next() {
        let mut syncs = Syncs::default();
        assert!(!syncs.begin(), "nothing waits");
        syncs.wait(syncs.covering(), 'a');
        let first = syncs.covering();
        assert!(syncs.begin() && !syncs.begin(), "one at a time");
        syncs.wait(syncs.covering(), 'b');
        syncs.wait(first, 'c');
        syncs.wait(syncs.covering(), 'd');
        assert!(!syncs.is_done(first));
        assert_eq!(syncs.done(), ['a', 'c']);
        assert!(syncs.is_done(first) && !syncs.is_done(syncs.covering()));
        assert!(syncs.begin());
        assert_eq!(syncs.done(), ['b', 'd']);
        assert!(!syncs.begin());
    }

    #[test]
    fn a_sync_that_failed_is_the_last() {
        let mut syncs = Syncs::default();
        syncs.wait(syncs.covering(), 'a');
        assert!(syncs.begin());
        syncs.wait(syncs.covering(), 'b');
        assert_eq!(syncs.fail("broken".to_owned()), ['a', 'b']);
        assert_eq!(syncs.failed(), Some("broken"));
        syncs.wait(syncs.covering(), 'c');
        assert!(!syncs.begin() && !syncs.is_done(1));
    }
}
