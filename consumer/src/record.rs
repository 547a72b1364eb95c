//! Pure: the records of a shard's journal as bytes, and what they come to when they are read in order.
//!
//! ```text
//!  fence(1) transaction(1,#1) transaction(1,#2) part part snapshot(#2) transaction(1,#3) fence(2) transaction(2,#4) …
//! ```
//!
//! Appends may be in the journal twice, as they are repeated when it is not known whether they have landed: what counts is the first. The
//! registers of the journal keep records of earlier owners out; where a journal has lost its registers, they are known by their owner and
//! do not count.

use bytes::{Bytes, BytesMut};
use courant_message::framing::fixed::{self, PayloadTooLong};
use courant_proto::{Offset, wire};
use prost::Message as _;
use wire::courant::shard_record::Record as Kind;
use wire::courant::shard_transaction::Change;
use wire::courant::{ShardFence, ShardRecord, ShardSnapshot, ShardSnapshotPart, ShardTransaction};

use crate::changes::Changes;
use crate::owner::Owner;

/// How far the records of a journal were read, and what was known then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Of the last fence.
    pub(crate) owner: Option<Owner>,
    /// Of the last transaction; zero before the first.
    pub(crate) sequence: u64,
    /// Over all transactions up to it.
    pub(crate) chain: u32,
    /// Where the next record begins.
    pub(crate) offset: Offset,
}

/// What a record comes to.
#[derive(Debug, PartialEq)]
pub(crate) enum Read {
    /// A transaction to be applied.
    Apply(ShardTransaction),
    /// Nothing: a fence, part of a snapshot, or what is there twice.
    Passed,
    /// A record that does not count, of an owner that was fenced before.
    Stale(Owner),
}

/// Records that do not follow on what was read before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// It is no record.
    #[error("it is no record: {0}")]
    Undecodable(String),
    /// There are transactions missing before it.
    #[error("it is transaction {found} (expected {expected})")]
    Gap { found: u64, expected: u64 },
    /// It is of the same number as the next transaction, but follows on others.
    #[error("transaction {0} does not follow on what was read before (expected another checksum)")]
    Foreign(u64),
    /// Its owner has not begun.
    #[error("it is of an owner that has not begun")]
    NoFence,
}

impl Standing {
    /// Takes the next record, which ends at `end`.
    pub(crate) fn read(&mut self, payload: &[u8], end: Offset) -> Result<Read, Unfit> {
        let record = ShardRecord::decode(payload).map_err(|error| Unfit::Undecodable(error.to_string()))?;
        let owner = Owner::of_wire(record.owner.as_ref());
        let owner = owner.ok_or_else(|| Unfit::Undecodable("it has no owner".to_owned()))?;
        let kind = record.record.ok_or_else(|| Unfit::Undecodable("it is of no known kind".to_owned()))?;
        let read = match kind {
            Kind::Fence(_) if self.owner.is_none_or(|known| known.epoch < owner.epoch) => {
                self.owner = Some(owner);
                Read::Passed
            }
            _ if self.owner == Some(owner) => match kind {
                Kind::Transaction(transaction) => self.follow(transaction, payload)?,
                Kind::Fence(_) | Kind::Part(_) | Kind::Snapshot(_) => Read::Passed,
            },
            _ if self.owner.is_some_and(|known| owner.epoch <= known.epoch) => Read::Stale(owner),
            _ => return Err(Unfit::NoFence),
        };
        self.offset = end;
        Ok(read)
    }

    fn follow(&mut self, transaction: ShardTransaction, payload: &[u8]) -> Result<Read, Unfit> {
        let (found, expected) = (transaction.sequence, self.sequence + 1);
        if found < expected {
            return Ok(Read::Passed);
        }
        if found > expected {
            return Err(Unfit::Gap { found, expected });
        }
        if transaction.chain != self.chain {
            return Err(Unfit::Foreign(found));
        }
        self.sequence = found;
        self.chain = crc32c::crc32c_append(self.chain, payload);
        Ok(Read::Apply(transaction))
    }

    /// The record of the next transaction, framed, and where it leaves things but for the offset, which the journal says.
    pub(crate) fn next(
        &self,
        owner: Owner,
        changes: &Changes,
        checkpoint: Bytes,
    ) -> Result<(Bytes, Self), PayloadTooLong> {
        let change =
            |(key, value): (&Bytes, &Option<Bytes>)| Change { key: key.clone(), value: value.clone() };
        let sequence = self.sequence + 1;
        let changes = changes.iter().map(change).collect();
        let transaction = ShardTransaction { sequence, chain: self.chain, changes, checkpoint };
        let payload = encode(owner, Kind::Transaction(transaction));
        let chain = crc32c::crc32c_append(self.chain, &payload);
        Ok((frame(&payload)?, Self { owner: Some(owner), sequence, chain, offset: self.offset }))
    }

    /// As a view keeps it, and a snapshot ends with it.
    pub(crate) fn to_snapshot(self, entries: u64, checkpoint: Bytes) -> ShardSnapshot {
        ShardSnapshot {
            sequence: self.sequence,
            chain: self.chain,
            begin: self.offset.get(),
            owner: self.owner.map(Owner::to_wire),
            entries,
            checkpoint,
        }
    }

    pub(crate) fn of_snapshot(snapshot: &ShardSnapshot) -> Self {
        Self {
            owner: Owner::of_wire(snapshot.owner.as_ref()),
            sequence: snapshot.sequence,
            chain: snapshot.chain,
            offset: Offset::new(snapshot.begin).unwrap_or_default(),
        }
    }
}

/// An owner's first record.
pub(crate) fn fence(owner: Owner) -> Bytes {
    frame(&encode(owner, Kind::Fence(ShardFence {}))).expect("a fence is small")
}

pub(crate) fn part(owner: Owner, part: ShardSnapshotPart) -> Result<Bytes, PayloadTooLong> {
    frame(&encode(owner, Kind::Part(part)))
}

pub(crate) fn snapshot(owner: Owner, snapshot: ShardSnapshot) -> Result<Bytes, PayloadTooLong> {
    frame(&encode(owner, Kind::Snapshot(snapshot)))
}

/// The part or the end of a snapshot that a record is, if it is one.
pub(crate) fn of_snapshot(payload: &[u8]) -> Option<Kind> {
    let kind = ShardRecord::decode(payload).ok()?.record?;
    matches!(kind, Kind::Part(_) | Kind::Snapshot(_)).then_some(kind)
}

fn encode(owner: Owner, record: Kind) -> Vec<u8> {
    ShardRecord { owner: Some(owner.to_wire()), record: Some(record) }.encode_to_vec()
}

fn frame(payload: &[u8]) -> Result<Bytes, PayloadTooLong> {
    let mut framed = BytesMut::with_capacity(payload.len() + fixed::HEADER_LENGTH);
    fixed::append(payload, &mut framed)?;
    Ok(framed.freeze())
}

#[cfg(test)]
mod tests {
    use courant_message::Producer;

    use super::*;

    fn owner(epoch: u64) -> Owner {
        Owner { epoch, producer: Producer::from_bytes([1, 0, 0, 0, 0, epoch as u8]) }
    }

    /// The payload in a frame.
    fn payload(framed: &Bytes) -> Bytes {
        framed.slice(fixed::HEADER_LENGTH..)
    }

    fn transaction(after: &Standing, owner: Owner, key: &'static str) -> (Bytes, Standing) {
        let mut changes = Changes::default();
        changes.put(key.into(), Some("value".into()));
        changes.put("gone".into(), None);
        let (framed, standing) = after.next(owner, &changes, "checkpoint".into()).unwrap();
        (payload(&framed), standing)
    }

    fn applies(standing: &mut Standing, payload: &[u8]) -> Option<u64> {
        match standing.read(payload, standing.offset.plus(100).unwrap()).unwrap() {
            Read::Apply(transaction) => Some(transaction.sequence),
            Read::Passed | Read::Stale(_) => None,
        }
    }

    #[test]
    fn transactions_count_once_and_in_order() {
        let mut standing = Standing::default();
        let (first, after) = transaction(&standing, owner(1), "a");
        let (second, after) = transaction(&after, owner(1), "b");
        assert_eq!(standing.read(&first, Offset::ZERO), Err(Unfit::NoFence));
        assert_eq!(applies(&mut standing, &payload(&fence(owner(1)))), None);
        assert_eq!(standing.read(&second, Offset::ZERO), Err(Unfit::Gap { found: 2, expected: 1 }));
        assert_eq!(applies(&mut standing, &first), Some(1));
        // Its append was repeated, and the first attempt lands late.
        assert_eq!(applies(&mut standing, &first), None);
        assert_eq!(applies(&mut standing, &second), Some(2));
        assert_eq!(applies(&mut standing, &first), None);
        assert_eq!((standing.sequence, standing.chain), (2, after.chain));
        assert_eq!(standing.offset, Offset::new(500).unwrap());
    }

    #[test]
    fn records_of_fenced_owners_do_not_count() {
        let mut standing = Standing::default();
        applies(&mut standing, &payload(&fence(owner(1))));
        let (late, _) = transaction(&standing, owner(1), "late");
        applies(&mut standing, &payload(&fence(owner(2))));
        assert_eq!(standing.read(&late, Offset::ZERO), Ok(Read::Stale(owner(1))));
        assert_eq!(standing.read(&payload(&fence(owner(1))), Offset::ZERO), Ok(Read::Stale(owner(1))));
        // Two of one epoch can only be where registers were lost: the first one counts.
        let twin = Owner { producer: Producer::from_bytes([9; 6]), ..owner(2) };
        assert_eq!(standing.read(&payload(&fence(twin)), Offset::ZERO), Ok(Read::Stale(twin)));
        let (right, _) = transaction(&standing, owner(2), "right");
        assert_eq!(applies(&mut standing, &right), Some(1));
    }

    #[test]
    fn another_journals_records_are_noticed() {
        let mut standing = Standing::default();
        applies(&mut standing, &payload(&fence(owner(1))));
        let mut other = standing;
        for (standing, key) in [(&mut standing, "here"), (&mut other, "elsewhere")] {
            let (record, _) = transaction(standing, owner(1), key);
            applies(standing, &record);
        }
        let (foreign, _) = transaction(&other, owner(1), "next");
        assert_eq!(standing.read(&foreign, Offset::ZERO), Err(Unfit::Foreign(2)));
        let snapshot = standing.to_snapshot(7, "checkpoint".into());
        assert_eq!(Standing::of_snapshot(&snapshot), standing);
    }

    #[test]
    fn what_is_no_record_is_told() {
        let check = |payload: &[u8], what: &str| {
            let error = Standing::default().read(payload, Offset::ZERO).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        };
        check(b"\xff", "no record");
        check(b"", "no owner");
        let record = ShardRecord { owner: Some(owner(1).to_wire()), record: None };
        check(&record.encode_to_vec(), "no known kind");
    }
}
