//! `courant journals`: one verb in each file, and what they share: a client, and words for what went wrong.

use std::process::ExitCode;

use courant_client::{Client, Error};
use courant_proto::wire::journal_spec::suspend::Level;
use courant_proto::wire::{self, Status, list_response};

use crate::args::{JournalsArgs, JournalsCommand};
use crate::failure::Failure;

mod append;
mod apply;
mod edit;
mod fragments;
mod list;
mod read;
mod reset_head;
mod store_health;
mod suspend;

/// Journals that a verb works on at the same time.
const AT_ONCE: usize = 16;

/// Runs one verb on a runtime of its own.
pub(crate) fn run(args: JournalsArgs) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::of_io("cannot start the runtime", &error))?;
    let outcome = runtime.block_on(async {
        let session = Session::connect(&args.broker);
        match args.command {
            JournalsCommand::List(args) => list::run(&session?, args).await,
            // A dry run needs no broker, not even the address of one.
            JournalsCommand::Apply(args) => apply::run(session, args).await,
            JournalsCommand::Edit(args) => edit::run(&session?, args).await,
            JournalsCommand::Read(args) => read::run(&session?, args).await,
            JournalsCommand::Append(args) => append::run(&session?, args).await,
            JournalsCommand::Fragments(args) => fragments::run(&session?, args).await,
            JournalsCommand::Suspend(args) => suspend::run(&session?, args).await,
            JournalsCommand::ResetHead(args) => reset_head::run(&session?, args).await,
            JournalsCommand::StoreHealth(args) => store_health::run(&session?, args).await,
        }
    });
    // A thread that waits for standard input may do so for ever; nobody waits for it.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// A client, and the broker that it was pointed at.
#[derive(Debug)]
struct Session {
    client: Client,
    broker: String,
}

impl Session {
    fn connect(broker: &str) -> Result<Self, Failure> {
        let client = Client::connect(broker)
            .map_err(|error| Failure::usage([format!("--broker (COURANT_BROKER): {error}")]))?;
        Ok(Self { client, broker: broker.to_owned() })
    }

    /// Words for an error of the client: what was attempted, what came of it, and what to do.
    fn explain(&self, what: &str, error: &Error) -> String {
        match error {
            Error::Rpc(status) if status.code() == tonic::Code::Unavailable => format!(
                "{what}: cannot reach a broker at {} ({}); is `courant serve` running there? \
                 Say where it is with --broker or COURANT_BROKER",
                self.broker,
                status.message()
            ),
            Error::Refused(refusal) => match advice(refusal.status) {
                "" => format!("{what}: {refusal}"),
                advice => format!("{what}: {refusal}; {advice}"),
            },
            error => format!("{what}: {error}"),
        }
    }

    fn failure(&self, what: &str, error: &Error) -> Failure {
        Failure::failed([self.explain(what, error)])
    }

    /// The journals that a selector matches, of which there must be some.
    async fn select(&self, selector: wire::LabelSelector) -> Result<Vec<list_response::Journal>, Failure> {
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

fn nothing_matches() -> Failure {
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

fn name_of(journal: &list_response::Journal) -> &str {
    journal.spec.as_ref().map_or("", |spec| spec.name.as_str())
}

fn suspension(journal: &list_response::Journal) -> Level {
    journal
        .spec
        .as_ref()
        .and_then(|spec| spec.suspend.as_ref())
        .map_or(Level::None, wire::journal_spec::Suspend::level)
}

/// Whether a journal is suspended so far that nothing but an append brings it back.
fn is_suspended(journal: &list_response::Journal) -> bool {
    suspension(journal) == Level::Full
}

/// `1 journal`, `2 journals`.
fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
