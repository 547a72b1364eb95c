//! Pure: one revision of a prefix, immutable and shared.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::changes::{self, Change};
use crate::decode::Decoder;
use crate::entries::{Entries, Run, prefix_end};
use crate::entry::{Entry, KeyValue, Seen, SetAside};
use crate::revision::{Revision, StoreHeader};

/// The keys and values of a prefix as they were at one revision.
#[derive(Debug)]
pub struct Snapshot<V> {
    pub(crate) header: StoreHeader,
    /// The state at this revision is known whole (from a read), so events up to it are repetitions.
    pub(crate) floor: Revision,
    pub(crate) read_through: Revision,
    pub(crate) entries: Entries<V>,
    pub(crate) set_aside: Arc<BTreeMap<Box<[u8]>, SetAside>>,
}

impl<V> Clone for Snapshot<V> {
    fn clone(&self) -> Self {
        Self {
            header: self.header,
            floor: self.floor,
            read_through: self.read_through,
            entries: self.entries.clone(),
            set_aside: Arc::clone(&self.set_aside),
        }
    }
}

impl<V> Snapshot<V> {
    /// The state of a prefix as it was read, whole, at `header.revision`. Keys may come in any order.
    pub fn loaded<D: Decoder<Value = V>>(
        header: StoreHeader,
        key_values: impl IntoIterator<Item = KeyValue>,
        decoder: &D,
    ) -> Self {
        Self::reloaded(header, key_values, decoder, None)
    }

    /// As [`Snapshot::loaded`], sharing what did not change with the snapshot that it replaces.
    pub(crate) fn reloaded<D: Decoder<Value = V>>(
        header: StoreHeader,
        key_values: impl IntoIterator<Item = KeyValue>,
        decoder: &D,
        previous: Option<&Self>,
    ) -> Self {
        let mut entries = Vec::new();
        let mut set_aside = BTreeMap::new();
        for kv in key_values {
            let old = previous.and_then(|previous| previous.get_shared(&kv.key));
            if let Some(same) = old.filter(|old| old.mod_revision == kv.mod_revision) {
                entries.push(Arc::clone(same));
                continue;
            }
            match decode(decoder, kv) {
                Ok(entry) => entries.push(Arc::new(entry)),
                Err(refused) => {
                    // A value that was good while this life of the key lasted is still its last good value.
                    entries.extend(old.filter(|old| old.create_revision == refused.create_revision).cloned());
                    set_aside.insert(refused.key.clone(), refused);
                }
            }
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries.dedup_by(|a, b| a.key == b.key);
        Self {
            header,
            floor: header.revision,
            read_through: header.revision,
            entries: Entries::from_sorted(entries),
            set_aside: Arc::new(set_aside),
        }
    }

    /// Who told us, with this snapshot's revision in it.
    #[must_use]
    pub const fn header(&self) -> StoreHeader {
        self.header
    }

    /// The revision of the newest event under the prefix, or that of the load if there was none since. Two
    /// mirrors of a prefix that have seen the same revision hold the same keys.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.header.revision
    }

    /// The greatest revision that this snapshot is known to reflect: at or above [`Snapshot::revision`], and
    /// above it when what happened since happened elsewhere in the store.
    #[must_use]
    pub const fn read_through(&self) -> Revision {
        self.read_through
    }

    /// How many keys have a decoded value.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key has a decoded value.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// The entry of a full key.
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&Entry<V>> {
        self.entries.get(key.as_ref()).map(Arc::as_ref)
    }

    /// The entry of a full key, to be kept beyond this snapshot.
    #[must_use]
    pub fn get_shared(&self, key: impl AsRef<[u8]>) -> Option<&Arc<Entry<V>>> {
        self.entries.get(key.as_ref())
    }

    /// All entries, sorted by key.
    #[must_use]
    pub fn all(&self) -> Run<'_, V> {
        self.entries.all()
    }

    /// The entries whose full key begins with `prefix`, sorted by key.
    #[must_use]
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Run<'_, V> {
        let prefix = prefix.as_ref();
        self.entries.range(prefix, prefix_end(prefix).as_deref())
    }

    /// The entries whose full key lies in `[from, to)`, sorted by key.
    #[must_use]
    pub fn range(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Run<'_, V> {
        self.entries.range(from.as_ref(), Some(to.as_ref()))
    }

    /// The puts that could not be decoded and have not been mended since, sorted by key.
    pub fn set_aside(&self) -> impl ExactSizeIterator<Item = &SetAside> {
        self.set_aside.values()
    }

    /// What became different since `older`, sorted by key. Cheap if both come from one mirror: what they share
    /// is skipped unseen.
    #[must_use]
    pub fn changes_since<'a>(&'a self, older: &'a Self) -> Vec<Change<'a, V>> {
        changes::between(&older.entries, &self.entries)
    }

    /// The newest that is known of a key, decoded or not.
    pub(crate) fn seen(&self, key: &[u8]) -> Option<Seen> {
        let refused = self.set_aside.get(key).map(SetAside::seen);
        refused.or_else(|| self.get(key).map(Entry::seen))
    }

    /// A key that is older here than it is in `previous`, which was read earlier: the revisions of its last change there and here. In one
    /// history there is none.
    pub(crate) fn key_before(&self, previous: &Self) -> Option<(Revision, Revision)> {
        let keys = self.all().iter().map(|entry| &entry.key).chain(self.set_aside.keys());
        keys.into_iter().find_map(|key| {
            let (held, got) = (previous.seen(key)?.mod_revision, self.seen(key)?.mod_revision);
            (got < held).then_some((held, got))
        })
    }

    /// How many keys the prefix holds in etcd, whether they could be decoded or not.
    pub(crate) fn key_count(&self) -> usize {
        self.len() + self.set_aside.keys().filter(|key| self.entries.get(key).is_none()).count()
    }

    /// The same snapshot, known to reflect the store up to `revision`, whose events were all delivered.
    pub(crate) fn read_through_to(&self, revision: Revision) -> Self {
        Self { read_through: self.read_through.max(revision), ..self.clone() }
    }

    /// The same snapshot, proven by a read to be the whole state at `revision`.
    pub(crate) fn proven_at(&self, revision: Revision) -> Self {
        Self { floor: self.floor.max(revision), ..self.read_through_to(revision) }
    }

    /// Where a watch takes up: every event from there on is either new or recognised as a repetition.
    ///
    /// The revision of the newest event is asked for again, because etcd has been seen to tell of one revision
    /// in two responses, and the watch may have ended between them.
    pub(crate) fn resume_at(&self) -> Revision {
        if self.read_through > self.revision() || self.revision() <= self.floor {
            self.read_through.next()
        } else {
            self.revision()
        }
    }
}

/// Decodes a put, or says why it is set aside.
pub(crate) fn decode<D: Decoder>(decoder: &D, put: KeyValue) -> Result<Entry<D::Value>, SetAside> {
    let KeyValue { key, value, create_revision, mod_revision, version, lease } = put;
    let key = key.into_boxed_slice();
    match decoder.decode(&key, &value) {
        Ok(value) => Ok(Entry { key, value, create_revision, mod_revision, version, lease }),
        Err(reason) => Err(SetAside { key, reason, create_revision, mod_revision, version }),
    }
}

#[cfg(test)]
mod tests;
