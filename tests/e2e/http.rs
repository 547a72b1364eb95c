//! A journal for anyone with an HTTP client: written, read from an offset, followed, measured.

use courant_tests::http::Connection;
use courant_tests::process::Node;
use sha1::{Digest as _, Sha1};
use tokio::time::{Instant, timeout};

use crate::{content, put};

#[tokio::test]
async fn the_first_minutes_with_a_journal() {
    let node = Node::start(&[]).await;
    // The first append makes the journal.
    let appended = node.http("PUT", "/examples/foobar", b"Hello, Gazette!\n").await;
    assert_eq!((appended.status, appended.text().as_str()), (204, ""));
    assert_eq!(appended.number("x-commit-begin"), Some(0));
    assert_eq!(appended.number("x-commit-end"), Some(16));
    assert_eq!(appended.number("x-write-head"), Some(16));
    let sum: String = Sha1::digest(b"Hello, Gazette!\n").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(appended.header("x-commit-sha1-sum"), Some(&*sum));
    assert_eq!(appended.header("location"), Some(&*format!("{}/examples/foobar", node.url())));
    assert!(appended.header("x-route-token").is_some_and(|token| token.contains(&node.url())));

    let read = |target: &'static str| node.http("GET", target, b"");
    assert_eq!(read("/examples/foobar").await.text(), "Hello, Gazette!\n");
    let from = read("/examples/foobar?offset=7").await;
    assert_eq!((from.status, from.text().as_str()), (206, "Gazette!\n"));
    assert_eq!(from.header("content-range"), Some("bytes 7-9223372036854775807/9223372036854775807"));
    assert_eq!(from.number("x-write-head"), Some(16));
    assert_eq!(from.header("trailer"), Some("X-Close-Error"));
    assert_eq!(read("/v1/journals/examples/foobar?offset=7").await.text(), "Gazette!\n");

    let head = node.http("HEAD", "/examples/foobar", b"").await;
    assert_eq!((head.status, head.number("x-write-head"), head.body.len()), (206, Some(16), 0));
    let beyond = read("/examples/foobar?offset=17").await;
    assert_eq!((beyond.status, beyond.number("x-write-head")), (416, Some(16)));
    assert!(beyond.text().starts_with("OFFSET_NOT_YET_AVAILABLE\n"), "{}", beyond.text());

    let listed: serde_json::Value = serde_json::from_slice(&read("/v1/journals").await.body).expect("JSON");
    assert_eq!(listed["journals"][0]["spec"]["name"], "examples/foobar");
    let metrics = read("/metrics").await.text();
    assert!(metrics.contains("gazette_"), "{metrics}");
    for healthy in ["/healthz/live", "/healthz/ready", "/debug/ready", "/alive"] {
        assert_eq!(read(healthy).await.status, 200, "{healthy}");
    }
}

#[tokio::test]
async fn who_follows_a_journal_gets_what_comes_as_it_comes() {
    let node = Node::start(&[]).await;
    put(&node, "examples/foobar", "Hello, Gazette!\n").await;
    let mut follower = Connection::open(node.address()).await.expect("a connection");
    let target = "/examples/foobar?offset=7&block=true";
    follower.begin("GET", target, &[("te", "trailers")], b"").await.expect("sent");
    assert_eq!(follower.head("GET").await.expect("an answer").status, 206);
    assert_eq!(follower.part().await.expect("a part"), Some(b"Gazette!\n".to_vec()));
    // One that waits at the head, where there is nothing to tell of yet.
    let mut at_head = Connection::open(node.address()).await.expect("a connection");
    at_head.begin("GET", "/examples/foobar?offset=-1&block=true", &[], b"").await.expect("sent");

    for number in 0..20 {
        let line = format!("line {number}\n");
        let sent = Instant::now();
        put(&node, "examples/foobar", &line).await;
        let part = follower.part().await.expect("a part");
        assert_eq!(part.as_deref(), Some(line.as_bytes()));
        assert!(sent.elapsed().as_secs() < 5, "woken after {:?}", sent.elapsed());
    }
    let answer = timeout(std::time::Duration::from_secs(10), at_head.head("GET")).await.expect("woken");
    assert_eq!(answer.expect("an answer").header("content-range").map(|range| &range[..8]), Some("bytes 16"));

    // Told to stop, the broker ends the read in an orderly way, and says so in a trailer.
    node.signal("TERM");
    let rest = follower.answer_rest().await.expect("the body ends");
    assert_eq!(rest.body, b"");
    assert!(rest.trailer("x-close-error").is_some(), "{rest:?}");
}

#[tokio::test]
async fn an_append_lands_whole_or_not_at_all() {
    let node = Node::start(&[]).await;
    put(&node, "examples/foobar", "first\n").await;
    // A body that ends before its length, and one whose last chunk never comes.
    for torn in [
        &b"PUT /examples/foobar HTTP/1.1\r\nhost: c\r\ncontent-length: 100\r\n\r\nhalf of it"[..],
        b"PUT /examples/foobar HTTP/1.1\r\nhost: c\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut connection = Connection::open(node.address()).await.expect("a connection");
        connection.send(torn).await.expect("sent");
        drop(connection);
    }
    let large = "0123456789abcdef".repeat(1 << 16);
    assert_eq!(put(&node, "examples/foobar", &large).await, (6, 6 + (1 << 20)));
    // Chunks of one request are one append.
    let mut connection = Connection::open(node.address()).await.expect("a connection");
    let chunked = b"PUT /examples/foobar HTTP/1.1\r\nhost: c\r\ntransfer-encoding: chunked\r\n\r\n3\r\nla\n\r\n4\r\nst.\n\r\n0\r\n\r\n";
    connection.send(chunked).await.expect("sent");
    let answer = connection.answer("PUT").await.expect("an answer");
    assert_eq!((answer.status, answer.number("x-commit-begin")), (204, Some(6 + (1 << 20))));
    assert_eq!(content(&node, "examples/foobar").await, format!("first\n{large}la\nst.\n"));
    // And an empty one takes no place.
    assert_eq!(put(&node, "examples/foobar", "").await, (13 + (1 << 20), 13 + (1 << 20)));
}
