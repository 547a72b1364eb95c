//! What holds of all clusters: nothing better can be found, no rule is broken, nothing moves without need, and it ends.

use std::collections::{BTreeMap, BTreeSet};

use courant_allocator::{FirstPrimary, MemberSpec, Stamp, State, Write};
use proptest::prelude::*;

use crate::etcd::{Cluster, id};
use crate::flow;

/// A cluster at some moment: members as `(zone, limit, exiting)`, replications, assignments as `(item, member, consistent)`.
#[derive(Clone)]
struct Shape {
    members: Vec<(u8, u32, bool)>,
    items: Vec<u32>,
    held: Vec<(usize, usize, bool)>,
}

impl std::fmt::Debug for Shape {
    // In few lines, whatever a failing test asks for.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { members, items, held } = self;
        write!(f, "members {members:?}, items {items:?}, held {held:?}")
    }
}

fn member_name(number: usize, zone: u8) -> String {
    format!("{}/m{number:03}", char::from(b'a' + zone))
}

impl Shape {
    fn member_name(&self, number: usize) -> String {
        member_name(number, self.members[number].0)
    }

    fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::new();
        for (number, (_, limit, exiting)) in self.members.iter().enumerate() {
            cluster.member(&self.member_name(number), *limit, *exiting);
        }
        for (number, replication) in self.items.iter().enumerate() {
            cluster.item(&format!("i{number:05}"), *replication);
        }
        let mut slots = BTreeMap::<usize, u32>::new();
        let mut seen = BTreeSet::new();
        for (item, member, consistent) in &self.held {
            let (item, member) = (item % self.items.len().max(1), member % self.members.len());
            if self.items.is_empty() || !seen.insert((item, member)) {
                continue;
            }
            let slot = slots.entry(item).or_default();
            cluster.assign(&format!("i{item:05}"), &self.member_name(member), *slot, *consistent);
            *slot += 1;
        }
        cluster
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let members = prop::collection::vec((0..3_u8, 0..9_u32, prop::bool::weighted(0.1)), 1..8);
    let items = prop::collection::vec(0..5_u32, 0..14);
    let held = prop::collection::vec((0..14_usize, 0..8_usize, any::<bool>()), 0..20);
    (members, items, held).prop_map(|(members, items, held)| Shape { members, items, held })
}

/// Clusters that have room for all, in limits that differ little.
fn roomy() -> impl Strategy<Value = Shape> {
    let members = prop::collection::vec((0..3_u8, 40..60_u32, Just(false)), 4..12);
    let items = prop::collection::vec(1..4_u32, 1..50);
    (members, items).prop_map(|(members, items)| Shape { members, items, held: Vec::new() })
}

/// What each member may hold, as a member that leaves sheds.
fn limits(cluster: &Cluster) -> BTreeMap<String, u32> {
    let items = cluster.items();
    let widest = *items.values().max().unwrap_or(&0) as usize;
    let total: u32 = cluster.members().map(|(_, spec)| spec.limit).sum();
    let mut excess = total.saturating_sub(items.values().sum());
    let mut allowed = cluster.members().count().saturating_sub(widest);
    let mut limits: BTreeMap<String, u32> = BTreeMap::new();
    // Names were given in the order in which members joined, within and across zones.
    let mut members: Vec<_> = cluster.members().collect();
    members.sort_by_key(|(member, _)| id(member).1.to_owned());
    for (member, MemberSpec { limit, exiting }) in members {
        let shed = if exiting && allowed > 0 { limit.min(excess) } else { 0 };
        allowed -= usize::from(exiting && allowed > 0);
        excess -= shed;
        limits.insert(member, limit - shed);
    }
    limits
}

/// How many replicas each member is to hold.
fn desired(cluster: &Cluster) -> BTreeMap<String, Vec<String>> {
    let wanted = cluster.items().keys().map(|item| {
        let members = cluster.state.desired(item).into_iter();
        (item.clone(), members.map(|(zone, suffix)| format!("{zone}/{suffix}")).collect())
    });
    wanted.collect()
}

/// The same facts, told to a new state in an order that the seed chooses.
fn retold(cluster: &Cluster, seed: u64) -> State {
    let mut facts: Vec<_> = (1_u64..).map(|at| at.wrapping_mul(seed | 1)).zip(cluster.facts()).collect();
    facts.sort_unstable_by_key(|(place, _)| *place);
    let mut state = State::new();
    facts.iter().for_each(|(_, tell)| tell(&mut state));
    state
}

/// `PROPTEST_CASES` may ask for more.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases.max(400), ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn as_much_is_placed_as_can_be_within_the_rules(shape in shapes()) {
        let mut cluster = shape.cluster();
        let outcome = cluster.state.solve();
        let limits = limits(&cluster);
        let (most, offered) = flow::maximum(&cluster, &limits, false);
        // What later items hold already they keep, though nothing would be offered to them.
        prop_assert!(outcome.placed >= u64::from(most), "{} < {}", outcome.placed, most);
        prop_assert!(!shape.held.is_empty() || outcome.placed == u64::from(most));

        let desired = desired(&cluster);
        let mut loads = BTreeMap::<&str, u32>::new();
        for (item, members) in &desired {
            let distinct: BTreeSet<_> = members.iter().collect();
            prop_assert_eq!(distinct.len(), members.len(), "{} has one member twice", item);
            prop_assert!(members.len() <= cluster.items()[item] as usize);
            members.iter().for_each(|member| *loads.entry(member.as_str()).or_default() += 1);
        }
        for (member, load) in loads {
            prop_assert!(load <= limits[member], "{} holds {} of {}", member, load, limits[member]);
        }
        // Where all can be placed with no item in one zone, they are.
        let (spread, _) = flow::maximum(&cluster, &limits, true);
        let zones: BTreeSet<&str> =
            limits.iter().filter(|(_, limit)| **limit > 0).map(|(member, _)| id(member).0).collect();
        if spread == offered && zones.len() > 1 {
            for (item, members) in &desired {
                let zones: BTreeSet<&str> = members.iter().map(|member| id(member).0).collect();
                prop_assert!(members.len() < 2 || zones.len() > 1, "{} in one zone: {:?}", item, members);
            }
        }
    }

    #[test]
    fn the_order_of_what_is_told_changes_nothing(shape in shapes(), seed: u64) {
        let mut cluster = shape.cluster();
        let mut state = retold(&cluster, seed);
        prop_assert_eq!(state.solve(), cluster.state.solve());
        for item in cluster.items().keys() {
            prop_assert_eq!(state.desired(item), cluster.state.desired(item));
        }
        let plan = cluster.plan();
        cluster.state = state;
        prop_assert_eq!(cluster.plan(), plan);
    }

    #[test]
    fn consistent_replicas_stay_until_others_are_and_it_ends(
        shape in shapes(),
        marks in prop::collection::vec(any::<u16>(), 40),
        least_loaded: bool,
    ) {
        let mut cluster = shape.cluster();
        if least_loaded {
            cluster.policy.first_primary = FirstPrimary::LeastLoaded;
        }
        let mut marks = marks.into_iter();
        let (limits, mut before_loads) = (limits(&cluster), loads(&cluster));
        for round in 0.. {
            prop_assert!(round < 150, "no end: {}", cluster.told());
            let plan = cluster.plan();
            let idle = plan.transactions.is_empty();
            for transaction in plan.transactions {
                let before = consistent(&cluster);
                for write in &transaction.writes {
                    prop_assert!(!matches!(write, Write::Put { lease: 0, .. }), "an assignment for ever");
                }
                cluster.commit(transaction);
                let after = consistent(&cluster);
                let loads = loads(&cluster);
                for (member, load) in &loads {
                    // One more is what it may take for others to leave; who holds more than that already gets nothing.
                    let most = before_loads.get(member).copied().unwrap_or(0).max(limits[member] + 1);
                    prop_assert!(*load <= most, "{} holds {}", member, load);
                }
                before_loads = loads;
                for (item, &replication) in cluster.items() {
                    let (before, after) = (before.get(item).copied(), after.get(item).copied());
                    prop_assert!(after.unwrap_or(0) >= before.unwrap_or(0).min(replication as usize), "{}", item);
                }
            }
            // Members synchronise at moments that nobody knows, and in the end all do.
            let mask = marks.next().unwrap_or(u16::MAX);
            let marked = cluster.mark(|item| mask >> (item.as_bytes()[5] % 16) & 1 == 1);
            if idle && !marked && mask == u16::MAX {
                break;
            }
        }
        let (outcome, desired) = (cluster.state.solve(), desired(&cluster));
        for item in cluster.items().keys() {
            let mut held: Vec<(String, u32)> = Vec::new();
            for (other, member, slot) in cluster.assignments() {
                if other == *item {
                    held.push((member, slot));
                }
            }
            // Where not all get what they want, those keep what they have that are to have less.
            if outcome.placed == outcome.wanted {
                let members: Vec<String> = held.iter().map(|(member, _)| member.clone()).collect();
                prop_assert_eq!(&members, &desired[item], "{}", item);
            }
            let mut slots: Vec<u32> = held.iter().map(|(_, slot)| *slot).collect();
            slots.sort_unstable();
            prop_assert!(slots.iter().copied().eq(0..u32::try_from(slots.len()).unwrap()), "{:?}", held);
        }
    }

    #[test]
    fn nothing_moves_at_rest(shape in roomy(), seed: u64) {
        let mut cluster = shape.cluster();
        cluster.converge(true);
        let writes = cluster.writes;
        for turn in 0..3 {
            // A new leader knows nothing but the keys.
            cluster.state = retold(&cluster, seed.rotate_left(turn));
            prop_assert_eq!(cluster.converge(true), 0);
        }
        prop_assert_eq!(cluster.writes, writes);
    }

    #[test]
    fn a_member_that_dies_moves_what_it_held_and_little_else(shape in roomy(), victim in any::<prop::sample::Index>()) {
        let mut cluster = shape.cluster();
        cluster.converge(true);
        let before: BTreeSet<(String, String)> = held(&cluster).collect();
        let victim = shape.member_name(victim.index(shape.members.len()));
        let lost = before.iter().filter(|(_, member)| *member == victim).count();
        cluster.kill(&victim);
        cluster.converge(true);
        let moved = held(&cluster).filter(|held| !before.contains(held)).count();
        // Shares of a few items do not come out even: one more for each member evens them.
        prop_assert!(moved * 10 <= lost * 12 + 10 * shape.members.len(), "{moved} moved where {lost} were lost");
    }
}

fn held(cluster: &Cluster) -> impl Iterator<Item = (String, String)> {
    cluster.assignments().into_iter().map(|(item, member, _)| (item, member))
}

/// How many replicas each member holds.
fn loads(cluster: &Cluster) -> BTreeMap<String, u32> {
    let mut loads = BTreeMap::new();
    held(cluster).for_each(|(_, member)| *loads.entry(member).or_default() += 1);
    loads
}

/// How many consistent replicas each item has.
fn consistent(cluster: &Cluster) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (item, member, slot) in cluster.assignments() {
        *counts.entry(item.clone()).or_default() += usize::from(cluster.is_consistent(&item, &member, slot));
    }
    counts
}

/// Many items on a few members, so that batches are mended and not solved whole.
fn large(members: usize, items: usize) -> Cluster {
    let mut cluster = Cluster::new();
    for number in 0..members {
        cluster.member(&member_name(number, (number % 3) as u8), 10_000, false);
    }
    for number in 0..items {
        cluster.item(&format!("i{number:05}"), [3, 2, 3, 1, 3, 3, 2][number % 7]);
    }
    cluster.policy.first_primary = FirstPrimary::LeastLoaded;
    cluster.converge(true);
    cluster
}

#[test]
fn small_changes_of_large_clusters_are_mended_and_stay_at_rest_when_solved_whole() {
    let check = |what: &str, change: fn(&mut Cluster) -> &mut Cluster, least: usize| {
        let mut cluster = large(10, 2_000);
        let before: BTreeSet<(String, String)> = held(&cluster).collect();
        change(&mut cluster);
        let outcome = cluster.state.solve();
        assert!(outcome.whole == 0 && outcome.mended > 0, "{what}: {outcome:?}");
        assert_eq!(outcome.placed, outcome.wanted, "{what}");
        cluster.converge(true);
        let after: BTreeSet<(String, String)> = held(&cluster).collect();
        let moved = after.difference(&before).count();
        assert!(moved >= least && moved * 10 <= least * 14 + 30, "{what}: {moved} moved, {least} had to");
        let loads: Vec<u32> =
            cluster.members().map(|(member, _)| cluster.state.load(id(&member).0, id(&member).1).0).collect();
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        assert!(most - least <= 2 + most / 50, "{what}: {loads:?}");
        // Who knows nothing but the keys leaves all where it is.
        cluster.state = retold(&cluster, 0);
        assert_eq!(cluster.converge(true), 0, "{what}");
    };
    let cluster = large(10, 2_000);
    let lost = cluster.state.load("b", "m004").0 as usize;
    check("a member dies", |cluster| cluster.kill("b/m004"), lost);
    check("an item comes", |cluster| cluster.item("i00999x", 3), 3);
    check("an item grows", |cluster| cluster.item("i00997", 3), 2);
    check("a member comes", |cluster| cluster.member("b/m9", 10_000, false), 4000 / 11);
}

#[test]
fn primaries_of_new_items_are_spread() {
    let mut cluster = Cluster::new();
    cluster.policy.first_primary = FirstPrimary::LeastLoaded;
    for member in ["a/one", "b/two", "c/three"] {
        cluster.member(member, 1_000, false);
    }
    for number in 0..300 {
        cluster.item(&format!("i{number:03}"), 3);
    }
    cluster.converge(true);
    for member in ["a/one", "b/two", "c/three"] {
        assert_eq!(cluster.state.load(id(member).0, id(member).1), (300, 100), "{member}");
    }
}

#[test]
fn stamps_of_members_matter_to_shedding_only() {
    let mut state = State::new();
    let stamp = |create_revision| Stamp { create_revision, mod_revision: create_revision, lease: 7 };
    state.put_member("a", "young", MemberSpec { limit: 5, exiting: true }, stamp(9));
    state.put_member("b", "old", MemberSpec { limit: 5, exiting: true }, stamp(3));
    state.put_item("one", 1, stamp(10));
    state.solve();
    assert_eq!(state.desired("one"), [("a", "young")], "the old one leaves first");
    assert!(state.is_leader("b", "old") && !state.is_leader("a", "young"));
}
