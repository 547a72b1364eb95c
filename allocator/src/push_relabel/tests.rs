//! Small networks, solved.

use super::*;
use crate::network::{Batch, Places};

/// Solves for zones of so many members each; items are `(replication, kept)`.
fn check(zones: &[u32], limits: u32, shares: u32, items: &[(u32, &[u32])], expected: &[&[u32]]) {
    let mut ends = Vec::new();
    for members in zones {
        let from = ends.last().map_or(0, |(_, to)| *to);
        ends.push((from, from + members));
    }
    let members = ends.last().map_or(0, |(_, to)| *to) as usize;
    let places = Places::new(members, &ends);
    let mut batch = Batch::default();
    batch.clear();
    (batch.limits, batch.shares) = (vec![limits; members], vec![shares; members]);
    for (replication, kept) in items {
        batch.push(*replication, *replication, kept.iter().copied());
    }
    let network = Network::new(&places, &batch);
    let mut solver = Solver::default();
    // What an earlier batch left does not matter.
    for _ in 0..2 {
        solver.solve(&network);
        for (item, expected) in (0..).zip(expected) {
            let mut found = Vec::new();
            solver.places(&network, item, &mut found);
            assert_eq!(found, *expected, "item {item} of {items:?}");
        }
    }
}

#[test]
fn what_is_kept_stays() {
    check(&[3], 9, 2, &[(1, &[2]), (1, &[2]), (1, &[0])], &[&[2], &[2], &[0]]);
    check(&[2, 2], 9, 2, &[(2, &[1, 3]), (2, &[0, 3])], &[&[1, 3], &[0, 3]]);
}

#[test]
fn equal_items_are_spread() {
    check(&[3], 9, 1, &[(1, &[]), (1, &[]), (1, &[])], &[&[2], &[0], &[1]]);
}

#[test]
fn zones_come_before_members() {
    check(&[2, 1], 9, 9, &[(2, &[0, 1])], &[&[1, 2]]);
    check(&[2, 1, 1], 9, 9, &[(3, &[])], &[&[1, 2, 3]]);
}

#[test]
fn shares_give_way_before_zones_and_zones_before_replicas() {
    // The second zone has one member whose share is one.
    check(&[2, 1], 9, 1, &[(2, &[]), (2, &[])], &[&[1, 2], &[0, 2]]);
    check(&[2, 1], 1, 1, &[(3, &[])], &[&[0, 1, 2]]);
    // An item of one makes way for one that lies in two zones.
    check(&[2, 1], 1, 1, &[(1, &[2]), (2, &[])], &[&[1], &[0, 2]]);
}

#[test]
fn what_finds_no_place_goes_back() {
    check(&[1], 2, 2, &[(1, &[0]), (1, &[0]), (1, &[])], &[&[0], &[0], &[]]);
    check(&[1], 9, 9, &[(3, &[])], &[&[0]]);
    check(&[2], 9, 9, &[(0, &[0])], &[&[]]);
}
