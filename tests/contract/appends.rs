//! `Append`, message by message.

use courant_proto::wire::{self, CompressionCodec as Codec, Status};
use courant_tests::journal::{apply, spec};
use courant_tests::process::Node;
use sha1::{Digest as _, Sha1};
use tonic::Code;

use crate::{append, chunk, commit, labels, selector, send};

#[tokio::test]
async fn a_commit_says_what_it_is() {
    let node = Node::start(&[]).await;
    apply(&node.client(), [spec("a/journal", Codec::Snappy, 1 << 20)]).await;
    // What hangs on a name behind a semicolon is not part of it.
    let opening = append("a/journal;with/meta");
    let response =
        send(&node, vec![opening, chunk("foo"), chunk("bar"), chunk("")]).await.expect("an answer");
    assert_eq!(response.status(), Status::Ok);
    assert_eq!((response.total_chunks, response.delayed_chunks), (3, 0));
    assert_eq!(response.registers, Some(wire::LabelSet::default()));
    let commit = response.commit.expect("a commit");
    assert_eq!((commit.journal.as_str(), commit.begin, commit.end), ("a/journal", 0, 6));
    assert_eq!(commit.compression_codec(), Codec::Snappy);
    let sum: Vec<u8> = {
        let sum = commit.sum.expect("a sum");
        [&sum.part1.to_be_bytes()[..], &sum.part2.to_be_bytes(), &sum.part3.to_be_bytes()].concat()
    };
    assert_eq!(sum, Sha1::digest(b"foobar").to_vec());
    let header = response.header.expect("a header");
    let route = header.route.expect("a route");
    assert_eq!((route.primary, route.endpoints), (0, vec![node.url()]));
    assert_eq!(header.process_id, Some(route.members[0].clone()));
    assert!(header.etcd.is_some_and(|etcd| etcd.cluster_id != 0 && etcd.revision > 0));
}

#[tokio::test]
async fn registers_are_checked_and_changed_in_order() {
    let node = Node::start(&[]).await;
    apply(&node.client(), [spec("a/journal", Codec::None, 1 << 20)]).await;
    let steps = [
        (None, &[][..], &[("AA", "11"), ("BB", "22")][..], Ok(&[("AA", "11"), ("BB", "22")][..])),
        (
            Some(selector(&[("AA", "11"), ("BB", "")], &[])),
            &[("AA", "11"), ("BB", "XYZ")],
            &[("CC", "33")],
            Ok(&[("BB", "22"), ("CC", "33")]),
        ),
        (
            Some(selector(&[("CC", "")], &[("AA", "")])),
            &[("BB", "22"), ("CC", "33")],
            &[("AA", "44"), ("BB", "22")],
            Ok(&[("AA", "44"), ("BB", "22")]),
        ),
        (Some(selector(&[("AA", "55")], &[])), &[], &[], Err(&[("AA", "44"), ("BB", "22")])),
    ];
    for (check, subtract, union, expected) in steps {
        let opening = wire::AppendRequest {
            check_registers: check,
            subtract_registers: Some(labels(subtract)),
            union_registers: Some(labels(union)),
            ..append("a/journal")
        };
        let response = commit(&node, opening, "x").await;
        let (status, registers) = match expected {
            Ok(registers) => (Status::Ok, registers),
            Err(registers) => (Status::RegisterMismatch, &registers[..]),
        };
        assert_eq!((response.status(), response.registers), (status, Some(labels(registers))), "{union:?}");
    }
    assert_eq!(node.client().head("a/journal").await.expect("a head"), 3);
}

#[tokio::test]
async fn streams_that_break_the_protocol_commit_nothing() {
    let node = Node::start(&[]).await;
    apply(&node.client(), [spec("a/journal", Codec::None, 1 << 20)]).await;
    commit(&node, append("a/journal"), "x").await;
    let rows = [
        (vec![], "unexpected EOF"),
        (vec![append("a/journal")], "append stream: unexpected EOF"),
        (vec![append("a/journal"), chunk("foo")], "append stream: unexpected EOF"),
        (
            vec![append("a/journal"), chunk("foo"), append("a/journal")],
            "append stream: expected Content chunk",
        ),
        (
            vec![append("a/journal"), chunk("foo"), append("/invalid")],
            "append stream: Journal: cannot begin with '/' (/invalid)",
        ),
        (
            vec![append("a/journal"), chunk("foo"), chunk(""), chunk("more")],
            "append stream: expected EOF after empty Content chunk",
        ),
        (
            vec![append("/invalid/name"), chunk("foo"), chunk("")],
            "Journal: cannot begin with '/' (/invalid/name)",
        ),
        (
            vec![
                wire::AppendRequest { union_registers: Some(labels(&[("AA", "11")])), ..append("a/journal") },
                chunk(""),
            ],
            "append stream: register modification requires non-empty Append",
        ),
    ];
    for (messages, expected) in rows {
        let shown = format!("{messages:?}");
        let refused = send(&node, messages).await.expect_err(&shown);
        assert!(refused.message().ends_with(expected), "{shown}: {refused:?}");
        assert!(matches!(refused.code(), Code::Unknown | Code::InvalidArgument), "{shown}: {refused:?}");
    }
    assert_eq!(node.client().head("a/journal").await.expect("a head"), 1, "nothing of all that is there");
    let empty = wire::FragmentsRequest { journal: "a/journal".to_owned(), ..Default::default() };
    assert_eq!(node.client().fragments(empty).await.expect("fragments").fragments.len(), 1);
}

#[tokio::test]
async fn refusals_carry_a_header() {
    let node = Node::start(&["--auto-create", "false"]).await;
    let mut unhealthy = spec("with/unhealthy-store", Codec::None, 1 << 20);
    unhealthy.fragment.as_mut().expect("a fragment spec").stores = vec!["file:///../out/".to_owned()];
    let rows = [
        (append("does/not-exist"), Status::JournalNotFound),
        (wire::AppendRequest { offset: 100, ..append("a/journal") }, Status::WrongAppendOffset),
        (append("read/only"), Status::NotAllowed),
        (append("wants/two"), Status::InsufficientJournalBrokers),
    ];
    let read_only = wire::JournalSpec {
        flags: wire::journal_spec::Flag::ORdonly as u32,
        ..spec("read/only", Codec::None, 1 << 20)
    };
    let wants_two = wire::JournalSpec { replication: 2, ..spec("wants/two", Codec::None, 1 << 20) };
    apply(&node.client(), [spec("a/journal", Codec::None, 1 << 20), read_only, wants_two]).await;
    for (opening, expected) in rows {
        let journal = opening.journal.clone();
        let response = commit(&node, opening, "x").await;
        assert_eq!(response.status(), expected, "{journal}");
        assert!(response.header.is_some_and(|header| header.etcd.is_some()), "{journal}");
        assert_eq!(response.commit, None, "{journal}");
    }
    // An append without content is a question, and is answered where content would be refused.
    assert_eq!(commit(&node, append("read/only"), "").await.status(), Status::Ok);
    // The URL of a store that nothing could be written to is refused before there is a journal.
    let change = courant_tests::journal::create(unhealthy);
    let applied = node.grpc().await.apply(wire::ApplyRequest { changes: vec![change] }).await;
    assert!(applied.is_err(), "{applied:?}");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "an operator mends the folder of a store")]
async fn a_store_that_does_not_work_refuses_appends_until_it_does() {
    let node = Node::start(&[]).await;
    node.file("data/fragments/broken", b"a file where the store's folder should be");
    let mut broken = spec("a/journal", Codec::None, 1 << 20);
    broken.fragment.as_mut().expect("a fragment spec").stores = vec!["file:///broken/".to_owned()];
    apply(&node.client(), [broken]).await;
    let response = commit(&node, append("a/journal"), "x").await;
    assert_eq!(response.status(), Status::FragmentStoreUnhealthy, "{response:?}");
    assert!(
        response.store_health_error.starts_with("fragment store file:///broken/ unhealthy: "),
        "{}",
        response.store_health_error
    );
    let health = node.http("PUT", "/a/journal", b"x").await;
    assert_eq!((health.status, health.header("retry-after")), (503, Some("1")), "{}", health.text());
    // Somebody mends it, which the next check of its health finds.
    let folder = node.fragments().join("broken");
    std::fs::remove_file(&folder).expect("the file in the way");
    std::fs::create_dir(&folder).expect("the store's folder");
    let mended = async {
        while commit(&node, append("a/journal"), "x").await.status() != Status::Ok {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(90), mended).await.expect("a store that works");
}

#[tokio::test]
async fn racing_appends_adjoin() {
    let node = Node::start(&[]).await;
    apply(&node.client(), [spec("a/journal", Codec::None, 1 << 20)]).await;
    let appends = (0..16).map(|_| commit(&node, append("a/journal"), "twelve bytes"));
    let mut spans: Vec<_> = futures::future::join_all(appends)
        .await
        .into_iter()
        .map(|response| {
            assert_eq!(response.status(), Status::Ok);
            let commit = response.commit.expect("a commit");
            (commit.begin, commit.end)
        })
        .collect();
    spans.sort_unstable();
    assert_eq!(spans, (0..16).map(|n| (n * 12, n * 12 + 12)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_that_stalls_is_cut_off_and_holds_up_nobody() {
    let node = Node::start(&[]).await;
    apply(&node.client(), [spec("a/journal", Codec::None, 1 << 20)]).await;
    let mut grpc = node.grpc().await;
    // A first message and a chunk, and then silence.
    let stalling = futures::stream::iter([append("a/journal"), chunk("begun")]);
    let stalled = grpc.append(futures::StreamExt::chain(stalling, futures::stream::pending()));
    let others = async {
        for _ in 0..10 {
            assert_eq!(commit(&node, append("a/journal"), "x").await.status(), Status::Ok);
        }
    };
    let (stalled, ()) = tokio::join!(stalled, others);
    let refused = stalled.expect_err("it sent too little");
    assert_eq!(refused.message(), "append stream: client stream didn't sustain the minimum append data rate");
    assert_eq!(node.client().head("a/journal").await.expect("a head"), 10);
}
