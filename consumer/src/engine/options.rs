//! Pure: how long and how large transactions are.

use std::time::Duration;

use courant_message::sequencer::DEFAULT_RING;

/// How long and how large the transactions of a shard are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A transaction consumes at least so long, if it is not full before.
    pub min: Duration,
    /// A transaction consumes at most so long; also in the middle of what was published to it as one.
    pub max: Duration,
    /// Whether a transaction stays open, up to [`max`](Self::max), for acknowledgements of messages that it has read. It is quicker for chains of shards to
    /// wait for them than to commit twice.
    pub wait_for_ack: bool,
    /// Messages that wait for their acknowledgement in memory. What is beyond is read twice.
    pub ring: usize,
    /// Producers are forgotten that are silent for so long.
    pub horizon: Duration,
    /// A transaction consumes no more when it has published so many bytes.
    pub published: usize,
    /// A checkpoint is made after so many messages that say nothing new, so that they are not read again.
    pub unrecorded: usize,
}

impl Options {
    /// What one message may come to publish beyond [`published`](Self::published), as a factor.
    pub(super) const SLACK: usize = 4;
}

impl Default for Options {
    fn default() -> Self {
        Self {
            min: Duration::ZERO,
            max: Duration::from_secs(1),
            wait_for_ack: true,
            ring: DEFAULT_RING,
            horizon: Duration::from_secs(24 * 3600),
            published: 16 << 20,
            unrecorded: 100_000,
        }
    }
}
