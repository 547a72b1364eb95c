//! Pure: what is to be done at which time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use tokio::time::Instant;

/// Things in the order in which they are due; of those due at once, in the order in which they came.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Entry<T>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<T> {
    due: Instant,
    number: u64,
    item: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), next: 0 }
    }
}

impl<T> Queue<T> {
    pub(super) fn push(&mut self, due: Instant, item: T) {
        self.heap.push(Entry { due, number: self.next, item });
        self.next += 1;
    }

    /// The first thing that is due by now.
    pub(super) fn pop(&mut self, now: Instant) -> Option<T> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|entry| entry.item)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.due)
    }

    /// Makes everything due at once.
    pub(super) fn make_due(&mut self, now: Instant) {
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

impl<T> Ord for Entry<T> {
    /// The heap yields the greatest first, so what is due earlier is greater.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn things_come_when_they_are_due() {
        let now = Instant::now();
        let after = |secs| now + Duration::from_secs(secs);
        let mut queue = Queue::default();
        for (due, item) in [(5, "c"), (1, "a"), (5, "d"), (2, "b")] {
            queue.push(after(due), item);
        }
        assert_eq!(queue.next_due(), Some(after(1)));
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.pop(after(4)), Some("a"));
        assert_eq!(queue.pop(after(4)), Some("b"));
        assert_eq!(queue.pop(after(4)), None);
        queue.make_due(after(3));
        assert_eq!(queue.pop(after(4)), Some("c"));
        assert_eq!(queue.pop(after(4)), Some("d"));
        assert!(queue.is_empty());
        assert_eq!(queue.next_due(), None);
    }
}
