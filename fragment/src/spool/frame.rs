//! Pure: the frames of a segment, as bytes and back.
//!
//! A frame is a head, fields, and content where its kind has any:
//!
//! ```text
//! magic "CSPL" | check u32 | kind u8 | flags u8 | zero u16 | fields length u32 | content length u32
//!              | content check u32 | fields | content | zeros up to the next multiple of 8
//! ```
//!
//! All integers are little-endian. `check` is the CRC-32C of kind to fields, begun with the segment's salt and the
//! frame's position: bytes that look like a frame but were not written as this frame, here, do not check, also when
//! they are the content of an append. Content has a check of its own, so that damage to it costs it alone, and so
//! that readers can prove it without its head.
//!
//! A *turn* frame ends each run of frames that were written together, and repeats their heads and fields. One
//! damaged head is therefore read from there, and it is known which content was behind it.
//!
//! This module knows the form of records, and nothing of what they mean to one another.

use super::SpoolId;
use super::digest::DigestState;

/// The version of this form, in the first frame of each segment.
pub const VERSION: u32 = 1;
/// The length of a head.
pub const HEAD_LENGTH: usize = 24;
/// Frames begin at multiples of this.
pub const ALIGNMENT: u64 = 8;
/// The most bytes the fields of a frame may have. A head that claims more is none.
pub const MAX_FIELDS_LENGTH: usize = 16 << 20;

const MAGIC: [u8; 4] = *b"CSPL";
const FLAG_IN_FILE: u8 = 1;
const FLAG_REGISTERS: u8 = 2;
const FLAG_FIRST_APPEND: u8 = 4;
const FLAG_COMPLETE: u8 = 8;

/// What a segment's checks begin with. It is drawn per segment, so that no writer of content can know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub u64);

/// A frame's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The beginning of a segment; written twice, as without it nothing behind it can be checked.
    Segment(Segment),
    /// A spool begins; or, with content, is carried forward whole.
    Open(OpenRecord<'a>),
    /// A spool grew.
    Commit(CommitRecord<'a>),
    /// The first `length` bytes of a spool's content lie in its content file from now on. The content check is of
    /// those that did not before.
    Moved {
        /// Which spool.
        spool: SpoolId,
        /// How many bytes of its content.
        length: u64,
    },
    /// A spool does not grow any more.
    Complete {
        /// Which spool.
        spool: SpoolId,
        /// The offset it ends at.
        end: u64,
        /// The SHA-1 of its content.
        sum: [u8; 20],
    },
    /// Nothing needs a spool any more.
    Release {
        /// Which spool.
        spool: SpoolId,
    },
    /// A journal's head is not ours to know any more.
    Forget {
        /// The journal.
        journal: &'a str,
        /// The revision that created it.
        create_revision: i64,
    },
    /// The end of frames that were written together; [`entries`] takes it apart.
    Turn(&'a [u8]),
}

/// The fields of a segment frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// [`VERSION`] when it was written.
    pub version: u32,
    /// The core that wrote it.
    pub core: u32,
    /// The cluster whose journals it holds.
    pub cluster: u64,
    /// The number in its name.
    pub sequence: u64,
    /// What the checks of the other frames begin with.
    pub salt: Salt,
}

/// The fields of an open frame. Its content is what the spool held from `in_file` to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRecord<'a> {
    /// Which spool.
    pub spool: SpoolId,
    /// The journal.
    pub journal: &'a str,
    /// The revision that created the journal.
    pub create_revision: i64,
    /// The epoch of the journal's lineage.
    pub epoch: u64,
    /// The offset it begins at.
    pub begin: u64,
    /// The offset it has reached.
    pub end: u64,
    /// How many bytes of its content lie in its content file.
    pub in_file: u64,
    /// Checks of the content file's blocks, four bytes each.
    pub blocks: &'a [u8],
    /// The journal's codec, as the wire numbers it.
    pub codec: u8,
    /// When its first content was committed, in nanoseconds since 1970.
    pub first_append: Option<i64>,
    /// Whether it does not grow any more, and another is the head of its journal.
    pub complete: bool,
    /// The state of its digest at the end; of a complete spool, the sum.
    pub state: DigestState,
    /// The journal's registers at the end, encoded.
    pub registers: &'a [u8],
}

/// The fields of a commit frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitRecord<'a> {
    /// Which spool.
    pub spool: SpoolId,
    /// The offset it had reached before.
    pub end_before: u64,
    /// How much it grew.
    pub length: u64,
    /// Whether the content went to the content file, and not into this frame.
    pub in_file: bool,
    /// The state of its digest afterwards.
    pub state: DigestState,
    /// When, in nanoseconds since 1970.
    pub time: i64,
    /// The journal's registers, encoded, if this commit changed them.
    pub registers: Option<&'a [u8]>,
}

/// Content of a frame: how much of it lies in the frame, and the CRC-32C of all of it, wherever it lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Bytes in the frame.
    pub length: u32,
    /// CRC-32C.
    pub check: u32,
}

/// A frame that checked, its content apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it says.
    pub record: Record<'a>,
    /// Its content.
    pub content: Content,
    /// The length of head and fields; content begins behind them.
    pub prefix_length: usize,
}

impl Frame<'_> {
    /// The length of the whole frame, up to where the next one begins.
    pub fn length(&self) -> u64 {
        aligned(self.prefix_length as u64 + u64::from(self.content.length))
    }
}

/// What stands at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A frame.
    Frame(Frame<'a>),
    /// Perhaps a frame; that many bytes from the position on must be seen to tell.
    More(usize),
    /// No frame.
    Nothing,
}

/// A length as the next frame's alignment wants it.
pub const fn aligned(length: u64) -> u64 {
    length.next_multiple_of(ALIGNMENT)
}

/// The salt that checks the segment frame, whose own salt is not known before it is read.
pub const fn segment_salt(sequence: u64) -> Salt {
    Salt(sequence)
}

/// Appends head and fields of a frame to `out`. Content and padding are the caller's.
pub fn encode(record: &Record<'_>, content: Content, salt: Salt, position: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_LENGTH]);
    let (kind, flags) = encode_fields(record, out);
    // What is staged is bounded far below 4 GiB, and a frame that claims more fields than allowed is read as none.
    let fields_length = u32::try_from(out.len() - start - HEAD_LENGTH).unwrap_or(u32::MAX);
    let head = &mut out[start..];
    head[..4].copy_from_slice(&MAGIC);
    head[8] = kind;
    head[9] = flags;
    head[12..16].copy_from_slice(&fields_length.to_le_bytes());
    head[16..20].copy_from_slice(&content.length.to_le_bytes());
    head[20..24].copy_from_slice(&content.check.to_le_bytes());
    let check = check(salt, position, &head[8..]);
    head[4..8].copy_from_slice(&check.to_le_bytes());
}

/// Reads the frame at a position of a segment; `window` begins there.
pub fn parse(window: &[u8], salt: Salt, position: u64) -> Parsed<'_> {
    if !MAGIC.starts_with(&window[..window.len().min(4)]) {
        return Parsed::Nothing;
    }
    let Some(head) = window.first_chunk::<HEAD_LENGTH>() else { return Parsed::More(HEAD_LENGTH) };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let fields_length = word(12) as usize;
    if head[10..12] != [0, 0] || fields_length > MAX_FIELDS_LENGTH {
        return Parsed::Nothing;
    }
    let prefix_length = HEAD_LENGTH + fields_length;
    let Some(prefix) = window.get(..prefix_length) else { return Parsed::More(prefix_length) };
    if check(salt, position, &prefix[8..]) != word(4) {
        return Parsed::Nothing;
    }
    let content = Content { length: word(16), check: word(20) };
    let record = decode_fields(head[8], head[9], content, &prefix[HEAD_LENGTH..]);
    record.map_or(Parsed::Nothing, |record| Parsed::Frame(Frame { record, content, prefix_length }))
}

/// The distance from the beginning of `window`, which is aligned, to the next place where a frame may begin: one
/// that has the first byte of the magic at least. The length of the window, rounded down to the alignment, if there
/// is none.
pub fn next_candidate(window: &[u8]) -> usize {
    let step = ALIGNMENT as usize;
    let looks_right = |at: &usize| MAGIC.starts_with(&window[*at..window.len().min(*at + 4)]);
    (0..window.len()).step_by(step).find(looks_right).unwrap_or(window.len() / step * step)
}

/// Appends an entry to the fields of a turn frame: head and fields of a frame, and where it stands.
pub fn push_entry(position: u64, prefix: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&position.to_le_bytes());
    out.extend_from_slice(&u32::try_from(prefix.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(prefix);
}

/// What [`push_entry`] adds to the length of head and fields.
pub const ENTRY_OVERHEAD: usize = 12;

/// The frames that a turn frame repeats, each with its position.
pub fn entries(fields: &[u8], salt: Salt) -> impl Iterator<Item = (u64, Frame<'_>)> {
    let mut fields = Fields(fields);
    std::iter::from_fn(move || {
        let position = fields.u64()?;
        let length = fields.u32()?;
        let prefix = fields.take(length as usize)?;
        match parse(prefix, salt, position) {
            Parsed::Frame(frame) => Some((position, frame)),
            Parsed::More(_) | Parsed::Nothing => None,
        }
    })
}

fn check(salt: Salt, position: u64, covered: &[u8]) -> u32 {
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&salt.0.to_le_bytes());
    seed[8..].copy_from_slice(&position.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&seed), covered)
}

fn encode_fields(record: &Record<'_>, out: &mut Vec<u8>) -> (u8, u8) {
    match *record {
        Record::Segment(segment) => {
            out.extend_from_slice(&segment.version.to_le_bytes());
            out.extend_from_slice(&segment.core.to_le_bytes());
            out.extend_from_slice(&segment.cluster.to_le_bytes());
            out.extend_from_slice(&segment.sequence.to_le_bytes());
            out.extend_from_slice(&segment.salt.0.to_le_bytes());
            (1, 0)
        }
        Record::Open(open) => {
            out.extend_from_slice(&open.spool.0.to_le_bytes());
            out.extend_from_slice(&open.create_revision.to_le_bytes());
            out.extend_from_slice(&open.epoch.to_le_bytes());
            out.extend_from_slice(&open.begin.to_le_bytes());
            out.extend_from_slice(&open.end.to_le_bytes());
            out.extend_from_slice(&open.in_file.to_le_bytes());
            out.extend_from_slice(&open.first_append.unwrap_or_default().to_le_bytes());
            out.extend_from_slice(&open.state);
            out.extend_from_slice(&u32::from(open.codec).to_le_bytes());
            for part in [open.journal.as_bytes(), open.registers, open.blocks] {
                out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            }
            out.extend_from_slice(open.journal.as_bytes());
            out.extend_from_slice(open.registers);
            out.extend_from_slice(open.blocks);
            let first_append = if open.first_append.is_some() { FLAG_FIRST_APPEND } else { 0 };
            (2, first_append | if open.complete { FLAG_COMPLETE } else { 0 })
        }
        Record::Commit(commit) => {
            out.extend_from_slice(&commit.spool.0.to_le_bytes());
            out.extend_from_slice(&commit.end_before.to_le_bytes());
            out.extend_from_slice(&commit.length.to_le_bytes());
            out.extend_from_slice(&commit.time.to_le_bytes());
            out.extend_from_slice(&commit.state);
            out.extend_from_slice(commit.registers.unwrap_or_default());
            let in_file = if commit.in_file { FLAG_IN_FILE } else { 0 };
            (3, in_file | if commit.registers.is_some() { FLAG_REGISTERS } else { 0 })
        }
        Record::Moved { spool, length } => {
            out.extend_from_slice(&spool.0.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            (4, 0)
        }
        Record::Complete { spool, end, sum } => {
            out.extend_from_slice(&spool.0.to_le_bytes());
            out.extend_from_slice(&end.to_le_bytes());
            out.extend_from_slice(&sum);
            (5, 0)
        }
        Record::Release { spool } => {
            out.extend_from_slice(&spool.0.to_le_bytes());
            (6, 0)
        }
        Record::Forget { journal, create_revision } => {
            out.extend_from_slice(&create_revision.to_le_bytes());
            out.extend_from_slice(journal.as_bytes());
            (7, 0)
        }
        Record::Turn(entries) => {
            out.extend_from_slice(entries);
            (8, 0)
        }
    }
}

fn decode_fields(kind: u8, flags: u8, content: Content, fields: &[u8]) -> Option<Record<'_>> {
    let mut fields = Fields(fields);
    let record = match kind {
        1 => Record::Segment(Segment {
            version: fields.u32()?,
            core: fields.u32()?,
            cluster: fields.u64()?,
            sequence: fields.u64()?,
            salt: Salt(fields.u64()?),
        }),
        2 => {
            let spool = SpoolId(fields.u64()?);
            let create_revision = fields.i64()?;
            let epoch = fields.u64()?;
            let begin = fields.u64()?;
            let end = fields.u64()?;
            let in_file = fields.u64()?;
            let first_append = fields.i64()?;
            let state = fields.array()?;
            let codec = u8::try_from(fields.u32()?).ok()?;
            let (journal, registers, blocks) = (fields.u32()?, fields.u32()?, fields.u32()?);
            let journal = std::str::from_utf8(fields.take(journal as usize)?).ok()?;
            let registers = fields.take(registers as usize)?;
            let blocks = fields.take(blocks as usize)?;
            // Content is all there is behind the content file's, and no offset is beyond what the wire can say.
            let length = end.checked_sub(begin)?;
            if i64::try_from(end).is_err() || length.checked_sub(in_file)? != u64::from(content.length) {
                return None;
            }
            let first_append = (flags & FLAG_FIRST_APPEND != 0).then_some(first_append);
            let complete = flags & FLAG_COMPLETE != 0;
            Record::Open(OpenRecord {
                spool,
                journal,
                create_revision,
                epoch,
                begin,
                end,
                in_file,
                blocks,
                codec,
                first_append,
                complete,
                state,
                registers,
            })
        }
        3 => {
            let spool = SpoolId(fields.u64()?);
            let end_before = fields.u64()?;
            let length = fields.u64()?;
            let time = fields.i64()?;
            let state = fields.array()?;
            let registers = fields.rest();
            let in_file = flags & FLAG_IN_FILE != 0;
            if i64::try_from(end_before.checked_add(length)?).is_err()
                || u64::from(content.length) != if in_file { 0 } else { length }
            {
                return None;
            }
            let registers = (flags & FLAG_REGISTERS != 0).then_some(registers);
            Record::Commit(CommitRecord { spool, end_before, length, in_file, state, time, registers })
        }
        4 => Record::Moved { spool: SpoolId(fields.u64()?), length: fields.u64()? },
        5 => Record::Complete { spool: SpoolId(fields.u64()?), end: fields.u64()?, sum: fields.array()? },
        6 => Record::Release { spool: SpoolId(fields.u64()?) },
        7 => {
            let create_revision = fields.i64()?;
            Record::Forget { create_revision, journal: std::str::from_utf8(fields.rest()).ok()? }
        }
        8 => Record::Turn(fields.rest()),
        _ => return None,
    };
    Some(record)
}

/// Fields that are not read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests;
