//! Pure: a journal's lineage as the registry keeps it, and the record that follows from it when something happens.

use courant_proto::id::ProcessId;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::wire;
use prost::Message;

/// Most epochs that a record remembers. A journal without a working store forgets the oldest beyond that, and spools that old
/// count no more; it takes as many restarts with nothing ever stored.
const MOST_EPOCHS: usize = 512;

/// The lineage of a journal.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Lineage {
    /// Which journal of this name it is.
    #[prost(int64, tag = "1")]
    pub(crate) create_revision: i64,
    /// Everything below this offset is known to be in the store.
    #[prost(int64, tag = "2")]
    pub(crate) stored: i64,
    /// The recent epochs, by ascending number and begin. The last one is the present one.
    #[prost(message, repeated, tag = "3")]
    pub(crate) epochs: Vec<Epoch>,
    /// What brokers had of a journal of this name under another registry. A record without a revision knows of nothing else.
    #[prost(message, optional, tag = "4")]
    pub(crate) lost: Option<Loss>,
}

/// How far content went that brokers had of a journal under another registry, and that no store may have.
///
/// A follower does not know how much of it was acknowledged, but its primary does: what that says of its epoch, or of an earlier one, counts.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Loss {
    /// Where content ends of which it is not known how much of it was acknowledged, and the newest epoch of such content.
    #[prost(int64, tag = "1")]
    pub(crate) end: i64,
    #[prost(uint64, tag = "2")]
    pub(crate) epoch: u64,
    /// What a primary says to have acknowledged nothing above, and the epoch in which it was one.
    #[prost(int64, tag = "3")]
    pub(crate) settled_end: i64,
    #[prost(uint64, tag = "4")]
    pub(crate) settled_epoch: u64,
}

/// A span of a journal's life in which the same members held its bytes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Epoch {
    /// One more than the one before.
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    /// Who holds its bytes: every acknowledged one is on all of them.
    #[prost(message, repeated, tag = "2")]
    pub(crate) members: Vec<wire::process_spec::Id>,
    /// The offset it starts at.
    #[prost(int64, tag = "3")]
    pub(crate) begin: i64,
    /// The registers there. Only the present epoch keeps them.
    #[prost(message, optional, tag = "4")]
    pub(crate) registers: Option<wire::LabelSet>,
    /// Drawn by whoever began it, so that it knows its own epoch again if the registry's answer was lost.
    #[prost(fixed64, tag = "5")]
    pub(crate) attempt: u64,
    /// Set when its members will commit nothing more in it.
    #[prost(message, optional, tag = "6")]
    pub(crate) sealed: Option<Sealed>,
    // Tag 7 is taken: an earlier form kept the number of one log there.
    /// The numbers of its members' logs when it began, in their order; zero where that is not known. What another log of a member
    /// has, or does not have, tells nothing of this epoch.
    #[prost(fixed64, repeated, tag = "8")]
    pub(crate) logs: Vec<u64>,
}

/// How an epoch ended that was closed in order.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sealed {
    /// The offset behind its last byte.
    #[prost(int64, tag = "1")]
    pub(crate) end: i64,
    /// The registers there.
    #[prost(message, optional, tag = "2")]
    pub(crate) registers: Option<wire::LabelSet>,
}

/// A record that contradicts itself, or is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the value is no lineage: {0}")]
    NoMessage(String),
    #[error("epochs are not ascending at number {number}, which begins at {begin}")]
    Disordered { number: u64, begin: i64 },
}

impl Lineage {
    /// Reads the registry's value.
    pub(crate) fn read(value: &[u8]) -> Result<Self, Unreadable> {
        let record = Self::decode(value).map_err(|error| Unreadable::NoMessage(error.to_string()))?;
        let first = record.epochs.first().filter(|epoch| epoch.begin < 0);
        let pairs = record.epochs.windows(2);
        let later = pairs.filter(|pair| pair[0].number >= pair[1].number || pair[0].begin > pair[1].begin);
        match first.into_iter().chain(later.map(|pair| &pair[1])).next() {
            Some(epoch) => Err(Unreadable::Disordered { number: epoch.number, begin: epoch.begin }),
            None => Ok(record),
        }
    }

    /// The present epoch, if there ever was one.
    pub(crate) fn newest(&self) -> Option<&Epoch> {
        self.epochs.last()
    }

    /// The offset below which everything is known to be in the store.
    pub(crate) fn stored(&self) -> Offset {
        Offset::new(self.stored).unwrap_or(Offset::ZERO)
    }

    /// Where content ends that was lost with another registry; zero if the journal has gone on behind it.
    pub(crate) fn lost_end(&self) -> Offset {
        let lost = self.lost.map_or(Offset::ZERO, |lost| lost.end());
        let reached = self.newest().map_or(Offset::ZERO, Epoch::begin).max(self.stored());
        if lost > reached { lost } else { Offset::ZERO }
    }

    /// What the record tells of the journal that was created at a revision. What was lost before there was any is told of the first.
    #[must_use]
    pub(crate) fn of(self, create_revision: i64) -> Option<Self> {
        match self.create_revision {
            created if created == create_revision => Some(self),
            0 => Some(Self { create_revision, ..self }),
            _ => None,
        }
    }

    /// The record with what somebody lost with another registry; none if that makes no difference to it.
    #[must_use]
    pub(crate) fn losing(&self, loss: Loss) -> Option<Self> {
        let lost = Some(self.lost.unwrap_or_default().and(loss));
        (lost != self.lost).then(|| Self { lost, ..self.clone() })
    }

    /// Whether the same broker alone held all epochs that are remembered.
    pub(crate) fn is_of_one(&self) -> bool {
        let same = |pair: &[Epoch]| pair[0].members == pair[1].members;
        self.newest().is_some_and(|newest| newest.members.len() == 1) && self.epochs.windows(2).all(same)
    }

    /// The record with a next epoch.
    #[must_use]
    pub(crate) fn followed_by(&self, epoch: Epoch) -> Self {
        let mut epochs: Vec<Epoch> = self
            .epochs
            .iter()
            // What begins in the store already has nothing to cut that anybody would miss.
            .filter(|old| old.begin > self.stored)
            .map(|old| Epoch { registers: None, sealed: None, ..old.clone() })
            .collect();
        epochs.push(epoch);
        epochs.drain(..epochs.len().saturating_sub(MOST_EPOCHS));
        Self { epochs, ..self.clone() }
    }

    /// The record after content was stored up to an offset; and if the present epoch is over, with what it ended.
    #[must_use]
    pub(crate) fn rolled(&self, stored: Offset, sealed: Option<Sealed>) -> Self {
        let mut next = self.clone();
        next.stored = next.stored.max(stored.get());
        if let (Some(newest), Some(sealed)) = (next.epochs.last_mut(), sealed) {
            newest.sealed = Some(sealed);
        }
        next
    }
}

impl Loss {
    /// Content up to here, of an epoch, of which it is not known how much was acknowledged.
    pub(crate) const fn up_to(end: Offset, epoch: u64) -> Self {
        Self { end: end.get(), epoch, settled_end: 0, settled_epoch: 0 }
    }

    /// Nothing was acknowledged above, as the primary of the epoch says.
    pub(crate) const fn settled(end: Offset, epoch: u64) -> Self {
        Self { end: 0, epoch: 0, settled_end: end.get(), settled_epoch: epoch }
    }

    /// Both together.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        let settled = (self.settled_epoch, self.settled_end).max((other.settled_epoch, other.settled_end));
        Self {
            end: self.end.max(other.end),
            epoch: self.epoch.max(other.epoch),
            settled_end: settled.1,
            settled_epoch: settled.0,
        }
    }

    /// Where all ends that may have been acknowledged.
    pub(crate) fn end(&self) -> Offset {
        let is_settled = self.settled_epoch > 0 && self.settled_epoch >= self.epoch;
        let end = if is_settled { self.settled_end } else { self.end.max(self.settled_end) };
        Offset::new(end).unwrap_or(Offset::ZERO)
    }
}

impl Epoch {
    /// The offset it starts at.
    pub(crate) fn begin(&self) -> Offset {
        Offset::new(self.begin).unwrap_or(Offset::ZERO)
    }

    /// Its members, as far as their ids can be read.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ProcessId> {
        self.members.iter().filter_map(|member| ProcessId::new(&member.zone, &member.suffix).ok())
    }

    /// Whether a broker holds its bytes.
    pub(crate) fn has_member(&self, id: &ProcessId) -> bool {
        self.place_of(id).is_some()
    }

    /// The number that a member's log had when the epoch began, zero where that is not known; none of who is no member.
    pub(crate) fn log_of(&self, id: &ProcessId) -> Option<u64> {
        self.place_of(id).map(|place| self.logs.get(place).copied().unwrap_or(0))
    }

    fn place_of(&self, id: &ProcessId) -> Option<usize> {
        self.members.iter().position(|member| id.zone() == member.zone && id.suffix() == member.suffix)
    }

    /// The registers at its begin.
    pub(crate) fn registers(&self) -> Registers {
        registers(self.registers.as_ref())
    }
}

impl Sealed {
    /// The offset behind its last byte.
    pub(crate) fn end(&self) -> Offset {
        Offset::new(self.end).unwrap_or(Offset::ZERO)
    }

    /// The registers there.
    pub(crate) fn registers(&self) -> Registers {
        registers(self.registers.as_ref())
    }
}

/// Registers of a record. Damaged ones cannot fence anybody, and none does not fence either.
fn registers(set: Option<&wire::LabelSet>) -> Registers {
    set.and_then(|set| Registers::try_from(set.clone()).ok()).unwrap_or_default()
}
