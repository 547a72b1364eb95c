//! Pure: protobuf's wire format: fields one after the other.

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};

use super::super::Damaged;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;
/// Of a field's number and type, or of its value.
const MOST_VARINT: usize = 10;

/// One field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: Value<'a>,
    /// Where the value stands in the whole message.
    pub(super) at: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of a type that no field of ours has.
    Other,
}

impl<'a> Field<'a> {
    pub(super) fn bytes(&self) -> Result<&'a [u8], Damaged> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong("another wire type (expected one with a length)")),
        }
    }

    pub(super) fn wrong(&self, what: impl Into<Cow<'static, str>>) -> Damaged {
        Damaged::new(self.at, format!("field {}: {}", self.number, what.into()))
    }
}

/// The fields of a message.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    /// Where the rest stands in the whole message.
    at: usize,
}

impl<'a> Fields<'a> {
    /// Of a message that begins at byte `at` of the whole.
    pub(super) fn of(message: &'a [u8], at: usize) -> Self {
        Self { rest: message, at }
    }

    fn field(&mut self) -> Result<Field<'a>, Damaged> {
        let begin = self.at;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number =
            number.ok_or_else(|| Damaged::new(begin, "a field number that protobuf does not have"))?;
        let (at, value) = match tag & 7 {
            VARINT => (self.at, Value::Varint(self.varint()?)),
            LENGTH => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                (self.at, Value::Bytes(self.take(length)?))
            }
            FIXED64 => (self.at, self.take(8).map(|_| Value::Other)?),
            FIXED32 => (self.at, self.take(4).map(|_| Value::Other)?),
            _ => return Err(Damaged::new(begin, format!("field {number}: a wire type that is not in use"))),
        };
        Ok(Field { number, value, at })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.truncated());
        };
        self.rest = rest;
        self.at += length;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for (index, byte) in self.rest.iter().take(MOST_VARINT).enumerate() {
            // Of the tenth byte only one bit has room.
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.take(index + 1)?;
                return Ok(value);
            }
        }
        Err(if self.rest.len() < MOST_VARINT {
            self.truncated()
        } else {
            Damaged::new(self.at, "a number of more than 10 bytes")
        })
    }

    fn truncated(&self) -> Damaged {
        Damaged::new(self.at, "the protobuf ends too early")
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| {
            let field = self.field();
            if field.is_err() {
                self.rest = &[];
            }
            field
        })
    }
}

pub(super) fn put_bytes(number: u32, bytes: &[u8], out: &mut BytesMut) {
    put_varint(u64::from(number) << 3 | LENGTH, out);
    put_varint(bytes.len() as u64, out);
    out.put_slice(bytes);
}

/// An entry of a map. As elsewhere, what is empty is left out.
pub(super) fn put_entry(number: u32, key: (u32, &[u8]), value: (u32, &[u8]), out: &mut BytesMut) {
    let present = || [key, value].into_iter().filter(|(_, bytes)| !bytes.is_empty());
    let length = |(_, bytes): (u32, &[u8])| 1 + varint_length(bytes.len() as u64) + bytes.len();
    put_varint(u64::from(number) << 3 | LENGTH, out);
    put_varint(present().map(length).sum::<usize>() as u64, out);
    present().for_each(|(number, bytes)| put_bytes(number, bytes, out));
}

/// A message of numbers. As elsewhere, what is zero is left out.
pub(super) fn put_numbers(number: u32, numbers: [(u32, u64); 2], out: &mut BytesMut) {
    let present = || numbers.into_iter().filter(|(_, value)| *value != 0);
    put_varint(u64::from(number) << 3 | LENGTH, out);
    put_varint(present().map(|(_, value)| 1 + varint_length(value)).sum::<usize>() as u64, out);
    for (number, value) in present() {
        put_varint(u64::from(number) << 3 | VARINT, out);
        put_varint(value, out);
    }
}

fn put_varint(mut value: u64, out: &mut BytesMut) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn varint_length(value: u64) -> usize {
    let bits = 64 - value.leading_zeros() as usize;
    bits.max(1).div_ceil(7)
}
