//! Pure: what is to be done at which time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Room for so many things is kept, however few there are.
const SPARE: usize = 64;

/// Things in the order in which they are due; of those due at once, in the order in which they came. Which
/// clock the times `W` are of is the caller's affair.
#[derive(Debug)]
pub(super) struct Queue<W, T> {
    heap: BinaryHeap<Entry<W, T>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<W, T> {
    due: W,
    number: u64,
    item: T,
}

impl<W: Ord, T> Default for Queue<W, T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), next: 0 }
    }
}

impl<W: Copy + Ord, T> Queue<W, T> {
    pub(super) fn push(&mut self, due: W, item: T) {
        self.heap.push(Entry { due, number: self.next, item });
        self.next += 1;
    }

    /// The first thing that is due by now.
    pub(super) fn pop(&mut self, now: W) -> Option<T> {
        if self.next_due()? > now {
            return None;
        }
        let item = self.heap.pop().map(|entry| entry.item);
        // The flush of thousands of journals at once is no measure of the next hour.
        if self.heap.capacity() > SPARE && self.heap.len() < self.heap.capacity() / 4 {
            self.heap.shrink_to(self.heap.len() * 2);
        }
        item
    }

    pub(super) fn next_due(&self) -> Option<W> {
        self.heap.peek().map(|entry| entry.due)
    }

    /// Makes everything due at once.
    pub(super) fn make_due(&mut self, now: W) {
        let entries = std::mem::take(&mut self.heap).into_vec();
        self.heap = entries.into_iter().map(|entry| Entry { due: entry.due.min(now), ..entry }).collect();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Everything, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.heap.iter().map(|entry| &entry.item)
    }
}

impl<W: Ord, T> Ord for Entry<W, T> {
    /// The heap yields the greatest first, so what is due earlier is greater.
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due).then(other.number.cmp(&self.number))
    }
}

impl<W: Ord, T> PartialOrd for Entry<W, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<W: Ord, T> PartialEq for Entry<W, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<W: Ord, T> Eq for Entry<W, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_when_they_are_due() {
        let mut queue = Queue::default();
        for (due, item) in [(5, "c"), (1, "a"), (5, "d"), (2, "b")] {
            queue.push(due, item);
        }
        assert_eq!(queue.next_due(), Some(1));
        assert_eq!(queue.pop(0), None);
        assert_eq!(queue.pop(4), Some("a"));
        assert_eq!(queue.pop(4), Some("b"));
        assert_eq!(queue.pop(4), None);
        queue.make_due(3);
        assert_eq!(queue.pop(4), Some("c"));
        assert_eq!(queue.pop(4), Some("d"));
        assert!(queue.is_empty());
        assert_eq!(queue.next_due(), None);
    }
}
