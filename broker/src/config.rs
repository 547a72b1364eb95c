//! What a broker can be told: plain values, with units in their types.

use std::path::PathBuf;
use std::time::Duration;

use courant_proto::id::ProcessId;
use courant_proto::spec::JournalSpec;

/// The settings of a broker.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this broker is.
    pub id: ProcessId,
    /// Where others and clients reach it.
    pub endpoint: String,
    /// Root of the broker's keys in the registry, such as `/courant/cluster`.
    pub prefix: String,
    /// Most journals this broker will hold.
    pub journal_limit: u32,
    /// Life of the member's lease.
    pub lease_ttl: Duration,
    /// A lease of an earlier process of this very data folder, to be taken over if it still lives.
    pub previous_lease: Option<i64>,
    /// Folder of spools, and of scratch files beside them.
    pub spools: PathBuf,
    /// Cores that own journals; at least one.
    pub cores: usize,
    /// Bytes per second at which any one journal takes appends; zero is without limit.
    pub max_append_rate: i64,
    /// Bytes per second that a client must sustain while it appends; zero is none.
    pub min_append_rate: i64,
    /// Bytes of content that one append may have. It is committed in one piece, and a core must not be held up for long by it.
    pub max_append_bytes: u64,
    /// Bytes that spools may hold which no store has yet; zero has no end. None: three quarters of what the file system of the spools has
    /// free when the broker starts, what they hold by then included.
    pub spool_quota: Option<u64>,
    /// Bytes that all appends together may hold in memory while they are received.
    pub append_memory: u64,
    /// Memory for stored content that is fetched before readers ask for it, over all readers.
    pub read_ahead: u64,
    /// Creates journals on their first append from this spec, whose name is ignored.
    pub auto_create: Option<JournalSpec>,
    /// How long a request waits for a journal that exists and is about to be assigned.
    pub settle: Duration,
    /// How long a segment of the log grows, in bytes.
    pub segment_bytes: u64,
    /// Committed bytes that stay in memory for tailing readers, per journal that is being written.
    pub tail_bytes: usize,
}

impl Config {
    /// Settings for the broker `id` with its spools in `spools`, and defaults elsewhere.
    pub fn new(id: ProcessId, endpoint: impl Into<String>, spools: impl Into<PathBuf>) -> Self {
        Self {
            id,
            endpoint: endpoint.into(),
            prefix: "/courant/cluster".to_owned(),
            journal_limit: 65_536,
            lease_ttl: Duration::from_secs(20),
            previous_lease: None,
            spools: spools.into(),
            cores: 1,
            max_append_rate: 0,
            min_append_rate: 65_536,
            max_append_bytes: 1 << 30,
            spool_quota: None,
            append_memory: 256 << 20,
            read_ahead: 64 << 20,
            auto_create: None,
            settle: Duration::from_secs(5),
            segment_bytes: 64 << 20,
            tail_bytes: 512 << 10,
        }
    }
}
