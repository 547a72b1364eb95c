//! Tests of the rules of requests and responses, one table for each message; here is what the tables share.

mod append;
mod apply;
mod fragments;
mod list;
mod read;
mod replicate;

use super::*;

/// Alters a message that is right, and looks at what is said about it.
fn check<M: Validate + Clone>(good: &M, alter: impl FnOnce(&mut M), expected: Result<(), &str>) {
    let mut message = good.clone();
    alter(&mut message);
    assert_eq!(message.validate().map_err(|e| e.to_string()), expected.map_err(str::to_owned));
}

fn id(zone: &str) -> wire::process_spec::Id {
    wire::process_spec::Id { zone: zone.into(), suffix: "name".into() }
}

fn header() -> wire::Header {
    wire::Header {
        process_id: Some(id("zone")),
        route: Some(wire::Route { members: vec![id("zone")], primary: 0, endpoints: vec![] }),
        etcd: Some(wire::header::Etcd { cluster_id: 12, member_id: 34, revision: 56, raft_term: 78 }),
    }
}

fn bad_header() -> wire::Header {
    wire::Header { etcd: None, ..header() }
}

fn fragment() -> wire::Fragment {
    wire::Fragment {
        journal: "a/journal".into(),
        begin: 100,
        end: 200,
        compression_codec: wire::CompressionCodec::Gzip.into(),
        ..Default::default()
    }
}

fn set(pairs: &[(&str, &str)]) -> wire::LabelSet {
    let label = |(name, value): &(&str, &str)| wire::Label {
        name: (*name).into(),
        value: (*value).into(),
        prefix: false,
    };
    wire::LabelSet { labels: pairs.iter().map(label).collect() }
}

fn selector(include: &[(&str, &str)], exclude: &[(&str, &str)]) -> wire::LabelSelector {
    wire::LabelSelector { include: Some(set(include)), exclude: Some(set(exclude)) }
}

fn spec() -> wire::JournalSpec {
    wire::JournalSpec {
        name: "a/journal".into(),
        replication: 1,
        fragment: Some(wire::journal_spec::Fragment {
            length: 1024,
            compression_codec: wire::CompressionCodec::None.into(),
            refresh_interval: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            ..Default::default()
        }),
        ..Default::default()
    }
}
