//! Starting, stopping, and what outlasts both.

use courant_proto::wire;
use courant_tests::http::Connection;
use courant_tests::process::Node;
use courant_tests::store;
use tokio::time::Instant;

use crate::{content, put};

fn registers(pairs: &[(&str, &str)]) -> wire::LabelSet {
    let label = |(name, value): &(&str, &str)| wire::Label {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
        ..Default::default()
    };
    wire::LabelSet { labels: pairs.iter().map(label).collect() }
}

/// Appends with registers to set, and ones that must be set.
async fn fenced(node: &Node, content: &'static str, set: &str, check: Option<&str>) -> Option<wire::Status> {
    let selector = |value: &str| wire::LabelSelector {
        include: Some(registers(&[("author", value)])),
        ..Default::default()
    };
    let request = wire::AppendRequest {
        journal: "examples/fenced".to_owned(),
        check_registers: check.map(selector),
        union_registers: Some(registers(&[("author", set)])),
        subtract_registers: check.filter(|old| *old != set).map(|old| registers(&[("author", old)])),
        ..Default::default()
    };
    match node.client().append(request, content).await {
        Ok(appended) => {
            assert_eq!(appended.registers, registers(&[("author", set)]));
            None
        }
        Err(error) => Some(error.status().unwrap_or_else(|| panic!("{error}"))),
    }
}

#[tokio::test]
async fn head_and_registers_outlast_every_end() {
    let mut node = Node::start(&[]).await;
    assert_eq!(fenced(&node, "one\n", "ada", None).await, None);
    node.kill();
    node.restart().await;
    assert_eq!(fenced(&node, "lost\n", "eve", Some("bob")).await, Some(wire::Status::RegisterMismatch));
    assert_eq!(fenced(&node, "two\n", "bob", Some("ada")).await, None);
    assert_eq!(node.client().head("examples/fenced").await.expect("a head"), 8);

    // Stopped in order: nothing is left to adopt, and the registers are known all the same.
    assert_eq!(node.terminate().await.code(), Some(0));
    node.restart().await;
    assert_eq!(node.client().head("examples/fenced").await.expect("a head"), 8);
    assert_eq!(fenced(&node, "lost\n", "eve", Some("ada")).await, Some(wire::Status::RegisterMismatch));
    assert_eq!(fenced(&node, "three\n", "cyd", Some("bob")).await, None);
    assert_eq!(content(&node, "examples/fenced").await, "one\ntwo\nthree\n");
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_refused() {
    let node = Node::start(&[]).await;
    let second = node.second().await;
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.stderr.contains("is in use by another process"), "{second:?}");
    // The first goes on.
    put(&node, "examples/foobar", "still here\n").await;
}

#[tokio::test]
async fn a_member_keeps_its_name() {
    let mut node = Node::start(&[]).await;
    put(&node, "examples/foobar", "x").await;
    let member = |node: &Node| {
        let client = node.client();
        async move {
            let listing = client.list(wire::LabelSelector::default()).await.expect("a listing");
            listing.journals[0].route.clone().expect("a route").members
        }
    };
    let before = member(&node).await;
    node.kill();
    node.restart().await;
    assert_eq!(member(&node).await, before);
}

/// An append that has begun when the process is told to stop is finished, and so is the process.
#[tokio::test]
async fn stopping_waits_for_what_is_under_way_and_for_no_one_else() {
    for signal in ["TERM", "INT"] {
        let mut node = Node::start(&["--log-level", "debug"]).await;
        put(&node, "examples/foobar", "first\n").await;
        // Neither an idle connection nor one that waits for bytes holds it up.
        let _idle = Connection::open(node.address()).await.expect("a connection");
        let mut hung = Connection::open(node.address()).await.expect("a connection");
        hung.begin("GET", "/examples/foobar?offset=-1&block=true", &[], b"").await.expect("sent");
        let mut writer = Connection::open(node.address()).await.expect("a connection");
        let begun = b"PUT /examples/foobar HTTP/1.1\r\nhost: c\r\ncontent-length: 7\r\n\r\nseco";
        writer.send(begun).await.expect("sent");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        node.signal(signal);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        writer.send(b"nd\n").await.expect("sent");
        assert_eq!(writer.answer("PUT").await.expect("an answer").status, 204, "{signal}");
        let told = Instant::now();
        assert_eq!(node.ended().await.code(), Some(0), "{signal}: {}", node.log());
        assert!(told.elapsed().as_secs() < 8, "{signal}: stopping took {:?}", told.elapsed());
        let stored = store::concatenated(&node.fragments(), "examples/foobar");
        assert_eq!(String::from_utf8_lossy(&stored), "first\nsecond\n", "{signal}");
    }
}

#[tokio::test]
async fn what_cannot_be_persisted_is_told_and_kept() {
    let mut node = Node::start(&[]).await;
    put(&node, "examples/foobar", "kept\n").await;
    // A file where the journal's folder has to be.
    let fragments = node.fragments();
    let moved = node.folder().join("moved");
    rename(&fragments, &moved);
    node.file("data/fragments", b"in the way");
    node.signal("TERM");
    // It tries for as long as it may; a second signal cuts that short.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    node.signal("TERM");
    assert_eq!(node.ended().await.code(), Some(1), "{}", node.log());
    assert!(node.log().contains("spools"), "{}", node.log());
    rename(&fragments, &node.folder().join("in the way"));
    rename(&moved, &fragments);
    node.restart().await;
    assert_eq!(content(&node, "examples/foobar").await, "kept\n");
}

/// Without its spools a process knows that bytes are missing, and does not write others in their place until an operator
/// says so.
#[tokio::test]
async fn lost_spools_are_told_and_not_papered_over() {
    let mut node = Node::start(&[]).await;
    put(&node, "examples/foobar", "stored\n").await;
    assert!(node.terminate().await.success());
    node.restart().await;
    put(&node, "examples/foobar", "lost\n").await;
    node.kill();
    rename(&node.data().join("spools"), &node.folder().join("lost spools"));
    node.restart().await;
    let refused = node.http("PUT", "/examples/foobar", b"in their place\n").await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().starts_with("INDEX_HAS_GREATER_OFFSET\n"), "{}", refused.text());
    assert_eq!(content(&node, "examples/foobar").await, "stored\n", "what is stored is served");

    let accepted = node.verb(&["journals", "reset-head", "-l", "name=examples/foobar"], b"").await;
    assert_eq!(accepted.code, 0, "{accepted:?}");
    let (begin, _) = put(&node, "examples/foobar", "new\n").await;
    assert_eq!(begin, 7);
    assert_eq!(content(&node, "examples/foobar").await, "stored\nnew\n");
}

#[expect(clippy::disallowed_methods, reason = "a test breaks a store by moving its folder away")]
fn rename(from: &std::path::Path, to: &std::path::Path) {
    std::fs::rename(from, to).expect("renamed");
}
