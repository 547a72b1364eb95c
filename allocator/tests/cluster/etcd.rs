//! As much of an etcd as an allocator sees: keys with revisions and leases, and transactions, carried out or refused whole.

use std::collections::BTreeMap;

use courant_allocator::{
    Compare, FirstPrimary, Keys, MemberSpec, Plan, Policy, Stamp, State, Transaction, Values, Write,
};

/// The value of an assignment that is consistent.
const CONSISTENT: &[u8] = b"consistent";

/// Tells a state of one key.
pub(crate) type Fact = Box<dyn Fn(&mut State)>;

#[derive(Clone, Debug)]
struct Put {
    value: Vec<u8>,
    stamp: Stamp,
}

/// A cluster, and the state that was told of it.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) state: State,
    pub(crate) policy: Policy,
    keys: Keys,
    revision: i64,
    puts: BTreeMap<String, Put>,
    members: BTreeMap<(String, String), MemberSpec>,
    items: BTreeMap<String, u32>,
    /// Keys written for assignments so far.
    pub(crate) writes: usize,
}

impl Values for Cluster {
    fn value(&self, key: &[u8]) -> Vec<u8> {
        self.puts[std::str::from_utf8(key).expect("a key")].value.clone()
    }

    fn alone(&self, _: &str, _: &str) -> Vec<u8> {
        Vec::new()
    }
}

/// `zone/suffix` as its parts.
pub(crate) fn id(member: &str) -> (&str, &str) {
    member.split_once('/').expect("zone/suffix")
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self {
            state: State::new(),
            policy: Policy {
                first_primary: FirstPrimary::FirstInOrder,
                most_transactions: usize::MAX,
                ..Policy::default()
            },
            keys: Keys::new("/root"),
            revision: 100,
            puts: BTreeMap::new(),
            members: BTreeMap::new(),
            items: BTreeMap::new(),
            writes: 0,
        }
    }

    fn put(&mut self, key: String, value: Vec<u8>, lease: i64) -> Stamp {
        let before = self.puts.get(&key).map(|put| put.stamp.create_revision);
        let stamp =
            Stamp { create_revision: before.unwrap_or(self.revision), mod_revision: self.revision, lease };
        self.puts.insert(key, Put { value, stamp });
        stamp
    }

    /// `zone/suffix` with its limit; put again, it is changed.
    pub(crate) fn member(&mut self, member: &str, limit: u32, exiting: bool) -> &mut Self {
        let (zone, suffix) = id(member);
        let key = text(self.keys.member(zone, suffix));
        self.revision += 1;
        let lease = self.puts.get(&key).map_or(self.revision, |put| put.stamp.lease);
        let stamp = self.put(key, Vec::new(), lease);
        let spec = MemberSpec { limit, exiting };
        self.members.insert((zone.to_owned(), suffix.to_owned()), spec);
        self.state.put_member(zone, suffix, spec, stamp);
        self
    }

    /// The end of a member's lease: its key and all its assignments are gone.
    pub(crate) fn kill(&mut self, member: &str) -> &mut Self {
        let (zone, suffix) = id(member);
        self.revision += 1;
        self.puts.remove(&text(self.keys.member(zone, suffix)));
        self.members.remove(&(zone.to_owned(), suffix.to_owned()));
        self.state.remove_member(zone, suffix);
        for (item, held, slot) in self.assignments() {
            if held == member {
                self.remove(&item, &held, slot);
            }
        }
        self
    }

    pub(crate) fn item(&mut self, id: &str, replication: u32) -> &mut Self {
        self.revision += 1;
        let stamp = self.put(text(self.keys.item(id)), Vec::new(), 0);
        self.items.insert(id.to_owned(), replication);
        self.state.put_item(id, replication, stamp);
        self
    }

    pub(crate) fn assign(&mut self, item: &str, member: &str, slot: u32, consistent: bool) -> &mut Self {
        let (zone, suffix) = id(member);
        let key = text(self.keys.assignment(item, zone, suffix, slot));
        self.revision += 1;
        let value = if consistent { CONSISTENT.to_vec() } else { Vec::new() };
        let lease = self.lease(member);
        let stamp = self.put(key, value, lease);
        self.state.put_assignment(item, (zone, suffix), slot, stamp, consistent);
        self
    }

    fn lease(&self, member: &str) -> i64 {
        let (zone, suffix) = id(member);
        self.puts.get(&text(self.keys.member(zone, suffix))).map_or(0, |put| put.stamp.lease)
    }

    fn remove(&mut self, item: &str, member: &str, slot: u32) {
        let (zone, suffix) = id(member);
        self.puts.remove(&text(self.keys.assignment(item, zone, suffix, slot)));
        self.state.remove_assignment(item, (zone, suffix), slot);
    }

    /// All assignments, by item, zone, suffix and slot.
    pub(crate) fn assignments(&self) -> Vec<(String, String, u32)> {
        let keys = self.puts.keys().filter_map(|key| parse(key.as_bytes()));
        keys.map(|(item, zone, suffix, slot)| (item, format!("{zone}/{suffix}"), slot)).collect()
    }

    pub(crate) fn is_consistent(&self, item: &str, member: &str, slot: u32) -> bool {
        let (zone, suffix) = id(member);
        self.puts[&text(self.keys.assignment(item, zone, suffix, slot))].value == CONSISTENT
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (String, MemberSpec)> {
        self.members.iter().map(|((zone, suffix), spec)| (format!("{zone}/{suffix}"), *spec))
    }

    pub(crate) fn items(&self) -> &BTreeMap<String, u32> {
        &self.items
    }

    /// Marks all assignments of items for which `which` holds. Whether that changed any.
    pub(crate) fn mark(&mut self, mut which: impl FnMut(&str) -> bool) -> bool {
        let mut changed = false;
        for (item, member, slot) in self.assignments() {
            if !self.is_consistent(&item, &member, slot) && which(&item) {
                self.assign(&item, &member, slot, true);
                changed = true;
            }
        }
        changed
    }

    pub(crate) fn leader(&self) -> Option<String> {
        let leads = |member: &String| self.state.is_leader(id(member).0, id(member).1);
        let mut leaders: Vec<String> = self.members().map(|(member, _)| member).filter(leads).collect();
        assert!(leaders.len() <= 1, "{leaders:?} lead");
        leaders.pop()
    }

    pub(crate) fn plan(&mut self) -> Plan {
        let Some(leader) = self.leader() else { return Plan::default() };
        let (mut state, keys) = (self.state.clone(), self.keys.clone());
        let plan = state.plan(id(&leader), self.policy, &keys, self);
        self.state = state;
        plan
    }

    /// One pass. Whether there was anything to do.
    pub(crate) fn pass(&mut self) -> bool {
        let plan = self.plan();
        let any = !plan.transactions.is_empty();
        for transaction in plan.transactions {
            self.commit(transaction);
        }
        any
    }

    /// Carries out a transaction, which must succeed, and tells of it.
    pub(crate) fn commit(&mut self, transaction: Transaction) {
        for compare in &transaction.compares {
            let (key, expected) = match compare {
                Compare::Unchanged { key, mod_revision } => (key, *mod_revision),
                Compare::Absent { key } => (key, 0),
            };
            let found = self.puts.get(&text(key.clone())).map_or(0, |put| put.stamp.mod_revision);
            assert_eq!(found, expected, "{}", text(key.clone()));
        }
        assert!(transaction.compares.len() <= 128 && transaction.writes.len() <= 128, "{transaction:?}");
        self.revision += 1;
        for write in transaction.writes {
            self.writes += 1;
            match write {
                Write::Put { key, value, lease } => {
                    let (item, zone, suffix, slot) = parse(&key).expect("an assignment");
                    assert_eq!(lease, self.lease(&format!("{zone}/{suffix}")), "the member's own lease");
                    let consistent = value == CONSISTENT;
                    let stamp = self.put(text(key), value, lease);
                    self.state.put_assignment(&item, (&zone, &suffix), slot, stamp, consistent);
                }
                Write::Delete { key } => {
                    let (item, zone, suffix, slot) = parse(&key).expect("an assignment");
                    assert!(self.puts.contains_key(&text(key)), "deleted what is not there");
                    self.remove(&item, &format!("{zone}/{suffix}"), slot);
                }
            }
        }
    }

    /// All keys as what tells a state of them.
    pub(crate) fn facts(&self) -> Vec<Fact> {
        let mut facts: Vec<Fact> = Vec::new();
        let stamp = |key: Vec<u8>| self.puts[&text(key)].stamp;
        for ((zone, suffix), spec) in self.members.clone() {
            let stamp = stamp(self.keys.member(&zone, &suffix));
            facts.push(Box::new(move |state| state.put_member(&zone, &suffix, spec, stamp)));
        }
        for (item, replication) in self.items.clone() {
            let stamp = stamp(self.keys.item(&item));
            facts.push(Box::new(move |state| state.put_item(&item, replication, stamp)));
        }
        for (item, member, slot) in self.assignments() {
            let consistent = self.is_consistent(&item, &member, slot);
            let stamp = stamp(self.keys.assignment(&item, id(&member).0, id(&member).1, slot));
            facts.push(Box::new(move |state| {
                state.put_assignment(&item, id(&member), slot, stamp, consistent);
            }));
        }
        facts
    }

    /// Passes until nothing is to be done and, if `marks`, everything is consistent. How many rounds that took.
    pub(crate) fn converge(&mut self, marks: bool) -> usize {
        let mut rounds = 0;
        while self.pass() || (marks && self.mark(|_| true)) {
            rounds += 1;
            assert!(rounds < 100, "no end: {}", self.told());
        }
        rounds
    }

    /// `item: member(slot) …` for each item, without the members' zones.
    pub(crate) fn told(&self) -> String {
        let mut items: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (item, member, slot) in self.assignments() {
            items.entry(item).or_default().push(format!("{}({slot})", id(&member).1));
        }
        let lines: Vec<String> =
            items.into_iter().map(|(item, held)| format!("{item}: {}", held.join(" "))).collect();
        lines.join(". ")
    }
}

fn text(key: Vec<u8>) -> String {
    String::from_utf8(key).expect("a key")
}

fn parse(key: &[u8]) -> Option<(String, String, String, u32)> {
    let rest = std::str::from_utf8(key).ok()?.strip_prefix("/root/assign/")?;
    let parts: Vec<&str> = rest.split('#').collect();
    let [item, zone, suffix, slot] = parts[..] else { return None };
    Some((item.to_owned(), zone.to_owned(), suffix.to_owned(), slot.parse().ok()?))
}
