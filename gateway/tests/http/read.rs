//! GET and HEAD.

use axum::body::Body;
use courant_proto::wire::{self, Status as S};
use futures::stream::{self, StreamExt as _};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tonic::Status;
use tower::ServiceExt as _;

use crate::fake::{Fake, Reply, content, metadata, read_refused};

const ROUTE_TOKEN: &str = r#"x-route-token: members:<zone:"a" suffix:"broker-1" > members:<zone:"a" suffix:"broker-2" > endpoints:"http://one:8080/path" endpoints:"http://two:8080" "#;

#[tokio::test]
async fn requests_become_reads() {
    let read = |offset, block, metadata_only| wire::ReadRequest {
        journal: "a/journal".into(),
        offset,
        block,
        metadata_only,
        ..Default::default()
    };
    for (method, uri, expected) in [
        ("GET", "/a/journal", read(0, false, false)),
        ("GET", "/a/journal?block=true", read(0, true, false)),
        ("GET", "/a/journal?offset=123&block=true", read(123, true, false)),
        ("GET", "/a/journal?Offset=-1", read(-1, false, false)),
        ("GET", "/v1/journals/a/journal?offset=9", read(9, false, false)),
        (
            "GET",
            "/a/journal;meta/part",
            wire::ReadRequest { journal: "a/journal;meta/part".into(), ..read(0, false, false) },
        ),
        (
            "GET",
            "/a%2Djournal/%C3%BC",
            wire::ReadRequest { journal: "a-journal/ü".into(), ..read(0, false, false) },
        ),
        ("HEAD", "/a/journal?offset=5", read(5, false, true)),
    ] {
        let fake = Fake::default();
        fake.on_read([Ok(read_refused(S::JournalNotFound, 0))]);
        fake.ask(Request::builder().method(method).uri(uri).body(Body::empty()).unwrap()).await;
        assert_eq!(fake.read_requests(), [expected], "{uri}");
    }
}

#[tokio::test]
async fn a_full_answer_has_every_header() {
    let fake = Fake::default();
    let mut first = metadata(1_100, 1_000, 1_500, 2_000);
    first.fragment_url = "http://store/fragment?sig=1".into();
    if let Some(fragment) = &mut first.fragment {
        fragment.mod_time = 1_485_295_265;
        fragment.backing_store = "s3://bucket/".into();
        fragment.path_postfix = "some/postfix".into();
    }
    fake.on_read([Ok(first), Ok(content(1_100, "some ")), Ok(content(1_105, "content"))]);
    let reply = fake.get("/a/journal?offset=1100").await;
    assert_eq!(reply.code, StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        Reply::lines(&reply.headers),
        [
            "content-range: bytes 1100-9223372036854775807/9223372036854775807",
            "location: http://one:8080/path/a/journal",
            "trailer: X-Close-Error",
            "x-fragment-last-modified: Tue, 24 Jan 2017 22:01:05 GMT",
            "x-fragment-location: http://store/fragment?sig=1",
            "x-fragment-name: 00000000000003e8-00000000000005dc-8843d7f92416211de9ebb963ff4ce28125932878.sz",
            ROUTE_TOKEN,
            "x-write-head: 2000",
        ]
    );
    assert_eq!(reply.body, "some content");
    assert_eq!(reply.pieces.len(), 2, "each chunk is passed on as it comes");
    assert_eq!(Reply::lines(&reply.trailers), ["x-close-error: broker terminated RPC"]);
}

#[tokio::test]
async fn head_tells_the_same_without_content() {
    let fake = Fake::default();
    fake.on_read([Ok(metadata(5, 0, 10, 10))]);
    let reply = fake.ask(Request::head("/a/journal?offset=5").body(Body::empty()).unwrap()).await;
    assert_eq!(reply.code, StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        Reply::lines(&reply.headers),
        [
            "content-range: bytes 5-9223372036854775807/9223372036854775807",
            "location: http://one:8080/path/a/journal",
            "x-fragment-name: 0000000000000000-000000000000000a-8843d7f92416211de9ebb963ff4ce28125932878.sz",
            ROUTE_TOKEN,
            "x-write-head: 10",
        ]
    );
    assert!(reply.body.is_empty() && reply.trailers.is_empty());

    fake.on_read([Ok(read_refused(S::JournalNotFound, 0))]);
    let reply = fake.ask(Request::head("/a/journal").body(Body::empty()).unwrap()).await;
    assert_eq!((reply.code, reply.body.as_str()), (StatusCode::NOT_FOUND, ""));
}

#[tokio::test]
async fn a_route_without_a_reachable_primary_names_no_location() {
    let fake = Fake::default();
    for (primary, endpoint) in [(-1, "http://one:8080"), (0, ""), (7, "http://one:8080")] {
        let mut first = metadata(0, 0, 10, 10);
        let route = first.header.as_mut().and_then(|header| header.route.as_mut()).unwrap();
        route.primary = primary;
        route.endpoints[0] = endpoint.into();
        // The last is no route at all, and what says so is refused.
        let valid = primary < 2;
        fake.on_read([Ok(first)]);
        let reply = fake.get("/a/journal").await;
        assert_eq!(reply.code == StatusCode::PARTIAL_CONTENT, valid, "{reply:?}");
        assert!(!reply.headers.contains_key("location"), "{primary} {endpoint}");
    }
}

#[tokio::test]
async fn refusals_and_what_they_become() {
    for (status, code, retry) in [
        (S::JournalNotFound, 404, false),
        (S::NoJournalPrimaryBroker, 503, true),
        (S::InsufficientJournalBrokers, 503, true),
        (S::NotJournalBroker, 503, true),
        (S::OffsetNotYetAvailable, 416, false),
        (S::NotAllowed, 403, false),
        (S::Suspended, 409, false),
        (S::FragmentStoreUnhealthy, 503, true),
        (S::IndexHasGreaterOffset, 409, false),
        (S::WrongRoute, 500, false),
    ] {
        let fake = Fake::default();
        fake.on_read([Ok(read_refused(status, 1_234))]);
        let reply = fake.get("/a/journal?offset=1234").await;
        assert_eq!(reply.code, code, "{status:?}");
        assert_eq!(reply.first_line(), status.as_str_name());
        assert_eq!(reply.body.lines().count(), 2, "one line of advice: {:?}", reply.body);
        assert_eq!(reply.header("x-write-head"), "1234");
        assert_eq!(reply.header("location"), "http://one:8080/path/a/journal");
        assert!(reply.headers.contains_key("x-route-token"));
        assert_eq!(reply.headers.contains_key("retry-after"), retry, "{status:?}");
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn faults_and_what_they_become() {
    for (status, code) in [
        (Status::unavailable("the broker is stopping"), 503),
        (Status::unauthenticated("no token"), 401),
        (Status::deadline_exceeded("too slow"), 504),
        (Status::unknown("something broke"), 500),
    ] {
        let fake = Fake::default();
        let message = status.message().to_owned();
        fake.on_read([Err(status)]);
        let reply = fake.get("/a/journal").await;
        assert_eq!((reply.code.as_u16(), reply.first_line()), (code, message.as_str()));
    }
    let fake = Fake::default();
    fake.on_read([]);
    assert_eq!(fake.get("/a/journal").await.code, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn trailers_say_why_the_body_ended() {
    for (last, why) in [
        (None, "broker terminated RPC"),
        (Some(Ok(read_refused(S::OffsetNotYetAvailable, 3))), "OFFSET_NOT_YET_AVAILABLE"),
        (Some(Ok(metadata(50, 40, 60, 60))), "offset jump"),
        (Some(Err(Status::cancelled("gone"))), "context canceled"),
        (Some(Err(Status::unknown("it\r\nbroke"))), "the call failed with Unknown: it??broke"),
    ] {
        let fake = Fake::default();
        let answers = [Ok(metadata(0, 0, 3, 3)), Ok(content(0, "one"))];
        fake.on_read(answers.into_iter().chain(last));
        let reply = fake.get("/a/journal").await;
        assert_eq!((reply.code, reply.body.as_str()), (StatusCode::PARTIAL_CONTENT, "one"));
        assert_eq!(Reply::lines(&reply.trailers), [format!("x-close-error: {why}")]);
    }
}

#[tokio::test]
async fn the_first_jump_is_in_the_headers() {
    let fake = Fake::default();
    fake.on_read([Ok(metadata(100, 100, 103, 103)), Ok(content(100, "abc"))]);
    let reply = fake.get("/a/journal?offset=7").await;
    assert_eq!((reply.code, reply.body.as_str()), (StatusCode::PARTIAL_CONTENT, "abc"));
    assert_eq!(reply.header("content-range"), "bytes 100-9223372036854775807/9223372036854775807");
}

#[tokio::test]
async fn a_client_without_trailers_is_not_left_with_a_short_body_that_looks_whole() {
    for (last, broke_off) in [
        (None, false),
        (Some(Ok(read_refused(S::OffsetNotYetAvailable, 3))), false),
        (Some(Ok(metadata(50, 40, 60, 60))), true),
        (Some(Err(Status::unknown("it broke"))), true),
    ] {
        let fake = Fake::default();
        fake.on_read([Ok(metadata(0, 0, 3, 3)), Ok(content(0, "one"))].into_iter().chain(last));
        let reply = fake.ask(Request::get("/a/journal").body(Body::empty()).unwrap()).await;
        assert_eq!((reply.body.as_str(), reply.broke_off), ("one", broke_off));
    }
}

#[tokio::test]
async fn headers_come_with_metadata_and_content_as_it_comes() {
    let fake = Fake::default();
    let (broker, answers) = mpsc::channel(4);
    fake.on_read_stream(
        stream::unfold(answers, async |mut answers| Some((answers.recv().await?, answers))).boxed(),
    );
    broker.send(Ok(metadata(0, 0, 3, 3))).await.unwrap();
    let request = Request::get("/a/journal?block=true").body(Body::empty()).unwrap();
    let response = fake.router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);

    let mut body = response.into_body();
    for piece in ["one", "two"] {
        let offset = if piece == "one" { 0 } else { 3 };
        if offset == 3 {
            broker.send(Ok(metadata(3, 0, 6, 6))).await.unwrap();
        }
        broker.send(Ok(content(offset, piece))).await.unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(broker);
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(Reply::lines(&trailers), ["x-close-error: broker terminated RPC"]);
    assert!(body.frame().await.is_none());
}
