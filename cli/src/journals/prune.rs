//! `courant journals prune`: removes stored fragments that have outlived their journals' retention, with the credentials of whoever runs it.
//!
//! ```text
//!  broker ── specs ──► stores ── all that lies there ──► plan (pure) ── shown, confirmed ──► removed, one by one
//! ```
//!
//! It lists the stores themselves and not the brokers' view of them: so it finds fragments that others cover, and those of journals that are
//! suspended and that no broker holds.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use courant_fragment::retention;
use courant_fragment::store::{Config, Stores};
use courant_proto::fragment::Fragment;
use courant_proto::name::JournalName;
use courant_proto::spec::JournalSpec;
use courant_proto::time::Clock as _;
use courant_proto::wire;
use futures::StreamExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::Serialize;

use super::{AT_ONCE, name_of};
use crate::args::{Form, PruneArgs};
use crate::clock::SystemClock;
use crate::failure::Failure;
use crate::output;
use crate::session::{Session, count};

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
struct Report {
    dry_run: bool,
    journals: Vec<Pruned>,
    /// Fragments that were removed, or would be, and the bytes of content in them.
    fragments: usize,
    bytes: u64,
    failures: usize,
}

/// One journal.
#[derive(Debug, Default, Serialize)]
struct Pruned {
    journal: String,
    /// In seconds; zero keeps everything, and then the stores are not looked at.
    retention: u64,
    /// Fragments that its stores have, and the bytes of content in them.
    stored: usize,
    stored_bytes: u64,
    removed: Vec<Removed>,
    failures: Vec<String>,
}

/// A fragment that was removed, or would be.
#[derive(Debug, Serialize)]
struct Removed {
    store: String,
    path: String,
    begin: i64,
    end: i64,
    mod_time: i64,
    #[serde(skip)]
    fragment: Fragment,
}

/// Plans, asks, removes, and tells.
pub(super) async fn run(session: &Session, args: PruneArgs) -> Result<(), Failure> {
    let is_asked = !args.dry_run && !args.yes;
    if is_asked && !io::stdin().is_terminal() {
        return Err(Failure::usage([
            "nobody can be asked here: remove without asking with --yes, or look what would be removed with --dry-run".to_owned(),
        ]));
    }
    let journals = session.select(args.select.selector.clone()).await?;
    let specs = journals.into_iter().filter_map(|journal| {
        let name = name_of(&journal).to_owned();
        journal.spec.map(|spec| JournalSpec::try_from(spec).map_err(|invalid| format!("{name}: {invalid}")))
    });
    let specs = specs.collect::<Result<Vec<_>, _>>().map_err(|invalid| Failure::failed([invalid]))?;
    let in_files =
        |spec: &JournalSpec| spec.fragment.stores.iter().any(|url| url.as_str().starts_with("file://"));
    if args.file_root.is_none() && specs.iter().any(in_files) {
        return Err(Failure::usage([
            "the journals lie in file:// stores: say with --file-root where these are seen from here"
                .to_owned(),
        ]));
    }
    let names = everyone(session).await?;
    let config = Config { file_root: args.file_root.clone(), ..Config::default() };
    // It jitters pauses between attempts, and nothing else.
    let rng = StdRng::seed_from_u64(u64::from(std::process::id()));
    let stores = Stores::new(config, std::sync::Arc::new(SystemClock), rng);

    let planned = specs.iter().map(|spec| planned(&stores, spec, &names));
    let mut report = Report { dry_run: args.dry_run, ..Report::default() };
    report.journals = futures::stream::iter(planned).buffered(AT_ONCE).collect().await;
    report.count();
    if is_asked && report.fragments > 0 {
        output::print(&text(&report))?;
        if !confirmed(&report)? {
            return Err(Failure::failed(["nothing was removed".to_owned()]));
        }
    }
    if !args.dry_run {
        let removals = report.journals.into_iter().map(|pruned| removed(&stores, pruned));
        report.journals = futures::stream::iter(removals).buffered(AT_ONCE).collect().await;
        report.count();
    }
    output::print(&render(&report, args.format)?)?;
    let failures = report
        .journals
        .iter()
        .flat_map(|pruned| pruned.failures.iter().map(|failure| format!("{}: {failure}", pruned.journal)));
    let failures: Vec<String> = failures.collect();
    if failures.is_empty() { Ok(()) } else { Err(Failure::failed(failures)) }
}

/// The names of all journals, to tell which folders belong to whom.
async fn everyone(session: &Session) -> Result<BTreeSet<JournalName>, Failure> {
    let all = session.client.list(wire::LabelSelector::default()).await;
    let all = all.map_err(|error| session.failure("cannot list the journals", &error))?;
    Ok(all.journals.iter().filter_map(|journal| JournalName::parse(name_of(journal)).ok()).collect())
}

/// What would be removed of a journal. Of one whose stores do not all answer, nothing.
async fn planned(stores: &Stores, spec: &JournalSpec, names: &BTreeSet<JournalName>) -> Pruned {
    let retention = spec.fragment.retention.to_std().unwrap_or_default();
    let mut pruned =
        Pruned { journal: spec.name.to_string(), retention: retention.as_secs(), ..Pruned::default() };
    if retention.is_zero() {
        return pruned;
    }
    let folder = format!("{}/", spec.name);
    let nested: Vec<_> = names.iter().filter(|name| name.as_str().starts_with(&folder)).cloned().collect();
    let mut stored = Vec::new();
    for url in &spec.fragment.stores {
        let listed = match stores.get(url) {
            Ok(store) => store.list(&spec.name, &nested).await,
            Err(error) => Err(error),
        };
        match listed {
            Ok(fragments) => stored.extend(fragments),
            Err(error) => {
                pruned.failures.push(format!("cannot list {url}, and nothing was removed: {error}"));
                return pruned;
            }
        }
    }
    pruned.stored = stored.len();
    pruned.stored_bytes = stored.iter().map(Fragment::length).sum();
    let expired = retention::expired(&stored, None, retention, SystemClock.now());
    pruned.removed = expired.into_iter().map(Removed::of).collect();
    pruned
}

/// Carries the plan out, and leaves in it what was done.
async fn removed(stores: &Stores, mut pruned: Pruned) -> Pruned {
    for removed in std::mem::take(&mut pruned.removed) {
        let gone = match removed.fragment.store.as_ref().map(|url| stores.get(url)) {
            Some(Ok(store)) => store.remove(&removed.fragment).await,
            Some(Err(error)) => Err(error),
            None => continue,
        };
        match gone {
            Ok(()) => pruned.removed.push(removed),
            Err(error) => {
                // What fails once may fail for all of the journal.
                pruned.failures.push(format!("cannot remove {}, and stopped there: {error}", removed.path));
                break;
            }
        }
    }
    pruned
}

impl Removed {
    fn of(fragment: Fragment) -> Self {
        Self {
            store: fragment.store.as_ref().map(ToString::to_string).unwrap_or_default(),
            path: fragment.content_path(),
            begin: fragment.begin.get(),
            end: fragment.end.get(),
            mod_time: fragment.mod_time,
            fragment,
        }
    }
}

impl Pruned {
    fn bytes(&self) -> u64 {
        self.removed.iter().map(|removed| removed.fragment.length()).sum()
    }
}

impl Report {
    fn count(&mut self) {
        self.fragments = self.journals.iter().map(|pruned| pruned.removed.len()).sum();
        self.bytes = self.journals.iter().map(Pruned::bytes).sum();
        self.failures = self.journals.iter().map(|pruned| pruned.failures.len()).sum();
    }
}

fn confirmed(report: &Report) -> Result<bool, Failure> {
    let failed = |error: io::Error| Failure::of_io("the terminal", &error);
    let mut stderr = io::stderr().lock();
    write!(stderr, "Remove {} for good? Type yes: ", count(report.fragments, "fragment"))
        .and_then(|()| stderr.flush())
        .map_err(failed)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(line.trim() == "yes")
}

fn render(report: &Report, form: Form) -> Result<String, Failure> {
    let failed = |error: String| Failure::failed([format!("cannot print the report: {error}")]);
    match form {
        Form::Table => Ok(text(report)),
        Form::Json => {
            serde_json::to_string(report).map(|text| text + "\n").map_err(|error| failed(error.to_string()))
        }
        Form::Yaml => serde_saphyr::to_string(report).map_err(|error| failed(error.to_string())),
    }
}

fn text(report: &Report) -> String {
    let headings = ["Journal", "Retention", "Stored", "Holds", "Expired", "Of it"].map(str::to_owned);
    let rows = report.journals.iter().map(|pruned| {
        let keeps = pruned.retention == 0;
        let shown = |text: String| if keeps { String::new() } else { text };
        vec![
            pruned.journal.clone(),
            if keeps { "all".to_owned() } else { format!("{:?}", Duration::from_secs(pruned.retention)) },
            shown(pruned.stored.to_string()),
            shown(output::bytes(pruned.stored_bytes)),
            shown(pruned.removed.len().to_string()),
            shown(output::bytes(pruned.bytes())),
        ]
    });
    let verb = if report.dry_run { "would be removed" } else { "removed" };
    format!(
        "{}{} of {}, {} of content: {verb}\n",
        output::table(&headings, rows.collect()),
        count(report.fragments, "fragment"),
        count(report.journals.len(), "journal"),
        output::bytes(report.bytes)
    )
}
