//! Appends against a scripted broker: what is sent, what is tried again, what is given up.

use std::io;
use std::time::Duration;

use courant_proto::wire::{self, AppendResponse, Status as S};
use futures::stream;
use tokio::time::Instant;
use tonic::Status;

use super::content::MESSAGE_BYTES;
use super::*;
use crate::fake::{Fake, OnAppend, header};

fn request() -> wire::AppendRequest {
    wire::AppendRequest { journal: "examples/foobar".into(), ..Default::default() }
}

fn committed(begin: i64, end: i64) -> AppendResponse {
    AppendResponse {
        header: Some(header(5)),
        commit: Some(wire::Fragment { begin, end, ..Default::default() }),
        registers: Some(wire::LabelSet::default()),
        ..Default::default()
    }
}

fn refused(status: S) -> AppendResponse {
    AppendResponse { status: status.into(), header: Some(header(5)), ..Default::default() }
}

fn answer(response: AppendResponse) -> OnAppend {
    OnAppend::Answer(Ok(response))
}

#[tokio::test]
async fn content_goes_between_parameters_and_commit() {
    for (content, expected) in [
        (Bytes::new(), "head commit end".to_owned()),
        (Bytes::from_static(b"hello"), "head 5 commit end".to_owned()),
        (vec![0; 2 * MESSAGE_BYTES + 3].into(), format!("head {MESSAGE_BYTES} {MESSAGE_BYTES} 3 commit end")),
    ] {
        let fake = Fake::default();
        fake.on_append(answer(committed(3, 8)));
        let appended = fake.client().append(request(), content).await.unwrap();
        assert_eq!((appended.commit.begin, appended.commit.end), (3, 8));
        assert_eq!(fake.append_lines(), [expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_again_with_all_of_the_content() {
    let fake = Fake::default();
    for status in [S::NoJournalPrimaryBroker, S::NotJournalPrimaryBroker, S::InsufficientJournalBrokers] {
        fake.on_append(answer(refused(status)));
    }
    fake.on_append(OnAppend::Answer(Err(Status::unavailable("gone"))));
    fake.on_append(answer(committed(0, 5)));
    fake.client().append(request(), "hello").await.unwrap();
    assert_eq!(fake.append_lines(), ["head 5 commit end"; 5]);
}

#[tokio::test(start_paused = true)]
async fn what_stays_is_handed_out_at_once() {
    for status in [
        S::JournalNotFound,
        S::NotAllowed,
        S::WrongAppendOffset,
        S::IndexHasGreaterOffset,
        S::RegisterMismatch,
        S::Suspended,
        S::FragmentStoreUnhealthy,
    ] {
        let fake = Fake::default();
        let response = AppendResponse {
            registers: Some(wire::LabelSet::default()),
            store_health_error: "no such bucket".into(),
            ..refused(status)
        };
        fake.on_append(answer(response));
        let error = fake.client().append(request(), "hello").await.unwrap_err();
        let refusal = error.refusal().unwrap();
        assert_eq!(refusal.status, status);
        assert_eq!(refusal.header, Some(header(5)));
        assert_eq!(refusal.registers, Some(wire::LabelSet::default()));
        assert_eq!(refusal.store_health, "no such bucket");
        assert_eq!(fake.append_lines().len(), 1, "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn patience_ends() {
    let fake = Fake::default();
    (0..100).for_each(|_| fake.on_append(answer(refused(S::NoJournalPrimaryBroker))));
    let began = Instant::now();
    let error = fake.client().append(request(), "hello").await.unwrap_err();
    assert_eq!(error.status(), Some(S::NoJournalPrimaryBroker));
    assert!(error.is_transient());
    let elapsed = began.elapsed();
    assert!((Duration::from_secs(20)..=Duration::from_secs(30)).contains(&elapsed), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn an_append_that_is_not_answered() {
    let fake = Fake::default();
    fake.on_append(OnAppend::Never);
    let error = fake.client().append(request(), "hello").await.unwrap_err();
    assert!(matches!(error, Error::Unanswered { call: "Append", .. }), "{error}");
    assert_eq!(fake.append_lines().len(), 1);
}

#[tokio::test]
async fn answers_that_break_the_protocol() {
    for (response, reason) in [
        (AppendResponse { header: None, ..committed(0, 5) }, "expected Header"),
        (AppendResponse { commit: None, ..committed(0, 5) }, "expected Commit"),
        (AppendResponse { registers: None, ..committed(0, 5) }, "expected Registers"),
        (committed(6, 5), "expected Begin <= End (have 6, 5)"),
        (AppendResponse { status: 77, ..committed(0, 5) }, "Status: invalid status (77)"),
    ] {
        let fake = Fake::default();
        fake.on_append(answer(response));
        let error = fake.client().append(request(), "hello").await.unwrap_err();
        assert_eq!(error.to_string(), format!("the broker's answer to Append breaks the protocol: {reason}"));
    }
}

fn parts(items: &[&'static str]) -> Vec<io::Result<Bytes>> {
    items.iter().map(|item| Ok(Bytes::from_static(item.as_bytes()))).collect()
}

#[tokio::test]
async fn a_stream_is_sent_part_by_part() {
    let fake = Fake::default();
    fake.on_append(answer(committed(0, 9)));
    let content = Content::stream(stream::iter(parts(&["one", "", "three", ""])));
    fake.client().append(request(), content).await.unwrap();
    assert_eq!(fake.append_lines(), ["head 3 5 commit end"]);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_not_committed() {
    let fake = Fake::default();
    fake.on_append(OnAppend::Answer(Err(Status::unknown("append stream: unexpected EOF"))));
    let mut items = parts(&["one"]);
    items.push(Err(io::Error::other("the disk is gone")));
    items.extend(parts(&["never sent"]));
    let error = fake.client().append(request(), Content::stream(stream::iter(items))).await.unwrap_err();
    assert!(matches!(&error, Error::Content(cause) if cause.to_string() == "the disk is gone"), "{error}");
    assert_eq!(fake.append_lines(), ["head 3 error end"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_sent_once_and_replayed_content_again() {
    let fake = Fake::default();
    fake.on_append(answer(refused(S::NoJournalPrimaryBroker)));
    let content = Content::stream(stream::iter(parts(&["one"])));
    assert!(fake.client().append(request(), content).await.unwrap_err().is_transient());
    assert_eq!(fake.append_lines().len(), 1);

    let fake = Fake::default();
    fake.on_append(answer(refused(S::NoJournalPrimaryBroker)));
    fake.on_append(answer(committed(0, 8)));
    let content = Content::replay(|| stream::iter(parts(&["one", "three"])));
    fake.client().append(request(), content).await.unwrap();
    assert_eq!(fake.append_lines(), ["head 3 5 commit end"; 2]);
}

#[tokio::test]
async fn an_appender_commits_what_was_written() {
    let fake = Fake::default();
    fake.on_append(answer(committed(0, 8)));
    let mut appender = fake.client().appender(request());
    assert!(fake.append_lines().is_empty(), "nothing is sent before the first write");
    for content in ["one", "", "three"] {
        appender.write(content.into()).await.unwrap();
    }
    assert_eq!(appender.commit().await.unwrap().commit.end, 8);
    assert_eq!(fake.append_lines(), ["head 3 5 commit end"]);
}

#[tokio::test]
async fn an_appender_without_writes_is_an_empty_append() {
    let fake = Fake::default();
    fake.on_append(answer(committed(8, 8)));
    fake.client().appender(request()).commit().await.unwrap();
    assert_eq!(fake.append_lines(), ["head commit end"]);
}

#[tokio::test]
async fn an_aborted_appender_does_not_commit() {
    let fake = Fake::default();
    fake.on_append(OnAppend::Answer(Err(Status::unknown("append stream: unexpected EOF"))));
    let mut appender = fake.client().appender(request());
    appender.write("one".into()).await.unwrap();
    appender.abort().await;
    assert_eq!(fake.append_lines(), ["head 3 end"]);

    fake.client().appender(request()).abort().await;
    assert_eq!(fake.append_lines().len(), 1, "what never began is not aborted");
}

#[tokio::test]
async fn an_early_answer_is_the_error_of_a_write() {
    let fake = Fake::default();
    fake.on_append(OnAppend::Early(2, Ok(refused(S::FragmentStoreUnhealthy))));
    let mut appender = fake.client().appender(request());
    let mut writes = 0;
    let error = loop {
        writes += 1;
        match appender.write("content".into()).await {
            Ok(()) if writes < 20 => {}
            Ok(()) => panic!("twenty writes and no answer"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.status(), Some(S::FragmentStoreUnhealthy));
    assert!(matches!(appender.write("more".into()).await, Err(Error::Invalid(_))));
    assert!(matches!(appender.commit().await, Err(Error::Invalid(_))));
}
