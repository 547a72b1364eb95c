//! Pure: the snappy framing format, read in pieces.
//!
//! A stream is a run of chunks, each a type byte, a length of 24 bits, and that many bytes. A chunk holds at
//! most 64 KiB of content with its masked CRC-32C; the first is the stream's identifier, which may come again
//! where streams were concatenated. A chunk is decoded when it has come in whole, so at most one is held.

use snap::raw::{Decoder, decompress_len};

/// Content of one chunk, at most.
const CONTENT_MAX: usize = 1 << 16;
/// What 64 KiB can grow to at worst, with the checksum.
const BODY_MAX: usize = 4 + 32 + CONTENT_MAX + CONTENT_MAX / 6;
const HEADER_LENGTH: usize = 4;
const IDENTIFIER: &[u8] = b"sNaPpY";

/// What is wrong with a stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnappyError {
    #[error("stream begins with chunk type {0:#04x}, expected its identifier (0xff)")]
    Unidentified(u8),
    #[error("wrong stream identifier")]
    Identifier,
    #[error("chunk type {0:#04x} is reserved")]
    Reserved(u8),
    #[error("chunk of {0} bytes, which no chunk of 64 KiB of content can need")]
    Oversize(usize),
    #[error("chunk of {0} bytes has no room for its checksum")]
    Undersize(usize),
    #[error("checksum of a chunk does not match its content")]
    Checksum,
    #[error(transparent)]
    Block(#[from] snap::Error),
}

/// A reader of chunks: collects one, decodes it, hands it out in parts.
#[derive(Debug)]
pub(super) struct SnappyFrames {
    identified: bool,
    /// The chunk which is being collected, header included.
    chunk: Vec<u8>,
    /// Bytes of a skippable chunk still to pass over.
    skipping: usize,
    content: Vec<u8>,
    handed_out: usize,
    decoder: Decoder,
}

impl SnappyFrames {
    pub(super) fn new() -> Self {
        Self {
            identified: false,
            chunk: Vec::new(),
            skipping: 0,
            content: Vec::new(),
            handed_out: 0,
            decoder: Decoder::new(),
        }
    }

    /// Whether the input may end here.
    pub(super) fn is_between_chunks(&self) -> bool {
        self.chunk.is_empty() && self.skipping == 0 && self.handed_out == self.content.len()
    }

    /// Takes input and gives output, and says how much of each.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), SnappyError> {
        let mut consumed = 0;
        loop {
            let ready = &self.content[self.handed_out..];
            if !ready.is_empty() {
                let count = ready.len().min(output.len());
                output[..count].copy_from_slice(&ready[..count]);
                self.handed_out += count;
                return Ok((consumed, count));
            }
            let before = consumed;
            let skip = self.skipping.min(input.len() - consumed);
            self.skipping -= skip;
            consumed += skip;
            if self.skipping == 0 {
                consumed += self.collect(&input[consumed..])?;
            }
            if consumed == before {
                return Ok((consumed, 0));
            }
        }
    }

    /// Collects bytes of a chunk, and decodes it once it is whole.
    fn collect(&mut self, input: &[u8]) -> Result<usize, SnappyError> {
        let mut consumed = 0;
        if self.chunk.len() < HEADER_LENGTH {
            consumed = (HEADER_LENGTH - self.chunk.len()).min(input.len());
            self.chunk.extend_from_slice(&input[..consumed]);
        }
        let [kind, low, middle, high] = match self.chunk.first_chunk::<HEADER_LENGTH>() {
            Some(header) => *header,
            None => return Ok(consumed),
        };
        let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        if !self.identified && kind != 0xff {
            return Err(SnappyError::Unidentified(kind));
        }
        if matches!(kind, 0x80..=0xfe) {
            // Padding and extensions: passed over without being held.
            self.chunk.clear();
            self.skipping = length;
            return Ok(consumed);
        }
        if length > BODY_MAX {
            return Err(SnappyError::Oversize(length));
        }
        let missing = HEADER_LENGTH + length - self.chunk.len();
        let taken = missing.min(input.len() - consumed);
        self.chunk.extend_from_slice(&input[consumed..consumed + taken]);
        consumed += taken;
        if taken == missing {
            self.decode(kind)?;
            self.chunk.clear();
        }
        Ok(consumed)
    }

    fn decode(&mut self, kind: u8) -> Result<(), SnappyError> {
        let body = &self.chunk[HEADER_LENGTH..];
        match kind {
            0xff if body == IDENTIFIER => {
                self.identified = true;
                return Ok(());
            }
            0xff => return Err(SnappyError::Identifier),
            0x00 | 0x01 => {}
            _ => return Err(SnappyError::Reserved(kind)),
        }
        let Some((checksum, block)) = body.split_first_chunk::<4>() else {
            return Err(SnappyError::Undersize(body.len()));
        };
        let length = if kind == 0x00 { decompress_len(block)? } else { block.len() };
        if length > CONTENT_MAX {
            return Err(SnappyError::Oversize(length));
        }
        self.handed_out = 0;
        self.content.clear();
        if kind == 0x00 {
            self.content.resize(length, 0);
            let written = self.decoder.decompress(block, &mut self.content)?;
            self.content.truncate(written);
        } else {
            self.content.extend_from_slice(block);
        }
        if masked_crc32c(&self.content) != u32::from_le_bytes(*checksum) {
            return Err(SnappyError::Checksum);
        }
        Ok(())
    }
}

/// The checksum of the framing format: rotated and offset, so that a CRC of data with CRCs in it stays
/// useful.
fn masked_crc32c(content: &[u8]) -> u32 {
    crc32c::crc32c(content).rotate_right(15).wrapping_add(0xa282_ead8)
}
