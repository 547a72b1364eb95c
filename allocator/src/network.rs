//! Pure: the flow network of a batch of items: which arcs a node offers, in which order, with which capacity.
//!
//! ```text
//!  source ─► item ─► zone-item ─► member ─► sink
//! ```
//!
//! An item takes what it wants from the source and spreads it over zones; a zone-item is an item in one zone, and hands one
//! unit to each of its members; a member gives the sink at most what it may hold. Offers come in pages: what keeps
//! things where they are comes first, then what spreads them. Where the flow cannot be placed, heights rise, and two rules give way in this
//! order: no member holds more than its fair share; an item lies in two zones.

/// A node: the source, the sink, items, zone-items (those of an item together), members.
pub(crate) type Node = u32;

pub(crate) const SOURCE: Node = 0;
pub(crate) const SINK: Node = 1;
const FIRST_ITEM: Node = 2;

/// The members, as all batches see them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// Places of the members of each zone, `[from, to)`.
    pub(crate) zones: Vec<(u32, u32)>,
    /// The zone of each place, or [`NO_ZONE`].
    pub(crate) zone_of: Vec<u32>,
}

/// The zone of a member whose zone has no capacity.
pub(crate) const NO_ZONE: u32 = u32::MAX;

impl Places {
    pub(crate) fn new(members: usize, zones: &[(u32, u32)]) -> Self {
        let mut zone_of = vec![NO_ZONE; members];
        for (zone, &(from, to)) in (0..).zip(zones) {
            zone_of[from as usize..to as usize].fill(zone);
        }
        Self { zones: zones.to_vec(), zone_of }
    }
}

/// A batch of items, and what members may take of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// Replicas wanted, which the rules are made of.
    pub(crate) replication: Vec<u32>,
    /// What the source offers.
    pub(crate) offered: Vec<u32>,
    /// Places that are to be kept if possible, ascending: item `i` has those from `kept_from[i]` to `kept_from[i + 1]`.
    pub(crate) kept: Vec<u32>,
    pub(crate) kept_from: Vec<u32>,
    /// What each place may hold of this batch, at most.
    pub(crate) limits: Vec<u32>,
    /// What each place should hold of this batch, at most.
    pub(crate) shares: Vec<u32>,
    /// Pairs of an item and a place that are not to come together, sorted.
    pub(crate) barred: Vec<(u32, u32)>,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        let Self { replication, offered, kept, kept_from, limits, shares, barred } = self;
        for list in [replication, offered, kept, kept_from, limits, shares] {
            list.clear();
        }
        barred.clear();
        self.kept_from.push(0);
    }

    /// Adds an item with its places.
    pub(crate) fn push(&mut self, replication: u32, offered: u32, kept: impl IntoIterator<Item = u32>) {
        self.replication.push(replication);
        self.offered.push(offered);
        self.kept.extend(kept);
        self.kept_from.push(len(&self.kept));
    }

    pub(crate) fn kept(&self, item: u32) -> &[u32] {
        &self.kept[self.kept_from[item as usize] as usize..self.kept_from[item as usize + 1] as usize]
    }
}

pub(crate) fn len<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Source,
    Sink,
    Item(u32),
    ZoneItem { item: u32, zone: u32 },
    Member(u32),
}

/// A page of arcs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// To zones that hold the item, with no more than they hold.
    KeptZones { item: u32, zones: u32, most: u32 },
    /// To all zones, with the same capacity for each.
    AllZones { item: u32, most: u32 },
    /// To members of the zone that hold the item.
    KeptMembers { item: u32, from: u32, len: u32 },
    /// To all members of the zone.
    AllMembers { item: u32, zone: u32 },
    /// To the sink.
    Sink { most: u32 },
}

impl Page {
    /// How it inserts flow: first in, so that it is given back last.
    pub(crate) const fn is_front(self) -> bool {
        matches!(self, Self::KeptZones { .. } | Self::KeptMembers { .. })
    }
}

/// The network of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network<'a> {
    pub(crate) places: &'a Places,
    pub(crate) batch: &'a Batch,
    items: u32,
    zones: u32,
}

impl<'a> Network<'a> {
    pub(crate) fn new(places: &'a Places, batch: &'a Batch) -> Self {
        Self { places, batch, items: len(&batch.replication), zones: len(&places.zones) }
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> u32 {
        FIRST_ITEM + self.items * (1 + self.zones) + len(&self.places.zone_of)
    }

    pub(crate) fn items(&self) -> u32 {
        self.items
    }

    pub(crate) fn zones(&self) -> u32 {
        self.zones
    }

    pub(crate) fn item(&self, item: u32) -> Node {
        FIRST_ITEM + item
    }

    pub(crate) fn zone_item(&self, item: u32, zone: u32) -> Node {
        FIRST_ITEM + self.items + item * self.zones + zone
    }

    pub(crate) fn member(&self, place: u32) -> Node {
        FIRST_ITEM + self.items * (1 + self.zones) + place
    }

    pub(crate) fn kind(&self, node: Node) -> Kind {
        let zone_items = FIRST_ITEM + self.items;
        let members = zone_items + self.items * self.zones;
        match node {
            SOURCE => Kind::Source,
            SINK => Kind::Sink,
            _ if node < zone_items => Kind::Item(node - FIRST_ITEM),
            _ if node < members => Kind::ZoneItem {
                item: (node - zone_items) / self.zones,
                zone: (node - zone_items) % self.zones,
            },
            _ => Kind::Member(node - members),
        }
    }

    /// Page `number` of what a node of this height offers; none after the last. A page may be empty.
    pub(crate) fn page(&self, kind: Kind, height: u32, number: u8) -> Option<Page> {
        let nodes = self.nodes();
        match kind {
            Kind::Item(item) => {
                let replication = self.batch.replication[item as usize];
                let spread = replication.saturating_sub(1).max(1);
                if self.zones == 1 || height == nodes + 1 {
                    return (number == 0).then_some(Page::AllZones { item, most: replication });
                }
                match number {
                    0 => Some(Page::KeptZones { item, zones: self.kept_zones(item), most: spread }),
                    1 => Some(Page::AllZones { item, most: replication.div_ceil(self.zones) }),
                    2 => Some(Page::AllZones { item, most: spread }),
                    _ => None,
                }
            }
            Kind::ZoneItem { item, zone } => match number {
                0 => {
                    let (from, len) = self.kept_members(item, zone);
                    Some(Page::KeptMembers { item, from, len })
                }
                1 => Some(Page::AllMembers { item, zone }),
                _ => None,
            },
            Kind::Member(place) => {
                let most = if height + 1 >= nodes { &self.batch.limits } else { &self.batch.shares };
                (number == 0).then_some(Page::Sink { most: most[place as usize] })
            }
            Kind::Source | Kind::Sink => None,
        }
    }

    /// How many arcs a page has.
    pub(crate) fn arcs(&self, page: Page) -> u32 {
        match page {
            Page::KeptZones { zones, .. } => zones,
            Page::AllZones { .. } => self.zones,
            Page::KeptMembers { len, .. } => len,
            Page::AllMembers { zone, .. } => {
                let (from, to) = self.places.zones[zone as usize];
                to - from
            }
            Page::Sink { .. } => 1,
        }
    }

    /// An arc of a page: where to, and how much flow it takes in all.
    pub(crate) fn arc(&self, page: Page, at: u32) -> (Node, u32) {
        match page {
            Page::KeptZones { item, most, .. } => {
                let (zone, held) = self.kept_zone(item, at);
                (self.zone_item(item, zone), held.min(most))
            }
            Page::AllZones { item, most } => (self.zone_item(item, at), most),
            Page::KeptMembers { item, from, .. } => {
                let place = self.batch.kept[(from + at) as usize];
                (self.member(place), self.unless_barred(item, place))
            }
            Page::AllMembers { item, zone } => {
                let place = self.places.zones[zone as usize].0 + at;
                (self.member(place), self.unless_barred(item, place))
            }
            Page::Sink { most } => (SINK, most),
        }
    }

    fn unless_barred(&self, item: u32, place: u32) -> u32 {
        let barred = &self.batch.barred;
        u32::from(barred.is_empty() || barred.binary_search(&(item, place)).is_err())
    }

    /// How many zones hold an item.
    fn kept_zones(&self, item: u32) -> u32 {
        let kept = self.batch.kept(item);
        let zone = |place: u32| self.places.zone_of[place as usize];
        let changes = kept.windows(2).filter(|pair| zone(pair[0]) != zone(pair[1])).count();
        if kept.is_empty() { 0 } else { u32::try_from(changes + 1).unwrap_or(u32::MAX) }
    }

    /// The zone that is the `at`th of those that hold an item, and how often it does.
    fn kept_zone(&self, item: u32, at: u32) -> (u32, u32) {
        let zone = |place: &u32| self.places.zone_of[*place as usize];
        let runs = self.batch.kept(item).chunk_by(|a, b| zone(a) == zone(b));
        runs.map(|run| (zone(&run[0]), len(run))).nth(at as usize).unwrap_or((0, 0))
    }

    /// Where the members of a zone lie among all places that are kept, and how many they are.
    fn kept_members(&self, item: u32, zone: u32) -> (u32, u32) {
        let zone_of = |place: &u32| self.places.zone_of[*place as usize];
        let kept = self.batch.kept(item);
        let from = kept.partition_point(|place| zone_of(place) < zone);
        let held = kept[from..].iter().take_while(|place| zone_of(place) == zone).count();
        let from = self.batch.kept_from[item as usize] as usize + from;
        (u32::try_from(from).unwrap_or(u32::MAX), u32::try_from(held).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests;
