//! From what a view holds, if it holds anything, to what its journal says.

use std::convert::Infallible;

use courant_client::{Client, ReadEvent};
use courant_message::{Frames, Framing, Item};
use courant_proto::{Offset, wire};
use futures::StreamExt as _;
use wire::courant::shard_record::Record as Kind;

use super::offset;
use crate::changes::Changes;
use crate::record::{self, Read, Standing};
use crate::view::{Disk, Stored};
use crate::{Error, blocking};

/// Changes are applied to a view in batches of so many bytes.
const BATCH: usize = 4 << 20;

/// The longest record. Transactions are cut well below.
const MAX_RECORD: usize = 1 << 30;

/// A view that was brought up.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) stored: Stored,
    /// Where the journal was read from.
    pub(crate) from: Offset,
}

/// Brings a view up to `end`. What its file holds is gone on from, if it fits the journal; otherwise it is made anew, from the last snapshot on.
pub(crate) async fn recover(
    client: &Client,
    journal: &str,
    disk: &Disk,
    snapshot: Option<Offset>,
    end: Offset,
) -> Result<Recovered, Error> {
    let of_disk = disk.clone();
    let stored = blocking(move || of_disk.stored()).await?;
    let is_fresh = stored == Stored::default();
    // A file that is far behind is slower to bring up than a snapshot is to read.
    let is_old = snapshot.is_some_and(|snapshot| stored.standing.offset < snapshot);
    if !is_fresh && !is_old {
        let from = stored.standing.offset;
        match catch_up(client, journal, disk, stored, end).await {
            Ok(stored) => return Ok(Recovered { stored, from }),
            Err(Error::Journal { offset, what, .. }) => {
                tracing::warn!(
                    journal,
                    offset,
                    what,
                    "the view is made anew: its file is not of this journal"
                );
            }
            Err(error) => return Err(error),
        }
    }
    let of_disk = disk.clone();
    blocking(move || of_disk.clear()).await?;
    let stored = match snapshot {
        Some(begin) => load(client, journal, disk, begin, end).await?,
        None => Stored::default(),
    };
    let from = snapshot.unwrap_or_default();
    let stored = catch_up(client, journal, disk, stored, end).await?;
    Ok(Recovered { stored, from })
}

/// Applies the transactions up to `end`.
pub(crate) async fn catch_up(
    client: &Client,
    journal: &str,
    disk: &Disk,
    mut stored: Stored,
    end: Offset,
) -> Result<Stored, Error> {
    if stored.standing.offset > end {
        return Err(damaged(
            journal,
            end,
            format!("it ends here (expected {} at least)", stored.standing.offset),
        ));
    }
    if stored.standing.offset == end {
        // The end of an empty journal, zero, is none in a read.
        return Ok(stored);
    }
    let mut records = Records::read(client, journal, stored.standing.offset, Some(end));
    let mut changes = Changes::default();
    while let Some((payload, at, behind)) = records.next().await? {
        take(journal, &payload, (at, behind), &mut stored, &mut changes)?;
        if changes.bytes() >= BATCH {
            apply(disk, std::mem::take(&mut changes), stored.clone()).await?;
        }
    }
    apply(disk, changes, stored.clone()).await?;
    Ok(stored)
}

async fn apply(disk: &Disk, changes: Changes, stored: Stored) -> Result<(), Error> {
    let disk = disk.clone();
    blocking(move || disk.apply(&changes, &stored, true)).await
}

/// Applies transactions as they come, for ever.
pub(crate) async fn tail(
    client: &Client,
    journal: &str,
    disk: &Disk,
    mut stored: Stored,
) -> Result<Infallible, Error> {
    let mut records = Records::read(client, journal, stored.standing.offset, None);
    let mut unsynced = 0;
    loop {
        let mut changes = Changes::default();
        // What has come in one piece is applied as one.
        loop {
            let (payload, at, behind) = match records.next().await? {
                Some(record) => record,
                None => return Err(damaged(journal, stored.standing.offset, "it has ended".to_owned())),
            };
            take(journal, &payload, (at, behind), &mut stored, &mut changes)?;
            if changes.bytes() >= BATCH || records.is_drained() {
                break;
            }
        }
        unsynced += changes.bytes();
        let is_synced = unsynced >= BATCH;
        unsynced = if is_synced { 0 } else { unsynced };
        let (disk, applied) = (disk.clone(), stored.clone());
        blocking(move || disk.apply(&changes, &applied, is_synced)).await?;
    }
}

/// Takes one record.
fn take(
    journal: &str,
    payload: &[u8],
    (at, behind): (Offset, Offset),
    stored: &mut Stored,
    changes: &mut Changes,
) -> Result<(), Error> {
    match stored.standing.read(payload, behind) {
        Ok(Read::Apply(transaction)) => {
            for change in transaction.changes {
                changes.put(change.key, change.value);
            }
            stored.checkpoint = transaction.checkpoint;
        }
        Ok(Read::Passed) => {}
        Ok(Read::Stale(owner)) => {
            tracing::warn!(journal, offset = at.get(), %owner, "a record of an owner that was fenced before");
        }
        Err(unfit) => return Err(damaged(journal, at, unfit.to_string())),
    }
    Ok(())
}

/// Reads the snapshot whose records begin there. What lies between them is read again by whoever goes on from it.
async fn load(
    client: &Client,
    journal: &str,
    disk: &Disk,
    begin: Offset,
    end: Offset,
) -> Result<Stored, Error> {
    let mut records = Records::read(client, journal, begin, Some(end));
    let (mut changes, mut entries, mut sequence) = (Changes::default(), 0, 0);
    while let Some((payload, at, _)) = records.next().await? {
        match record::of_snapshot(&payload) {
            Some(Kind::Part(part)) if part.sequence >= sequence => {
                if part.sequence > sequence {
                    // What came before was an earlier snapshot's.
                    (changes, entries, sequence) = (Changes::default(), 0, part.sequence);
                    let disk = disk.clone();
                    blocking(move || disk.clear()).await?;
                }
                entries += part.entries.len() as u64;
                for entry in part.entries {
                    changes.put(entry.key, Some(entry.value));
                }
                if changes.bytes() >= BATCH {
                    // Without a standing, what is there of it counts for nothing after a crash.
                    apply(disk, std::mem::take(&mut changes), Stored::default()).await?;
                }
            }
            Some(Kind::Snapshot(snapshot)) if offset(snapshot.begin) == begin => {
                if entries < snapshot.entries {
                    let what = format!("{entries} entries of a snapshot (expected {})", snapshot.entries);
                    return Err(damaged(journal, at, what));
                }
                let stored = Stored {
                    standing: Standing::of_snapshot(&snapshot),
                    checkpoint: snapshot.checkpoint.clone(),
                };
                apply(disk, changes, stored.clone()).await?;
                return Ok(stored);
            }
            _ => {}
        }
    }
    Err(damaged(journal, begin, "the snapshot that the registers name does not end".to_owned()))
}

/// The records of a part of the journal.
struct Records {
    journal: String,
    reader: courant_client::Reader,
    frames: Frames,
    piece: bytes::Bytes,
}

impl Records {
    fn read(client: &Client, journal: &str, begin: Offset, end: Option<Offset>) -> Self {
        let request = wire::ReadRequest {
            journal: journal.to_owned(),
            offset: begin.get(),
            end_offset: end.map_or(0, Offset::get),
            block: true,
            ..Default::default()
        };
        let reader = client.reader(request);
        let frames = Frames::new(Framing::Fixed, begin, MAX_RECORD);
        Self { journal: journal.to_owned(), reader, frames, piece: bytes::Bytes::new() }
    }

    /// Whether the next record has to be waited for.
    fn is_drained(&self) -> bool {
        self.piece.is_empty()
    }

    /// The next record, with where it begins and ends. Nothing may be missing between them.
    async fn next(&mut self) -> Result<Option<(bytes::Bytes, Offset, Offset)>, Error> {
        loop {
            match self.frames.next(&mut self.piece) {
                Some(Item::Frame(frame)) => return Ok(Some((frame.payload, frame.begin, frame.end))),
                Some(Item::Skipped(skipped)) => {
                    return Err(damaged(&self.journal, skipped.begin, skipped.to_string()));
                }
                None => {}
            }
            match self.reader.next().await {
                None => {
                    return match self.frames.end() {
                        Some(item) => Err(damaged(&self.journal, self.frames.offset(), format!("{item:?}"))),
                        None => Ok(None),
                    };
                }
                Some(Ok(ReadEvent::Content { content, .. })) => self.piece = content,
                Some(Ok(ReadEvent::Metadata(metadata))) => {
                    if let Some(gap) = metadata.gap {
                        let what = format!("it is gone up to offset {} (expected all records)", gap.end);
                        return Err(damaged(&self.journal, offset(gap.begin), what));
                    }
                }
                Some(Err(error)) => {
                    return Err(Error::of_client("could not read the shard's journal", &self.journal)(error));
                }
            }
        }
    }
}

fn damaged(journal: &str, at: Offset, what: String) -> Error {
    Error::Journal { journal: journal.to_owned(), offset: at.get(), what }
}
