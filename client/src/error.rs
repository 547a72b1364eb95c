//! What can go wrong for a client, told apart by who has to act: the broker refused, the call failed on its way,
//! or the caller's own request or content is at fault.

use std::fmt;
use std::io;
use std::time::Duration;

use courant_proto::wire;

/// A broker's answer with a status other than OK: an outcome that the protocol foresees.
///
/// Prints as the name of its status, which scripts match.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Why. Never [`wire::Status::Ok`].
    pub status: wire::Status,
    /// Who refused, and the route as that broker knows it.
    pub header: Option<wire::Header>,
    /// The journal's registers, with a `REGISTER_MISMATCH`.
    pub registers: Option<wire::LabelSet>,
    /// The offset that was to be read, resolved if it was the head. Only of reads.
    pub offset: i64,
    /// The end of the journal as the broker knows it. Zero where it does not say.
    pub write_head: i64,
    /// What ails the fragment store, with a `FRAGMENT_STORE_UNHEALTHY`.
    pub store_health: String,
}

impl Refusal {
    pub(crate) fn new(status: wire::Status, header: Option<wire::Header>) -> Self {
        Self { status, header, registers: None, offset: 0, write_head: 0, store_health: String::new() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.status.as_str_name();
        match (&self.registers, self.store_health.as_str()) {
            (_, health) if !health.is_empty() => write!(f, "{health}: {name}"),
            (Some(registers), _) => {
                write!(f, "{name}: the registers are ")?;
                let mut separator = "";
                for label in &registers.labels {
                    write!(f, "{separator}{}={}", label.name, label.value)?;
                    separator = ",";
                }
                if registers.labels.is_empty() { f.write_str("empty") } else { Ok(()) }
            }
            _ => f.write_str(name),
        }
    }
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A broker refused, with a status of the protocol.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The call failed on its way, or the broker failed in it.
    #[error("the call failed with {code}: {message}", code = rpc_code(.0), message = .0.message())]
    Rpc(#[from] tonic::Status),
    /// A broker's answer breaks the protocol. It is reported, not guessed at.
    #[error("the broker's answer to {call} breaks the protocol: {reason}")]
    Malformed {
        /// The RPC.
        call: &'static str,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The request is refused before it is sent.
    #[error("{0}")]
    Invalid(String),
    /// The content of an append could not be read to its end, so nothing was appended.
    #[error("the content could not be read, and nothing was appended: {0}")]
    Content(#[source] io::Error),
    /// The call was not answered in time. What it asked for may have happened.
    #[error("{call} was not answered within {after:?}; what it asked for may have happened")]
    Unanswered {
        /// The RPC.
        call: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// The address of a broker cannot be used.
    #[error("broker address {address:?}: {reason}; expected http://HOST:PORT")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    pub(crate) fn malformed(call: &'static str, reason: impl fmt::Display) -> Self {
        Self::Malformed { call, reason: reason.to_string() }
    }

    /// The status with which a broker refused, if one did.
    pub fn status(&self) -> Option<wire::Status> {
        self.refusal().map(|refusal| refusal.status)
    }

    /// The refusal, if a broker refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the same call may succeed a little later with nothing changed: nobody is the journal's primary
    /// yet, its brokers are too few, or the broker is not reachable.
    ///
    /// An append that failed so may have happened if the broker was lost while it answered.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.status.is_transient(),
            Self::Rpc(status) => status.code() == tonic::Code::Unavailable,
            Self::Malformed { .. }
            | Self::Invalid(_)
            | Self::Content(_)
            | Self::Unanswered { .. }
            | Self::Address { .. } => false,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

fn rpc_code(status: &tonic::Status) -> String {
    format!("{:?}", status.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: wire::Status) -> Error {
        Refusal::new(status, None).into()
    }

    #[test]
    fn a_refusal_prints_as_its_status() {
        assert_eq!(refused(wire::Status::WrongAppendOffset).to_string(), "WRONG_APPEND_OFFSET");

        let mut unhealthy = Refusal::new(wire::Status::FragmentStoreUnhealthy, None);
        unhealthy.store_health = "s3: connection timeout".to_owned();
        assert_eq!(unhealthy.to_string(), "s3: connection timeout: FRAGMENT_STORE_UNHEALTHY");

        let mut mismatch = Refusal::new(wire::Status::RegisterMismatch, None);
        mismatch.registers = Some(wire::LabelSet::default());
        assert_eq!(mismatch.to_string(), "REGISTER_MISMATCH: the registers are empty");
        let label =
            |name: &str, value: &str| wire::Label { name: name.into(), value: value.into(), prefix: false };
        mismatch.registers = Some(wire::LabelSet { labels: vec![label("author", "a"), label("epoch", "2")] });
        assert_eq!(mismatch.to_string(), "REGISTER_MISMATCH: the registers are author=a,epoch=2");
    }

    #[test]
    fn what_passes_by_itself_is_transient() {
        use wire::Status as S;
        let passing = [
            S::NoJournalPrimaryBroker,
            S::NotJournalPrimaryBroker,
            S::NotJournalBroker,
            S::InsufficientJournalBrokers,
        ];
        for number in 1..=15 {
            let status = S::try_from(number).unwrap();
            assert_eq!(refused(status).is_transient(), passing.contains(&status), "{status:?}");
        }
        assert!(Error::from(tonic::Status::unavailable("")).is_transient());
        assert!(!Error::from(tonic::Status::unknown("")).is_transient());
    }
}
