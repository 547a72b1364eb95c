//! `Read`, message by message.

use std::time::Duration;

use courant_proto::wire::{self, CompressionCodec as Codec, Status};
use courant_tests::journal::{apply, spec};
use courant_tests::process::Node;
use courant_tests::store;
use futures::StreamExt as _;
use tokio::time::timeout;

use crate::{append, chunk, commit, read, send};

fn of(journal: &str) -> wire::ReadRequest {
    wire::ReadRequest { journal: journal.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_read_that_does_not_block_ends_with_the_write_head() {
    let node = Node::start(&[]).await;
    apply(&node.client(), [spec("a/journal", Codec::Gzip, 1 << 20)]).await;
    commit(&node, append("a/journal"), "feedbeef").await;
    let messages = read(&node, wire::ReadRequest { offset: 4, ..of("a/journal") }).await.expect("messages");
    let [metadata, content, end] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((metadata.status(), metadata.offset, metadata.write_head), (Status::Ok, 4, 8));
    let fragment = metadata.fragment.as_ref().expect("a fragment");
    assert_eq!((fragment.journal.as_str(), fragment.begin, fragment.end), ("a/journal", 0, 8));
    assert!(metadata.header.is_some() && metadata.content.is_empty());
    assert_eq!((content.offset, &content.content[..]), (4, &b"beef"[..]));
    assert!(content.header.is_none() && content.fragment.is_none());
    assert_eq!((end.status(), end.offset, end.write_head), (Status::OffsetNotYetAvailable, 8, 8));
}

#[tokio::test]
async fn a_blocked_read_is_told_of_growth() {
    let node = Node::start(&[]).await;
    apply(&node.client(), [spec("a/journal", Codec::None, 1 << 20)]).await;
    commit(&node, append("a/journal"), "one").await;
    let request = wire::ReadRequest { block: true, ..of("a/journal") };
    let mut stream = node.grpc().await.read(request).await.expect("a stream").into_inner();
    let mut next = async || {
        let message = timeout(Duration::from_secs(30), stream.next()).await.expect("woken");
        message.expect("it goes on").expect("no failure")
    };
    assert!(next().await.header.is_some());
    assert_eq!(&next().await.content[..], b"one");
    commit(&node, append("a/journal"), "two").await;
    let (metadata, content) = (next().await, next().await);
    assert_eq!((metadata.offset, metadata.write_head, metadata.header), (3, 6, None));
    assert_eq!((content.offset, &content.content[..]), (3, &b"two"[..]));
}

#[tokio::test]
async fn chunks_are_bounded_and_a_read_has_an_end() {
    const CHUNK: usize = 32_760;
    let node = Node::start(&[]).await;
    apply(&node.client(), [spec("a/journal", Codec::None, 1 << 20)]).await;
    let large = chunk(Box::leak("x".repeat(100_000).into_boxed_str()));
    let response = send(&node, vec![append("a/journal"), large, chunk("")]).await.expect("an answer");
    assert_eq!(response.status(), Status::Ok);
    let request = wire::ReadRequest { offset: 1, end_offset: 99_000, block: true, ..of("a/journal") };
    let messages = read(&node, request).await.expect("messages");
    let mut at = 1;
    for message in messages.iter().filter(|message| !message.content.is_empty()) {
        assert_eq!(message.offset, at);
        assert!(message.content.len() <= CHUNK, "{}", message.content.len());
        at += i64::try_from(message.content.len()).expect("a length");
    }
    assert_eq!(at, 99_000);
    // An end beyond the head is waited for, and not a byte more is sent.
    let request = wire::ReadRequest { offset: 100_000, end_offset: 100_001, block: true, ..of("a/journal") };
    let (messages, _) = tokio::join!(read(&node, request), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        commit(&node, append("a/journal"), "several bytes").await
    });
    let content: Vec<u8> =
        messages.expect("messages").iter().flat_map(|message| message.content.to_vec()).collect();
    assert_eq!(content, b"s");
}

#[tokio::test]
async fn metadata_alone_is_one_message() {
    let node = Node::start(&[]).await;
    apply(&node.client(), [spec("a/journal", Codec::None, 1 << 20)]).await;
    let request = wire::ReadRequest { offset: -1, block: true, metadata_only: true, ..of("a/journal") };
    let (messages, _) = tokio::join!(read(&node, request), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        commit(&node, append("a/journal"), "foobar").await
    });
    let messages = messages.expect("messages");
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!((messages[0].offset, messages[0].write_head), (0, 6));
}

#[tokio::test]
async fn stored_fragments_are_decoded_and_positioned() {
    let mut node = Node::start(&[]).await;
    apply(&node.client(), [spec("a/journal", Codec::Gzip, 1 << 20)]).await;
    commit(&node, append("a/journal"), "remote fragment data").await;
    assert!(node.terminate().await.success());
    node.restart().await;
    commit(&node, append("a/journal"), " and local").await;
    let stored = store::fragments(&node.fragments(), "a/journal");
    let messages = read(&node, wire::ReadRequest { offset: 7, ..of("a/journal") }).await.expect("messages");
    let fragment = messages[0].fragment.as_ref().expect("a fragment");
    assert_eq!(fragment.backing_store, "file:///");
    assert!(fragment.mod_time > 0);
    assert!(
        messages[0]
            .fragment_url
            .ends_with(stored[0].path.file_name().and_then(|n| n.to_str()).expect("a name"))
    );
    let content: Vec<u8> = messages.iter().flat_map(|message| message.content.to_vec()).collect();
    assert_eq!(content, b"fragment data and local");
    // Told not to be a proxy, the broker leaves what is stored to the reader.
    let request = wire::ReadRequest { offset: 7, do_not_proxy: true, ..of("a/journal") };
    let messages = read(&node, request).await.expect("messages");
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(!messages[0].fragment_url.is_empty());
}

#[tokio::test]
async fn refused_reads_are_one_message() {
    let node = Node::start(&[]).await;
    let write_only = wire::JournalSpec {
        flags: wire::journal_spec::Flag::OWronly as u32,
        ..spec("write/only", Codec::None, 1 << 20)
    };
    apply(&node.client(), [write_only]).await;
    for (journal, expected) in [("not/found", Status::JournalNotFound), ("write/only", Status::NotAllowed)] {
        let messages = read(&node, of(journal)).await.expect("messages");
        assert_eq!(messages.len(), 1, "{journal}");
        assert_eq!(messages[0].status(), expected, "{journal}");
        assert!(messages[0].header.is_some(), "{journal}");
    }
    let refused = read(&node, of("/invalid/name")).await.expect_err("an invalid name");
    assert!(refused.message().ends_with("Journal: cannot begin with '/' (/invalid/name)"), "{refused:?}");
    let far = wire::ReadRequest { min_etcd_revision: 1 << 40, ..of("not/found") };
    let waits = timeout(Duration::from_millis(300), read(&node, far)).await;
    assert!(waits.is_err(), "a revision that is to come is waited for");
}

#[tokio::test]
async fn a_revision_that_is_to_come_is_waited_for() {
    let node = Node::start(&["--auto-create", "false"]).await;
    let mut created = Vec::new();
    for journal in ["one/ahead", "two/ahead"] {
        let head = read(&node, of(journal)).await.expect("messages");
        assert_eq!(head[0].status(), Status::JournalNotFound, "{journal}");
        let revision = head[0].header.as_ref().and_then(|header| header.etcd).expect("a revision").revision;
        // The journal comes with the very next revision of the cluster, and whoever asked for that sees it.
        let request = wire::ReadRequest { min_etcd_revision: revision + 1, ..of(journal) };
        let client = node.client();
        let (seen, ()) = tokio::join!(read(&node, request), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            apply(&client, [spec(journal, Codec::None, 1 << 20)]).await;
        });
        created.push(seen.expect("messages")[0].status());
    }
    assert_eq!(created, [Status::OffsetNotYetAvailable; 2]);
}
