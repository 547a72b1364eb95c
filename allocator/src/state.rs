//! Pure: items, members and assignments as they were told, with what is derived from them: counts, zones, limits, the leader.
//!
//! Told in any order, the same facts make the same state. What is told again costs what has changed, not what there is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::items::{Assigned, Items};
use crate::members::{Member, Members, NOWHERE};
use crate::reports::{self, Judged};
use crate::solve::Solution;

/// Most replicas of an item; what wants more gets as many.
pub(crate) const MOST_REPLICAS: u32 = 255;

/// What a member says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberSpec {
    /// Most items that it will hold.
    pub limit: u32,
    /// It is about to leave, and wants to hold nothing.
    pub exiting: bool,
}

/// When a key was put, and what it lives by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// When its present life began.
    pub create_revision: i64,
    /// When it was last put.
    pub mod_revision: i64,
    /// Its lease, or 0.
    pub lease: i64,
}

/// An assignment, as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<'a> {
    /// The item's name.
    pub item: &'a str,
    /// The member's zone.
    pub zone: &'a str,
    /// The member's suffix.
    pub suffix: &'a str,
    /// Zero is the primary's.
    pub slot: u32,
}

/// What is known of a cluster.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(crate) members: Members,
    pub(crate) items: Items,
    pub(crate) solution: Solution,
    /// Items with members that are to be treated as failed for them.
    pub(crate) suspects: HashSet<(u32, u32)>,
    /// Members that have failed for all items.
    cut_off: HashSet<u32>,
    /// Grows with every change of what the network is made of.
    pub(crate) version: u64,
    /// Members, limits or items changed since places and limits were derived.
    stale: bool,
}

impl State {
    /// A cluster of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A member's key is there.
    pub fn put_member(&mut self, zone: &str, suffix: &str, spec: MemberSpec, stamp: Stamp) {
        let number = self.members.number(zone, suffix);
        let before = self.members.get_mut(number).live.replace((spec, stamp));
        // Another life of the key may shed in another order.
        if before.is_none_or(|(old, at)| old != spec || at.create_revision != stamp.create_revision) {
            self.changed();
        }
        if before.is_some_and(|(_, at)| at.lease != stamp.lease) {
            self.mark_items_of(number);
        }
    }

    /// A member's key is gone.
    pub fn remove_member(&mut self, zone: &str, suffix: &str) {
        if let Some(number) = self.members.find(zone, suffix)
            && self.members.get_mut(number).live.take().is_some()
        {
            self.changed();
        }
    }

    /// An item's key is there.
    pub fn put_item(&mut self, id: &str, replication: u32, stamp: Stamp) {
        let replication = replication.min(MOST_REPLICAS);
        let number = self.items.number(id);
        let (was_live, before) = (self.items.get(number).live.is_some(), self.items.get(number).replication);
        if !was_live {
            self.count(number, 1);
        }
        self.items.set_live(number, Some((replication, stamp)));
        if !was_live || before != replication {
            self.changed();
        }
    }

    /// An item's key is gone.
    pub fn remove_item(&mut self, id: &str) {
        if let Some(number) = self.items.find(id)
            && self.items.get(number).live.is_some()
        {
            self.count(number, -1);
            self.items.set_live(number, None);
            self.changed();
        }
    }

    /// An assignment is there. Whether it is consistent is up to the caller: a set all of whose members know each other is.
    pub fn put_assignment(
        &mut self,
        item: &str,
        (zone, suffix): (&str, &str),
        slot: u32,
        stamp: Stamp,
        consistent: bool,
    ) {
        let (item, member) = (self.items.number(item), self.members.number(zone, suffix));
        let (mod_revision, lease) = (stamp.mod_revision, stamp.lease);
        let assigned = Assigned { member, slot, mod_revision, lease, consistent, synced: consistent };
        match self.find_assigned(item, member, slot) {
            Ok(at) => self.items.get_mut(item).assigned[at] = assigned,
            Err(at) => {
                self.items.get_mut(item).assigned.insert(at, assigned);
                if self.items.get(item).live.is_some() {
                    self.count_one(member, slot, 1);
                }
            }
        }
        self.items.mark(item);
    }

    /// An assignment is gone.
    pub fn remove_assignment(&mut self, item: &str, (zone, suffix): (&str, &str), slot: u32) {
        let (Some(item), Some(member)) = (self.items.find(item), self.members.find(zone, suffix)) else {
            return;
        };
        if let Ok(at) = self.find_assigned(item, member, slot) {
            self.items.get_mut(item).assigned.remove(at);
            if self.items.get(item).live.is_some() {
                self.count_one(member, slot, -1);
            }
            self.items.mark(item);
        }
    }

    /// Says of an item's assignments, which are given by zone and suffix of their members, then slot, whether each is consistent.
    pub fn set_consistent(&mut self, item: &str, consistent: impl Fn(usize) -> bool) {
        let Some(number) = self.items.find(item) else { return };
        let mut differs = false;
        for (at, assigned) in self.items.get_mut(number).assigned.iter_mut().enumerate() {
            differs |= std::mem::replace(&mut assigned.consistent, consistent(at)) != consistent(at);
        }
        if differs {
            self.items.mark(number);
        }
    }

    /// Says of an item's assignments, in the same order, whether each was consistent at some time.
    pub fn set_synced(&mut self, item: &str, synced: impl Fn(usize) -> bool) {
        let Some(number) = self.items.find(item) else { return };
        let mut differs = false;
        for (at, assigned) in self.items.get_mut(number).assigned.iter_mut().enumerate() {
            differs |= std::mem::replace(&mut assigned.synced, synced(at)) != synced(at);
        }
        if differs {
            self.items.mark(number);
        }
    }

    /// Pairs of an item and a member that is to be treated as failed for it; they take the place of those told before.
    pub fn set_suspects<'a>(&mut self, pairs: impl IntoIterator<Item = (&'a str, (&'a str, &'a str))>) {
        let mut suspects = HashSet::new();
        for (item, (zone, suffix)) in pairs {
            if let (Some(item), Some(member)) = (self.items.find(item), self.members.find(zone, suffix)) {
                suspects.insert((item, member));
            }
        }
        self.suspect(suspects, HashSet::new());
    }

    /// As [`State::set_suspects`], of reports `(member, by, whether the member has shown life since)`, as far as they are to be believed.
    pub fn set_reports<'a>(
        &mut self,
        reports: impl IntoIterator<Item = ((&'a str, &'a str), (&'a str, &'a str), bool)>,
    ) {
        let is_live = |number: &u32| self.members.get(*number).live.is_some();
        let number = |(zone, suffix)| self.members.find(zone, suffix).filter(is_live);
        let reports: HashMap<(u32, u32), bool> = reports
            .into_iter()
            .filter_map(|(member, by, shows_life)| Some(((number(member)?, number(by)?), shows_life)))
            .collect();
        let (mut suspects, mut gone) = (HashSet::new(), HashSet::new());
        if !reports.is_empty() {
            let live = self.members.all().iter().filter(|member| member.live.is_some()).count();
            let Judged { cut_off, believed } = reports::judge(live, &reports);
            self.items.order();
            for &item in self.items.ordered() {
                let assigned = &self.items.get(item).assigned;
                let primary = assigned.iter().find(|assigned| assigned.slot == 0);
                let told = primary.and_then(|primary| believed.get(&primary.member)).into_iter().flatten();
                suspects.extend(told.chain(&cut_off).map(|&member| (item, member)));
            }
            gone = cut_off;
        }
        self.suspect(suspects, gone);
    }

    fn suspect(&mut self, suspects: HashSet<(u32, u32)>, cut_off: HashSet<u32>) {
        if suspects != self.suspects || cut_off != self.cut_off {
            (self.suspects, self.cut_off) = (suspects, cut_off);
            self.changed();
        }
    }

    /// Whether a member is treated as failed for an item.
    #[must_use]
    pub fn is_suspected(&self, item: &str, zone: &str, suffix: &str) -> bool {
        let pair = (self.items.find(item), self.members.find(zone, suffix));
        matches!(pair, (Some(item), Some(member)) if self.is_suspect(item, member))
    }

    /// Whether this member leads: the one whose key was created first does.
    #[must_use]
    pub fn is_leader(&self, zone: &str, suffix: &str) -> bool {
        self.members.find(zone, suffix).is_some_and(|number| self.members.leader() == Some(number))
    }

    /// Whether a member is about to leave and holds nothing any more of what exists.
    #[must_use]
    pub fn is_drained(&self, zone: &str, suffix: &str) -> bool {
        self.member(zone, suffix)
            .is_some_and(|member| member.total == 0 && member.live.is_some_and(|(spec, _)| spec.exiting))
    }

    /// How many replicas, and how many primaries among them, a member holds of items that exist.
    #[must_use]
    pub fn load(&self, zone: &str, suffix: &str) -> (u32, u32) {
        self.member(zone, suffix).map_or((0, 0), |member| (member.total, member.primaries))
    }

    /// All assignments, item by item in no order.
    pub fn assignments(&self) -> impl Iterator<Item = Held<'_>> {
        self.items.all().flat_map(|item| {
            item.assigned.iter().map(|held| {
                let member = self.members.get(held.member);
                Held { item: &item.id, zone: &member.zone, suffix: &member.suffix, slot: held.slot }
            })
        })
    }

    /// How many items there are.
    #[must_use]
    pub fn item_count(&self) -> usize {
        self.items.live()
    }

    /// Whether nothing is left to be done until something is told.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.solution.version == self.version && self.items.is_settled()
    }

    pub(crate) fn member(&self, zone: &str, suffix: &str) -> Option<&Member> {
        self.members.find(zone, suffix).map(|number| self.members.get(number))
    }

    /// Derives what is derived, if it is not up to date.
    pub(crate) fn settle(&mut self) {
        self.items.order();
        if std::mem::take(&mut self.stale) {
            self.members.settle(self.items.slots, self.items.widest(), &self.cut_off);
        }
    }

    /// Whether a member is suspected for an item.
    pub(crate) fn is_suspect(&self, item: u32, member: u32) -> bool {
        !self.suspects.is_empty() && self.suspects.contains(&(item, member))
    }

    fn changed(&mut self) {
        self.version += 1;
        self.stale = true;
    }

    fn find_assigned(&self, item: u32, member: u32, slot: u32) -> Result<usize, usize> {
        let key = |member: u32| {
            let member = self.members.get(member);
            (Arc::as_ref(&member.zone), Arc::as_ref(&member.suffix))
        };
        let wanted = (key(member), slot);
        self.items.get(item).assigned.binary_search_by(|other| (key(other.member), other.slot).cmp(&wanted))
    }

    /// The assignments of an item begin to count, or cease to.
    fn count(&mut self, item: u32, by: i32) {
        for at in 0..self.items.get(item).assigned.len() {
            let Assigned { member, slot, .. } = self.items.get(item).assigned[at];
            self.count_one(member, slot, by);
        }
    }

    fn count_one(&mut self, member: u32, slot: u32, by: i32) {
        let member = self.members.get_mut(member);
        member.total = member.total.saturating_add_signed(by);
        if slot == 0 {
            member.primaries = member.primaries.saturating_add_signed(by);
        }
    }

    fn mark_items_of(&mut self, member: u32) {
        self.settle();
        let holds = |item: &u32| self.items.get(*item).assigned.iter().any(|held| held.member == member);
        let held: Vec<u32> = self.items.ordered().iter().copied().filter(holds).collect();
        held.into_iter().for_each(|item| self.items.mark(item));
    }
}

/// Whether a place is one of a live member.
pub(crate) const fn is_somewhere(place: u32) -> bool {
    place != NOWHERE
}

#[cfg(test)]
mod tests;
