//! Pure: which members are to hold each item: batches of items as flow networks, solved again only where something changed.
//!
//! A batch whose items mostly stay is not solved whole: the items that lack a member, or hold one that has more than its share, are
//! solved against what the others leave. Only if that places all of them within every rule is it taken; such a
//! solution is one that solving whole would keep.

use std::rc::Rc;

use crate::items::{Item, Span};
use crate::members::NOWHERE;
use crate::network::{Batch, NO_ZONE, Network, Places, len};
use crate::push_relabel::Solver;
use crate::state::{State, is_somewhere};

/// Items of one network. It is Gazette's number: balance is exact within a batch, and a leader with other batches would move items.
pub const BATCH_ITEMS: usize = 10_000;

/// Batches below this are always solved whole.
const SMALL: usize = 256;

/// What came of solving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Replicas that items want.
    pub wanted: u64,
    /// Replicas that found a member.
    pub placed: u64,
    /// Batches that were solved whole.
    pub whole: usize,
    /// Items of other batches that were solved.
    pub mended: usize,
}

/// The members that are to hold each item.
#[derive(Clone, Debug, Default)]
pub(crate) struct Solution {
    /// What it was solved for.
    pub(crate) version: u64,
    /// Numbers of members, item by item.
    pub(crate) members: Vec<u32>,
    pub(crate) outcome: Outcome,
}

/// `count`'s part `numerator / denominator`, rounded up; all of it if that is more than one.
fn scaled(count: u32, numerator: u64, denominator: u64) -> u32 {
    if numerator >= denominator {
        return count;
    }
    u32::try_from((u64::from(count) * numerator).div_ceil(denominator)).unwrap_or(count)
}

impl State {
    /// Solves, if what the network is made of has changed since.
    pub fn solve(&mut self) -> Outcome {
        if self.solution.version != self.version {
            self.settle();
            let (members, outcome) = Solve::new(self).run();
            self.accept(members, outcome);
        }
        self.solution.outcome
    }

    /// The members that are to hold an item, by zone and suffix.
    #[must_use]
    pub fn desired(&self, item: &str) -> Vec<(&str, &str)> {
        let Some(number) = self.items.find(item) else { return Vec::new() };
        let name = |&member: &u32| {
            let member = self.members.get(member);
            (&*member.zone, &*member.suffix)
        };
        self.desired_numbers(self.items.get(number)).iter().map(name).collect()
    }

    pub(crate) fn desired_numbers(&self, item: &Item) -> &[u32] {
        let Span { from, len } = item.desired;
        self.solution.members.get(from as usize..(from + len) as usize).unwrap_or_default()
    }

    fn accept(&mut self, (members, lens): (Vec<u32>, Vec<u32>), outcome: Outcome) {
        self.solution = Solution { version: self.version, members, outcome };
        let mut from = 0;
        let order: Vec<u32> = self.items.ordered().to_vec();
        for (number, len) in order.into_iter().zip(lens) {
            let item = self.items.get_mut(number);
            item.desired = Span { from, len };
            let desired = &self.solution.members[from as usize..(from + len) as usize];
            let same = item.assigned.len() == desired.len()
                && item.assigned.iter().zip(desired).all(|(held, member)| held.member == *member);
            if !same {
                self.items.mark(number);
            }
            from += len;
        }
    }
}

/// One run over all batches.
struct Solve<'a> {
    state: &'a State,
    places: Rc<Places>,
    solver: Solver,
    batch: Batch,
    /// Members that can hold anything.
    able: u32,
    members: Vec<u32>,
    lens: Vec<u32>,
    outcome: Outcome,
}

/// What an item may be left with.
struct Base {
    /// Its places, ascending.
    places: Vec<u32>,
    from: Vec<u32>,
    /// Whether it has all it wants, within the rules.
    whole: Vec<bool>,
}

impl<'a> Solve<'a> {
    fn new(state: &'a State) -> Self {
        let members = &state.members;
        let able = members.all().iter().filter(|member| member.limit > 0).count();
        Self {
            state,
            places: Rc::new(Places::new(members.order.len(), &members.zones)),
            solver: Solver::default(),
            batch: Batch::default(),
            able: u32::try_from(able).unwrap_or(u32::MAX),
            members: Vec::new(),
            lens: Vec::new(),
            outcome: Outcome { wanted: state.items.slots, ..Outcome::default() },
        }
    }

    fn run(mut self) -> ((Vec<u32>, Vec<u32>), Outcome) {
        let order = self.state.items.ordered();
        let wanted = usize::try_from(self.state.items.slots).unwrap_or(0);
        self.members.reserve(wanted);
        self.lens.reserve(order.len());
        for items in order.chunks(BATCH_ITEMS) {
            if self.places.zones.is_empty() {
                self.lens.extend(items.iter().map(|_| 0));
            } else if !self.mend(items) {
                self.whole(items);
            }
        }
        self.outcome.placed = self.members.len() as u64;
        ((self.members, self.lens), self.outcome)
    }

    /// Limits and shares of each place in a batch.
    fn limits(&self, items: &[u32]) -> (Vec<u32>, Vec<u32>) {
        let (item_slots, member_slots) = (self.state.items.slots, self.state.members.slots);
        let batch_slots = items.iter().map(|&item| u64::from(self.state.items.get(item).replication)).sum();
        let place = |&number: &u32| {
            let limit = scaled(self.state.members.get(number).limit, batch_slots, item_slots);
            (limit, scaled(limit, item_slots, member_slots))
        };
        self.state.members.order.iter().map(place).unzip()
    }

    /// The places that an item's assignments name, ascending.
    fn current(&self, item: &'a Item) -> impl Iterator<Item = u32> + use<'a, '_> {
        let mut last = NOWHERE;
        let place = |number: u32| self.state.members.get(number).place;
        item.assigned.iter().map(move |assigned| place(assigned.member)).filter(move |&place| {
            let is_new = last != place;
            last = place;
            is_new && is_somewhere(place) && self.places.zone_of[place as usize] != NO_ZONE
        })
    }

    /// Solves a batch whole.
    fn whole(&mut self, items: &[u32]) {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        (batch.limits, batch.shares) = self.limits(items);
        let mut left = self.state.members.slots;
        for &number in items {
            let item = self.state.items.get(number);
            // More replicas than there are members are nobody's loss; later items would pay for the offer.
            let offered = u64::from(item.replication.min(self.able)).min(left);
            left -= offered;
            batch.push(item.replication, u32::try_from(offered).unwrap_or(0), self.current(item));
        }
        self.bar(items, &mut batch);
        let shared = Rc::clone(&self.places);
        let network = Network::new(&shared, &batch);
        self.solver.solve(&network);
        let mut places = Vec::new();
        for item in 0..len(items) {
            places.clear();
            self.solver.places(&network, item, &mut places);
            self.take(&places);
        }
        self.outcome.whole += 1;
        self.batch = batch;
    }

    /// Notes the places of the next item.
    fn take(&mut self, places: &[u32]) {
        self.members.extend(places.iter().map(|&place| self.state.members.order[place as usize]));
        self.lens.push(len(places));
    }

    /// Keeps items from members that have failed for them.
    fn bar(&self, items: &[u32], batch: &mut Batch) {
        if self.state.suspects.is_empty() {
            return;
        }
        for (at, &item) in (0..).zip(items) {
            let places = (0..).zip(&self.state.members.order);
            let barred = places.filter(|(_, member)| self.state.is_suspect(item, **member));
            batch.barred.extend(barred.map(|(place, _)| (at, place)));
        }
    }

    /// Solves the items of a batch that are not as they should be, if they are few. Whether that was done.
    fn mend(&mut self, items: &[u32]) -> bool {
        // Where not everybody gets what he wants, who does is for the whole batch to decide.
        if items.len() < SMALL || self.state.items.slots > self.state.members.slots {
            return false;
        }
        let (limits, shares) = self.limits(items);
        let mut base = self.base(items);
        let mut load = vec![0_u32; shares.len()];
        for (at, _) in base.whole.iter().enumerate().filter(|(_, whole)| **whole) {
            base.of(at).iter().for_each(|&place| load[place as usize] += 1);
        }
        let mut broken = base.whole.iter().filter(|whole| !**whole).count();
        // Of those who hold too much, the last items go.
        if load.iter().zip(&shares).any(|(load, share)| load > share) {
            for at in (0..items.len()).rev() {
                let too_much = |&&place: &&u32| load[place as usize] > shares[place as usize];
                if base.whole[at] && base.of(at).iter().any(|place| too_much(&place)) {
                    base.of(at).iter().for_each(|&place| load[place as usize] -= 1);
                    base.whole[at] = false;
                    broken += 1;
                }
            }
        }
        if broken > items.len() / 4 {
            return false;
        }
        let mut batch = std::mem::take(&mut self.batch);
        let mended = broken == 0 || self.mend_broken(items, &base, (limits, shares), &load, &mut batch);
        if mended {
            let shared = Rc::clone(&self.places);
            let network = Network::new(&shared, &batch);
            let (mut at_broken, mut places) = (0, Vec::new());
            for (at, whole) in base.whole.iter().enumerate() {
                if *whole {
                    self.take(base.of(at));
                } else {
                    places.clear();
                    self.solver.places(&network, at_broken, &mut places);
                    self.take(&places);
                    at_broken += 1;
                }
            }
            self.outcome.mended += broken;
        }
        self.batch = batch;
        mended
    }

    /// Solves the items that are not whole against what the others leave. Whether all found places within the rules.
    fn mend_broken(
        &mut self,
        items: &[u32],
        base: &Base,
        (limits, shares): (Vec<u32>, Vec<u32>),
        load: &[u32],
        batch: &mut Batch,
    ) -> bool {
        batch.clear();
        let less =
            |list: Vec<u32>| list.iter().zip(load).map(|(all, load)| all.saturating_sub(*load)).collect();
        (batch.limits, batch.shares) = (less(limits), less(shares));
        let broken: Vec<u32> =
            items.iter().zip(&base.whole).filter(|(_, whole)| !**whole).map(|(item, _)| *item).collect();
        let kept = base.whole.iter().enumerate().filter(|(_, whole)| !**whole).map(|(at, _)| base.of(at));
        for (&number, kept) in broken.iter().zip(kept) {
            let replication = self.state.items.get(number).replication;
            batch.push(replication, replication.min(self.able), kept.iter().copied());
        }
        self.bar(&broken, batch);
        let shared = Rc::clone(&self.places);
        let network = Network::new(&shared, batch);
        self.solver.solve(&network);
        let mut places = Vec::new();
        let within =
            (0..len(&batch.shares)).all(|place| self.solver.taken(place) <= batch.shares[place as usize]);
        within
            && (0..network.items()).all(|item| {
                places.clear();
                self.solver.places(&network, item, &mut places);
                self.is_within(batch.replication[item as usize], &places)
            })
    }

    /// Whether places are all that an item wants, in two zones if there are two.
    fn is_within(&self, replication: u32, places: &[u32]) -> bool {
        let zone = |place: &u32| self.places.zone_of[*place as usize];
        len(places) == replication
            && (self.places.zones.len() == 1
                || replication < 2
                || places.first().map(zone) != places.last().map(zone))
    }

    /// What items have now, or were to have.
    fn base(&self, items: &[u32]) -> Base {
        let mut base = Base {
            places: Vec::with_capacity(items.len() * 3),
            from: vec![0],
            whole: Vec::with_capacity(items.len()),
        };
        let mut found = Vec::new();
        for &number in items {
            let item = self.state.items.get(number);
            let fits = |found: &[u32]| {
                self.is_within(item.replication, found)
                    && (self.state.suspects.is_empty()
                        || found.iter().all(|&place| {
                            let member = self.state.members.order[place as usize];
                            !self.state.is_suspect(number, member)
                        }))
            };
            found.clear();
            found.extend(self.current(item));
            let mut whole = fits(&found) && item.assigned.len() == found.len();
            let desired = self.state.desired_numbers(item);
            if !whole && !desired.is_empty() {
                // On its way: where it goes is as good as where it is.
                let mut wanted: Vec<u32> =
                    desired.iter().map(|&member| self.state.members.get(member).place).collect();
                wanted.retain(|&place| is_somewhere(place) && self.places.zone_of[place as usize] != NO_ZONE);
                wanted.sort_unstable();
                whole = fits(&wanted);
                if whole || found.is_empty() {
                    found = wanted;
                }
            }
            base.places.extend(&found);
            base.from.push(len(&base.places));
            base.whole.push(whole);
        }
        base
    }
}

impl Base {
    fn of(&self, at: usize) -> &[u32] {
        &self.places[self.from[at] as usize..self.from[at + 1] as usize]
    }
}

#[cfg(test)]
mod tests;
