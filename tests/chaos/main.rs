//! `chaos`: a cluster under load and faults for as long as was asked, judged after every round; and what a fault costs.
//!
//! It starts an etcd and brokers of its own, and ends nothing but these. It stops by itself, and exits with 1 if anything was
//! wrong; then what is needed to find out why lies in a folder that it names.

mod rounds;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use courant_tests::cluster::{Cluster, Plan};
use courant_tests::trial::Fault;
use courant_tests::{drought, exodus};

/// Nothing of what is waited for here takes that long.
const PATIENCE: Duration = Duration::from_secs(300);

/// Tries a cluster of real processes.
#[derive(Debug, Parser)]
#[command(name = "chaos", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Load and random faults, in rounds that are judged one by one
    Run(Run),
    /// For how long a journal takes no appends after each fault
    Outages(Outages),
    /// Many journals, one broker killed: how long until all have their replicas, and how many were moved
    Exodus(Exodus),
    /// The store is away for a while, under load: what is refused, and how long until all is stored
    StoreOutage(StoreOutage),
}

/// Which cluster.
#[derive(Clone, Debug, Args)]
struct Shape {
    /// Brokers
    #[arg(long, default_value_t = 5)]
    brokers: usize,
    /// Zones they are spread over
    #[arg(long, default_value_t = 3)]
    zones: usize,
    /// Replicas of each journal
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Time to live of leases, in seconds
    #[arg(long, default_value_t = 10)]
    lease_ttl: u64,
    /// Journals that are appended to
    #[arg(long, default_value_t = 100)]
    journals: usize,
    /// Bytes that each broker may hold which no store has, if that is not left to it
    #[arg(long)]
    spool_quota: Option<u64>,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    shape: Shape,
    /// Chooses the same faults, victims and appends again; their moments differ
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// No round begins after this, like 90s, 10m or 2h
    #[arg(long, default_value = "10m", value_parser = duration)]
    duration: Duration,
    /// Faults to choose from, separated by commas; all by default
    #[arg(long, value_delimiter = ',', value_parser = fault)]
    faults: Vec<Fault>,
    /// Most faults of a round
    #[arg(long, default_value_t = 8)]
    per_round: usize,
    /// Folder for what is kept of a round that failed
    #[arg(long, default_value = "target/chaos")]
    keep: PathBuf,
}

#[derive(Debug, Args)]
struct Outages {
    #[command(flatten)]
    shape: Shape,
    /// Faults to measure, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = fault, default_value = "kill,freeze,cut,cut-one-way")]
    faults: Vec<Fault>,
    /// How often each
    #[arg(long, default_value_t = 3)]
    times: usize,
    /// Chooses the victims
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for what is kept of a run that failed
    #[arg(long, default_value = "target/chaos")]
    keep: PathBuf,
}

#[derive(Debug, Args)]
struct StoreOutage {
    #[command(flatten)]
    shape: Shape,
    /// How long the store is away, like 90s, 10m or 2h
    #[arg(long, default_value = "30m", value_parser = duration)]
    down: Duration,
    /// Appends in a second, to all journals together
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// Bytes of an append
    #[arg(long, default_value_t = 8 << 10)]
    size: usize,
    /// All must be stored so long after the store is back
    #[arg(long, default_value = "5m", value_parser = duration)]
    within: Duration,
}

#[derive(Debug, Args)]
struct Exodus {
    #[command(flatten)]
    shape: Shape,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(format!("{unit:?} is none of s, m, h")),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number like 90s, 10m or 2h".to_owned())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "too long".to_owned())
}

fn fault(name: &str) -> Result<Fault, String> {
    Fault::named(name).ok_or_else(|| {
        let names: Vec<&str> = Fault::ALL.into_iter().map(Fault::name).collect();
        format!("expected one of {}", names.join(", "))
    })
}

impl Shape {
    async fn cluster(&self) -> Cluster {
        let lease_ttl = Duration::from_secs(self.lease_ttl);
        let Self { brokers, zones, spool_quota, .. } = *self;
        let plan = Plan { brokers, zones, lease_ttl, spool_quota, clients_through_net: true };
        Cluster::start(plan).await.expect("an etcd is needed; COURANT_SKIP_ETCD=1 says that there is none")
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let sound = match Cli::parse().what {
        What::Run(run) => Box::pin(rounds::run(&run)).await,
        What::Outages(outages) => Box::pin(rounds::outages(&outages)).await,
        What::StoreOutage(StoreOutage { shape, down, rate, size, within }) => {
            let cluster = shape.cluster().await;
            say(&format!("{} brokers are ready", shape.brokers));
            let (journals, replicas, calm) = (shape.journals, shape.replicas, Duration::from_secs(15));
            let plan = drought::Plan { journals, replicas, rate, size, calm, down, within };
            match drought::run(&cluster, plan).await {
                Ok(drought) => {
                    say(&drought.to_string());
                    drought.problems.is_empty()
                }
                Err(missing) => {
                    say(&missing);
                    false
                }
            }
        }
        What::Exodus(Exodus { shape }) => {
            let mut cluster = shape.cluster().await;
            say(&format!("{} brokers are ready", shape.brokers));
            match exodus::run(&mut cluster, shape.journals, shape.replicas, 0, PATIENCE).await {
                Ok(exodus) => {
                    say(&exodus.to_string());
                    true
                }
                Err(missing) => {
                    say(&missing);
                    false
                }
            }
        }
    };
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "what somebody who waits for it reads")]
fn say(text: &str) {
    println!("{}", text.trim_end());
}
