//! The disk port: the few things that spools and scratch files ask of a file system, and nothing else.
//!
//! A [`Disk`] hands out [`DiskFile`]s that are read and written at positions, from any thread. [`LocalDisk`] is the
//! machine's own; [`MemoryDisk`] holds files in memory, can be told to fail, and can be crashed, so that what
//! follows from a full disk, a torn write or a flipped bit is tested and simulated without one.
//!
//! It knows nothing of what the files hold.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

pub mod local;
pub mod memory;

pub use local::LocalDisk;
pub use memory::MemoryDisk;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it is made if it is missing.
    Write,
    /// For reading and writing; it must not exist yet.
    Create,
}

/// A file in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name within the folder.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
}

/// A file system, as far as it is needed here. All calls block.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes a folder and those above it; one that exists is left as it is.
    ///
    /// # Errors
    /// As the file system's.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The regular files in a folder, ordered by name. Folders in it are passed over.
    ///
    /// # Errors
    /// As the file system's.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// Opens a file.
    ///
    /// # Errors
    /// As the file system's.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file. Who has it open keeps it.
    ///
    /// # Errors
    /// As the file system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name, replacing one that has it.
    ///
    /// # Errors
    /// As the file system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes names that were added to, or taken from, a folder survive the loss of power.
    ///
    /// # Errors
    /// As the file system's.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Bytes that this process may still write to the file system that holds a path.
    ///
    /// # Errors
    /// As the file system's.
    fn free_space(&self, path: &Path) -> io::Result<u64>;
}

/// An open file, read and written at positions. All calls block, and any thread may make them.
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Writes all slices, one behind the other, from a position on.
    ///
    /// # Errors
    /// As the file system's; any part of the slices may have been written then.
    fn write_all_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()>;

    /// Reads into a buffer from a position on, and tells how much: less than the buffer holds at the end of the
    /// file only.
    ///
    /// # Errors
    /// As the file system's.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Cuts or extends the file to a length.
    ///
    /// # Errors
    /// As the file system's.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Makes what was written survive the loss of power.
    ///
    /// # Errors
    /// As the file system's. After an error what was written before is in doubt, also if a later call succeeds.
    fn sync_data(&self) -> io::Result<()>;

    /// The length of the file in bytes.
    ///
    /// # Errors
    /// As the file system's.
    fn length(&self) -> io::Result<u64>;

    /// Writes all bytes from a position on.
    ///
    /// # Errors
    /// As [`DiskFile::write_all_vectored_at`].
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write_all_vectored_at(&[IoSlice::new(bytes)], position)
    }

    /// Fills a buffer from a position on.
    ///
    /// # Errors
    /// As [`DiskFile::read_at`], and [`io::ErrorKind::UnexpectedEof`] where the file ends first.
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let read = self.read_at(buffer, position)?;
        if read == buffer.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

#[cfg(test)]
mod tests;
