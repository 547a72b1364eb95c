//! What a turn can do to spools.

use bytes::Bytes;
use courant_proto::codec::Codec;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::time::Timestamp;

use super::files::check_of;
use super::stage::Body;
use super::{Change, Extent, Opening, SpoolLog};
use crate::disk::DiskFile;
use crate::error::Error;
use crate::spool::digest::Digest;
use crate::spool::frame::{self, CommitRecord, OpenRecord, Record};
use crate::spool::volume::Name;
use crate::spool::{Phase, Spool, SpoolId, registers};

/// The most bytes of a turn. Positions in a segment have 32 bits.
const TURN_LIMIT: u64 = 1 << 30;

/// Changes that are written together. See the [module](super).
///
/// A change that is refused leaves the turn as it was before it, and the others unharmed.
#[derive(Debug)]
pub struct Turn<'a> {
    pub(super) log: &'a mut SpoolLog,
}

/// Growth of a spool.
#[derive(Clone, Debug)]
pub struct Commit<'a> {
    /// What it grows by.
    pub content: Source<'a>,
    /// The journal's registers from here on, if they change.
    pub registers: Option<&'a Registers>,
    /// The present time.
    pub now: Timestamp,
    /// The spool's digest with the content, where it is known; otherwise it is computed.
    pub digest: Option<Digest>,
    /// Whether it is to survive a loss of power: [`SpoolLog::take_unsynced`] then has what it rests on.
    pub durable: bool,
}

impl<'a> Commit<'a> {
    /// Growth by content alone, that need not survive a loss of power.
    pub const fn new(content: Source<'a>, now: Timestamp) -> Self {
        Self { content, registers: None, now, digest: None, durable: false }
    }
}

/// Where content comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Buffers, one behind the other. Large ones are kept until the turn ends, and not copied.
    Memory(&'a [Bytes]),
    /// The first `length` bytes of a file. They are copied while the turn is staged, which takes about a
    /// millisecond per mebibyte and a half, most of it for the digest.
    File {
        /// The file.
        file: &'a dyn DiskFile,
        /// How much of it.
        length: u64,
    },
}

impl Source<'_> {
    /// How much it is, in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Memory(chunks) => chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            Self::File { length, .. } => *length,
        }
    }
}

/// The span by which a spool grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown {
    /// The offset of its first byte.
    pub begin: Offset,
    /// The offset behind its last byte.
    pub end: Offset,
}

/// A spool that made place for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rolled {
    /// The spool that was open, if it has content: it waits to be persisted, and released. Without content it is
    /// gone.
    pub completed: Option<SpoolId>,
    /// The spool that is open now.
    pub opened: SpoolId,
}

/// A turn that was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes written to the segment.
    pub bytes: u64,
}

impl<'a> Turn<'a> {
    pub(super) const fn new(log: &'a mut SpoolLog) -> Self {
        Self { log }
    }

    /// A spool as this turn will leave it.
    pub fn spool(&self, spool: SpoolId) -> Option<&Spool> {
        self.log.spool(spool)
    }

    /// Begins the first spool of a journal that this log does not hold.
    ///
    /// # Errors
    /// When the segment cannot be begun, or the turn is full.
    pub fn open(&mut self, opening: Opening) -> Result<SpoolId, Error> {
        self.room(0)?;
        self.log.segment()?;
        let id = self.log.create(opening);
        self.log.write_open(id);
        Ok(id)
    }

    /// Extends a spool.
    ///
    /// # Errors
    /// When the spool cannot grow, as it does not in the turn that [cuts](Turn::cut) it, or its content file or the
    /// segment cannot be written.
    pub fn commit(&mut self, id: SpoolId, commit: Commit<'_>) -> Result<Grown, Error> {
        let length = commit.content.length();
        let layout = *self.log.volume.layout();
        let spool = self.log.spools.get(&id).ok_or(Error::UnknownSpool(id))?;
        let Phase::Open(digest) = &spool.state.phase else { return Err(Error::Completed(id)) };
        // What was cut off lies in the content file until the cut is written: nothing may be written over it before.
        if spool.length() < spool.content.length() {
            return Err(Error::Staged(id));
        }
        let computes = commit.digest.is_none();
        let mut digest = commit.digest.unwrap_or_else(|| digest.clone());
        let begin = spool.end();
        let end = begin.plus(length).ok_or_else(|| Error::OffsetOverflow {
            journal: spool.identity.journal.clone(),
            end: begin,
            length,
        })?;
        if length == 0 && commit.registers.is_none() {
            return Ok(Grown { begin, end });
        }
        debug_assert!(
            computes || digest.length() == spool.length() + length,
            "a digest of {} bytes, where the spool has {} and grows by {length}",
            digest.length(),
            spool.length()
        );
        let large = length >= layout.large_commit || matches!(commit.content, Source::File { .. });
        let staged = spool.turn == self.log.turn;
        let inline = spool.length() - spool.state.file.length;
        let moves = inline > 0
            && (large
                || inline + length > layout.inline_bytes
                || spool.content.layout().extents() >= layout.inline_commits);
        // What this turn staged cannot be moved before it is written: then the next turn does it.
        if moves && !staged {
            self.room(0)?;
            self.log.segment()?;
            self.log.move_inline(id)?;
        }
        let whole_in_file = self.spool(id).is_some_and(|spool| spool.length() == spool.state.file.length);
        let in_file = large && whole_in_file;
        self.room(if in_file { 0 } else { length })?;
        self.log.segment()?;

        let hashed = computes.then_some(&mut digest);
        let (check, file) = match commit.content {
            _ if length == 0 => (0, None),
            Source::Memory(chunks) if in_file => {
                let (check, file) = self.log.write_file(id, chunks, hashed)?;
                (check, Some(file))
            }
            Source::Memory(chunks) => (check_of(chunks, hashed), None),
            Source::File { file, length } if in_file => {
                let (check, change) = self.log.copy_file(id, file, length, hashed)?;
                (check, Some(change))
            }
            Source::File { .. } => return Err(Error::Staged(id)),
        };

        let mut encoded = std::mem::take(&mut self.log.scratch);
        encoded.clear();
        if let Some(registers) = commit.registers {
            registers::encode(registers, &mut encoded);
        }
        let record = Record::Commit(CommitRecord {
            spool: id,
            end_before: begin.get().unsigned_abs(),
            length,
            in_file: file.is_some(),
            state: digest.state(),
            time: commit.now.nanos(),
            registers: commit.registers.map(|_| &*encoded),
        });
        let body = match (&file, commit.content) {
            (None, Source::Memory(chunks)) => Body::Chunks(chunks),
            _ => Body::None,
        };
        // `room` has bounded the length to what a frame can say.
        let inline_length = if file.is_some() { 0 } else { u32::try_from(length).unwrap_or(u32::MAX) };
        let at = self.log.staging.frame(&record, frame::Content { length: inline_length, check }, body);
        self.log.scratch = encoded;

        let spool = self.log.touch(id)?;
        spool.state.end = end;
        spool.state.phase = Phase::Open(digest);
        if length > 0 {
            spool.state.first_append.get_or_insert(commit.now);
        }
        if let Some(registers) = commit.registers {
            spool.state.registers = registers.clone();
        }
        let change = match file {
            Some((blocks, change)) => {
                spool.state.file = blocks;
                Change::File(change)
            }
            None => Change::Extent(Extent { at: position(at), check, length }),
        };
        self.log.changes.push((id, change));
        if commit.durable || self.log.volume.layout().durable {
            self.log.durable.push(id);
        }
        Ok(Grown { begin, end })
    }

    /// Completes the open spool of a journal and begins the next, at its end or above.
    ///
    /// # Errors
    /// When the spool is not open, the next one would begin below its end, or the segment cannot be begun.
    pub fn roll(&mut self, id: SpoolId, next: Opening) -> Result<Rolled, Error> {
        self.room(0)?;
        let spool = self.log.spools.get(&id).ok_or(Error::UnknownSpool(id))?;
        if spool.is_complete() {
            return Err(Error::Completed(id));
        }
        // One without content names nothing: what follows it may begin below.
        if next.begin < spool.end() && spool.length() > 0 {
            let journal = spool.identity.journal.clone();
            return Err(Error::Backwards { journal, begin: next.begin, end: spool.end() });
        }
        self.log.segment()?;
        let completed = self.finish(id)?;
        let opened = self.log.create(next);
        self.log.write_open(opened);
        Ok(Rolled { completed, opened })
    }

    /// Lets go of a complete spool: its bytes lie verified in the store, or belong to nobody any more.
    ///
    /// # Errors
    /// When the spool is still open, or the segment cannot be begun.
    pub fn release(&mut self, id: SpoolId) -> Result<(), Error> {
        let spool = self.log.spools.get(&id).ok_or(Error::UnknownSpool(id))?;
        if !spool.is_complete() {
            return Err(Error::StillOpen(id));
        }
        self.room(0)?;
        self.log.segment()?;
        self.log.touch(id)?;
        self.log.staging.frame(&Record::Release { spool: id }, frame::Content::default(), Body::None);
        self.log.changes.push((id, Change::Gone));
        Ok(())
    }

    /// Completes the open spool of a journal, and drops the journal's head: it is not ours any more. What is
    /// complete stays until it is released.
    ///
    /// # Errors
    /// When the spool is not open, or the segment cannot be begun.
    pub fn forget(&mut self, id: SpoolId) -> Result<Option<SpoolId>, Error> {
        self.room(0)?;
        let spool = self.log.spools.get(&id).ok_or(Error::UnknownSpool(id))?;
        if spool.is_complete() {
            return Err(Error::Completed(id));
        }
        let identity = spool.identity.clone();
        self.log.segment()?;
        let completed = self.finish(id)?;
        let journal = identity.journal.as_str();
        let record = Record::Forget { journal, create_revision: identity.create_revision };
        self.log.staging.frame(&record, frame::Content::default(), Body::None);
        Ok(completed)
    }

    /// Writes the turn. Only then is anything of it true.
    ///
    /// # Errors
    /// When the segment cannot be written. Then nothing of the turn happened, and the next one may succeed.
    pub fn write(self) -> Result<Written, Error> {
        let log = &mut *self.log;
        if log.staging.is_empty() {
            return Ok(Written::default());
        }
        log.staging.close();
        let bytes = log.staging.length();
        let Some(current) = &mut log.current else { return Ok(Written::default()) };
        if let Err(error) = log.staging.write(&*current.file) {
            current.torn = current.file.truncate(current.length).is_err();
            let sequence = log.segments.back().map_or(0, |own| own.segment.sequence);
            // What was staged is taken back when `self` is dropped.
            return Err(Error::disk("write", log.volume.path(Name::Segment(sequence)))(error));
        }
        current.length += bytes;
        let sequence = log.segments.back().map_or(0, |own| own.segment.sequence);
        log.volume.written(Name::Segment(sequence));
        log.last_turn_bytes = bytes;
        if let Some(own) = log.segments.back_mut() {
            own.synced = false;
        }
        log.keep_unsynced();
        log.apply();
        Ok(Written { bytes })
    }

    /// Refuses what would make the turn too long.
    pub(super) const fn room(&self, length: u64) -> Result<(), Error> {
        if self.log.staging.length().saturating_add(length) > TURN_LIMIT {
            Err(Error::TurnFull { limit: TURN_LIMIT })
        } else {
            Ok(())
        }
    }

    /// Completes a spool that is open. Without content it is gone: the record that comes next replaces it.
    fn finish(&mut self, id: SpoolId) -> Result<Option<SpoolId>, Error> {
        let spool = self.log.touch(id)?;
        let sum = spool.sum();
        spool.state.phase = Phase::Complete(sum);
        let end = spool.end().get().unsigned_abs();
        if spool.length() == 0 {
            self.log.changes.push((id, Change::Gone));
            return Ok(None);
        }
        let record = Record::Complete { spool: id, end, sum: sum.0 };
        self.log.staging.frame(&record, frame::Content::default(), Body::None);
        Ok(Some(id))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // After a write there is nothing to take back.
        self.log.revert();
    }
}

impl SpoolLog {
    /// Stages the `open` of a spool without content, and pins it there.
    pub(super) fn write_open(&mut self, id: SpoolId) {
        let Some(spool) = self.spools.get(&id) else { return };
        let mut encoded = std::mem::take(&mut self.scratch);
        encoded.clear();
        registers::encode(&spool.state.registers, &mut encoded);
        let state = Digest::new().state();
        let record = Record::Open(spool.open_record(state, 0, &[], &encoded));
        self.staging.frame(&record, frame::Content::default(), Body::None);
        self.scratch = encoded;
        self.changes.push((id, Change::Pinned));
    }
}

impl Spool {
    /// The record of this spool, with everything before `in_file` in its content file.
    pub(super) fn open_record<'a>(
        &'a self,
        state: [u8; 20],
        in_file: u64,
        blocks: &'a [u8],
        registers: &'a [u8],
    ) -> OpenRecord<'a> {
        OpenRecord {
            spool: self.id,
            journal: self.identity.journal.as_str(),
            create_revision: self.identity.create_revision,
            epoch: self.identity.epoch,
            begin: self.begin.get().unsigned_abs(),
            end: self.state.end.get().unsigned_abs(),
            in_file,
            blocks,
            codec: codec_number(self.codec),
            first_append: self.state.first_append.map(Timestamp::nanos),
            complete: self.is_complete(),
            state,
            registers,
        }
    }
}

/// A codec as records have it: as the wire does.
fn codec_number(codec: Codec) -> u8 {
    u8::try_from(codec.to_wire() as i32).unwrap_or(0)
}

/// A position in a segment, which [`Turn::room`] keeps below 4 GiB.
pub(super) fn position(at: u64) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
