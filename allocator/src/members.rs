//! Pure: the members, by numbers that never change while the state lives, and their places in the order of their keys.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::shed;
use crate::state::{MemberSpec, Stamp};

/// The place of a member that has no key.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// A member that has a key, or that something is assigned to.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) zone: Arc<str>,
    pub(crate) suffix: Arc<str>,
    /// While its key is there.
    pub(crate) live: Option<(MemberSpec, Stamp)>,
    /// Assignments of items that exist.
    pub(crate) total: u32,
    /// Those of them in slot 0.
    pub(crate) primaries: u32,
    /// What it may hold, less what it sheds.
    pub(crate) limit: u32,
    /// Among the live members in the order of keys, or [`NOWHERE`].
    pub(crate) place: u32,
}

/// All members that were ever heard of, by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    known: Vec<Member>,
    numbers: HashMap<Box<str>, u32>,
    /// Live members in the order of keys.
    pub(crate) order: Vec<u32>,
    /// For each zone with capacity, by name: its members' places, `[from, to)`.
    pub(crate) zones: Vec<(u32, u32)>,
    /// Effective limits summed.
    pub(crate) slots: u64,
}

impl Members {
    pub(crate) fn get(&self, number: u32) -> &Member {
        &self.known[number as usize]
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> &mut Member {
        &mut self.known[number as usize]
    }

    pub(crate) fn all(&self) -> &[Member] {
        &self.known
    }

    /// The number of a member, which is given one if it is new.
    pub(crate) fn number(&mut self, zone: &str, suffix: &str) -> u32 {
        let key = format!("{zone}#{suffix}");
        if let Some(&number) = self.numbers.get(key.as_str()) {
            return number;
        }
        let number = u32::try_from(self.known.len()).unwrap_or(NOWHERE);
        self.known.push(Member {
            zone: zone.into(),
            suffix: suffix.into(),
            live: None,
            total: 0,
            primaries: 0,
            limit: 0,
            place: NOWHERE,
        });
        self.numbers.insert(key.into(), number);
        number
    }

    pub(crate) fn find(&self, zone: &str, suffix: &str) -> Option<u32> {
        self.numbers.get(format!("{zone}#{suffix}").as_str()).copied()
    }

    /// Derives places, zones and limits anew. `item_slots` is what all items want, `widest` what one of them wants at most.
    /// Members that are cut off hold nothing, as if their keys were gone: when these go nothing is left to be moved.
    pub(crate) fn settle(&mut self, item_slots: u64, widest: u32, cut_off: &HashSet<u32>) {
        let known = &self.known;
        let key = |number: &u32| (&known[*number as usize].zone, &known[*number as usize].suffix);
        let mut order: Vec<u32> = (0..).take(known.len()).collect();
        order.retain(|&number| known[number as usize].live.is_some());
        order.sort_by(|a, b| key(a).cmp(&key(b)));
        let spec = |&number: &u32| {
            let (spec, stamp) = known[number as usize].live?;
            let limit = if cut_off.contains(&number) { 0 } else { spec.limit };
            Some((MemberSpec { limit, ..spec }, stamp))
        };
        let specs: Vec<_> = order.iter().filter_map(spec).collect();
        // They do not count among those that are left for the widest item either.
        let missing = order.iter().filter(|number| cut_off.contains(number)).count();
        let widest = widest.saturating_add(u32::try_from(missing).unwrap_or(u32::MAX));
        let shed = shed::shed(&specs, item_slots, widest);

        for member in &mut self.known {
            (member.place, member.limit) = (NOWHERE, 0);
        }
        self.zones.clear();
        self.slots = 0;
        let mut from = 0;
        let mut has_capacity = false;
        for (at, &number) in order.iter().enumerate() {
            let place = u32::try_from(at).unwrap_or(NOWHERE);
            let (spec, _) = specs[at];
            let member = &mut self.known[number as usize];
            member.place = place;
            member.limit = spec.limit.saturating_sub(shed[at]);
            self.slots += u64::from(member.limit);
            has_capacity |= spec.limit > 0;
            let zone = &self.known[number as usize].zone;
            let next = order.get(at + 1);
            if next.is_none_or(|&next| self.known[next as usize].zone != *zone) {
                if has_capacity {
                    self.zones.push((from, place + 1));
                }
                (from, has_capacity) = (place + 1, false);
            }
        }
        self.order = order;
    }

    /// Who leads: the member that joined first.
    pub(crate) fn leader(&self) -> Option<u32> {
        let created =
            |&number: &u32| self.get(number).live.map_or(i64::MAX, |(_, stamp)| stamp.create_revision);
        let live = (0..).take(self.known.len()).filter(|&number| self.get(number).live.is_some());
        live.min_by(|a, b| {
            let key = |number: u32| (&self.get(number).zone, &self.get(number).suffix);
            created(a).cmp(&created(b)).then_with(|| key(*a).cmp(&key(*b)))
        })
    }
}
