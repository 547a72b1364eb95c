//! Pure: from snapshots of the keys to the state, by what has changed between them.

use std::sync::Arc;

use courant_keyspace::{Change, Entry, Snapshot};

use crate::keys::Keys;
use crate::state::{MemberSpec, Stamp, State};
use crate::transaction::Values;

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<'a> {
    /// An item is there.
    Item {
        /// Its name.
        id: &'a str,
        /// Members that are to hold it.
        replication: u32,
    },
    /// A member is there.
    Member {
        /// Where it is.
        zone: &'a str,
        /// Who it is there.
        suffix: &'a str,
        /// What it says of itself.
        spec: MemberSpec,
    },
    /// A member holds an item.
    Assignment {
        /// The item's name.
        item: &'a str,
        /// The member's zone.
        zone: &'a str,
        /// The member's suffix.
        suffix: &'a str,
        /// Zero is the primary's.
        slot: u32,
    },
}

/// A report that a member does not answer. It is to be treated as failed for the items whose primary reports it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Suspicion {
    /// Zone and suffix of who does not answer.
    pub member: (Box<str>, Box<str>),
    /// Zone and suffix of who says so.
    pub by: (Box<str>, Box<str>),
    /// The member has shown since that it lives, in a way that needs no answer to the other.
    pub shows_life: bool,
}

/// What keys and values mean to the user of an allocator.
pub trait Reader: Send + Sync + 'static {
    /// What the user's decoder makes of values.
    type Value: Send + Sync + 'static;

    /// Where the user keeps reports of members that do not answer.
    type Reports: Send + Sync + 'static;

    /// What an entry says; none if it is none of ours.
    fn fact<'a>(&self, entry: &'a Entry<Self::Value>) -> Option<Fact<'a>>;

    /// Whether an assignment is consistent, given all assignments of its item.
    fn is_consistent(&self, entry: &Entry<Self::Value>, all: &[&Entry<Self::Value>]) -> bool;

    /// The value of an assignment as it is kept.
    fn value(&self, entry: &Entry<Self::Value>) -> Vec<u8>;

    /// The members that do not answer, in the allocator's words.
    fn suspicions(&self, reports: &Self::Reports) -> Vec<Suspicion>;

    /// The value of a new assignment that is the only one of its item. See [`Values::alone`].
    fn alone(&self, zone: &str, suffix: &str) -> Vec<u8>;
}

/// A state that follows snapshots.
#[derive(Debug)]
pub struct Follower<V> {
    /// What the newest snapshot made of it.
    pub state: State,
    seen: Option<Arc<Snapshot<V>>>,
}

impl<V> Default for Follower<V> {
    fn default() -> Self {
        Self { state: State::new(), seen: None }
    }
}

impl<V: Send + Sync + 'static> Follower<V> {
    /// Takes over what has changed since the snapshot before.
    pub fn follow(&mut self, snapshot: &Arc<Snapshot<V>>, keys: &Keys, reader: &impl Reader<Value = V>) {
        let seen = self.seen.replace(Arc::clone(snapshot));
        // Items whose assignments have changed. Keys come in order, so those of one item come together.
        let mut touched: Vec<String> = Vec::new();
        let mut touch = |item: &str| {
            if touched.last().is_none_or(|last| *last != *item) {
                touched.push(item.to_owned());
            }
        };
        match &seen {
            None => {
                for entry in snapshot.all() {
                    if let Some(fact) = reader.fact(entry) {
                        self.put(fact, entry, &mut touch);
                    }
                }
            }
            Some(seen) => {
                for change in snapshot.changes_since(seen) {
                    match change {
                        Change::Added(entry) | Change::Updated { new: entry, .. } => {
                            if let Some(fact) = reader.fact(entry) {
                                self.put(fact, entry, &mut touch);
                            }
                        }
                        Change::Removed(entry) => {
                            if let Some(fact) = reader.fact(entry) {
                                self.remove(fact, &mut touch);
                            }
                        }
                    }
                }
            }
        }
        for item in touched {
            let run = snapshot.prefix(keys.assignments(&item));
            let all: Vec<&Entry<V>> = run.iter().map(AsRef::as_ref).collect();
            let consistent: Vec<bool> = all.iter().map(|entry| reader.is_consistent(entry, &all)).collect();
            self.state.set_consistent(&item, |at| consistent.get(at).copied().unwrap_or(false));
            // A value is what a member was told when its set was consistent.
            let synced: Vec<bool> = all.iter().map(|entry| !reader.value(entry).is_empty()).collect();
            self.state.set_synced(&item, |at| synced.get(at).copied().unwrap_or(false));
        }
    }

    fn put(&mut self, fact: Fact<'_>, entry: &Entry<V>, touch: &mut impl FnMut(&str)) {
        let stamp = Stamp {
            create_revision: entry.create_revision.get(),
            mod_revision: entry.mod_revision.get(),
            lease: entry.lease,
        };
        match fact {
            Fact::Item { id, replication } => self.state.put_item(id, replication, stamp),
            Fact::Member { zone, suffix, spec } => self.state.put_member(zone, suffix, spec, stamp),
            Fact::Assignment { item, zone, suffix, slot } => {
                touch(item);
                self.state.put_assignment(item, (zone, suffix), slot, stamp, false);
            }
        }
    }

    fn remove(&mut self, fact: Fact<'_>, touch: &mut impl FnMut(&str)) {
        match fact {
            Fact::Item { id, .. } => self.state.remove_item(id),
            Fact::Member { zone, suffix, .. } => self.state.remove_member(zone, suffix),
            Fact::Assignment { item, zone, suffix, slot } => {
                touch(item);
                self.state.remove_assignment(item, (zone, suffix), slot);
            }
        }
    }
}

/// Values as a snapshot has them.
#[derive(Debug)]
pub(crate) struct ValuesOf<'a, R: Reader> {
    pub(crate) snapshot: &'a Snapshot<R::Value>,
    pub(crate) reader: &'a R,
}

impl<R: Reader> Values for ValuesOf<'_, R> {
    fn value(&self, key: &[u8]) -> Vec<u8> {
        self.snapshot.get(key).map(|entry| self.reader.value(entry)).unwrap_or_default()
    }

    fn alone(&self, zone: &str, suffix: &str) -> Vec<u8> {
        self.reader.alone(zone, suffix)
    }
}
