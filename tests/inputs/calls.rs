//! Over gRPC.

use courant_proto::wire;
use courant_proto::wire::CompressionCodec as Codec;
use courant_tests::journal::{create, delete, seconds, spec};
use futures::StreamExt as _;
use tonic::{Code, Status};

use crate::{JOURNAL, node, unchanged};

/// Names that no journal may have, and what is said of them.
const NAMES: [(&str, &str); 12] = [
    ("abc", "invalid length"),
    ("/leading/slash", "cannot begin with '/'"),
    ("trailing/slash/", "trailing"),
    ("a//double", "must be a clean path"),
    ("a/./dot", "must be a clean path"),
    ("./dot/first", ""),
    ("a/../../b", ""),
    ("../leaves/its/folder", ""),
    ("has space/in", "not a valid"),
    ("has#hash/in", "not a valid"),
    ("line\nbreak", "not a valid"),
    ("right\u{202e}left", "not a valid"),
];

#[track_caller]
fn check(row: &str, refused: &Status, text: &str) {
    assert!(refused.message().contains(text), "{row}: expected {text:?} in {:?}", refused.message());
    // Never a fault of the broker's, and never a panic.
    let of_the_caller =
        matches!(refused.code(), Code::InvalidArgument | Code::Unknown | Code::FailedPrecondition);
    assert!(of_the_caller, "{row}: {refused:?}");
    assert!(!refused.message().is_empty(), "{row}");
}

#[tokio::test]
async fn names() {
    let node = node().await;
    for (name, text) in NAMES {
        let row = format!("name {name:?}");
        let mut grpc = node.grpc().await;
        let opening = wire::AppendRequest { journal: name.to_owned(), ..Default::default() };
        let content = wire::AppendRequest { content: "x".into(), ..Default::default() };
        let messages = vec![opening, content, wire::AppendRequest::default()];
        let refused = grpc.append(futures::stream::iter(messages)).await.expect_err(&row);
        check(&row, &refused, text);
        let read = grpc.read(wire::ReadRequest { journal: name.to_owned(), ..Default::default() }).await;
        let refused = match read {
            Err(refused) => refused,
            Ok(stream) => stream.into_inner().next().await.expect(&row).expect_err(&row),
        };
        check(&row, &refused, text);
        let fragments = wire::FragmentsRequest { journal: name.to_owned(), ..Default::default() };
        check(&row, &grpc.list_fragments(fragments).await.expect_err(&row), text);
        let changes =
            vec![create(spec("fine/one", Codec::None, 1024)), create(spec(name, Codec::None, 1024))];
        check(&row, &grpc.apply(wire::ApplyRequest { changes }).await.expect_err(&row), text);
        unchanged(&node, &row).await;
    }
    let long = "x".repeat(513);
    let changes = vec![create(spec(&long, Codec::None, 1024))];
    let refused = node.grpc().await.apply(wire::ApplyRequest { changes }).await.expect_err("too long");
    check("a long name", &refused, "invalid length (513; expected 4 <= length <= 512)");
    unchanged(&node, "a long name").await;
}

#[tokio::test]
async fn specs() {
    type Spoil = fn(&mut wire::JournalSpec);
    fn fragment(spec: &mut wire::JournalSpec) -> &mut wire::journal_spec::Fragment {
        spec.fragment.get_or_insert_default()
    }
    fn label(name: &str, value: &str) -> wire::Label {
        wire::Label { name: name.to_owned(), value: value.to_owned(), ..Default::default() }
    }
    let rows: [(&str, Spoil, &str); 19] = [
        ("no replication", |s| s.replication = 0, "Replication"),
        ("much replication", |s| s.replication = 6, "Replication"),
        ("negative replication", |s| s.replication = -1, "Replication"),
        ("no fragment spec", |s| s.fragment = None, "Fragment"),
        ("short fragments", |s| fragment(s).length = 1023, "Fragment: invalid Length"),
        ("endless fragments", |s| fragment(s).length = i64::MAX, "Fragment: invalid Length"),
        ("no codec", |s| fragment(s).compression_codec = 0, "CompressionCodec"),
        ("unknown codec", |s| fragment(s).compression_codec = 99, "CompressionCodec"),
        ("store of no scheme", |s| fragment(s).stores = vec!["bucket/".to_owned()], "Fragment.Stores[0]"),
        ("store of unknown scheme", |s| fragment(s).stores = vec!["ftp://b/".to_owned()], "ftp"),
        (
            "store that leaves its root",
            |s| fragment(s).stores = vec!["file:///../x/".to_owned()],
            "Fragment.Stores[0]",
        ),
        ("store of an open path", |s| fragment(s).stores = vec!["file:///a".to_owned()], "'/'"),
        ("frequent refresh", |s| fragment(s).refresh_interval = Some(seconds(0)), "RefreshInterval"),
        ("frequent flush", |s| fragment(s).flush_interval = Some(seconds(1)), "FlushInterval"),
        (
            "bad template",
            |s| fragment(s).path_postfix_template = "{{ .Nothing }}".to_owned(),
            "PathPostfixTemplate",
        ),
        (
            "template that leads up",
            |s| fragment(s).path_postfix_template = "../up".to_owned(),
            "PathPostfixTemplate",
        ),
        ("flags of both kinds", |s| s.flags = 3, "Flags"),
        (
            "unsorted labels",
            |s| s.labels = Some(wire::LabelSet { labels: vec![label("bb", ""), label("aa", "")] }),
            "Labels",
        ),
        ("reserved label", |s| s.labels = Some(wire::LabelSet { labels: vec![label("name", "x")] }), "name"),
    ];
    let node = node().await;
    for (row, spoil, text) in rows {
        let mut spoilt = spec("bad/spec", Codec::None, 1024);
        spoil(&mut spoilt);
        let changes = vec![create(spec("fine/one", Codec::None, 1024)), create(spoilt)];
        let refused = node.grpc().await.apply(wire::ApplyRequest { changes }).await.expect_err(row);
        check(row, &refused, text);
        assert!(refused.message().contains("Changes[1]"), "{row}: {}", refused.message());
        unchanged(&node, row).await;
    }
}

#[tokio::test]
async fn changes() {
    let fine = || spec("fine/one", Codec::None, 1024);
    let both = wire::apply_request::Change { delete: JOURNAL.to_owned(), ..create(fine()) };
    let nested = || spec("good/journal/below", Codec::None, 1024);
    let rows = [
        ("neither", vec![create(fine()), wire::apply_request::Change::default()], "upsert"),
        ("both", vec![both], "upsert"),
        ("a journal twice", vec![create(fine()), create(fine())], "fine/one"),
        (
            "bad revision",
            vec![wire::apply_request::Change { expect_mod_revision: -2, ..create(fine()) }],
            "-2",
        ),
        ("a deletion with meta", vec![delete("good/journal;meta")], "cannot have a metadata path segment"),
        ("below another journal", vec![create(fine()), create(nested())], JOURNAL),
    ];
    let node = node().await;
    for (row, changes, text) in rows {
        let refused = node.grpc().await.apply(wire::ApplyRequest { changes }).await.expect_err(row);
        let lower = Status::new(refused.code(), refused.message().replace("Upsert", "upsert"));
        check(row, &lower, text);
        unchanged(&node, row).await;
    }
}

#[tokio::test]
async fn reads_and_listings() {
    let node = node().await;
    let read = |request: wire::ReadRequest| wire::ReadRequest { journal: JOURNAL.to_owned(), ..request };
    let reads = [
        ("negative offset", read(wire::ReadRequest { offset: -2, ..Default::default() }), "Offset"),
        (
            "end before begin",
            read(wire::ReadRequest { offset: 5, end_offset: 4, ..Default::default() }),
            "EndOffset",
        ),
        ("negative end", read(wire::ReadRequest { end_offset: -1, ..Default::default() }), "EndOffset"),
    ];
    for (row, request, text) in reads {
        let read = node.grpc().await.read(request).await;
        let refused = match read {
            Err(refused) => refused,
            Ok(stream) => stream.into_inner().next().await.expect(row).expect_err(row),
        };
        check(row, &refused, text);
    }
    let far = read(wire::ReadRequest { offset: i64::MAX, ..Default::default() });
    let mut stream = node.grpc().await.read(far).await.expect("a stream").into_inner();
    let message = stream.next().await.expect("a message").expect("no fault");
    assert_eq!(message.status(), wire::Status::OffsetNotYetAvailable);

    let fragments =
        |request: wire::FragmentsRequest| wire::FragmentsRequest { journal: JOURNAL.to_owned(), ..request };
    let listings = [
        (
            "negative page",
            fragments(wire::FragmentsRequest { page_limit: -1, ..Default::default() }),
            "PageLimit",
        ),
        (
            "huge page",
            fragments(wire::FragmentsRequest { page_limit: 10_001, ..Default::default() }),
            "PageLimit",
        ),
        (
            "negative token",
            fragments(wire::FragmentsRequest { next_page_token: -1, ..Default::default() }),
            "NextPageToken",
        ),
    ];
    for (row, request, text) in listings {
        check(row, &node.grpc().await.list_fragments(request).await.expect_err(row), text);
    }
    for (store, text) in
        [("", "FragmentStore"), ("s3://", "missing bucket"), ("file:///../up/", "FragmentStore")]
    {
        let request =
            wire::FragmentStoreHealthRequest { fragment_store: store.to_owned(), ..Default::default() };
        check(store, &node.grpc().await.fragment_store_health(request).await.expect_err(store), text);
    }
    unchanged(&node, "reads").await;
}

#[tokio::test]
async fn appends() {
    let label = |name: &str| wire::Label { name: name.to_owned(), ..Default::default() };
    let set =
        |names: &[&str]| Some(wire::LabelSet { labels: names.iter().map(|name| label(name)).collect() });
    let long = "r".repeat(65);
    let opening = wire::AppendRequest { journal: JOURNAL.to_owned(), ..Default::default() };
    let rows = [
        ("content first", wire::AppendRequest { content: "x".into(), ..opening.clone() }, "Content"),
        ("no name", wire::AppendRequest { content: "x".into(), ..Default::default() }, ""),
        ("negative offset", wire::AppendRequest { offset: -1, ..opening.clone() }, "Offset"),
        (
            "unsorted registers",
            wire::AppendRequest { union_registers: set(&["bb", "aa"]), ..opening.clone() },
            "UnionRegisters",
        ),
        (
            "long register",
            wire::AppendRequest { subtract_registers: set(&[&long]), ..opening.clone() },
            "SubtractRegisters",
        ),
    ];
    let node = node().await;
    for (row, opening, text) in rows {
        let content = wire::AppendRequest { content: "x".into(), ..Default::default() };
        let messages = vec![opening, content, wire::AppendRequest::default()];
        let refused = node.grpc().await.append(futures::stream::iter(messages)).await.expect_err(row);
        check(row, &refused, text);
        unchanged(&node, row).await;
    }
}

#[tokio::test]
async fn replicate_is_not_for_clients() {
    let node = node().await;
    let request = wire::ReplicateRequest { acknowledge: true, ..Default::default() };
    let answer = node.grpc().await.replicate(futures::stream::iter([request])).await;
    let refused = match answer {
        Err(refused) => refused,
        Ok(stream) => stream.into_inner().next().await.expect("an answer").expect_err("a refusal"),
    };
    assert_ne!(refused.code(), Code::Ok);
    unchanged(&node, "replicate").await;
}
