//! The seam to the disk: the few things the log asks of a folder, and the one real folder.
//!
//! It knows files by name and bytes, not records. Durability is the caller's to ask for: [`File::sync`] for content,
//! [`Disk::sync_folder`] for names.

use std::fmt::Debug;
use std::io;

#[cfg(test)]
pub(crate) mod faulty;
mod folder;

pub(crate) use folder::Folder;

/// A folder that is ours alone.
pub(crate) trait Disk: Debug + Send + Sync + 'static {
    /// Names of the files in the folder, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A file's whole content.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// An empty file under a name, in place of what the name meant before.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;
    /// An existing file, cut to `len` bytes and ready to be appended to.
    fn open(&self, name: &str, len: u64) -> io::Result<Box<dyn File>>;
    /// Gives a file another name, replacing what that name meant.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_folder(&self) -> io::Result<()>;
    /// The name as an operator finds it.
    fn path(&self, name: &str) -> String;
}

/// A file being written.
pub(crate) trait File: Debug + Send {
    /// Adds bytes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything appended durable. After an error nothing is known of what was appended since the last
    /// success, and asking again may report a success that is not one.
    fn sync(&mut self) -> io::Result<()>;
}
