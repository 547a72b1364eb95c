//! `courant journals`: one verb in each file, and what they share of journals.

use std::process::ExitCode;

use courant_proto::wire::journal_spec::suspend::Level;
use courant_proto::wire::{self, list_response};

use crate::args::{JournalsArgs, JournalsCommand};
use crate::failure::Failure;
use crate::session::{self, Session, count, nothing_matches};

mod append;
mod apply;
mod audit;
mod edit;
mod fragments;
mod list;
mod prune;
mod read;
mod reset_head;
mod store_health;
mod suspend;

/// Journals that a verb works on at the same time.
const AT_ONCE: usize = 16;

/// Runs one verb on a runtime of its own.
pub(crate) fn run(args: JournalsArgs) -> Result<ExitCode, Failure> {
    session::run(async {
        let session = Session::connect(&args.at);
        match args.command {
            JournalsCommand::List(args) => list::run(&session?, args).await,
            // A dry run needs no broker, not even the address of one.
            JournalsCommand::Apply(args) => apply::run(session, args).await,
            JournalsCommand::Edit(args) => edit::run(&session?, args).await,
            JournalsCommand::Read(args) => read::run(&session?, args).await,
            JournalsCommand::Append(args) => append::run(&session?, args).await,
            JournalsCommand::Fragments(args) => fragments::run(&session?, args).await,
            JournalsCommand::Prune(args) => prune::run(&session?, args).await,
            JournalsCommand::Suspend(args) => suspend::run(&session?, args).await,
            JournalsCommand::ResetHead(args) => reset_head::run(&session?, args).await,
            JournalsCommand::Audit(args) => audit::run(&session?, args).await,
            JournalsCommand::StoreHealth(args) => store_health::run(&session?, args).await,
        }
    })
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
