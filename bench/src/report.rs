//! All benches one after the other, into one file.

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::args::{Cli, Command, ReportArgs};
use crate::output::{self, Findings};
use crate::setup::Setup;
use crate::{allocator, appends, cold, files, idle, messages, shards, slow_client, tail, throughput};

/// The commands, with the flags they have by themselves.
const BENCHES: [&str; 9] =
    ["appends", "throughput", "tail", "cold", "slow-client", "idle", "allocator", "messages", "shards"];

pub(crate) async fn run(setup: &Setup, args: &ReportArgs) -> Result<Vec<Findings>> {
    let mut findings = Vec::new();
    for bench in BENCHES {
        let found =
            match Cli::try_parse_from(["courant-bench", bench]).context("the flags of a bench")?.command {
                Command::Appends(args) => appends::run(setup, &args).await,
                Command::Throughput(args) => throughput::run(setup, &args).await,
                Command::Tail(args) => tail::run(setup, &args).await,
                Command::Cold(args) => cold::run(setup, &args).await,
                Command::SlowClient => slow_client::run(setup).await,
                Command::Idle(args) => idle::run(setup, &args).await,
                Command::Allocator(args) => allocator::run(setup, &args),
                Command::Messages(args) => messages::run(setup, &args),
                Command::Shards(args) => shards::run(setup, &args).await,
                Command::Day(_) | Command::Report(_) | Command::NoopServer(_) => continue,
            };
        findings.push(found.with_context(|| bench.to_owned())?);
        // After each, so that a failure of a later one loses nothing.
        output::write(setup, &findings, &args.output)?;
    }
    files::tell(&format!("written: {}", args.output.display()));
    Ok(findings)
}
