//! Pure: keys and values, as etcd tells them, as they are kept, and as they are set aside.

use crate::Revision;

/// A key and its value as etcd has them, not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyValue {
    /// The full key.
    pub key: Vec<u8>,
    /// The value's bytes.
    pub value: Vec<u8>,
    /// When this life of the key began.
    pub create_revision: Revision,
    /// When it was last put.
    pub mod_revision: Revision,
    /// How many puts this life of the key has seen; 1 at its creation.
    pub version: i64,
    /// The lease it is attached to, or 0.
    pub lease: i64,
}

/// One event of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The key was created or changed.
    Put(KeyValue),
    /// The key was deleted, by a request or by the end of its lease.
    Delete {
        /// The full key.
        key: Vec<u8>,
        /// When it was deleted.
        mod_revision: Revision,
    },
}

impl Event {
    /// The full key that the event is about.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put(put) => &put.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// The revision the event happened at.
    #[must_use]
    pub const fn mod_revision(&self) -> Revision {
        match self {
            Self::Put(put) => put.mod_revision,
            Self::Delete { mod_revision, .. } => *mod_revision,
        }
    }
}

/// A key of a [`crate::Snapshot`] with its decoded value. The value's bytes are not kept: a decoder that needs
/// them again keeps them in its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<V> {
    /// The full key.
    pub key: Box<[u8]>,
    /// What the decoder made of the value.
    pub value: V,
    /// When this life of the key began.
    pub create_revision: Revision,
    /// When it was last put; what a transaction compares to change only what its author saw.
    pub mod_revision: Revision,
    /// How many puts this life of the key has seen; 1 at its creation.
    pub version: i64,
    /// The lease it is attached to, or 0.
    pub lease: i64,
}

/// A put that could not be decoded. If the key had a good value before, the snapshot still shows that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The full key.
    pub key: Box<[u8]>,
    /// Why the decoder refused it.
    pub reason: String,
    /// When this life of the key began.
    pub create_revision: Revision,
    /// When the refused value was put.
    pub mod_revision: Revision,
    /// The key's version with the refused value.
    pub version: i64,
}

/// The newest that is known of a key, whether it could be decoded or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) create_revision: Revision,
    pub(crate) mod_revision: Revision,
    pub(crate) version: i64,
}

impl<V> Entry<V> {
    pub(crate) const fn seen(&self) -> Seen {
        Seen { create_revision: self.create_revision, mod_revision: self.mod_revision, version: self.version }
    }
}

impl SetAside {
    pub(crate) const fn seen(&self) -> Seen {
        Seen { create_revision: self.create_revision, mod_revision: self.mod_revision, version: self.version }
    }
}
