//! A slow exact maximum flow, to compare with: the shortest path that has room left, as often as there is one.

use std::collections::{BTreeMap, VecDeque};

use crate::etcd::{Cluster, id};

/// A network with whole capacities.
#[derive(Debug, Default)]
struct Graph {
    /// What each arc has left.
    left: Vec<BTreeMap<usize, u32>>,
}

impl Graph {
    fn node(&mut self) -> usize {
        self.left.push(BTreeMap::new());
        self.left.len() - 1
    }

    fn arc(&mut self, from: usize, to: usize, capacity: u32) {
        *self.left[from].entry(to).or_default() += capacity;
        self.left[to].entry(from).or_default();
    }

    fn maximum(&mut self, source: usize, sink: usize) -> u32 {
        let mut total = 0;
        while let Some(path) = self.path(source, sink) {
            // Whole units, and short networks: one at a time will do.
            for (from, to) in path {
                *self.left[from].get_mut(&to).expect("an arc") -= 1;
                *self.left[to].get_mut(&from).expect("its reverse") += 1;
            }
            total += 1;
        }
        total
    }

    fn path(&self, source: usize, sink: usize) -> Option<Vec<(usize, usize)>> {
        let mut come_from = vec![None; self.left.len()];
        let mut queue = VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            for (&to, _) in self.left[node].iter().filter(|(_, left)| **left > 0) {
                if to != source && come_from[to].is_none() {
                    come_from[to] = Some(node);
                    queue.push_back(to);
                }
            }
        }
        let mut path = Vec::new();
        let mut at = sink;
        while at != source {
            let from = come_from[at]?;
            path.push((from, at));
            at = from;
        }
        Some(path)
    }
}

/// How many replicas can be placed at most, of those that a batch offers in order while members have slots. `spread`: with no item
/// in one zone only.
pub(crate) fn maximum(cluster: &Cluster, limits: &BTreeMap<String, u32>, spread: bool) -> (u32, u32) {
    let mut graph = Graph::default();
    let (source, sink) = (graph.node(), graph.node());
    let mut slots: u32 = limits.values().sum();
    let able = limits.values().filter(|limit| **limit > 0).count();
    let members: Vec<(&str, usize)> = limits
        .iter()
        .map(|(member, limit)| {
            let node = graph.node();
            graph.arc(node, sink, *limit);
            (id(member).0, node)
        })
        .collect();
    let mut zones: Vec<&str> = members.iter().map(|(zone, _)| *zone).collect();
    zones.dedup();
    let mut offered = 0;
    for &replication in cluster.items().values() {
        let offer = replication.min(u32::try_from(able).expect("few members")).min(slots);
        slots -= offer;
        offered += offer;
        let item = graph.node();
        graph.arc(source, item, offer);
        let most = if spread && zones.len() > 1 { offer.saturating_sub(1).max(1) } else { offer };
        for &zone in &zones {
            let zone_item = graph.node();
            graph.arc(item, zone_item, most);
            for (_, member) in members.iter().filter(|(other, _)| *other == zone) {
                graph.arc(zone_item, *member, 1);
            }
        }
    }
    (graph.maximum(source, sink), offered)
}

#[test]
fn the_flow_of_a_known_graph() {
    let mut graph = Graph::default();
    let [s, a, b, c, d, t] = std::array::from_fn(|_| graph.node());
    for (from, to, capacity) in [
        (s, a, 10),
        (s, b, 10),
        (a, b, 2),
        (a, c, 4),
        (a, d, 8),
        (b, d, 9),
        (d, c, 6),
        (c, t, 10),
        (d, t, 10),
    ] {
        graph.arc(from, to, capacity);
    }
    assert_eq!(graph.maximum(s, t), 19);
}
