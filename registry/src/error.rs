//! The faults of this crate. What the etcd API foresees (a missing key, a lost lease) is a gRPC status, not a fault.

use std::io;

/// Why a registry cannot be opened, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the folder.
    #[error(
        "the registry folder {folder} is in use by another process{holder}: stop that process, or give this one \
         a data folder of its own"
    )]
    Locked {
        /// The folder.
        folder: String,
        /// ` (pid 123)` if the other process left its number, else empty.
        holder: String,
    },
    /// A file was written and is not what was written.
    #[error(
        "{path}: damaged at byte {offset}: {what}. Nothing was changed; restore the file from a backup, or move \
         the registry folder away to start with an empty registry"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Where in the file the damage begins.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A file that the others rely on is not there.
    #[error("{path}: missing, although {because}. Restore the file from a backup")]
    Missing {
        /// The file expected.
        path: String,
        /// What says that it must exist.
        because: String,
    },
    /// The operating system refused something. After a failed write or sync the registry takes no more writes:
    /// what is on the disk is known again only after it has been read back by the next start.
    #[error("{path}: cannot {action}: {source}")]
    Disk {
        /// The file or folder.
        path: String,
        /// What was tried.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// `run` was called while another `run` of the same registry is under way.
    #[error("this registry is already running: call Registry::run once at a time")]
    AlreadyRunning,
    /// The thread that writes the log is gone.
    #[error("the registry's log writer did not come back: {0}")]
    Writer(String),
}
