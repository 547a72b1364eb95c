//! Why a shard stops.

use courant_client as client;
use courant_message::framing::UnknownContentType;
use courant_message::sequencer::ReplayError;
use tonic::Code;

use crate::engine::{FirstDeferred, InvalidCheckpoint};

/// What an application fails with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a shard stops. It goes on where it was when it is started again: see [`is_transient`](Self::is_transient).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another primary has taken the shard over. Nothing that this one has begun will come to anything.
    #[error(
        "another primary has taken over the shard of {journal}, {by} (this one ends, and has nothing left to do)"
    )]
    Fenced {
        /// The shard's journal.
        journal: String,
        /// What is known of the other one.
        by: String,
    },
    /// It is not known whether an append has landed, so that it must not be repeated. Another run begins with the last transaction that was committed.
    #[error(
        "it is not known whether an append to {journal} has landed: {source} (the transaction is made again)"
    )]
    Uncertain {
        /// The journal.
        journal: String,
        /// What became of the append.
        source: client::Error,
    },
    /// A broker refused, or could not be reached for too long.
    #[error("{what} {journal}: {source}")]
    Client {
        /// What was tried.
        what: &'static str,
        /// The journal.
        journal: String,
        /// What became of it.
        source: client::Error,
    },
    /// The application failed.
    #[error("the application failed: {0}")]
    Application(#[source] BoxError),
    /// A journal holds messages in no framing that is known.
    #[error("journal {journal}: {source}")]
    Framing {
        /// The journal.
        journal: String,
        /// Its content type.
        source: UnknownContentType,
    },
    /// A journal that is named is not there.
    #[error("journal {journal} does not exist (expected {expected})")]
    NoJournal {
        /// The journal.
        journal: String,
        /// What it is to be.
        expected: &'static str,
    },
    /// The journal of the shard does not hold what it should.
    #[error("the shard's journal {journal} at offset {offset}: {what}")]
    Journal {
        /// The journal.
        journal: String,
        /// Where.
        offset: i64,
        /// What is wrong there, and what was expected.
        what: String,
    },
    /// Content of a source is gone that was to be read again.
    #[error("source {journal} no longer holds what is to be read again: {source}")]
    Replay {
        /// The source.
        journal: String,
        /// What was found instead.
        source: ReplayError,
    },
    /// The checkpoint cannot be gone on from.
    #[error(transparent)]
    Checkpoint(#[from] InvalidCheckpoint),
    /// The application deferred where it may not.
    #[error(transparent)]
    Deferred(#[from] FirstDeferred),
    /// A message or a record is too long.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The file of the view failed.
    #[error("the view: {0} (its file can be removed: it is made again)")]
    View(#[source] Box<redb::Error>),
}

/// Why a message was not published.
#[derive(Debug, thiserror::Error)]
#[error("not published to {journal}: {reason}")]
pub struct PublishError {
    /// The journal.
    pub journal: String,
    /// What was wrong, and what was expected.
    pub reason: String,
}

impl Error {
    /// Whether the shard may be started again at once, with good hope: nothing is wrong but that a broker was lost.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Uncertain { .. } => true,
            Self::Client { source, .. } => match source {
                client::Error::Rpc(status) => !is_final(status.code()),
                client::Error::Unanswered { .. } => true,
                source => source.is_transient(),
            },
            _ => false,
        }
    }

    pub(crate) fn view(error: redb::Error) -> Self {
        Self::View(Box::new(error))
    }

    /// For what a broker made of something.
    pub(crate) fn of_client(what: &'static str, journal: &str) -> impl FnOnce(client::Error) -> Self {
        let journal = journal.to_owned();
        move |source| Self::Client { what, journal, source }
    }
}

/// Whether a call fails again for the same reason. A broker that dies in the middle of one has many codes.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::DataLoss
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_dies_is_no_reason_to_give_up() {
        let check = |status: tonic::Status, expected: bool| {
            let error = Error::of_client("could not append to", "a/journal")(status.into());
            assert_eq!(error.is_transient(), expected, "{error}");
        };
        check(tonic::Status::unavailable("connection refused"), true);
        check(tonic::Status::unknown("h2 protocol error: error reading a body from connection"), true);
        check(tonic::Status::internal("h2 protocol error"), true);
        check(tonic::Status::resource_exhausted("beyond the quota"), true);
        check(tonic::Status::invalid_argument("Journal: invalid length"), false);
        check(tonic::Status::data_loss("an object is damaged"), false);
        let fenced = Error::Fenced { journal: "a/journal".to_owned(), by: "another".to_owned() };
        assert!(!fenced.is_transient());
    }
}
