//! Pure: the outcomes that the protocol foresees: their names, what each means, and what to do about it.

use crate::invalid::Invalid;
pub use crate::wire::Status;

/// What an outcome means, and what whoever gets it can do; a line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What has happened.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Status {
    /// The protocol's name, as in `JOURNAL_NOT_FOUND`.
    pub fn name(self) -> &'static str {
        self.as_str_name()
    }

    /// The outcome of a number on the wire.
    ///
    /// # Errors
    /// When the number is unknown.
    pub fn from_wire(number: i32) -> Result<Self, Invalid> {
        Self::try_from(number).map_err(|_| Invalid::new(format!("invalid status ({number})")))
    }

    /// Whether the same request may succeed a little later, with nothing changed by whoever sends it.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::NoJournalPrimaryBroker
                | Self::NotJournalPrimaryBroker
                | Self::InsufficientJournalBrokers
                | Self::NotJournalBroker
        )
    }

    /// What it means and what to do about it.
    pub fn explain(self) -> Explanation {
        let (meaning, remedy) = match self {
            Self::Ok => ("the request was served", "nothing to do"),
            Self::JournalNotFound => (
                "there is no journal of this name, or the token does not cover it",
                "check the name with `courant journals list`, or create it with `courant journals apply`",
            ),
            Self::NoJournalPrimaryBroker => {
                ("no broker is primary of the journal right now", "try again in a moment")
            }
            Self::NotJournalPrimaryBroker => (
                "this broker is not the journal's primary, and the request forbids passing it on",
                "ask the primary that the response's route names, or allow proxying",
            ),
            Self::InsufficientJournalBrokers => (
                "fewer brokers are assigned to the journal than its replication asks for",
                "try again in a moment; if it lasts, add brokers or raise their limits",
            ),
            Self::NotJournalBroker => (
                "this broker does not serve the journal, and the request forbids passing it on",
                "ask a member of the response's route, or allow proxying",
            ),
            Self::OffsetNotYetAvailable => (
                "the offset is at or beyond the journal's write head",
                "read with block, or come back when more has been appended",
            ),
            Self::WrongRoute => (
                "the replica knows another route of the journal than the primary",
                "brokers settle this between themselves; try again in a moment",
            ),
            Self::ProposalMismatch => (
                "the replica holds other content than the primary proposed",
                "brokers settle this between themselves; try again in a moment",
            ),
            Self::EtcdTransactionFailed => (
                "a spec was changed by someone else since it was read",
                "list the journals again, and apply the change to their present revisions",
            ),
            Self::NotAllowed => (
                "the journal's flags forbid the request, or it has content where none may be",
                "check the spec's flags (O_RDONLY, O_WRONLY, O_RDWR)",
            ),
            Self::WrongAppendOffset => (
                "the append named an offset that is not the journal's end",
                "read the write head, and decide whether the append is already in the journal",
            ),
            Self::IndexHasGreaterOffset => (
                "the fragment store reaches further than the brokers' own content",
                "if all replicas were lost, an append at the offset where the store ends goes on from there",
            ),
            Self::RegisterMismatch => (
                "the journal's registers do not satisfy the append's condition",
                "another writer has taken over; compare with the registers in the response",
            ),
            Self::Suspended => {
                ("the journal is suspended", "an append that does not forbid it resumes the journal")
            }
            Self::FragmentStoreUnhealthy => (
                "the journal's first fragment store keeps failing its health check",
                "the error beside this status says how; check the store's URL, credentials and network",
            ),
        };
        Explanation { meaning, remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let names = [
            "OK",
            "JOURNAL_NOT_FOUND",
            "NO_JOURNAL_PRIMARY_BROKER",
            "NOT_JOURNAL_PRIMARY_BROKER",
            "INSUFFICIENT_JOURNAL_BROKERS",
            "NOT_JOURNAL_BROKER",
            "OFFSET_NOT_YET_AVAILABLE",
            "WRONG_ROUTE",
            "PROPOSAL_MISMATCH",
            "ETCD_TRANSACTION_FAILED",
            "NOT_ALLOWED",
            "WRONG_APPEND_OFFSET",
            "INDEX_HAS_GREATER_OFFSET",
            "REGISTER_MISMATCH",
            "SUSPENDED",
            "FRAGMENT_STORE_UNHEALTHY",
        ];
        for (number, name) in (0..).zip(names) {
            let status = Status::from_wire(number).expect("known");
            assert_eq!(status.name(), name);
            let Explanation { meaning, remedy } = status.explain();
            assert!(
                !meaning.is_empty()
                    && !remedy.is_empty()
                    && !meaning.contains('\n')
                    && !remedy.contains('\n')
            );
        }
        for unknown in [-1, 16, 101] {
            let text = format!("invalid status ({unknown})");
            assert_eq!(Status::from_wire(unknown).map_err(|e| e.to_string()), Err(text));
        }
    }
}
