//! Listings and their watch against a scripted broker.

use std::time::Duration;

use courant_proto::wire::{self, ListResponse, Status as S};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;
use tonic::Status;

use super::*;
use crate::fake::{Fake, header};

fn journal(name: &str, mod_revision: i64) -> wire::list_response::Journal {
    wire::list_response::Journal {
        spec: Some(wire::JournalSpec { name: name.into(), ..Default::default() }),
        mod_revision,
        ..Default::default()
    }
}

/// The first message of a listing.
fn first(revision: i64, journals: &[(&str, i64)]) -> Result<ListResponse, Status> {
    Ok(ListResponse { header: Some(header(revision)), ..more(journals).unwrap() })
}

/// A further message, and with no journals the mark of the end, headers being there but empty.
fn more(journals: &[(&str, i64)]) -> Result<ListResponse, Status> {
    let journals = journals.iter().map(|(name, revision)| journal(name, *revision)).collect();
    Ok(ListResponse { header: Some(wire::Header::default()), journals, ..Default::default() })
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.journals.iter().map(|journal| journal.spec.as_ref().unwrap().name.as_str()).collect()
}

#[tokio::test]
async fn messages_are_joined() {
    let fake = Fake::default();
    fake.on_list([first(7, &[("a/one", 1), ("a/two", 2)]), more(&[("b/one", 3)])], false);
    let listing = fake.client().list(wire::LabelSelector::default()).await.unwrap();
    assert_eq!(names(&listing), ["a/one", "a/two", "b/one"]);
    assert_eq!(listing.revision(), 7);

    fake.on_list([first(8, &[])], false);
    let listing = fake.client().list(wire::LabelSelector::default()).await.unwrap();
    assert!(listing.journals.is_empty());
}

#[tokio::test]
async fn listings_that_break_the_protocol() {
    let broken = |reason: &str| format!("the broker's answer to List breaks the protocol: {reason}");
    for (messages, reason) in [
        (vec![], "it ended before the first message"),
        (vec![more(&[("a/one", 1)])], "it begins without a Header that names a revision"),
        (vec![first(7, &[("", 1)])], "Journals[0]: expected Spec.Name"),
        (vec![first(7, &[("a/one", 1), ("a/two", 0)])], "Journals[1]: invalid ModRevision (0; expected > 0)"),
    ] {
        let fake = Fake::default();
        fake.on_list(messages, false);
        let error = fake.client().list(wire::LabelSelector::default()).await.unwrap_err();
        assert_eq!(error.to_string(), broken(reason));
    }
    let fake = Fake::default();
    fake.on_list([Ok(ListResponse { status: S::NotAllowed.into(), ..Default::default() })], false);
    let error = fake.client().list(wire::LabelSelector::default()).await.unwrap_err();
    assert_eq!(error.status(), Some(S::NotAllowed));
}

fn show(change: &Change) -> String {
    let all: Vec<_> = change.journals.keys().map(String::as_str).collect();
    format!("{}: {all:?} +{:?} -{:?}", change.revision, change.upserted, change.removed)
}

#[tokio::test]
async fn a_watch_tells_what_changed() {
    let fake = Fake::default();
    let messages = [
        first(5, &[]),
        more(&[]),
        first(7, &[("a/one", 6)]),
        more(&[("a/two", 7)]),
        more(&[]),
        first(9, &[("a/one", 6), ("a/two", 9)]),
        more(&[]),
        first(10, &[("a/two", 9)]),
        more(&[]),
        first(11, &[("a/three", 11)]),
    ];
    fake.on_list(messages, true);
    let mut watch = fake.client().watch(wire::LabelSelector::default());
    for expected in [
        r#"5: [] +[] -[]"#,
        r#"7: ["a/one", "a/two"] +["a/one", "a/two"] -[]"#,
        r#"9: ["a/one", "a/two"] +["a/two"] -[]"#,
        r#"10: ["a/two"] +[] -["a/one"]"#,
    ] {
        assert_eq!(show(&watch.try_next().await.unwrap().unwrap()), expected);
    }
    assert!(watch.next().now_or_never().is_none(), "the last listing is not complete");
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes() {
    let fake = Fake::default();
    fake.on_list([first(5, &[("a/one", 4)]), more(&[]), first(6, &[("lost", 6)])], false);
    fake.on_list([Err(Status::unavailable("gone"))], false);
    fake.on_list([first(5, &[("not/newer", 4)]), more(&[])], true);
    fake.on_list([first(8, &[("a/one", 4), ("a/two", 8)]), more(&[])], true);
    let mut watch = fake.client().watch(wire::LabelSelector::default());
    assert_eq!(show(&watch.try_next().await.unwrap().unwrap()), r#"5: ["a/one"] +["a/one"] -[]"#);
    assert_eq!(show(&watch.try_next().await.unwrap().unwrap()), r#"8: ["a/one", "a/two"] +["a/two"] -[]"#);
    let resumed = |request: wire::ListRequest| request.watch_resume.map(|h| h.etcd.unwrap().revision);
    let resumed: Vec<_> = fake.list_requests().into_iter().map(resumed).collect();
    assert_eq!(resumed, [None, Some(5), Some(5), Some(5)]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_of_failures_that_last() {
    let fake = Fake::default();
    (0..100).for_each(|_| fake.on_list([], false));
    let mut watch = fake.client().watch(wire::LabelSelector::default());
    let began = Instant::now();
    assert!(watch.next().await.unwrap().unwrap_err().is_transient());
    assert!(began.elapsed() >= Duration::from_secs(30));
    assert!(watch.next().await.unwrap().is_err(), "it goes on trying");
}
