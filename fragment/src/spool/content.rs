//! The committed bytes of one spool, as its owner extends them and any thread reads them.
//!
//! ```text
//!        in the content file, in blocks              in segments, an extent per commit
//!  0 ├───────┼───────┼───────┼────┤ in_file ├───┼──────┼─┼────┤ length
//! ```
//!
//! Every block and every extent has a checksum here in memory, and no byte is given out that does not check:
//! a bit that flipped since recovery is refused like one that flipped before it.
//!
//! It does not know what is committed or who may see it: what was written is here, and its owner publishes it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use parking_lot::{RwLock, RwLockReadGuard};

use super::SpoolId;
use super::segment::{Handle, Segment};
use super::volume::{Name, Rest, Volume};
use crate::disk::{DiskFile, Open};
use crate::error::Error;

/// Bytes of a content file that share a checksum.
pub const BLOCK_LENGTH: u64 = 64 << 10;
/// Bytes read from a segment at once, to gather several extents.
const SPAN_LENGTH: u64 = 256 << 10;
/// Bytes between two extents beyond which they are not read together.
const SPAN_GAP: u64 = 4 << 10;

/// The committed bytes of a spool. Positions count from the begin of the spool.
pub struct Content {
    volume: Arc<Volume>,
    spool: SpoolId,
    journal: JournalName,
    begin: Offset,
    layout: RwLock<Layout>,
    file: Handle,
    /// Whether a content file may be there.
    has_file: AtomicBool,
    damaged: AtomicBool,
}

/// Where the bytes lie.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    /// Bytes in the content file.
    pub(crate) in_file: u64,
    /// CRC-32C of each block of the content file; the last may be short.
    pub(crate) blocks: Vec<u32>,
    /// Bytes in all.
    pub(crate) length: u64,
    /// Extents behind `in_file`, in order and without holes.
    extents: Vec<Extent>,
    /// Which segment extents lie in: each from the index given, to the next.
    runs: Vec<(u32, Arc<Segment>)>,
    /// How often content was cut off. What is behind a cut may be written over.
    cuts: u32,
}

/// Content of one frame. It ends where the next begins.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Position in the content, behind `in_file`.
    start: u32,
    /// Position in the segment.
    at: u32,
    /// CRC-32C.
    check: u32,
}

/// Where a read goes.
enum Plan {
    End,
    File { file: Arc<dyn DiskFile>, first: u64, checks: Vec<u32>, in_file: u64, cuts: u32 },
    Segment { file: Arc<dyn DiskFile>, segment: Arc<Segment>, pieces: Vec<Piece> },
}

/// A whole extent: position in the content, length, position in the segment, check.
struct Piece {
    start: u64,
    length: u64,
    at: u64,
    check: u32,
}

impl Layout {
    /// Adds content that lies in a segment.
    pub(crate) fn push_extent(&mut self, segment: &Arc<Segment>, at: u32, check: u32, length: u64) {
        // An inline tail is far below 4 GiB: a turn is, and what exceeds the layout's bound is moved by the next.
        let start = u32::try_from(self.length - self.in_file).unwrap_or(u32::MAX);
        let index = u32::try_from(self.extents.len()).unwrap_or(u32::MAX);
        if self.runs.last().is_none_or(|(_, last)| !Arc::ptr_eq(last, segment)) {
            self.runs.push((index, Arc::clone(segment)));
        }
        self.extents.push(Extent { start, at, check });
        self.length += length;
    }

    /// The content file holds `in_file` bytes now, the blocks from `first` on with these checks; what lay in
    /// segments up to there does not count any more.
    pub(crate) fn set_file(&mut self, in_file: u64, first: usize, checks: &[u32]) {
        self.blocks.truncate(first);
        self.blocks.extend_from_slice(checks);
        self.in_file = in_file;
        self.length = self.length.max(in_file);
        self.clear_extents();
    }

    /// Only what is in the content file is left, and that with these checks.
    pub(crate) fn cut(&mut self, in_file: u64, checks: &[u32]) {
        self.set_file(in_file, 0, checks);
        self.cuts = self.cuts.wrapping_add(1);
    }

    /// Only what is in the content file is left.
    pub(crate) fn clear_extents(&mut self) {
        self.length = self.in_file;
        self.extents = Vec::new();
        self.runs = Vec::new();
    }

    pub(crate) fn extents(&self) -> usize {
        self.extents.len()
    }

    fn extent(&self, index: usize) -> Piece {
        let extent = &self.extents[index];
        let start = self.in_file + u64::from(extent.start);
        let end =
            self.extents.get(index + 1).map_or(self.length, |next| self.in_file + u64::from(next.start));
        Piece { start, length: end - start, at: u64::from(extent.at), check: extent.check }
    }

    /// The extents to read together for a range that begins in a segment.
    fn gather(&self, position: u64, wanted: u64) -> (Arc<Segment>, Vec<Piece>) {
        let behind = position - self.in_file;
        let first = self.extents.partition_point(|extent| u64::from(extent.start) <= behind) - 1;
        let run = self.runs.partition_point(|(index, _)| *index as usize <= first) - 1;
        let run_end = self.runs.get(run + 1).map_or(self.extents.len(), |(index, _)| *index as usize);
        let mut pieces = vec![self.extent(first)];
        let from = pieces[0].at;
        for index in first + 1..run_end {
            let piece = self.extent(index);
            let last = &pieces[pieces.len() - 1];
            let near = piece.at >= last.at + last.length && piece.at - last.at - last.length <= SPAN_GAP;
            if piece.start >= position + wanted || !near || piece.at + piece.length - from > SPAN_LENGTH {
                break;
            }
            pieces.push(piece);
        }
        (Arc::clone(&self.runs[run].1), pieces)
    }
}

impl Content {
    pub(crate) fn new(
        volume: Arc<Volume>,
        spool: SpoolId,
        journal: JournalName,
        begin: Offset,
        layout: Layout,
    ) -> Arc<Self> {
        Arc::new(Self {
            volume,
            spool,
            journal,
            begin,
            has_file: AtomicBool::new(layout.in_file > 0),
            layout: RwLock::new(layout),
            file: Handle::default(),
            damaged: AtomicBool::new(false),
        })
    }

    /// The offset of position zero.
    pub const fn begin(&self) -> Offset {
        self.begin
    }

    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        self.layout.read().length
    }

    /// Reads from a position on, and tells how much: less than the buffer holds only where the content ends. It
    /// blocks on files.
    ///
    /// It goes on to work when the spool was released and its files are removed, for who holds it.
    ///
    /// # Errors
    /// When a file cannot be read, or what it holds does not check.
    pub fn read_at(self: &Arc<Self>, position: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = position + filled as u64;
            let rest = &mut buffer[filled..];
            let read = match self.plan(at, rest.len() as u64)? {
                Plan::End => break,
                Plan::File { file, first, checks, in_file, cuts } => {
                    match self.read_blocks(&*file, first, &checks, in_file, at, rest)? {
                        Ok(read) => read,
                        // A block was cut meanwhile, and what was cut off written over: it has another check now.
                        Err(_) if self.layout().cuts != cuts => 0,
                        Err(damaged) => {
                            self.mark_damaged();
                            return Err(damaged);
                        }
                    }
                }
                Plan::Segment { file, segment, pieces } => {
                    self.read_extents(&*file, &segment, &pieces, at, rest)?
                }
            };
            filled += read;
        }
        Ok(filled)
    }

    /// Closes the content file if nobody used it since the last call.
    pub fn rest(&self) {
        self.file.rest();
    }

    /// Whether bytes were found that do not check.
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    pub(crate) fn mark_damaged(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    pub(crate) fn layout(&self) -> RwLockReadGuard<'_, Layout> {
        self.layout.read()
    }

    /// Publishes a change of its owner.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut Layout)) {
        change(&mut self.layout.write());
    }

    /// The content file, made if it is missing.
    pub(crate) fn file_for_writing(self: &Arc<Self>) -> Result<Arc<dyn DiskFile>, Error> {
        self.has_file.store(true, Ordering::Relaxed);
        self.open(Open::Write)
    }

    pub(crate) fn has_file(&self) -> bool {
        self.has_file.load(Ordering::Relaxed)
    }

    /// Keeps the content file open for who still reads, as it loses its name.
    pub(crate) fn keep_open(&self) -> Result<(), Error> {
        if self.layout.read().in_file == 0 {
            return Ok(());
        }
        let name = Name::Content(self.spool);
        self.file.keep(&self.volume, name).map_err(Error::disk("open", self.volume.path(name)))
    }

    fn open(self: &Arc<Self>, how: Open) -> Result<Arc<dyn DiskFile>, Error> {
        let name = Name::Content(self.spool);
        let file = self.file.get(&self.volume, name, how);
        let file = file.map_err(|error| Error::disk("open", self.volume.path(name))(error))?;
        if self.file.list() {
            let this: std::sync::Weak<Self> = Arc::downgrade(self);
            self.volume.opened(this);
        }
        Ok(file)
    }

    fn plan(self: &Arc<Self>, position: u64, wanted: u64) -> Result<Plan, Error> {
        // Files are opened under the lock: extents are replaced under it before their segment is removed, so one
        // that is found here can be opened.
        let layout = self.layout.read();
        if position >= layout.length {
            return Ok(Plan::End);
        }
        if position >= layout.in_file {
            let (segment, pieces) = layout.gather(position, wanted);
            let file = segment.file(&self.volume)?;
            return Ok(Plan::Segment { file, segment, pieces });
        }
        let end = position.saturating_add(wanted).min(layout.in_file);
        let first = position / BLOCK_LENGTH;
        let blocks = first as usize..end.div_ceil(BLOCK_LENGTH) as usize;
        let checks = layout.blocks.get(blocks).unwrap_or_default().to_vec();
        let (in_file, cuts) = (layout.in_file, layout.cuts);
        drop(layout);
        let file = self.open(Open::Read)?;
        Ok(Plan::File { file, first, checks, in_file, cuts })
    }

    /// The inner error says that what was read does not check.
    fn read_blocks(
        &self,
        file: &dyn DiskFile,
        first: u64,
        checks: &[u32],
        in_file: u64,
        position: u64,
        buffer: &mut [u8],
    ) -> Result<Result<usize, Error>, Error> {
        let mut scratch = Vec::new();
        let mut filled = 0;
        for (index, check) in checks.iter().enumerate() {
            let start = (first + index as u64) * BLOCK_LENGTH;
            let length = BLOCK_LENGTH.min(in_file - start) as usize;
            let skip = (position + filled as u64 - start) as usize;
            let wanted = (length - skip).min(buffer.len() - filled);
            let target = &mut buffer[filled..filled + wanted];
            // A whole block is read in place; of a part, the block is read beside it, to be checked.
            let whole = wanted == length;
            if !whole {
                scratch.resize(length, 0);
            }
            let block = if whole { &mut *target } else { &mut scratch[..length] };
            let read = file.read_at(block, start);
            let read = read.map_err(|error| self.unreadable(Name::Content(self.spool), error))?;
            if read < length || crc32c::crc32c(block) != *check {
                target.fill(0);
                return Ok(Err(self.damaged(start)));
            }
            if !whole {
                target.copy_from_slice(&scratch[skip..skip + wanted]);
            }
            filled += wanted;
        }
        Ok(if filled == 0 { Err(self.damaged(position)) } else { Ok(filled) })
    }

    fn read_extents(
        &self,
        file: &dyn DiskFile,
        segment: &Segment,
        pieces: &[Piece],
        position: u64,
        buffer: &mut [u8],
    ) -> Result<usize, Error> {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(0) };
        let mut span = vec![0; (last.at + last.length - first.at) as usize];
        let read = file.read_at(&mut span, first.at);
        let read = read.map_err(|error| self.unreadable(Name::Segment(segment.sequence), error))?;
        let mut filled = 0;
        for piece in pieces {
            let from = (piece.at - first.at) as usize;
            let bytes = &span[from..from + piece.length as usize];
            if from + bytes.len() > read || crc32c::crc32c(bytes) != piece.check {
                segment.mark_damaged();
                // What came before it is good, and is given out; the next read begins here and fails.
                return if filled > 0 { Ok(filled) } else { Err(self.damaged(piece.start)) };
            }
            let skip = (position + filled as u64 - piece.start) as usize;
            let wanted = (bytes.len() - skip).min(buffer.len() - filled);
            buffer[filled..filled + wanted].copy_from_slice(&bytes[skip..skip + wanted]);
            filled += wanted;
        }
        Ok(filled)
    }

    fn unreadable(&self, name: Name, source: std::io::Error) -> Error {
        Error::disk("read", self.volume.path(name))(source)
    }

    fn damaged(&self, position: u64) -> Error {
        let offset = self.begin.plus(position).unwrap_or(Offset::MAX);
        Error::Damaged { journal: self.journal.clone(), spool: self.spool, offset }
    }
}

impl Rest for Content {
    fn rest(&self) -> bool {
        self.file.rest()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("spool", &self.spool)
            .field("journal", &self.journal)
            .field("begin", &self.begin)
            .finish_non_exhaustive()
    }
}

/// Checksums of content as it is put into a content file, block by block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blocks {
    /// Bytes in the file so far.
    pub(crate) length: u64,
    /// The check of the last block, if it is short.
    pub(crate) open: u32,
}

impl Blocks {
    /// Takes bytes in that go behind the last; appends to `checks` those of all blocks they touch. The first of
    /// these replaces the short one that was last, if `length` was inside a block.
    pub(crate) fn push(&mut self, bytes: &[u8], checks: &mut Vec<u32>) {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let room = BLOCK_LENGTH - self.length % BLOCK_LENGTH;
            let (head, rest) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            let continues = room < BLOCK_LENGTH;
            self.open = crc32c::crc32c_append(if continues { self.open } else { 0 }, head);
            self.length += head.len() as u64;
            match checks.last_mut() {
                Some(last) if continues => *last = self.open,
                _ => checks.push(self.open),
            }
            bytes = rest;
        }
    }
}
