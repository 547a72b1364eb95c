//! The `Journal` service: one delegating line per verb, for callers over a network and for callers in the process.

use std::pin::Pin;
use std::sync::Arc;

use courant_proto::service::{AppendRequests, JournalService};
use courant_proto::wire;
use courant_proto::wire::journal_server::Journal;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, Stream};
use futures::{StreamExt, TryFutureExt};
use tonic::{Request, Response, Status, Streaming};

use crate::append;
use crate::broker::Broker;
use crate::metrics::Operation;
use crate::read::{self, Chunks};
use crate::replicate;
use crate::shared::Shared;
use crate::{apply, fragments, list, store_health};

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

/// Both ways to read differ in the size of chunks alone.
fn read(
    shared: &Arc<Shared>,
    request: wire::ReadRequest,
    chunks: Chunks,
) -> BoxStream<'static, Result<wire::ReadResponse, Status>> {
    let call = shared.metrics.began(Operation::Read);
    call.stream(read::rpc::read(Arc::clone(shared), request, chunks))
}

impl JournalService for Broker {
    fn list(&self, request: wire::ListRequest) -> BoxStream<'static, Result<wire::ListResponse, Status>> {
        let shared = &self.shared;
        let call = shared.metrics.began(Operation::List);
        call.stream(list::respond(
            shared.mirror.clone(),
            shared.config.id.clone(),
            shared.closing.clone(),
            request,
        ))
    }

    fn apply(&self, request: wire::ApplyRequest) -> BoxFuture<'static, Result<wire::ApplyResponse, Status>> {
        let shared = Arc::clone(&self.shared);
        let call = self.shared.metrics.began(Operation::Apply);
        Box::pin(call.unary(async move {
            let is_courant = |id: &_| shared.presence.is_courant(id);
            apply::respond(&shared.registry, &shared.mirror, &shared.config.id, &is_courant, request).await
        }))
    }

    fn read(&self, request: wire::ReadRequest) -> BoxStream<'static, Result<wire::ReadResponse, Status>> {
        read(&self.shared, request, Chunks::IN_PROCESS)
    }

    fn append(&self, requests: AppendRequests) -> BoxFuture<'static, Result<wire::AppendResponse, Status>> {
        let shared = Arc::clone(&self.shared);
        let call = self.shared.metrics.began(Operation::Append);
        Box::pin(call.unary(append::rpc::append(shared, requests)))
    }

    fn list_fragments(
        &self,
        request: wire::FragmentsRequest,
    ) -> BoxFuture<'static, Result<wire::FragmentsResponse, Status>> {
        let shared = Arc::clone(&self.shared);
        let call = self.shared.metrics.began(Operation::ListFragments);
        Box::pin(call.unary(async move { fragments::list_fragments(&shared, request).await }))
    }

    fn fragment_store_health(
        &self,
        request: wire::FragmentStoreHealthRequest,
    ) -> BoxFuture<'static, Result<wire::FragmentStoreHealthResponse, Status>> {
        let shared = Arc::clone(&self.shared);
        let call = self.shared.metrics.began(Operation::FragmentStoreHealth);
        Box::pin(call.unary(async move { store_health::fragment_store_health(&shared, request).await }))
    }
}

/// The same service for tonic. A type of its own, since both traits name their verbs alike.
#[derive(Clone, Debug)]
pub struct Grpc(pub(crate) Broker);

#[tonic::async_trait]
impl Journal for Grpc {
    type ListStream = Replies<wire::ListResponse>;
    type ReadStream = Replies<wire::ReadResponse>;
    type ReplicateStream = Replies<wire::ReplicateResponse>;

    async fn list(&self, request: Request<wire::ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Ok(Response::new(JournalService::list(&self.0, request.into_inner())))
    }

    async fn apply(
        &self,
        request: Request<wire::ApplyRequest>,
    ) -> Result<Response<wire::ApplyResponse>, Status> {
        JournalService::apply(&self.0, request.into_inner()).map_ok(Response::new).await
    }

    async fn read(&self, request: Request<wire::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        Ok(Response::new(read(&self.0.shared, request.into_inner(), Chunks::GRPC)))
    }

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        let requests = request.into_inner().boxed();
        JournalService::append(&self.0, requests).map_ok(Response::new).await
    }

    async fn replicate(
        &self,
        request: Request<Streaming<wire::ReplicateRequest>>,
    ) -> Result<Response<Self::ReplicateStream>, Status> {
        let shared = &self.0.shared;
        let call = shared.metrics.began(Operation::Replicate);
        let answers = replicate::rpc::replicate(Arc::clone(shared), request.into_inner().boxed());
        Ok(Response::new(call.stream(answers)))
    }

    async fn list_fragments(
        &self,
        request: Request<wire::FragmentsRequest>,
    ) -> Result<Response<wire::FragmentsResponse>, Status> {
        JournalService::list_fragments(&self.0, request.into_inner()).map_ok(Response::new).await
    }

    async fn fragment_store_health(
        &self,
        request: Request<wire::FragmentStoreHealthRequest>,
    ) -> Result<Response<wire::FragmentStoreHealthResponse>, Status> {
        JournalService::fragment_store_health(&self.0, request.into_inner()).map_ok(Response::new).await
    }
}
