//! What brokers say to each other, besides the Journal service that everybody speaks: how far logs know journals, and what they hold.
//!
//! ```text
//!  replication, proxies ──► client ──► channels ──► another broker
//!                another broker ──► service ──► the core that owns the journal
//! ```
//!
//! It carries questions and answers, and decides nothing of what follows from them.

pub(crate) mod channels;
pub(crate) mod client;
pub(crate) mod gone;
pub(crate) mod service;
