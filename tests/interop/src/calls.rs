//! The same calls, over gRPC and HTTP, to a Gazette broker and to a Courant broker that were told the same before: status
//! and message of each answer have to be equal, but for what is another cluster's own.

use std::time::Duration;

use anyhow::{Context as _, Result};
use courant_proto::wire::{self, CompressionCodec as Codec, append_request::Suspend};
use tokio::time::timeout;

use crate::processes::{Broker, Kind, World};
use crate::report::{Outcome, Report};
use crate::shell::normal;
use crate::talk::{Talk, seconds, spec};

/// One question. What belongs to a cluster is filled in for each: its id.
#[derive(Clone, Debug)]
enum Call {
    /// A request and the content that follows it.
    Append(wire::AppendRequest, &'static [u8]),
    Read(wire::ReadRequest),
    Apply(Vec<wire::apply_request::Change>),
    List(wire::ListRequest),
    Fragments(wire::FragmentsRequest),
    Health(wire::FragmentStoreHealthRequest),
    /// What was appended has been stored by then, and listed.
    Pause,
    /// Method, target, headers and body.
    Http(&'static str, &'static str, &'static str, &'static str),
}

/// One of the two.
struct Side {
    broker: Broker,
    talk: Talk,
}

pub(crate) async fn run(world: &World, report: &mut Report) -> Result<()> {
    let open = async |kind: Kind| {
        let broker = Broker::new(world, kind, "broker-one", "zone-a", &format!("/gazette/{}", kind.name()))?;
        let mut broker = broker.with_store(&world.folder().join(format!("{}-store", kind.name())))?;
        broker.keep_in(kind.name());
        broker.start(world).await?;
        anyhow::Ok(Side { talk: Talk::to(&broker.url())?, broker })
    };
    let (gazette, courant) = (open(Kind::Gazette).await?, open(Kind::Courant).await?);
    for (name, call) in calls() {
        let (theirs, ours) = tokio::join!(gazette.answer(&call), courant.answer(&call));
        let outcome = if theirs == ours {
            Outcome::Same
        } else {
            Outcome::Differs(format!("{call:?}\n gazette: {theirs}\n courant: {ours}"))
        };
        report.add(format!("call {name}"), outcome);
    }
    Ok(())
}

impl Side {
    async fn answer(&self, call: &Call) -> String {
        let answer = match call.clone() {
            Call::Append(request, content) => said(self.talk.append(request, content).await),
            Call::Read(request) => said(self.talk.read(request).await),
            Call::Apply(changes) => said(self.talk.apply(changes).await),
            Call::List(request) => said(self.talk.list(request).await),
            Call::Fragments(request) => said(self.talk.fragments(request).await),
            Call::Health(request) => said(self.talk.health(request).await),
            Call::Pause => {
                tokio::time::sleep(Duration::from_secs(3)).await;
                String::new()
            }
            Call::Http(method, target, headers, body) => {
                http(self.broker.port(), method, target, headers, body)
                    .await
                    .unwrap_or_else(|error| format!("{error:#}"))
            }
        };
        normal(&answer.replace(&self.broker.url(), "BROKER"))
    }
}

fn said<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

/// One request over a connection of its own: status, the headers of the protocol and the body.
#[expect(clippy::disallowed_methods, reason = "the seam to HTTP")]
async fn http(port: u16, method: &str, target: &str, headers: &str, body: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = timeout(Duration::from_secs(10), asked).await.context("no answer")?.context("HTTP")?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let (status, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let fields = headers.split("\r\n").filter_map(|line| line.split_once(':'));
    let fields: Vec<(String, &str)> =
        fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim())).collect();
    let is_chunked = fields.iter().any(|(name, value)| name == "transfer-encoding" && *value == "chunked");
    let shown = |name: &str| name.starts_with("x-") || name == "content-range" || name == "location";
    let mut kept: Vec<String> = fields
        .iter()
        .filter(|(name, _)| shown(name))
        .map(|(name, value)| match name.as_str() {
            "x-fragment-last-modified" => name.clone(),
            _ => format!("{name}: {value}"),
        })
        .collect();
    kept.sort();
    let status = status.split(' ').nth(1).unwrap_or("");
    let body = if is_chunked { whole(body) } else { body.to_owned() };
    // What follows the first line of a refusal is advice.
    let body = if status.starts_with('2') { &body } else { body.split('\n').next().unwrap_or("") };
    Ok(format!("{status} {} {body:?}", kept.join(", ")))
}

/// The content of a chunked body, and its trailers.
fn whole(chunked: &str) -> String {
    let (mut content, mut rest) = (String::new(), chunked);
    while let Some((length, following)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap_or(0);
        let Some((chunk, following)) = following.split_at_checked(length).filter(|_| length > 0) else {
            return format!("{content}|{}", following.trim_end().to_ascii_lowercase());
        };
        content.push_str(chunk);
        rest = following.trim_start_matches("\r\n");
    }
    content
}

const ONE: &str = "calls/one";

/// Says that trailers are wanted.
const TRAILERS: &str = "TE: trailers\r\n";

fn append() -> wire::AppendRequest {
    wire::AppendRequest { journal: ONE.to_owned(), ..Default::default() }
}

fn read() -> wire::ReadRequest {
    wire::ReadRequest { journal: ONE.to_owned(), ..Default::default() }
}

fn list(include: Vec<wire::Label>, exclude: Vec<wire::Label>) -> wire::ListRequest {
    wire::ListRequest {
        selector: Some(wire::LabelSelector {
            include: Some(wire::LabelSet { labels: include }),
            exclude: Some(wire::LabelSet { labels: exclude }),
        }),
        ..Default::default()
    }
}

fn fragments() -> wire::FragmentsRequest {
    wire::FragmentsRequest { journal: ONE.to_owned(), ..Default::default() }
}

fn label(name: &str, value: &str) -> wire::Label {
    wire::Label { name: name.into(), value: value.into(), prefix: false }
}

fn labels(pairs: &[(&str, &str)]) -> wire::LabelSet {
    wire::LabelSet { labels: pairs.iter().map(|(name, value)| label(name, value)).collect() }
}

fn selector(pairs: &[(&str, &str)]) -> wire::LabelSelector {
    wire::LabelSelector { include: Some(labels(pairs)), exclude: Some(wire::LabelSet::default()) }
}

fn upsert(spec: wire::JournalSpec) -> wire::apply_request::Change {
    wire::apply_request::Change { upsert: Some(spec), ..Default::default() }
}

/// A spec with something changed.
fn with(change: impl FnOnce(&mut wire::JournalSpec)) -> Call {
    let mut spec = spec("calls/two", 1, Codec::None, 1 << 20);
    change(&mut spec);
    Call::Apply(vec![upsert(spec)])
}

/// A spec whose fragment has something changed.
fn with_fragment(change: impl FnOnce(&mut wire::journal_spec::Fragment)) -> Call {
    with(|spec| {
        if let Some(fragment) = &mut spec.fragment {
            change(fragment);
        }
    })
}

fn header(zone: &str, suffix: &str, cluster_id: u64) -> Option<wire::Header> {
    Some(wire::Header {
        process_id: Some(wire::process_spec::Id { zone: zone.into(), suffix: suffix.into() }),
        route: Some(wire::Route { primary: -1, ..Default::default() }),
        etcd: Some(wire::header::Etcd { cluster_id, member_id: 1, revision: 1, raft_term: 1 }),
    })
}

/// In this order, to both.
fn calls() -> Vec<(&'static str, Call)> {
    let health =
        |store: &str| wire::FragmentStoreHealthRequest { fragment_store: store.into(), ..Default::default() };
    let delete = |name: &str, revision: i64| wire::apply_request::Change {
        delete: name.to_owned(),
        expect_mod_revision: revision,
        ..Default::default()
    };
    let suspend = |suspend: Suspend| wire::AppendRequest { suspend: suspend.into(), ..append() };
    let check =
        |pairs: &[(&str, &str)]| wire::AppendRequest { check_registers: Some(selector(pairs)), ..append() };
    vec![
        ("Append: no such journal", Call::Append(append(), b"x")),
        ("Read: no such journal", Call::Read(read())),
        ("ListFragments: no such journal", Call::Fragments(fragments())),
        ("List: of nothing", Call::List(list(vec![], vec![]))),
        ("Apply: creates", Call::Apply(vec![upsert(spec(ONE, 1, Codec::None, 1 << 20))])),
        ("Apply: nothing", Call::Apply(vec![])),
        ("Apply: neither", Call::Apply(vec![wire::apply_request::Change::default()])),
        ("Apply: revision below -1", Call::Apply(vec![delete(ONE, -2)])),
        ("Apply: name with a blank", with(|spec| spec.name = "calls/a b".into())),
        ("Apply: name that ends in a slash", with(|spec| spec.name = "calls/".into())),
        ("Apply: name that is not clean", with(|spec| spec.name = "calls//two".into())),
        ("Apply: name too short", with(|spec| spec.name = "abc".into())),
        ("Apply: replication 0", with(|spec| spec.replication = 0)),
        ("Apply: replication 6", with(|spec| spec.replication = 6)),
        ("Apply: flags", with(|spec| spec.flags = 3)),
        ("Apply: rate below zero", with(|spec| spec.max_append_rate = -1)),
        ("Apply: reserved label", with(|spec| spec.labels = Some(labels(&[("name", "x")])))),
        ("Apply: reserved label prefix", with(|spec| spec.labels = Some(labels(&[("prefix", "x")])))),
        ("Apply: labels out of order", with(|spec| spec.labels = Some(labels(&[("b", ""), ("a", "")])))),
        ("Apply: label twice", with(|spec| spec.labels = Some(labels(&[("a", ""), ("a", "")])))),
        ("Apply: label with a blank", with(|spec| spec.labels = Some(labels(&[("a b", "")])))),
        ("Apply: length too small", with_fragment(|fragment| fragment.length = 1)),
        ("Apply: length too large", with_fragment(|fragment| fragment.length = 1 << 40)),
        ("Apply: codec 0", with_fragment(|fragment| fragment.compression_codec = 0)),
        ("Apply: codec 9", with_fragment(|fragment| fragment.compression_codec = 9)),
        ("Apply: store without a slash", with_fragment(|f| f.stores = vec!["file:///x".into()])),
        ("Apply: store without a scheme", with_fragment(|f| f.stores = vec!["x/".into()])),
        ("Apply: relative store", with_fragment(|f| f.stores = vec!["file:x/".into()])),
        ("Apply: refresh below a second", with_fragment(|f| f.refresh_interval = Some(seconds(0)))),
        ("Apply: refresh above a day", with_fragment(|f| f.refresh_interval = Some(seconds(90_000)))),
        ("Apply: retention below zero", with_fragment(|f| f.retention = Some(seconds(-1)))),
        ("Apply: flush below a minute", with_fragment(|f| f.flush_interval = Some(seconds(1)))),
        ("Apply: template", with_fragment(|f| f.path_postfix_template = "{{".into())),
        (
            "Apply: no such field in a template",
            with_fragment(|f| f.path_postfix_template = "{{.Nope}}".into()),
        ),
        (
            "Apply: offload in a folder",
            with_fragment(|f| f.compression_codec = Codec::GzipOffloadDecompression.into()),
        ),
        ("Apply: at another revision", Call::Apply(vec![delete(ONE, 1)])),
        ("Apply: delete of what is not there", Call::Apply(vec![delete("calls/none", 7)])),
        ("Append", Call::Append(append(), b"hello, ")),
        ("Append: empty", Call::Append(append(), b"")),
        ("Append: at its head", Call::Append(wire::AppendRequest { offset: 7, ..append() }, b"world")),
        ("Append: before its head", Call::Append(wire::AppendRequest { offset: 3, ..append() }, b"world")),
        ("Append: behind its head", Call::Append(wire::AppendRequest { offset: 99, ..append() }, b"world")),
        ("Append: below zero", Call::Append(wire::AppendRequest { offset: -1, ..append() }, b"world")),
        (
            "Append: with meta",
            Call::Append(wire::AppendRequest { journal: format!("{ONE};meta"), ..append() }, b"!"),
        ),
        ("Append: no name", Call::Append(wire::AppendRequest { journal: String::new(), ..append() }, b"x")),
        (
            "Append: content at once",
            Call::Append(wire::AppendRequest { content: b"x".to_vec().into(), ..append() }, b""),
        ),
        ("Append: no proxy", Call::Append(wire::AppendRequest { do_not_proxy: true, ..append() }, b"?")),
        (
            "Append: another cluster",
            Call::Append(wire::AppendRequest { header: header("zone-a", "broker-one", 7), ..append() }, b"x"),
        ),
        ("Append: another suspension", Call::Append(wire::AppendRequest { suspend: 9, ..append() }, b"x")),
        (
            "Append: revision below zero",
            Call::Append(wire::AppendRequest { min_etcd_revision: -1, ..append() }, b"x"),
        ),
        ("registers: any of none", Call::Append(check(&[("a", "1")]), b"x")),
        (
            "registers: set",
            Call::Append(
                wire::AppendRequest { union_registers: Some(labels(&[("a", "1")])), ..append() },
                b"x",
            ),
        ),
        (
            "registers: set without content",
            Call::Append(
                wire::AppendRequest { union_registers: Some(labels(&[("b", "1")])), ..append() },
                b"",
            ),
        ),
        ("registers: same", Call::Append(check(&[("a", "1")]), b"x")),
        ("registers: another", Call::Append(check(&[("a", "2")]), b"x")),
        (
            "registers: unset",
            Call::Append(
                wire::AppendRequest { subtract_registers: Some(labels(&[("a", "1")])), ..append() },
                b"x",
            ),
        ),
        (
            "registers: set and unset",
            Call::Append(
                wire::AppendRequest {
                    union_registers: Some(labels(&[("a", "1")])),
                    subtract_registers: Some(labels(&[("a", "1")])),
                    ..append()
                },
                b"x",
            ),
        ),
        ("pause", Call::Pause),
        ("Read", Call::Read(read())),
        ("Read: from within", Call::Read(wire::ReadRequest { offset: 3, ..read() })),
        ("Read: at the head", Call::Read(wire::ReadRequest { offset: -1, ..read() })),
        ("Read: behind the head", Call::Read(wire::ReadRequest { offset: 1000, ..read() })),
        ("Read: below -1", Call::Read(wire::ReadRequest { offset: -2, ..read() })),
        ("Read: up to an end", Call::Read(wire::ReadRequest { end_offset: 5, ..read() })),
        (
            "Read: an end before its begin",
            Call::Read(wire::ReadRequest { offset: 7, end_offset: 5, ..read() }),
        ),
        ("Read: an end below zero", Call::Read(wire::ReadRequest { end_offset: -5, ..read() })),
        ("Read: metadata", Call::Read(wire::ReadRequest { metadata_only: true, ..read() })),
        (
            "Read: blocks, up to an end",
            Call::Read(wire::ReadRequest { block: true, end_offset: 4, ..read() }),
        ),
        ("Read: no proxy", Call::Read(wire::ReadRequest { do_not_proxy: true, ..read() })),
        ("Read: with meta", Call::Read(wire::ReadRequest { journal: format!("{ONE};meta"), ..read() })),
        ("Read: times", Call::Read(wire::ReadRequest { begin_mod_time: 4_000_000_000, ..read() })),
        ("Read: time below zero", Call::Read(wire::ReadRequest { begin_mod_time: -1, ..read() })),
        (
            "Read: another cluster",
            Call::Read(wire::ReadRequest { header: header("zone-a", "broker-one", 7), ..read() }),
        ),
        ("ListFragments", Call::Fragments(fragments())),
        (
            "ListFragments: page below zero",
            Call::Fragments(wire::FragmentsRequest { page_limit: -1, ..fragments() }),
        ),
        (
            "ListFragments: page too large",
            Call::Fragments(wire::FragmentsRequest { page_limit: 20_000, ..fragments() }),
        ),
        (
            "ListFragments: token below zero",
            Call::Fragments(wire::FragmentsRequest { next_page_token: -1, ..fragments() }),
        ),
        (
            "ListFragments: token behind all",
            Call::Fragments(wire::FragmentsRequest { next_page_token: 9999, ..fragments() }),
        ),
        (
            "ListFragments: no time to live",
            Call::Fragments(wire::FragmentsRequest { signature_ttl: Some(seconds(0)), ..fragments() }),
        ),
        (
            "ListFragments: end before begin",
            Call::Fragments(wire::FragmentsRequest { begin_mod_time: 9, end_mod_time: 5, ..fragments() }),
        ),
        ("List: all", Call::List(list(vec![], vec![]))),
        ("List: by name", Call::List(list(vec![label("name", ONE)], vec![]))),
        ("List: by another name", Call::List(list(vec![label("name", "calls/none")], vec![]))),
        ("List: by prefix", Call::List(list(vec![label("prefix", "calls/")], vec![]))),
        ("List: by a prefix without a slash", Call::List(list(vec![label("prefix", "calls")], vec![]))),
        ("List: labels out of order", Call::List(list(vec![label("b", ""), label("a", "")], vec![]))),
        ("List: all but one", Call::List(list(vec![], vec![label("name", ONE)]))),
        ("List: no selector", Call::List(wire::ListRequest::default())),
        ("health: a folder", Call::Health(health("file:///"))),
        ("health: no URL", Call::Health(health("::"))),
        ("health: no slash at the end", Call::Health(health("file:///x"))),
        ("suspend: not flushed", Call::Append(suspend(Suspend::IfFlushed), b"")),
        ("suspend: with content", Call::Append(suspend(Suspend::Now), b"x")),
        ("suspend: keep", Call::Append(suspend(Suspend::Keep), b"")),
        ("suspend: now", Call::Append(suspend(Suspend::Now), b"")),
        ("suspend: no resume", Call::Append(suspend(Suspend::NoResume), b"x")),
        ("suspend: read", Call::Read(read())),
        ("HTTP GET", Call::Http("GET", "/calls/one", TRAILERS, "")),
        ("HTTP GET: from within", Call::Http("GET", "/calls/one?offset=3", TRAILERS, "")),
        ("HTTP GET: no such journal", Call::Http("GET", "/calls/none", "", "")),
        ("HTTP GET: no number", Call::Http("GET", "/calls/one?offset=x", "", "")),
        ("HTTP GET: behind the head", Call::Http("GET", "/calls/one?offset=9999", "", "")),
        ("HTTP HEAD", Call::Http("HEAD", "/calls/one", "", "")),
        ("HTTP HEAD: at the head", Call::Http("HEAD", "/calls/one?offset=-1", "", "")),
        ("HTTP PUT", Call::Http("PUT", "/calls/one", "", "put")),
        ("HTTP PUT: no such journal", Call::Http("PUT", "/calls/none", "", "put")),
        ("HTTP POST", Call::Http("POST", "/calls/one", "", "put")),
        (
            "Apply: below another journal",
            Call::Apply(vec![upsert(spec("calls/one/more", 1, Codec::None, 1 << 20))]),
        ),
        ("HTTP ready", Call::Http("GET", "/debug/ready", "", "")),
    ]
}
