//! Pure: the UUID of a message: who produced it, where it stands in that producer's order, and what it means to a transaction.
//!
//! It is Gazette's, bit for bit: a time-based UUID (version 1) whose node is the producer, whose time is the upper part of the
//! clock, and whose clock sequence holds the lower 4 bits of the clock and 10 bits of flags.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use crate::clock::Clock;

/// Length of the text of a UUID.
pub const TEXT_LENGTH: usize = 36;

/// Positions of the hyphens in it, and of each byte's two digits.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// A publisher's identity for as long as it lives: 6 bytes. Readers compare them and take any value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Producer([u8; 6]);

impl Producer {
    /// A producer as it was read.
    pub const fn from_bytes(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// A new producer out of 6 bytes of entropy. It has the multicast bit, so that it is never the address of a network card.
    pub const fn new(mut entropy: [u8; 6]) -> Self {
        entropy[0] |= 1;
        Self(entropy)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 6] {
        &self.0
    }
}

/// 12 hexadecimal digits.
impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a message means to its producer's transaction: 10 bits, of which three values have a meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u16);

impl Flags {
    /// The message is committed by itself.
    pub const OUTSIDE_TXN: Self = Self(0);
    /// The message begins or continues a transaction, and counts once an acknowledgement with a larger clock is read.
    pub const CONTINUE_TXN: Self = Self(1);
    /// The message commits all of its producer's messages before it that have smaller clocks.
    pub const ACK_TXN: Self = Self(2);

    /// Flags as a number, unless it takes more than 10 bits.
    pub const fn new(bits: u16) -> Option<Self> {
        if bits < 1 << 10 { Some(Self(bits)) } else { None }
    }

    /// The number.
    pub const fn bits(self) -> u16 {
        self.0
    }
}

/// As Gazette's metrics have them: `OUTSIDE_TXN`, `CONTINUE_TXN`, `ACK_TXN`, or `Flags(1f)`.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OUTSIDE_TXN => f.write_str("OUTSIDE_TXN"),
            Self::CONTINUE_TXN => f.write_str("CONTINUE_TXN"),
            Self::ACK_TXN => f.write_str("ACK_TXN"),
            Self(bits) => write!(f, "Flags({bits:x})"),
        }
    }
}

/// A message's UUID. The default is [`Uuid::NIL`], which stands for a message that has none.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// Of a message that has none.
    pub const NIL: Self = Self([0; 16]);

    /// Joins what a UUID says.
    pub const fn new(producer: Producer, clock: Clock, flags: Flags) -> Self {
        let clock = clock.get();
        let [l0, l1, l2, l3] = ((clock >> 4) as u32).to_be_bytes();
        let [m0, m1] = ((clock >> 36) as u16).to_be_bytes();
        let [h0, h1] = (0x1000 | (clock >> 52) as u16).to_be_bytes();
        let [s0, s1] = (0x8000 | ((clock & 0xf) as u16) << 10 | flags.0).to_be_bytes();
        let [p0, p1, p2, p3, p4, p5] = producer.0;
        Self([l0, l1, l2, l3, m0, m1, h0, h1, s0, s1, p0, p1, p2, p3, p4, p5])
    }

    /// A UUID as it was read; of any version.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether all bits are zero.
    pub fn is_nil(&self) -> bool {
        *self == Self::NIL
    }

    /// Who produced the message.
    pub const fn producer(&self) -> Producer {
        let [.., p0, p1, p2, p3, p4, p5] = self.0;
        Producer([p0, p1, p2, p3, p4, p5])
    }

    /// Where it stands in the order of its producer. Zero means that it has no place in it.
    pub const fn clock(&self) -> Clock {
        let [l0, l1, l2, l3, m0, m1, h0, h1, s0, ..] = self.0;
        let low = u32::from_be_bytes([l0, l1, l2, l3]) as u64;
        let middle = u16::from_be_bytes([m0, m1]) as u64;
        let high = u16::from_be_bytes([h0, h1]) as u64;
        // The version's four bits fall off at the upper end.
        Clock::from_u64(low << 4 | middle << 36 | high << 52 | (s0 as u64 >> 2) & 0xf)
    }

    /// What it means to its transaction.
    pub const fn flags(&self) -> Flags {
        Flags(u16::from_be_bytes([self.0[8], self.0[9]]) & 0x3ff)
    }

    /// The text: 36 characters, in lower case.
    pub fn to_text(&self) -> [u8; TEXT_LENGTH] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; TEXT_LENGTH];
        for (place, byte) in PLACES.into_iter().zip(self.0) {
            text[place] = DIGITS[usize::from(byte >> 4)];
            text[place + 1] = DIGITS[usize::from(byte & 0xf)];
        }
        text
    }

    /// Reads the text of a UUID in any of its forms: 36 characters, those in braces or after `urn:uuid:`, or 32 digits.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidUuid> {
        Self::parse_hyphenated(text)
            .or_else(|| match text.len() {
                32 => Self::parse_at(text, std::array::from_fn(|byte| 2 * byte)),
                38 if text[0] == b'{' && text[37] == b'}' => Self::parse_hyphenated(&text[1..37]),
                45 if text[..9].eq_ignore_ascii_case(b"urn:uuid:") => Self::parse_hyphenated(&text[9..]),
                _ => None,
            })
            .ok_or_else(|| InvalidUuid::of(text))
    }

    fn parse_hyphenated(text: &[u8]) -> Option<Self> {
        if text.len() != TEXT_LENGTH || HYPHENS.iter().any(|&place| text[place] != b'-') {
            return None;
        }
        Self::parse_at(text, PLACES)
    }

    /// Each byte's two digits stand at its place.
    fn parse_at(text: &[u8], places: [usize; 16]) -> Option<Self> {
        let mut invalid = 0;
        let bytes = places.map(|place| {
            let (upper, lower) = (digit(text[place]), digit(text[place + 1]));
            invalid |= upper | lower;
            upper << 4 | lower & 0xf
        });
        (invalid < 16).then_some(Self(bytes))
    }
}

/// The value of a hexadecimal digit; 16 or more if it is none.
const fn digit(text: u8) -> u8 {
    match text {
        b'0'..=b'9' => text - b'0',
        b'a'..=b'f' => text - b'a' + 10,
        b'A'..=b'F' => text - b'A' + 10,
        _ => 0xff,
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_text()).unwrap_or_default())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Uuid {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Self, InvalidUuid> {
        Self::parse(text.as_bytes())
    }
}

/// Text that is no UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no UUID (expected 36 characters, as in 04afc000-833b-11ee-8001-010203040506)")]
pub struct InvalidUuid {
    /// The text, or its beginning.
    pub text: String,
}

impl InvalidUuid {
    fn of(text: &[u8]) -> Self {
        let shown = &text[..text.len().min(48)];
        Self { text: String::from_utf8_lossy(shown).into_owned() }
    }
}
