//! Who holds which journals, as the keys in etcd say.

use std::collections::BTreeMap;

use courant_proto::wire;
use etcd_client::GetOptions;
use prost::Message as _;
use wire::process_spec::Id;

use super::PREFIX;
use crate::etcd::Etcd;

/// The assignments of a journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    /// Those it is assigned to, by their slots. The one of slot 0 is its primary.
    pub slots: BTreeMap<u32, Id>,
    /// What each of them last knew of the others.
    pub known: Vec<wire::Route>,
}

impl Held {
    /// The primary, if there is one.
    pub fn primary(&self) -> Option<&Id> {
        self.slots.get(&0)
    }

    /// Whether there are so many replicas, with a primary, and all of them know just each other.
    ///
    /// # Errors
    /// What is missing.
    pub fn is_settled(&self, replicas: usize) -> Result<(), &'static str> {
        let mut members: Vec<&Id> = self.slots.values().collect();
        members.sort_by_key(|id| (&id.zone, &id.suffix));
        if members.len() != replicas {
            return Err("another number of replicas");
        }
        let Some(primary) = self.primary() else { return Err("no primary") };
        let synced = self.known.iter().all(|route| {
            let named = usize::try_from(route.primary).ok().and_then(|at| route.members.get(at));
            route.members.iter().eq(members.iter().copied()) && named == Some(primary)
        });
        if synced { Ok(()) } else { Err("replicas that do not know each other") }
    }
}

/// The places of a journal's holders in a cluster.
pub fn holders(held: &Held, cluster: &super::Cluster) -> Vec<usize> {
    held.slots.values().filter_map(|id| cluster.index(id)).collect()
}

/// Keys that are read at once: far below what a message may hold.
const PAGE: i64 = 2_000;

fn take(journals: &mut BTreeMap<String, Held>, key: &str, assigned: bool, value: &[u8]) {
    if !assigned {
        journals.entry(key.to_owned()).or_default();
        return;
    }
    let [journal, zone, suffix, slot] = key.split('#').collect::<Vec<_>>()[..] else {
        panic!("{key} is no assignment")
    };
    let held = journals.entry(journal.to_owned()).or_default();
    let id = Id { zone: zone.to_owned(), suffix: suffix.to_owned() };
    held.slots.insert(slot.parse().expect("a slot is a number"), id);
    held.known.push(wire::Route::decode(value).expect("a route"));
}

pub(super) async fn read(etcd: &Etcd) -> BTreeMap<String, Held> {
    let client = etcd.client().await;
    let mut journals = BTreeMap::<String, Held>::new();
    for (family, assigned) in [("items", false), ("assign", true)] {
        let folder = format!("{PREFIX}/{family}/");
        // What follows a slash is a zero.
        let end = format!("{PREFIX}/{family}0");
        let mut from = folder.clone().into_bytes();
        loop {
            let options = GetOptions::new().with_range(end.as_str()).with_limit(PAGE);
            let answer = client.kv_client().get(from, Some(options)).await.expect("etcd answers");
            for pair in answer.kvs() {
                let key = pair.key_str().expect("keys are text").trim_start_matches(folder.as_str());
                take(&mut journals, key, assigned, pair.value());
            }
            let Some(last) = answer.kvs().last().filter(|_| answer.more()) else { break };
            from = [last.key(), b"\0"].concat();
        }
    }
    journals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(suffix: &str) -> Id {
        Id { zone: "zone-0".to_owned(), suffix: suffix.to_owned() }
    }

    #[test]
    fn a_journal_is_settled_when_its_replicas_know_each_other() {
        let route = |primary, members: &[&str]| wire::Route {
            members: members.iter().map(|member| id(member)).collect(),
            primary,
            endpoints: Vec::new(),
        };
        let check = |slots: &[(u32, &str)], known: &[wire::Route], expected| {
            let slots = slots.iter().map(|(slot, member)| (*slot, id(member))).collect();
            assert_eq!(Held { slots, known: known.to_vec() }.is_settled(2), expected);
        };
        let both = route(1, &["a", "b"]);
        check(&[(0, "b"), (1, "a")], &[both.clone(), both.clone()], Ok(()));
        check(&[(0, "b")], std::slice::from_ref(&both), Err("another number of replicas"));
        check(&[(1, "b"), (2, "a")], &[both.clone(), both.clone()], Err("no primary"));
        let unknown = Err("replicas that do not know each other");
        check(&[(0, "b"), (1, "a")], &[both.clone(), wire::Route::default()], unknown);
        check(&[(0, "b"), (1, "a")], &[both.clone(), route(0, &["a", "b"])], unknown);
        check(&[(0, "b"), (1, "c")], &[both.clone(), both], unknown);
    }
}
