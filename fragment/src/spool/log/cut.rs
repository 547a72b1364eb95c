//! Cutting a spool at the offset from which its bytes belong to nobody.

use std::path::PathBuf;
use std::sync::Arc;

use courant_proto::offset::Offset;

use super::stage::Body;
use super::{Change, Turn};
use crate::error::Error;
use crate::spool::content::Blocks;
use crate::spool::digest::Digest;
use crate::spool::frame::{self, Record};
use crate::spool::volume::Name;
use crate::spool::{Identity, Phase, SpoolId, quarantine, registers};

/// Bytes read at a time.
const READ_LENGTH: u64 = 1 << 20;

/// Bytes that were put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Whose bytes they were.
    pub identity: Identity,
    /// The spool they were in.
    pub spool: SpoolId,
    /// The first of them.
    pub begin: Offset,
    /// The offset behind the last.
    pub end: Offset,
    /// The file that holds them now; beside it lies a note.
    pub path: PathBuf,
}

impl Turn<'_> {
    /// Takes from a spool what lies at `at` and behind it, and puts it aside in a file of its own: it is not served
    /// or persisted any more. None if there is nothing.
    ///
    /// A spool that keeps nothing is released if it was complete; if it was open it begins anew, empty. The
    /// registers stay what they are: who knows them better opens the next spool with them.
    ///
    /// Readers may go on below `at`. The spool can be [rolled](Turn::roll) in the same turn, and grows in a later one.
    /// It reads the whole spool.
    ///
    /// # Errors
    /// When this turn has committed to it, or the bytes cannot be read or put aside; the spool is what it was then.
    pub fn cut(&mut self, id: SpoolId, at: Offset) -> Result<Option<Quarantined>, Error> {
        let spool = self.log.spools.get(&id).ok_or(Error::UnknownSpool(id))?;
        let (begin, end) = (spool.begin(), spool.end());
        let at = at.max(begin);
        if at >= end {
            return Ok(None);
        }
        // Carried forward by this turn it still has the content that readers see; grown or cut it has not.
        if spool.content.length() != spool.length() {
            return Err(Error::Staged(id));
        }
        self.room(0)?;
        self.log.segment()?;
        let spool = self.log.spools.get(&id).ok_or(Error::UnknownSpool(id))?;
        let reason = "a later epoch of the journal begins before these bytes";
        let identity = spool.identity.clone();
        let path = quarantine::copy_aside(&self.log.volume, id, &identity, &spool.content, at, end, reason)?;
        let complete = spool.is_complete();
        if at == begin && complete {
            self.release(id)?;
        } else {
            self.keep(id, at.distance_from(begin).unwrap_or(0), complete)?;
        }
        Ok(Some(Quarantined { identity, spool: id, begin: at, end, path }))
    }

    /// Stages a spool anew with the first `keep` bytes of its content, all in its content file.
    fn keep(&mut self, id: SpoolId, keep: u64, complete: bool) -> Result<(), Error> {
        let spool = self.log.spools.get(&id).ok_or(Error::UnknownSpool(id))?;
        let content = Arc::clone(&spool.content);
        // As far as it was published: what this turn has put behind that is the same, and is written again.
        let in_file = content.layout().in_file;
        let path = self.log.volume.path(Name::Content(id));
        let file = if keep > in_file { Some(content.file_for_writing()?) } else { None };
        let (mut digest, mut blocks, mut checks) = (Digest::new(), Blocks::default(), Vec::new());
        let mut buffer = Vec::new();
        while blocks.length < keep {
            // Reads end where the content file does, so that what comes behind it is known to be inline.
            let until = if blocks.length < in_file { in_file.min(keep) } else { keep };
            buffer.resize((until - blocks.length).min(READ_LENGTH) as usize, 0);
            let read = content.read_at(blocks.length, &mut buffer)?;
            if read < buffer.len() {
                return Err(Error::ShortContent { have: blocks.length + read as u64, expected: keep });
            }
            if let Some(file) = file.as_ref().filter(|_| blocks.length >= in_file) {
                let written = file.write_all_at(&buffer, blocks.length);
                written.map_err(|error| Error::disk("write", &path)(error))?;
            }
            digest.update(&buffer);
            blocks.push(&buffer, &mut checks);
        }
        if file.is_some() {
            self.log.wrote_content(id);
        }

        let sum = digest.sum();
        let state = if complete { sum.0 } else { digest.state() };
        let spool = self.log.touch(id)?;
        // It was cut out of `begin..end`, so there is such an offset.
        spool.state.end = spool.begin.plus(keep).unwrap_or(spool.state.end);
        spool.state.file = blocks;
        spool.state.first_append = spool.state.first_append.filter(|_| keep > 0);
        spool.state.phase = if complete { Phase::Complete(sum) } else { Phase::Open(digest) };

        let Some(spool) = self.log.spools.get(&id) else { return Ok(()) };
        let bytes: Vec<u8> = checks.iter().flat_map(|check| check.to_le_bytes()).collect();
        let mut encoded = Vec::new();
        registers::encode(&spool.state.registers, &mut encoded);
        let record = Record::Open(spool.open_record(state, keep, &bytes, &encoded));
        self.log.staging.frame(&record, frame::Content::default(), Body::None);
        self.log.changes.push((id, Change::Cut { in_file: keep, checks }));
        Ok(())
    }
}
