//! The generated messages and stubs of the protocol, re-exported and otherwise untouched.

#![allow(
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::use_self
)]

tonic::include_proto!("protocol");
