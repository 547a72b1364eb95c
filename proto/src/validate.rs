//! Pure: the rules of requests, responses and what they are made of.
//!
//! Brokers check requests, clients check responses. What a message is about, a journal that exists or an offset
//! that is the head, is not known here.

mod append;
mod apply;
mod fragments;
mod list;
mod read;
mod replicate;
#[cfg(test)]
mod tests;

use std::fmt::Display;

use crate::fragment::check_wire_fragment;
use crate::header::check_wire_header;
use crate::invalid::{Context, Invalid};
use crate::label::check_wire_set;
use crate::route::check_wire_route;
use crate::selector::check_wire_selector;
use crate::spec::{check_wire_broker, check_wire_journal};
use crate::status::Status;
use crate::{uri, wire};

/// A message of the wire that has rules.
pub trait Validate {
    /// Checks every rule, in Gazette's order, and reports the first that is broken.
    ///
    /// # Errors
    /// When a rule is broken; the text is Gazette's.
    fn validate(&self) -> Result<(), Invalid>;
}

impl Validate for wire::LabelSet {
    fn validate(&self) -> Result<(), Invalid> {
        check_wire_set(self, false)
    }
}

impl Validate for wire::LabelSelector {
    fn validate(&self) -> Result<(), Invalid> {
        check_wire_selector(self)
    }
}

impl Validate for wire::JournalSpec {
    fn validate(&self) -> Result<(), Invalid> {
        check_wire_journal(self)
    }
}

impl Validate for wire::BrokerSpec {
    fn validate(&self) -> Result<(), Invalid> {
        check_wire_broker(self)
    }
}

impl Validate for wire::Fragment {
    fn validate(&self) -> Result<(), Invalid> {
        check_wire_fragment(self)
    }
}

impl Validate for wire::Route {
    fn validate(&self) -> Result<(), Invalid> {
        check_wire_route(self)
    }
}

impl Validate for wire::Header {
    fn validate(&self) -> Result<(), Invalid> {
        check_wire_header(self)
    }
}

fn refuse(message: impl Into<String>) -> Result<(), Invalid> {
    Err(Invalid::new(message))
}

/// Refuses a message in which a field is set that has no place there.
///
/// What is named is written out only when it is refused: content is checked chunk by chunk.
fn unexpected(set: bool, what: impl Display) -> Result<(), Invalid> {
    if set { refuse(format!("unexpected {what}")) } else { Ok(()) }
}

/// Refuses a message in which a field is absent that it needs.
fn expected(present: bool, what: impl Display) -> Result<(), Invalid> {
    if present { Ok(()) } else { refuse(format!("expected {what}")) }
}

fn status(number: i32) -> Result<Status, Invalid> {
    Status::from_wire(number).within("Status")
}

/// Checks a field of a message where it is present.
fn optional<M: Validate>(message: Option<&M>, field: &str) -> Result<(), Invalid> {
    message.map_or(Ok(()), |message| message.validate().within(field))
}

/// Checks a field that is never absent for Gazette: absence is the message with every field at its default.
fn required<M: Validate + Default>(message: Option<&M>, field: &str) -> Result<(), Invalid> {
    match message {
        Some(message) => message.validate().within(field),
        None => M::default().validate().within(field),
    }
}

fn url(text: &str, field: &str) -> Result<(), Invalid> {
    uri::parse(text).map(drop).map_err(Invalid::new).within(field)
}
