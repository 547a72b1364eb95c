//! Pure: pieces of an access log that tell of themselves. Found anywhere, a piece says who wrote it, as which of his,
//! at which attempt, and whether it is whole.
//!
//! ```text
//! #piece writer=00000003 sequence=00000011 attempt=00000000 seed=… length=… crc=…⏎     the first line, of fixed length
//! 203.0.113.7 - - [17/May/2015:08:05:32 +0000] "GET /downloads/7 HTTP/1.1" 200 3316 …⏎  lines that the seed decides
//! ```

use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Lines of a piece, its first one included.
pub const LINES: usize = 100;

const MAGIC: &str = "#piece ";
/// `name=` and eight digits in base 16 for each field, a space or the line's end after it.
const FIELDS: [&str; 6] = ["writer", "sequence", "attempt", "seed", "length", "crc"];
const DIGITS: usize = 8;

/// Which piece it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Who wrote it.
    pub writer: u32,
    /// Which of his pieces: they count from zero.
    pub sequence: u32,
    /// Which attempt to append it. Two of them are told apart, and the same one twice is a duplicate.
    pub attempt: u32,
}

/// A piece found in content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub id: Id,
    /// Of its first byte in the content.
    pub begin: usize,
    /// Of the byte after its last.
    pub end: usize,
}

/// Content that is no piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where the piece should begin.
    pub at: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// A piece of [`LINES`] lines, whole.
pub fn piece(id: Id, seed: u32) -> Vec<u8> {
    piece_of(id, seed, LINES)
}

/// A piece of so many lines, its first one included, whole.
pub fn piece_of(id: Id, seed: u32, lines: usize) -> Vec<u8> {
    let body = body(seed, lines.saturating_sub(1));
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut head = String::from(MAGIC);
    for (name, value) in FIELDS.iter().zip([id.writer, id.sequence, id.attempt, seed, length]) {
        // Writing to a string does not fail.
        let _ = write!(head, "{name}={value:0DIGITS$x} ");
    }
    let sum = crc32c::crc32c_append(crc32c::crc32c(head.as_bytes()), body.as_bytes());
    let _ = writeln!(head, "crc={sum:0DIGITS$x}");
    head.push_str(&body);
    head.into_bytes()
}

/// All pieces of content that consists of pieces.
///
/// # Errors
/// The first place where it does not.
pub fn pieces(content: &[u8]) -> Result<Vec<Found>, Torn> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < content.len() {
        let (id, length) = first(&content[at..]).map_err(|reason| Torn { at, reason })?;
        found.push(Found { id, begin: at, end: at + length });
        at += length;
    }
    Ok(found)
}

/// The piece that content begins with, and its length.
fn first(content: &[u8]) -> Result<(Id, usize), String> {
    let head_length = MAGIC.len() + FIELDS.iter().map(|name| name.len() + 2 + DIGITS).sum::<usize>();
    let head = content.get(..head_length).ok_or("the first line is cut off")?;
    let head = std::str::from_utf8(head).map_err(|_| "the first line is not text")?;
    let mut rest = head.strip_prefix(MAGIC).ok_or_else(|| format!("the first line is {head:?}"))?;
    let mut values = [0; FIELDS.len()];
    for (name, value) in FIELDS.iter().zip(&mut values) {
        let digits = rest.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')?.get(..DIGITS));
        let digits = digits.ok_or_else(|| format!("no {name} in {head:?}"))?;
        *value = u32::from_str_radix(digits, 16).map_err(|_| format!("{name} in {head:?} is no number"))?;
        rest = &rest[name.len() + 2 + DIGITS..];
    }
    let [writer, sequence, attempt, seed, length, sum] = values;
    let length = head_length + length as usize;
    let whole = content.get(..length).ok_or_else(|| format!("{} of {length} bytes", content.len()))?;
    let summed = head_length - "crc=".len() - DIGITS - 1;
    let body = &whole[head_length..];
    if sum != crc32c::crc32c_append(crc32c::crc32c(&whole[..summed]), body)
        || body != self::body(seed, body.iter().filter(|byte| **byte == b'\n').count()).as_bytes()
    {
        return Err("its bytes are not those that were written".to_owned());
    }
    Ok((Id { writer, sequence, attempt }, length))
}

/// Lines such as web servers write.
fn body(seed: u32, lines: usize) -> String {
    const PAGES: [&str; 6] = [
        "/",
        "/downloads/product_1",
        "/downloads/product_2",
        "/favicon.ico",
        "/blog/2015/05/tail",
        "/search?q=log",
    ];
    const AGENTS: [&str; 4] = [
        "Debian APT-HTTP/1.3 (0.8.16~exp12ubuntu10.21)",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/118.0 Safari/537.36",
        "curl/7.88.1",
        "Wget/1.13.4 (linux-gnu)",
    ];
    let mut rng = StdRng::seed_from_u64(seed.into());
    let mut text = String::with_capacity(lines * 160);
    for _ in 0..lines {
        let (a, b) = (rng.random_range(0..256_u32), rng.random_range(0..256_u32));
        let (hour, minute, second) =
            (rng.random_range(0..24_u32), rng.random_range(0..60_u32), rng.random_range(0..60_u32));
        let page = PAGES[rng.random_range(0..PAGES.len())];
        let agent = AGENTS[rng.random_range(0..AGENTS.len())];
        let status = [200, 200, 200, 304, 404, 500][rng.random_range(0..6_usize)];
        let bytes = rng.random_range(0..100_000_u32);
        let _ = writeln!(
            text,
            "203.0.{a}.{b} - - [17/May/2015:{hour:02}:{minute:02}:{second:02} +0000] \"GET {page} HTTP/1.1\" {status} {bytes} \"-\" \"{agent}\""
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Id = Id { writer: 3, sequence: 17, attempt: 1 };

    #[test]
    fn pieces_are_recognised() {
        let other = Id { sequence: 18, ..ID };
        let (a, b) = (piece(ID, 7), piece(other, 8));
        assert_eq!(a.iter().filter(|byte| **byte == b'\n').count(), LINES);
        let found = pieces(&[a.clone(), b.clone()].concat()).expect("two pieces");
        let (end, both) = (a.len(), a.len() + b.len());
        assert_eq!(found, [Found { id: ID, begin: 0, end }, Found { id: other, begin: end, end: both }]);
        assert_eq!(pieces(b""), Ok(Vec::new()));
    }

    #[test]
    fn every_way_to_tear_a_piece_is_noticed() {
        let whole = piece(ID, 7);
        for cut in [1, 6, 40, 105, 106, 200, whole.len() - 1] {
            assert!(pieces(&whole[..cut]).is_err(), "cut at {cut}");
            assert!(pieces(&whole[cut..]).is_err(), "begun at {cut}");
            let mut flipped = whole.clone();
            flipped[cut] ^= 1;
            assert!(pieces(&flipped).is_err(), "flipped at {cut}");
        }
        let twice_begun = [&whole[..500], &whole[..]].concat();
        assert_eq!(pieces(&twice_begun).map_err(|torn| torn.at), Err(0));
        for lines in [1, 2, 7] {
            let short = piece_of(ID, 7, lines);
            assert_eq!(short.iter().filter(|byte| **byte == b'\n').count(), lines);
            assert_eq!(pieces(&short).map(|found| found.len()), Ok(1));
            assert!(pieces(&short[..short.len() - 1]).is_err());
        }
        let stray = [&whole[..], b"stray"].concat();
        assert_eq!(pieces(&stray).map_err(|torn| torn.at), Err(whole.len()));
    }
}
