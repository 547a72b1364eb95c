//! Pure: JSON strings, to and from the text that they mean.

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};

/// Appends a text as a JSON string. Escaped is only what has to be.
pub(super) fn append_quoted(text: &str, out: &mut BytesMut) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.put_u8(b'"');
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let escape = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..b' ' => b'u',
            _ => continue,
        };
        out.put_slice(&bytes[written..at]);
        out.put_slice(&[b'\\', escape]);
        if escape == b'u' {
            let digit = b"0123456789abcdef"[usize::from(byte & 0xf)];
            out.put_slice(&[b'0', b'0', b'0' + (byte >> 4), digit]);
        }
        written = at + 1;
    }
    out.put_slice(&bytes[written..]);
    out.put_u8(b'"');
}

/// Appends JSON with a space for each line break. In JSON these stand between tokens alone.
pub(super) fn append_on_one_line(json: &[u8], out: &mut BytesMut) {
    let mut rest = json;
    while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
        out.put_slice(&rest[..end]);
        out.put_u8(b' ');
        rest = &rest[end + 1..];
    }
    out.put_slice(rest);
}

/// The text that a JSON string means; half a surrogate pair becomes U+FFFD. None for what is no string. Its escapes have been checked.
pub(super) fn unquote(string: &str) -> Option<Cow<'_, str>> {
    let inside = string.strip_prefix('"')?.strip_suffix('"')?;
    let Some(first) = memchr::memchr(b'\\', inside.as_bytes()) else {
        return Some(Cow::Borrowed(inside));
    };
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    let mut next = Some(first);
    while let Some(at) = next {
        text.push_str(&rest[..at]);
        let (meant, length) = escape(&rest.as_bytes()[at..])?;
        text.push(meant);
        rest = &rest[at + length..];
        next = memchr::memchr(b'\\', rest.as_bytes());
    }
    text.push_str(rest);
    Some(Cow::Owned(text))
}

/// What an escape means, and its length.
fn escape(escape: &[u8]) -> Option<(char, usize)> {
    let plain = |meant| Some((meant, 2));
    match escape.get(1)? {
        b'b' => plain('\u{8}'),
        b'f' => plain('\u{c}'),
        b'n' => plain('\n'),
        b'r' => plain('\r'),
        b't' => plain('\t'),
        b'u' => {
            let first = unit(escape.get(2..6)?)?;
            let second =
                escape.get(6..12).filter(|next| next.starts_with(b"\\u")).and_then(|next| unit(&next[2..]));
            let pair = [first, second.unwrap_or_default()];
            match char::decode_utf16(pair).next()? {
                Ok(meant) if meant.len_utf16() == 2 => Some((meant, 12)),
                Ok(meant) => Some((meant, 6)),
                Err(_) => Some((char::REPLACEMENT_CHARACTER, 6)),
            }
        }
        &other => plain(char::from(other)),
    }
}

/// The value of four hexadecimal digits.
pub(super) fn unit(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0_u16, |unit, &digit| {
        let value = u16::try_from(char::from(digit).to_digit(16)?).ok()?;
        Some(unit << 4 | value)
    })
}
