//! What the process that composes a registry may choose about it: plain values, units in their types.
//!
//! Nothing here is read from the environment, and nothing here touches a clock or a file.

use std::time::Duration;

/// Settings of one registry. `Config::default()` suits a single-node system; only `seed` should always be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Entropy from the caller. It names a new cluster and the leases nobody named; the same seed gives the same
    /// names, which is what makes a simulation repeatable. A folder that already has a name keeps it.
    pub seed: u64,
    /// Revisions of history kept before the oldest are compacted away.
    pub history_revisions: i64,
    /// Bytes of keys and values that the history may hold before the oldest revisions are compacted away.
    pub history_bytes: usize,
    /// Bytes of log after which a snapshot is written and the log before it is dropped.
    pub log_bytes: u64,
    /// Bytes of records that may wait for the disk; past it, writes are refused as `too many requests`.
    pub pending_bytes: usize,
    /// How often a quiet watch that asked for progress notifications gets one.
    pub progress_interval: Duration,
    /// How often the expiry loop runs at least while there are leases.
    pub lease_tick: Duration,
    /// How late the expiry loop must run before its lateness counts as a stall of the whole process,
    /// by which all leases are extended.
    pub stall_threshold: Duration,
    /// Name of the one member, as `etcdctl member list` prints it.
    pub name: String,
    /// URLs under which the registry is served to others, if it is; told to those who ask for the members.
    pub client_urls: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            history_revisions: 10_000,
            history_bytes: 64 << 20,
            log_bytes: 16 << 20,
            pending_bytes: 64 << 20,
            progress_interval: Duration::from_secs(600),
            lease_tick: Duration::from_millis(500),
            stall_threshold: Duration::from_millis(250),
            name: "courant-single-node".to_owned(),
            client_urls: Vec::new(),
        }
    }
}

/// Most operations in any list of one transaction, as etcd's default.
pub(crate) const MAX_TXN_OPS: usize = 128;

/// Largest write request in bytes, as etcd's default.
pub(crate) const MAX_REQUEST_BYTES: usize = 3 << 19;

/// Largest message of any kind in bytes: etcd's request limit and its allowance for gRPC.
pub(crate) const MAX_MESSAGE_BYTES: usize = MAX_REQUEST_BYTES + (512 << 10);

/// Shortest lease in seconds; a shorter request is rounded up, as etcd does with its default election timeout.
pub(crate) const MIN_LEASE_TTL: i64 = 2;

/// Longest lease in seconds, as etcd's.
pub(crate) const MAX_LEASE_TTL: i64 = 9_000_000_000;
