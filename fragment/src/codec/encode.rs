//! Pure: content in, the bytes of an object out, in pieces of a size that the caller names.

use std::fmt;
use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use courant_proto::codec::Codec;
use flate2::Compression;
use flate2::write::GzEncoder;
use snap::write::FrameEncoder;
use zstd::stream::write::Encoder as ZstdEncoder;

/// The length of content that may still grow. No content is as long.
const UNKNOWN: u64 = u64::MAX;

/// What a Zstandard frame begins with whose length was not known: magic, descriptor, window.
const ZSTD_HEAD: u64 = 6;

/// Content read at a time, in bytes.
const READ_SIZE: usize = 128 << 10;

/// Why an object could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The codec refused, or could not be set up.
    #[error("cannot encode {codec}")]
    Codec {
        /// The codec.
        codec: Codec,
        /// What it said.
        source: io::Error,
    },
    /// The content could not be read.
    #[error("cannot read content at position {position}")]
    Read {
        /// Bytes read before.
        position: u64,
        /// What the reader said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is less or more content than was announced.
    #[error("content has {found} bytes, expected {length}")]
    Length {
        /// Bytes there were.
        found: u64,
        /// Bytes that were announced.
        length: u64,
    },
}

/// Encodes the content of one object of a known length.
pub struct Encoder {
    codec: Codec,
    form: Form,
    length: u64,
    written: u64,
}

enum Form {
    Raw(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstandard(ZstdEncoder<'static, Vec<u8>>),
    Snappy(Box<FrameEncoder<Vec<u8>>>),
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("codec", &self.codec)
            .field("length", &self.length)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder of `length` bytes of content.
    ///
    /// # Errors
    /// The codec cannot be set up.
    pub fn new(codec: Codec, length: u64) -> Result<Self, EncodeError> {
        let form = match codec {
            Codec::None => Form::Raw(Vec::new()),
            Codec::Gzip | Codec::GzipOffload => {
                Form::Gzip(GzEncoder::new(Vec::new(), Compression::default()))
            }
            Codec::Zstandard => {
                let known = (length != UNKNOWN).then_some(length);
                Form::Zstandard(zstd_encoder(known).map_err(|source| EncodeError::Codec { codec, source })?)
            }
            Codec::Snappy => Form::Snappy(Box::new(FrameEncoder::new(Vec::new()))),
        };
        Ok(Self { codec, form, length, written: 0 })
    }

    /// An encoder of content that may still grow, and whose length is known when it ends.
    ///
    /// # Errors
    /// The codec cannot be set up.
    pub fn growing(codec: Codec) -> Result<Self, EncodeError> {
        Self::new(codec, UNKNOWN)
    }

    /// Bytes that an encoder of content that may still grow holds in memory, at most and about.
    #[must_use]
    pub const fn memory(codec: Codec) -> u64 {
        match codec {
            Codec::None => 128 << 10,
            Codec::Gzip | Codec::GzipOffload => 512 << 10,
            Codec::Snappy => 256 << 10,
            Codec::Zstandard => 4 << 20,
        }
    }

    /// Ends content that grew up to here, and takes the rest of its object.
    ///
    /// # Errors
    /// The codec fails.
    pub fn finish_grown(mut self) -> Result<Bytes, EncodeError> {
        self.length = self.written;
        self.finish()
    }

    /// Encodes more content.
    ///
    /// # Errors
    /// There is more content than was announced, or the codec fails.
    pub fn write(&mut self, content: &[u8]) -> Result<(), EncodeError> {
        self.written = self.written.saturating_add(content.len() as u64);
        if self.written > self.length {
            return Err(EncodeError::Length { found: self.written, length: self.length });
        }
        match &mut self.form {
            Form::Raw(bytes) => {
                bytes.extend_from_slice(content);
                Ok(())
            }
            Form::Gzip(encoder) => encoder.write_all(content),
            Form::Zstandard(encoder) => encoder.write_all(content),
            Form::Snappy(encoder) => encoder.write_all(content),
        }
        .map_err(|source| EncodeError::Codec { codec: self.codec, source })
    }

    /// Bytes of the object which wait to be taken.
    #[must_use]
    pub fn ready(&self) -> usize {
        match &self.form {
            Form::Raw(bytes) => bytes.len(),
            Form::Gzip(encoder) => encoder.get_ref().len(),
            Form::Zstandard(encoder) => encoder.get_ref().len(),
            Form::Snappy(encoder) => encoder.get_ref().len(),
        }
    }

    /// Takes what has been encoded so far; it may be nothing.
    pub fn take(&mut self) -> Bytes {
        let bytes = match &mut self.form {
            Form::Raw(bytes) => std::mem::take(bytes),
            Form::Gzip(encoder) => std::mem::take(encoder.get_mut()),
            Form::Zstandard(encoder) => std::mem::take(encoder.get_mut()),
            Form::Snappy(encoder) => std::mem::take(encoder.get_mut()),
        };
        Bytes::from(bytes)
    }

    /// Ends the object and takes the rest of it.
    ///
    /// # Errors
    /// There was less content than announced, or the codec fails.
    pub fn finish(self) -> Result<Bytes, EncodeError> {
        if self.written != self.length {
            return Err(EncodeError::Length { found: self.written, length: self.length });
        }
        let codec = self.codec;
        match self.form {
            Form::Raw(bytes) => Ok(bytes),
            Form::Gzip(encoder) => encoder.finish(),
            Form::Zstandard(encoder) => encoder.finish(),
            Form::Snappy(encoder) => encoder.into_inner().map_err(|error| error.into_error()),
        }
        .map(Bytes::from)
        .map_err(|source| EncodeError::Codec { codec, source })
    }
}

fn zstd_encoder(length: Option<u64>) -> io::Result<ZstdEncoder<'static, Vec<u8>>> {
    let mut encoder = ZstdEncoder::new(Vec::new(), 0)?;
    // Readers size their buffers by it, and a frame of another length cannot be finished.
    encoder.set_pledged_src_size(length)?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

/// The head of an object that grew to a length. Its first bytes are those that the encoder gave out first; how many of them this
/// replaces, and by what. A Zstandard frame then says how long it is, as if that had been known when it was begun.
#[must_use]
pub fn grown_head(codec: Codec, first: &[u8], length: u64) -> (u64, Vec<u8>) {
    // The descriptor says: a checksum, a window, no dictionary and no length.
    let [0x28, 0xb5, 0x2f, 0xfd, 0x04, window, ..] = first else { return (0, Vec::new()) };
    if codec != Codec::Zstandard {
        return (0, Vec::new());
    }
    let mut head = vec![0x28, 0xb5, 0x2f, 0xfd, 0x04 | 0xc0, *window];
    head.extend_from_slice(&length.to_le_bytes());
    (ZSTD_HEAD, head)
}

/// Encodes what a function reads, a piece of the object at a time, in constant memory.
///
/// The function is called as [`io::Read::read`] would be, with the position it is to read at; its zero ends
/// the content.
pub struct EncodingReader<R> {
    read: R,
    /// Gone once the object is finished.
    encoder: Option<Encoder>,
    buffer: Vec<u8>,
    position: u64,
}

impl<R> fmt::Debug for EncodingReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodingReader")
            .field("encoder", &self.encoder)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl<R, E> EncodingReader<R>
where
    R: FnMut(u64, &mut [u8]) -> Result<usize, E>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Encodes `length` bytes which `read` yields.
    ///
    /// # Errors
    /// The codec cannot be set up.
    pub fn new(codec: Codec, length: u64, read: R) -> Result<Self, EncodeError> {
        Ok(Self { read, encoder: Some(Encoder::new(codec, length)?), buffer: Vec::new(), position: 0 })
    }

    /// The next piece of the object, of at least `size` bytes unless it is the last; none after the last.
    ///
    /// # Errors
    /// Reading or encoding fails, or the content has not the announced length.
    pub fn next_piece(&mut self, size: usize) -> Result<Option<Bytes>, EncodeError> {
        let Some(mut encoder) = self.encoder.take() else { return Ok(None) };
        if let Form::Raw(_) = encoder.form {
            return self.next_raw_piece(encoder, size);
        }
        self.buffer.resize(READ_SIZE, 0);
        while encoder.ready() < size.max(1) {
            let count = (self.read)(self.position, &mut self.buffer)
                .map_err(|source| EncodeError::Read { position: self.position, source: source.into() })?;
            if count == 0 {
                let rest = encoder.finish()?;
                return Ok((!rest.is_empty()).then_some(rest));
            }
            encoder.write(&self.buffer[..count])?;
            self.position += count as u64;
        }
        let piece = encoder.take();
        self.encoder = Some(encoder);
        Ok(Some(piece))
    }

    /// Raw content is read into the piece itself.
    fn next_raw_piece(&mut self, mut encoder: Encoder, size: usize) -> Result<Option<Bytes>, EncodeError> {
        let left = encoder.length - encoder.written;
        // One byte more than there should be, so that surplus content is noticed and not cut off.
        let room = (size.max(1) as u64).min(left.saturating_add(1)) as usize;
        let mut piece = BytesMut::zeroed(room);
        let mut filled = 0;
        while filled < room {
            let count = (self.read)(self.position, &mut piece[filled..])
                .map_err(|source| EncodeError::Read { position: self.position, source: source.into() })?;
            if count == 0 {
                break;
            }
            filled += count;
            self.position += count as u64;
        }
        encoder.written += filled as u64;
        if encoder.written > encoder.length || (filled < room && encoder.written < encoder.length) {
            return Err(EncodeError::Length { found: encoder.written, length: encoder.length });
        }
        piece.truncate(filled);
        if filled == room {
            self.encoder = Some(encoder);
        }
        Ok((filled > 0).then(|| piece.freeze()))
    }
}
