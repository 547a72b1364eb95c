//! A server that answers appends and does nothing with them, on one current-thread runtime behind the stack that
//! brokers serve through: what is left of a broker's cost when everything that is a broker is taken out.

use std::net::SocketAddr;

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use courant_proto::wire;
use courant_proto::wire::journal_server::{Journal, JournalServer};
use futures::stream::BoxStream;
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::{Request, Response, Status, Streaming};

use crate::net;

// The same as those of a broker's listener, in `cli/src/serve/listen.rs`.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
const MOST_STREAMS: u32 = 4_096;
const MOST_HEADERS: u32 = 16 << 10;

/// Serves until the process is ended.
pub(crate) async fn serve(address: SocketAddr) -> Result<()> {
    let listener = net::listen(address)?;
    let http = Router::new().route("/healthz/ready", axum::routing::get(StatusCode::OK)).fallback(
        async |body: Body| match body.collect().await {
            Ok(_) => StatusCode::NO_CONTENT,
            Err(_) => StatusCode::BAD_REQUEST,
        },
    );
    let app = tonic::service::Routes::new(JournalServer::new(Noop))
        .prepare()
        .into_axum_router()
        .fallback_service(http);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                connections.spawn(connection(stream, app.clone()));
            }
        }
    }
}

async fn connection(stream: TcpStream, app: Router) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEADERS);
    // A generator that hangs up is no fault.
    let _ = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app)).await;
}

#[derive(Debug)]
struct Noop;

type Answers<T> = BoxStream<'static, Result<T, Status>>;

fn absent<T>() -> Result<T, Status> {
    Err(Status::unimplemented("this server only answers Append"))
}

#[tonic::async_trait]
impl Journal for Noop {
    type ListStream = Answers<wire::ListResponse>;
    type ReadStream = Answers<wire::ReadResponse>;
    type ReplicateStream = Answers<wire::ReplicateResponse>;

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        let mut messages = request.into_inner();
        while messages.message().await?.is_some() {}
        Ok(Response::new(wire::AppendResponse::default()))
    }

    async fn list(&self, _: Request<wire::ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        absent()
    }

    async fn apply(&self, _: Request<wire::ApplyRequest>) -> Result<Response<wire::ApplyResponse>, Status> {
        absent()
    }

    async fn read(&self, _: Request<wire::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        absent()
    }

    async fn replicate(
        &self,
        _: Request<Streaming<wire::ReplicateRequest>>,
    ) -> Result<Response<Self::ReplicateStream>, Status> {
        absent()
    }

    async fn list_fragments(
        &self,
        _: Request<wire::FragmentsRequest>,
    ) -> Result<Response<wire::FragmentsResponse>, Status> {
        absent()
    }

    async fn fragment_store_health(
        &self,
        _: Request<wire::FragmentStoreHealthRequest>,
    ) -> Result<Response<wire::FragmentStoreHealthResponse>, Status> {
        absent()
    }
}
