//! Pure: messages as lines of JSON.
//!
//! A body that is a JSON object is spliced: the line is its text, with a member `_meta` in front. Its numbers, its duplicate keys and
//! the order of its members are what they were. The body is wrapped instead, as text under `data`, if
//!
//! - it is no JSON object, or no JSON;
//! - it has a member `_meta` itself, in any spelling: readers written in Go do not tell cases apart;
//! - a common reader would refuse the line: objects nested deeper than [`MOST_NESTED`], halves of surrogate pairs, numbers beyond 64-bit
//!   floats.
//!
//! What is no UTF-8 is wrapped in base64. `_meta.encoding` says that a body is wrapped, and how, so that an object with a member `data` is
//! never taken for one. A member `_meta` without a `uuid` is not ours, and belongs to the body; a line without one is a message without a UUID.

mod meta;
mod scan;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, BytesMut};

use self::scan::{Cursor, Member};
use super::{Body, Damaged, Envelope, Meta};
use crate::uuid::{TEXT_LENGTH, Uuid};

/// Bodies that are nested deeper are wrapped, as many readers take no more.
pub const MOST_NESTED: usize = 127;

const META: &str = "_meta";
const DATA: &str = "data";
/// What a line begins with that was written here.
const BEGIN: &[u8] = b"{\"_meta\":{\"uuid\":\"";

/// How a body that is no part of the line's object is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Text,
    Base64,
}

impl Encoding {
    const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Base64 => "base64",
        }
    }
}

/// Appends a message as one line, with its newline.
pub fn append(meta: &Meta<'_>, body: &[u8], out: &mut BytesMut) {
    out.reserve(body.len() + 96);
    let text = std::str::from_utf8(body);
    if let Some(members) = text.ok().and_then(splice) {
        meta::append(meta, None, out);
        if !members.is_empty() {
            out.put_u8(b',');
            text::append_on_one_line(members, out);
        }
    } else if let Ok(text) = text {
        meta::append(meta, Some(Encoding::Text), out);
        out.put_slice(b",\"data\":");
        text::append_quoted(text, out);
    } else {
        meta::append(meta, Some(Encoding::Base64), out);
        out.put_slice(b",\"data\":\"");
        append_base64(body, out);
        out.put_u8(b'"');
    }
    out.put_slice(b"}\n");
}

/// What stands between the braces of an object that may be spliced.
fn splice(text: &str) -> Option<&[u8]> {
    let mut cursor = Cursor::new(text);
    let mut free = true;
    let span = cursor
        .object(|member| {
            free &= !member.key(text).eq_ignore_ascii_case(META);
            Ok(())
        })
        .ok()?;
    let readable = cursor.deepest() <= MOST_NESTED && !cursor.is_unreadable();
    (free && readable).then(|| text.as_bytes()[span.start + 1..span.end - 1].trim_ascii())
}

fn append_base64(body: &[u8], out: &mut BytesMut) {
    // A multiple of 3 bytes, so that no part but the last is padded.
    let mut encoded = [0; 4096];
    for part in body.chunks(encoded.len() / 4 * 3) {
        let length = STANDARD.encode_slice(part, &mut encoded).unwrap_or(0);
        out.put_slice(&encoded[..length]);
    }
}

/// The UUID of a line: at once where the line begins as those written here do.
pub(super) fn peek(line: &[u8]) -> Result<Uuid, Damaged> {
    let begin = line.get(..BEGIN.len() + TEXT_LENGTH + 1);
    match begin.and_then(|begin| begin.strip_prefix(BEGIN)?.strip_suffix(b"\"")) {
        Some(text) if !text.contains(&b'\\') => {
            Uuid::parse(text).map_err(|error| Damaged::new(BEGIN.len(), error.to_string()))
        }
        _ => Ok(decode(line)?.meta.uuid),
    }
}

/// Reads a line, without its newline.
pub(super) fn decode(line: &[u8]) -> Result<Envelope<'_>, Damaged> {
    let text = std::str::from_utf8(line)
        .map_err(|error| Damaged::new(error.valid_up_to(), "no UTF-8 (expected JSON)"))?;
    let mut cursor = Cursor::new(text);
    if !cursor.is_at_object() {
        cursor.document()?;
        return Ok(Envelope { meta: Meta::default(), body: Body::whole(line) });
    }
    let (mut found, mut before, mut after, mut data) = (None, None, None, None);
    let mut previous: Option<Member> = None;
    cursor.object(|member| {
        let key = member.key(text);
        if key == META {
            if found.is_some() {
                return Err(Damaged::new(member.key.start, "a second member \"_meta\" (expected one)"));
            }
            (found, before) = (Some(member), previous);
        } else if found.is_some() && after.is_none() {
            after = Some(member);
        }
        if key == DATA {
            data = Some(member.value);
        }
        previous = Some(member);
        Ok(())
    })?;
    let Some(member) = found else {
        return Ok(Envelope { meta: Meta::default(), body: Body::whole(line) });
    };
    let Some((meta, encoding)) = meta::read(text, member.value)? else {
        return Ok(Envelope { meta: Meta::default(), body: Body::whole(line) });
    };
    let Some(encoding) = encoding else {
        // With it goes the comma that followed it or, if it was the last, stood before it.
        let cut = match (before, after) {
            (_, Some(after)) => member.key.start..after.key.start,
            (Some(before), None) => before.value.end..member.value.end,
            (None, None) => member.key.start..member.value.end,
        };
        let body = Body { head: Cow::Borrowed(&line[..cut.start]), tail: &line[cut.end..] };
        return Ok(Envelope { meta, body });
    };
    let missing =
        || Damaged::new(member.value.start, "\"encoding\" without a string \"data\" beside \"_meta\"");
    let value = data.ok_or_else(missing)?;
    let data = text::unquote(&text[value.range()]).ok_or_else(missing)?;
    let body = match (encoding, data) {
        (Encoding::Text, Cow::Borrowed(data)) => Body::whole(data.as_bytes()),
        (Encoding::Text, Cow::Owned(data)) => Body::whole(data.into_bytes()),
        (Encoding::Base64, data) => {
            let decoded = STANDARD.decode(data.as_bytes());
            Body::whole(decoded.map_err(|error| Damaged::new(value.start, format!("\"data\": {error}")))?)
        }
    };
    Ok(Envelope { meta, body })
}
