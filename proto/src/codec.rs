//! Pure: how stored fragments are compressed: the numbers on the wire and the extensions of file names.
//!
//! It compresses nothing.

use std::fmt;

use crate::invalid::Invalid;
use crate::wire::CompressionCodec;

/// How a fragment is compressed in its store. The wire's `INVALID` has no place here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// As it is.
    None,
    /// RFC 1952, in one or several members.
    Gzip,
    /// One Zstandard frame.
    Zstandard,
    /// Snappy's framed stream, not its blocks.
    Snappy,
    /// Gzip that the store takes off again when it is read.
    GzipOffload,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Zstandard, Self::Snappy, Self::GzipOffload];

    /// The enumerator on the wire.
    pub const fn to_wire(self) -> CompressionCodec {
        match self {
            Self::None => CompressionCodec::None,
            Self::Gzip => CompressionCodec::Gzip,
            Self::Zstandard => CompressionCodec::Zstandard,
            Self::Snappy => CompressionCodec::Snappy,
            Self::GzipOffload => CompressionCodec::GzipOffloadDecompression,
        }
    }

    /// The codec of a number on the wire.
    ///
    /// # Errors
    /// When the number is unknown, or that of `INVALID`.
    pub fn from_wire(number: i32) -> Result<Self, Invalid> {
        match CompressionCodec::try_from(number) {
            Ok(CompressionCodec::None) => Ok(Self::None),
            Ok(CompressionCodec::Gzip) => Ok(Self::Gzip),
            Ok(CompressionCodec::Zstandard) => Ok(Self::Zstandard),
            Ok(CompressionCodec::Snappy) => Ok(Self::Snappy),
            Ok(CompressionCodec::GzipOffloadDecompression) => Ok(Self::GzipOffload),
            Ok(invalid @ CompressionCodec::Invalid) => {
                Err(Invalid::new(format!("invalid value ({})", invalid.as_str_name())))
            }
            Err(_) => Err(Invalid::new(format!("invalid value ({number})"))),
        }
    }

    /// The protocol's name, as in specs and listings.
    pub fn name(self) -> &'static str {
        self.to_wire().as_str_name()
    }

    /// The codec of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// The extension that is written, with its dot. Codec 5 writes none: `.gzod` is read, and may be written once
    /// every reader knows it.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::None => ".raw",
            Self::Gzip => ".gz",
            Self::Zstandard => ".zst",
            Self::Snappy => ".sz",
            Self::GzipOffload => "",
        }
    }

    /// The codec of an extension with its dot, or of none; in either case of letters.
    ///
    /// # Errors
    /// When no codec has that extension.
    pub fn from_extension(extension: &str) -> Result<Self, Invalid> {
        match &*extension.to_ascii_lowercase() {
            ".raw" => Ok(Self::None),
            ".gz" | ".gzip" => Ok(Self::Gzip),
            ".zst" | ".zstandard" => Ok(Self::Zstandard),
            ".sz" | ".snappy" => Ok(Self::Snappy),
            "" | ".gzod" => Ok(Self::GzipOffload),
            _ => Err(Invalid::new(format!("unrecognized compression extension: {extension}"))),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_extensions() {
        let check = |number: i32, name: &str, written: &str, read: &[&str]| {
            let codec = Codec::from_wire(number).expect("codec");
            assert_eq!((codec.to_wire() as i32, codec.name(), codec.extension()), (number, name, written));
            assert_eq!(Codec::from_name(name), Some(codec));
            for extension in read.iter().chain(&[written]) {
                assert_eq!(Codec::from_extension(extension), Ok(codec), "{extension}");
                assert_eq!(Codec::from_extension(&extension.to_uppercase()), Ok(codec), "{extension}");
            }
        };
        check(1, "NONE", ".raw", &[]);
        check(2, "GZIP", ".gz", &[".gzip"]);
        check(3, "ZSTANDARD", ".zst", &[".zstandard"]);
        check(4, "SNAPPY", ".sz", &[".snappy"]);
        check(5, "GZIP_OFFLOAD_DECOMPRESSION", "", &[".gzod"]);
    }

    #[test]
    fn refuses_the_rest() {
        let check = |got: Result<Codec, Invalid>, text: &str| {
            assert_eq!(got.map_err(|e| e.to_string()), Err(text.to_owned()));
        };
        check(Codec::from_wire(0), "invalid value (INVALID)");
        check(Codec::from_wire(9999), "invalid value (9999)");
        check(Codec::from_wire(-1), "invalid value (-1)");
        check(Codec::from_extension(".zip"), "unrecognized compression extension: .zip");
        check(Codec::from_extension("gz"), "unrecognized compression extension: gz");
        assert_eq!(Codec::from_name("INVALID"), None);
    }
}
