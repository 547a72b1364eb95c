//! The etcd v3 API served by one process: the default registry of a single-node system, and the simulated one.
//!
//! It speaks the API itself rather than an interface of our own, so that one code path coordinates a laptop, a
//! simulation and a cluster, and `etcdctl` can look into all three. It is one node, says so in its name and its log
//! line, and refuses to know replication: for that there is etcd.
//!
//! | from the outside in | |
//! |---|---|
//! | `registry` | the handle |
//! | `service` | the gRPC services, one file each |
//! | `engine` | the shared state, the commit loop, the expiry loop |
//! | `state`, `store`, `txn`, `range`, `lease`, `watch` | pure: what the answers are |
//! | `log`, `frame`, `record` | what is remembered, and how it lies on the disk |
//! | `disk` | the seam to the operating system's files |
//! | `conformance`, `differential` | what holds all this to a real etcd, behind the feature `conformance` |

mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
pub mod differential;
mod disk;
mod engine;
mod error;
mod frame;
mod key_range;
mod lease;
mod log;
mod range;
mod record;
mod refusal;
mod registry;
mod service;
mod state;
mod store;
mod txn;
mod watch;

pub use config::Config;
pub use error::Error;
pub use registry::Registry;
