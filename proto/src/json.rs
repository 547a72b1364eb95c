//! Pure: the messages as JSON, after protobuf's mapping: 64-bit numbers are strings, bytes are base64, enums are
//! names, durations read like `60s`, and what is zero is told as well.
//!
//! One table of fields serves both spellings of names: the original ones, which tools print, and the camel case
//! of the HTTP gateway. What is read may use either, and null is as good as nothing; a field that is unknown or
//! given twice is refused. It does not know HTTP, nor whether a message is valid.
//!
//! ```
//! use courant_proto::{json, wire};
//!
//! let request: wire::ReadRequest = json::from_slice(br#"{"journal": "acme/events", "offset": "-1"}"#)?;
//! assert_eq!(request.offset, -1);
//! let response = wire::ReadResponse { write_head: 7, ..Default::default() };
//! assert!(json::to_string(&response, json::Naming::LowerCamel).contains(r#""writeHead":"7""#));
//! # Ok::<(), courant_proto::invalid::Invalid>(())
//! ```

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use crate::invalid::Invalid;

mod base64;
mod kinds;
mod table;
#[cfg(test)]
mod tests;

pub use base64::decode as decode_base64;
pub use table::Message;

/// How the fields of a message are spelled when it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// As the protocol declares them, like `write_head`.
    Original,
    /// As grpc-gateway and most JSON of protobuf spell them, like `writeHead`.
    LowerCamel,
}

/// A message that serialises as its JSON form, alone or inside of something larger.
#[derive(Debug)]
pub struct Json<'a, M> {
    message: &'a M,
    naming: Naming,
}

impl<'a, M: Message> Json<'a, M> {
    /// The JSON form of a message.
    pub const fn new(message: &'a M, naming: Naming) -> Self {
        Self { message, naming }
    }
}

impl<M: Message> Serialize for Json<'_, M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.message.write(self.naming, serializer)
    }
}

/// The message as JSON on one line, without a line feed.
pub fn to_string<M: Message>(message: &M, naming: Naming) -> String {
    // Keys are strings and numbers are whole, which leaves nothing that JSON could not say.
    serde_json::to_string(&Json::new(message, naming)).unwrap_or_default()
}

/// Reads a message. A text of nothing but white space is the message of nothing but zeros.
///
/// # Errors
/// Where the text is not JSON, or holds what the message has not, with its line and column.
pub fn from_slice<M: Message>(text: &[u8]) -> Result<M, Invalid> {
    if text.trim_ascii().is_empty() {
        return Ok(M::default());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let read = M::read(&mut deserializer).and_then(|message| deserializer.end().map(|()| message));
    read.map_err(|error| Invalid::new(error.to_string()))
}

/// A field's name in camel case: each underscore goes, and the letter after it is raised.
fn camel(name: &str) -> Cow<'_, str> {
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    let mut raised = String::with_capacity(name.len());
    let mut up = false;
    for c in name.chars() {
        if c == '_' {
            up = true;
        } else {
            raised.push(if up { c.to_ascii_uppercase() } else { c });
            up = false;
        }
    }
    Cow::Owned(raised)
}
