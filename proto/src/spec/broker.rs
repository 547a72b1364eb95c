//! Pure: what a broker offers, as the registry keeps it.

use prost::Message;

use super::check::check_wire_broker;
use crate::endpoint::Endpoint;
use crate::id::ProcessId;
use crate::invalid::{Context, Invalid};
use crate::wire;

/// Most journals a broker may offer to serve.
pub const MAX_JOURNAL_LIMIT: u32 = 1 << 17;

/// What a broker offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerSpec {
    /// Who it is.
    pub id: ProcessId,
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// How many journals it will serve, at most [`MAX_JOURNAL_LIMIT`].
    pub journal_limit: u32,
    /// Whether it hands over what it has, and takes no more.
    pub exiting: bool,
}

impl BrokerSpec {
    /// Reads the registry's value.
    ///
    /// # Errors
    /// When the bytes are no such message, or the spec is refused.
    pub fn decode(value: &[u8]) -> Result<Self, Invalid> {
        let spec = wire::BrokerSpec::decode(value).map_err(|error| Invalid::new(error.to_string()))?;
        Self::try_from(spec)
    }

    /// The registry's value.
    pub fn encode(&self) -> Vec<u8> {
        wire::BrokerSpec::from(self).encode_to_vec()
    }
}

impl TryFrom<wire::BrokerSpec> for BrokerSpec {
    type Error = Invalid;

    fn try_from(spec: wire::BrokerSpec) -> Result<Self, Invalid> {
        check_wire_broker(&spec)?;
        let process = spec.process_spec.unwrap_or_default();
        Ok(Self {
            id: ProcessId::try_from(&process.id.unwrap_or_default()).within("Id")?,
            endpoint: Endpoint::parse(&process.endpoint).within("Endpoint")?,
            journal_limit: spec.journal_limit,
            exiting: spec.exiting,
        })
    }
}

impl From<&BrokerSpec> for wire::BrokerSpec {
    fn from(spec: &BrokerSpec) -> Self {
        Self {
            process_spec: Some(wire::ProcessSpec {
                id: Some((&spec.id).into()),
                endpoint: spec.endpoint.to_string(),
            }),
            journal_limit: spec.journal_limit,
            exiting: spec.exiting,
        }
    }
}
