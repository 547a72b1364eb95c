//! The faults of a broker: what kept it from starting, or ended it. Refusals of requests are statuses and not here.

use thiserror::Error;

use crate::member::MemberError;

/// Why a broker did not start, or had to end.
#[derive(Debug, Error)]
pub enum Error {
    /// A setting is not valid.
    #[error(transparent)]
    Invalid(#[from] courant_proto::invalid::Invalid),
    /// The registry, or the mirror of it.
    #[error(transparent)]
    Registry(#[from] courant_keyspace::Error),
    /// This broker's place among the members.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The spools of this data folder.
    #[error("cannot use the spools: {0}")]
    Spools(#[from] courant_fragment::error::Error),
    /// A part of the broker ended that never should.
    #[error("{part} ended: {reason}")]
    Ended {
        /// Which.
        part: &'static str,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// Whether it is the registry that does not answer, or answers otherwise than it should; it may do later.
    #[must_use]
    pub const fn is_of_registry(&self) -> bool {
        matches!(self, Self::Registry(_) | Self::Member(MemberError::Registry(_)))
    }
}
