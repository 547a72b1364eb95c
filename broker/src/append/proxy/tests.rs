//! Tests of content on its way to another broker.

use std::path::Path;

use courant_fragment::disk::{Disk, MemoryDisk, Open};

use super::*;

/// The content of messages, and how many there were.
async fn joined(requests: AppendRequests) -> (Vec<u8>, usize) {
    let messages: Vec<wire::AppendRequest> =
        requests.map(|message| message.expect("content")).collect().await;
    assert!(messages.last().is_some_and(|last| last.content.is_empty()), "the intent to commit is last");
    assert!(messages.iter().rev().skip(1).all(|message| !message.content.is_empty()), "and is there once");
    let content = messages.iter().flat_map(|message| message.content.to_vec()).collect();
    (content, messages.len())
}

#[tokio::test]
async fn content_that_was_received_is_sent_whole_wherever_it_lies() {
    let content: Vec<u8> = (0..600_000u32).map(|n| n as u8).collect();
    let chunks = vec![Bytes::from(content[..10].to_vec()), Bytes::from(content[10..].to_vec())];
    let memory = Content::Memory { chunks, share: None };
    assert_eq!(joined(requests_of(&memory, 600_000)).await, (content.clone(), 5));
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("spools")).expect("a folder");
    let file = disk.open(Path::new("spools/one"), Open::Write).expect("a file");
    file.write_all_at(&content, 0).expect("written");
    let scratch = Content::Scratch { file };
    assert_eq!(joined(requests_of(&scratch, 600_000)).await, (content, 4));
    let nothing = Content::Memory { chunks: Vec::new(), share: None };
    assert_eq!(joined(requests_of(&nothing, 0)).await, (Vec::new(), 1));
}

#[tokio::test]
async fn what_was_not_asked_for_is_given_back_and_a_clients_fault_ends_nothing() {
    let chunk = || wire::AppendRequest { content: Bytes::from_static(b"content"), ..Default::default() };
    let relay = |requests: Vec<Result<wire::AppendRequest, Status>>, failed| {
        let first = wire::AppendRequest { journal: "a/journal".to_owned(), ..Default::default() };
        Arc::new(Mutex::new(Relay::new(first, stream::iter(requests).boxed(), failed)))
    };
    let untouched = relay(Vec::new(), oneshot::channel().0);
    assert!(untouched.lock().unsent().is_some());
    let (failed, failure) = oneshot::channel();
    let intent = wire::AppendRequest::default();
    let requests = vec![Ok(chunk()), Ok(intent.clone()), Err(Status::cancelled("gone"))];
    let touched = relay(requests, failed);
    let mut relayed = Relayed(Arc::clone(&touched));
    assert!(relayed.next().await.is_some());
    assert!(touched.lock().unsent().is_none());
    assert_eq!(relayed.next().await, Some(chunk()));
    assert!(futures::poll!(relayed.next()).is_pending(), "an end would mean to commit, or to roll back");
    assert_eq!(failure.await.expect("told").code(), tonic::Code::Cancelled);
    // The intent goes with the end, or with what should not be there.
    for rest in [vec![], vec![chunk()]] {
        let requests = [vec![intent.clone()], rest.clone()].concat();
        let relayed = Relayed(relay(requests.into_iter().map(Ok).collect(), oneshot::channel().0));
        let passed: Vec<_> = relayed.skip(1).collect().await;
        assert_eq!(passed, [vec![intent.clone()], rest].concat());
    }
}
