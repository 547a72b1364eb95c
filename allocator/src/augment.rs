//! Pure: what pushing left unplaced or uneven, mended exactly: along the shortest way that has room, as often as there is one.
//!
//! The rules of the network give way by height, and so may excess before every way was tried. This tries them all, and moves as
//! little as each of them takes. It starts from places that were found, so there is seldom much to do.

use std::collections::VecDeque;

use crate::network::{Batch, NO_ZONE, Places, len};

/// The places of a batch's items, to be changed.
#[derive(Debug)]
pub(crate) struct Augment<'a> {
    zones: &'a Places,
    batch: &'a Batch,
    /// Places of each item, in no order.
    pub(crate) held: Vec<Vec<u32>>,
    /// Items of each place.
    holds: Vec<Vec<u32>>,
    /// Replicas of each item in each zone.
    in_zone: Vec<u32>,
    search: Search,
}

/// What a search has seen, and from where it came there.
#[derive(Debug, Default)]
struct Search {
    queue: VecDeque<Node>,
    /// For each zone: places that were not reached yet.
    unseen: Vec<Vec<u32>>,
    /// For items, zone-items and places: where from, or nothing.
    to_item: Vec<Option<Node>>,
    to_zone_item: Vec<Option<Node>>,
    to_place: Vec<Option<Node>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Start,
    Item(u32),
    ZoneItem(u32, u32),
    Place(u32),
}

/// How many replicas of an item one zone may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Not all.
    TwoZones,
    Any,
}

impl<'a> Augment<'a> {
    pub(crate) fn new(zones: &'a Places, batch: &'a Batch, held: Vec<Vec<u32>>) -> Self {
        let mut holds = vec![Vec::new(); zones.zone_of.len()];
        let mut in_zone = vec![0; held.len() * zones.zones.len()];
        for (item, places) in (0..).zip(&held) {
            for &place in places {
                holds[place as usize].push(item);
                in_zone[item as usize * zones.zones.len() + zones.zone_of[place as usize] as usize] += 1;
            }
        }
        Self { zones, batch, held, holds, in_zone, search: Search::default() }
    }

    /// How many replicas a place has.
    pub(crate) fn load(&self, place: u32) -> u32 {
        len(&self.holds[place as usize])
    }

    /// Places what was offered and is missing, while no place has more than its limit.
    pub(crate) fn place_missing(&mut self, spread: Spread) {
        loop {
            let missing = (0..len(&self.held)).filter(|&item| self.is_missing(item));
            let starts: Vec<Node> = missing.map(Node::Item).collect();
            if starts.is_empty() || !self.improve(starts, spread, |batch| &batch.limits) {
                return;
            }
        }
    }

    /// Moves replicas from places that have more than their share to others that have less, `most` times at most.
    pub(crate) fn level(&mut self, most: usize) {
        for _ in 0..most {
            let uneven =
                (0..len(&self.holds)).filter(|&place| self.load(place) > self.batch.shares[place as usize]);
            let starts: Vec<Node> = uneven.map(Node::Place).collect();
            if starts.is_empty() || !self.improve(starts, Spread::TwoZones, |batch| &batch.shares) {
                return;
            }
        }
    }

    /// Spreads items that are in one zone over two, where a second one has room.
    pub(crate) fn spread(&mut self) {
        let zone = |place: &u32| self.zones.zone_of[*place as usize];
        let is_lone =
            |held: &&Vec<u32>| held.len() > 1 && held.iter().all(|place| zone(place) == zone(&held[0]));
        let lone: Vec<(u32, u32)> = (0..)
            .zip(&self.held)
            .filter(|(_, held)| is_lone(held))
            .filter_map(|(item, held)| Some((item, *held.last()?)))
            .collect();
        if lone.is_empty() || self.zones.zones.len() < 2 {
            return;
        }
        for &(item, place) in &lone {
            self.take(item, self.zones.zone_of[place as usize], place);
        }
        self.place_missing(Spread::TwoZones);
        for (item, place) in lone {
            let zone = self.zones.zone_of[place as usize];
            let has_room = self.load(place) < self.batch.limits[place as usize];
            if self.is_missing(item) && has_room && !self.held[item as usize].contains(&place) {
                self.put(item, zone, place);
            }
        }
        self.place_missing(Spread::Any);
    }

    fn is_missing(&self, item: u32) -> bool {
        len(&self.held[item as usize]) < self.batch.offered[item as usize]
    }

    /// Looks for a way from any of `starts` to a place that has room, and goes it. Whether there was one.
    fn improve(&mut self, starts: Vec<Node>, spread: Spread, room: impl Fn(&Batch) -> &Vec<u32>) -> bool {
        self.search.begin(self.zones, self.held.len());
        for start in starts {
            self.search.reach(start, Node::Start, self.zones);
        }
        while let Some(node) = self.search.queue.pop_front() {
            match node {
                Node::Start => {}
                Node::Place(place) => {
                    if self.load(place) < room(self.batch)[place as usize] {
                        self.go(node);
                        return true;
                    }
                    let zone = self.zones.zone_of[place as usize];
                    for at in 0..self.holds[place as usize].len() {
                        let item = self.holds[place as usize][at];
                        self.search.reach(Node::ZoneItem(item, zone), node, self.zones);
                    }
                }
                Node::ZoneItem(item, zone) => {
                    let mut unseen = std::mem::take(&mut self.search.unseen[zone as usize]);
                    unseen.retain(|&place| {
                        let is_open = !self.held[item as usize].contains(&place)
                            && self.batch.barred.binary_search(&(item, place)).is_err();
                        if is_open {
                            self.search.reach(Node::Place(place), node, self.zones);
                        }
                        !is_open
                    });
                    self.search.unseen[zone as usize] = unseen;
                    if self.count(item, zone) > 0 {
                        self.search.reach(Node::Item(item), node, self.zones);
                    }
                }
                Node::Item(item) => {
                    let offered = self.batch.offered[item as usize];
                    let most = match spread {
                        Spread::TwoZones if self.zones.zones.len() > 1 => offered.saturating_sub(1).max(1),
                        _ => offered,
                    };
                    for zone in 0..len(&self.zones.zones) {
                        if self.count(item, zone) < most {
                            self.search.reach(Node::ZoneItem(item, zone), node, self.zones);
                        }
                    }
                }
            }
        }
        false
    }

    fn count(&self, item: u32, zone: u32) -> u32 {
        self.in_zone[item as usize * self.zones.zones.len() + zone as usize]
    }

    /// Moves along the way that led to a place.
    fn go(&mut self, end: Node) {
        let mut at = end;
        loop {
            let from = self.search.came_from(at, self.zones);
            match (from, at) {
                (Node::Start, _) => return,
                (Node::ZoneItem(item, zone), Node::Place(place)) => self.put(item, zone, place),
                (Node::Place(place), Node::ZoneItem(item, zone)) => self.take(item, zone, place),
                // Between an item and its zones, only the counts change, with the places.
                _ => {}
            }
            at = from;
        }
    }

    fn put(&mut self, item: u32, zone: u32, place: u32) {
        self.held[item as usize].push(place);
        self.holds[place as usize].push(item);
        self.in_zone[item as usize * self.zones.zones.len() + zone as usize] += 1;
    }

    fn take(&mut self, item: u32, zone: u32, place: u32) {
        self.held[item as usize].retain(|other| *other != place);
        self.holds[place as usize].retain(|other| *other != item);
        self.in_zone[item as usize * self.zones.zones.len() + zone as usize] -= 1;
    }
}

impl Search {
    fn begin(&mut self, zones: &Places, items: usize) {
        self.queue.clear();
        self.unseen = zones.zones.iter().map(|&(from, to)| (from..to).collect()).collect();
        for (list, len) in [
            (&mut self.to_item, items),
            (&mut self.to_zone_item, items * zones.zones.len()),
            (&mut self.to_place, zones.zone_of.len()),
        ] {
            list.clear();
            list.resize(len, None);
        }
    }

    fn seen(&mut self, node: Node, zones: &Places) -> Option<&mut Option<Node>> {
        match node {
            Node::Start => None,
            Node::Item(item) => self.to_item.get_mut(item as usize),
            Node::ZoneItem(item, zone) => {
                self.to_zone_item.get_mut(item as usize * zones.zones.len() + zone as usize)
            }
            Node::Place(place) => {
                // In a zone without capacity, nothing is ever placed.
                self.to_place.get_mut(place as usize).filter(|_| zones.zone_of[place as usize] != NO_ZONE)
            }
        }
    }

    fn reach(&mut self, node: Node, from: Node, zones: &Places) {
        if let Some(seen) = self.seen(node, zones)
            && seen.is_none()
        {
            *seen = Some(from);
            self.queue.push_back(node);
        }
    }

    fn came_from(&mut self, node: Node, zones: &Places) -> Node {
        self.seen(node, zones).and_then(|seen| *seen).unwrap_or(Node::Start)
    }
}
