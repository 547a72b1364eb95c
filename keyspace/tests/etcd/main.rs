//! The crate against the etcd v3 API, served in this process.

mod lease;
mod mirror;
mod support;
