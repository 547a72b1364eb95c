//! What the spec of a journal decides, and how it comes to have one.

use std::time::Duration;

use courant_client::{Error, ReadEvent};
use courant_proto::wire::{self, CompressionCodec as Codec, Status};
use courant_tests::journal::{apply, create, delete, spec};
use courant_tests::process::Node;
use courant_tests::store;
use futures::StreamExt as _;
use tokio::time::Instant;
use wire::append_request::Suspend;
use wire::journal_spec::Flag;
use wire::journal_spec::suspend::Level;

use crate::{content, put};

fn append(journal: &str) -> wire::AppendRequest {
    wire::AppendRequest { journal: journal.to_owned(), ..Default::default() }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>) -> Status {
    let error = outcome.expect_err("a refusal");
    error.status().unwrap_or_else(|| panic!("no status: {error}"))
}

#[tokio::test]
async fn the_first_append_makes_a_journal_of_the_default_spec() {
    let mut node = Node::prepared(&["--default-spec", "default.yaml"]);
    node.file("default.yaml", "fragment:\n  compression_codec: GZIP\n  length: 2048\nlabels:\n  - name: made-by\n    value: default\n");
    node.restart().await;
    put(&node, "made/on-the-way", &"x".repeat(100)).await;
    let listing = node.client().list(wire::LabelSelector::default()).await.expect("a listing");
    let made = listing.journals[0].spec.clone().expect("a spec");
    let fragment = made.fragment.expect("a fragment spec");
    assert_eq!((made.name.as_str(), made.replication), ("made/on-the-way", 1));
    assert_eq!((fragment.compression_codec(), fragment.length), (Codec::Gzip, 2048));
    assert_eq!(fragment.stores, ["file:///"]);
    assert_eq!(made.labels.expect("labels").labels[0].value, "default");
    // A name that is a folder of another's is not made.
    let nested = node.http("PUT", "/made/on-the-way/deeper", b"x").await;
    assert!((400..500).contains(&nested.status), "{} {}", nested.status, nested.text());
    assert!(nested.text().contains("made/on-the-way"), "{}", nested.text());
    let listing = node.client().list(wire::LabelSelector::default()).await.expect("a listing");
    assert_eq!(listing.journals.len(), 1);

    assert_eq!(node.terminate().await.code(), Some(0));
    let stored = store::fragments(&node.fragments(), "made/on-the-way");
    assert!(stored.iter().all(|fragment| fragment.extension == ".gz"), "{stored:?}");
}

#[tokio::test]
async fn without_auto_create_journals_are_applied_first() {
    let node = Node::start(&["--auto-create", "false"]).await;
    let missing = node.http("PUT", "/not/there", b"x").await;
    assert_eq!(missing.status, 404);
    assert!(missing.text().starts_with("JOURNAL_NOT_FOUND\n"), "{}", missing.text());
    apply(&node.client(), [spec("not/there", Codec::None, 1 << 20)]).await;
    put(&node, "not/there", "x").await;
}

#[tokio::test]
async fn reading_and_writing_can_be_forbidden() {
    let node = Node::start(&[]).await;
    let client = node.client();
    let flagged =
        |name, flag: Flag| wire::JournalSpec { flags: flag as u32, ..spec(name, Codec::None, 1 << 20) };
    apply(&client, [flagged("only/read", Flag::ORdonly), flagged("only/write", Flag::OWronly)]).await;
    assert_eq!(refused(client.append(append("only/read"), "x").await), Status::NotAllowed);
    assert_eq!(node.http("PUT", "/only/read", b"x").await.status, 403);
    assert_eq!(node.http("GET", "/only/read", b"").await.status, 416, "it is empty, and may be read");
    client.append(append("only/write"), "x").await.expect("appended");
    assert_eq!(node.http("GET", "/only/write", b"").await.status, 403);
    let fragments = wire::FragmentsRequest { journal: "only/write".to_owned(), ..Default::default() };
    assert_eq!(refused(client.fragments(fragments).await), Status::NotAllowed);
}

#[tokio::test]
async fn offsets_can_be_asked_for() {
    let node = Node::start(&[]).await;
    let client = node.client();
    apply(&client, [spec("at/offset", Codec::Zstandard, 1 << 20)]).await;
    let at = |offset| wire::AppendRequest { offset, ..append("at/offset") };
    assert_eq!(refused(client.append(at(7), "x").await), Status::WrongAppendOffset);
    client.append(append("at/offset"), "12345").await.expect("appended");
    assert_eq!(client.append(at(5), "678").await.expect("appended").commit.end, 8);
    assert_eq!(refused(client.append(at(5), "x").await), Status::WrongAppendOffset);
    assert_eq!(content(&node, "at/offset").await, "12345678");
}

#[tokio::test]
async fn a_journal_is_suspended_and_resumed_at_its_offset() {
    let mut node = Node::start(&[]).await;
    let client = node.client();
    apply(&client, [spec("to/suspend", Codec::Gzip, 1 << 20)]).await;
    client.append(append("to/suspend"), "before\n").await.expect("appended");
    let with = |suspend: Suspend| wire::AppendRequest { suspend: suspend.into(), ..append("to/suspend") };
    assert_eq!(refused(client.append(with(Suspend::Now), "").await), Status::Suspended);
    let state = |listing: courant_client::Listing| {
        let suspend = listing.journals[0].spec.clone().expect("a spec").suspend.expect("a suspension");
        (suspend.level(), suspend.offset)
    };
    let listed = client.list(wire::LabelSelector::default()).await.expect("a listing");
    assert_eq!(state(listed), (Level::Partial, 7));
    assert_eq!(refused(client.append(with(Suspend::NoResume), "x").await), Status::Suspended);
    assert_eq!(refused(client.append(with(Suspend::Keep), "x").await), Status::NotAllowed);
    assert_eq!(content(&node, "to/suspend").await, "before\n", "it can be read");

    node.kill();
    node.restart().await;
    let client = node.client();
    let resumed = client.append(append("to/suspend"), "after\n").await.expect("resumed");
    assert_eq!((resumed.commit.begin, resumed.commit.end), (7, 13));
    let listed = client.list(wire::LabelSelector::default()).await.expect("a listing");
    assert_eq!(state(listed).0, Level::None);
    assert_eq!(content(&node, "to/suspend").await, "before\nafter\n");

    // An empty one goes to sleep altogether.
    apply(&client, [spec("was/empty", Codec::Gzip, 1 << 20)]).await;
    let now = |name| wire::AppendRequest { suspend: Suspend::Now.into(), ..append(name) };
    assert_eq!(refused(client.append(now("was/empty"), "").await), Status::Suspended);
    let read = node.http("GET", "/was/empty", b"").await;
    assert_eq!(read.status, 409, "{}", read.text());
    assert_eq!(put(&node, "was/empty", "awake\n").await, (0, 6));
}

#[tokio::test]
async fn appends_keep_to_the_rate_of_their_journal() {
    let node = Node::start(&[]).await;
    let client = node.client();
    let slow = wire::JournalSpec { max_append_rate: 100 << 10, ..spec("slow/journal", Codec::None, 1 << 20) };
    apply(&client, [slow, spec("fast/journal", Codec::None, 1 << 20)]).await;
    let content = "x".repeat(300 << 10);
    let took = |journal| {
        let (client, content) = (client.clone(), content.clone());
        async move {
            let began = Instant::now();
            let appended = client.append(append(journal), content).await.expect("appended");
            (began.elapsed(), appended.delayed_chunks)
        }
    };
    let (slow, delayed) = took("slow/journal").await;
    assert!(slow > Duration::from_millis(700) && delayed > 0, "{slow:?}, {delayed} delayed");
    let (_, delayed) = took("fast/journal").await;
    assert_eq!(delayed, 0);
}

#[tokio::test]
async fn reads_end_where_and_begin_when_they_are_asked_to() {
    let node = Node::start(&[]).await;
    let client = node.client();
    apply(&client, [spec("to/read", Codec::Zstandard, 1024)]).await;
    // More than a fragment each: the first is persisted while the second is local.
    let (old, new) = ("o".repeat(2000), "n".repeat(500));
    client.append(append("to/read"), old.clone()).await.expect("appended");
    client.append(append("to/read"), new.clone()).await.expect("appended");
    let read = |request: wire::ReadRequest| {
        let mut stream = client.read(wire::ReadRequest { journal: "to/read".to_owned(), ..request });
        async move {
            let (mut content, mut first) = (String::new(), None);
            while let Some(event) = stream.next().await {
                match event {
                    Ok(ReadEvent::Content { content: part, .. }) => {
                        content.push_str(&String::from_utf8_lossy(&part))
                    }
                    Ok(ReadEvent::Metadata(metadata)) => first = first.or(Some(metadata.offset)),
                    Err(error) => {
                        assert_eq!(error.status(), Some(Status::OffsetNotYetAvailable), "{error}");
                        break;
                    }
                }
            }
            (content, first)
        }
    };
    let window = wire::ReadRequest { offset: 1995, end_offset: 2010, block: true, ..Default::default() };
    assert_eq!(read(window).await, (format!("{}{}", "o".repeat(5), "n".repeat(10)), Some(1995)));
    let only = wire::ReadRequest { offset: 10, metadata_only: true, ..Default::default() };
    assert_eq!(read(only).await, (String::new(), Some(10)));

    // Persisted before tomorrow: skipped. What is local is always new.
    let persisted = || store::fragments(&node.fragments(), "to/read").len();
    let begun = Instant::now();
    while persisted() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the first fragment is not persisted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let tomorrow = wire::ReadRequest { begin_mod_time: 1 << 40, ..Default::default() };
    let begun = Instant::now();
    loop {
        let (content, first) = read(tomorrow.clone()).await;
        // The index learns of the upload a moment after the file is there.
        if first == Some(2000) {
            assert_eq!(content, new);
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "begins at {first:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let all = wire::ReadRequest { begin_mod_time: 1, ..Default::default() };
    assert_eq!(read(all).await.0, format!("{old}{new}"));
}

#[tokio::test]
async fn journals_are_watched_as_they_come_and_go() {
    let node = Node::start(&[]).await;
    let client = node.client();
    let mut watch = client.watch(wire::LabelSelector::default());
    let mut next = async || {
        let change = tokio::time::timeout(Duration::from_secs(30), watch.next()).await.expect("told in time");
        let change = change.expect("it never ends").expect("no failure");
        change.journals.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(next().await, Vec::<String>::new());
    apply(&client, [spec("watched/a", Codec::None, 1024), spec("watched/b", Codec::None, 1024)]).await;
    assert_eq!(next().await, ["watched/a", "watched/b"]);
    client.apply(wire::ApplyRequest { changes: vec![delete("watched/a")] }).await.expect("deleted");
    assert_eq!(next().await, ["watched/b"]);
}

/// Made anew, a journal begins anew: neither bytes nor registers of its namesake are in it.
#[tokio::test]
async fn a_journal_that_was_deleted_leaves_nothing_to_its_namesake() {
    let mut node = Node::start(&[]).await;
    let client = node.client();
    let bare = || {
        let mut bare = spec("same/name", Codec::None, 1 << 20);
        bare.fragment.as_mut().expect("a fragment spec").stores.clear();
        bare
    };
    apply(&client, [bare()]).await;
    client.append(append("same/name"), "the first\n").await.expect("appended");
    client.apply(wire::ApplyRequest { changes: vec![delete("same/name")] }).await.expect("deleted");
    assert_eq!(node.http("GET", "/same/name", b"").await.status, 404);
    apply(&client, [bare()]).await;
    assert_eq!(put(&node, "same/name", "the second\n").await, (0, 11));
    node.kill();
    node.restart().await;
    assert_eq!(content(&node, "same/name").await, "the second\n");
    let client = node.client();
    assert_eq!(
        refused(client.apply(wire::ApplyRequest { changes: vec![create(bare())] }).await),
        Status::EtcdTransactionFailed
    );
}
