//! The whole system as its users meet it: a process, a port, a folder.

mod bucket;
mod http;
mod lifecycle;
mod registry;
mod retention;
mod specs;
mod stored;

use courant_tests::process::Node;

/// What a journal holds, read to its end.
async fn content(node: &Node, journal: &str) -> String {
    let answer = node.http("GET", &format!("/{journal}"), b"").await;
    assert!(matches!(answer.status, 206 | 416), "{} {}", answer.status, answer.text());
    if answer.status == 206 { answer.text() } else { String::new() }
}

/// Appends by HTTP, and returns the span.
async fn put(node: &Node, journal: &str, content: &str) -> (i64, i64) {
    let answer = node.http("PUT", &format!("/{journal}"), content.as_bytes()).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let offset = |name| answer.number(name).expect("an offset");
    (offset("x-commit-begin"), offset("x-commit-end"))
}
