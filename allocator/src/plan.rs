//! Pure: one pass of convergence: the next steps of all items that are not as they should be, as transactions.

use crate::checkpoint::Checkpoints;
use crate::converge::{FirstPrimary, Loads};
use crate::keys::Keys;
use crate::state::State;
use crate::transaction::{Compare, MOST_OPERATIONS, Transaction, Values};

/// How a pass goes.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Who becomes the primary of an item that nobody holds.
    pub first_primary: FirstPrimary,
    /// Most compares, and most writes, of one transaction.
    pub most_operations: usize,
    /// A pass ends with the item that fills so many transactions; the next one goes on from there.
    pub most_transactions: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            first_primary: FirstPrimary::default(),
            most_operations: MOST_OPERATIONS,
            most_transactions: 256,
        }
    }
}

/// What a pass found to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be carried out in order. A transaction that fails means that a key is not as it was told: then the others are not sent.
    pub transactions: Vec<Transaction>,
    /// The pass ended before all items were looked at.
    pub is_partial: bool,
}

impl State {
    /// Plans one pass for the leader `(zone, suffix)`, towards the solution for what was told; nothing if it is not a member.
    pub fn plan(
        &mut self,
        (zone, suffix): (&str, &str),
        policy: Policy,
        keys: &Keys,
        values: &impl Values,
    ) -> Plan {
        self.solve();
        let Some((_, leader)) = self.member(zone, suffix).and_then(|member| member.live) else {
            return Plan::default();
        };
        let fixed = Compare::Unchanged { key: keys.member(zone, suffix), mod_revision: leader.mod_revision };
        let mut batches = Batches { fixed, most: policy.most_operations, done: Vec::new(), current: None };
        let mut pending = self.items.take_pending().into_iter();
        let mut again = Vec::new();
        let mut is_partial = false;
        let mut loads = Loads::of(self);
        let mut waiting = Vec::new();
        for number in pending.by_ref() {
            let item = self.items.get(number);
            let checkpoints = Checkpoints { state: self, keys, values };
            if item.live.is_some() {
                let step = self.step(number, policy.first_primary, &mut loads);
                if step.is_empty() && !step.waits {
                    continue;
                }
                // Until the mirror shows what was done, it is not known to have happened.
                again.push(number);
                if step.waits {
                    waiting.push(number);
                }
                batches.push(checkpoints.of_step(item, &step));
            } else if item.assigned.is_empty() {
                self.items.forget_if_empty(number);
            } else {
                again.push(number);
                batches.push(checkpoints.of_dead(item));
            }
            if batches.done.len() >= policy.most_transactions {
                is_partial = true;
                break;
            }
        }
        if batches.is_empty() && !waiting.is_empty() {
            // Nothing can be done within the limits, and not all is done.
            loads.allow(self.ringed());
            for number in waiting {
                let step = self.step(number, policy.first_primary, &mut loads);
                batches
                    .push(Checkpoints { state: self, keys, values }.of_step(self.items.get(number), &step));
            }
        }
        again.into_iter().chain(pending).for_each(|number| self.items.mark(number));
        Plan { transactions: batches.finish(), is_partial }
    }
}

/// Joins checkpoints into transactions.
struct Batches {
    /// What every transaction compares first.
    fixed: Compare,
    most: usize,
    done: Vec<Transaction>,
    current: Option<Transaction>,
}

impl Batches {
    fn push(&mut self, checkpoint: Transaction) {
        if checkpoint.writes.is_empty() {
            return;
        }
        if self.current.as_ref().is_some_and(|current| !current.has_room_for(&checkpoint, self.most)) {
            self.done.extend(self.current.take());
        }
        let fixed = &self.fixed;
        let current = self
            .current
            .get_or_insert_with(|| Transaction { compares: vec![fixed.clone()], writes: Vec::new() });
        current.join(checkpoint);
    }

    fn is_empty(&self) -> bool {
        self.done.is_empty() && self.current.is_none()
    }

    fn finish(mut self) -> Vec<Transaction> {
        self.done.extend(self.current);
        self.done
    }
}

#[cfg(test)]
mod tests;
