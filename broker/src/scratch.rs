//! Where content waits that is not in a journal yet: in memory under one budget of the process, or in files that nobody names.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use courant_fragment::disk::{Disk, DiskFile, Open};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// Bytes that one permit stands for.
const UNIT: u64 = 4096;

/// Below this an append needs no share: what so small appends hold is bounded by the streams a connection may have.
const FREE: u64 = 64 << 10;

/// The memory that appends may hold while they are received.
#[derive(Debug)]
pub(crate) struct Budget {
    memory: Arc<Semaphore>,
    /// An append beyond this goes to a scratch file even if memory is left.
    largest: u64,
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    next: AtomicU64,
}

impl Budget {
    /// A budget of `memory` bytes, of which one append holds `largest` at most, with scratch files in `folder`.
    pub(crate) fn new(memory: u64, largest: u64, disk: Arc<dyn Disk>, folder: PathBuf) -> Self {
        let units = usize::try_from(memory / UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            memory: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
            largest,
            disk,
            folder,
            next: AtomicU64::new(0),
        }
    }

    /// Grows `share` to cover `length` bytes. False if the append has to leave memory.
    pub(crate) fn take(&self, share: &mut Option<OwnedSemaphorePermit>, length: u64) -> bool {
        if length <= FREE {
            return true;
        }
        if length > self.largest {
            return false;
        }
        let held = share.as_ref().map_or(0, |share| share.num_permits() as u64);
        let missing = length.div_ceil(UNIT).saturating_sub(held);
        if missing == 0 {
            return true;
        }
        // Taken in steps of an eighth of a mebibyte, so that a stream of small chunks does not come here for each.
        let step = u32::try_from(missing.max(32)).unwrap_or(u32::MAX);
        match Arc::clone(&self.memory).try_acquire_many_owned(step) {
            Ok(more) => {
                match share {
                    Some(share) => share.merge(more),
                    None => *share = Some(more),
                }
                true
            }
            Err(_) => false,
        }
    }

    /// A new scratch file. Its name is gone at once, so that it ends with its last user.
    pub(crate) fn scratch(&self) -> Result<Scratch, Status> {
        let path = self.folder.join(format!("{:016x}.scratch", self.next.fetch_add(1, Ordering::Relaxed)));
        let file = self
            .disk
            .open(&path, Open::Write)
            // One that a process left which was killed in between is taken over, emptied.
            .and_then(|file| file.truncate(0).map(|()| file))
            .and_then(|file| self.disk.remove(&path).map(|()| file))
            .map_err(|error| full(&error))?;
        Ok(Scratch { file, length: 0 })
    }
}

/// A file that is being filled.
#[derive(Debug)]
pub(crate) struct Scratch {
    file: Arc<dyn DiskFile>,
    length: u64,
}

impl Scratch {
    /// Appends to the file.
    pub(crate) fn write(&mut self, content: &[u8]) -> Result<(), Status> {
        self.file.write_all_at(content, self.length).map_err(|error| full(&error))?;
        self.length += content.len() as u64;
        Ok(())
    }

    /// The filled file.
    pub(crate) fn into_file(self) -> Arc<dyn DiskFile> {
        self.file
    }
}

fn full(error: &std::io::Error) -> Status {
    Status::resource_exhausted(format!(
        "cannot hold the append's content in a scratch file: {error}; nothing was committed, try again when there is room"
    ))
}
