//! Pure: transactions as plain values: what must hold, and what is written then, whole or not at all.

/// Most compares, and most writes, of one transaction: etcd's default limit.
pub const MOST_OPERATIONS: usize = 127;

/// If all compares hold, all writes happen; otherwise none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// What must hold. The first is always about the member that leads.
    pub compares: Vec<Compare>,
    /// What is written.
    pub writes: Vec<Write>,
}

/// What must hold of a key when the transaction is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// It was last put at this revision.
    Unchanged {
        /// The full key.
        key: Vec<u8>,
        /// That revision.
        mod_revision: i64,
    },
    /// It is not there.
    Absent {
        /// The full key.
        key: Vec<u8>,
    },
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The key is put.
    Put {
        /// The full key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
        /// The lease it ends with: that of the assigned member.
        lease: i64,
    },
    /// The key is deleted.
    Delete {
        /// The full key.
        key: Vec<u8>,
    },
}

/// The values of assignments, which their users give a meaning.
pub trait Values {
    /// The value of an assignment, which is to be moved along with it.
    fn value(&self, key: &[u8]) -> Vec<u8>;

    /// The value of a new assignment that is the only one of its item. Empty says that it has yet to become consistent; a
    /// user to whom a set of one is consistent by itself says so here, and saves the round.
    fn alone(&self, zone: &str, suffix: &str) -> Vec<u8>;
}

impl Transaction {
    /// Adds a compare, unless it is there.
    pub(crate) fn compare(&mut self, compare: Compare) {
        if !self.compares.contains(&compare) {
            self.compares.push(compare);
        }
    }

    /// Compares of `other` that are not in this one.
    fn further(&self, other: &Self) -> usize {
        other.compares.iter().filter(|compare| !self.compares.contains(compare)).count()
    }

    /// Whether `other` can join it and both still be taken.
    pub(crate) fn has_room_for(&self, other: &Self, most: usize) -> bool {
        self.writes.len() + other.writes.len() <= most && self.compares.len() + self.further(other) <= most
    }

    /// Takes over what another one compares and writes.
    pub(crate) fn join(&mut self, other: Self) {
        for compare in other.compares {
            self.compare(compare);
        }
        self.writes.extend(other.writes);
    }
}
