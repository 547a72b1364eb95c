//! Journals of a broker under test: made with a spec that suits the bench, and asked where they end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use courant_client::{Client, Options};
use courant_proto::wire;

use crate::args::Codec;

/// Most changes that one Apply carries: one transaction of an etcd takes 128 operations.
const MOST_CHANGES: usize = 120;

const FRAGMENT_BYTES: i64 = 64 << 20;
const FLUSH_SECONDS: i64 = 60;
const REFRESH_SECONDS: i64 = 300;

/// A client of a broker.
pub(crate) fn client(address: SocketAddr) -> Result<Client> {
    let client = Client::connect(&format!("http://{address}"))?;
    Ok(client
        .with_options(Options { retry_for: Duration::from_secs(20), call_timeout: Duration::from_secs(60) }))
}

/// Makes journals with one codec and returns the revision that they exist at.
pub(crate) async fn create(client: &Client, names: &[String], codec: Codec) -> Result<i64> {
    let mut revision = 0;
    for names in names.chunks(MOST_CHANGES) {
        let changes = names
            .iter()
            .map(|name| wire::apply_request::Change { upsert: Some(spec(name, codec)), ..Default::default() })
            .collect();
        let answer = client
            .apply(wire::ApplyRequest { changes })
            .await
            .with_context(|| format!("cannot create {} journals from {} on", names.len(), names[0]))?;
        revision = answer.header.and_then(|header| header.etcd).map_or(0, |etcd| etcd.revision);
    }
    Ok(revision)
}

/// Makes one journal and appends to it once, so that it is there and in use.
pub(crate) async fn create_and_append(
    client: &Client,
    name: &str,
    codec: Codec,
    first: Vec<u8>,
) -> Result<()> {
    let revision = create(client, &[name.to_owned()], codec).await?;
    let request =
        wire::AppendRequest { journal: name.to_owned(), min_etcd_revision: revision, ..Default::default() };
    client.append(request, first).await.with_context(|| format!("cannot append to {name}"))?;
    Ok(())
}

/// Checks that a journal grew by what was appended and by nothing else.
pub(crate) async fn ensure_grew(
    client: &Client,
    name: &str,
    before: i64,
    requests: u64,
    size: usize,
) -> Result<i64> {
    let head = client.head(name).await?;
    let grown = u64::try_from(head.saturating_sub(before)).unwrap_or(0);
    let expected = requests.saturating_mul(u64::try_from(size).unwrap_or(u64::MAX));
    ensure!(
        grown == expected,
        "{name} grew by {grown} bytes, and {requests} appends of {size} bytes were answered (expected {expected})"
    );
    Ok(head)
}

fn spec(name: &str, codec: Codec) -> wire::JournalSpec {
    let codec = match codec {
        Codec::None => wire::CompressionCodec::None,
        Codec::Gzip => wire::CompressionCodec::Gzip,
        Codec::Snappy => wire::CompressionCodec::Snappy,
        Codec::Zstandard => wire::CompressionCodec::Zstandard,
    };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    wire::JournalSpec {
        name: name.to_owned(),
        replication: 1,
        fragment: Some(wire::journal_spec::Fragment {
            length: FRAGMENT_BYTES,
            compression_codec: codec.into(),
            stores: vec!["file:///".to_owned()],
            refresh_interval: seconds(REFRESH_SECONDS),
            flush_interval: seconds(FLUSH_SECONDS),
            ..Default::default()
        }),
        ..Default::default()
    }
}
