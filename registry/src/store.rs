//! Pure: keys with their versions by revision, and the changes that watchers are told of.
//!
//! A revision is one request's writes. They are collected by [`Store::put`] and [`Store::delete`] and become the
//! next revision at [`Store::seal`]; reads in between see them, as reads inside a transaction must. The store
//! knows nothing of leases beyond the number a value carries, and refuses nothing but unreadable revisions.

use std::collections::{BTreeMap, VecDeque, btree_map};
use std::sync::Arc;

use bytes::Bytes;
use etcd_client::proto::PbKeyValue;

use crate::key_range::KeyRange;
use crate::record;
use crate::refusal::Refusal;

/// Revision of a store that was never written to.
const FIRST_REVISION: i64 = 1;

/// `compacted` of a store that was never compacted: below every revision that may be asked for.
const NEVER_COMPACTED: i64 = -1;

/// A key with at most so many versions has no room for more.
const FEW_VERSIONS: usize = 4;

/// A key's value and what etcd knows about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) value: Bytes,
    pub(crate) create_revision: i64,
    pub(crate) mod_revision: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

impl Entry {
    pub(crate) fn key_value(&self, key: &[u8]) -> PbKeyValue {
        PbKeyValue {
            key: key.to_vec(),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            value: self.value.to_vec(),
            lease: self.lease,
        }
    }
}

/// What a key was from a revision on; `None` is a deletion.
#[derive(Clone, Debug)]
struct Version {
    revision: i64,
    /// Shared with the event that tells of it.
    entry: Option<Arc<Entry>>,
}

/// One key's part in a change; no entry is a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) key: Bytes,
    pub(crate) entry: Option<Arc<Entry>>,
}

impl Event {
    fn len(&self) -> usize {
        self.key.len() + self.entry.as_ref().map_or(0, |entry| entry.value.len())
    }
}

/// All events of one revision, in the order they were made.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) revision: i64,
    pub(crate) events: Vec<Event>,
}

/// Every key, its history, and the changes since the compacted revision.
#[derive(Debug)]
pub(crate) struct Store {
    revision: i64,
    compacted: i64,
    /// Versions of each key, oldest first. Never empty.
    keys: BTreeMap<Bytes, Vec<Version>>,
    /// Changes without a gap, the last being `revision`'s, the first the compacted revision's or the second ever.
    history: VecDeque<Change>,
    history_bytes: usize,
    /// Events of the revision being made.
    pending: Vec<Event>,
}

impl Store {
    pub(crate) const fn new() -> Self {
        Self {
            revision: FIRST_REVISION,
            compacted: NEVER_COMPACTED,
            keys: BTreeMap::new(),
            history: VecDeque::new(),
            history_bytes: 0,
            pending: Vec::new(),
        }
    }

    /// The last sealed revision.
    pub(crate) const fn revision(&self) -> i64 {
        self.revision
    }

    /// The oldest revision that can be read; -1 if every one can.
    pub(crate) const fn compacted(&self) -> i64 {
        self.compacted
    }

    /// The revision that a read right now sees: the one being made if it has writes.
    pub(crate) fn read_revision(&self) -> i64 {
        if self.pending.is_empty() { self.revision } else { self.revision.saturating_add(1) }
    }

    /// Bytes of keys and values in the history.
    pub(crate) const fn history_bytes(&self) -> usize {
        self.history_bytes
    }

    /// The revision that a request for `revision` reads (zero or less: the latest), if it can be read.
    pub(crate) fn readable(&self, revision: i64) -> Result<i64, Refusal> {
        match revision {
            ..=0 => Ok(self.read_revision()),
            _ if revision > self.read_revision() => Err(Refusal::FutureRevision),
            _ if revision < self.compacted => Err(Refusal::Compacted),
            _ => Ok(revision),
        }
    }

    /// The key's latest entry.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.keys.get(key)?.last()?.entry.as_deref()
    }

    /// The key's entry at a revision, or nothing if that is not known any more.
    pub(crate) fn get_at(&self, key: &[u8], revision: i64) -> Option<&Entry> {
        if revision < self.compacted {
            return None;
        }
        at(self.keys.get(key)?, revision)
    }

    /// The keys of a range that exist at a readable revision, in key order.
    pub(crate) fn range_at(&self, range: &KeyRange, revision: i64) -> impl Iterator<Item = (&Bytes, &Entry)> {
        range.of(&self.keys).filter_map(move |(key, versions)| Some((key, at(versions, revision)?)))
    }

    /// Writes a key as part of the revision being made; returns what it was before.
    pub(crate) fn put(&mut self, key: Bytes, value: Bytes, lease: i64) -> Option<Arc<Entry>> {
        let revision = self.revision.saturating_add(1);
        // The event takes the key that is here already, and not another copy of it.
        let (key, versions) = match self.keys.entry(key) {
            btree_map::Entry::Occupied(known) => (known.key().clone(), known.into_mut()),
            btree_map::Entry::Vacant(free) => (free.key().clone(), free.insert(Vec::new())),
        };
        let previous = versions.last().and_then(|last| last.entry.clone());
        let entry = Arc::new(Entry {
            value,
            create_revision: previous.as_ref().map_or(revision, |p| p.create_revision),
            mod_revision: revision,
            version: previous.as_ref().map_or(1, |p| p.version.saturating_add(1)),
            lease,
        });
        push_version(versions, Version { revision, entry: Some(Arc::clone(&entry)) });
        self.pending.push(Event { key, entry: Some(entry) });
        previous
    }

    /// Deletes the keys of a range as part of the revision being made; returns them and what they were.
    pub(crate) fn delete(&mut self, range: &KeyRange) -> Vec<(Bytes, Arc<Entry>)> {
        let revision = self.revision.saturating_add(1);
        let gone: Vec<(Bytes, Arc<Entry>)> = range
            .of(&self.keys)
            .filter_map(|(key, versions)| Some((key.clone(), versions.last()?.entry.clone()?)))
            .collect();
        for (key, _) in &gone {
            if let Some(versions) = self.keys.get_mut(key) {
                push_version(versions, Version { revision, entry: None });
            }
            self.pending.push(Event { key: key.clone(), entry: None });
        }
        gone
    }

    /// Ends the revision being made. Without writes there is none, and no change.
    pub(crate) fn seal(&mut self) -> Option<&Change> {
        if self.pending.is_empty() {
            return None;
        }
        self.revision = self.revision.saturating_add(1);
        let mut events = std::mem::take(&mut self.pending);
        // It stays for thousands of revisions.
        events.shrink_to_fit();
        self.remember(Change { revision: self.revision, events });
        self.history.back()
    }

    fn remember(&mut self, change: Change) {
        self.history_bytes += change.events.iter().map(Event::len).sum::<usize>();
        self.history.push_back(change);
    }

    /// Changes from a revision on, oldest first. Those older than the history are simply not there:
    /// callers compare with [`Store::compacted`] first.
    pub(crate) fn changes_from(&self, revision: i64) -> impl Iterator<Item = &Change> {
        let first = self.history.front().map_or(i64::MAX, |change| change.revision);
        // Revisions in the history have no gaps, so the distance is the index.
        let skip = usize::try_from(revision.saturating_sub(first)).unwrap_or(0).min(self.history.len());
        self.history.range(skip..)
    }

    /// Gives up history below `revision`, which stays readable.
    pub(crate) fn compact(&mut self, revision: i64) -> Result<(), Refusal> {
        if revision <= self.compacted {
            return Err(Refusal::Compacted);
        }
        if revision > self.revision {
            return Err(Refusal::FutureRevision);
        }
        self.compacted = revision;
        // Only keys that changed up to `revision` can hold versions that it made superfluous.
        for change in self.history.iter().take_while(|change| change.revision <= revision) {
            for event in &change.events {
                prune(&mut self.keys, &event.key, revision);
            }
        }
        // The change at `revision` itself stays: a watcher may start there.
        while self.history.front().is_some_and(|change| change.revision < revision) {
            if let Some(change) = self.history.pop_front() {
                self.history_bytes -= change.events.iter().map(Event::len).sum::<usize>();
            }
        }
        Ok(())
    }

    /// The facts from which [`Store::restore`] and the ordinary replay rebuild this store.
    pub(crate) fn facts(&self, term: u64) -> Vec<record::Fact> {
        let base = self.compacted.max(FIRST_REVISION);
        let mut facts =
            vec![record::Fact::Base(record::Base { revision: base, compacted: self.compacted, term })];
        facts.extend(self.keys.iter().filter_map(|(key, versions)| {
            let entry = at(versions, base)?;
            Some(record::Fact::Kept(record::Kept {
                key: key.clone(),
                value: entry.value.clone(),
                create_revision: entry.create_revision,
                mod_revision: entry.mod_revision,
                version: entry.version,
                lease: entry.lease,
            }))
        }));
        facts.extend(self.history.iter().map(|change| {
            let past = change.revision <= base;
            let change = recorded(change);
            if past { record::Fact::Past(change) } else { record::Fact::Change(change) }
        }));
        facts
    }

    /// Starts over at a snapshot's numbers.
    pub(crate) fn restore(&mut self, base: record::Base) {
        *self = Self::new();
        self.revision = base.revision;
        self.compacted = base.compacted;
    }

    /// Takes a key of a snapshot as it was at the base revision.
    pub(crate) fn restore_key(&mut self, kept: record::Kept) {
        let entry = Entry {
            value: kept.value,
            create_revision: kept.create_revision,
            mod_revision: kept.mod_revision,
            version: kept.version,
            lease: kept.lease,
        };
        let version = Version { revision: kept.mod_revision, entry: Some(Arc::new(entry)) };
        self.keys.insert(kept.key, vec![version]);
    }

    /// Takes the change at the base revision of a snapshot, whose keys have been restored already.
    pub(crate) fn restore_change(&mut self, change: record::Change) {
        let events = change
            .edits
            .into_iter()
            .filter_map(|edit| match edit.put {
                None => Some(Event { key: edit.key, entry: None }),
                // A key that the same change put and then deleted has no entry to show; its delete tells enough.
                Some(_) => {
                    let entry = self.keys.get(&edit.key)?.last()?.entry.clone()?;
                    Some(Event { key: edit.key, entry: Some(entry) })
                }
            })
            .collect();
        self.remember(Change { revision: change.revision, events });
    }
}

/// The latest entry of a key's versions at a revision.
fn at(versions: &[Version], revision: i64) -> Option<&Entry> {
    let after = versions.partition_point(|version| version.revision <= revision);
    versions.get(after.checked_sub(1)?)?.entry.as_deref()
}

/// Adds a version. Most keys have one or two, and a vector would begin with room for four.
fn push_version(versions: &mut Vec<Version>, version: Version) {
    if versions.len() == versions.capacity() && versions.len() < FEW_VERSIONS {
        versions.reserve_exact(1);
    }
    versions.push(version);
}

/// Drops the versions of a key that no read at `revision` or later can see.
fn prune(keys: &mut BTreeMap<Bytes, Vec<Version>>, key: &Bytes, revision: i64) {
    let Some(versions) = keys.get_mut(key) else { return };
    let after = versions.partition_point(|version| version.revision <= revision);
    let Some(last) = after.checked_sub(1) else { return };
    let deleted = versions.get(last).is_some_and(|version| version.entry.is_none());
    versions.drain(..if deleted { after } else { last });
    if versions.len() <= FEW_VERSIONS {
        versions.shrink_to_fit();
    }
    if versions.is_empty() {
        keys.remove(key);
    }
}

/// A change as the log remembers it.
pub(crate) fn recorded(change: &Change) -> record::Change {
    let edits = change.events.iter().map(|event| record::Edit {
        key: event.key.clone(),
        put: event.entry.as_ref().map(|entry| record::Put { value: entry.value.clone(), lease: entry.lease }),
    });
    record::Change { revision: change.revision, edits: edits.collect() }
}

#[cfg(test)]
mod tests;
