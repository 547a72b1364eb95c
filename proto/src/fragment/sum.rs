//! Pure: SHA-1 digests of content, as they are printed and as the wire splits them. It computes none.

use std::fmt;
use std::str::FromStr;

use crate::invalid::Invalid;
use crate::quote::quoted;
use crate::wire;

/// Digest of no bytes.
const EMPTY: [u8; 20] = [
    0xda, 0x39, 0xa3, 0xee, 0x5e, 0x6b, 0x4b, 0x0d, 0x32, 0x55, 0xbf, 0xef, 0x95, 0x60, 0x18, 0x90, 0xaf,
    0xd8, 0x07, 0x09,
];

/// The SHA-1 of uncompressed content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentSum(pub [u8; 20]);

impl ContentSum {
    /// What a fragment without content has.
    pub const ZERO: Self = Self([0; 20]);

    /// What the commit of an append without content has: the digest of no bytes.
    pub const fn of_empty() -> Self {
        Self(EMPTY)
    }

    /// The bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Whether it is the sum of a fragment without content.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl From<[u8; 20]> for ContentSum {
    fn from(digest: [u8; 20]) -> Self {
        Self(digest)
    }
}

/// Forty lower-case hexadecimal digits.
impl fmt::Display for ContentSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Forty hexadecimal digits, in either case of letters.
impl FromStr for ContentSum {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let nibble = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let Some(nibbles) = text.bytes().map(nibble).collect::<Option<Vec<u8>>>() else {
            return Err(Invalid::new(format!("{} is not hexadecimal", quoted(text))));
        };
        if nibbles.len() != 40 {
            return Err(Invalid::new(format!("invalid SHA1Sum length: {text}")));
        }
        let mut digest = [0; 20];
        for (byte, pair) in digest.iter_mut().zip(nibbles.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(digest))
    }
}

/// Big-endian parts of 8, 8 and 4 bytes.
impl From<ContentSum> for wire::Sha1Sum {
    fn from(ContentSum(digest): ContentSum) -> Self {
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        Self {
            part1: number(&digest[..8]),
            part2: number(&digest[8..16]),
            part3: u32::from_be_bytes([digest[16], digest[17], digest[18], digest[19]]),
        }
    }
}

impl From<wire::Sha1Sum> for ContentSum {
    fn from(sum: wire::Sha1Sum) -> Self {
        let mut digest = [0; 20];
        digest[..8].copy_from_slice(&sum.part1.to_be_bytes());
        digest[8..16].copy_from_slice(&sum.part2.to_be_bytes());
        digest[16..].copy_from_slice(&sum.part3.to_be_bytes());
        Self(digest)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    const FOOBAR: &str = "8843d7f92416211de9ebb963ff4ce28125932878";

    #[test]
    fn foobar_on_the_wire() {
        let sum: ContentSum = FOOBAR.parse().expect("digest");
        let wire = wire::Sha1Sum::from(sum);
        assert_eq!(
            (wire.part1, wire.part2, wire.part3),
            (0x8843_d7f9_2416_211d, 0xe9eb_b963_ff4c_e281, 0x2593_2878)
        );
        let expected = [
            0x09, 0x1d, 0x21, 0x16, 0x24, 0xf9, 0xd7, 0x43, 0x88, 0x11, 0x81, 0xe2, 0x4c, 0xff, 0x63, 0xb9,
            0xeb, 0xe9, 0x1d, 0x78, 0x28, 0x93, 0x25,
        ];
        assert_eq!(wire.encode_to_vec(), expected);
        assert_eq!(ContentSum::from(wire), sum);
        assert_eq!(sum.to_string(), FOOBAR);
    }

    #[test]
    fn reads_forty_digits() {
        assert_eq!(FOOBAR.to_uppercase().parse::<ContentSum>().map(|s| s.to_string()).as_deref(), Ok(FOOBAR));
        assert_eq!(ContentSum::of_empty().to_string(), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(ContentSum::ZERO.to_string(), "0".repeat(40));
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<ContentSum>().map_err(|e| e.to_string()), Err(expected.to_owned()));
        };
        check("", "invalid SHA1Sum length: ");
        check(&FOOBAR[2..], &format!("invalid SHA1Sum length: {}", &FOOBAR[2..]));
        check(&FOOBAR[1..], &format!("invalid SHA1Sum length: {}", &FOOBAR[1..]));
        check("0x00", r#""0x00" is not hexadecimal"#);
        check(&FOOBAR.replace('8', "é"), &format!("\"{}\" is not hexadecimal", FOOBAR.replace('8', "é")));
    }
}
