//! What is committed of a view: a redb file. Everything here blocks.
//!
//! The file is a copy of what the shard's journal says, and says itself up to where. So it need not be synced with every transaction, nor be there at all.

use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use courant_proto::wire::courant::ShardSnapshot;
use prost::Message as _;
use redb::backends::InMemoryBackend;
use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, TableDefinition,
};

use crate::Error;
use crate::changes::Changes;
use crate::record::Standing;

/// The entries.
const ENTRIES: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("entries");
/// What is said about them.
const ABOUT: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("about");
/// A `ShardSnapshot`: which journal's records are in it, and the checkpoint.
const STANDING: &str = "standing";

/// What redb keeps of a file in memory.
const CACHE: usize = 16 << 20;

/// Up to where a view has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stored {
    pub(crate) standing: Standing,
    /// The checkpoint of the last transaction; empty before the first.
    pub(crate) checkpoint: Bytes,
}

/// The file of a view, for one run. Clones are of the same one.
#[derive(Clone)]
pub(crate) struct Disk {
    shared: Arc<Shared>,
    run: u64,
}

struct Shared {
    database: Database,
    /// The last run. What earlier ones still have on their way must not be written over what it has read.
    run: AtomicU64,
}

/// The entries at one moment.
pub(crate) struct Reading(ReadOnlyTable<&'static [u8], &'static [u8]>);

/// Entries in the order of their keys.
pub(crate) struct Entries(redb::Range<'static, &'static [u8], &'static [u8]>);

impl Disk {
    /// That of a file, which is made if it is not there.
    pub(crate) fn in_file(path: &Path) -> Result<Self, Error> {
        let database = Builder::new().set_cache_size(CACHE).create(path);
        Self::prepare(database.map_err(|error| Error::view(error.into()))?)
    }

    /// One that is gone with the process.
    pub(crate) fn in_memory() -> Result<Self, Error> {
        let database = Builder::new().set_cache_size(CACHE).create_with_backend(InMemoryBackend::new());
        Self::prepare(database.map_err(|error| Error::view(error.into()))?)
    }

    fn prepare(database: Database) -> Result<Self, Error> {
        let disk = Self { shared: Arc::new(Shared { database, run: AtomicU64::new(0) }), run: 0 };
        disk.write(true, |_, _| Ok(()))?;
        Ok(disk)
    }

    /// For another run. Writes of earlier ones fail.
    pub(crate) fn taken_over(&self) -> Self {
        let run = self.shared.run.fetch_add(1, Ordering::SeqCst) + 1;
        Self { shared: self.shared.clone(), run }
    }

    /// Up to where it has come.
    pub(crate) fn stored(&self) -> Result<Stored, Error> {
        let read = || standing(&self.shared.database.begin_read()?);
        Ok(read().map_err(Error::view)?.unwrap_or_default())
    }

    /// Applies changes, all or none. What is not durable may be gone after a crash, with everything since the last that is.
    pub(crate) fn apply(&self, changes: &Changes, stored: &Stored, durable: bool) -> Result<(), Error> {
        self.write(durable, |entries, about| {
            for (key, change) in changes.iter() {
                match change {
                    Some(value) => drop(entries.insert(&**key, &**value)?),
                    None => drop(entries.remove(&**key)?),
                }
            }
            let standing = stored.standing.to_snapshot(0, stored.checkpoint.clone());
            about.insert(STANDING, &*standing.encode_to_vec())?;
            Ok(())
        })
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) -> Result<(), Error> {
        self.write(true, |entries, about| {
            entries.retain(|_, _| false)?;
            about.remove(STANDING)?;
            Ok(())
        })
    }

    fn write(
        &self,
        durable: bool,
        change: impl FnOnce(
            &mut redb::Table<'_, &'static [u8], &'static [u8]>,
            &mut redb::Table<'_, &'static str, &'static [u8]>,
        ) -> Result<(), redb::Error>,
    ) -> Result<(), Error> {
        let write = || -> Result<bool, redb::Error> {
            let mut transaction = self.shared.database.begin_write()?;
            if self.shared.run.load(Ordering::SeqCst) != self.run {
                return Ok(false);
            }
            transaction.set_durability(if durable { Durability::Immediate } else { Durability::None })?;
            {
                let mut entries = transaction.open_table(ENTRIES)?;
                let mut about = transaction.open_table(ABOUT)?;
                change(&mut entries, &mut about)?;
            }
            transaction.commit()?;
            Ok(true)
        };
        match write().map_err(Error::view)? {
            true => Ok(()),
            false => Err(Error::Fenced {
                journal: "this view".to_owned(),
                by: "a later run of this process".to_owned(),
            }),
        }
    }

    /// The entries as they are now.
    pub(crate) fn read(&self) -> Result<Reading, Error> {
        let read = || Ok(Reading(self.shared.database.begin_read()?.open_table(ENTRIES)?));
        read().map_err(Error::view)
    }

    /// The entries as they are now, and up to where they have come.
    pub(crate) fn read_stored(&self) -> Result<(Reading, Stored), Error> {
        let read = || {
            let transaction = self.shared.database.begin_read()?;
            Ok((Reading(transaction.open_table(ENTRIES)?), standing(&transaction)?.unwrap_or_default()))
        };
        read().map_err(Error::view)
    }
}

/// What a file says of itself. What is damaged counts as nothing: the file is made again.
fn standing(transaction: &ReadTransaction) -> Result<Option<Stored>, redb::Error> {
    let value = transaction.open_table(ABOUT)?.get(STANDING)?;
    let stored = value.and_then(|value| ShardSnapshot::decode(value.value()).ok());
    Ok(stored
        .map(|stored| Stored { standing: Standing::of_snapshot(&stored), checkpoint: stored.checkpoint }))
}

impl Reading {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let value = self.0.get(key).map_err(|error| Error::view(error.into()))?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    /// Entries from a key on.
    pub(crate) fn scan(&self, begin: &[u8]) -> Result<Entries, Error> {
        let range = self.0.range::<&[u8]>(begin..).map_err(|error| Error::view(error.into()))?;
        Ok(Entries(range))
    }

    /// Entries behind a key, as many as make up so many bytes, but at least one if there is one.
    pub(crate) fn batch(&self, behind: Option<&[u8]>, bytes: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let begin = behind.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.0.range::<&[u8]>((begin, Bound::Unbounded));
        let (mut batch, mut length) = (Vec::new(), 0);
        for entry in Entries(range.map_err(|error| Error::view(error.into()))?) {
            let (key, value) = entry?;
            length += key.len() + value.len();
            batch.push((key, value));
            if length >= bytes {
                break;
            }
        }
        Ok(batch)
    }
}

impl Iterator for Entries {
    type Item = Result<(Bytes, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.0.next()?.map_err(|error| Error::view(error.into()));
        let copied = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        Some(entry.map(|(key, value)| (copied(key.value()), copied(value.value()))))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}
