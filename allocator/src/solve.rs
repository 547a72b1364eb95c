//! Pure: which members are to hold each item: batches of items as flow networks, solved again only where something changed.
//!
//! A large batch whose items mostly stay is not solved whole: the items that lack a member, or hold one that has more than its share,
//! are solved against what the others leave. Only if that places all of them within every rule is it taken; such a solution is
//! one that solving whole would keep. Other batches are solved both ways. Of two solutions that are equally good the one
//! that moves less is taken, so that what is at rest stays there also where shares do not come out even.

use std::cmp::Reverse;

use crate::augment::{Augment, Spread};
use crate::items::{Item, Span};
use crate::members::NOWHERE;
use crate::network::{Batch, NO_ZONE, Network, Places, len};
use crate::push_relabel::Solver;
use crate::state::{State, is_somewhere};

/// Items of one network. It is Gazette's number: balance is exact within a batch, and a leader with other batches would move items.
pub const BATCH_ITEMS: usize = 10_000;

/// Batches from here on are only mended, if that comes out well.
const LARGE: usize = 256;

/// Replicas of a batch that are moved to even it out before it is solved whole instead.
const MOST_LEVELLED: usize = 500;

/// What came of solving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Replicas that items want.
    pub wanted: u64,
    /// Replicas that found a member.
    pub placed: u64,
    /// Batches that were solved whole.
    pub whole: usize,
    /// Items that were solved of other batches.
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
    places: Places,
    solver: Solver,
    /// Members that can hold anything.
    able: u32,
    members: Vec<u32>,
    lens: Vec<u32>,
    outcome: Outcome,
}

/// What a batch is made of.
struct Frame<'a> {
    /// Numbers of its items.
    items: &'a [u32],
    /// What the source offers to each.
    offered: Vec<u32>,
    limits: Vec<u32>,
    shares: Vec<u32>,
    base: Base,
}

/// What the items of a batch have now, or were to have.
struct Base {
    places: Lists,
    /// Whether an item has all it wants, within the rules.
    whole: Vec<bool>,
}

/// Lists in one piece.
struct Lists {
    all: Vec<u32>,
    from: Vec<u32>,
}

impl Lists {
    fn with_capacity(lists: usize) -> Self {
        let mut from = Vec::with_capacity(lists + 1);
        from.push(0);
        Self { all: Vec::with_capacity(lists * 3), from }
    }

    fn of(&self, at: usize) -> &[u32] {
        &self.all[self.from[at] as usize..self.from[at + 1] as usize]
    }

    fn push(&mut self, list: &[u32]) {
        self.all.extend_from_slice(list);
        self.from.push(len(&self.all));
    }

    fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.from.windows(2).map(|pair| &self.all[pair[0] as usize..pair[1] as usize])
    }
}

/// How good a solution is; the less the better.
type Rank = (Reverse<usize>, usize, u64, usize);

impl<'a> Solve<'a> {
    fn new(state: &'a State) -> Self {
        let members = &state.members;
        let able = members.all().iter().filter(|member| member.limit > 0).count();
        Self {
            state,
            places: Places::new(members.order.len(), &members.zones),
            solver: Solver::default(),
            able: u32::try_from(able).unwrap_or(u32::MAX),
            members: Vec::new(),
            lens: Vec::new(),
            outcome: Outcome { wanted: state.items.slots, ..Outcome::default() },
        }
    }

    fn run(mut self) -> ((Vec<u32>, Vec<u32>), Outcome) {
        let order = self.state.items.ordered();
        self.members.reserve(usize::try_from(self.state.items.slots).unwrap_or(0));
        self.lens.reserve(order.len());
        for items in order.chunks(BATCH_ITEMS) {
            if self.places.zones.is_empty() {
                self.lens.extend(items.iter().map(|_| 0));
                continue;
            }
            let solved = self.batch(items);
            for places in solved.iter() {
                self.members.extend(places.iter().map(|&place| self.state.members.order[place as usize]));
                self.lens.push(len(places));
            }
        }
        self.outcome.placed = self.members.len() as u64;
        ((self.members, self.lens), self.outcome)
    }

    fn batch(&mut self, items: &[u32]) -> Lists {
        let frame = self.frame(items);
        let is_large = items.len() >= LARGE;
        let broken = frame.base.whole.iter().filter(|whole| !**whole).count();
        if is_large
            && broken <= items.len() / 4
            && let Some(mended) = self.mend_trimmed(&frame)
        {
            return mended;
        }
        self.outcome.whole += 1;
        let whole = self.whole(&frame);
        if broken == items.len() {
            return whole;
        }
        let mended = self.mend(&frame, &self.trimmed(&frame, &frame.limits));
        let levelled = self.levelled(&frame, &mended);
        // Of equals, the first.
        let solutions = [whole, mended, levelled];
        let best = solutions.into_iter().min_by_key(|solved| self.rank(&frame, solved));
        best.unwrap_or_else(|| Lists::with_capacity(0))
    }

    fn frame<'b>(&self, items: &'b [u32]) -> Frame<'b> {
        let (limits, shares) = self.limits(items);
        let mut left = self.state.members.slots;
        let offered = items.iter().map(|&number| {
            // More replicas than there are members are nobody's loss; later items would pay for the offer.
            let wanted = self.state.items.get(number).replication.min(self.able);
            let offered = u32::try_from(left).unwrap_or(u32::MAX).min(wanted);
            left -= u64::from(offered);
            offered
        });
        let offered = offered.collect();
        Frame { items, offered, limits, shares, base: self.base(items) }
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
            is_new && self.can_hold(place)
        })
    }

    fn can_hold(&self, place: u32) -> bool {
        is_somewhere(place) && self.places.zone_of[place as usize] != NO_ZONE
    }

    /// Solves a batch from what its items have now.
    fn whole(&mut self, frame: &Frame<'_>) -> Lists {
        let mut batch = Batch::default();
        batch.clear();
        batch.limits.clone_from(&frame.limits);
        batch.shares.clone_from(&frame.shares);
        for (&number, &offered) in frame.items.iter().zip(&frame.offered) {
            let item = self.state.items.get(number);
            batch.push(item.replication, offered, self.current(item));
        }
        self.bar(frame.items, &mut batch);
        let solved = self.solve(&batch);
        let offered: u64 = batch.offered.iter().map(|&offered| u64::from(offered)).sum();
        if solved.all.len() as u64 == offered && !solved.iter().any(|places| self.is_lone(places)) {
            return solved;
        }
        // Pushing gives up where rules give way one by one.
        let held = solved.iter().map(<[u32]>::to_vec).collect();
        let mut augment = Augment::new(&self.places, &batch, held);
        augment.place_missing(Spread::TwoZones);
        augment.place_missing(Spread::Any);
        augment.spread();
        sorted(augment.held)
    }

    fn solve(&mut self, batch: &Batch) -> Lists {
        let network = Network::new(&self.places, batch);
        self.solver.solve(&network);
        let mut solved = Lists::with_capacity(batch.replication.len());
        for item in 0..network.items() {
            self.solver.places(&network, item, &mut solved.all);
            solved.from.push(len(&solved.all));
        }
        solved
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

    /// Mends a batch, with the last items of those who hold too much among what is mended. None if that are many, or not all come
    /// out within the rules.
    fn mend_trimmed(&mut self, frame: &Frame<'_>) -> Option<Lists> {
        let whole = self.trimmed(frame, &frame.shares);
        let broken = whole.iter().filter(|whole| !**whole).count();
        if broken > frame.items.len() / 4 {
            return None;
        }
        let mut mended = self.mend(frame, &whole);
        if !self.is_all_within(frame, &mended) {
            // Others have to make room.
            mended = self.levelled(frame, &mended);
        }
        let is_within = self.is_all_within(frame, &mended);
        self.outcome.mended += if is_within { broken } else { 0 };
        is_within.then_some(mended)
    }

    /// Whether all items have what they want within the rules, and no place more than its share.
    fn is_all_within(&self, frame: &Frame<'_>, solved: &Lists) -> bool {
        let mut load = vec![0; frame.shares.len()];
        solved.all.iter().for_each(|&place| load[place as usize] += 1);
        load.iter().zip(&frame.shares).all(|(load, share)| load <= share)
            && frame
                .items
                .iter()
                .zip(solved.iter())
                .all(|(&item, places)| self.is_within(self.state.items.get(item).replication, places))
    }

    /// A solution, with as few moves as make it even.
    fn levelled(&self, frame: &Frame<'_>, solved: &Lists) -> Lists {
        let mut batch = Batch::default();
        batch.clear();
        batch.shares.clone_from(&frame.shares);
        for (&item, places) in frame.items.iter().zip(solved.iter()) {
            let replication = self.state.items.get(item).replication;
            batch.push(replication, replication, places.iter().copied());
        }
        self.bar(frame.items, &mut batch);
        let mut augment = Augment::new(&self.places, &batch, solved.iter().map(<[u32]>::to_vec).collect());
        augment.level(MOST_LEVELLED);
        sorted(augment.held)
    }

    /// Which items are whole and stay, so that no place has more than `most`. Of those who have too much, the last items go.
    fn trimmed(&self, frame: &Frame<'_>, most: &[u32]) -> Vec<bool> {
        let mut whole = frame.base.whole.clone();
        let mut load = self.load(frame, &whole);
        if load.iter().zip(most).any(|(load, most)| load > most) {
            for at in (0..frame.items.len()).rev().filter(|&at| frame.base.whole[at]) {
                let places = frame.base.places.of(at);
                if places.iter().any(|&place| load[place as usize] > most[place as usize]) {
                    places.iter().for_each(|&place| load[place as usize] -= 1);
                    whole[at] = false;
                }
            }
        }
        whole
    }

    /// How much of each place the items take that are `whole`.
    fn load(&self, frame: &Frame<'_>, whole: &[bool]) -> Vec<u32> {
        let mut load = vec![0_u32; frame.shares.len()];
        for (places, _) in frame.base.places.iter().zip(whole).filter(|(_, whole)| **whole) {
            places.iter().for_each(|&place| load[place as usize] += 1);
        }
        load
    }

    /// Solves the items that are not whole against what the others leave.
    fn mend(&mut self, frame: &Frame<'_>, whole: &[bool]) -> Lists {
        let load = self.load(frame, whole);
        let mut batch = Batch::default();
        batch.clear();
        let less =
            |list: &[u32]| list.iter().zip(&load).map(|(all, load)| all.saturating_sub(*load)).collect();
        (batch.limits, batch.shares) = (less(&frame.limits), less(&frame.shares));
        let mut broken = Vec::new();
        for (at, &number) in frame.items.iter().enumerate().filter(|(at, _)| !whole[*at]) {
            let kept = frame.base.places.of(at).iter().copied();
            batch.push(self.state.items.get(number).replication, frame.offered[at], kept);
            broken.push(number);
        }
        self.bar(&broken, &mut batch);
        let mut mended = Lists::with_capacity(frame.items.len());
        let solved = if broken.is_empty() {
            Lists::with_capacity(0)
        } else {
            let solved = self.solve(&batch);
            let held = solved.iter().map(<[u32]>::to_vec).collect();
            let mut augment = Augment::new(&self.places, &batch, held);
            augment.place_missing(Spread::TwoZones);
            augment.place_missing(Spread::Any);
            augment.spread();
            augment.level(usize::MAX);
            sorted(augment.held)
        };
        let mut solved = solved.iter();
        for (at, whole) in whole.iter().enumerate() {
            let places = if *whole { Some(frame.base.places.of(at)) } else { solved.next() };
            mended.push(places.unwrap_or_default());
        }
        mended
    }

    /// Whether places are all that an item wants, in two zones if there are two.
    fn is_within(&self, replication: u32, places: &[u32]) -> bool {
        len(places) == replication && !self.is_lone(places)
    }

    /// Whether several places are in one zone though there are others.
    fn is_lone(&self, places: &[u32]) -> bool {
        let zone = |place: &u32| self.places.zone_of[*place as usize];
        places.len() > 1 && self.places.zones.len() > 1 && places.first().map(zone) == places.last().map(zone)
    }

    /// What is placed, how many items lie in one zone, what is above shares, and what moves.
    fn rank(&self, frame: &Frame<'_>, solved: &Lists) -> Rank {
        let mut load = vec![0_u32; frame.shares.len()];
        solved.all.iter().for_each(|&place| load[place as usize] += 1);
        let over =
            load.iter().zip(&frame.shares).map(|(load, share)| u64::from(load.saturating_sub(*share))).sum();
        let lone = solved.iter().filter(|places| self.is_lone(places)).count();
        let moved = frame.items.iter().zip(solved.iter()).map(|(&item, places)| {
            let current = self.current(self.state.items.get(item));
            let kept = current.filter(|place| places.contains(place)).count();
            places.len() - kept
        });
        (Reverse(solved.all.len()), lone, over, moved.sum())
    }

    /// What items have now, or were to have.
    fn base(&self, items: &[u32]) -> Base {
        let mut base =
            Base { places: Lists::with_capacity(items.len()), whole: Vec::with_capacity(items.len()) };
        let mut found = Vec::new();
        for &number in items {
            let item = self.state.items.get(number);
            let is_open =
                |&place: &u32| !self.state.is_suspect(number, self.state.members.order[place as usize]);
            let fits = |found: &[u32]| self.is_within(item.replication, found) && found.iter().all(is_open);
            found.clear();
            found.extend(self.current(item));
            let mut whole = item.assigned.len() == found.len() && fits(&found);
            let desired = self.state.desired_numbers(item);
            if !whole && !desired.is_empty() {
                // On its way: where it goes is as good as where it is.
                let place = |&member: &u32| self.state.members.get(member).place;
                let mut wanted: Vec<u32> =
                    desired.iter().map(place).filter(|&place| self.can_hold(place)).collect();
                wanted.sort_unstable();
                whole = fits(&wanted);
                if whole || found.is_empty() {
                    found = wanted;
                }
            }
            base.places.push(&found);
            base.whole.push(whole);
        }
        base
    }
}

fn sorted(held: Vec<Vec<u32>>) -> Lists {
    let mut lists = Lists::with_capacity(held.len());
    for mut places in held {
        places.sort_unstable();
        lists.push(&places);
    }
    lists
}

#[cfg(test)]
mod tests;
