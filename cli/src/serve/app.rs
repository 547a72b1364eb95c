//! What one connection is served with: the Journal service and what brokers ask each other, each for its own path, and the gateway
//! for everything else.
//!
//! A router would box each request and each response once more, which is a tenth of what a small append costs.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use courant_broker::{ClusterGrpc, Grpc, PeerGrpc};
use courant_proto::wire::courant::cluster_server::{ClusterServer, SERVICE_NAME as CLUSTER_SERVICE_NAME};
use courant_proto::wire::courant::peer_server::{PeerServer, SERVICE_NAME as PEER_SERVICE_NAME};
use courant_proto::wire::journal_server::{JournalServer, SERVICE_NAME};
use http::{Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use tower::Service;

/// The service of a connection. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct App {
    grpc: JournalServer<Grpc>,
    peer: PeerServer<PeerGrpc>,
    cluster: ClusterServer<ClusterGrpc>,
    gateway: Router,
}

/// A response's body: of the one, or of the other.
pub(crate) type AppBody = Either<tonic::body::Body, Body>;

type Responding = Pin<Box<dyn Future<Output = Result<Response<AppBody>, Infallible>> + Send>>;

impl App {
    pub(crate) fn new(
        grpc: JournalServer<Grpc>,
        peer: PeerServer<PeerGrpc>,
        cluster: ClusterServer<ClusterGrpc>,
        gateway: Router,
    ) -> Self {
        Self { grpc, peer, cluster, gateway }
    }
}

impl Service<Request<Incoming>> for App {
    type Response = Response<AppBody>;
    type Error = Infallible;
    type Future = Responding;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Both take requests at any time.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Responding {
        if is_of(&request, SERVICE_NAME) {
            let responding = self.grpc.call(request);
            Box::pin(async move { responding.await.map(|response| response.map(Either::Left)) })
        } else if is_of(&request, PEER_SERVICE_NAME) {
            let responding = self.peer.call(request);
            Box::pin(async move { responding.await.map(|response| response.map(Either::Left)) })
        } else if is_of(&request, CLUSTER_SERVICE_NAME) {
            let responding = self.cluster.call(request);
            Box::pin(async move { responding.await.map(|response| response.map(Either::Left)) })
        } else {
            let responding = self.gateway.call(request.map(Body::new));
            Box::pin(async move { responding.await.map(|response| response.map(Either::Right)) })
        }
    }
}

/// Whether a request is for a method of a gRPC service.
fn is_of(request: &Request<Incoming>, service: &str) -> bool {
    let method = request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(service));
    method.is_some_and(|method| method.starts_with('/'))
}
