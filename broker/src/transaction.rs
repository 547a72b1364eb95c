//! Pure: a transaction of the registry as plain data: what must hold, and what is written then, whole or not at all.
//!
//! Whoever decides a transaction makes one of these, which a test can look at; [`commit`] sends it.

pub(crate) mod commit;

/// Most guards, and most writes, of one transaction: etcd's default limit.
pub(crate) const MOST_OPERATIONS: usize = 128;

/// The same, with room for a look at the witness: nothing of it happens in a registry that was exchanged.
pub(crate) const MOST_WITNESSED: usize = MOST_OPERATIONS - 1;

/// A transaction: if all guards hold, all writes happen; if one does not, the keys of `otherwise` are read instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) guards: Vec<Guard>,
    pub(crate) writes: Vec<Write>,
    /// Read if a guard does not hold.
    pub(crate) otherwise: Vec<Vec<u8>>,
}

/// What must hold of a key when the transaction is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// It was last put at this revision; zero: it is not there.
    Unchanged { key: Vec<u8>, mod_revision: i64 },
    /// Its present life began at this revision; zero: it is not there.
    SameLife { key: Vec<u8>, create_revision: i64 },
    /// It is not there, or was created at this revision or before. With an `end`, that holds for every key of `[key, end)`.
    NotCreatedAfter { key: Vec<u8>, end: Option<Vec<u8>>, revision: i64 },
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Put { key: Vec<u8>, value: Vec<u8>, lease: PutLease },
    Delete { key: Vec<u8> },
}

/// The lease that a key is put under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutLease {
    /// None: the key stays until it is deleted.
    None,
    /// The one that the key is under, whatever it is.
    Kept,
}

impl Transaction {
    /// Whether another one can join it and both still be taken.
    pub(crate) fn has_room_for(&self, other: &Self) -> bool {
        self.guards.len() + other.guards.len() <= MOST_WITNESSED
            && self.writes.len() + other.writes.len() <= MOST_WITNESSED
            && self.otherwise.len() + other.otherwise.len() <= MOST_WITNESSED
    }

    /// Takes over what another one guards, writes and reads.
    pub(crate) fn join(&mut self, other: Self) {
        self.guards.extend(other.guards);
        self.writes.extend(other.writes);
        self.otherwise.extend(other.otherwise);
    }
}
