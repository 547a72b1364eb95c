//! `courant`: the broker and the operator's hand tool, in one binary.
//!
//! Reads the command line, starts tracing, hands over to one verb, and turns what came of it into an exit code:
//! 0 done, 1 refused or failed, 2 wrong use. It knows no verb itself.

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::args::{Cli, Command};
use crate::failure::Failure;

mod args;
mod clock;
mod completions;
mod environment;
mod failure;
mod files;
mod journals;
mod members;
mod output;
mod serve;
mod session;
mod trace;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => run(cli),
        // Help is printed whole, and whoever stops reading it has read enough.
        Err(help)
            if !help.use_stderr() || help.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
        {
            let _ = help.print();
            return ExitCode::from(u8::try_from(help.exit_code()).unwrap_or(2));
        }
        Err(error) => Err(Failure::of_command_line(&error)),
    };
    outcome.unwrap_or_else(Failure::report)
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Serve(flags) => {
            trace::start(&cli.log, "info")?;
            let args = flags.resolve().map_err(Failure::usage)?;
            Ok(serve::run(args)?)
        }
        Command::Journals(args) => {
            trace::start(&cli.log, "warn")?;
            journals::run(args)
        }
        Command::Members(args) => {
            trace::start(&cli.log, "warn")?;
            members::run(args)
        }
        Command::Completions(args) => completions::run(args),
    }
}
