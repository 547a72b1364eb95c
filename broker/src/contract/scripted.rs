//! A broker of another make: it hands each call that others make of it to the test, which answers.

use std::pin::Pin;

use courant_proto::id::ProcessId;
use courant_proto::wire;
use courant_proto::wire::journal_server::{Journal, JournalServer};
use futures::{Stream, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::cluster::PATIENCE;

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

/// The test's end of a scripted broker.
pub(crate) struct Scripted {
    pub(crate) id: ProcessId,
    calls: mpsc::Receiver<Call>,
}

/// A call that somebody makes of it.
pub(crate) enum Call {
    Append(Appending),
    Replicate(Replicating),
    Read {
        request: wire::ReadRequest,
        replies: mpsc::Sender<Result<wire::ReadResponse, Status>>,
    },
    Fragments {
        request: wire::FragmentsRequest,
        reply: oneshot::Sender<Result<wire::FragmentsResponse, Status>>,
    },
}

/// An append that somebody passes on.
pub(crate) struct Appending {
    pub(crate) requests: Streaming<wire::AppendRequest>,
    pub(crate) reply: oneshot::Sender<Result<wire::AppendResponse, Status>>,
}

/// A stream of a primary.
pub(crate) struct Replicating {
    requests: Streaming<wire::ReplicateRequest>,
    replies: mpsc::Sender<Result<wire::ReplicateResponse, Status>>,
}

pub(super) fn scripted(id: ProcessId) -> (JournalServer<Service>, Scripted) {
    let (sender, calls) = mpsc::channel(64);
    (JournalServer::new(Service { calls: sender }), Scripted { id, calls })
}

impl Scripted {
    /// The next call.
    pub(crate) async fn call(&mut self) -> Call {
        timeout(PATIENCE, self.calls.recv()).await.expect("a call in time").expect("a running server")
    }

    pub(crate) async fn replicate(&mut self) -> Replicating {
        let Call::Replicate(stream) = self.call().await else { panic!("expected a stream of replication") };
        stream
    }

    pub(crate) async fn append(&mut self) -> Appending {
        let Call::Append(append) = self.call().await else { panic!("expected an append") };
        append
    }

    /// Whether nobody has called.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }
}

impl Replicating {
    /// The next message.
    pub(crate) async fn next(&mut self) -> wire::ReplicateRequest {
        let message = timeout(PATIENCE, self.requests.message()).await.expect("a message in time");
        message.expect("no fault").expect("a message")
    }

    /// The next message; none once the stream has ended, however that came.
    pub(crate) async fn message(&mut self) -> Option<wire::ReplicateRequest> {
        timeout(PATIENCE, self.requests.message()).await.expect("a message in time").ok().flatten()
    }

    /// Whether the stream has ended in order, once it has.
    pub(crate) async fn ends(&mut self) -> bool {
        let message = timeout(PATIENCE, self.requests.message()).await.expect("an end in time");
        matches!(message, Ok(None))
    }

    pub(crate) async fn answer(&self, response: wire::ReplicateResponse) {
        self.replies.send(Ok(response)).await.expect("somebody listens");
    }

    pub(crate) async fn agree(&self) {
        self.answer(wire::ReplicateResponse::default()).await;
    }

    /// Fails the stream.
    pub(crate) async fn fail(&self, status: Status) {
        self.replies.send(Err(status)).await.expect("somebody listens");
    }

    /// Messages up to the first that is to be answered, and that one.
    pub(crate) async fn round(&mut self) -> Vec<wire::ReplicateRequest> {
        let mut round = Vec::new();
        loop {
            let message = self.next().await;
            let is_last = message.acknowledge;
            round.push(message);
            if is_last {
                return round;
            }
        }
    }
}

/// The server's end.
pub(crate) struct Service {
    calls: mpsc::Sender<Call>,
}

impl Service {
    async fn tell(&self, call: Call) -> Result<(), Status> {
        self.calls.send(call).await.map_err(|_| Status::unavailable("the test is over"))
    }
}

fn unscripted<T>() -> Result<T, Status> {
    Err(Status::unimplemented("no part of the script"))
}

#[tonic::async_trait]
impl Journal for Service {
    type ListStream = Replies<wire::ListResponse>;
    type ReadStream = Replies<wire::ReadResponse>;
    type ReplicateStream = Replies<wire::ReplicateResponse>;

    async fn list(&self, _: Request<wire::ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        unscripted()
    }

    async fn apply(&self, _: Request<wire::ApplyRequest>) -> Result<Response<wire::ApplyResponse>, Status> {
        unscripted()
    }

    async fn read(&self, request: Request<wire::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let (replies, stream) = mpsc::channel(64);
        self.tell(Call::Read { request: request.into_inner(), replies }).await?;
        Ok(Response::new(ReceiverStream::new(stream).boxed()))
    }

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        let (reply, answer) = oneshot::channel();
        self.tell(Call::Append(Appending { requests: request.into_inner(), reply })).await?;
        answer.await.map_err(|_| Status::unavailable("the test has dropped the call"))?.map(Response::new)
    }

    async fn replicate(
        &self,
        request: Request<Streaming<wire::ReplicateRequest>>,
    ) -> Result<Response<Self::ReplicateStream>, Status> {
        let (replies, stream) = mpsc::channel(64);
        self.tell(Call::Replicate(Replicating { requests: request.into_inner(), replies })).await?;
        Ok(Response::new(ReceiverStream::new(stream).boxed()))
    }

    async fn list_fragments(
        &self,
        request: Request<wire::FragmentsRequest>,
    ) -> Result<Response<wire::FragmentsResponse>, Status> {
        let (reply, answer) = oneshot::channel();
        self.tell(Call::Fragments { request: request.into_inner(), reply }).await?;
        answer.await.map_err(|_| Status::unavailable("the test has dropped the call"))?.map(Response::new)
    }

    async fn fragment_store_health(
        &self,
        _: Request<wire::FragmentStoreHealthRequest>,
    ) -> Result<Response<wire::FragmentStoreHealthResponse>, Status> {
        unscripted()
    }
}
