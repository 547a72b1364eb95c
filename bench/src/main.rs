//! `courant-bench`: what a broker costs. One command for each question; each starts a broker of its own on a free port
//! and a folder of its own, measures it from outside, prints a table or JSON, and removes what it made.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Cli, Command};
use crate::output::Findings;
use crate::setup::Setup;

mod allocator;
mod appends;
mod args;
mod cluster;
mod cold;
mod day;
mod files;
mod framing;
mod grpc;
mod h2load_log;
mod idle;
mod journals;
mod limits;
mod load;
mod messages;
mod net;
mod noop;
mod output;
mod proc_text;
mod records;
mod report;
mod server;
mod setup;
mod shards;
mod slow_client;
mod stats;
mod tail;
mod throughput;

// As the broker's, so that what does nothing allocates as it does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ran = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot make a runtime")
        .and_then(|runtime| runtime.block_on(run(cli)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            files::tell(&format!("courant-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs one command, unless a signal or the deadline ends it; then its processes are killed and its folders removed.
async fn run(cli: Cli) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let deadline = Duration::from_secs(cli.common.deadline);
    tokio::select! {
        ran = Box::pin(command(cli)) => ran,
        _ = terminate.recv() => bail!("ended by SIGTERM"),
        _ = interrupt.recv() => bail!("ended by SIGINT"),
        () = tokio::time::sleep(deadline) => bail!("not done within {deadline:?}: raise --deadline, or use --quick"),
    }
}

async fn command(cli: Cli) -> Result<()> {
    if let Command::NoopServer(args) = &cli.command {
        return noop::serve(args.listen).await;
    }
    let mut common = cli.common;
    if let Command::Report(args) = &cli.command {
        common.quick |= !args.full;
    }
    ensure!(
        common.brokers == 1 || cli.command.takes_cluster(),
        "--brokers {}: only appends, throughput and tail measure several brokers",
        common.brokers
    );
    let setup = Setup::new(&common, !matches!(cli.command, Command::Allocator(_) | Command::Messages(_)))?;
    let findings: Vec<Findings> = match cli.command {
        Command::Appends(args) => vec![appends::run(&setup, &args).await?],
        Command::Throughput(args) => vec![throughput::run(&setup, &args).await?],
        Command::Tail(args) => vec![tail::run(&setup, &args).await?],
        Command::Cold(args) => vec![cold::run(&setup, &args).await?],
        Command::Idle(args) => vec![idle::run(&setup, &args).await?],
        Command::Day(args) => vec![day::run(&setup, &args).await?],
        Command::SlowClient => vec![slow_client::run(&setup).await?],
        Command::Allocator(args) => vec![allocator::run(&setup, &args)?],
        Command::Messages(args) => vec![messages::run(&setup, &args)?],
        Command::Shards(args) => vec![shards::run(&setup, &args).await?],
        Command::Report(args) => report::run(&setup, &args).await?,
        Command::NoopServer(_) => Vec::new(),
    };
    output::print(&setup, common.format, &findings)
}
