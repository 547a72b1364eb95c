//! Bad input at every surface: each row is refused with a text that says what is wrong, nothing of it is done, and the
//! broker goes on serving.

mod calls;
mod command_line;
mod store;
mod web;

use courant_proto::wire;
use courant_proto::wire::CompressionCodec as Codec;
use courant_tests::journal::{apply, spec};
use courant_tests::process::Node;

/// The journal that must be after each row what it was before.
const JOURNAL: &str = "good/journal";
const CONTENT: &str = "good content\n";

/// A broker with one journal.
async fn node() -> Node {
    let node = Node::start(&["--auto-create", "true"]).await;
    apply(&node.client(), [spec(JOURNAL, Codec::Zstandard, 1 << 20)]).await;
    let appended = node.http("PUT", &format!("/{JOURNAL}"), CONTENT.as_bytes()).await;
    assert_eq!(appended.status, 204);
    node
}

/// Checks that the row before did nothing: the same journals at the same revisions, and the same content.
async fn unchanged(node: &Node, row: &str) {
    let listing = node.client().list(wire::LabelSelector::default()).await.expect(row);
    let names: Vec<_> =
        listing.journals.iter().filter_map(|journal| journal.spec.clone()).map(|s| s.name).collect();
    assert_eq!(names, [JOURNAL], "after {row}");
    let journal = &listing.journals[0];
    assert_eq!(journal.mod_revision, journal.create_revision, "after {row}");
    let read = node.http("GET", &format!("/{JOURNAL}"), b"").await;
    assert_eq!((read.status, read.text().as_str()), (206, CONTENT), "after {row}");
}
