//! Specs for tests, and a journal read to its end.

use courant_client::Client;
use courant_proto::wire;
use wire::journal_spec::Fragment;

/// A journal of one replica in the default store.
pub fn spec(name: &str, codec: wire::CompressionCodec, length: i64) -> wire::JournalSpec {
    wire::JournalSpec {
        name: name.to_owned(),
        replication: 1,
        fragment: Some(Fragment {
            length,
            compression_codec: codec.into(),
            stores: vec!["file:///".to_owned()],
            refresh_interval: Some(seconds(300)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A duration on the wire.
pub fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// A change that creates a journal.
pub fn create(spec: wire::JournalSpec) -> wire::apply_request::Change {
    wire::apply_request::Change { upsert: Some(spec), ..Default::default() }
}

/// A change that deletes a journal, whatever its revision.
pub fn delete(name: &str) -> wire::apply_request::Change {
    wire::apply_request::Change { expect_mod_revision: -1, delete: name.to_owned(), ..Default::default() }
}

/// Creates journals.
pub async fn apply(client: &Client, specs: impl IntoIterator<Item = wire::JournalSpec>) {
    let changes = specs.into_iter().map(create).collect();
    client.apply(wire::ApplyRequest { changes }).await.expect("applied");
}
