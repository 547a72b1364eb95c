//! Pure: an object's bytes in, content out that is checked against what the name of its fragment promises.
//!
//! Over the [`Decoder`] this adds the digest, and content that is read past. The last of the content is held back until the digest of
//! all of it is known, and of what is small, everything is.

use std::collections::VecDeque;

use bytes::Bytes;
use courant_proto::codec::Codec;
use courant_proto::fragment::ContentSum;
use sha1::{Digest as _, Sha1};

use super::decode::{DecodeError, Decoded, Decoder};

/// Content of up to so many bytes is handed out only when all of it is known to be right.
pub const SMALL: u64 = 512 << 10;

/// Why the bytes of an object are not what its name promises.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// They do not decode to content of the promised length.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The content has another digest.
    #[error("its SHA-1 is {found}")]
    Sum {
        /// The digest that it has.
        found: ContentSum,
    },
    /// Its content begins otherwise than what was handed out of it before.
    #[error("the first {length} bytes of its content are not those that were read before")]
    Other {
        /// How much was handed out.
        length: u64,
    },
}

/// What a pull yields.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// The next content, in pieces that are not empty.
    Content(VecDeque<Bytes>),
    /// Nothing more without further input.
    NeedsInput,
    /// All content was handed out.
    Done,
}

/// Decodes one object, and checks it.
#[derive(Debug)]
pub struct CheckedDecoder {
    decoder: Decoder,
    /// Input that waits.
    input: VecDeque<Bytes>,
    input_ended: bool,
    /// Content that is yet to be read past.
    skip: u64,
    /// Content that was read past.
    passed: u64,
    check: Option<(Sha1, ContentSum)>,
    /// The digest, as it was when content was handed out last.
    handed_out: Option<Sha1>,
    /// What is read past has this digest.
    follows: Option<ContentSum>,
    holds_all: bool,
    held: VecDeque<Bytes>,
}

impl CheckedDecoder {
    /// A decoder of an object with `length` bytes of content, the first `skip` of which are not handed out. Without a sum, nothing is
    /// said of the digest.
    ///
    /// # Errors
    /// The codec cannot be set up.
    pub fn new(codec: Codec, length: u64, skip: u64, sum: Option<ContentSum>) -> Result<Self, DecodeError> {
        Ok(Self {
            decoder: Decoder::new(codec, length)?,
            input: VecDeque::new(),
            input_ended: false,
            skip,
            passed: 0,
            holds_all: sum.is_some() && length <= SMALL,
            check: sum.map(|sum| (Sha1::new(), sum)),
            handed_out: None,
            follows: None,
            held: VecDeque::new(),
        })
    }

    /// Goes on where another decoder of the same object broke off: what is read past has to be what that one saw, by its
    /// [`CheckedDecoder::handed_out`].
    #[must_use]
    pub fn following(self, handed_out: Option<ContentSum>) -> Self {
        Self { follows: handed_out, ..self }
    }

    /// The digest of all content up to the end of what was handed out last, what was read past included; none where no digest is taken, or
    /// nothing was handed out before all was known to be right.
    #[must_use]
    pub fn handed_out(&self) -> Option<ContentSum> {
        self.handed_out.clone().map(|digest| ContentSum(digest.finalize().into()))
    }

    /// Gives the next piece of input.
    pub fn push(&mut self, piece: Bytes) {
        self.input.push_back(piece);
    }

    /// Says that no further input comes.
    pub fn end(&mut self) {
        self.input_ended = true;
    }

    /// The next content, decoded in pieces of at most `max` bytes. Takes as long as decoding takes.
    ///
    /// # Errors
    /// The object is not what its name promises. The decoder is of no use afterwards.
    pub fn pull(&mut self, max: usize) -> Result<Checked, CheckError> {
        loop {
            match self.decoder.pull(max)? {
                Decoded::Content(mut content) => {
                    let skipped = self.skip.min(content.len() as u64);
                    self.skip -= skipped;
                    // Not more than its length, so it fits a usize.
                    let past = content.split_to(skipped as usize);
                    self.passed += skipped;
                    if let Some((digest, _)) = &mut self.check {
                        digest.update(&past);
                        if let Some(expected) = self.follows.take_if(|_| self.skip == 0)
                            && ContentSum(digest.clone().finalize().into()) != expected
                        {
                            return Err(CheckError::Other { length: self.passed });
                        }
                        digest.update(&content);
                    }
                    if content.is_empty() {
                        continue;
                    }
                    if self.holds_all || self.decoder.remaining() == 0 {
                        self.held.push_back(content);
                    } else {
                        self.handed_out = self.check.as_ref().map(|(digest, _)| digest.clone());
                        return Ok(Checked::Content(VecDeque::from([content])));
                    }
                }
                Decoded::NeedsInput => match self.input.pop_front() {
                    Some(piece) => self.decoder.push(piece),
                    None if self.input_ended => self.decoder.end(),
                    None => return Ok(Checked::NeedsInput),
                },
                Decoded::Done => {
                    if let Some((digest, expected)) = self.check.take() {
                        let found = ContentSum(digest.finalize().into());
                        if found != expected {
                            return Err(CheckError::Sum { found });
                        }
                    }
                    let held = std::mem::take(&mut self.held);
                    return Ok(if held.is_empty() { Checked::Done } else { Checked::Content(held) });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(content: &[u8]) -> ContentSum {
        ContentSum(Sha1::digest(content).into())
    }

    /// Everything that is handed out before the end or an error.
    fn drain(decoder: &mut CheckedDecoder) -> (Vec<u8>, Result<(), CheckError>) {
        let mut content = Vec::new();
        loop {
            match decoder.pull(1 << 10) {
                Ok(Checked::Content(pieces)) => content.extend(pieces.into_iter().flatten()),
                Ok(Checked::Done) => return (content, Ok(())),
                Ok(Checked::NeedsInput) => panic!("all input is there"),
                Err(error) => return (content, Err(error)),
            }
        }
    }

    #[test]
    fn nothing_of_what_is_small_is_handed_out_unless_it_is_right() {
        let content = vec![7; 10_000];
        let mut right =
            CheckedDecoder::new(Codec::None, 10_000, 9_000, Some(sum(&content))).expect("a decoder");
        right.push(content.clone().into());
        right.end();
        assert_eq!(drain(&mut right).0, &content[9_000..]);
        let mut wrong = CheckedDecoder::new(Codec::None, 10_000, 0, Some(sum(b"other"))).expect("a decoder");
        wrong.push(content.into());
        wrong.end();
        let (handed_out, outcome) = drain(&mut wrong);
        assert!(handed_out.is_empty());
        assert!(matches!(outcome, Err(CheckError::Sum { .. })), "{outcome:?}");
    }

    #[test]
    fn what_was_handed_out_is_compared_before_it_goes_on() {
        let content: Vec<u8> = (0..SMALL + 5_000).map(|n| (n % 251) as u8).collect();
        let mut other = content.clone();
        other[100] ^= 1;
        for (first, goes_on) in [(&content, true), (&other, false)] {
            let decoder = |skip| {
                CheckedDecoder::new(Codec::None, content.len() as u64, skip, Some(sum(&content)))
                    .expect("a decoder")
            };
            let mut broken_off = decoder(50);
            broken_off.push(first[..3_000].to_vec().into());
            let mut handed_out = 50;
            while let Checked::Content(pieces) = broken_off.pull(1 << 10).expect("no end yet") {
                handed_out += pieces.iter().map(Bytes::len).sum::<usize>();
            }
            assert_eq!(handed_out, 3_000);
            let mut next = decoder(3_000).following(broken_off.handed_out());
            next.push(content.clone().into());
            next.end();
            let (rest, outcome) = drain(&mut next);
            match goes_on {
                true => assert_eq!((rest.as_slice(), outcome.is_ok()), (&content[3_000..], true)),
                false => {
                    assert!(rest.is_empty());
                    assert!(matches!(outcome, Err(CheckError::Other { length: 3_000 })), "{outcome:?}");
                }
            }
        }
    }

    #[test]
    fn of_what_is_large_the_last_is_held_back() {
        let content = vec![7; SMALL as usize + 1];
        let mut wrong = CheckedDecoder::new(Codec::None, content.len() as u64, 0, Some(sum(b"other")))
            .expect("a decoder");
        wrong.push(content.clone().into());
        wrong.end();
        let (handed_out, outcome) = drain(&mut wrong);
        assert!(handed_out.len() < content.len() && outcome.is_err());
        // Without a sum there is nothing to wait for but the length.
        let mut part = CheckedDecoder::new(Codec::None, 100, 0, None).expect("a decoder");
        part.push(content.into());
        assert!(drain(&mut part).1.is_err(), "there is more of it than there should be");
    }
}
