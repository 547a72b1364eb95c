//! The store of a shard that has nothing but its journal: each transaction is a record there, and the view a copy of what the records say.

use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use courant_client::Client;
use courant_message::Producer;
use courant_proto::Offset;
use tokio::task::JoinSet;

use super::Store;
use crate::engine::Checkpoint;
use crate::journal::{self, Owned, Recovered, Snapshot};
use crate::record::Standing;
use crate::view::{Stored, View, ViewFile, blocking};
use crate::{Error, Owner};

/// Changes of one transaction, in bytes, at which it consumes no more.
const FULL: usize = 8 << 20;

/// The file of the view is synced when so many bytes have come since, so that it need not be brought up by more.
const SYNC: u64 = 16 << 20;

/// The least tail that a snapshot is worth, in bytes of the journal. A larger view waits for as much as its snapshot takes.
const SNAPSHOT: u64 = 16 << 20;

/// A view, and the journal whose copy it is.
#[derive(Debug)]
pub struct JournalStore {
    view: View,
    owned: Owned,
    stored: Stored,
    recovered_from: Offset,
    /// Bytes of the journal since the file was synced.
    unsynced: u64,
    /// Where the last snapshot begins, and how large it is.
    snapshot: Snapshot,
    least_tail: u64,
    writing: JoinSet<Result<Snapshot, Error>>,
}

/// A transaction that was committed.
#[derive(Debug)]
pub struct Receipt {
    stored: Stored,
    length: u64,
    is_synced: bool,
}

impl JournalStore {
    /// Takes over the journal of a shard, and brings the view up to all that its earlier owners have committed. `producer` is one that nobody else has
    /// and had.
    ///
    /// The journal's content type is `application/x-protobuf-fixed`, and nobody else writes to it.
    ///
    /// # Errors
    /// When the journal cannot be reached or does not hold what it should, or another primary takes it over.
    pub async fn open(
        client: &Client,
        journal: &str,
        file: ViewFile,
        producer: Producer,
    ) -> Result<Self, Error> {
        let fenced = journal::fence(client, journal, producer).await?;
        let disk = file.into_disk().taken_over();
        let recovered = journal::recover(client, journal, &disk, fenced.snapshot, fenced.end).await?;
        let Recovered { stored, from } = recovered;
        let snapshot = Snapshot { begin: fenced.snapshot.unwrap_or_default(), bytes: 0 };
        let owner = fenced.owned.owner;
        let (sequence, replayed) = (stored.standing.sequence, fenced.end.distance_from(from));
        tracing::info!(journal, %owner, sequence, replayed, "took over a shard");
        Ok(Self {
            view: View::new(disk)?,
            owned: fenced.owned,
            stored,
            recovered_from: from,
            unsynced: 0,
            snapshot,
            least_tail: SNAPSHOT,
            writing: JoinSet::new(),
        })
    }

    /// The same, with a snapshot as soon as so many bytes have come since the last one, and not before as many as its own.
    #[must_use]
    pub fn with_snapshots_every(mut self, bytes: u64) -> Self {
        self.least_tail = bytes;
        self
    }

    /// Who it is opened by.
    pub fn owner(&self) -> Owner {
        self.owned.owner
    }

    /// The number of transactions that were committed, by all owners.
    pub fn sequence(&self) -> u64 {
        self.stored.standing.sequence
    }

    /// Where the journal was read from to bring the view up.
    pub fn recovered_from(&self) -> Offset {
        self.recovered_from
    }

    /// Begins a snapshot if it is time for one, and takes note of one that was written.
    fn care_for_snapshots(&mut self) {
        while let Some(written) = self.writing.try_join_next() {
            match written {
                Ok(Ok(snapshot)) => self.snapshot = snapshot,
                // A later one is attempted with the next transaction; until then recovery takes longer.
                Ok(Err(error)) => tracing::warn!(journal = self.owned.name, %error, "no snapshot"),
                Err(error) => tracing::warn!(journal = self.owned.name, %error, "no snapshot"),
            }
        }
        let tail = self.stored.standing.offset.distance_from(self.snapshot.begin).unwrap_or(0);
        if self.writing.is_empty() && tail >= self.least_tail.max(self.snapshot.bytes) {
            // Should it fail, the next one waits as long.
            self.snapshot.begin = self.stored.standing.offset;
            self.writing.spawn(journal::write(self.owned.clone(), self.view.disk().clone()));
        }
    }
}

impl Store for JournalStore {
    type Receipt = Receipt;

    fn checkpoint(&self) -> Option<Bytes> {
        (self.stored.standing.sequence > 0).then(|| self.stored.checkpoint.clone())
    }

    fn freeze(&mut self) {
        self.view.freeze();
    }

    fn commit(
        &mut self,
        checkpoint: Checkpoint,
    ) -> impl Future<Output = Result<Receipt, Error>> + Send + 'static {
        let (owned, before, changes) = (self.owned.clone(), self.stored.standing, self.view.frozen());
        let (disk, unsynced) = (self.view.disk().clone(), self.unsynced);
        async move {
            let checkpoint = checkpoint.encode();
            let next = before.next(owned.owner, &changes, checkpoint.clone());
            let (record, after) = next.map_err(|error| Error::Journal {
                journal: owned.name.clone(),
                offset: before.offset.get(),
                what: format!("a transaction that is too large: {error}"),
            })?;
            let (begin, end) = owned.append(record, Vec::new()).await?;
            let length = end.distance_from(begin).unwrap_or(0);
            let stored = Stored { standing: Standing { offset: end, ..after }, checkpoint };
            let is_synced = unsynced + length >= SYNC;
            let applied = stored.clone();
            blocking(move || disk.apply(&changes, &applied, is_synced)).await?;
            Ok(Receipt { stored, length, is_synced })
        }
    }

    fn committed(&mut self, receipt: Receipt) -> Result<(), Error> {
        self.unsynced = if receipt.is_synced { 0 } else { self.unsynced + receipt.length };
        self.stored = receipt.stored;
        self.view.thaw()?;
        self.care_for_snapshots();
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.view.changed() >= FULL
    }
}

impl Deref for JournalStore {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl DerefMut for JournalStore {
    fn deref_mut(&mut self) -> &mut View {
        &mut self.view
    }
}
