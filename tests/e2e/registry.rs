//! The embedded registry, as the tool of its makers sees it.

use std::process::Command;

use courant_tests::process::Node;

use crate::put;

#[tokio::test]
async fn etcdctl_sees_the_journals() {
    let node = Node::start(&["--registry-listen", "127.0.0.1:0"]).await;
    put(&node, "examples/foobar", "x").await;
    let log = node.log();
    let endpoint = log.split_once("open to etcdctl at ").expect("the banner").1;
    let endpoint = endpoint.split_whitespace().next().expect("an address");
    let mut etcdctl = Command::new("etcdctl");
    etcdctl.env("ETCDCTL_API", "3").args([
        "--endpoints",
        endpoint,
        "get",
        "--prefix",
        "/courant/cluster",
        "--keys-only",
    ]);
    let output = match etcdctl.output() {
        Ok(output) => output,
        // Machines need not have it; the registry's own tests speak its protocol.
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => panic!("etcdctl: {error}"),
    };
    let keys = String::from_utf8_lossy(&output.stdout);
    let found = |part: &str| keys.lines().any(|key| key.contains(part));
    assert!(found("/items/examples/foobar"), "{keys} {}", String::from_utf8_lossy(&output.stderr));
    assert!(found("/members/local#"), "{keys}");
    assert!(found("/assign/examples/foobar#local#"), "{keys}");
}
