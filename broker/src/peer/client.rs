//! Calls to other brokers. Each says how long it may take to begin; what it came to is noted for the calls after it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use courant_proto::endpoint::Endpoint;
use courant_proto::id::ProcessId;
use courant_proto::offset::Offset;
use courant_proto::wire;
use courant_proto::wire::courant;
use courant_proto::wire::courant::peer_client::PeerClient as PeerStub;
use courant_proto::wire::journal_client::JournalClient;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use super::channels::{Channels, Make};

/// A peer has this long to tell its heads, and to open a stream: well below the life of a lease.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);

/// The largest message that a peer may send, or be sent.
pub(crate) const LARGEST_MESSAGE: usize = 16 << 20;

/// Calls to other brokers. Cloning shares their connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerClient {
    channels: Channels,
}

impl PeerClient {
    /// Asks a broker of ours how far its log knows journals, which fences whatever stream it followed in them.
    pub(crate) async fn heads(
        &self,
        to: &ProcessId,
        endpoint: &Endpoint,
        mut request: courant::HeadsRequest,
    ) -> Result<courant::HeadsResponse, Status> {
        if let Some(header) = &mut request.header {
            header.process_id = Some(to.into());
        }
        let mut request = Request::new(request);
        request.set_timeout(ANSWER);
        let mut peer = self.peer(endpoint)?;
        let answer = in_time(endpoint, peer.heads(request)).await;
        self.heard_peer(endpoint, &answer);
        Ok(answer.map_err(|status| relayed(endpoint, status))?.into_inner())
    }

    /// Content out of a broker's log. It begins later than what was asked for where the log lacks the begin.
    pub(crate) async fn fetch(
        &self,
        endpoint: &Endpoint,
        request: courant::FetchRequest,
    ) -> Result<Fetched, Status> {
        let mut peer = self.peer(endpoint)?;
        let answer = in_time(endpoint, async {
            let mut replies = peer.fetch(request).await?.into_inner();
            let first = replies.message().await?;
            Ok((first, replies))
        })
        .await;
        self.heard_peer(endpoint, &answer);
        let (first, replies) = answer.map_err(|status| relayed(endpoint, status))?;
        let Some(first) = first else {
            return Err(Status::unavailable(format!("broker at {endpoint} ended a fetch without an answer")));
        };
        let begin = Offset::try_from(first.offset)?;
        Ok(Fetched { begin, first: Some(first.content), replies })
    }

    /// Opens a stream that replicates a journal. Brokers of other makes open it with their first answer: the first message has to be
    /// in `requests` already.
    pub(crate) async fn replicate(
        &self,
        endpoint: &Endpoint,
        requests: mpsc::Receiver<wire::ReplicateRequest>,
    ) -> Result<Streaming<wire::ReplicateResponse>, Status> {
        let mut journal = self.journal(endpoint)?;
        let answer = in_time(endpoint, journal.replicate(ReceiverStream::new(requests))).await;
        self.channels.heard(endpoint, &answer);
        Ok(answer.map_err(|status| relayed(endpoint, status))?.into_inner())
    }

    /// Appends, as long as the requests take.
    pub(crate) async fn append(
        &self,
        endpoint: &Endpoint,
        requests: impl Stream<Item = wire::AppendRequest> + Send + 'static,
    ) -> Result<wire::AppendResponse, Status> {
        let mut journal = self.journal(endpoint)?;
        let answer = journal.append(requests).await;
        self.channels.heard(endpoint, &answer);
        Ok(answer.map_err(|status| relayed(endpoint, status))?.into_inner())
    }

    /// Opens a read. Brokers of other makes open it with their first answer, which may take until there is something to read.
    pub(crate) async fn read(
        &self,
        endpoint: &Endpoint,
        request: wire::ReadRequest,
    ) -> Result<Streaming<wire::ReadResponse>, Status> {
        let mut journal = self.journal(endpoint)?;
        let answer = journal.read(request).await;
        self.channels.heard(endpoint, &answer);
        Ok(answer.map_err(|status| relayed(endpoint, status))?.into_inner())
    }

    /// Lists fragments.
    pub(crate) async fn list_fragments(
        &self,
        endpoint: &Endpoint,
        request: wire::FragmentsRequest,
    ) -> Result<wire::FragmentsResponse, Status> {
        let mut journal = self.journal(endpoint)?;
        let answer = journal.list_fragments(request).await;
        self.channels.heard(endpoint, &answer);
        Ok(answer.map_err(|status| relayed(endpoint, status))?.into_inner())
    }

    /// Whether the last attempt to connect to a broker failed.
    pub(crate) fn has_failed(&self, endpoint: &Endpoint) -> bool {
        self.channels.has_failed(endpoint)
    }

    /// Says whether the broker at an endpoint is Courant's, which hangs on how it may be probed.
    pub(crate) fn is_of_our_kind(&self, endpoint: &Endpoint, is_ours: bool) {
        self.channels.is_of(endpoint, if is_ours { Make::Courant } else { Make::Other });
    }

    fn journal(&self, endpoint: &Endpoint) -> Result<JournalClient<Channel>, Status> {
        let channel = self.channels.to(endpoint)?;
        Ok(JournalClient::new(channel)
            .max_decoding_message_size(LARGEST_MESSAGE)
            .max_encoding_message_size(LARGEST_MESSAGE))
    }

    fn peer(&self, endpoint: &Endpoint) -> Result<PeerStub<Channel>, Status> {
        // Whoever is asked this is one of ours, as far as its keys in the registry say.
        self.channels.is_of(endpoint, Make::Courant);
        let channel = self.channels.to(endpoint)?;
        Ok(PeerStub::new(channel)
            .max_decoding_message_size(LARGEST_MESSAGE)
            .max_encoding_message_size(LARGEST_MESSAGE))
    }

    fn heard_peer<T>(&self, endpoint: &Endpoint, answer: &Result<T, Status>) {
        self.channels.heard(endpoint, answer);
        if answer.as_ref().is_err_and(|status| status.code() == Code::Unimplemented) {
            self.channels.is_of(endpoint, Make::Other);
        }
    }
}

/// Content that another broker sends.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// Where it begins.
    pub(crate) begin: Offset,
    first: Option<Bytes>,
    replies: Streaming<courant::FetchResponse>,
}

impl Stream for Fetched {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Poll::Ready(Some(Ok(first)));
        }
        self.replies.poll_next_unpin(context).map_ok(|reply| reply.content)
    }
}

async fn in_time<T>(endpoint: &Endpoint, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(ANSWER, call).await.unwrap_or_else(|_| {
        Err(Status::deadline_exceeded(format!(
            "broker at {endpoint} did not answer within {} seconds",
            ANSWER.as_secs()
        )))
    })
}

/// A peer's fault as ours: its code and words, and nothing else of its message. Where the connection failed, that is said.
pub(crate) fn relayed(endpoint: &Endpoint, status: Status) -> Status {
    use std::error::Error as _;

    match status.source() {
        Some(fault) => Status::unavailable(format!(
            "lost the connection to the broker at {endpoint}: {}",
            in_full(fault)
        )),
        None => Status::new(status.code(), status.message()),
    }
}

/// An error with what caused it.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
