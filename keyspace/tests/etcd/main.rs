//! The crate against the etcd v3 API: served in this process, and by a real etcd.

mod lease;
mod mirror;
mod real;
mod support;
