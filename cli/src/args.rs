//! The command line: which commands there are, with which flags, and what they are called in the environment.
//! It does not know what they do.

use std::path::PathBuf;

use clap::builder::{Styles, styling::Style};
use clap::{Args, Parser, Subcommand, ValueEnum};
use courant_proto::duration::GoDuration;
use courant_proto::selector::LabelSelector;
use courant_proto::validate::Validate as _;
use courant_proto::wire;

mod fragments;
mod serve;

pub(crate) use fragments::{FragmentsArgs, FragmentsFormat, Moment};
pub(crate) use serve::{ServeArgs, ServeFlags};

/// Headings in bold and nothing else, so that help reads the same without colours.
const STYLES: Styles = Styles::plain().header(Style::new().bold()).usage(Style::new().bold());

/// A journal broker: appends of any number of writers, put in order, replicated, and kept in an object store.
#[derive(Debug, Parser)]
#[command(name = "courant", version, styles = STYLES, max_term_width = 110, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) log: Log,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is logged, on stderr.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// Level of logs: trace, debug, info, warn, error or off [default: info to serve, else warn]
    #[arg(long, alias = "log.level", value_name = "LEVEL", env = "COURANT_LOG_LEVEL", global = true)]
    pub(crate) log_level: Option<String>,
    /// Form of logs
    #[arg(
        long,
        alias = "log.format",
        value_name = "FORMAT",
        env = "COURANT_LOG_FORMAT",
        default_value = "text",
        global = true
    )]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object on each line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a broker and its HTTP gateway
    Serve(ServeFlags),
    /// List, change, read and append to journals
    Journals(JournalsArgs),
    /// List the brokers of a cluster
    Members(MembersArgs),
    /// Print a script that completes this command in a shell
    #[command(after_help = "Example:\n  courant completions bash > /etc/bash_completion.d/courant")]
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct JournalsArgs {
    #[command(flatten)]
    pub(crate) at: BrokerAt,
    #[command(subcommand)]
    pub(crate) command: JournalsCommand,
}

#[derive(Debug, Args)]
pub(crate) struct MembersArgs {
    #[command(flatten)]
    pub(crate) at: BrokerAt,
    #[command(subcommand)]
    pub(crate) command: MembersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MembersCommand {
    /// List the brokers of the cluster, with what they hold
    #[command(
        after_help = "Any broker answers.\n\nExamples:\n  courant members list\n  courant members list -o json | jq -r '.members[] | select(.leader).spec.process_spec.endpoint'"
    )]
    List(MembersListArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MembersListArgs {
    /// Form of the output
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Form,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people
    Table,
    /// The same as JSON, in YAML
    Yaml,
    /// For programs
    Json,
}

/// Where a broker is.
#[derive(Debug, Args)]
pub(crate) struct BrokerAt {
    /// URL of a broker, or of several with commas between them
    #[arg(
        long,
        alias = "broker.address",
        value_name = "URL",
        env = "COURANT_BROKER",
        default_value = "http://127.0.0.1:8080",
        global = true
    )]
    pub(crate) broker: String,
    /// Zone whose replicas are read where there are any
    #[arg(
        long,
        value_name = "ZONE",
        env = "COURANT_ZONE",
        default_value = "",
        hide_default_value = true,
        global = true
    )]
    pub(crate) zone: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JournalsCommand {
    /// List journals
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Create, update and delete journals after a tree of specs in YAML
    #[command(after_help = APPLY_EXAMPLES)]
    Apply(ApplyArgs),
    /// Change the specs of journals in an editor, and apply them
    #[command(after_help = EDIT_EXAMPLES)]
    Edit(EditArgs),
    /// Read journals
    #[command(after_help = READ_EXAMPLES)]
    Read(ReadArgs),
    /// Append to journals
    #[command(after_help = APPEND_EXAMPLES)]
    Append(AppendArgs),
    /// List the fragments of journals
    #[command(after_help = fragments::EXAMPLES)]
    Fragments(FragmentsArgs),
    /// Suspend journals that are not used, until their next append
    #[command(after_help = "Example:\n  courant journals suspend -l prefix=acme/archive/")]
    Suspend(SuspendArgs),
    /// Set the write heads of journals to where their stored fragments end, after the loss of all replicas
    #[command(
        after_help = "A journal needs this when appends to it are refused with INDEX_HAS_GREATER_OFFSET. First bring back the brokers that held it last: \
with one of them on its data folder it goes on by itself, and nothing is lost. Which of them are away is told.\n\nExamples:\n  \
courant journals reset-head -l name=acme/orders/part-000\n  courant journals reset-head -l name=acme/orders/part-000 --accept-loss"
    )]
    ResetHead(ResetHeadArgs),
    /// Remove stored fragments that have outlived their journals' retention
    #[command(after_help = PRUNE_EXAMPLES)]
    Prune(PruneArgs),
    /// Prove of journals that their brokers and stores hold all of them, and the same
    #[command(after_help = AUDIT_EXAMPLES)]
    Audit(AuditArgs),
    /// Ask the broker whether a fragment store works
    #[command(
        after_help = "Example:\n  courant journals store-health s3://acme-logs/ --check-delete-prefix probe/"
    )]
    StoreHealth(StoreHealthArgs),
}

const PRUNE_EXAMPLES: &str = "\
A fragment goes when its store got it longer ago than the journal's fragment.retention says. A retention of zero keeps everything, and
the newest fragment of a journal always stays. Stores are reached from here, with the credentials of this environment.

Examples:
  courant journals prune -l prefix=acme/logs/ --dry-run
  courant journals prune -l prefix=acme/logs/ --yes -o json | jq .bytes";

const LIST_EXAMPLES: &str = "\
Examples:
  courant journals list -l prefix=acme/ --primary --replicas --rf
  courant journals list -l 'app.gazette.dev/message-type in (Order, Refund)' -L content-type
  courant journals list -l prefix=acme/ -o yaml > journals.yaml
  courant journals list -o json | jq -r '.journals[].spec.name'";

const APPLY_EXAMPLES: &str = "\
A journal without a revision is created; with one, it is updated or deleted if it is still at that revision;
-1 does not look. `courant journals list -o yaml` prints a tree with revisions, ready to be edited and applied.

Examples:
  courant journals apply --specs journals.yaml
  courant journals list -l prefix=acme/ -o yaml | sed 's/replication: 2/replication: 3/' | courant journals apply
  courant journals apply --specs journals.yaml --dry-run";

const EDIT_EXAMPLES: &str = "\
The editor is that of COURANT_EDITOR, or EDITOR, or vi. What cannot be applied is opened again, with the reason.

Example:
  EDITOR=nano courant journals edit -l prefix=acme/orders/";

const READ_EXAMPLES: &str = "\
Each fragment's content is written whole before that of another journal, so messages stay whole.

Examples:
  courant journals read -l name=acme/orders/part-000 | head -2
  courant journals read -l prefix=acme/orders/ --block --tail
  courant journals read -l prefix=acme/orders/ -o chunk --offsets at.json --offsets-out at.json";

const APPEND_EXAMPLES: &str = "\
Examples:
  courant journals append -l name=acme/orders/part-000 -i batch.ndjson
  tail -f access.log | courant journals append -l prefix=acme/logs/ -f lines
  printf 'key-1\\n{\"order\":1}\\n' | courant journals append -l prefix=acme/orders/ -f lines -m modulo";

const AUDIT_EXAMPLES: &str = "\
Every broker of a journal is asked for what it holds, and every object of the store is read. What is told:
  GAP         nobody holds the bytes between two spans, or before the write head
  DIFFERS     two hold other bytes at the same offsets
  DIGEST      content has another SHA-1 than its name or its broker says
  UNREADABLE  content cannot be read, or an object is not what its name says
  LOST        a broker would send readers to an object that is not there
  PAST_HEAD   something lies behind the write head of a broker
  STRAY       an object in the journal's folder is no fragment of it; with --deep, of no journal
  ORPHAN      with --deep: objects are fragments of a journal that does not exist
  UNKNOWN     somebody could not be asked
The exit code is 1 if anything is. Appends may go on meanwhile.

Stores are read with the credentials that are found here, in the environment, and not with those of the brokers.

Examples:
  courant journals audit --deep -o json
  courant journals audit --name acme/orders/part-000 --file-root /mnt/fragments
  courant journals audit -l prefix=acme/ --brokers-only -o json | jq '.journals[].findings[]'";

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) select: MaybeSelect,
    /// Form of the output
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Add a column with the values of a label; may be given several times
    #[arg(short = 'L', long = "label-columns", value_name = "LABEL")]
    pub(crate) label_columns: Vec<String>,
    /// Add a column with the primary broker
    #[arg(short = 'p', long)]
    pub(crate) primary: bool,
    /// Add a column with the other brokers
    #[arg(short = 'r', long)]
    pub(crate) replicas: bool,
    /// Add a column with the replication factor
    #[arg(long)]
    pub(crate) rf: bool,
    /// Add a column with what is amiss with the replicas, if something is
    #[arg(long)]
    pub(crate) state: bool,
    /// Add a column with the first fragment store
    #[arg(long)]
    pub(crate) stores: bool,
    /// Print again at each change, until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
}

/// How a listing is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// A tree of specs, as `apply` reads it.
    Yaml,
    /// The broker's response.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// File with the specs; `-` is standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) specs: PathBuf,
    /// Print the request as JSON, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Most changes that one transaction makes; 0 makes all or none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_txn_size: usize,
}

#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    #[command(flatten)]
    pub(crate) select: Select,
    /// Most changes that one transaction makes; 0 makes all or none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_txn_size: usize,
}

#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) select: Select,
    /// Wait at the end for what is appended, and for journals that come to match
    #[arg(short = 'b', long)]
    pub(crate) block: bool,
    /// Start at the end where no offset is given
    #[arg(long)]
    pub(crate) tail: bool,
    /// File to write to, over what it holds; `-` is standard output
    #[arg(short = 'o', long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
    /// JSON file with the offsets to start at, like {"acme/x": 1024}
    #[arg(long, value_name = "FILE")]
    pub(crate) offsets: Option<PathBuf>,
    /// File to write the offsets to that were reached; may be the one of --offsets, which is then kept as .previous
    #[arg(long, value_name = "FILE")]
    pub(crate) offsets_out: Option<PathBuf>,
    /// Skip fragments that were persisted before, in Unix seconds or like 2026-07-01T00:00:00Z
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = unix_seconds)]
    pub(crate) from: i64,
    /// Fetch stored fragments from their stores, and ask brokers only where they are
    #[arg(long)]
    pub(crate) direct: bool,
    /// Folder that file:// stores lie in, as it is seen here; implies --direct
    #[arg(long, value_name = "DIR")]
    pub(crate) file_root: Option<PathBuf>,
    /// Exit with 1 if content was missing and had to be skipped
    #[arg(long)]
    pub(crate) fail_on_gap: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AppendArgs {
    #[command(flatten)]
    pub(crate) select: Select,
    /// File to append; `-` is standard input
    #[arg(short = 'i', long, value_name = "FILE", default_value = "-")]
    pub(crate) input: PathBuf,
    /// What the input is made of
    #[arg(short = 'f', long, default_value = "none")]
    pub(crate) framing: Framing,
    /// Which of the selected journals takes a record
    #[arg(short = 'm', long, default_value = "random")]
    pub(crate) mapping: Mapping,
    /// Keys are base64
    #[arg(long)]
    pub(crate) base64: bool,
}

/// What the input of an append is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
    /// One record, appended whole or not at all
    None,
    /// Lines, each with its line feed
    Lines,
    /// Frames: 66 33 93 36, the length in 4 bytes with the least first, and as many bytes
    Fixed,
}

/// Which of the selected journals takes a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mapping {
    /// Any
    Random,
    /// By the hash of the key that precedes it, modulo the number of journals
    Modulo,
    /// By the hash of the key that precedes it, with few moves when journals are added
    Rendezvous,
    /// The one that is named by the record that precedes it
    Direct,
}

#[derive(Debug, Args)]
pub(crate) struct SuspendArgs {
    #[command(flatten)]
    pub(crate) select: Select,
    /// Suspend also while content is not yet persisted
    #[arg(short = 'f', long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResetHeadArgs {
    #[command(flatten)]
    pub(crate) select: Select,
    /// Reset also where former replicas are away, and give up what they alone may hold
    #[arg(long)]
    pub(crate) accept_loss: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Label selector of the journals, like name=acme/x, prefix=acme/ or 'app=web, region in (eu, us)'
    #[arg(short = 'l', long, value_parser = selector, required_unless_present_any = ["name", "deep"])]
    pub(crate) selector: Option<wire::LabelSelector>,
    /// Name of a journal; may be given several times
    #[arg(long, value_name = "JOURNAL", conflicts_with = "selector")]
    pub(crate) name: Vec<String>,
    /// Folder that file:// stores lie in, as it is seen from here
    #[arg(long, value_name = "DIR", env = "COURANT_FILE_ROOT")]
    pub(crate) file_root: Option<PathBuf>,
    /// Read stored content through brokers, and do not look into stores
    #[arg(long, conflicts_with = "file_root")]
    pub(crate) brokers_only: bool,
    /// Look at every object of all stores too, so that those of no journal are found; without a selector, audit all journals
    #[arg(long, conflicts_with = "brokers_only")]
    pub(crate) deep: bool,
    /// URL of a store that no journal names (any more), to look at as well; may be given several times
    #[arg(long, value_name = "STORE_URL", requires = "deep")]
    pub(crate) store: Vec<String>,
    /// Compare what is listed, and read no content
    #[arg(long)]
    pub(crate) no_content: bool,
    /// Form of the output
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Form,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub(crate) select: Select,
    /// Tell what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask before anything is removed
    #[arg(short = 'y', long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Folder that file:// stores lie in, as it is seen from here
    #[arg(long, value_name = "DIR", env = "COURANT_FILE_ROOT")]
    pub(crate) file_root: Option<PathBuf>,
    /// Form of the output
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Form,
}

#[derive(Debug, Args)]
pub(crate) struct StoreHealthArgs {
    /// URL of the store, like s3://bucket/prefix/
    #[arg(value_name = "STORE_URL")]
    pub(crate) store: String,
    /// Also write and delete a file under this prefix, which ends in a slash; empty is the root of the store
    #[arg(long, value_name = "PREFIX/")]
    pub(crate) check_delete_prefix: Option<String>,
}

/// A selector that must be given.
#[derive(Debug, Args)]
pub(crate) struct Select {
    /// Label selector of the journals, like name=acme/x, prefix=acme/ or 'app=web, region in (eu, us)'
    #[arg(short = 'l', long, value_parser = selector)]
    pub(crate) selector: wire::LabelSelector,
}

/// A selector that may be left out, for all journals.
#[derive(Debug, Args)]
pub(crate) struct MaybeSelect {
    /// Label selector of the journals, like name=acme/x, prefix=acme/ or 'app=web, region in (eu, us)' [default: all]
    #[arg(short = 'l', long, value_parser = selector, default_value = "", hide_default_value = true)]
    pub(crate) selector: wire::LabelSelector,
}

/// Reads a selector, and checks what a listing would.
fn selector(text: &str) -> Result<wire::LabelSelector, String> {
    let selector = wire::LabelSelector::from(&LabelSelector::parse(text).map_err(|error| error.to_string())?);
    let request = wire::ListRequest { selector: Some(selector), ..Default::default() };
    request.validate().map_err(|error| error.to_string())?;
    Ok(request.selector.unwrap_or_default())
}

/// Reads a moment: Unix seconds, or RFC 3339.
fn unix_seconds(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        return if seconds < 0 { Err("expected no time before 1970".to_owned()) } else { Ok(seconds) };
    }
    text.parse::<jiff::Timestamp>()
        .map(|moment| moment.as_second())
        .map_err(|_| "expected Unix seconds, or a time like 2026-07-01T00:00:00Z".to_owned())
}

fn positive_duration(text: &str) -> Result<GoDuration, String> {
    let duration: GoDuration =
        text.parse().map_err(|error: courant_proto::duration::ParseDurationError| error.to_string())?;
    if duration < GoDuration::ZERO { Err("expected no negative duration".to_owned()) } else { Ok(duration) }
}
