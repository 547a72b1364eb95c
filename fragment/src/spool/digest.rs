//! Pure: a running SHA-1 whose state can be kept in a record, taken up again, and summed without ending it.
//!
//! The sum of a fragment is over all its content, and is wanted at each commit and across restarts. What is kept of
//! it is small: five words, the length (which the record has anyway), and the bytes of the unfinished block, which
//! are the last of the content.

use std::fmt;

use courant_proto::fragment::ContentSum;
use sha1::block_api::compress;

/// Bytes that SHA-1 takes in at a time.
const BLOCK_LENGTH: usize = 64;
/// Where the length of the message stands in the last block.
const LENGTH_AT: usize = BLOCK_LENGTH - 8;
/// The five words SHA-1 begins with (FIPS 180-4, 5.3.1).
const START: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// The five words after the last whole block, big-endian as in a sum.
pub type DigestState = [u8; 20];

/// A SHA-1 that goes on.
#[derive(Clone)]
pub struct Digest {
    words: [u32; 5],
    length: u64,
    /// The unfinished block: `length % 64` bytes are used.
    block: [u8; BLOCK_LENGTH],
}

impl Digest {
    /// The digest of nothing.
    pub const fn new() -> Self {
        Self { words: START, length: 0, block: [0; BLOCK_LENGTH] }
    }

    /// Takes bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        let used = self.used();
        self.length += bytes.len() as u64;
        let mut bytes = bytes;
        if used > 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK_LENGTH - used));
            self.block[used..used + head.len()].copy_from_slice(head);
            if used + head.len() < BLOCK_LENGTH {
                return;
            }
            compress(&mut self.words, std::slice::from_ref(&self.block));
            bytes = rest;
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK_LENGTH>();
        if !blocks.is_empty() {
            compress(&mut self.words, blocks);
        }
        self.block[..rest.len()].copy_from_slice(rest);
    }

    /// How many bytes were taken in.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The SHA-1 of what was taken in so far.
    pub fn sum(&self) -> ContentSum {
        let used = self.used();
        let mut words = self.words;
        let mut block = self.block;
        block[used] = 0x80;
        block[used + 1..].fill(0);
        if used >= LENGTH_AT {
            compress(&mut words, std::slice::from_ref(&block));
            block = [0; BLOCK_LENGTH];
        }
        block[LENGTH_AT..].copy_from_slice(&(self.length << 3).to_be_bytes());
        compress(&mut words, std::slice::from_ref(&block));
        ContentSum(big_endian(words))
    }

    /// What a record keeps.
    pub fn state(&self) -> DigestState {
        big_endian(self.words)
    }

    /// How many bytes at the end of `length` are not in the words yet: what [`Digest::resume`] wants as the tail.
    pub const fn tail_length(length: u64) -> usize {
        (length % BLOCK_LENGTH as u64) as usize
    }

    /// Takes a digest up again, at the state it had after `length` bytes, the last of which are `tail`. `None` if
    /// the tail is not as long as [`Digest::tail_length`] says.
    pub fn resume(state: &DigestState, length: u64, tail: &[u8]) -> Option<Self> {
        if tail.len() != Self::tail_length(length) {
            return None;
        }
        let mut words = [0; 5];
        for (word, bytes) in words.iter_mut().zip(state.as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        let mut block = [0; BLOCK_LENGTH];
        block[..tail.len()].copy_from_slice(tail);
        Some(Self { words, length, block })
    }

    const fn used(&self) -> usize {
        Self::tail_length(self.length)
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digest").field("length", &self.length).finish_non_exhaustive()
    }
}

fn big_endian(words: [u32; 5]) -> [u8; 20] {
    let mut bytes = [0; 20];
    for (to, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *to = word.to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha1::Digest as _;

    use super::*;

    fn expected(bytes: &[u8]) -> ContentSum {
        ContentSum(sha1::Sha1::digest(bytes).into())
    }

    #[test]
    fn every_length_around_a_block_sums_as_the_library_does() {
        let bytes: Vec<u8> = (0..300u16).map(|n| n as u8).collect();
        for length in 0..=bytes.len() {
            let mut digest = Digest::new();
            digest.update(&bytes[..length]);
            assert_eq!(digest.sum(), expected(&bytes[..length]), "of {length} bytes");
        }
    }

    #[test]
    fn a_tail_of_the_wrong_length_is_refused() {
        assert!(Digest::resume(&Digest::new().state(), 65, &[]).is_none());
        assert!(Digest::resume(&Digest::new().state(), 64, &[1]).is_none());
    }

    proptest! {
        #[test]
        fn pieces_sums_and_resumption_change_nothing(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..12),
        ) {
            let mut digest = Digest::new();
            let mut whole = Vec::new();
            for piece in &pieces {
                digest.update(piece);
                whole.extend_from_slice(piece);
                prop_assert_eq!(digest.sum(), expected(&whole));
                let tail = &whole[whole.len() - Digest::tail_length(whole.len() as u64)..];
                digest = Digest::resume(&digest.state(), whole.len() as u64, tail).expect("a whole tail");
            }
            prop_assert_eq!(digest.sum(), expected(&whole));
            prop_assert_eq!(digest.length(), whole.len() as u64);
        }
    }
}
