//! What all verbs share that speak to a broker: a client, a runtime, and words for what went wrong. It knows no verb.

use std::process::ExitCode;

use courant_client::{Client, Error};
use courant_proto::wire::{self, Status, list_response};

use crate::args::BrokerAt;
use crate::failure::Failure;

/// Runs one verb on a runtime of its own.
pub(crate) fn run(verb: impl Future<Output = Result<(), Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::of_io("cannot start the runtime", &error))?;
    let outcome = runtime.block_on(verb);
    // A thread that waits for standard input may do so for ever; nobody waits for it.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// A client, and the broker that it was pointed at.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) broker: String,
}

impl Session {
    pub(crate) fn connect(at: &BrokerAt) -> Result<Self, Failure> {
        let client = Client::connect(&at.broker)
            .map_err(|error| Failure::usage([format!("--broker (COURANT_BROKER): {error}")]))?;
        Ok(Self { client: client.in_zone(&at.zone), broker: at.broker.clone() })
    }

    /// Words for an error of the client: what was attempted, what came of it, and what to do.
    pub(crate) fn explain(&self, what: &str, error: &Error) -> String {
        match error {
            Error::Rpc(status) if status.code() == tonic::Code::Unavailable => format!(
                "{what}: cannot reach a broker at {} ({}); is `courant serve` running there? \
                 Say where it is with --broker or COURANT_BROKER",
                self.broker,
                status.message()
            ),
            Error::Rpc(status) if status.code() == tonic::Code::Unimplemented => format!(
                "{what}: the broker at {} does not answer that; ask another one of the cluster with --broker, \
                 a Courant broker of this version",
                self.broker
            ),
            Error::Refused(refusal) => match advice(refusal.status) {
                "" => format!("{what}: {refusal}"),
                advice => format!("{what}: {refusal}; {advice}"),
            },
            error => format!("{what}: {error}"),
        }
    }

    pub(crate) fn failure(&self, what: &str, error: &Error) -> Failure {
        Failure::failed([self.explain(what, error)])
    }

    /// The journals that a selector matches, of which there must be some.
    pub(crate) async fn select(
        &self,
        selector: wire::LabelSelector,
    ) -> Result<Vec<list_response::Journal>, Failure> {
        let listing = self
            .client
            .list(selector)
            .await
            .map_err(|error| self.failure("cannot list the journals", &error))?;
        if listing.journals.is_empty() {
            return Err(nothing_matches());
        }
        Ok(listing.journals)
    }
}

pub(crate) fn nothing_matches() -> Failure {
    Failure::failed(["no journal matches the selector; see `courant journals list`".to_owned()])
}

/// What to do about a status.
fn advice(status: Status) -> &'static str {
    match status {
        Status::JournalNotFound => "see `courant journals list`, or create it with `courant journals apply`",
        Status::NoJournalPrimaryBroker | Status::InsufficientJournalBrokers => {
            "its brokers are not all there; try again, and see `courant journals list --primary --replicas --rf`"
        }
        Status::EtcdTransactionFailed => "a journal is not at the revision that the specs expect",
        Status::NotAllowed => "the flags of its spec forbid it",
        Status::WrongAppendOffset => "another append came first; try again",
        Status::IndexHasGreaterOffset => {
            "more is stored than its brokers know; see `courant journals reset-head --help`"
        }
        Status::Suspended => "it is suspended until its next append",
        Status::FragmentStoreUnhealthy => "see `courant journals store-health`",
        _ => "",
    }
}

/// `1 journal`, `2 journals`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
