//! Pure: how records lie in a file: a header that names the file's owner, then batches, each under one checksum.
//!
//! A batch is what one commit wrote, and the next batch is written only once this one is durable. So an unreadable
//! batch with a readable one after it is damage, and an unreadable one with nothing after it is a write that was
//! torn by a crash and never acknowledged.
//!
//! ```text
//! header  magic(8) version(4) cluster_id(8) member_id(8) sequence(8) crc32c(4)
//! batch   length(4) crc32c(4) sequence(8) payload(length): records, each behind its length as a varint
//! ```
//! Numbers are little-endian. The checksum of a batch covers its length, its sequence, its payload and the ids of
//! its file, so that bytes of another registry's log never pass for ours.

use prost::Message;

use crate::record::Record;
use crate::state::Identity;

/// Bytes of a file header.
pub(crate) const HEADER_LEN: usize = 40;

const VERSION: u32 = 1;
const BATCH_HEADER_LEN: usize = 16;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Log,
    Snapshot,
}

impl Kind {
    const fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Log => b"courantL",
            Self::Snapshot => b"courantS",
        }
    }
}

/// A file header. `sequence` is the number of the first record for a log, and of the last one included for a snapshot.
pub(crate) fn header(kind: Kind, identity: Identity, sequence: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN);
    out.extend_from_slice(kind.magic());
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&identity.cluster_id.to_le_bytes());
    out.extend_from_slice(&identity.member_id.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out
}

/// Reads a header; the error says what is wrong with it.
pub(crate) fn parse_header(kind: Kind, bytes: &[u8]) -> Result<(Identity, u64), &'static str> {
    let header = bytes.get(..HEADER_LEN).ok_or("the file ends within its header")?;
    let (covered, crc) = header.split_at(HEADER_LEN - 4);
    if u32_at(crc, 0) != Some(crc32c::crc32c(covered)) {
        return Err("the header's checksum does not match");
    }
    if !covered.starts_with(kind.magic()) {
        return Err("the file is of another kind");
    }
    if u32_at(covered, 8) != Some(VERSION) {
        return Err("the file was written by a version of courant that this one does not read");
    }
    match (u64_at(covered, 12), u64_at(covered, 20), u64_at(covered, 28)) {
        (Some(cluster_id), Some(member_id), Some(sequence)) => {
            Ok((Identity { cluster_id, member_id }, sequence))
        }
        _ => Err("the file ends within its header"),
    }
}

/// Appends one batch to `out`. `sequence` numbers its first record.
pub(crate) fn push_batch(out: &mut Vec<u8>, identity: Identity, sequence: u64, records: &[Record]) {
    let start = out.len();
    out.extend_from_slice(&[0; BATCH_HEADER_LEN]);
    for record in records {
        let len = record.encoded_len();
        prost::encoding::encode_varint(len as u64, out);
        record.encode_raw(out);
    }
    let length = u32::try_from(out.len() - start - BATCH_HEADER_LEN).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 8..start + 16].copy_from_slice(&sequence.to_le_bytes());
    let crc = checksum(identity, &out[start..start + 4], &out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// What lies at a place of a file.
#[derive(Debug, PartialEq)]
pub(crate) enum Batch {
    /// A batch, and where the next one starts.
    Whole { records: Vec<Record>, next: usize },
    /// The end of the file.
    End,
    /// Nothing that was completely written, and no batch later in the file either: the tail of a torn write.
    Torn,
    /// Nothing readable, although a batch that was written later follows at `later`.
    Damaged { later: usize },
    /// The checksum holds but the records are not ours: a file of a later version, or a defect.
    Foreign(String),
}

/// Reads the batch at `at`, whose first record must be number `sequence`.
pub(crate) fn read_batch(file: &[u8], at: usize, identity: Identity, sequence: u64) -> Batch {
    let rest = file.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return Batch::End;
    }
    match whole(rest, identity) {
        Some((found, payload)) if found == sequence => match records(payload) {
            Ok(records) => Batch::Whole { records, next: at + BATCH_HEADER_LEN + payload.len() },
            Err(error) => Batch::Foreign(error.to_string()),
        },
        Some((found, _)) => Batch::Foreign(format!("record {found} where record {sequence} belongs")),
        None => later(file, at, identity, sequence).map_or(Batch::Torn, |later| Batch::Damaged { later }),
    }
}

/// Looks for a batch written after the unreadable one at `at`.
fn later(file: &[u8], at: usize, identity: Identity, sequence: u64) -> Option<usize> {
    (at.saturating_add(1)..file.len().saturating_sub(BATCH_HEADER_LEN)).find(|&place| {
        // The sequence is looked at first: checksums of every place would take quadratic time.
        let plausible = sequence.saturating_add(1)..=sequence.saturating_add(file.len() as u64);
        u64_at(file, place + 8).is_some_and(|found| plausible.contains(&found))
            && file.get(place..).and_then(|rest| whole(rest, identity)).is_some()
    })
}

/// The sequence and payload of a batch that `bytes` begin with, if its checksum holds.
fn whole(bytes: &[u8], identity: Identity) -> Option<(u64, &[u8])> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let payload = bytes.get(BATCH_HEADER_LEN..BATCH_HEADER_LEN.checked_add(length)?)?;
    let crc = checksum(identity, bytes.get(..4)?, bytes.get(8..BATCH_HEADER_LEN + length)?);
    (length > 0 && u32_at(bytes, 4)? == crc).then_some((u64_at(bytes, 8)?, payload))
}

fn checksum(identity: Identity, length: &[u8], rest: &[u8]) -> u32 {
    let mut crc = crc32c::crc32c(&identity.cluster_id.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &identity.member_id.to_le_bytes());
    crc = crc32c::crc32c_append(crc, length);
    crc32c::crc32c_append(crc, rest)
}

fn records(mut payload: &[u8]) -> Result<Vec<Record>, prost::DecodeError> {
    let mut records = Vec::new();
    while !payload.is_empty() {
        records.push(Record::decode_length_delimited(&mut payload)?);
    }
    Ok(records)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
