//! The command line: which benches there are, with which flags. It does not know what they do.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

/// The protocol's highest replication.
const MOST_BROKERS: i64 = 5;

/// What a Courant broker costs: each command starts a broker of its own, measures, prints, and cleans up.
#[derive(Debug, Parser)]
#[command(name = "courant-bench", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every bench.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Form of the results
    #[arg(long, value_enum, default_value_t = Format::Table, global = true)]
    pub(crate) format: Format,
    /// The program to measure [default: `courant` beside this program]
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) courant: Option<PathBuf>,
    /// Folder below which brokers keep their state; what is made in it is removed [default: the system's for temporary files]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Keep the brokers' state in memory (/dev/shm)
    #[arg(long, global = true)]
    pub(crate) tmpfs: bool,
    /// Brokers of a cluster on an etcd of its own, each of which holds all journals [default: 1, without etcd; others for appends,
    /// throughput and tail alone]
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true, global = true,
        value_parser = clap::value_parser!(u8).range(1..=MOST_BROKERS))]
    pub(crate) brokers: u8,
    /// The etcd to start where there are several brokers [default: `etcd` of the PATH]
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) etcd: Option<PathBuf>,
    /// Cores of each broker [default: the broker's, and 1 where there are several]
    #[arg(long, value_name = "N", global = true)]
    pub(crate) cores: Option<u32>,
    /// What makes the load where there is a choice
    #[arg(long, value_enum, default_value_t = Generator::H2load, global = true)]
    pub(crate) generator: Generator,
    /// Measurements of each kind, of which the median is shown [default: 3]
    #[arg(long, value_name = "N", global = true)]
    pub(crate) rounds: Option<u32>,
    /// How long one measurement lasts, about [default: 2, quick 0.5]
    #[arg(long, value_name = "SECONDS", global = true)]
    pub(crate) seconds: Option<f64>,
    /// A short form: shorter measurements, and less of everything
    #[arg(long, global = true)]
    pub(crate) quick: bool,
    /// The run is given up after this long
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, global = true)]
    pub(crate) deadline: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Generator {
    /// h2load, of nghttp2: the leanest.
    H2load,
    /// One within this program.
    Builtin,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Small appends over gRPC and HTTP, beside a no-op through the same stack
    Appends(AppendsArgs),
    /// One journal's MB/s by codec and callers, beside the machine's limits
    Throughput(ThroughputArgs),
    /// Deliveries to tailing readers, and how long they take end to end
    Tail(TailArgs),
    /// A journal in its store alone, through a broker and fetched directly
    Cold(ColdArgs),
    /// Memory, open files and start-up time of many journals that rest
    Idle(IdleArgs),
    /// A day of many small journals, an hour of which is a minute: memory, and requests to the store
    Day(DayArgs),
    /// What one slow client does to the others of a journal
    SlowClient,
    /// Deciding who holds what: solve times, moves, and writes to etcd, in this process alone
    Allocator(AllocatorArgs),
    /// Framing, envelopes and sequencing of messages, in this process alone and on one core
    Messages(MessagesArgs),
    /// A shard that counts: messages/s, transactions/s, latency, recovery
    Shards(ShardsArgs),
    /// All of them in their quick form, into one JSON file
    Report(ReportArgs),
    /// Serves appends that do nothing
    #[command(hide = true)]
    NoopServer(NoopArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AppendsArgs {
    /// Sizes of appends in bytes
    #[arg(long, value_name = "BYTES[,BYTES]", value_delimiter = ',', default_values_t = [100, 1024])]
    pub(crate) sizes: Vec<usize>,
    /// Appends in flight
    #[arg(long, value_name = "N[,N]", value_delimiter = ',', default_values_t = [1, 64, 256])]
    pub(crate) in_flight: Vec<usize>,
    /// Ways in
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Surface::Grpc, Surface::Http])]
    pub(crate) surfaces: Vec<Surface>,
}

/// A way into a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Surface {
    /// The Append RPC.
    Grpc,
    /// PUT over HTTP/1.1.
    Http,
}

impl Command {
    /// Whether it can measure several brokers as one.
    pub(crate) fn takes_cluster(&self) -> bool {
        matches!(self, Self::Appends(_) | Self::Throughput(_) | Self::Tail(_))
    }
}

impl Surface {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ThroughputArgs {
    /// Codecs of the journals
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Zstandard])]
    pub(crate) codecs: Vec<Codec>,
    /// Callers that append at the same time
    #[arg(long, value_name = "N[,N]", value_delimiter = ',', default_values_t = [1, 4])]
    pub(crate) callers: Vec<usize>,
    /// MiB that a burst appends [default: 512, quick 128]
    #[arg(long, value_name = "MIB")]
    pub(crate) burst_mib: Option<usize>,
    /// Bytes of content in one message
    #[arg(long, value_name = "BYTES", default_value_t = 128 << 10)]
    pub(crate) chunk: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Codec {
    None,
    Gzip,
    Snappy,
    Zstandard,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TailArgs {
    /// Readers of the journal
    #[arg(long, value_name = "N[,N]", value_delimiter = ',', default_values_t = [1, 10, 100])]
    pub(crate) readers: Vec<usize>,
    /// Connections that the readers share [default: one each]
    #[arg(long, value_name = "N")]
    pub(crate) connections: Option<usize>,
    /// Appends that the saturating writer keeps in flight
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) in_flight: usize,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ColdArgs {
    /// How many fragments [default: 1000, quick 100]
    #[arg(long, value_name = "N")]
    pub(crate) fragments: Option<usize>,
    /// KiB of content in each
    #[arg(long, value_name = "KIB", default_value_t = 512)]
    pub(crate) kib: usize,
    /// Codecs of the journals
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Codec::None, Codec::Gzip, Codec::Zstandard])]
    pub(crate) codecs: Vec<Codec>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct IdleArgs {
    /// How many journals [default: 10000, quick 1000]
    #[arg(long, value_name = "N")]
    pub(crate) journals: Option<usize>,
    /// Seconds to wait for what was written to be persisted; the shortest flush interval is 60 [default: 75, quick 0]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) flush_wait: Option<u64>,
    /// Seconds over which a resting broker is watched [default: 10, quick 3]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) watch: Option<u64>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DayArgs {
    /// How many journals [default: 10000, quick 500]
    #[arg(long, value_name = "N")]
    pub(crate) journals: Option<usize>,
    /// Hours of the day, each of which takes a minute [default: 24, quick 1]
    #[arg(long, value_name = "N")]
    pub(crate) hours: Option<u32>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AllocatorArgs {
    /// How many items [quick: those up to 10000]
    #[arg(long, value_name = "N[,N]", value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 1_000_000])]
    pub(crate) items: Vec<usize>,
    /// How many members
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) members: usize,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct MessagesArgs {
    /// Sizes of bodies in bytes, about
    #[arg(long, value_name = "BYTES[,BYTES]", value_delimiter = ',', default_values_t = [200, 5_500])]
    pub(crate) sizes: Vec<usize>,
    /// Producers that write at the same time
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) producers: u8,
    /// Messages of a producer between two acknowledgements
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) transaction: usize,
    /// Bytes of content that are read at once
    #[arg(long, value_name = "BYTES", default_value_t = 128 << 10)]
    pub(crate) piece: usize,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ShardsArgs {
    /// Messages that are counted; a tenth of them with --quick
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    pub(crate) messages: u64,
    /// Keys that they are of
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) keys: u64,
    /// Bytes of a message's body, which the view keeps
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    pub(crate) size: usize,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ReportArgs {
    /// The file
    #[arg(long, value_name = "FILE", default_value = "bench-report.json")]
    pub(crate) output: PathBuf,
    /// Run the long forms
    #[arg(long)]
    pub(crate) full: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct NoopArgs {
    /// Where
    #[arg(long)]
    pub(crate) listen: SocketAddr,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_cluster_has_no_more_brokers_than_a_journal_may_have_replicas() {
        let check = |brokers: &str, expected: Option<u8>| {
            let cli = Cli::try_parse_from(["courant-bench", "tail", "--brokers", brokers]);
            assert_eq!(cli.ok().map(|cli| cli.common.brokers), expected, "{brokers}");
        };
        check("0", None);
        check("1", Some(1));
        check("5", Some(5));
        check("6", None);
        assert_eq!(Cli::parse_from(["courant-bench", "tail"]).common.brokers, 1);
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let cli = Cli::parse_from([
            "courant-bench",
            "appends",
            "--in-flight",
            "1,8",
            "--surfaces",
            "http",
            "--quick",
        ]);
        assert!(cli.common.quick);
        let Command::Appends(args) = cli.command else { panic!("another command") };
        assert_eq!(
            (args.in_flight, args.surfaces, args.sizes),
            (vec![1, 8], vec![Surface::Http], vec![100, 1024])
        );
    }
}
