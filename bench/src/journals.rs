//! Journals of a broker under test: made with a spec that suits the bench, and asked where they end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use courant_client::{Client, Options};
use courant_proto::wire;
use tokio::time::{Instant, sleep};

use crate::args::Codec;

/// Most changes that one Apply carries: one transaction of an etcd takes 128 operations.
const MOST_CHANGES: usize = 120;

/// A journal that was created is held by its brokers after a part of this.
const ASSIGNING: Duration = Duration::from_secs(60);

/// Between two looks whether it is.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

const FRAGMENT_BYTES: i64 = 64 << 20;
const FLUSH_SECONDS: i64 = 60;
const REFRESH_SECONDS: i64 = 300;

/// A client of a broker.
pub(crate) fn client(address: SocketAddr) -> Result<Client> {
    let client = Client::connect(&format!("http://{address}"))?;
    Ok(client
        .with_options(Options { retry_for: Duration::from_secs(20), call_timeout: Duration::from_secs(60) }))
}

/// Makes journals with one codec and so many replicas, and returns the revision that they exist at.
pub(crate) async fn create(client: &Client, names: &[String], codec: Codec, replication: u8) -> Result<i64> {
    let mut revision = 0;
    for names in names.chunks(MOST_CHANGES) {
        let changes = names
            .iter()
            .map(|name| wire::apply_request::Change {
                upsert: Some(spec(name, codec, replication)),
                ..Default::default()
            })
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
    replication: u8,
    first: Vec<u8>,
) -> Result<()> {
    let revision = create(client, &[name.to_owned()], codec, replication).await?;
    let request =
        wire::AppendRequest { journal: name.to_owned(), min_etcd_revision: revision, ..Default::default() };
    client.append(request, first).await.with_context(|| format!("cannot append to {name}"))?;
    Ok(())
}

/// Where the primary of a journal listens, once the journal has all of its replicas.
pub(crate) async fn primary(client: &Client, name: &str, replication: u8) -> Result<SocketAddr> {
    let selector = wire::LabelSelector {
        include: Some(wire::LabelSet {
            labels: vec![wire::Label {
                name: "name".to_owned(),
                value: name.to_owned(),
                ..Default::default()
            }],
        }),
        ..Default::default()
    };
    let began = Instant::now();
    loop {
        let listing = client.list(selector.clone()).await.with_context(|| format!("cannot list {name}"))?;
        let listed = listing.journals.first().with_context(|| format!("{name} is not listed"))?;
        let route = listed.route.clone().unwrap_or_default();
        let primary = usize::try_from(route.primary).ok().and_then(|primary| route.endpoints.get(primary));
        if let Some(endpoint) = primary
            && route.members.len() == usize::from(replication)
        {
            return address(endpoint);
        }
        ensure!(
            began.elapsed() < ASSIGNING,
            "{name} has no primary and {replication} replicas after {ASSIGNING:?}; its route is {route:?}"
        );
        sleep(LOOK_AGAIN).await;
    }
}

fn address(endpoint: &str) -> Result<SocketAddr> {
    let authority = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    authority.trim_end_matches('/').parse().with_context(|| format!("{endpoint:?} is no address of loopback"))
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

/// What a journal is made with.
pub(crate) fn spec(name: &str, codec: Codec, replication: u8) -> wire::JournalSpec {
    let codec = match codec {
        Codec::None => wire::CompressionCodec::None,
        Codec::Gzip => wire::CompressionCodec::Gzip,
        Codec::Snappy => wire::CompressionCodec::Snappy,
        Codec::Zstandard => wire::CompressionCodec::Zstandard,
    };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    wire::JournalSpec {
        name: name.to_owned(),
        replication: i32::from(replication),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_routes_are_addresses() {
        let check = |endpoint: &str, expected: Option<&str>| {
            let expected = expected.map(|address| address.parse::<SocketAddr>().unwrap());
            assert_eq!(address(endpoint).ok(), expected, "{endpoint}");
        };
        check("http://127.0.0.1:8080", Some("127.0.0.1:8080"));
        check("http://127.0.0.1:8080/", Some("127.0.0.1:8080"));
        check("https://127.0.0.1:8080", None);
        check("unix:///tmp/broker.sock", None);
    }
}
