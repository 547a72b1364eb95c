//! Pure: the member `_meta`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::{BufMut as _, BytesMut};
use courant_proto::Timestamp;

use super::super::{Damaged, Meta};
use super::scan::{Cursor, Span};
use super::{BEGIN, Encoding, text};
use crate::uuid::Uuid;

const UUID: &str = "uuid";

/// Appends the begin of a line, up to the end of the member. Empty fields are left out, but for the UUID.
pub(super) fn append(meta: &Meta<'_>, encoding: Option<Encoding>, out: &mut BytesMut) {
    out.put_slice(BEGIN);
    out.put_slice(&meta.uuid.to_text());
    out.put_u8(b'"');
    if !meta.key.is_empty() {
        out.put_slice(b",\"key\":");
        text::append_quoted(&meta.key, out);
    }
    if let Some(time) = meta.time {
        // Writing into memory does not fail.
        let _ = write!(out, ",\"time\":\"{time}\"");
    }
    if !meta.attributes.is_empty() {
        out.put_slice(b",\"attributes\":{");
        for (index, (name, value)) in meta.attributes.iter().enumerate() {
            if index > 0 {
                out.put_u8(b',');
            }
            text::append_quoted(name, out);
            out.put_u8(b':');
            text::append_quoted(value, out);
        }
        out.put_u8(b'}');
    }
    if !meta.tags.is_empty() {
        out.put_slice(b",\"tags\":[");
        for (index, tag) in meta.tags.iter().enumerate() {
            if index > 0 {
                out.put_u8(b',');
            }
            text::append_quoted(tag, out);
        }
        out.put_u8(b']');
    }
    if !meta.content_type.is_empty() {
        out.put_slice(b",\"contentType\":");
        text::append_quoted(&meta.content_type, out);
    }
    if let Some(encoding) = encoding {
        out.put_slice(b",\"encoding\":\"");
        out.put_slice(encoding.name().as_bytes());
        out.put_u8(b'"');
    }
    out.put_u8(b'}');
}

/// Reads the member's value. None if it is not ours: no object, or one without a `uuid`. Members that are not known are passed over.
pub(super) fn read(text: &str, value: Span) -> Result<Option<(Meta<'_>, Option<Encoding>)>, Damaged> {
    let inside = &text[value.range()];
    if !inside.starts_with('{') {
        return Ok(None);
    }
    let (mut meta, mut encoding, mut is_ours, mut damage) = (Meta::default(), None, false, None);
    Cursor::new(inside).object(|member| {
        let key = member.key(inside);
        let is_again = key == UUID && is_ours;
        is_ours |= key == UUID;
        let taken = if is_again {
            Err("a second \"uuid\" (expected one)".to_owned())
        } else {
            set(&mut meta, &mut encoding, &key, &inside[member.value.range()])
        };
        if let Err(what) = taken {
            damage.get_or_insert(Damaged::new(value.start + member.value.start, what));
        }
        Ok(())
    })?;
    match damage {
        _ if !is_ours => Ok(None),
        Some(damage) => Err(damage),
        None => Ok(Some((meta, encoding))),
    }
}

/// Takes what a member says, or tells what is wrong with it.
fn set<'a>(
    meta: &mut Meta<'a>,
    encoding: &mut Option<Encoding>,
    key: &str,
    value: &'a str,
) -> Result<(), String> {
    let expected = |what: &str| format!("{key:?}: {} (expected {what})", shown(value));
    let string = || text::unquote(value).ok_or_else(|| expected("a string"));
    match key {
        UUID => meta.uuid = Uuid::parse(string()?.as_bytes()).map_err(|error| error.to_string())?,
        "key" => meta.key = string()?,
        "time" => {
            let time = string()?.parse::<jiff::Timestamp>().ok();
            let nanos = time.and_then(|time| i64::try_from(time.as_nanosecond()).ok());
            let nanos = nanos.ok_or_else(|| expected("a time of RFC 3339, from 1677 to 2262"))?;
            meta.time = Some(Timestamp::from_nanos(nanos));
        }
        "attributes" => {
            meta.attributes = attributes(value).ok_or_else(|| expected("an object of strings"))?;
        }
        "tags" => meta.tags = tags(value).ok_or_else(|| expected("an array of strings"))?,
        "contentType" => meta.content_type = string()?,
        "encoding" => {
            *encoding = Some(match &*string()? {
                "text" => Encoding::Text,
                "base64" => Encoding::Base64,
                _ => return Err(expected("\"text\" or \"base64\"")),
            });
        }
        _ => {}
    }
    Ok(())
}

/// The strings of an object, by name, which is known to be JSON.
fn attributes(object: &str) -> Option<BTreeMap<Cow<'_, str>, Cow<'_, str>>> {
    let (mut attributes, mut is_strings) = (BTreeMap::new(), object.starts_with('{'));
    let walked = Cursor::new(object).object(|attribute| {
        match text::unquote(&object[attribute.value.range()]) {
            Some(value) => drop(attributes.insert(attribute.key(object), value)),
            None => is_strings = false,
        }
        Ok(())
    });
    (walked.is_ok() && is_strings).then_some(attributes)
}

/// The strings of an array, which is known to be JSON.
fn tags(array: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut rest = array.strip_prefix('[')?.trim_ascii_start();
    let mut tags = Vec::new();
    while !rest.starts_with(']') {
        let length = Cursor::new(rest).string_length()?;
        tags.push(text::unquote(&rest[..length])?);
        rest = rest[length..].trim_ascii_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_ascii_start();
    }
    Some(tags)
}

/// The begin of a value, for people.
fn shown(value: &str) -> Cow<'_, str> {
    let mut shown: String = value.chars().take(64).flat_map(char::escape_default).collect();
    if value.chars().nth(64).is_some() {
        shown.push('…');
    }
    shown.into()
}
