//! Pure: what is done to one item, as a piece of a transaction that is never torn apart.

use crate::converge::Step;
use crate::items::{Assigned, Item};
use crate::keys::Keys;
use crate::state::State;
use crate::transaction::{Compare, Transaction, Values, Write};

/// Makes pieces of transactions.
#[derive(Debug)]
pub(crate) struct Checkpoints<'a, V> {
    pub(crate) state: &'a State,
    pub(crate) keys: &'a Keys,
    pub(crate) values: &'a V,
}

impl<V: Values> Checkpoints<'_, V> {
    /// The step of an item that exists.
    pub(crate) fn of_step(&self, item: &Item, step: &Step) -> Transaction {
        let mut done = Transaction::default();
        let is_alone = item.assigned.is_empty() && self.state.desired_numbers(item).len() == 1;
        for &(member, slot) in &step.adds {
            let Some((_, stamp)) = self.state.members.get(member).live else { continue };
            let (zone, suffix) = self.name(member);
            done.compare(Compare::Unchanged {
                key: self.keys.member(zone, suffix),
                mod_revision: stamp.mod_revision,
            });
            let value = if is_alone { self.values.alone(zone, suffix) } else { Vec::new() };
            let key = self.keys.assignment(&item.id, zone, suffix, slot);
            done.writes.push(Write::Put { key, value, lease: stamp.lease });
        }
        if let (false, Some(stamp)) = (step.removes.is_empty(), item.live) {
            let key = self.keys.item(&item.id);
            done.compare(Compare::Unchanged { key, mod_revision: stamp.mod_revision });
        }
        for removed in &step.removes {
            self.delete(item, removed, &mut done);
        }
        if let Some((moved, slot)) = step.moved {
            let (zone, suffix) = self.name(moved.member);
            let value = self.values.value(&self.key(item, &moved));
            self.delete(item, &moved, &mut done);
            let key = self.keys.assignment(&item.id, zone, suffix, slot);
            done.writes.push(Write::Put { key, value, lease: moved.lease });
        }
        for held in &step.leases {
            let Some((_, stamp)) = self.state.members.get(held.member).live else { continue };
            let (zone, suffix) = self.name(held.member);
            let key = self.key(item, held);
            done.compare(Compare::Unchanged {
                key: self.keys.member(zone, suffix),
                mod_revision: stamp.mod_revision,
            });
            done.compare(Compare::Unchanged { key: key.clone(), mod_revision: held.mod_revision });
            let value = self.values.value(&key);
            done.writes.push(Write::Put { key, value, lease: stamp.lease });
        }
        done
    }

    /// Removes all assignments of an item that does not exist.
    pub(crate) fn of_dead(&self, item: &Item) -> Transaction {
        let mut done = Transaction::default();
        done.compare(Compare::Absent { key: self.keys.item(&item.id) });
        for held in &item.assigned {
            self.delete(item, held, &mut done);
        }
        done
    }

    fn delete(&self, item: &Item, held: &Assigned, done: &mut Transaction) {
        let key = self.key(item, held);
        done.compare(Compare::Unchanged { key: key.clone(), mod_revision: held.mod_revision });
        done.writes.push(Write::Delete { key });
    }

    fn key(&self, item: &Item, held: &Assigned) -> Vec<u8> {
        let (zone, suffix) = self.name(held.member);
        self.keys.assignment(&item.id, zone, suffix, held.slot)
    }

    fn name(&self, member: u32) -> (&str, &str) {
        let member = self.state.members.get(member);
        (&member.zone, &member.suffix)
    }
}
