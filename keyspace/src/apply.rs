//! Pure: a snapshot and a batch of watch responses make the next snapshot, or a reason why they cannot.
//!
//! etcd promises that a watch is ordered, and has been seen to repeat responses, to tell of one revision in two
//! responses, and to send headers that run ahead of their events. So a batch is believed by the revisions of its
//! events, key by key, and never by its headers:
//!
//! - events of the newest known revision may be its second half, and are applied unless they are known;
//! - events from before it are repetitions; one that the snapshot cannot account for means that something was
//!   missed, and the prefix must be read again;
//! - a progress notification says that everything up to its header's revision was delivered.
//!
//! It refuses to know what is done about trouble.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decode::Decoder;
use crate::entry::{Entry, Event, KeyValue, Seen, SetAside};
use crate::revision::{Revision, StoreHeader};
use crate::snapshot::{Snapshot, decode};

/// One response of a watch. Without events it is a progress notification, or the answer to its creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Who answered, and the revision it had reached.
    pub header: StoreHeader,
    /// The answer to the watch's creation. Its header says how far the member is, not what was delivered.
    pub created: bool,
    /// What happened, by ascending revision.
    pub events: Vec<Event>,
}

/// What a batch came to.
#[derive(Debug)]
pub struct Applied<V> {
    /// The next snapshot.
    pub snapshot: Snapshot<V>,
    /// What was not as it should be, and did no harm by itself.
    pub oddities: Vec<Oddity>,
}

/// Why a batch cannot be applied. The texts are those operators of such clusters know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Another cluster answers at this address. Nothing that is known holds there.
    #[error("etcd ClusterID mismatch (expected {expected}, got {got})")]
    ClusterMismatch {
        /// Ours.
        expected: u64,
        /// Theirs.
        got: u64,
    },
    /// The store does not carry the witness of the one that was followed, and nothing that is known holds in it.
    #[error("etcd does not hold the witness of the store that was followed")]
    WitnessMissing,
    /// The member that answers is behind what was already seen.
    #[error("etcd Revision mismatch (expected >= {expected}, got {got})")]
    RevisionMismatch {
        /// What was seen.
        expected: Revision,
        /// What the header says.
        got: Revision,
    },
    /// A key is as it was before the change that was seen last: the store was restored from a copy.
    #[error("a key went back from ModRevision {held} to {got}")]
    KeyWentBack {
        /// What was seen of it.
        held: Revision,
        /// What the store has.
        got: Revision,
    },
    /// An event from the past, and not one that was seen.
    #[error("received watch response with first ModRevision {first}, which is <= last Revision {last}")]
    Stale {
        /// The event's revision.
        first: Revision,
        /// The newest revision that was applied.
        last: Revision,
    },
    /// Events that go backwards.
    #[error("received watch response with last ModRevision {last} less than first ModRevision {first}")]
    Disordered {
        /// The revision of an event.
        first: Revision,
        /// The lesser revision of a later one.
        last: Revision,
    },
}

impl Trouble {
    /// Whether reading the prefix again cannot help.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::ClusterMismatch { .. } | Self::WitnessMissing | Self::KeyWentBack { .. })
    }
}

/// An event that was not as the history before it lets one expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// Told before; ignored.
    Repeated {
        /// The full key.
        key: Vec<u8>,
        /// The event's revision.
        mod_revision: Revision,
    },
    /// A delete of a key that is not there; ignored.
    UnknownDelete {
        /// The full key.
        key: Vec<u8>,
        /// The event's revision.
        mod_revision: Revision,
    },
    /// A put of a key that is not there, and not its first; applied.
    MissedCreation {
        /// The full key.
        key: Vec<u8>,
        /// Its version.
        version: i64,
        /// The event's revision.
        mod_revision: Revision,
    },
    /// A put that does not follow on the one before; applied.
    MissedUpdate {
        /// The full key.
        key: Vec<u8>,
        /// The version that was expected.
        expected: i64,
        /// Its version.
        version: i64,
        /// The event's revision.
        mod_revision: Revision,
    },
    /// A put that the decoder refused; set aside.
    Undecodable {
        /// The full key.
        key: Vec<u8>,
        /// Why.
        reason: String,
        /// The event's revision.
        mod_revision: Revision,
    },
}

impl Oddity {
    /// Whether it proves that an event never came, so that other keys may be wrong too.
    #[must_use]
    pub const fn is_gap(&self) -> bool {
        matches!(self, Self::UnknownDelete { .. } | Self::MissedCreation { .. } | Self::MissedUpdate { .. })
    }
}

/// Applies responses, in the order in which they came, as one change.
///
/// # Errors
///
/// The [`Trouble`] that makes the batch unusable; nothing of it is applied then.
pub fn apply<D: Decoder>(
    snapshot: &Snapshot<D::Value>,
    decoder: &D,
    responses: impl IntoIterator<Item = Response>,
) -> Result<Applied<D::Value>, Trouble> {
    let mut batch = Batch {
        base: snapshot,
        decoder,
        header: snapshot.header,
        read_through: snapshot.read_through,
        touched: BTreeMap::new(),
        oddities: Vec::new(),
    };
    for response in responses {
        batch.response(response)?;
    }
    Ok(batch.finish())
}

/// What a batch makes of one key.
#[derive(Debug)]
struct Touched<V> {
    entry: Option<Arc<Entry<V>>>,
    set_aside: Option<SetAside>,
}

struct Batch<'a, D: Decoder> {
    base: &'a Snapshot<D::Value>,
    decoder: &'a D,
    /// Its revision is that of the newest event.
    header: StoreHeader,
    read_through: Revision,
    touched: BTreeMap<Vec<u8>, Touched<D::Value>>,
    oddities: Vec<Oddity>,
}

impl<D: Decoder> Batch<'_, D> {
    fn response(&mut self, response: Response) -> Result<(), Trouble> {
        let Response { header, created, events } = response;
        let last = self.header.revision;
        if header.cluster_id != self.header.cluster_id {
            return Err(Trouble::ClusterMismatch {
                expected: self.header.cluster_id,
                got: header.cluster_id,
            });
        }
        if let Some(pair) = events.windows(2).find(|pair| pair[1].mod_revision() < pair[0].mod_revision()) {
            return Err(Trouble::Disordered { first: pair[0].mod_revision(), last: pair[1].mod_revision() });
        }
        if header.revision < last {
            // A member that is behind, or a response that was held up: only what is known may be in it.
            if events.is_empty() || !events.iter().all(|event| self.accounts_for(event)) {
                return Err(Trouble::RevisionMismatch { expected: last, got: header.revision });
            }
        }
        self.header.member_id = header.member_id;
        self.header.raft_term = header.raft_term;
        if events.is_empty() && !created {
            self.read_through = self.read_through.max(header.revision);
        }
        for event in events {
            let at = event.mod_revision();
            if at <= self.base.floor {
                continue;
            }
            if self.accounts_for(&event) {
                let key = event.key().to_vec();
                // What has not been told before can only be the deletion of a key that is not there.
                self.oddities.push(if at > last {
                    Oddity::UnknownDelete { key, mod_revision: at }
                } else {
                    Oddity::Repeated { key, mod_revision: at }
                });
            } else if at < last {
                return Err(Trouble::Stale { first: at, last });
            } else {
                self.change(event);
            }
            self.header.revision = self.header.revision.max(at);
            self.read_through = self.read_through.max(at);
        }
        Ok(())
    }

    /// Whether the state so far already shows the event, or what came after it.
    fn accounts_for(&self, event: &Event) -> bool {
        let at = event.mod_revision();
        match (self.seen(event.key()), event) {
            (Some(seen), _) => at <= seen.mod_revision,
            (None, Event::Delete { .. }) => true,
            // Deleted since, or never seen at all: the state cannot tell.
            (None, Event::Put(_)) => at <= self.base.floor,
        }
    }

    fn seen(&self, key: &[u8]) -> Option<Seen> {
        match self.touched.get(key) {
            Some(Touched { set_aside: Some(refused), .. }) => Some(refused.seen()),
            Some(Touched { entry, .. }) => entry.as_deref().map(Entry::seen),
            None => self.base.seen(key),
        }
    }

    /// Applies an event that is news.
    fn change(&mut self, event: Event) {
        match event {
            Event::Delete { key, .. } => {
                self.touched.insert(key, Touched { entry: None, set_aside: None });
            }
            Event::Put(put) => self.put(put),
        }
    }

    fn put(&mut self, put: KeyValue) {
        self.check_history(&put);
        let key = put.key.clone();
        let touched = match decode(self.decoder, put) {
            Ok(entry) => Touched { entry: Some(Arc::new(entry)), set_aside: None },
            Err(refused) => {
                self.oddities.push(Oddity::Undecodable {
                    key: key.clone(),
                    reason: refused.reason.clone(),
                    mod_revision: refused.mod_revision,
                });
                let old = match self.touched.remove(&key) {
                    Some(touched) => touched.entry,
                    None => self.base.get_shared(&key).cloned(),
                };
                // The old value stands in for a bad update, not for another life of the key.
                let old = old.filter(|old| old.create_revision == refused.create_revision);
                Touched { entry: old, set_aside: Some(refused) }
            }
        };
        self.touched.insert(key, touched);
    }

    fn check_history(&mut self, put: &KeyValue) {
        let KeyValue { create_revision, mod_revision, version, .. } = *put;
        match self.seen(&put.key) {
            None if create_revision == mod_revision && version == 1 => {}
            None => {
                self.oddities.push(Oddity::MissedCreation { key: put.key.clone(), version, mod_revision });
            }
            Some(seen) => {
                let expected = seen.version.saturating_add(1);
                if seen.create_revision != create_revision || version != expected {
                    let key = put.key.clone();
                    self.oddities.push(Oddity::MissedUpdate { key, expected, version, mod_revision });
                }
            }
        }
    }

    fn finish(self) -> Applied<D::Value> {
        let mut set_aside = Arc::clone(&self.base.set_aside);
        let mut edits = Vec::with_capacity(self.touched.len());
        for (key, touched) in self.touched {
            let key = key.into_boxed_slice();
            match touched.set_aside {
                Some(refused) => {
                    Arc::make_mut(&mut set_aside).insert(key.clone(), refused);
                }
                None if set_aside.contains_key(&key) => {
                    Arc::make_mut(&mut set_aside).remove(&key);
                }
                None => {}
            }
            edits.push((key, touched.entry));
        }
        let snapshot = Snapshot {
            header: self.header,
            floor: self.base.floor,
            read_through: self.read_through.max(self.header.revision),
            entries: self.base.entries.edited(edits),
            set_aside,
        };
        Applied { snapshot, oddities: self.oddities }
    }
}

#[cfg(test)]
mod partition_tests;
#[cfg(test)]
mod tests;
