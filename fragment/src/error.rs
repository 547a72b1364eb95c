//! What can go wrong below a journal: files that cannot be written or read, and content that is not what it was.
//!
//! What a protocol foresees is not here. Every fault names where it happened and what to do about it.

use std::io;
use std::path::PathBuf;

use courant_proto::name::JournalName;
use courant_proto::offset::Offset;

use crate::spool::SpoolId;

/// A fault of spools.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Disk {
        /// What was tried, as in "cannot write".
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Content does not check, and is not given out.
    #[error(
        "spool {spool} of journal {journal} is damaged at offset {offset}: its bytes do not have the checksum they \
         were committed with; take them from a replica, or from a backup of the spools folder"
    )]
    Damaged {
        /// The journal.
        journal: JournalName,
        /// Its spool.
        spool: SpoolId,
        /// The first offset of the block that does not check.
        offset: Offset,
    },
    /// A spool that is not in this log, or not any more.
    #[error("there is no spool {0} in this core's log; it was released, or belongs to another core")]
    UnknownSpool(SpoolId),
    /// A commit to a spool that will not grow any more.
    #[error("spool {0} is complete and does not grow any more; commit to the spool that was opened after it")]
    Completed(SpoolId),
    /// The release of a spool that may still grow.
    #[error(
        "spool {0} is still open, and holds the head of its journal; roll it or forget the journal first"
    )]
    StillOpen(SpoolId),
    /// The spool was changed in this turn already, by something that cannot share one with what is asked.
    #[error("spool {0} was changed in this turn already; write the turn first")]
    Staged(SpoolId),
    /// More than one turn of a log takes.
    #[error("a turn of the log takes {limit} bytes at most; write it, and stage the rest in the next")]
    TurnFull {
        /// The most bytes of a turn.
        limit: u64,
    },
    /// Offsets end at `i64::MAX`.
    #[error("journal {journal} cannot grow by {length} bytes at offset {end}: offsets end at 2^63 - 1")]
    OffsetOverflow {
        /// The journal.
        journal: JournalName,
        /// Where it ends.
        end: Offset,
        /// By how much it should grow.
        length: u64,
    },
    /// A spool that would begin below where its journal ended.
    #[error("journal {journal} cannot go on at offset {begin}: it has committed up to {end}")]
    Backwards {
        /// The journal.
        journal: JournalName,
        /// Where its next spool should begin.
        begin: Offset,
        /// Where it ends.
        end: Offset,
    },
    /// A content source that ended before its length.
    #[error("the content to commit ends after {have} bytes, and {expected} were announced")]
    ShortContent {
        /// Bytes that were there.
        have: u64,
        /// Bytes that should be.
        expected: u64,
    },
    /// A segment of another version.
    #[error(
        "{} has format {version}, and this program knows format {expected}; start the version that wrote it, and \
         drain it before changing versions", path.display()
    )]
    Format {
        /// The segment.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The version that can be read.
        expected: u32,
    },
    /// A spool's record would be larger than a frame may be.
    #[error("spool {0} has grown so long that its record does not fit a frame; roll it sooner")]
    TooLong(SpoolId),
}

impl Error {
    /// Whether the disk is full, so that freeing space is what helps.
    pub fn is_out_of_space(&self) -> bool {
        matches!(self, Self::Disk { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    pub(crate) fn disk(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Disk { doing, path, source }
    }
}
