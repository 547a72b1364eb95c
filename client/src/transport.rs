//! The way to a broker: over a network, or within the process. Knows no retries and looks at no answer.

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use courant_proto::service::{AppendRequests, JournalService};
use courant_proto::wire;
use courant_proto::wire::journal_client::JournalClient;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, Stream};
use futures::{FutureExt as _, StreamExt as _, TryFutureExt as _};
use tonic::Status;
use tonic::transport::Channel;

/// Answers of a streaming call.
pub(crate) type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// Where calls go. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Network(JournalClient<Channel>),
    InProcess(Arc<dyn JournalService>),
}

impl Transport {
    pub(crate) fn read(&self, request: wire::ReadRequest) -> Answers<wire::ReadResponse> {
        match self {
            Self::InProcess(service) => service.read(request),
            Self::Network(stub) => {
                let mut stub = stub.clone();
                async move { stub.read(request).await.map(tonic::Response::into_inner) }
                    .try_flatten_stream()
                    .boxed()
            }
        }
    }

    pub(crate) fn list(&self, request: wire::ListRequest) -> Answers<wire::ListResponse> {
        match self {
            Self::InProcess(service) => service.list(request),
            Self::Network(stub) => {
                let mut stub = stub.clone();
                async move { stub.list(request).await.map(tonic::Response::into_inner) }
                    .try_flatten_stream()
                    .boxed()
            }
        }
    }

    /// An `Err` among the requests ends them without the intent to commit, which rolls the append back.
    pub(crate) fn append(
        &self,
        requests: AppendRequests,
    ) -> BoxFuture<'static, Result<wire::AppendResponse, Status>> {
        match self {
            Self::InProcess(service) => service.append(requests),
            Self::Network(stub) => {
                let mut stub = stub.clone();
                let requests = UntilError(Some(requests));
                async move { stub.append(requests).await.map(tonic::Response::into_inner) }.boxed()
            }
        }
    }

    pub(crate) fn apply(
        &self,
        request: wire::ApplyRequest,
    ) -> BoxFuture<'static, Result<wire::ApplyResponse, Status>> {
        match self {
            Self::InProcess(service) => service.apply(request),
            Self::Network(stub) => {
                let mut stub = stub.clone();
                async move { stub.apply(request).await.map(tonic::Response::into_inner) }.boxed()
            }
        }
    }

    pub(crate) fn list_fragments(
        &self,
        request: wire::FragmentsRequest,
    ) -> BoxFuture<'static, Result<wire::FragmentsResponse, Status>> {
        match self {
            Self::InProcess(service) => service.list_fragments(request),
            Self::Network(stub) => {
                let mut stub = stub.clone();
                async move { stub.list_fragments(request).await.map(tonic::Response::into_inner) }.boxed()
            }
        }
    }

    pub(crate) fn fragment_store_health(
        &self,
        request: wire::FragmentStoreHealthRequest,
    ) -> BoxFuture<'static, Result<wire::FragmentStoreHealthResponse, Status>> {
        match self {
            Self::InProcess(service) => service.fragment_store_health(request),
            Self::Network(stub) => {
                let mut stub = stub.clone();
                async move { stub.fragment_store_health(request).await.map(tonic::Response::into_inner) }
                    .boxed()
            }
        }
    }
}

/// Requests up to the first error. A network carries no error of a client, so it becomes an early end.
struct UntilError(Option<AppendRequests>);

impl Stream for UntilError {
    type Item = wire::AppendRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(requests) = &mut self.0 else {
            return Poll::Ready(None);
        };
        match ready!(requests.poll_next_unpin(cx)) {
            Some(Ok(request)) => Poll::Ready(Some(request)),
            Some(Err(_)) | None => {
                self.0 = None;
                Poll::Ready(None)
            }
        }
    }
}
