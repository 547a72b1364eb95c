//! Pure: what can go wrong between us and etcd, with what was attempted.

use std::time::Duration;

use crate::apply::Trouble;
use crate::revision::Revision;

/// A fault of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// etcd refused a request, or could not be reached.
    #[error("{action}: {source}")]
    Etcd {
        /// What was attempted, and on which key or lease.
        action: String,
        /// etcd's answer, or the transport's.
        source: etcd_client::Error,
    },
    /// etcd's answer lacks what every answer has.
    #[error("{action}: the answer has no {missing}; is this an etcd v3 server?")]
    Malformed {
        /// What was attempted.
        action: String,
        /// What was not there.
        missing: &'static str,
    },
    /// No answer in time.
    #[error("{action}: no answer from etcd within {waited:?}")]
    TimedOut {
        /// What was attempted.
        action: String,
        /// How long.
        waited: Duration,
    },
    /// The mirror cannot follow what answers at this address.
    #[error("mirror of {prefix:?} cannot go on: {trouble}; the store was wiped, restored or exchanged")]
    Mirror {
        /// The mirrored prefix.
        prefix: String,
        /// What etcd said.
        trouble: Trouble,
    },
    /// Another store answers than the one whose witness is known.
    #[error("{action}: the store was wiped, restored or exchanged: its witness {key:?} is gone, or another")]
    Exchanged {
        /// What was attempted.
        action: String,
        /// The full key of the witness.
        key: String,
    },
    /// The feed that kept the mirror current has ended, so a revision that is not here will not come.
    #[error("waiting for etcd revision {wanted}: the mirror has stopped at {reached}")]
    Stopped {
        /// What was waited for.
        wanted: Revision,
        /// What the mirror reflects.
        reached: Revision,
    },
    /// The lease has expired or was revoked, and with it went every key attached to it.
    #[error("lease {id:x} has expired or was revoked: unable to keep member lease alive")]
    LeaseLost {
        /// The lease.
        id: i64,
    },
    /// The key is not as its writer left it.
    #[error("key modified or deleted externally (expected revision {expected}): {key:?}")]
    Conflict {
        /// The full key.
        key: String,
        /// The revision at which we wrote it.
        expected: Revision,
    },
}

impl Error {
    pub(crate) fn etcd(action: impl Into<String>, source: etcd_client::Error) -> Self {
        Self::Etcd { action: action.into(), source }
    }

    /// Whether etcd knows no such lease: it has expired, or was revoked.
    #[must_use]
    pub fn is_lease_gone(&self) -> bool {
        match self {
            Self::LeaseLost { .. } => true,
            Self::Etcd { source: etcd_client::Error::GRpcStatus(status), .. } => {
                status.message().contains("requested lease not found")
            }
            _ => false,
        }
    }

    /// Whether the store is not the one that it was: nothing that is known of it holds any more.
    #[must_use]
    pub const fn is_exchanged(&self) -> bool {
        matches!(self, Self::Mirror { .. } | Self::Exchanged { .. })
    }

    /// Whether trying again, later, may succeed.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Etcd { .. } | Self::TimedOut { .. })
    }
}
