//! `courant journals audit`: whether brokers and stores hold all of a journal, and all of them the same.
//!
//! ```text
//!  brokers ── what each knows and holds ──┐
//!  stores ─── what lies there ────────────┼─► gather ─► content, cut where any span begins or ends ─► judge (pure)
//!  brokers ── where the journal ends ─────┘
//! ```

pub(super) mod ask;
mod cuts;
mod deep;
mod estate;
mod gather;
mod judge;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _};

use courant_fragment::store::{Config, Stores};
use courant_proto::name::JournalName;
use courant_proto::wire::{self, list_response};
use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::Serialize;

use super::name_of;
use crate::args::{AuditArgs, Form};
use crate::clock::SystemClock;
use crate::failure::Failure;
use crate::output;
use crate::session::{Session, count, nothing_matches};
use deep::Walked;
use gather::{Places, gather};
use judge::{Evidence, Finding, Verdict, judge};

/// Journals that are looked at at a time.
const AT_ONCE: usize = 4;

/// What the audit of all journals came to.
#[derive(Debug, Serialize)]
struct Report {
    journals: Vec<Audited>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stores: Vec<Walked>,
    findings: usize,
}

/// What the audit of one journal came to.
#[derive(Debug, Serialize)]
struct Audited {
    journal: String,
    /// Its end, where somebody told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<i64>,
    holders: Vec<Held>,
    findings: Vec<Finding>,
    notes: Vec<String>,
}

/// What somebody holds of a journal.
#[derive(Debug, Serialize)]
struct Held {
    name: String,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<i64>,
    fragments: usize,
    bytes: u64,
    bytes_read: u64,
}

/// Audits the journals, prints what came of it, and fails if there is a finding.
pub(super) async fn run(session: &Session, args: AuditArgs) -> Result<(), Failure> {
    let listing = session
        .client
        .list(selector(&args))
        .await
        .map_err(|error| session.failure("cannot list the journals", &error))?;
    let missing: Vec<String> = missing(&args.name, &listing.journals).map(str::to_owned).collect();
    if !missing.is_empty() {
        return Err(Failure::failed(
            missing.iter().map(|name| format!("journal {name} does not exist; see `courant journals list`")),
        ));
    }
    if listing.journals.is_empty() && !args.deep {
        return Err(nothing_matches());
    }
    let all = session
        .client
        .list(wire::LabelSelector::default())
        .await
        .map_err(|error| session.failure("cannot list the journals", &error))?;
    let urls = if args.deep { store_urls(&all.journals, &args.store) } else { BTreeSet::new() };
    let in_files =
        listing.journals.iter().any(is_in_files) || urls.iter().any(|url| url.starts_with("file://"));
    if !args.brokers_only && args.file_root.is_none() && in_files {
        return Err(Failure::usage([
            "the journals lie in file:// stores: say with --file-root where these are seen from here, \
             or read through brokers with --brokers-only"
                .to_owned(),
        ]));
    }
    let names: BTreeSet<JournalName> =
        all.journals.iter().filter_map(|journal| JournalName::parse(name_of(journal)).ok()).collect();
    let etcd = listing.header.etcd.unwrap_or_default();
    let places = Places {
        brokers: ask::Brokers::default(),
        stores: (!args.brokers_only).then(|| stores(&args)),
        content: !args.no_content,
    };
    let audits = listing.journals.iter().map(async |journal| {
        let evidence = gather(&places, journal, &nested(&names, name_of(journal)), etcd).await;
        audited(name_of(journal), &evidence, judge(&evidence))
    });
    let progress = progress(listing.journals.len());
    let mut report = Report { journals: Vec::new(), stores: Vec::new(), findings: 0 };
    let mut audits = futures::stream::iter(audits).buffered(AT_ONCE);
    while let Some(audited) = audits.next().await {
        report.findings += audited.findings.len();
        progress.inc(1);
        report.journals.push(audited);
    }
    if let Some(stores) = &places.stores {
        for url in &urls {
            let walked = deep::walk(stores, url, &names, places.content, &progress).await;
            report.findings += walked.findings.len() + walked.untold;
            report.stores.push(walked);
        }
    }
    progress.finish_and_clear();
    output::print(&render(&report, args.format)?)?;
    if report.findings == 0 {
        return Ok(());
    }
    let faulty = report.journals.iter().filter(|audited| !audited.findings.is_empty()).count();
    let stores = report.stores.iter().filter(|walked| !walked.findings.is_empty()).count();
    let besides = if stores > 0 { format!(" and in {}", count(stores, "store")) } else { String::new() };
    Err(Failure::failed([format!(
        "{} in {faulty} of {}{besides}; see `courant journals audit --help` for what they mean",
        count(report.findings, "finding"),
        count(report.journals.len(), "journal")
    )]))
}

fn selector(args: &AuditArgs) -> wire::LabelSelector {
    let label = |name: &String| wire::Label { name: "name".into(), value: name.clone(), prefix: false };
    let names = || wire::LabelSelector {
        include: Some(wire::LabelSet { labels: sorted(&args.name).into_iter().map(label).collect() }),
        exclude: None,
    };
    match &args.selector {
        Some(selector) => selector.clone(),
        // All of them.
        None if args.name.is_empty() => wire::LabelSelector::default(),
        None => names(),
    }
}

fn sorted(names: &[String]) -> BTreeSet<&String> {
    names.iter().collect()
}

fn missing<'a>(names: &'a [String], journals: &'a [list_response::Journal]) -> impl Iterator<Item = &'a str> {
    let there: BTreeSet<&str> = journals.iter().map(name_of).collect();
    sorted(names).into_iter().map(String::as_str).filter(move |name| !there.contains(name))
}

fn is_in_files(journal: &list_response::Journal) -> bool {
    let fragment = journal.spec.as_ref().and_then(|spec| spec.fragment.as_ref());
    fragment.is_some_and(|fragment| fragment.stores.iter().any(|url| url.starts_with("file://")))
}

/// The stores that journals name, and others.
fn store_urls(journals: &[list_response::Journal], others: &[String]) -> BTreeSet<String> {
    let specs = journals.iter().filter_map(|journal| journal.spec.as_ref()?.fragment.as_ref());
    specs.flat_map(|fragment| &fragment.stores).chain(others).cloned().collect()
}

/// How far an audit is, on stderr if that is a terminal.
fn progress(journals: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} journals {msg}");
    ProgressBar::with_draw_target(u64::try_from(journals).ok(), ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The journals whose folders lie in that of this one.
fn nested(all: &BTreeSet<JournalName>, journal: &str) -> Vec<JournalName> {
    let folder = format!("{journal}/");
    all.iter().filter(|name| name.as_str().starts_with(&folder)).cloned().collect()
}

fn stores(args: &AuditArgs) -> Stores {
    let environment = crate::environment::environment();
    let config = Config { file_root: args.file_root.clone(), environment, ..Config::default() };
    // It jitters pauses between attempts, and nothing else.
    let rng = StdRng::seed_from_u64(u64::from(std::process::id()));
    Stores::new(config, std::sync::Arc::new(SystemClock), rng)
}

fn audited(journal: &str, evidence: &Evidence, verdict: Verdict) -> Audited {
    let holders = evidence.holders.iter().map(|holder| {
        let length = |extent: &judge::Extent| u64::try_from(extent.end - extent.begin).unwrap_or(0);
        let read = holder.extents.iter().filter(|extent| extent.reading.is_some());
        Held {
            name: holder.name.clone(),
            role: match &holder.broker {
                None => "store",
                Some(told) if told.is_primary => "primary",
                Some(_) => "replica",
            },
            head: holder.broker.as_ref().and_then(|told| told.head),
            fragments: holder.extents.len(),
            bytes: holder.extents.iter().map(length).sum(),
            bytes_read: read.map(length).sum(),
        }
    });
    Audited {
        journal: journal.to_owned(),
        head: judge::head(evidence),
        holders: holders.collect(),
        findings: verdict.findings,
        notes: verdict.notes,
    }
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

/// A row for everyone who holds something, a line for each finding and note, and the verdict.
fn text(report: &Report) -> String {
    let headings = ["Journal", "Holder", "Role", "Head", "Fragments", "Holds", "Read"];
    let mut rows = Vec::new();
    let mut lines = String::new();
    let mut read = 0;
    for audited in &report.journals {
        for held in &audited.holders {
            read += held.bytes_read;
            rows.push(vec![
                audited.journal.clone(),
                held.name.clone(),
                held.role.to_owned(),
                held.head.map_or_else(String::new, |head| head.to_string()),
                held.fragments.to_string(),
                output::bytes(held.bytes),
                output::bytes(held.bytes_read),
            ]);
        }
        for Finding { kind, span, detail } in &audited.findings {
            let span = span.map_or_else(String::new, |(begin, end)| format!(" [{begin}, {end})"));
            let line = format!("{}: {}{span}: {detail}", audited.journal, kind.name());
            lines += &format!("{}\n", output::one_line(&line));
        }
        for note in &audited.notes {
            lines += &format!("{}\n", output::one_line(&format!("{}: note: {note}", audited.journal)));
        }
    }
    let mut objects = String::new();
    for walked in &report.stores {
        for Finding { kind, span, detail } in &walked.findings {
            let span = span.map_or_else(String::new, |(begin, end)| format!(" [{begin}, {end})"));
            let line = format!("{}: {}{span}: {detail}", walked.store, kind.name());
            lines += &format!("{}\n", output::one_line(&line));
        }
        if walked.untold > 0 {
            lines += &format!("{}: and {} more\n", walked.store, count(walked.untold, "finding"));
        }
        let (number, bytes) = (walked.objects, output::bytes(walked.bytes));
        objects += &output::one_line(&format!("{number} objects, {bytes}, in {}", walked.store));
        objects += ", ";
    }
    let verdict = match report.findings {
        0 => "nothing is wrong".to_owned(),
        findings => count(findings, "finding"),
    };
    let journals = count(report.journals.len(), "journal");
    format!(
        "{}{lines}{journals} audited, {objects}{} read: {verdict}\n",
        output::table(&headings.map(str::to_owned), rows),
        output::bytes(read)
    )
}

#[cfg(test)]
mod tests {
    use super::judge::Kind;
    use super::*;

    #[test]
    fn the_report_ends_with_its_verdict() {
        let mut report = Report {
            journals: vec![Audited {
                journal: "acme/x".into(),
                head: Some(50),
                holders: vec![
                    Held {
                        name: "one".into(),
                        role: "primary",
                        head: Some(50),
                        fragments: 1,
                        bytes: 30,
                        bytes_read: 30,
                    },
                    Held {
                        name: "file:///".into(),
                        role: "store",
                        head: None,
                        fragments: 2,
                        bytes: 4096,
                        bytes_read: 2048,
                    },
                ],
                findings: Vec::new(),
                notes: vec!["two does not know of [0, 20) yet".into()],
            }],
            stores: Vec::new(),
            findings: 0,
        };
        let expected = "\
┌─────────┬──────────┬─────────┬──────┬───────────┬───────┬───────┐
│ JOURNAL │  HOLDER  │   ROLE  │ HEAD │ FRAGMENTS │ HOLDS │  READ │
├─────────┼──────────┼─────────┼──────┼───────────┼───────┼───────┤
│ acme/x  │ one      │ primary │ 50   │ 1         │ 30 B  │ 30 B  │
│ acme/x  │ file:/// │ store   │      │ 2         │ 4 KiB │ 2 KiB │
└─────────┴──────────┴─────────┴──────┴───────────┴───────┴───────┘
acme/x: note: two does not know of [0, 20) yet
1 journal audited, 2 KiB read: nothing is wrong
";
        assert_eq!(render(&report, Form::Table).unwrap(), expected);

        let gap = Finding { kind: Kind::PastHead, span: Some((7, 9)), detail: "a\u{1b}[31m".into() };
        report.journals[0].findings.push(gap);
        report.findings = 1;
        let text = render(&report, Form::Table).unwrap();
        assert!(
            text.contains("\nacme/x: PAST_HEAD [7, 9): a\\u{1b}[31m\n") && text.ends_with("1 finding\n"),
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_str(&render(&report, Form::Json).unwrap()).unwrap();
        assert_eq!(json["journals"][0]["findings"][0]["kind"], "PAST_HEAD");
        assert_eq!(json["journals"][0]["findings"][0]["span"], serde_json::json!([7, 9]));
        assert_eq!(json["findings"], 1);
    }

    #[test]
    fn journals_in_the_folder_of_another_are_known() {
        let all =
            ["acme/x", "acme/x/y", "acme/x/z/1", "acme/xy"].map(|name| JournalName::parse(name).unwrap());
        let nested = nested(&all.into_iter().collect(), "acme/x");
        assert_eq!(nested.iter().map(JournalName::as_str).collect::<Vec<_>>(), ["acme/x/y", "acme/x/z/1"]);
    }
}
