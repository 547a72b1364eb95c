//! What lies in a store, told to those who read it without a broker.

use std::collections::BTreeMap;

use courant_tests::process::Node;
use courant_tests::store;

use crate::put;

/// The kinds of findings of a deep audit, with how often there are any, and its exit code.
async fn deep_audit(node: &Node) -> (BTreeMap<String, usize>, i32) {
    let root = node.fragments().display().to_string();
    let ran = node.verb(&["journals", "audit", "--deep", "--file-root", &root, "-o", "json"], b"").await;
    let report: serde_json::Value =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stderr));
    let mut kinds = BTreeMap::new();
    for part in ["journals", "stores"].iter().flat_map(|part| report[part].as_array().into_iter().flatten()) {
        for finding in part["findings"].as_array().into_iter().flatten() {
            *kinds.entry(finding["kind"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    (kinds, ran.code)
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test damages a store")]
async fn a_deep_audit_finds_what_belongs_to_nobody() {
    let mut node = Node::start(&[]).await;
    put(&node, "acme/orders", "one\n").await;
    assert_eq!(node.terminate().await.code(), Some(0));
    node.restart().await;
    assert_eq!(deep_audit(&node).await, (BTreeMap::new(), 0));

    let root = node.fragments();
    let stored = &store::fragments(&root, "acme/orders")[0].path;
    let name = stored.file_name().expect("a name");
    std::fs::create_dir_all(root.join("acme/gone/date=2026-11-28")).expect("a folder");
    std::fs::copy(stored, root.join("acme/gone/date=2026-11-28").join(name)).expect("a copy");
    std::fs::write(root.join("README"), "a stray").expect("a file");
    let expected = |kinds: &[&str]| -> BTreeMap<String, usize> {
        kinds.iter().map(|kind| ((*kind).to_owned(), 1)).collect()
    };
    assert_eq!(deep_audit(&node).await, (expected(&["ORPHAN", "STRAY"]), 1));

    // What belongs to nobody is held to its name as well.
    std::fs::write(root.join("acme/gone/date=2026-11-28").join(name), "not what it was").expect("a file");
    assert_eq!(deep_audit(&node).await, (expected(&["DIGEST", "ORPHAN", "STRAY"]), 1));
}

#[tokio::test]
async fn rows_say_where_objects_are() {
    let mut node = Node::start(&[]).await;
    put(&node, "acme/orders", "one\n").await;
    assert_eq!(node.terminate().await.code(), Some(0));
    node.restart().await;
    put(&node, "acme/orders", "two\n").await;
    let list = async |flags: &[&str]| {
        let verb = [&["journals", "fragments", "--format", "ndjson"][..], flags].concat();
        let ran = node.verb(&verb, b"").await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let rows = ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        rows.collect::<Vec<serde_json::Value>>()
    };
    let rows = list(&["--from", "1h"]).await;
    let name = &store::fragments(&node.fragments(), "acme/orders")[0].path;
    let name = name.file_name().expect("a name").to_string_lossy();
    assert_eq!(rows[0]["key"], format!("acme/orders/{name}"));
    assert_eq!(rows[0]["length"], 4);
    // What is not stored yet has no place. By its flush interval it may be by now.
    assert_eq!(rows[1]["begin"], 4);
    assert_eq!(rows[1].get("key").is_some(), rows[1].get("persisted").is_some());
    assert!(!list(&["--from", "1h", "--to", "0s"]).await.is_empty());
    assert_eq!(list(&["--to", "2h ago"]).await.len(), 0);
    for wrong in [&["--to", "tomorrow"][..], &["--cursor", "x"], &["--follow", "-o", "yaml"]] {
        let ran = node.verb(&[&["journals", "fragments"][..], wrong].concat(), b"").await;
        assert_eq!((ran.code, ran.stderr.lines().count()), (2, 1), "{}", ran.stderr);
    }
}
