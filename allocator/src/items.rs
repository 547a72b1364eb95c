//! Pure: the items with what is assigned of them, by numbers, and in the order of their names.

use std::collections::HashMap;
use std::sync::Arc;

use crate::state::Stamp;

/// An item, or assignments of one that does not exist.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) id: Arc<str>,
    /// Members that are to hold it. Zero where there is no such item.
    pub(crate) replication: u32,
    /// While its key is there.
    pub(crate) live: Option<Stamp>,
    /// By zone and suffix of the members, then by slot.
    pub(crate) assigned: Vec<Assigned>,
    /// Where the solution has its members.
    pub(crate) desired: Span,
    /// It may not be as it should be.
    pub(crate) pending: bool,
}

/// A piece of the solution.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub(crate) from: u32,
    pub(crate) len: u32,
}

/// An assignment of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assigned {
    /// The member's number.
    pub(crate) member: u32,
    pub(crate) slot: u32,
    pub(crate) mod_revision: i64,
    pub(crate) lease: i64,
    pub(crate) consistent: bool,
    /// It was consistent at some time, though perhaps in a set that was another one.
    pub(crate) synced: bool,
}

/// All items.
#[derive(Clone, Debug, Default)]
pub(crate) struct Items {
    slab: Vec<Item>,
    free: Vec<u32>,
    numbers: HashMap<Arc<str>, u32>,
    /// Live items by name; what has come or gone since is not in it yet.
    order: Vec<u32>,
    /// Items that came since.
    fresh: Vec<u32>,
    /// Some have gone since.
    gone: bool,
    /// Those that may not be as they should be.
    pending: Vec<u32>,
    /// How many live items want so many replicas.
    widths: Vec<usize>,
    /// Replicas wanted in all.
    pub(crate) slots: u64,
}

impl Items {
    pub(crate) fn get(&self, number: u32) -> &Item {
        &self.slab[number as usize]
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> &mut Item {
        &mut self.slab[number as usize]
    }

    /// All that are or were there; what is forgotten has neither key nor assignments.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Item> {
        self.slab.iter()
    }

    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        self.numbers.get(id).copied()
    }

    /// The number of an item, which is given one if it is new.
    pub(crate) fn number(&mut self, id: &str) -> u32 {
        if let Some(number) = self.find(id) {
            return number;
        }
        let item = Item {
            id: id.into(),
            replication: 0,
            live: None,
            assigned: Vec::new(),
            desired: Span::default(),
            pending: false,
        };
        let id = Arc::clone(&item.id);
        let number = if let Some(number) = self.free.pop() {
            self.slab[number as usize] = item;
            number
        } else {
            self.slab.push(item);
            u32::try_from(self.slab.len() - 1).unwrap_or(u32::MAX)
        };
        self.numbers.insert(id, number);
        number
    }

    /// An item's key is there, or gone.
    pub(crate) fn set_live(&mut self, number: u32, live: Option<(u32, Stamp)>) {
        let item = &mut self.slab[number as usize];
        if item.live.is_some() {
            self.widths[item.replication as usize] -= 1;
            self.slots -= u64::from(item.replication);
        }
        match (item.live.is_some(), live.is_some()) {
            (false, true) => self.fresh.push(number),
            (true, false) => self.gone = true,
            _ => {}
        }
        item.replication = live.map_or(0, |(replication, _)| replication);
        item.live = live.map(|(_, stamp)| stamp);
        if live.is_some() {
            let width = item.replication as usize;
            if self.widths.len() <= width {
                self.widths.resize(width + 1, 0);
            }
            self.widths[width] += 1;
            self.slots += u64::from(item.replication);
        }
        self.mark(number);
    }

    /// How many live items there are.
    pub(crate) fn live(&self) -> usize {
        self.widths.iter().sum()
    }

    /// The most replicas that an item wants.
    pub(crate) fn widest(&self) -> u32 {
        let widest = self.widths.iter().rposition(|&items| items > 0).unwrap_or(0);
        u32::try_from(widest).unwrap_or(u32::MAX)
    }

    /// The item may not be as it should be.
    pub(crate) fn mark(&mut self, number: u32) {
        let item = &mut self.slab[number as usize];
        if !std::mem::replace(&mut item.pending, true) {
            self.pending.push(number);
        }
    }

    /// Takes the items that may not be as they should be, by name.
    pub(crate) fn take_pending(&mut self) -> Vec<u32> {
        let mut pending = std::mem::take(&mut self.pending);
        if pending.len() > 1 {
            pending.sort_unstable_by(|&a, &b| self.get(a).id.cmp(&self.get(b).id));
        }
        for &number in &pending {
            self.slab[number as usize].pending = false;
        }
        pending
    }

    /// Whether every item is as it should be.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// Forgets an item that has neither key nor assignments. Only once the order is made anew, as it may name the item.
    pub(crate) fn forget_if_empty(&mut self, number: u32) {
        debug_assert!(!self.gone && self.fresh.is_empty(), "the order must be made first");
        let item = self.get(number);
        if item.live.is_none() && item.assigned.is_empty() && !item.pending {
            let id = Arc::clone(&item.id);
            if self.numbers.remove(&id).is_some() {
                self.free.push(number);
            }
        }
    }

    /// All items by name.
    pub(crate) fn order(&mut self) -> &[u32] {
        let slab = &self.slab;
        if std::mem::take(&mut self.gone) {
            self.order.retain(|&number| slab[number as usize].live.is_some());
        }
        if !self.fresh.is_empty() {
            // One that went and came again before this is among both.
            let mut fresh = std::mem::take(&mut self.fresh);
            fresh.retain(|&number| slab[number as usize].live.is_some());
            let by_name = |a: &u32, b: &u32| slab[*a as usize].id.cmp(&slab[*b as usize].id);
            fresh.sort_unstable_by(by_name);
            fresh.dedup();
            self.order = merged(std::mem::take(&mut self.order), fresh, by_name);
        }
        &self.order
    }

    /// The order as it was made last.
    pub(crate) fn ordered(&self) -> &[u32] {
        &self.order
    }
}

/// Merges two sorted lists; what is in both is in the result once.
fn merged(old: Vec<u32>, fresh: Vec<u32>, order: impl Fn(&u32, &u32) -> std::cmp::Ordering) -> Vec<u32> {
    let mut all = Vec::with_capacity(old.len() + fresh.len());
    let mut from = 0;
    for number in fresh {
        let at = from + old[from..].partition_point(|other| order(other, &number).is_lt());
        all.extend_from_slice(&old[from..at]);
        from = at;
        if old.get(at) != Some(&number) {
            all.push(number);
        }
    }
    all.extend_from_slice(&old[from..]);
    all
}
