//! Content files: what goes there, from memory, from another file, or from segments.
//!
//! What is written lies behind what counts, and counts when a record says so; before that it is written over.

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::stage::Body;
use super::{Change, FileChange, SpoolLog};
use crate::disk::DiskFile;
use crate::error::Error;
use crate::spool::SpoolId;
use crate::spool::content::{BLOCK_LENGTH, Blocks};
use crate::spool::digest::Digest;
use crate::spool::frame::{self, Record};
use crate::spool::volume::Name;

/// Bytes copied at a time.
const COPY_LENGTH: usize = 1 << 20;
/// From this length on a digest is worth a thread of its own.
const HASH_ASIDE: usize = 512 << 10;

impl SpoolLog {
    /// Notes that a content file was written.
    pub(super) fn wrote_content(&mut self, id: SpoolId) {
        self.volume.written(Name::Content(id));
        self.unsynced_names = true;
        if let Some(spool) = self.spools.get_mut(&id) {
            spool.unsynced = true;
        }
    }

    /// Moves what a spool has inline into its content file, and stages the record of it.
    pub(super) fn move_inline(&mut self, id: SpoolId) -> Result<(), Error> {
        let Some((blocks, change, check)) = self.copy_inline(id)? else { return Ok(()) };
        let record = Record::Moved { spool: id, length: blocks.length };
        self.staging.frame(&record, frame::Content { length: 0, check }, Body::None);
        self.touch(id)?.state.file = blocks;
        self.changes.push((id, Change::File(change)));
        Ok(())
    }

    /// Copies what a spool has inline behind what its content file has.
    pub(super) fn copy_inline(&mut self, id: SpoolId) -> Result<Option<(Blocks, FileChange, u32)>, Error> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let copied = self.copy_inline_through(id, &mut scratch);
        scratch.clear();
        self.scratch = scratch;
        copied
    }

    fn copy_inline_through(
        &mut self,
        id: SpoolId,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<(Blocks, FileChange, u32)>, Error> {
        let spool = self.spools.get(&id).ok_or(Error::UnknownSpool(id))?;
        let (mut position, length) = (spool.state.file.length, spool.length());
        if position == length {
            return Ok(None);
        }
        let content = Arc::clone(&spool.content);
        let mut file = FileWriter::new(self, id)?;
        let mut check = 0;
        while position < length {
            let part = usize::try_from(length - position).unwrap_or(COPY_LENGTH).min(COPY_LENGTH);
            scratch.resize(part, 0);
            let read = content.read_at(position, scratch)?;
            if read < part {
                let have = position + read as u64;
                return Err(Error::ShortContent { have, expected: length });
            }
            check = crc32c::crc32c_append(check, scratch);
            file.write(&[scratch])?;
            position += part as u64;
        }
        let (blocks, change) = file.finish(self);
        Ok(Some((blocks, change, check)))
    }

    /// Puts content behind what a content file has.
    pub(super) fn write_file(
        &mut self,
        id: SpoolId,
        chunks: &[Bytes],
        digest: Option<&mut Digest>,
    ) -> Result<(u32, (Blocks, FileChange)), Error> {
        let mut file = FileWriter::new(self, id)?;
        let slices: Vec<&[u8]> = chunks.iter().map(|chunk| &**chunk).collect();
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let check = if length < HASH_ASIDE || digest.is_none() {
            file.write(&slices)?;
            check_of(chunks, digest)
        } else {
            // The digest is the longest part of a large commit, and needs nothing of the file: another processor takes it on.
            std::thread::scope(|scope| {
                let hashing = scope.spawn(|| check_of(chunks, digest));
                let written = file.write(&slices);
                let check = hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                written.map(|()| check)
            })?
        };
        Ok((check, file.finish(self)))
    }

    /// Puts content of another file there.
    pub(super) fn copy_file(
        &mut self,
        id: SpoolId,
        source: &dyn DiskFile,
        length: u64,
        mut digest: Option<&mut Digest>,
    ) -> Result<(u32, (Blocks, FileChange)), Error> {
        let mut file = FileWriter::new(self, id)?;
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(COPY_LENGTH).min(COPY_LENGTH)];
        let (mut position, mut check) = (0, 0);
        while position < length {
            let part = usize::try_from(length - position).unwrap_or(COPY_LENGTH).min(COPY_LENGTH);
            let buffer = &mut buffer[..part];
            let read = source.read_at(buffer, position);
            let read = read.map_err(Error::disk("read", "the scratch file of an append"))?;
            if read < part {
                return Err(Error::ShortContent { have: position + read as u64, expected: length });
            }
            if let Some(digest) = &mut digest {
                digest.update(buffer);
            }
            check = crc32c::crc32c_append(check, buffer);
            file.write(&[buffer])?;
            position += part as u64;
        }
        Ok((check, file.finish(self)))
    }
}

/// Writes behind what a content file has. What it wrote counts when a record says so, and is written over before.
struct FileWriter {
    id: SpoolId,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    blocks: Blocks,
    first: usize,
    checks: Vec<u32>,
}

impl FileWriter {
    fn new(log: &SpoolLog, id: SpoolId) -> Result<Self, Error> {
        let spool = log.spools.get(&id).ok_or(Error::UnknownSpool(id))?;
        let blocks = spool.state.file;
        let file = spool.content.file_for_writing()?;
        let path = log.volume.path(Name::Content(id));
        let first = usize::try_from(blocks.length / BLOCK_LENGTH).unwrap_or(usize::MAX);
        Ok(Self { id, file, path, blocks, first, checks: Vec::new() })
    }

    fn write(&mut self, slices: &[&[u8]]) -> Result<(), Error> {
        let vectors: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
        let written = self.file.write_all_vectored_at(&vectors, self.blocks.length);
        if let Err(error) = written {
            // What there was room for gives its room back; where that fails too, the next content is written over it.
            let _ = self.file.truncate(self.blocks.length);
            return Err(Error::disk("write", &self.path)(error));
        }
        for slice in slices {
            self.blocks.push(slice, &mut self.checks);
        }
        Ok(())
    }

    fn finish(self, log: &mut SpoolLog) -> (Blocks, FileChange) {
        log.wrote_content(self.id);
        (self.blocks, FileChange { in_file: self.blocks.length, first: self.first, checks: self.checks })
    }
}

/// The check of content, which the digest takes in unless it is known.
pub(super) fn check_of(chunks: &[Bytes], mut digest: Option<&mut Digest>) -> u32 {
    let mut check = 0;
    for chunk in chunks {
        if let Some(digest) = &mut digest {
            digest.update(chunk);
        }
        check = crc32c::crc32c_append(check, chunk);
    }
    check
}
