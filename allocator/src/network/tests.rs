//! The arcs of a small network, page by page.

use super::*;

/// Zones of two, one and one members, the last of which has no capacity.
fn places() -> Places {
    Places::new(4, &[(0, 2), (2, 3)])
}

fn batch(items: &[(u32, &[u32])]) -> Batch {
    let mut batch = Batch::default();
    batch.clear();
    (batch.limits, batch.shares) = (vec![9; 4], vec![4; 4]);
    for (replication, kept) in items {
        batch.push(*replication, *replication, kept.iter().copied());
    }
    batch
}

/// The arcs that a node offers at a height, page by page, as (kind, capacity).
fn arcs(network: &Network<'_>, kind: Kind, height: u32) -> Vec<Vec<(Kind, u32)>> {
    let pages = (0..).map_while(|number| network.page(kind, height, number));
    let arcs = |page| {
        let arcs = (0..network.arcs(page)).map(move |at| network.arc(page, at));
        arcs.map(|(to, capacity)| (network.kind(to), capacity)).collect()
    };
    pages.map(arcs).collect()
}

fn in_zone(item: u32, zone: u32, capacity: u32) -> (Kind, u32) {
    (Kind::ZoneItem { item, zone }, capacity)
}

#[test]
fn nodes_are_what_they_were_made_of() {
    let (places, batch) = (places(), batch(&[(3, &[]), (1, &[])]));
    let network = Network::new(&places, &batch);
    assert_eq!(network.nodes(), 2 + 2 + 2 * 2 + 4);
    assert_eq!(network.kind(SOURCE), Kind::Source);
    assert_eq!(network.kind(SINK), Kind::Sink);
    assert_eq!(network.kind(network.item(1)), Kind::Item(1));
    assert_eq!(network.kind(network.zone_item(1, 0)), Kind::ZoneItem { item: 1, zone: 0 });
    assert_eq!(network.kind(network.member(3)), Kind::Member(3));
}

#[test]
fn items_offer_to_where_they_are_then_evenly_then_to_all_but_one_zone_alone() {
    let (places, batch) = (places(), batch(&[(3, &[0, 1, 2]), (4, &[2]), (1, &[]), (5, &[])]));
    let network = Network::new(&places, &batch);
    let offers = |item, height| arcs(&network, Kind::Item(item), height);
    let both = |item, capacity| vec![in_zone(item, 0, capacity), in_zone(item, 1, capacity)];
    assert_eq!(offers(0, 3), [vec![in_zone(0, 0, 2), in_zone(0, 1, 1)], both(0, 2), both(0, 2)]);
    assert_eq!(offers(1, 3), [vec![in_zone(1, 1, 1)], both(1, 2), both(1, 3)]);
    assert_eq!(offers(2, 3), [vec![], both(2, 1), both(2, 1)]);
    assert_eq!(offers(3, 3), [vec![], both(3, 3), both(3, 4)]);
    // Rather one zone than too few replicas.
    assert_eq!(offers(0, network.nodes() + 1), [both(0, 3)]);
    assert_eq!(offers(0, network.nodes() + 2).len(), 3);
}

#[test]
fn a_single_zone_takes_all() {
    let places = Places::new(2, &[(0, 2)]);
    let batch = batch(&[(3, &[0])]);
    let network = Network::new(&places, &batch);
    assert_eq!(arcs(&network, Kind::Item(0), 3), [vec![in_zone(0, 0, 3)]]);
}

#[test]
fn zone_items_offer_to_who_holds_them_then_to_all_but_the_barred() {
    let places = places();
    let mut batch = batch(&[(2, &[1, 2]), (2, &[])]);
    batch.barred.push((1, 0));
    let network = Network::new(&places, &batch);
    let offers = |item, zone| arcs(&network, Kind::ZoneItem { item, zone }, 2);
    let to = |place, capacity| (Kind::Member(place), capacity);
    assert_eq!(offers(0, 0), [vec![to(1, 1)], vec![to(0, 1), to(1, 1)]]);
    assert_eq!(offers(0, 1), [vec![to(2, 1)], vec![to(2, 1)]]);
    assert_eq!(offers(1, 0), [vec![], vec![to(0, 0), to(1, 1)]]);
}

#[test]
fn members_give_their_share_and_more_only_near_the_source() {
    let (places, batch) = (places(), batch(&[(2, &[])]));
    let network = Network::new(&places, &batch);
    let offers = |height| arcs(&network, Kind::Member(1), height);
    assert_eq!(offers(1), [[(Kind::Sink, 4)]]);
    assert_eq!(offers(network.nodes() - 2), [[(Kind::Sink, 4)]]);
    assert_eq!(offers(network.nodes() - 1), [[(Kind::Sink, 9)]]);
}
