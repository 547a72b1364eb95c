//! The generated messages and stubs of the protocol, re-exported and otherwise untouched.

#![allow(
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::use_self
)]

mod generated {
    pub mod protocol {
        tonic::include_proto!("protocol");
    }

    pub mod courant {
        tonic::include_proto!("courant");
    }

    pub mod consumer {
        tonic::include_proto!("consumer");
    }
}

/// What consumers keep, as Gazette's do.
pub use generated::consumer;
/// What Courant's own brokers tell each other, and their operators; the messages of topics; and what journals of shards hold.
pub use generated::courant;
pub use generated::protocol::*;
