//! PUT.

use std::io;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use courant_proto::wire::{self, Status as S};
use futures::stream::{self, StreamExt as _};
use http::{Request, StatusCode};
use tonic::Status;

use crate::fake::{Fake, Reply, ask, committed};

/// A body that comes in these parts, its length untold.
fn parts(parts: &[&'static str]) -> Body {
    let parts: Vec<_> =
        parts.iter().map(|part| Ok::<_, io::Error>(Bytes::from_static(part.as_bytes()))).collect();
    Body::from_stream(stream::iter(parts))
}

fn refused(status: S) -> wire::AppendResponse {
    wire::AppendResponse {
        status: status.into(),
        commit: None,
        registers: (status == S::RegisterMismatch).then(wire::LabelSet::default),
        ..committed(0, 0)
    }
}

#[tokio::test]
async fn a_body_is_one_append() {
    for (uri, journal) in [
        ("/a/journal", "a/journal"),
        ("/v1/journals/a/journal", "a/journal"),
        ("/v1/journals/metrics/cpu", "metrics/cpu"),
        ("/v1/journals/list", "list"),
    ] {
        let fake = Fake::default();
        fake.on_append(Ok(committed(100, 106)));
        let reply = fake.put(uri, "foobar").await;
        assert_eq!((reply.code, reply.body.as_str()), (StatusCode::NO_CONTENT, ""));
        assert_eq!(fake.appended(), [(journal.to_owned(), vec!["foobar".into()], true)], "{uri}");
    }
}

#[tokio::test]
async fn a_committed_append_has_every_header() {
    let fake = Fake::default();
    fake.on_append(Ok(committed(100, 106)));
    let reply = fake.put("/a/journal", "foobar").await;
    assert_eq!(
        Reply::lines(&reply.headers),
        [
            "location: http://one:8080/path/a/journal",
            "x-commit-begin: 100",
            "x-commit-end: 106",
            "x-commit-sha1-sum: 8843d7f92416211de9ebb963ff4ce28125932878",
            r#"x-route-token: members:<zone:"a" suffix:"broker-1" > members:<zone:"a" suffix:"broker-2" > endpoints:"http://one:8080/path" endpoints:"http://two:8080" "#,
            "x-write-head: 106",
        ]
    );
}

#[tokio::test]
async fn no_body_is_an_empty_append() {
    let fake = Fake::default();
    fake.on_append(Ok(committed(6, 6)));
    let reply = fake.put("/a/journal", Body::empty()).await;
    assert_eq!((reply.code, reply.header("x-write-head")), (StatusCode::NO_CONTENT, "6"));
    assert_eq!(fake.appended(), [("a/journal".to_owned(), vec![], true)]);
}

#[tokio::test]
async fn small_parts_are_joined_and_large_bodies_stream() {
    let fake = Fake::default();
    fake.on_append(Ok(committed(0, 6)));
    fake.put("/a/journal", parts(&["foo", "", "bar"])).await;
    assert_eq!(fake.appended()[0].1, ["foobar"]);

    let mut config = Fake::config();
    config.small_body_bytes = 4;
    fake.on_append(Ok(committed(0, 9)));
    let request = Request::put("/a/journal").body(parts(&["one", "two", "six"])).unwrap();
    assert_eq!(ask(fake.router_with(config), request).await.code, StatusCode::NO_CONTENT);
    assert_eq!(
        fake.appended()[1],
        ("a/journal".to_owned(), vec!["one".into(), "two".into(), "six".into()], true)
    );
}

#[tokio::test]
async fn refusals_and_what_they_become() {
    for (status, code, retry) in [
        (S::JournalNotFound, 404, false),
        (S::NoJournalPrimaryBroker, 503, true),
        (S::NotJournalPrimaryBroker, 503, true),
        (S::InsufficientJournalBrokers, 503, true),
        (S::NotAllowed, 403, false),
        (S::WrongAppendOffset, 409, false),
        (S::IndexHasGreaterOffset, 409, false),
        (S::RegisterMismatch, 412, false),
        (S::Suspended, 409, false),
        (S::FragmentStoreUnhealthy, 503, true),
    ] {
        let fake = Fake::default();
        fake.on_append(Ok(refused(status)));
        let reply = fake.put("/a/journal", "foobar").await;
        assert_eq!((reply.code.as_u16(), reply.first_line()), (code, status.as_str_name()));
        assert_eq!(reply.headers.contains_key("retry-after"), retry, "{status:?}");
        assert!(reply.headers.contains_key("x-route-token"));
    }
    let fake = Fake::default();
    let unhealthy = wire::AppendResponse {
        store_health_error: "no such bucket".into(),
        ..refused(S::FragmentStoreUnhealthy)
    };
    fake.on_append(Ok(unhealthy));
    assert_eq!(
        fake.put("/a/journal", "foobar").await.first_line(),
        "FRAGMENT_STORE_UNHEALTHY: no such bucket"
    );
    fake.on_append(Err(Status::unknown("it broke")));
    let reply = fake.put("/a/journal", "foobar").await;
    assert_eq!((reply.code.as_u16(), reply.first_line()), (500, "it broke"));
}

#[tokio::test(start_paused = true)]
async fn a_state_that_passes_is_waited_for() {
    let fake = Fake::default();
    fake.on_append(Ok(refused(S::NoJournalPrimaryBroker)));
    fake.on_append(Ok(committed(0, 6)));
    let mut config = Fake::config();
    config.retry_for = Duration::from_secs(5);
    let request = Request::put("/a/journal").body(Body::from("foobar")).unwrap();
    assert_eq!(ask(fake.router_with(config), request).await.code, StatusCode::NO_CONTENT);
    assert_eq!(fake.appended().len(), 2);
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_appended() {
    let mut config = Fake::config();
    config.max_body_bytes = 6;
    config.small_body_bytes = 4;
    let fake = Fake::default();
    fake.on_append(Ok(committed(0, 6)));
    let request = Request::put("/a/journal").body(parts(&["foo", "bar"])).unwrap();
    assert_eq!(
        ask(fake.router_with(config.clone()), request).await.code,
        StatusCode::NO_CONTENT,
        "at the limit"
    );

    // Told beforehand, found out while it is received, and found out while it streams.
    let told = Request::put("/a/journal").header("content-length", "7").body(Body::from("foobar!")).unwrap();
    let received = Request::put("/a/journal").body(parts(&["foobar!"])).unwrap();
    let streaming = Request::put("/a/journal").body(parts(&["foo", "bar", "!"])).unwrap();
    for request in [told, received, streaming] {
        let reply = ask(fake.router_with(config.clone()), request).await;
        assert_eq!(reply.code, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(reply.first_line().contains("limit of 6 bytes"), "{}", reply.body);
    }
    assert_eq!(fake.appended().iter().filter(|(_, _, committed)| *committed).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_or_breaks_is_not_appended() {
    let one = || stream::iter([Ok(Bytes::from_static(b"one"))]);
    for small_body_bytes in [2, 1_000] {
        let mut config = Fake::config();
        config.small_body_bytes = small_body_bytes;
        let fake = Fake::default();

        let stopped = Body::from_stream(one().chain(stream::pending::<io::Result<Bytes>>()));
        let reply =
            ask(fake.router_with(config.clone()), Request::put("/a/journal").body(stopped).unwrap()).await;
        assert_eq!(reply.code, StatusCode::REQUEST_TIMEOUT, "{}", reply.body);

        let broken = Body::from_stream(one().chain(stream::iter([Err(io::Error::other("reset"))])));
        let reply = ask(fake.router_with(config), Request::put("/a/journal").body(broken).unwrap()).await;
        assert_eq!(reply.code, StatusCode::BAD_REQUEST, "{}", reply.body);
        assert!(fake.appended().iter().all(|(_, _, committed)| !committed));
    }
}

#[tokio::test]
async fn only_plain_content_is_taken() {
    for (encoding, code) in
        [("gzip", 415), ("zstd", 415), ("gzip, identity", 415), ("identity", 204), ("Identity", 204)]
    {
        let fake = Fake::default();
        fake.on_append(Ok(committed(0, 6)));
        let request =
            Request::put("/a/journal").header("content-encoding", encoding).body(Body::from("foobar"));
        let reply = fake.ask(request.unwrap()).await;
        assert_eq!(reply.code, code, "{encoding}");
        assert_eq!(fake.appended().len(), usize::from(code == 204));
    }
}
