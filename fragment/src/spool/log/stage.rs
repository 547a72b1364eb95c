//! What a turn will write: frames in memory, content by reference where that is cheaper than a copy.

use std::io::{self, IoSlice};

use bytes::Bytes;

use crate::disk::DiskFile;
use crate::spool::frame::{self, Content, Record, Salt};

/// Content below this is copied behind its frame; a slice of a vectored write costs about as much as the copy.
const COPY_BELOW: usize = 4 << 10;
/// Frames that one turn frame repeats at most, in bytes; a longer turn has several.
const ENTRIES_LIMIT: usize = 1 << 20;
/// Memory that is kept from turn to turn.
const KEEP_BYTES: usize = 1 << 20;

/// Content of a frame.
#[derive(Clone, Copy)]
pub(super) enum Body<'a> {
    None,
    Chunks(&'a [Bytes]),
    Slice(&'a [u8]),
}

/// The frames of a turn.
#[derive(Default)]
pub(super) struct Staging {
    /// Where the turn begins in its segment.
    start: u64,
    salt: Option<Salt>,
    /// Bytes of frames, and content that was copied.
    arena: Vec<u8>,
    /// Content that was not: it comes where the arena has that length.
    shared: Vec<(usize, Bytes)>,
    shared_length: u64,
    /// Fields of the turn frame.
    entries: Vec<u8>,
}

impl Staging {
    /// Whether the turn has not begun.
    pub(super) const fn is_empty(&self) -> bool {
        self.salt.is_none()
    }

    /// Bytes staged.
    pub(super) const fn length(&self) -> u64 {
        self.arena.len() as u64 + self.shared_length
    }

    pub(super) fn begin(&mut self, start: u64, salt: Salt) {
        self.start = start;
        self.salt = Some(salt);
    }

    pub(super) fn clear(&mut self) {
        self.salt = None;
        self.shared.clear();
        self.shared_length = 0;
        for buffer in [&mut self.arena, &mut self.entries] {
            buffer.clear();
            buffer.shrink_to(KEEP_BYTES);
        }
    }

    /// Stages the head of a segment, twice: the salt of everything behind it must not hang on one sector.
    pub(super) fn header(&mut self, segment: frame::Segment) {
        for _ in 0..2 {
            let salt = frame::segment_salt(segment.sequence);
            let record = Record::Segment(segment);
            frame::encode(&record, Content::default(), salt, self.position(), &mut self.arena);
            self.pad();
        }
    }

    /// Stages a frame, and tells where in the segment its content begins.
    pub(super) fn frame(&mut self, record: &Record<'_>, content: Content, body: Body<'_>) -> u64 {
        if self.entries.len() > ENTRIES_LIMIT {
            self.close();
        }
        let (at, position) = (self.arena.len(), self.position());
        self.encode(record, content, position);
        let prefix = &self.arena[at..];
        frame::push_entry(position, prefix, &mut self.entries);
        let content_at = position + prefix.len() as u64;
        match body {
            Body::None => {}
            Body::Slice(bytes) => self.arena.extend_from_slice(bytes),
            Body::Chunks(chunks) => {
                for chunk in chunks {
                    if chunk.len() < COPY_BELOW {
                        self.arena.extend_from_slice(chunk);
                    } else {
                        self.shared.push((self.arena.len(), chunk.clone()));
                        self.shared_length += chunk.len() as u64;
                    }
                }
            }
        }
        self.pad();
        content_at
    }

    /// Ends the frames so far with a turn frame that repeats them.
    pub(super) fn close(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        let position = self.position();
        let entries = std::mem::take(&mut self.entries);
        self.encode(&Record::Turn(&entries), Content::default(), position);
        self.entries = entries;
        self.entries.clear();
        self.pad();
    }

    /// Writes it all to the segment.
    pub(super) fn write(&self, file: &dyn DiskFile) -> io::Result<()> {
        if self.shared.is_empty() {
            return file.write_all_at(&self.arena, self.start);
        }
        let mut slices = Vec::with_capacity(2 * self.shared.len() + 1);
        let mut from = 0;
        for (at, chunk) in &self.shared {
            if *at > from {
                slices.push(IoSlice::new(&self.arena[from..*at]));
            }
            slices.push(IoSlice::new(chunk));
            from = *at;
        }
        if from < self.arena.len() {
            slices.push(IoSlice::new(&self.arena[from..]));
        }
        file.write_all_vectored_at(&slices, self.start)
    }

    fn encode(&mut self, record: &Record<'_>, content: Content, position: u64) {
        // Frames are staged after `begin` only.
        let salt = self.salt.unwrap_or(Salt(0));
        frame::encode(record, content, salt, position, &mut self.arena);
    }

    /// Where the next frame begins.
    const fn position(&self) -> u64 {
        self.start + self.length()
    }

    /// Fills up to where the next frame may begin.
    fn pad(&mut self) {
        let padding = frame::aligned(self.length()) - self.length();
        self.arena.resize(self.arena.len() + padding as usize, 0);
    }
}
