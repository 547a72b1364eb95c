//! Pure: messages as `courant.Message` (`proto/message.proto`).
//!
//! Read and written in place, without the generated type: nothing is allocated for a message, and no body is copied but into its frame.

mod fields;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::BytesMut;
use courant_proto::Timestamp;

use self::fields::{Field, Fields, Value};
use super::{Body, Damaged, Envelope, Meta};
use crate::framing::fixed::{self, PayloadTooLong};
use crate::uuid::Uuid;

const UUID: u32 = 1;
const KEY: u32 = 2;
const TIME: u32 = 3;
const ATTRIBUTES: u32 = 4;
const TAGS: u32 = 5;
const CONTENT_TYPE: u32 = 6;
const BODY: u32 = 7;

/// Within a Timestamp.
const SECONDS: u32 = 1;
const NANOS: u32 = 2;
/// Within an entry of a map.
const ENTRY_KEY: u32 = 1;
const ENTRY_VALUE: u32 = 2;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Appends a message as one frame.
///
/// # Errors
/// When it takes 4 GiB or more. Then nothing is appended.
pub fn append(meta: &Meta<'_>, body: &[u8], out: &mut BytesMut) -> Result<(), PayloadTooLong> {
    if u32::try_from(body.len()).is_err() {
        return Err(PayloadTooLong { length: body.len() });
    }
    out.reserve(body.len() + 64);
    fixed::append_with(out, |out| {
        if !meta.uuid.is_nil() {
            fields::put_bytes(UUID, meta.uuid.as_bytes(), out);
        }
        put_text(KEY, &meta.key, out);
        if let Some(time) = meta.time {
            let nanos = time.nanos().rem_euclid(NANOS_PER_SECOND);
            let parts = [(SECONDS, time.secs().cast_unsigned()), (NANOS, nanos.cast_unsigned())];
            fields::put_numbers(TIME, parts, out);
        }
        for (name, value) in &meta.attributes {
            fields::put_entry(ATTRIBUTES, (ENTRY_KEY, name.as_bytes()), (ENTRY_VALUE, value.as_bytes()), out);
        }
        meta.tags.iter().for_each(|tag| fields::put_bytes(TAGS, tag.as_bytes(), out));
        put_text(CONTENT_TYPE, &meta.content_type, out);
        if !body.is_empty() {
            fields::put_bytes(BODY, body, out);
        }
    })
}

fn put_text(number: u32, text: &str, out: &mut BytesMut) {
    if !text.is_empty() {
        fields::put_bytes(number, text.as_bytes(), out);
    }
}

/// The UUID of a payload: at once where it stands first, as it is written here.
pub(super) fn peek(payload: &[u8]) -> Result<Uuid, Damaged> {
    match payload.first_chunk::<18>() {
        // The field's number and type, and its length.
        Some([0x0a, 16, uuid @ ..]) => Ok(Uuid::from_bytes(*uuid)),
        _ => Ok(decode(payload)?.meta.uuid),
    }
}

/// Reads a payload. Of a field that stands there twice the last one counts; those that are not known are passed over.
pub(super) fn decode(payload: &[u8]) -> Result<Envelope<'_>, Damaged> {
    let mut meta = Meta::default();
    let mut body: &[u8] = &[];
    for field in Fields::of(payload, 0) {
        let field = field?;
        match field.number {
            UUID => {
                let bytes = field.bytes()?;
                let uuid = <[u8; 16]>::try_from(bytes)
                    .or_else(|error| if bytes.is_empty() { Ok([0; 16]) } else { Err(error) })
                    .map_err(|_| field.wrong(format!("a uuid of {} bytes (expected 16)", bytes.len())))?;
                meta.uuid = Uuid::from_bytes(uuid);
            }
            KEY => meta.key = text(&field)?,
            TIME => meta.time = Some(time(&field)?),
            ATTRIBUTES => {
                let (name, value) = entry(&field)?;
                meta.attributes.insert(name, value);
            }
            TAGS => meta.tags.push(text(&field)?),
            CONTENT_TYPE => meta.content_type = text(&field)?,
            BODY => body = field.bytes()?,
            _ => {}
        }
    }
    Ok(Envelope { meta, body: Body::whole(body) })
}

fn text<'a>(field: &Field<'a>) -> Result<Cow<'a, str>, Damaged> {
    let text = std::str::from_utf8(field.bytes()?);
    text.map(Cow::Borrowed).map_err(|_| field.wrong("no UTF-8 (expected text)"))
}

fn entry<'a>(field: &Field<'a>) -> Result<(Cow<'a, str>, Cow<'a, str>), Damaged> {
    let (mut name, mut value) = (Cow::default(), Cow::default());
    for part in Fields::of(field.bytes()?, field.at) {
        let part = part?;
        match part.number {
            ENTRY_KEY => name = text(&part)?,
            ENTRY_VALUE => value = text(&part)?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn time(field: &Field<'_>) -> Result<Timestamp, Damaged> {
    let (mut seconds, mut nanos) = (0, 0);
    for part in Fields::of(field.bytes()?, field.at) {
        let part = part?;
        match (part.number, part.value) {
            (SECONDS, Value::Varint(value)) => seconds = value.cast_signed(),
            (NANOS, Value::Varint(value)) => nanos = value.cast_signed(),
            (SECONDS | NANOS, _) => return Err(part.wrong("expected a number")),
            _ => {}
        }
    }
    // In 128 bits, as the first representable moment has more seconds than its nanoseconds can hold.
    let sum = i128::from(seconds) * i128::from(NANOS_PER_SECOND) + i128::from(nanos);
    let sum = i64::try_from(sum).ok().filter(|_| (0..NANOS_PER_SECOND).contains(&nanos));
    let sum = sum.ok_or_else(|| field.wrong("a time out of range (expected 1677 to 2262)"))?;
    Ok(Timestamp::from_nanos(sum))
}
