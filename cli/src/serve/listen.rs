//! One port for everything: connections are accepted in one place, handed to the cores in turn, and served there, HTTP/1.1 and
//! HTTP/2 alike.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Connections that a core will serve at once; further ones wait to be accepted.
const MOST_CONNECTIONS: usize = 8_192;

/// Connections on their way from the listener to one core.
const HANDED_OVER: usize = 256;

/// Connections that may wait to be accepted. Clients that come all at once must not find the door shut for a second.
const BACKLOG: u32 = 4_096;

/// A connection that says nothing at all is closed after this.
const FIRST_BYTE: Duration = Duration::from_secs(60);

/// A request's headers must have arrived within this.
const HEADERS: Duration = Duration::from_secs(10);

/// How often a quiet HTTP/2 peer is asked whether it still lives, and how long it may take to answer.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Bytes that may be under way on one HTTP/2 stream, and on all of a connection.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;

/// HTTP/2 streams of one connection at the same time.
const MOST_STREAMS: u32 = 4_096;

/// Header lists above this are refused, in bytes.
const MOST_HEADERS: u32 = 16 << 10;

/// What connections are served with.
pub(crate) trait Serve: Clone + Send + 'static {
    /// A response's body.
    type Body: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;
    /// The same service, as tower has it.
    type Service: tower::Service<Request<Incoming>, Response = Response<Self::Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static;

    /// The service of one more connection.
    fn service(&self) -> Self::Service;
}

impl<S, B> Serve for S
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Body = B;
    type Service = S;

    fn service(&self) -> S {
        self.clone()
    }
}

/// The sending end of one core's connections.
pub(crate) type Hand = mpsc::Sender<std::net::TcpStream>;

/// The receiving end of one core's connections.
pub(crate) type Handed = mpsc::Receiver<std::net::TcpStream>;

/// Makes the way from the listener to a core.
pub(crate) fn handover() -> (Hand, Handed) {
    mpsc::channel(HANDED_OVER)
}

/// Binds the address that the process serves on.
pub(crate) async fn bind(address: &str) -> Result<(TcpListener, SocketAddr)> {
    let unusable = || format!("cannot listen on {address}: give a free address with --listen");
    let resolved = tokio::net::lookup_host(address).await.with_context(unusable)?;
    let mut refused = None;
    for candidate in resolved {
        match listen(candidate) {
            Ok(listener) => {
                let bound = listener.local_addr().context("the listener has no address")?;
                return Ok((listener, bound));
            }
            Err(error) => refused = Some(error),
        }
    }
    let refused = refused.unwrap_or_else(|| std::io::ErrorKind::AddrNotAvailable.into());
    Err(refused).with_context(unusable)
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until told to stop, and hands connections to the cores in turn.
pub(crate) async fn accept(listener: Arc<TcpListener>, cores: Vec<Hand>, stop: CancellationToken) {
    let mut turn = 0;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted.and_then(|(stream, _)| {
            stream.set_nodelay(true)?;
            stream.into_std()
        }) {
            Ok(stream) => stream,
            Err(error) => {
                // Out of descriptors, mostly: let some be closed before the next try.
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        turn = (turn + 1) % cores.len();
        tokio::select! {
            () = stop.cancelled() => return,
            sent = cores[turn].send(stream) => if sent.is_err() { return },
        }
    }
}

/// Serves the connections that are handed over, until told to stop; then lets requests under way end, for at most `grace`.
pub(crate) async fn serve(mut handed: Handed, app: impl Serve, stop: CancellationToken, grace: Duration) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            stream = handed.recv(), if connections.len() < MOST_CONNECTIONS => {
                let Some(stream) = stream else { break };
                match TcpStream::from_std(stream) {
                    Ok(stream) => {
                        connections.spawn(connection(stream, app.clone(), stop.clone()));
                    }
                    Err(error) => tracing::warn!(%error, "cannot serve a connection"),
                }
            }
        }
    }
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, ended).await.is_err() {
        tracing::info!("closing connections that did not end in time");
    }
}

/// Serves a listener of its own, apart from the cores, until told to stop.
pub(crate) async fn serve_alone(listener: TcpListener, app: impl Serve, stop: CancellationToken) {
    let (hand, handed) = handover();
    tokio::join!(
        accept(Arc::new(listener), vec![hand], stop.clone()),
        serve(handed, app, stop, Duration::ZERO)
    );
}

async fn connection(stream: TcpStream, app: impl Serve, stop: CancellationToken) {
    tokio::select! {
        // One that has not said anything has no request under way.
        () = stop.cancelled() => return,
        spoken = timeout(FIRST_BYTE, stream.readable()) => if spoken.is_err() { return },
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEADERS);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app.service()));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Runs a future on a thread of its own, with a runtime of its own.
pub(crate) fn thread<F>(
    name: String,
    future: impl FnOnce() -> F + Send + 'static,
) -> Result<std::thread::JoinHandle<Result<()>>>
where
    F: Future<Output = Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name(format!("{name}-files"))
        .build()
        .with_context(|| format!("cannot make the runtime of {name}"))?;
    std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || runtime.block_on(future()))
        .with_context(|| format!("cannot start the thread {name}"))
}
