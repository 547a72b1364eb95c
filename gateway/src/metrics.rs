//! The gateway's own metrics: requests by method and code, and bytes by journal under the names that clients of
//! the protocol use.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JournalLabels {
    journal: String,
}

/// Methods that have a name of their own; clients could make up any number of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Method {
    Get,
    Head,
    Put,
    Post,
    Other,
}

impl EncodeLabelValue for Method {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let name = match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Other => "other",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: Method,
    code: u16,
}

/// The gateway's metrics. Clones count into the same.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    append_bytes: Family<JournalLabels, Counter>,
    read_bytes: Family<JournalLabels, Counter>,
}

impl Metrics {
    /// Metrics that a registry shows.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "courant_http_requests",
            "HTTP requests that were answered, by method and status",
            metrics.requests.clone(),
        );
        registry.register(
            "gazette_append_bytes",
            "Bytes appended over HTTP, by journal",
            metrics.append_bytes.clone(),
        );
        registry.register(
            "gazette_read_bytes",
            "Bytes read over HTTP, by journal",
            metrics.read_bytes.clone(),
        );
        metrics
    }

    pub(crate) fn answered(&self, method: &http::Method, code: http::StatusCode) {
        let method = match *method {
            http::Method::GET => Method::Get,
            http::Method::HEAD => Method::Head,
            http::Method::PUT => Method::Put,
            http::Method::POST => Method::Post,
            _ => Method::Other,
        };
        self.requests.get_or_create(&RequestLabels { method, code: code.as_u16() }).inc();
    }

    /// Counts a committed append. Only journals that exist get here, so the labels stay as few as they are.
    pub(crate) fn appended(&self, journal: String, bytes: u64) {
        self.append_bytes.get_or_create(&JournalLabels { journal }).inc_by(bytes);
    }

    /// The counter of bytes read from a journal that exists.
    pub(crate) fn reading(&self, journal: String) -> Counter {
        self.read_bytes.get_or_create_owned(&JournalLabels { journal })
    }
}
