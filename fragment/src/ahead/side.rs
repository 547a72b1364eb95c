//! What is encoded of one spool: an encoder in the middle of its work, and what it gave out so far, in a file that nobody names.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use courant_proto::codec::Codec;
use courant_proto::fragment::ContentSum;

use super::Ahead;
use crate::codec::{EncodeError, Encoder, grown_head};
use crate::disk::{DiskFile, Open};
use crate::spool::content::{BLOCK_LENGTH, Blocks};
use crate::spool::digest::Digest;
use crate::store::Cause;

/// Content read at a time.
const READ: usize = 128 << 10;

/// Encoded bytes are written once there are so many.
const WRITE: usize = 256 << 10;

/// The head of an object is within so many bytes.
const FIRST: usize = 16;

/// A spool that may still grow, as far as it is encoded.
pub(super) struct Side {
    codec: Codec,
    encoder: Encoder,
    /// Of the content that the encoder was given.
    digest: Digest,
    scratch: Option<Scratch>,
}

/// What an encoder gave out.
struct Scratch {
    file: Arc<dyn DiskFile>,
    blocks: Blocks,
    checks: Vec<u32>,
    first: Vec<u8>,
    /// Its share of what all of them hold together.
    share: Share,
}

/// A share of the bytes that scratch files hold; given back with it.
struct Share {
    ahead: Ahead,
    bytes: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.ahead.counters().scratch_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A spool as its object will be: encoded whole, with its content's digest checked.
pub struct Encoded {
    head: Vec<u8>,
    /// Bytes at the begin of the file that the head replaces.
    replaced: u64,
    scratch: Scratch,
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded").field("length", &self.length()).finish_non_exhaustive()
    }
}

impl Side {
    pub(super) fn new(codec: Codec) -> Result<Self, EncodeError> {
        Ok(Self { codec, encoder: Encoder::growing(codec)?, digest: Digest::new(), scratch: None })
    }

    /// How much of the content is encoded.
    pub(super) const fn position(&self) -> u64 {
        self.digest.length()
    }

    /// Encodes content up to a length.
    pub(super) fn grow(
        &mut self,
        ahead: &Ahead,
        to: u64,
        read: impl Fn(u64, &mut [u8]) -> Result<usize, Cause>,
    ) -> Result<(), Cause> {
        let mut buffer = vec![0; READ];
        while self.position() < to {
            let wanted = usize::try_from(to - self.position())?.min(READ);
            let count = read(self.position(), &mut buffer[..wanted])?;
            if count == 0 {
                return Err(format!("its content ends at {} bytes, expected {to}", self.position()).into());
            }
            self.digest.update(&buffer[..count]);
            self.encoder.write(&buffer[..count])?;
            if self.encoder.ready() >= WRITE {
                let ready = self.encoder.take();
                write(&mut self.scratch, ahead, &ready)?;
            }
        }
        Ok(())
    }

    /// Encodes the rest, and checks that all of it was what the spool says.
    pub(super) fn finish(
        mut self,
        ahead: &Ahead,
        length: u64,
        sum: ContentSum,
        read: impl Fn(u64, &mut [u8]) -> Result<usize, Cause>,
    ) -> Result<Encoded, Cause> {
        if self.position() > length {
            return Err(format!("{} bytes are encoded of a spool of {length}", self.position()).into());
        }
        self.grow(ahead, length, read)?;
        let found = self.digest.sum();
        if found != sum {
            return Err(format!("its SHA-1 is {found}, expected {sum}").into());
        }
        let Self { codec, encoder, mut scratch, .. } = self;
        write(&mut scratch, ahead, &encoder.finish_grown()?)?;
        let scratch = scratch.ok_or("nothing was encoded")?;
        let (replaced, head) = grown_head(codec, &scratch.first, length);
        Ok(Encoded { head, replaced, scratch })
    }
}

/// Writes behind what is there, within the bounds of all.
fn write(scratch: &mut Option<Scratch>, ahead: &Ahead, bytes: &[u8]) -> Result<(), Cause> {
    let (inner, length) = (&ahead.0, bytes.len() as u64);
    if bytes.is_empty() {
        return Ok(());
    }
    let held = inner.counters.scratch_bytes.load(Ordering::Relaxed);
    if held + length > inner.config.scratch {
        return Err(format!("scratch files hold {held} bytes, which is all they may").into());
    }
    let free = inner.disk.free_space(&inner.folder)?;
    if free < inner.config.spare + length {
        return Err(format!("the file system has {free} bytes left, which are for others").into());
    }
    let scratch = match scratch {
        Some(scratch) => scratch,
        none => none.insert(Scratch::make(ahead)?),
    };
    scratch.file.write_all_at(bytes, scratch.blocks.length)?;
    scratch.blocks.push(bytes, &mut scratch.checks);
    let missing = FIRST.saturating_sub(scratch.first.len()).min(bytes.len());
    scratch.first.extend_from_slice(&bytes[..missing]);
    scratch.share.bytes += length;
    inner.counters.scratch_bytes.fetch_add(length, Ordering::Relaxed);
    Ok(())
}

impl Scratch {
    /// A new file. Its name is gone at once, so that it ends with its last user, or its process.
    fn make(ahead: &Ahead) -> Result<Self, Cause> {
        let inner = &ahead.0;
        let number = inner.next.fetch_add(1, Ordering::Relaxed);
        let path = inner.folder.join(format!("{number:016x}.ahead"));
        // One that a process left which was killed in between is taken over, emptied.
        let file = inner.disk.open(&path, Open::Write)?;
        file.truncate(0)?;
        inner.disk.remove(&path)?;
        let share = Share { ahead: ahead.clone(), bytes: 0 };
        Ok(Self { file, blocks: Blocks::default(), checks: Vec::new(), first: Vec::new(), share })
    }
}

impl Encoded {
    /// Bytes of the object.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.head.len() as u64 + self.scratch.blocks.length - self.replaced
    }

    /// Reads the object's bytes, and tells how many: some, unless it ends there. It blocks.
    ///
    /// # Errors
    /// The file cannot be read, or what it holds does not check.
    pub fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize, Cause> {
        let head = usize::try_from(position).ok().and_then(|at| self.head.get(at..)).unwrap_or_default();
        if !head.is_empty() {
            let count = head.len().min(buffer.len());
            buffer[..count].copy_from_slice(&head[..count]);
            return Ok(count);
        }
        let at = position - self.head.len() as u64 + self.replaced;
        let length = self.scratch.blocks.length;
        let (mut filled, mut block) = (0, Vec::new());
        while filled < buffer.len() && at + (filled as u64) < length {
            let from = at + filled as u64;
            let start = from / BLOCK_LENGTH * BLOCK_LENGTH;
            block.resize(usize::try_from(BLOCK_LENGTH.min(length - start))?, 0);
            self.scratch.file.read_exact_at(&mut block, start)?;
            let check = self.scratch.checks.get(usize::try_from(start / BLOCK_LENGTH)?);
            if check != Some(&crc32c::crc32c(&block)) {
                return Err(format!("what was encoded ahead does not check at byte {start}").into());
            }
            let rest = &block[usize::try_from(from - start)?..];
            let count = rest.len().min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&rest[..count]);
            filled += count;
        }
        Ok(filled)
    }
}
