//! Shards: programs that process journals with state, so that each message has its effect once, whatever crashes.
//!
//! A shard reads some journals, its sources. Its [`Application`] consumes their committed messages in transactions: it changes what is kept in a
//! [`Store`], and publishes to other journals. All of a transaction happens, and its sources count as read, or none of it.
//!
//! ```text
//!  sources ─► run: messages ─► engine: transactions ─► application ─► view
//!                                  │                                   │ changes
//!                                  ├─► outputs: messages, held back    ▼
//!                                  ├─► the shard's journal: changes and checkpoint, in one record
//!                                  └─► outputs: acknowledgements
//! ```
//!
//! | to know | read |
//! |---|---|
//! | what a transaction is, and in which order what happens | [`engine`] |
//! | what a program looks like | [`Application`] |
//! | how one is run | [`run()`] |
//! | how many are spread over processes | [`host()`] |
//!
//! A shard is run by whoever calls [`run()`]; who takes its journal over ends the run of whoever had it before. [`host()`] does so for the shards that
//! a member of a group is assigned, and follows those of others as their hot standby.

#![warn(missing_docs)]

mod application;
mod changes;
mod content;
pub mod engine;
mod error;
mod host;
mod journal;
mod output;
mod owner;
mod record;
mod run;
mod source;
mod store;
mod topic;
mod view;

pub use self::application::{Application, Flow, Transaction};
pub use self::content::{Content, Incoming};
pub use self::engine::Options;
pub use self::error::{BoxError, Error, PublishError};
pub use self::host::{HostError, HostPorts, Membership, Program, ShardSpec, host};
pub use self::owner::Owner;
pub use self::run::{Ports, Shard, Source, run};
pub use self::store::{JournalStore, Standby, Store};
pub use self::topic::Topic;
pub(crate) use self::view::blocking;
pub use self::view::{Scan, View, ViewFile};
