//! The words of the protocol, on the wire and in the type system.
//!
//! [`wire`] holds the generated messages. Everything else is the domain: values that were checked once, where
//! they came in, and are right from there on.

#![warn(missing_docs)]

pub mod codec;
pub mod duration;
pub mod endpoint;
pub mod fragment;
pub mod header;
pub mod id;
pub mod invalid;
pub mod json;
pub mod label;
pub mod name;
pub mod nesting;
pub mod offset;
mod quote;
pub mod registers;
pub mod route;
pub mod selector;
pub mod spec;
pub mod status;
pub mod store;
pub mod template;
pub mod time;
pub mod token;
pub mod tree;
mod uri;
pub mod validate;

pub mod service;
pub mod wire;

pub use codec::Codec;
pub use endpoint::Endpoint;
pub use fragment::{ContentSum, Fragment};
pub use header::{Etcd, Header};
pub use id::ProcessId;
pub use invalid::Invalid;
pub use label::{Label, LabelSet};
pub use name::{JournalName, RequestName};
pub use nesting::{NestingConflict, nesting_conflict};
pub use offset::{Offset, ReadFrom};
pub use registers::Registers;
pub use route::Route;
pub use selector::LabelSelector;
pub use spec::{BrokerSpec, Flags, FragmentSpec, JournalSpec, Suspend, SuspendLevel};
pub use status::Status;
pub use store::{StoreScheme, StoreUrl};
pub use time::{Clock, Timestamp};
pub use validate::Validate;
