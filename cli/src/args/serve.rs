//! What `courant serve` is told: by flags, `COURANT_…` variables and a config file, in this order of precedence.
//! Everything is checked before anything is started, and all problems are told at once. It does not know how a
//! broker is composed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use courant_proto::duration::GoDuration;
use courant_proto::endpoint::Endpoint;
use courant_proto::token::{self, Symbols};
use courant_proto::tree::{self, Fields, Node};
use url::Url;

use crate::files;

#[cfg(test)]
mod tests;

/// Largest config file that is read.
const MAX_CONFIG_BYTES: usize = 1 << 20;

/// Shortest lease: below it, a pause of the scheduler looks like a death.
const MIN_LEASE: Duration = Duration::from_secs(2);

/// Longest wait for others to take over.
const MAX_DRAIN: Duration = Duration::from_secs(24 * 3600);

/// Most items that a member may hold, by the protocol.
const MAX_LIMIT: u32 = 131_072;

/// Most threads that journals are shared over.
const MAX_CORES: usize = 1_024;

/// The flags as they were given, or their variables.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "\
With no flags it is a complete system on one machine: an embedded registry, and fragments in a folder.

The config file is YAML with the names of the flags, like `listen: 127.0.0.1:8080`. A flag goes before its
variable, and a variable before the file.

SIGTERM or SIGINT stops it: with --etcd, other members take over first; then what is local is persisted. A second one stops
it at once. It ends with 0; with 1 when it failed, or had to leave something in its spools for the next start; and with 2 when
it was started wrongly, among others when another live process has its --id.

Examples:
  courant serve
  courant serve --data-dir /var/lib/courant --listen 0.0.0.0:8080
  courant serve --etcd http://etcd-0:2379,http://etcd-1:2379 --zone eu-west-1a --advertise http://10.0.0.7:8080")]
pub(crate) struct ServeFlags {
    /// YAML file with the names of these flags
    #[arg(long, value_name = "FILE", env = "COURANT_CONFIG")]
    config: Option<String>,
    /// Folder of all state; one process uses it at a time [default: ./courant-data]
    #[arg(long, value_name = "DIR", env = "COURANT_DATA_DIR")]
    data_dir: Option<String>,
    /// Address of gRPC and HTTP [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "COURANT_LISTEN")]
    listen: Option<String>,
    /// URLs of an etcd, separated by commas: makes this a member of a cluster
    #[arg(long, value_name = "URL[,URL]", env = "COURANT_ETCD")]
    etcd: Option<String>,
    /// Prefix of the cluster's keys [default: /courant/cluster]
    #[arg(long, value_name = "PREFIX", env = "COURANT_PREFIX")]
    prefix: Option<String>,
    /// Name of this member [default: made once, and kept in the data folder]
    #[arg(long, value_name = "NAME", env = "COURANT_ID")]
    id: Option<String>,
    /// Failure zone of this member [default: local]
    #[arg(long, value_name = "ZONE", env = "COURANT_ZONE")]
    zone: Option<String>,
    /// URL at which others reach this member [default: that of the listener]
    #[arg(long, value_name = "URL", env = "COURANT_ADVERTISE")]
    advertise: Option<String>,
    /// Most journals that this member holds replicas of [default: 65536]
    #[arg(long, value_name = "N", env = "COURANT_LIMIT")]
    limit: Option<String>,
    /// Threads that journals are shared over [default: one less than the machine has CPUs, at least 1]
    #[arg(long, value_name = "N", env = "COURANT_CORES")]
    cores: Option<String>,
    /// Bytes that may wait here for stores, like 20GiB; 0 is without end [default: 3/4 of the free space]
    #[arg(long, value_name = "BYTES", env = "COURANT_SPOOL_QUOTA")]
    spool_quota: Option<String>,
    /// Folder that file:// stores lie in [default: fragments/ of the data folder]
    #[arg(long, value_name = "DIR", env = "COURANT_FILE_ROOT")]
    file_root: Option<String>,
    /// YAML file with the spec of journals that are created by their first append
    #[arg(long, value_name = "FILE", env = "COURANT_DEFAULT_SPEC")]
    default_spec: Option<String>,
    /// How long the registry waits for a member that went silent [default: 20s]
    #[arg(long, value_name = "DURATION", env = "COURANT_LEASE_TTL")]
    lease_ttl: Option<String>,
    /// How long a stop waits, with --etcd, for other members to take over [default: 5m]
    #[arg(long, value_name = "DURATION", env = "COURANT_DRAIN_TIMEOUT")]
    drain_timeout: Option<String>,
    /// Address at which the embedded registry is open to etcdctl [default: none]
    #[arg(long, value_name = "ADDR", env = "COURANT_REGISTRY_LISTEN")]
    registry_listen: Option<String>,
    /// Whether an append creates a journal that does not exist [default: true, with --etcd false]
    #[arg(long, value_name = "BOOL", env = "COURANT_AUTO_CREATE")]
    auto_create: Option<String>,
}

/// What `courant serve` runs with: each value checked for itself and against the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServeArgs {
    /// Folder of all state. It need not exist yet.
    pub(crate) data_dir: PathBuf,
    /// `host:port` of gRPC and HTTP. Port 0 takes a free one.
    pub(crate) listen: String,
    /// URLs of the etcd; none is the embedded registry.
    pub(crate) etcd: Vec<Url>,
    /// Of the cluster's keys: a clean absolute path.
    pub(crate) prefix: String,
    /// Name of this member, if it was given.
    pub(crate) id: Option<String>,
    /// Failure zone.
    pub(crate) zone: String,
    /// At which others reach this member, if it was given.
    pub(crate) advertise: Option<Endpoint>,
    /// Most replicas that this member holds.
    pub(crate) limit: u32,
    /// Threads that journals are shared over: at least one.
    pub(crate) cores: usize,
    /// Bytes that spools may hold which no store has yet; zero is without end.
    pub(crate) spool_quota: Option<u64>,
    /// Folder of `file://` stores, which exists, if it was given.
    pub(crate) file_root: Option<PathBuf>,
    /// What journals are made of that are created by their first append, if it was given.
    pub(crate) default_spec: Option<Fields>,
    /// Whole seconds, at least two.
    pub(crate) lease_ttl: Duration,
    /// For which a stop waits at most until others have taken over. Zero hands nothing over.
    pub(crate) drain_timeout: Duration,
    /// `host:port` of the embedded registry, if it is to be open.
    pub(crate) registry_listen: Option<String>,
    /// Whether an append creates a journal that does not exist.
    pub(crate) auto_create: bool,
}

/// Reads a file: a text of so many bytes at most.
type ReadText<'a> = &'a dyn Fn(&Path, usize) -> std::io::Result<String>;

impl ServeFlags {
    /// Merges in the config file, and checks everything.
    ///
    /// # Errors
    /// One line for each problem.
    pub(crate) fn resolve(self) -> Result<ServeArgs, Vec<String>> {
        self.resolve_with(&files::read_text)
    }

    fn resolve_with(self, read: ReadText<'_>) -> Result<ServeArgs, Vec<String>> {
        let mut given = Given { values: BTreeMap::new(), problems: Vec::new() };
        let flags = [
            ("data-dir", self.data_dir),
            ("listen", self.listen),
            ("etcd", self.etcd),
            ("prefix", self.prefix),
            ("id", self.id),
            ("zone", self.zone),
            ("advertise", self.advertise),
            ("limit", self.limit),
            ("cores", self.cores),
            ("spool-quota", self.spool_quota),
            ("file-root", self.file_root),
            ("default-spec", self.default_spec),
            ("lease-ttl", self.lease_ttl),
            ("drain-timeout", self.drain_timeout),
            ("registry-listen", self.registry_listen),
            ("auto-create", self.auto_create),
        ];
        if let Some(config) = self.config {
            let names = flags.each_ref().map(|(name, _)| *name);
            given.read_config(&config, &names, read);
        }
        for (name, value) in flags {
            if let Some(value) = value {
                let variable = name.to_uppercase().replace('-', "_");
                given.values.insert(name, (format!("--{name} (COURANT_{variable})"), value));
            }
        }

        let etcd = given.take("etcd", urls).unwrap_or_default();
        let args = ServeArgs {
            data_dir: given.take("data-dir", path).unwrap_or_else(|| "./courant-data".into()),
            listen: given.take("listen", address).unwrap_or_else(|| "127.0.0.1:8080".into()),
            prefix: given.take("prefix", prefix).unwrap_or_else(|| "/courant/cluster".into()),
            id: given.take("id", |text| text_token(text, 4, 128)),
            zone: given.take("zone", |text| text_token(text, 1, 32)).unwrap_or_else(|| "local".into()),
            advertise: given.take("advertise", advertise),
            limit: given.take("limit", limit).unwrap_or(65_536),
            cores: given.take("cores", cores).unwrap_or_else(most_cpus),
            spool_quota: given.take("spool-quota", bytes),
            file_root: given.take("file-root", folder),
            default_spec: given.take("default-spec", |text| default_spec(text, read)),
            lease_ttl: given.take("lease-ttl", lease_ttl).unwrap_or(Duration::from_secs(20)),
            drain_timeout: given.take("drain-timeout", drain_timeout).unwrap_or(Duration::from_secs(300)),
            registry_listen: given.take("registry-listen", address),
            auto_create: given.take("auto-create", boolean).unwrap_or(etcd.is_empty()),
            etcd,
        };
        if args.registry_listen.is_some() && !args.etcd.is_empty() {
            given.problems.push(
                "--registry-listen and --etcd: with an etcd there is no embedded registry to open; leave one of them out"
                    .to_owned(),
            );
        }
        if given.problems.is_empty() { Ok(args) } else { Err(given.problems) }
    }
}

/// Values by the names of their flags, each with where it came from; and what was wrong so far.
struct Given {
    values: BTreeMap<&'static str, (String, String)>,
    problems: Vec<String>,
}

impl Given {
    fn read_config(&mut self, path: &str, names: &[&'static str], read: ReadText<'_>) {
        if path.is_empty() {
            return self
                .problems
                .push("--config (COURANT_CONFIG): is empty; give a file, or leave it out".to_owned());
        }
        let text = match read(Path::new(path), MAX_CONFIG_BYTES) {
            Ok(text) => text,
            Err(error) => return self.problems.push(format!("--config {path}: {error}")),
        };
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return;
        }
        let options = serde_saphyr::options! { with_snippet: false };
        let entries: BTreeMap<String, serde_saphyr::Spanned<Option<String>>> =
            match serde_saphyr::from_str_with_options(text.trim_start_matches('\u{feff}'), options) {
                Ok(entries) => entries,
                Err(error) => {
                    let place = error
                        .location()
                        .map_or_else(String::new, |l| format!(":{}:{}", l.line(), l.column()));
                    let message = error.to_string();
                    let message =
                        message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
                    return self
                        .problems
                        .push(format!("{path}{place}: {message} (expected `flag: value` lines)"));
                }
            };
        for (key, value) in entries {
            let place = format!("{path}:{}:{}", value.referenced.line(), value.referenced.column());
            match (names.iter().find(|name| **name == key), value.value) {
                (None, _) => self.problems.push(format!("{place}: {}", tree::unknown_key(&key, names))),
                (Some(name), Some(value)) => {
                    self.values.insert(name, (format!("{place}: {name}"), value));
                }
                // A key with nothing behind it says nothing.
                (Some(_), None) => {}
            }
        }
    }

    /// Takes a value out, if it was given and is right.
    fn take<T, E: Display>(&mut self, name: &str, check: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let (source, text) = self.values.remove(name)?;
        if text.is_empty() {
            self.problems.push(format!("{source}: is empty; give a value, or leave it out"));
            return None;
        }
        match check(&text) {
            Ok(value) => Some(value),
            Err(reason) => {
                let shown: String =
                    if text.contains('@') { "***".into() } else { text.chars().take(128).collect() };
                self.problems.push(format!("{source} {shown:?}: {reason}"));
                None
            }
        }
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    Ok(text.into())
}

fn folder(text: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(text);
    if path.is_dir() { Ok(path) } else { Err("is not a folder; make it first, or leave it out") }
}

fn address(text: &str) -> Result<String, &'static str> {
    let expected = "expected HOST:PORT with a port from 0 to 65535, like 127.0.0.1:8080 or [::1]:8080";
    let (host, port) = text.rsplit_once(':').ok_or(expected)?;
    let bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
    let clean = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
    if bare && clean && !port.starts_with('+') && port.parse::<u16>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err(expected)
    }
}

fn urls(text: &str) -> Result<Vec<Url>, &'static str> {
    let expected = "expected http:// or https:// URLs, separated by commas, like http://127.0.0.1:2379";
    text.split(',')
        .map(|url| {
            let url = Url::parse(url.trim()).map_err(|_| expected)?;
            let right = matches!(url.scheme(), "http" | "https") && url.has_host();
            if right { Ok(url) } else { Err(expected) }
        })
        .collect()
}

fn prefix(text: &str) -> Result<String, &'static str> {
    let expected = "expected a clean absolute path without a slash at its end, like /courant/cluster";
    let relative = text.strip_prefix('/').ok_or(expected)?;
    token::check_path(relative, 1, 512).map_err(|_| expected)?;
    Ok(text.to_owned())
}

fn text_token(text: &str, least: usize, most: usize) -> Result<String, String> {
    token::check_token(text, Symbols::Token, least, most).map_err(|invalid| {
        format!("{invalid} (expected {least} to {most} bytes of letters, digits and - _ + / .)")
    })?;
    Ok(text.to_owned())
}

fn advertise(text: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::parse(text)
        .map_err(|invalid| format!("{invalid} (expected a URL like http://10.0.0.7:8080)"))?;
    if text.starts_with("http://") || text.starts_with("https://") {
        Ok(endpoint)
    } else {
        Err("expected http:// or https://, like http://10.0.0.7:8080".to_owned())
    }
}

fn limit(text: &str) -> Result<u32, String> {
    let limit = text.parse().ok().filter(|limit| *limit <= MAX_LIMIT);
    limit.ok_or_else(|| format!("expected a whole number from 0 to {MAX_LIMIT}"))
}

fn cores(text: &str) -> Result<usize, String> {
    let cores = text.parse().ok().filter(|cores| (1..=MAX_CORES).contains(cores));
    cores.ok_or_else(|| format!("expected a whole number from 1 to {MAX_CORES}"))
}

/// One processor is left to codecs, the registry and the kernel; the others own journals.
fn most_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, |all| all.get().saturating_sub(1).clamp(1, MAX_CORES))
}

/// `BYTES`, or a number with one of the units that sizes are printed in.
fn bytes(text: &str) -> Result<u64, &'static str> {
    let expected = "expected bytes, like 1000000, 512MiB, 20GiB or 1.5TiB";
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let scale: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(expected),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_plain(whole) || !is_plain(part) || part.len() > 6 || scale == 1 && number.contains('.') {
        return Err(expected);
    }
    let whole: u64 = whole.parse().map_err(|_| expected)?;
    // Six digits of a unit are far below what the product can hold.
    let parts = u128::from(part.parse::<u64>().map_err(|_| expected)?) * u128::from(scale);
    let parts = parts / 10_u128.pow(u32::try_from(part.len()).unwrap_or(0));
    let parts = u64::try_from(parts).map_err(|_| expected)?;
    whole.checked_mul(scale).and_then(|bytes| bytes.checked_add(parts)).ok_or(expected)
}

fn default_spec(path: &str, read: ReadText<'_>) -> Result<Fields, String> {
    let text = read(Path::new(path), tree::MAX_YAML_BYTES).map_err(|error| error.to_string())?;
    Node::parse_fields(&text).map_err(|error| format!("{path}:{error}"))
}

fn lease_ttl(text: &str) -> Result<Duration, String> {
    let duration: GoDuration = text.parse().map_err(|error| format!("{error}"))?;
    let whole = duration.to_std().filter(|d| *d >= MIN_LEASE && d.subsec_nanos() == 0);
    // etcd refuses more than 9,000,000,000 seconds, which no duration of ours reaches.
    whole.ok_or_else(|| "expected whole seconds, at least 2s".to_owned())
}

fn drain_timeout(text: &str) -> Result<Duration, String> {
    let duration: GoDuration = text.parse().map_err(|error| format!("{error}"))?;
    duration.to_std().filter(|d| *d <= MAX_DRAIN).ok_or_else(|| "expected 0s to 24h".to_owned())
}

fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("expected true or false"),
    }
}
