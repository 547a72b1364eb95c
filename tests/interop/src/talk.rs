//! Calls to one broker, as the bare messages of the protocol: no routing, no retries, nothing hidden.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use courant_proto::wire::{self, Status};
use futures::stream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use wire::journal_client::JournalClient;

/// No call takes that long in a healthy cluster, nor while a lease runs out.
const LIMIT: Duration = Duration::from_secs(30);

/// One broker.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    client: JournalClient<Channel>,
}

/// What came of a read up to the end of what there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// Where it begins, after a jump over what is not there.
    pub(crate) begin: i64,
    pub(crate) bytes: Vec<u8>,
    /// The last status that was told.
    pub(crate) status: i32,
}

impl Talk {
    pub(crate) fn to(url: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned()).context("a URL")?.connect_lazy();
        Ok(Self { client: JournalClient::new(channel) })
    }

    /// One append of this request and content.
    pub(crate) async fn append(
        &self,
        request: wire::AppendRequest,
        content: &[u8],
    ) -> Result<wire::AppendResponse, tonic::Status> {
        let mut messages = vec![request];
        for chunk in content.chunks(128 << 10) {
            messages.push(wire::AppendRequest { content: chunk.to_vec().into(), ..Default::default() });
        }
        messages.push(wire::AppendRequest::default());
        let mut client = self.client.clone();
        limited(async move { Ok(client.append(stream::iter(messages)).await?.into_inner()) }).await
    }

    /// One append to a journal, which has to be committed: where it lies.
    pub(crate) async fn must_append(&self, journal: &str, content: &[u8]) -> Result<(i64, i64)> {
        let request = wire::AppendRequest { journal: journal.to_owned(), ..Default::default() };
        let response = self.append(request, content).await.with_context(|| format!("append to {journal}"))?;
        ensure!(response.status() == Status::Ok, "append to {journal}: {}", response.status().as_str_name());
        let commit = response.commit.context("an append that is OK tells its commit")?;
        ensure!(commit.end - commit.begin == content.len() as i64, "{journal}: committed {commit:?}");
        Ok((commit.begin, commit.end))
    }

    /// All that there is from an offset on.
    pub(crate) async fn read(&self, request: wire::ReadRequest) -> Result<Content, tonic::Status> {
        let mut client = self.client.clone();
        limited(async move {
            let mut answers = client.read(request).await?.into_inner();
            let mut content = Content { begin: -1, ..Content::default() };
            while let Some(answer) = answers.message().await? {
                if answer.content.is_empty() {
                    content.status = answer.status;
                }
                if content.begin < 0 && (answer.header.is_some() || !answer.content.is_empty()) {
                    content.begin = answer.offset;
                }
                if !answer.content.is_empty() && content.bytes.is_empty() {
                    content.begin = answer.offset;
                }
                content.bytes.extend_from_slice(&answer.content);
            }
            Ok(content)
        })
        .await
    }

    /// All that a journal holds, read from the broker without waiting.
    pub(crate) async fn content(&self, journal: &str) -> Result<Content> {
        let request = wire::ReadRequest { journal: journal.to_owned(), ..Default::default() };
        let content = self.read(request).await.with_context(|| format!("read of {journal}"))?;
        let status = Status::try_from(content.status).unwrap_or(Status::Ok);
        let ended = matches!(status, Status::Ok | Status::OffsetNotYetAvailable);
        ensure!(ended, "read of {journal}: {}", status.as_str_name());
        Ok(content)
    }

    pub(crate) async fn apply(
        &self,
        changes: Vec<wire::apply_request::Change>,
    ) -> Result<wire::ApplyResponse, tonic::Status> {
        let mut client = self.client.clone();
        limited(async move { Ok(client.apply(wire::ApplyRequest { changes }).await?.into_inner()) }).await
    }

    /// Creates journals, all of them or none.
    pub(crate) async fn create(&self, specs: Vec<wire::JournalSpec>) -> Result<()> {
        let upsert = |spec| wire::apply_request::Change {
            upsert: Some(spec),
            ..wire::apply_request::Change::default()
        };
        let response = self.apply(specs.into_iter().map(upsert).collect()).await.context("apply")?;
        ensure!(response.status() == Status::Ok, "apply: {}", response.status().as_str_name());
        Ok(())
    }

    /// The journals that a selector matches, in the first listing.
    pub(crate) async fn list(
        &self,
        request: wire::ListRequest,
    ) -> Result<Vec<wire::ListResponse>, tonic::Status> {
        let mut client = self.client.clone();
        limited(async move {
            let mut answers = client.list(request).await?.into_inner();
            let mut all = Vec::new();
            while let Some(answer) = answers.message().await? {
                all.push(answer);
            }
            Ok(all)
        })
        .await
    }

    /// All journals.
    pub(crate) async fn journals(&self) -> Result<Vec<wire::list_response::Journal>> {
        let request = wire::ListRequest {
            selector: Some(wire::LabelSelector {
                include: Some(wire::LabelSet::default()),
                exclude: Some(wire::LabelSet::default()),
            }),
            ..Default::default()
        };
        Ok(self.list(request).await.context("list")?.into_iter().flat_map(|part| part.journals).collect())
    }

    pub(crate) async fn fragments(
        &self,
        request: wire::FragmentsRequest,
    ) -> Result<wire::FragmentsResponse, tonic::Status> {
        let mut client = self.client.clone();
        limited(async move { Ok(client.list_fragments(request).await?.into_inner()) }).await
    }

    pub(crate) async fn health(
        &self,
        request: wire::FragmentStoreHealthRequest,
    ) -> Result<wire::FragmentStoreHealthResponse, tonic::Status> {
        let mut client = self.client.clone();
        limited(async move { Ok(client.fragment_store_health(request).await?.into_inner()) }).await
    }
}

async fn limited<T>(call: impl Future<Output = Result<T, tonic::Status>>) -> Result<T, tonic::Status> {
    timeout(LIMIT, call)
        .await
        .unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("the run's own limit")))
}

/// A journal of this many replicas, in fragments of this length.
pub(crate) fn spec(
    name: &str,
    replication: i32,
    codec: wire::CompressionCodec,
    length: i64,
) -> wire::JournalSpec {
    wire::JournalSpec {
        name: name.to_owned(),
        replication,
        labels: Some(wire::LabelSet::default()),
        fragment: Some(wire::journal_spec::Fragment {
            length,
            compression_codec: codec.into(),
            stores: vec!["file:///".to_owned()],
            refresh_interval: Some(seconds(1)),
            retention: Some(seconds(0)),
            flush_interval: Some(seconds(0)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}
