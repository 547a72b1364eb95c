//! Codecs: how the bytes of a fragment become the bytes of an object, and back.
//!
//! The only module of this crate that a client needs. It knows the five codecs of the protocol, and the length and the
//! digest that a fragment's name promises; it refuses to know where bytes come from, and where they go.
//!
//! | codec | written as | read as |
//! | --- | --- | --- |
//! | `NONE` | the bytes themselves | the same |
//! | `GZIP` | one member | any number of members |
//! | `ZSTANDARD` | one frame, with its size and a checksum | any number of frames, windows up to 32 MiB |
//! | `SNAPPY` | the framing format | the framing format, several streams in a row included |
//! | `GZIP_OFFLOAD_DECOMPRESSION` | as `GZIP` | as `GZIP` if it begins like gzip, else the bytes themselves |
//!
//! One gzip member and not many: there are stores which decompress on the way out and stop after the first.
//!
//! Both directions work in pieces and hold no more than a piece. A [`Decoder`] is told how long the content
//! is; it hands out that many bytes and not one more, whatever the input would expand to.

mod checked;
mod decode;
mod encode;
mod snappy;
#[cfg(test)]
mod tests;

pub use checked::{CheckError, Checked, CheckedDecoder, SMALL};
pub use decode::{DecodeError, Decoded, Decoder};
pub use encode::{EncodeError, Encoder, EncodingReader, grown_head};
