//! Pure: the next step of one item, from the members that hold it towards those that are to.
//!
//! Added members come before any is removed; one is removed only while as many consistent ones stay as the item
//! wants. The first slot is filled before others are packed.

use crate::items::{Assigned, Item};
use crate::state::State;

/// Who becomes the primary of an item that nobody holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstPrimary {
    /// The first in the order of keys, as Gazette has it: then the first member of a small cluster is the primary of everything.
    FirstInOrder,
    /// The one of those chosen that has the fewest primaries for its limit.
    #[default]
    LeastLoaded,
}

/// What members hold while a pass goes on: what it emits counts at once.
#[derive(Clone, Debug)]
pub(crate) struct Loads {
    /// Assignments, primaries and limit of each member, by number; no limit where it has no key.
    members: Vec<(u32, u32, Option<u32>)>,
    /// Members that may take one more than their limit. Empty, as a rule.
    ringed: Vec<bool>,
}

/// What is done to one item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// Members with the slots they are given.
    pub(crate) adds: Vec<(u32, u32)>,
    pub(crate) removes: Vec<Assigned>,
    /// An assignment with the slot it moves to.
    pub(crate) moved: Option<(Assigned, u32)>,
    /// Assignments that do not live by their member's lease.
    pub(crate) leases: Vec<Assigned>,
    /// A member that is to hold it has no room yet.
    pub(crate) waits: bool,
}

impl Step {
    pub(crate) fn is_empty(&self) -> bool {
        self.adds.is_empty() && self.removes.is_empty() && self.moved.is_none() && self.leases.is_empty()
    }
}

impl Loads {
    pub(crate) fn of(state: &State) -> Self {
        let load = |member: &crate::members::Member| {
            (member.total, member.primaries, member.live.is_some().then_some(member.limit))
        };
        Self { members: state.members.all().iter().map(load).collect(), ringed: Vec::new() }
    }

    /// Lets these members take one more than their limit.
    pub(crate) fn allow(&mut self, ringed: Vec<bool>) {
        self.ringed = ringed;
    }

    /// How full a member is. One without a key is fuller than any other but one that may hold nothing and does.
    fn ratio(&self, member: u32) -> f64 {
        let (total, _, limit) = self.members[member as usize];
        limit.map_or(f64::MAX, |limit| part(total, limit))
    }

    /// How many primaries it has for its limit.
    fn primary_ratio(&self, member: u32) -> f64 {
        let (_, primaries, limit) = self.members[member as usize];
        limit.map_or(f64::MAX, |limit| part(primaries, limit))
    }

    fn is_full(&self, member: u32) -> bool {
        let (total, _, limit) = self.members[member as usize];
        let more = self.ringed.get(member as usize).is_some_and(|ringed| *ringed);
        limit.is_none_or(|limit| total >= limit.saturating_add(u32::from(more)))
    }

    fn add(&mut self, member: u32, slot: u32) {
        let (total, primaries, _) = &mut self.members[member as usize];
        *total += 1;
        *primaries += u32::from(slot == 0);
    }

    fn remove(&mut self, member: u32, slot: u32) {
        let (total, primaries, _) = &mut self.members[member as usize];
        *total = total.saturating_sub(1);
        *primaries = primaries.saturating_sub(u32::from(slot == 0));
    }
}

fn part(count: u32, limit: u32) -> f64 {
    match (count, limit) {
        (0, 0) => 0.0,
        (_, 0) => f64::INFINITY,
        (count, limit) => f64::from(count) / f64::from(limit),
    }
}

impl State {
    /// What is done next to an item that exists.
    pub(crate) fn step(&self, number: u32, first: FirstPrimary, loads: &mut Loads) -> Step {
        let item = self.items.get(number);
        let desired = self.desired_numbers(item);
        let mut step = Step::default();

        let next_slot =
            item.assigned.iter().map(|assigned| assigned.slot.saturating_add(1)).max().unwrap_or(0);
        let missing =
            desired.iter().filter(|member| item.assigned.iter().all(|held| held.member != **member));
        for (&member, slot) in missing.zip(next_slot..) {
            if loads.is_full(member) {
                step.waits = true;
            } else {
                step.adds.push((member, slot));
            }
        }
        if item.assigned.is_empty() && first == FirstPrimary::LeastLoaded {
            choose_first(&mut step.adds, loads);
        }

        step.removes = self.removals(number, item, desired, loads);
        let mut kept: Vec<Assigned> =
            item.assigned.iter().filter(|held| !step.removes.contains(held)).copied().collect();
        kept.sort_by_key(|held| held.slot);

        for &(member, slot) in &step.adds {
            loads.add(member, slot);
        }
        for removed in &step.removes {
            loads.remove(removed.member, removed.slot);
        }
        if kept.first().is_some_and(|first| first.slot > 0) {
            let rank = |held: &Assigned| (!held.consistent, loads.primary_ratio(held.member), held.slot);
            let chosen = kept.iter().min_by(|a, b| {
                let ((a, a_ratio, a_slot), (b, b_ratio, b_slot)) = (rank(a), rank(b));
                a.cmp(&b).then(a_ratio.total_cmp(&b_ratio)).then(a_slot.cmp(&b_slot))
            });
            step.moved = chosen.map(|chosen| (*chosen, 0));
            if let Some((chosen, _)) = step.moved {
                loads.remove(chosen.member, chosen.slot);
                loads.add(chosen.member, 0);
            }
        } else if step.adds.is_empty() && step.removes.is_empty() {
            let unpacked = kept.iter().zip(0..).find(|(held, slot)| held.slot != *slot);
            step.moved = unpacked.map(|(held, slot)| (*held, slot));
        }
        if step.adds.is_empty() && step.removes.is_empty() && step.moved.is_none() {
            step.leases = kept;
            step.leases.retain(|held| {
                let lease = self.members.get(held.member).live.map(|(_, stamp)| stamp.lease);
                lease.is_some_and(|lease| lease != held.lease)
            });
        }
        step
    }

    /// Which assignments go now.
    fn removals(&self, number: u32, item: &Item, desired: &[u32], loads: &Loads) -> Vec<Assigned> {
        let wanted = item.replication as usize;
        let mut seen: Option<u32> = None;
        let mut leaving: Vec<Assigned> = Vec::new();
        for held in &item.assigned {
            // A second slot of the same member is one too many.
            let again = seen.replace(held.member) == Some(held.member);
            if again || !desired.contains(&held.member) {
                leaving.push(*held);
            }
        }
        // A member that has failed for the item holds it up: what is left goes on without it. That takes one that had
        // everything when the set was consistent last, and somebody in its place. The set as it is now cannot become consistent
        // while the failed one is in it, so it is not waited for.
        let failed = |held: &Assigned| self.is_suspect(number, held.member);
        let others_know = item.assigned.iter().any(|held| (held.consistent || held.synced) && !failed(held));
        let replaced = desired.len() >= wanted;
        let (mut removed, mut leaving): (Vec<Assigned>, Vec<Assigned>) =
            leaving.into_iter().partition(|held| failed(held) && others_know && replaced);

        leaving.sort_by(|a, b| loads.ratio(b.member).total_cmp(&loads.ratio(a.member)));
        let is_removed = |held: &Assigned| removed.contains(held);
        let mut consistent = item.assigned.iter().filter(|held| held.consistent && !is_removed(held)).count();
        for held in leaving {
            if consistent < wanted || (held.consistent && consistent == wanted) {
                break;
            }
            consistent -= usize::from(held.consistent);
            removed.push(held);
        }
        removed
    }
}

/// Gives slot 0 to the added member that has the fewest primaries, and the slot that it had to whoever had slot 0.
fn choose_first(adds: &mut [(u32, u32)], loads: &Loads) {
    let least = (0..adds.len())
        .min_by(|&a, &b| loads.primary_ratio(adds[a].0).total_cmp(&loads.primary_ratio(adds[b].0)));
    if let Some(least) = least {
        let first = adds.iter().position(|(_, slot)| *slot == 0);
        if let Some(first) = first {
            (adds[first].1, adds[least].1) = (adds[least].1, adds[first].1);
        }
    }
}

#[cfg(test)]
mod tests;
