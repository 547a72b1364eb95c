//! What a gateway is told when it is made: its limits, and the two questions it passes on to the process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Metrics;

/// Whether the process can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot, for this reason, which is printed.
    NotReady(String),
}

/// How a gateway behaves.
#[derive(Clone)]
pub struct Config {
    /// Asked by `/healthz/ready` and `/debug/ready`.
    pub ready: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// The whole process's metrics as OpenMetrics text, asked by `/metrics` and `/debug/metrics`.
    pub metrics_text: Arc<dyn Fn() -> String + Send + Sync>,
    /// The gateway's own metrics.
    pub metrics: Metrics,
    /// The largest body of a PUT. A larger one is answered with 413.
    pub max_body_bytes: u64,
    /// A body up to this size is received whole before the append begins; a larger one streams.
    pub small_body_bytes: usize,
    /// How long a body may pause before it is given up.
    pub body_idle_timeout: Duration,
    /// How long an append is tried again in silence while nobody can take it, before the answer is 503.
    pub retry_for: Duration,
}

impl Config {
    /// The usual limits: bodies up to 16 GiB, whole up to 256 KiB, pauses of 30 s, appends tried for 5 s.
    pub fn new(
        ready: impl Fn() -> Readiness + Send + Sync + 'static,
        metrics_text: impl Fn() -> String + Send + Sync + 'static,
        metrics: Metrics,
    ) -> Self {
        Self {
            ready: Arc::new(ready),
            metrics_text: Arc::new(metrics_text),
            metrics,
            max_body_bytes: 16 << 30,
            small_body_bytes: 256 << 10,
            body_idle_timeout: Duration::from_secs(30),
            retry_for: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("max_body_bytes", &self.max_body_bytes)
            .field("small_body_bytes", &self.small_body_bytes)
            .field("body_idle_timeout", &self.body_idle_timeout)
            .field("retry_for", &self.retry_for)
            .finish_non_exhaustive()
    }
}
