//! From a stream of bytes to records, and the keys before them. It does not know where they go.

use std::io::{self, BufRead, BufReader, Read};

use bytes::Bytes;

use crate::args::Framing;

/// Largest record: an append takes it whole.
const MAX_RECORD_BYTES: usize = 256 << 20;

/// What a fixed frame begins with. The length of its payload follows in four bytes, the least first.
const MAGIC: [u8; 4] = [0x66, 0x33, 0x93, 0x36];
const HEADER_BYTES: usize = 8;

/// A record, framed as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// What preceded it, without its framing; empty where there are no keys.
    pub(super) key: Bytes,
    pub(super) record: Bytes,
}

/// The records of an input. Ends after an error.
pub(super) struct Records<R> {
    input: R,
    framing: Framing,
    keyed: bool,
    ended: bool,
    /// Frames that were read, to say which one was bad.
    frames: u64,
}

impl<R: Read> Records<BufReader<R>> {
    /// Whether the next record is at hand, with the key before it.
    pub(super) fn is_ready(&self) -> bool {
        let mut rest = self.input.buffer();
        for _ in 0..if self.keyed { 2 } else { 1 } {
            let length = match self.framing {
                Framing::Fixed => rest.first_chunk::<HEADER_BYTES>().and_then(|[.., a, b, c, d]| {
                    usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).ok()?.checked_add(HEADER_BYTES)
                }),
                Framing::Lines | Framing::None => {
                    rest.iter().position(|byte| *byte == b'\n').map(|position| position + 1)
                }
            };
            match length.and_then(|length| rest.get(length..)) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        true
    }
}

impl<R: BufRead> Records<R> {
    pub(super) const fn new(input: R, framing: Framing, keyed: bool) -> Self {
        Self { input, framing, keyed, ended: false, frames: 0 }
    }

    fn next_item(&mut self) -> io::Result<Option<Item>> {
        if !self.keyed {
            return Ok(self.frame()?.map(|record| Item { key: Bytes::new(), record: record.into() }));
        }
        let Some(key) = self.frame()? else {
            return Ok(None);
        };
        let key = match self.framing {
            Framing::Fixed => Bytes::from(key).split_off(HEADER_BYTES),
            _ => {
                let length = key.trim_ascii_end().len();
                let mut key = key;
                key.truncate(length);
                key.into()
            }
        };
        match self.frame()? {
            Some(record) => Ok(Some(Item { key, record: record.into() })),
            None => {
                let shown = String::from_utf8_lossy(&key).chars().take(64).collect::<String>();
                Err(self.bad(&format!("the last key, {shown:?}, has no record behind it")))
            }
        }
    }

    /// The next line or frame, with all of its bytes.
    fn frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.frames += 1;
        match self.framing {
            Framing::Fixed => self.fixed(),
            Framing::Lines | Framing::None => self.line(),
        }
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_RECORD_BYTES).unwrap_or(u64::MAX);
        io::Read::take(&mut self.input, limit).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') {
            if line.len() >= MAX_RECORD_BYTES {
                return Err(self.bad(&format!("is longer than {MAX_RECORD_BYTES} bytes")));
            }
            // The last line of a file may lack its line feed; in the journal another line follows.
            line.push(b'\n');
        }
        Ok(Some(line))
    }

    fn fixed(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut frame = Vec::with_capacity(HEADER_BYTES);
        io::Read::take(&mut self.input, HEADER_BYTES as u64).read_to_end_of(&mut frame)?;
        if frame.is_empty() || frame == b"\n" {
            return Ok(None);
        }
        let Some((header, [])) = frame.split_first_chunk::<HEADER_BYTES>() else {
            return Err(self.bad("ends within its header"));
        };
        let [a, b, c, d, length @ ..] = *header;
        if [a, b, c, d] != MAGIC {
            return Err(self.bad("does not begin with 66 33 93 36"));
        }
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_RECORD_BYTES {
            return Err(self.bad(&format!("is longer than {MAX_RECORD_BYTES} bytes")));
        }
        io::Read::take(&mut self.input, length as u64).read_to_end_of(&mut frame)?;
        if frame.len() < HEADER_BYTES + length {
            return Err(self.bad(&format!("ends after {} of {length} bytes", frame.len() - HEADER_BYTES)));
        }
        Ok(Some(frame))
    }

    fn bad(&self, reason: &str) -> io::Error {
        let what = if self.framing == Framing::Fixed { "frame" } else { "line" };
        io::Error::new(io::ErrorKind::InvalidData, format!("{what} {}: {reason}", self.frames))
    }
}

/// `read_to_end` under a name that says what the end is: that of a part.
trait ReadToEndOf {
    fn read_to_end_of(self, into: &mut Vec<u8>) -> io::Result<usize>;
}

impl<R: io::Read> ReadToEndOf for io::Take<R> {
    fn read_to_end_of(mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        io::Read::read_to_end(&mut self, into)
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = io::Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.next_item().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key and a record.
    type Pair = (Vec<u8>, Vec<u8>);

    fn read(input: &[u8], framing: Framing, keyed: bool) -> Result<Vec<Pair>, String> {
        Records::new(input, framing, keyed)
            .map(|item| {
                item.map(|item| (item.key.to_vec(), item.record.to_vec())).map_err(|error| error.to_string())
            })
            .collect()
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        [&MAGIC[..], &length[..], payload].concat()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<Pair> {
        expected.iter().map(|(key, record)| (key.as_bytes().to_vec(), record.as_bytes().to_vec())).collect()
    }

    #[test]
    fn lines_keep_their_line_feeds() {
        assert_eq!(read(b"", Framing::Lines, false), Ok(vec![]));
        assert_eq!(
            read(b"a\nb\r\n\nc", Framing::Lines, false),
            Ok(pairs(&[("", "a\n"), ("", "b\r\n"), ("", "\n"), ("", "c\n")]))
        );
        assert_eq!(
            read(b"k1\r\n{1}\nk2\n{2}\n", Framing::Lines, true),
            Ok(pairs(&[("k1", "{1}\n"), ("k2", "{2}\n")]))
        );
        assert_eq!(
            read(b"k1\n{1}\nk2\n", Framing::Lines, true),
            Err("line 4: the last key, \"k2\", has no record behind it".to_owned())
        );
    }

    #[test]
    fn frames_keep_their_headers() {
        let input = [frame(b"key"), frame(b"record"), frame(b""), frame(b"x"), b"\n".to_vec()].concat();
        let expected = vec![(b"key".to_vec(), frame(b"record")), (vec![], frame(b"x"))];
        assert_eq!(read(&input, Framing::Fixed, true), Ok(expected));
        assert_eq!(read(&frame(b"abc"), Framing::Fixed, false), Ok(vec![(vec![], frame(b"abc"))]));
    }

    #[test]
    fn a_record_is_ready_when_nothing_has_to_be_waited_for() {
        let check = |input: &[u8], framing, keyed, ready: bool| {
            let mut input = BufReader::new(input);
            input.fill_buf().unwrap();
            assert_eq!(Records::new(input, framing, keyed).is_ready(), ready);
        };
        check(b"", Framing::Lines, false, false);
        check(b"half", Framing::Lines, false, false);
        check(b"one\nhalf", Framing::Lines, false, true);
        check(b"key\nhalf", Framing::Lines, true, false);
        check(b"key\nrecord\n", Framing::Lines, true, true);
        let (one, mut half) = (frame(b"abc"), frame(b"abc"));
        half.pop();
        check(&one, Framing::Fixed, false, true);
        check(&one[..7], Framing::Fixed, false, false);
        check(&half, Framing::Fixed, false, false);
        check(&[one.clone(), half].concat(), Framing::Fixed, true, false);
        check(&[one.clone(), one].concat(), Framing::Fixed, true, true);
    }

    #[test]
    fn bad_frames_are_refused() {
        let mut cut = frame(b"abc");
        cut.pop();
        let huge = [&MAGIC[..], &[0xff; 4]].concat();
        for (input, expected) in [
            (&b"66339336........"[..], "frame 1: does not begin with 66 33 93 36"),
            (b"\x66\x33", "frame 1: ends within its header"),
            (&cut, "frame 1: ends after 2 of 3 bytes"),
            (&huge, "frame 1: is longer than 268435456 bytes"),
        ] {
            assert_eq!(read(input, Framing::Fixed, false), Err(expected.to_owned()));
        }
    }
}
