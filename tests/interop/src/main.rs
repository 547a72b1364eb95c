//! Courant beside the real Gazette: the same questions to both, clusters of both, and a consumer of Gazette's on top.
//! Prints a table, and ends with 1 if something differs that the documentation does not list.
//!
//! `tests/interop/run` builds the programs and starts this.

mod calls;
mod cluster;
mod counts;
mod leaders;
mod measure;
mod mixed;
mod processes;
mod replace;
mod report;
mod shell;
mod talk;
mod verbs;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::processes::{Kind, Programs, World};
use crate::report::Report;

/// Runs Courant beside Gazette, and compares.
#[derive(Debug, Parser)]
struct Args {
    /// Folder of etcd, gazette, gazctl and consumer
    #[arg(long)]
    tools: PathBuf,
    /// The courant program
    #[arg(long)]
    courant: PathBuf,
    /// The page that lists the differences there may be
    #[arg(long)]
    listed: PathBuf,
    /// Keep the folders of the scenarios here, for a look at the logs
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Measure, instead of running the scenarios
    #[arg(long)]
    measure: bool,
    /// Run only scenarios whose name contains this
    filters: Vec<String>,
}

/// What there is to run.
const SCENARIOS: [&str; 8] =
    ["verbs", "calls", "replace", "mixed-gcc", "mixed-cgg", "mixed-cgcg", "leaders", "consumer-c3"];

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is what this program is for")]
fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = runtime.context("cannot make a runtime").and_then(|runtime| runtime.block_on(run(&args)));
    match ran {
        Ok((table, clean)) => {
            println!("{table}");
            if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("interop: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the seam to the page of differences and the folders of a run")]
#[expect(clippy::print_stderr, reason = "progress")]
async fn run(args: &Args) -> Result<(String, bool)> {
    let page = std::fs::read_to_string(&args.listed).with_context(|| args.listed.display().to_string())?;
    let listed = report::listed(&page);
    let programs = Programs {
        tools: args.tools.canonicalize().context("--tools")?,
        courant: args.courant.canonicalize().context("--courant")?,
    };
    let temporary = tempfile::tempdir().context("a folder for the run")?;
    let top = args.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    let mut report = Report::default();
    let wanted =
        |name: &&str| args.filters.is_empty() || args.filters.iter().any(|f| name.contains(f.as_str()));
    // Others than those that are always run, like `mixed-ggg`, are asked for by their whole name.
    let asked = args.filters.iter().map(String::as_str);
    let asked = asked.filter(|name| name.contains('-') && !SCENARIOS.contains(name));
    let scenarios: Vec<&str> = SCENARIOS.into_iter().filter(|name| wanted(name)).chain(asked).collect();
    let scenarios = if args.measure { vec!["measure"] } else { scenarios };
    for scenario in scenarios {
        eprintln!("interop: {scenario}");
        let folder = top.join(scenario);
        let world = World::start(&programs, &folder).await?;
        let ran = match scenario {
            "verbs" => verbs::run(&world, &mut report).await,
            "calls" => calls::run(&world, &mut report).await,
            "measure" => measure::run(&world, &mut report).await,
            "replace" => replace::run(&world, &mut report).await,
            "leaders" => leaders::run(&world, &mut report).await,
            "consumer-c3" => counts::run(&world, &mut report, Kind::Courant, 3).await,
            "consumer-c1" => counts::run(&world, &mut report, Kind::Courant, 1).await,
            "consumer-g3" => counts::run(&world, &mut report, Kind::Gazette, 3).await,
            other => match other.strip_prefix("mixed-").map(mixed::parse) {
                Some(kinds) => mixed::run(&world, &mut report, &kinds?).await,
                None => anyhow::bail!("there is no scenario {other}"),
            },
        };
        report.check(format!("{scenario}: ran to its end"), ran);
    }
    Ok(report.render(&listed))
}
