//! Pure: a greatest flow through a [`Network`], by pushing excess downhill and lifting nodes that cannot push.
//!
//! The active node of greatest height is discharged first. Each node goes through its arcs from where it stopped, begun at its own
//! number so that nodes with the same arcs do not all fill the same one first; then it gives back what it got, last in first
//! out; then it is lifted. Where a height empties below the source's, what is above it is lifted to just below the source and not past it, so that
//! the rules of the network get to give way before anything is given back.

use crate::network::{Kind, Network, Node, Page, SINK, SOURCE};

/// No flow.
const NONE: u32 = u32::MAX;

/// One unit that a zone-item has given to a member.
#[derive(Clone, Copy, Debug)]
struct Unit {
    /// Number of the zone-item among zone-items.
    zone_item: u32,
    place: u32,
    /// The next and the previous unit of the member.
    next: u32,
    previous: u32,
    /// The next unit of the zone-item.
    sibling: u32,
}

/// What a node is at.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    height: u32,
    excess: u32,
    /// The lowest neighbour that was in the way since the node was lifted.
    lowest: u32,
    /// The current arc.
    arc: u32,
    page: u8,
}

/// The solver. It keeps its memory from batch to batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Solver {
    nodes: Vec<State>,
    /// How many nodes have each height.
    at_height: Vec<u32>,
    /// Active nodes: a binary heap by height, the greatest first.
    active: Vec<Node>,
    /// From the source to each item, from items to zone-items, from members to the sink.
    from_source: Vec<u32>,
    to_zone: Vec<u32>,
    to_sink: Vec<u32>,
    units: Vec<Unit>,
    free: u32,
    /// First unit of each zone-item; first and last unit of each member.
    given: Vec<u32>,
    first: Vec<u32>,
    last: Vec<u32>,
}

impl Solver {
    /// Solves a batch. What each item got is read by [`Solver::places`] then.
    pub(crate) fn solve(&mut self, network: &Network<'_>) {
        self.reset(network);
        for item in 0..network.items() {
            let offered = network.batch.offered[item as usize];
            if offered > 0 {
                self.from_source[item as usize] = offered;
                let node = network.item(item);
                self.nodes[node as usize].excess = offered;
                self.activate(node);
            }
        }
        while let Some(node) = self.pop() {
            self.discharge(network, node);
        }
    }

    /// The places that an item got, ascending.
    pub(crate) fn places(&self, network: &Network<'_>, item: u32, into: &mut Vec<u32>) {
        let begin = into.len();
        for zone in 0..network.zones() {
            let mut unit = self.given[(item * network.zones() + zone) as usize];
            while unit != NONE {
                into.push(self.units[unit as usize].place);
                unit = self.units[unit as usize].sibling;
            }
        }
        into[begin..].sort_unstable();
    }

    fn reset(&mut self, network: &Network<'_>) {
        let nodes = network.nodes() as usize;
        let (items, zone_items) = (network.items() as usize, (network.items() * network.zones()) as usize);
        let members = nodes - 2 - items - zone_items;
        self.nodes.clear();
        let node = |height| State { height, lowest: NONE, ..State::default() };
        self.nodes.extend([node(network.nodes()), node(0)]);
        self.nodes.resize(2 + items, node(3));
        self.nodes.resize(2 + items + zone_items, node(2));
        self.nodes.resize(nodes, node(1));
        self.at_height.clear();
        self.at_height.resize(2 * nodes + 2, 0);
        for (height, count) in [(nodes, 1), (0, 1), (3, items), (2, zone_items), (1, members)] {
            self.at_height[height] += u32::try_from(count).unwrap_or(u32::MAX);
        }
        self.active.clear();
        for (list, len, value) in [
            (&mut self.from_source, items, 0),
            (&mut self.to_zone, zone_items, 0),
            (&mut self.to_sink, members, 0),
            (&mut self.given, zone_items, NONE),
            (&mut self.first, members, NONE),
            (&mut self.last, members, NONE),
        ] {
            list.clear();
            list.resize(len, value);
        }
        self.units.clear();
        self.free = NONE;
    }

    /// Pushes what a node has in excess, lifting it as often as that takes.
    fn discharge(&mut self, network: &Network<'_>, node: Node) {
        let kind = network.kind(node);
        loop {
            if self.push_forth(network, node, kind) || self.push_back(network, node, kind) {
                return;
            }
            self.lift(network, node);
        }
    }

    /// Pushes along the arcs that are left. Whether all excess is gone.
    fn push_forth(&mut self, network: &Network<'_>, node: Node, kind: Kind) -> bool {
        let at = node as usize;
        let height = self.nodes[at].height;
        while let Some(page) = network.page(kind, height, self.nodes[at].page) {
            let arcs = network.arcs(page);
            while self.nodes[at].arc < arcs {
                let turned = (self.nodes[at].arc + node % arcs) % arcs;
                let (to, capacity) = network.arc(page, turned);
                let left = capacity.saturating_sub(self.flow(network, kind, to));
                if left > 0 {
                    let below = self.nodes[to as usize].height;
                    if height > below {
                        let amount = left.min(self.nodes[at].excess);
                        self.push(network, kind, to, amount, page);
                        self.nodes[at].excess -= amount;
                        self.receive(to, amount);
                        if self.nodes[at].excess == 0 {
                            // What this arc has left is tried first the next time.
                            return true;
                        }
                    } else {
                        let lowest = &mut self.nodes[at].lowest;
                        *lowest = below.min(*lowest);
                    }
                }
                self.nodes[at].arc += 1;
            }
            let state = &mut self.nodes[at];
            (state.page, state.arc) = (state.page + 1, 0);
        }
        false
    }

    /// Gives back what it got, the last first. Whether all excess is gone.
    fn push_back(&mut self, network: &Network<'_>, node: Node, kind: Kind) -> bool {
        let (height, excess) = (self.nodes[node as usize].height, self.nodes[node as usize].excess);
        match kind {
            Kind::Item(item) => {
                let flow = &mut self.from_source[item as usize];
                let amount = Self::back(&mut self.nodes, node, SOURCE, *flow);
                *flow -= amount;
            }
            Kind::ZoneItem { item, zone } => {
                let flow = &mut self.to_zone[(item * network.zones() + zone) as usize];
                let to = network.item(item);
                let amount = Self::back(&mut self.nodes, node, to, *flow);
                *flow -= amount;
                self.receive(to, amount);
            }
            Kind::Member(place) => {
                let mut unit = self.last[place as usize];
                let mut left = excess;
                while unit != NONE && left > 0 {
                    let Unit { zone_item, previous, .. } = self.units[unit as usize];
                    let to = network.zone_item(0, 0) + zone_item;
                    let above = self.nodes[to as usize].height;
                    if height > above {
                        self.unlink(unit);
                        self.receive(to, 1);
                        left -= 1;
                    } else {
                        let lowest = &mut self.nodes[node as usize].lowest;
                        *lowest = above.min(*lowest);
                    }
                    unit = previous;
                }
                self.nodes[node as usize].excess = left;
            }
            Kind::Source | Kind::Sink => {}
        }
        self.nodes[node as usize].excess == 0
    }

    /// How much of `flow` goes back over an arc, or that its beginning is in the way.
    fn back(nodes: &mut [State], node: Node, to: Node, flow: u32) -> u32 {
        let above = nodes[to as usize].height;
        let state = &mut nodes[node as usize];
        if flow == 0 {
            0
        } else if state.height > above {
            let amount = flow.min(state.excess);
            state.excess -= amount;
            amount
        } else {
            state.lowest = above.min(state.lowest);
            0
        }
    }

    /// Lifts a node to above the lowest neighbour that is in its way.
    fn lift(&mut self, network: &Network<'_>, node: Node) {
        let State { height: from, lowest, .. } = self.nodes[node as usize];
        assert!(lowest != NONE, "a node with excess can always give it back");
        let mut to = lowest + 1;
        let source = network.nodes();
        if self.at_height[from as usize] == 1 && (1..source - 1).contains(&from) && to < source - 1 {
            if self.at_height[to as usize] > 0 {
                self.lift_all(network, from);
            }
            to = source - 1;
        }
        self.raise(node, to);
    }

    /// Nothing gets down any more from above `gap`: all nodes between it and the source are lifted.
    fn lift_all(&mut self, network: &Network<'_>, gap: u32) {
        let source = network.nodes();
        for node in 0..source {
            let height = self.nodes[node as usize].height;
            if height > gap && height < source - 1 && node != SOURCE {
                self.raise(node, source - 1);
            }
        }
        // They are in the heap at heights that they no longer have.
        for at in (0..self.active.len() / 2).rev() {
            self.sift_down(at);
        }
    }

    fn raise(&mut self, node: Node, to: u32) {
        let state = &mut self.nodes[node as usize];
        self.at_height[state.height as usize] -= 1;
        self.at_height[to as usize] += 1;
        *state = State { height: to, excess: state.excess, lowest: NONE, arc: 0, page: 0 };
    }

    /// The flow over an arc.
    fn flow(&self, network: &Network<'_>, from: Kind, to: Node) -> u32 {
        match from {
            Kind::Item(_) => self.to_zone[(to - network.zone_item(0, 0)) as usize],
            Kind::ZoneItem { item, zone } => {
                let place = to - network.member(0);
                let mut unit = self.given[(item * network.zones() + zone) as usize];
                while unit != NONE {
                    let Unit { place: other, sibling, .. } = self.units[unit as usize];
                    if other == place {
                        return 1;
                    }
                    unit = sibling;
                }
                0
            }
            Kind::Member(place) => self.to_sink[place as usize],
            Kind::Source | Kind::Sink => 0,
        }
    }

    fn push(&mut self, network: &Network<'_>, from: Kind, to: Node, amount: u32, page: Page) {
        match from {
            Kind::Item(_) => self.to_zone[(to - network.zone_item(0, 0)) as usize] += amount,
            Kind::ZoneItem { item, zone } => {
                self.link(item * network.zones() + zone, to - network.member(0), page.is_front());
            }
            Kind::Member(place) => self.to_sink[place as usize] += amount,
            Kind::Source | Kind::Sink => {}
        }
    }

    fn receive(&mut self, node: Node, amount: u32) {
        if amount > 0 && node != SINK {
            let excess = &mut self.nodes[node as usize].excess;
            *excess += amount;
            if *excess == amount {
                self.activate(node);
            }
        }
    }

    /// A zone-item gives a unit to a member, as its first or its last.
    fn link(&mut self, zone_item: u32, place: u32, front: bool) {
        let unit =
            Unit { zone_item, place, next: NONE, previous: NONE, sibling: self.given[zone_item as usize] };
        let number = if self.free == NONE {
            self.units.push(unit);
            crate::network::len(&self.units) - 1
        } else {
            let number = self.free;
            self.free = self.units[number as usize].sibling;
            self.units[number as usize] = unit;
            number
        };
        self.given[zone_item as usize] = number;
        let (first, last) = (&mut self.first[place as usize], &mut self.last[place as usize]);
        if *first == NONE {
            (*first, *last) = (number, number);
        } else if front {
            self.units[number as usize].next = *first;
            self.units[*first as usize].previous = number;
            *first = number;
        } else {
            self.units[number as usize].previous = *last;
            self.units[*last as usize].next = number;
            *last = number;
        }
    }

    /// A member gives a unit back.
    fn unlink(&mut self, number: u32) {
        let Unit { zone_item, place, next, previous, sibling } = self.units[number as usize];
        match previous {
            NONE => self.first[place as usize] = next,
            previous => self.units[previous as usize].next = next,
        }
        match next {
            NONE => self.last[place as usize] = previous,
            next => self.units[next as usize].previous = previous,
        }
        let mut elder = self.given[zone_item as usize];
        if elder == number {
            self.given[zone_item as usize] = sibling;
        } else {
            while self.units[elder as usize].sibling != number {
                elder = self.units[elder as usize].sibling;
            }
            self.units[elder as usize].sibling = sibling;
        }
        self.units[number as usize].sibling = self.free;
        self.free = number;
    }

    fn height(&self, at: usize) -> u32 {
        self.nodes[self.active[at] as usize].height
    }

    fn activate(&mut self, node: Node) {
        let mut at = self.active.len();
        self.active.push(node);
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.height(at) <= self.height(parent) {
                return;
            }
            self.active.swap(at, parent);
            at = parent;
        }
    }

    fn pop(&mut self) -> Option<Node> {
        if self.active.is_empty() {
            return None;
        }
        let highest = self.active.swap_remove(0);
        self.sift_down(0);
        Some(highest)
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let mut child = 2 * at + 1;
            if child >= self.active.len() {
                return;
            }
            if child + 1 < self.active.len() && self.height(child + 1) > self.height(child) {
                child += 1;
            }
            if self.height(child) <= self.height(at) {
                return;
            }
            self.active.swap(at, child);
            at = child;
        }
    }
}

#[cfg(test)]
mod tests;
