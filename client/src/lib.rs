//! Everything a program needs to read, append, list and watch journals.
//!
//! A [`Client`] is the handle to a broker: [`Client::connect`] over a network, [`Client::in_process`] within one
//! process. Its verbs:
//!
//! | verb | what it does |
//! |---|---|
//! | [`Client::append`] | appends content, whole or not at all, and tries again what may pass |
//! | [`Client::appender`] | one append, written piece by piece |
//! | [`Client::reader`] | a journal as a stream, across losses |
//! | [`Client::read`] | one read call, which ends when it ends |
//! | [`Client::head`] | where a journal ends |
//! | [`Client::list`], [`Client::watch`] | the journals that a selector matches, once or as a changing set |
//! | [`Client::apply`] | creates, updates and deletes journals |
//! | [`Client::fragments`], [`Client::fragment_pages`] | the fragments of a journal |
//! | [`Client::store_health`] | whether a fragment store works |
//! | [`Client::members`], [`Client::unsettled`], [`Client::lineage`] | the brokers of a cluster, the journals that are not in step, and who held a journal last; of Courant's brokers alone |
//!
//! Over a network a client learns from answers where journals are, and sends appends to the primary and reads to a member near it
//! ([`Client::in_zone`]). The address it was made with serves everything else, and stands in wherever a broker cannot be reached.
//!
//! Requests and what comes back are the messages of the protocol, [`courant_proto::wire`]. Answers are held
//! against the protocol before they are handed out. What a broker refuses is an [`Error::Refused`] with the
//! status and all that came with it; [`Error::is_transient`] tells what is worth another try.
//!
//! Reads go through brokers, which fetch stored fragments themselves. A [`Reader`] that is given a [`Direct`] fetches them from their
//! stores instead. Credentials and TLS towards brokers are not built yet.

mod append;
mod backoff;
mod check;
mod client;
mod cluster;
mod connect;
mod direct;
mod endpoint;
mod error;
#[cfg(test)]
mod fake;
mod fragments;
mod list;
mod network;
mod read;
mod routes;
mod transport;

pub use self::append::{Appended, Appender, Content};
pub use self::client::{Client, Options};
pub use self::direct::Direct;
pub use self::error::{Error, Refusal};
pub use self::list::{Change, Journals, Listing, Watch};
pub use self::read::{Gap, Metadata, ReadEvent, ReadStream, Reader};
