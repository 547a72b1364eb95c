//! Pure: compressed pieces in, content out, never more than was promised.
//!
//! Reading is push and pull, so that the same decoder serves an async body, a file, and a test that feeds
//! single bytes. It keeps one piece of input at a time and makes no thread and no task.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use courant_proto::codec::Codec;
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as ZstdContext, InBuffer, Operation, OutBuffer};

use super::snappy::SnappyFrames;

/// The largest window a zstd frame may ask for, as a power of two: 32 MiB. What `zstd -19` writes needs 8
/// MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// Compressed input beyond one and a half times the content which is still believed. An honest codec
/// stays far below; millions of empty members do not, and each of them costs time while it yields nothing.
const SURPLUS_INPUT_MAX: u64 = 1 << 20;

/// Why bytes of an object are not the content that its name promises.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The object is well-formed and ends too early.
    #[error("content ends {missing} bytes short of its length of {length}")]
    Short {
        /// Bytes which should have followed.
        missing: u64,
        /// What was promised.
        length: u64,
    },
    /// The object holds more content than its name says.
    #[error("content goes on past its length of {length} bytes")]
    Long {
        /// What was promised.
        length: u64,
    },
    /// The object ends inside a member, frame or chunk.
    #[error("{codec} input is cut off after {consumed} bytes, with {missing} bytes of content still to come")]
    Truncated {
        /// How it was to be read.
        codec: Codec,
        /// Input bytes understood so far.
        consumed: u64,
        /// Content which should have followed.
        missing: u64,
    },
    /// The bytes are not of this codec, or damaged.
    #[error("input is not valid {codec} near byte {consumed}: {reason}")]
    Corrupt {
        /// How it was to be read.
        codec: Codec,
        /// Input bytes understood so far.
        consumed: u64,
        /// What the codec said.
        reason: String,
    },
    /// The codec cannot be set up.
    #[error("cannot decode {codec}: {reason}")]
    Unusable {
        /// How it was to be read.
        codec: Codec,
        /// What is missing.
        reason: String,
    },
}

/// What a pull yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// The next bytes of content; never empty.
    Content(Bytes),
    /// Nothing more without further input: [`Decoder::push`] or [`Decoder::end`].
    NeedsInput,
    /// All content was handed out, and the input ended where it should.
    Done,
}

/// Decodes one object whose content has a known length.
///
/// ```
/// use bytes::Bytes;
/// use courant_fragment::codec::{Decoded, Decoder, Encoder};
/// use courant_proto::codec::Codec;
///
/// let mut encoder = Encoder::new(Codec::Gzip, 5)?;
/// encoder.write(b"hello")?;
/// let object = encoder.finish()?;
///
/// let mut decoder = Decoder::new(Codec::Gzip, 5)?;
/// decoder.push(object);
/// decoder.end();
/// assert_eq!(decoder.pull(1024)?, Decoded::Content(Bytes::from_static(b"hello")));
/// assert_eq!(decoder.pull(1024)?, Decoded::Done);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Decoder {
    codec: Codec,
    form: Form,
    input: Bytes,
    /// No input follows what is in `input`.
    ended: bool,
    /// The last step neither took nor gave anything: without new input it will not do so again.
    starved: bool,
    length: u64,
    remaining: u64,
    consumed: u64,
}

/// The state of a codec between two steps.
enum Form {
    Raw,
    /// `GZIP_OFFLOAD_DECOMPRESSION`, until two bytes tell whether a store has already decompressed it.
    Undecided,
    Gzip(Option<Box<Decompress>>),
    Zstandard {
        context: ZstdContext<'static>,
        between_frames: bool,
    },
    Snappy(SnappyFrames),
}

/// What a step of a codec did.
struct Progress {
    consumed: usize,
    produced: usize,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("codec", &self.codec)
            .field("length", &self.length)
            .field("remaining", &self.remaining)
            .field("consumed", &self.consumed)
            .finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder of an object with `length` bytes of content.
    ///
    /// # Errors
    /// [`DecodeError::Unusable`] if the codec cannot be set up.
    pub fn new(codec: Codec, length: u64) -> Result<Self, DecodeError> {
        let form = match codec {
            Codec::None => Form::Raw,
            Codec::Gzip => Form::Gzip(None),
            Codec::GzipOffload => Form::Undecided,
            Codec::Zstandard => Form::Zstandard {
                context: zstd_context()
                    .map_err(|error| DecodeError::Unusable { codec, reason: error.to_string() })?,
                between_frames: true,
            },
            Codec::Snappy => Form::Snappy(SnappyFrames::new()),
        };
        Ok(Self {
            codec,
            form,
            input: Bytes::new(),
            ended: false,
            starved: false,
            length,
            remaining: length,
            consumed: 0,
        })
    }

    /// Content bytes not yet handed out.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Gives the next piece of input. Meant for when [`Decoder::pull`] asked for it; a piece that comes
    /// earlier is joined to what is left of the one before.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.starved = false;
        if self.input.is_empty() {
            self.input = piece;
        } else {
            let mut joined = BytesMut::with_capacity(self.input.len() + piece.len());
            joined.extend_from_slice(&self.input);
            joined.extend_from_slice(&piece);
            self.input = joined.freeze();
        }
    }

    /// Says that no further input comes.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next content, at most `max` bytes of it (and at least one).
    ///
    /// # Errors
    /// The input is damaged, cut off, or holds less or more content than promised. The decoder is of no use
    /// afterwards.
    pub fn pull(&mut self, max: usize) -> Result<Decoded, DecodeError> {
        loop {
            if self.starved {
                return self.starve();
            }
            if let Form::Undecided = self.form {
                self.decide();
                continue;
            }
            if let Form::Raw = self.form {
                return self.pull_raw(max);
            }
            // With all content handed out, one more byte of room tells whether the input would go on.
            let probing = self.remaining == 0;
            let room = if probing { 1 } else { (max.max(1) as u64).min(self.remaining) as usize };
            let mut output = BytesMut::zeroed(room);
            let progress = self.step(&mut output)?;
            self.input.advance(progress.consumed);
            self.consumed = self.consumed.saturating_add(progress.consumed as u64);
            self.check_surplus()?;
            if progress.produced > 0 {
                if probing {
                    return Err(DecodeError::Long { length: self.length });
                }
                self.remaining -= progress.produced as u64;
                output.truncate(progress.produced);
                return Ok(Decoded::Content(output.freeze()));
            }
            if progress.consumed == 0 {
                if !self.input.is_empty() {
                    return Err(self.corrupt("the codec makes no progress"));
                }
                self.starved = true;
            }
        }
    }

    /// The answer when nothing can be done with the input there is.
    fn starve(&mut self) -> Result<Decoded, DecodeError> {
        if !self.ended {
            return Ok(Decoded::NeedsInput);
        }
        let whole = match &self.form {
            Form::Raw => true,
            Form::Undecided => {
                // One byte is no gzip.
                self.form = Form::Raw;
                self.starved = false;
                return self.pull(usize::MAX);
            }
            Form::Gzip(member) => member.is_none(),
            Form::Zstandard { between_frames, .. } => *between_frames,
            Form::Snappy(frames) => frames.is_between_chunks(),
        };
        match (whole, self.remaining) {
            (true, 0) => Ok(Decoded::Done),
            (true, missing) => Err(DecodeError::Short { missing, length: self.length }),
            (false, missing) => {
                Err(DecodeError::Truncated { codec: self.codec, consumed: self.consumed, missing })
            }
        }
    }

    /// Tells gzip from content that a store decompressed on the way, by gzip's two magic bytes.
    fn decide(&mut self) {
        match *self.input.as_ref() {
            [0x1f, 0x8b, ..] => self.form = Form::Gzip(None),
            [] | [0x1f] => self.starved = true,
            _ => self.form = Form::Raw,
        }
    }

    fn pull_raw(&mut self, max: usize) -> Result<Decoded, DecodeError> {
        if self.input.is_empty() {
            self.starved = true;
            return self.starve();
        }
        if self.remaining == 0 {
            return Err(DecodeError::Long { length: self.length });
        }
        let take = (self.input.len().min(max.max(1)) as u64).min(self.remaining);
        self.remaining -= take;
        self.consumed = self.consumed.saturating_add(take);
        // Not more than a piece of input, so it fits a usize.
        Ok(Decoded::Content(self.input.split_to(take as usize)))
    }

    fn step(&mut self, output: &mut [u8]) -> Result<Progress, DecodeError> {
        let result = match &mut self.form {
            Form::Raw | Form::Undecided => Ok(Progress { consumed: 0, produced: 0 }),
            Form::Gzip(member) => step_gzip(member, &self.input, output),
            Form::Zstandard { context, between_frames } => {
                step_zstd(context, between_frames, &self.input, output)
            }
            Form::Snappy(frames) => frames
                .step(&self.input, output)
                .map(|(consumed, produced)| Progress { consumed, produced })
                .map_err(|error| error.to_string()),
        };
        result.map_err(|reason| self.corrupt(&reason))
    }

    fn check_surplus(&self) -> Result<(), DecodeError> {
        let believed = self.length.saturating_add(self.length / 2).saturating_add(SURPLUS_INPUT_MAX);
        if self.consumed > believed {
            return Err(self.corrupt("far more input than its content can need"));
        }
        Ok(())
    }

    fn corrupt(&self, reason: &str) -> DecodeError {
        DecodeError::Corrupt { codec: self.codec, consumed: self.consumed, reason: reason.to_owned() }
    }
}

fn zstd_context() -> std::io::Result<ZstdContext<'static>> {
    let mut context = ZstdContext::new()?;
    context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
    Ok(context)
}

fn step_gzip(
    member: &mut Option<Box<Decompress>>,
    input: &[u8],
    output: &mut [u8],
) -> Result<Progress, String> {
    if member.is_none() && input.is_empty() {
        return Ok(Progress { consumed: 0, produced: 0 });
    }
    let inflate = member.get_or_insert_with(|| Box::new(Decompress::new_gzip(15)));
    let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
    let status = inflate
        .decompress(input, output, FlushDecompress::None)
        .map_err(|error| error.message().unwrap_or("damaged deflate stream").to_owned())?;
    let progress = Progress {
        consumed: (inflate.total_in() - before_in) as usize,
        produced: (inflate.total_out() - before_out) as usize,
    };
    if status == Status::StreamEnd {
        *member = None;
    }
    Ok(progress)
}

fn step_zstd(
    context: &mut ZstdContext<'static>,
    between_frames: &mut bool,
    input: &[u8],
    output: &mut [u8],
) -> Result<Progress, String> {
    let mut source = InBuffer::around(input);
    let mut target = OutBuffer::around(output);
    let hint = context.run(&mut source, &mut target).map_err(|error| error.to_string())?;
    let progress = Progress { consumed: source.pos(), produced: target.pos() };
    // Without progress the hint speaks of a frame that has not begun.
    if progress.consumed > 0 || progress.produced > 0 {
        *between_frames = hint == 0;
    }
    Ok(progress)
}
