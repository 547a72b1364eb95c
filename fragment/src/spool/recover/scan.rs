//! Reads a segment front to back, in pieces: its frames in order, what of them a turn frame had to repeat, and where
//! frames are missing.

use std::path::Path;

use crate::disk::DiskFile;
use crate::error::Error;
use crate::spool::frame::{self, Frame, Parsed, Record, Salt, Segment};

/// Bytes read at a time.
const WINDOW_LENGTH: usize = 1 << 20;
/// The length of a segment frame, which is there twice.
const HEADER_LENGTH: u64 = 56;
/// Where the first frame behind them stands.
pub(super) const HEADS_LENGTH: u64 = 2 * HEADER_LENGTH;

/// A segment that is scanned.
pub(super) struct Scan<'a> {
    window: Window<'a>,
    sequence: u64,
    salt: Salt,
    /// Frames since the last turn frame: heads and fields, one behind the other.
    prefixes: Vec<u8>,
    pending: Vec<Pending>,
    /// Stretches without frames among them.
    gaps: Vec<Gap>,
}

struct Pending {
    position: u64,
    prefix: std::ops::Range<usize>,
    checks: bool,
}

#[derive(Clone, Copy)]
struct Gap {
    from: u64,
    to: u64,
    /// Bytes that repeated frames account for.
    known: u64,
}

/// What a scan finds.
pub(super) enum Found<'a> {
    /// A frame, where its content begins, and whether that checks.
    Frame { position: u64, frame: Frame<'a>, content_at: u64, checks: bool },
    /// Frames are missing from here on, and nobody repeats them.
    Lost { position: u64 },
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The length of what is good.
    pub(super) length: u64,
    /// Bytes behind that: a turn that was not written whole.
    pub(super) torn: u64,
    /// Whether these are the beginning of a frame.
    pub(super) clean: bool,
}

impl<'a> Scan<'a> {
    /// Begins to scan a file; its head, or none if that is not readable.
    pub(super) fn begin(
        file: &'a dyn DiskFile,
        path: &'a Path,
        length: u64,
        sequence: u64,
    ) -> Result<Option<(Segment, Self)>, Error> {
        let mut window = Window { file, path, length, start: 0, bytes: Vec::new() };
        for copy in 0..2 {
            let position = copy * HEADER_LENGTH;
            let bytes = window.at(position, HEADER_LENGTH as usize)?;
            if let Parsed::Frame(Frame { record: Record::Segment(segment), .. }) =
                frame::parse(bytes, frame::segment_salt(sequence), position)
                && segment.sequence == sequence
            {
                let scan = Self {
                    window,
                    sequence,
                    salt: segment.salt,
                    prefixes: Vec::new(),
                    pending: Vec::new(),
                    gaps: Vec::new(),
                };
                return Ok(Some((segment, scan)));
            }
        }
        Ok(None)
    }

    /// Scans to the end.
    pub(super) fn run(mut self, found: &mut impl FnMut(Found<'_>)) -> Result<End, Error> {
        let mut position = HEADS_LENGTH;
        let mut gap = None;
        let mut clean = true;
        while position < self.window.length {
            let Some((prefix_length, length, is_turn, content)) = self.frame_at(position)? else {
                if gap.is_none() {
                    gap = Some(position);
                    clean = self.is_beginning(position)?;
                }
                position = self.next_candidate(position)?;
                continue;
            };
            let content_at = position + prefix_length as u64;
            let Some(checks) = self.window.checks(content_at, content)? else {
                // Its content runs beyond the file: there is nothing behind it.
                if gap.is_none() {
                    gap = Some(position);
                    clean = true;
                }
                break;
            };
            if let Some(from) = gap.take() {
                self.gaps.push(Gap { from, to: position, known: 0 });
            }
            if is_turn {
                self.end_turn(position, prefix_length, found)?;
            } else {
                let at = self.prefixes.len();
                let prefix = &self.window.at(position, prefix_length)?[..prefix_length];
                self.prefixes.extend_from_slice(prefix);
                self.pending.push(Pending { position, prefix: at..at + prefix_length, checks });
            }
            position += length;
        }
        // A turn frame that is damaged, and last, costs nothing.
        let expected = self.turn_length(u64::MAX);
        let length = gap.unwrap_or(self.window.length).min(self.window.length);
        for gap in std::mem::take(&mut self.gaps) {
            if gap.known < gap.to - gap.from {
                found(Found::Lost { position: gap.from });
            }
        }
        self.emit(found);
        let torn = self.window.length - length;
        Ok(End { length, torn: if torn == expected { 0 } else { torn }, clean })
    }

    /// Length of head and fields, length in all, whether it is a turn frame, and its content.
    fn frame_at(&mut self, position: u64) -> Result<Option<(usize, u64, bool, frame::Content)>, Error> {
        let mut wanted = frame::HEAD_LENGTH;
        loop {
            let bytes = self.window.at(position, wanted)?;
            match frame::parse(bytes, self.salt, position) {
                Parsed::Frame(frame) => {
                    let is_turn = matches!(frame.record, Record::Turn(_));
                    return Ok(Some((frame.prefix_length, frame.length(), is_turn, frame.content)));
                }
                Parsed::More(more) if bytes.len() >= more.min(wanted) && more > wanted => wanted = more,
                Parsed::More(_) | Parsed::Nothing => return Ok(None),
            }
        }
    }

    /// Whether what stands there, up to the end of the file, may be the beginning of a frame.
    fn is_beginning(&mut self, position: u64) -> Result<bool, Error> {
        let left = self.window.length - position;
        let wanted = left.min(frame::HEAD_LENGTH as u64) as usize;
        let bytes = self.window.at(position, wanted)?;
        Ok(match frame::parse(bytes, self.salt, position) {
            Parsed::More(more) => more as u64 > left,
            Parsed::Frame(_) | Parsed::Nothing => false,
        })
    }

    /// The next place behind `position` where a frame may begin.
    fn next_candidate(&mut self, position: u64) -> Result<u64, Error> {
        let mut position = position + frame::ALIGNMENT;
        while position < self.window.length {
            let bytes = self.window.at(position, frame::ALIGNMENT as usize)?;
            let distance = frame::next_candidate(bytes);
            if distance < bytes.len() {
                return Ok(position + distance as u64);
            }
            position += (distance as u64).max(frame::ALIGNMENT);
        }
        Ok(position)
    }

    /// A turn frame stands at `position`: what is missing of its turn is taken from it, and all frames are given out.
    fn end_turn(
        &mut self,
        position: u64,
        prefix_length: usize,
        found: &mut impl FnMut(Found<'_>),
    ) -> Result<(), Error> {
        if !self.gaps.is_empty() {
            let turn = self.window.at(position, prefix_length)?[frame::HEAD_LENGTH..prefix_length].to_vec();
            let mut first = position;
            for (at, repeated) in frame::entries(&turn, self.salt) {
                first = first.min(at);
                if self.pending.iter().any(|pending| pending.position == at) {
                    continue;
                }
                let end = at + repeated.length();
                if let Some(gap) = self.gaps.iter_mut().find(|gap| gap.from <= at && end <= gap.to) {
                    gap.known += end - at;
                }
                let content_at = at + repeated.prefix_length as u64;
                let checks = self.window.checks(content_at, repeated.content)?.unwrap_or(false);
                let prefix_at = self.prefixes.len();
                // Written anew from what was read, it is byte for byte what stood there.
                frame::encode(&repeated.record, repeated.content, self.salt, at, &mut self.prefixes);
                self.pending.push(Pending { position: at, prefix: prefix_at..self.prefixes.len(), checks });
            }
            self.pending.sort_by_key(|pending| pending.position);
            // The turn frame of an earlier turn may be what is missing before this one, and repeats what is known.
            let earlier = self.turn_length(first);
            for gap in std::mem::take(&mut self.gaps) {
                let missing = (gap.to - gap.from).saturating_sub(gap.known);
                if missing > 0 && !(gap.from <= first && missing == earlier) {
                    found(Found::Lost { position: gap.from });
                }
            }
        }
        self.emit(found);
        Ok(())
    }

    /// The length of the turn frame that would repeat the pending frames before a position; zero without any.
    fn turn_length(&self, before: u64) -> u64 {
        let entries = self.pending.iter().filter(|pending| pending.position < before);
        let fields: usize = entries.map(|pending| frame::ENTRY_OVERHEAD + pending.prefix.len()).sum();
        if fields == 0 { 0 } else { frame::aligned((frame::HEAD_LENGTH + fields) as u64) }
    }

    fn emit(&mut self, found: &mut impl FnMut(Found<'_>)) {
        for pending in self.pending.drain(..) {
            let prefix = &self.prefixes[pending.prefix];
            if let Parsed::Frame(frame) = frame::parse(prefix, self.salt, pending.position) {
                let content_at = pending.position + frame.prefix_length as u64;
                found(Found::Frame { position: pending.position, frame, content_at, checks: pending.checks });
            }
        }
        self.prefixes.clear();
    }
}

impl std::fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

/// A part of a file.
struct Window<'a> {
    file: &'a dyn DiskFile,
    path: &'a Path,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The bytes from a position on: as many as wanted, or to the end of the file, and perhaps more.
    fn at(&mut self, position: u64, wanted: usize) -> Result<&[u8], Error> {
        let end = self.start + self.bytes.len() as u64;
        let has = position >= self.start && position + wanted as u64 <= end;
        let is_last = position >= self.start && end == self.length;
        if !has && !is_last {
            let length = (self.length.saturating_sub(position)).min(wanted.max(WINDOW_LENGTH) as u64);
            self.bytes.resize(length as usize, 0);
            self.start = position;
            let read = self.file.read_at(&mut self.bytes, position);
            let read = read.map_err(|error| Error::disk("read", self.path)(error))?;
            self.bytes.truncate(read);
            if (read as u64) < length {
                // It became shorter since it was listed.
                self.length = position + read as u64;
            }
        }
        let from = usize::try_from(position.saturating_sub(self.start)).unwrap_or(usize::MAX);
        Ok(&self.bytes[from.min(self.bytes.len())..])
    }

    /// Whether content checks; none if the file ends before it does.
    fn checks(&mut self, position: u64, content: frame::Content) -> Result<Option<bool>, Error> {
        let end = position + u64::from(content.length);
        if end > self.length {
            return Ok(None);
        }
        if content.length == 0 {
            return Ok(Some(true));
        }
        let (mut position, mut check) = (position, 0);
        while position < end {
            let bytes = self.at(position, 1)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let part = bytes.len().min(usize::try_from(end - position).unwrap_or(usize::MAX));
            check = crc32c::crc32c_append(check, &bytes[..part]);
            position += part as u64;
        }
        Ok(Some(check == content.check))
    }
}
