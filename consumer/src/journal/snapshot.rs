//! A snapshot: the entries of a view at one moment, among the records of its journal, so that recovery need not begin at the first record.
//!
//! The view goes on changing meanwhile, and so does the journal: what the snapshot does not hold lies behind its begin.

use bytes::Bytes;
use courant_proto::Offset;
use courant_proto::wire::courant::ShardSnapshotPart;
use courant_proto::wire::courant::shard_snapshot_part::Entry;

use super::Owned;
use crate::owner::{SNAPSHOT, label};
use crate::view::Disk;
use crate::{Error, blocking, record};

/// Bytes of entries in a record.
const PART: usize = 1 << 20;

/// A snapshot that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Nothing before is needed any more.
    pub(crate) begin: Offset,
    /// Bytes that its records take.
    pub(crate) bytes: u64,
}

/// Writes a snapshot of what is committed now. The last record has the registers name it, so that one that breaks off is none.
pub(crate) async fn write(owned: Owned, disk: Disk) -> Result<Snapshot, Error> {
    let (reading, stored) = blocking(move || disk.read_stored()).await?;
    let reading = std::sync::Arc::new(reading);
    let (mut last, mut entries, mut bytes) = (None::<Bytes>, 0_u64, 0_u64);
    let sequence = stored.standing.sequence;
    loop {
        let (of, behind) = (reading.clone(), last.take());
        let batch = blocking(move || of.batch(behind.as_deref(), PART)).await?;
        let Some((key, _)) = batch.last() else { break };
        last = Some(key.clone());
        entries += batch.len() as u64;
        let batch = batch.into_iter().map(|(key, value)| Entry { key, value }).collect();
        let part = record::part(owned.owner, ShardSnapshotPart { sequence, entries: batch });
        let part = part.map_err(|error| too_long(&owned, &error))?;
        bytes += part.len() as u64;
        owned.append(part, Vec::new()).await?;
    }
    let begin = stored.standing.offset;
    let end = stored.standing.to_snapshot(entries, stored.checkpoint);
    let end = record::snapshot(owned.owner, end).map_err(|error| too_long(&owned, &error))?;
    bytes += end.len() as u64;
    owned.append(end, vec![label(SNAPSHOT, &format!("{:x}", begin.get()))]).await?;
    tracing::debug!(journal = owned.name, begin = begin.get(), entries, bytes, "snapshot");
    Ok(Snapshot { begin, bytes })
}

fn too_long(owned: &Owned, error: &impl ToString) -> Error {
    Error::Journal { journal: owned.name.clone(), offset: -1, what: error.to_string() }
}
