//! A lean caller of `Append`: request bodies that were framed beforehand, over HTTP/2 with nothing in between, so
//! that what makes the load takes less than what is measured.

use std::error::Error as StdError;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;

use crate::{framing, net};

/// The path of the RPC.
pub(crate) const APPEND_PATH: &str = "/protocol.Journal/Append";

const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const MOST_STREAMS: usize = 4_096;

/// One connection to a broker. Clones share it; it ends with its owner, [`Connection`].
#[derive(Clone, Debug)]
pub(crate) struct Caller<B> {
    sender: SendRequest<B>,
    uri: Uri,
}

/// The task that drives a connection.
#[derive(Debug)]
pub(crate) struct Connection {
    _driver: JoinSet<Result<(), hyper::Error>>,
}

/// Opens a connection.
pub(crate) async fn connect<B>(address: SocketAddr) -> Result<(Caller<B>, Connection)>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let stream = net::connect(address).await?;
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(MOST_STREAMS)
        .handshake(TokioIo::new(stream))
        .await
        .context("cannot open an HTTP/2 connection")?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let uri = format!("http://{address}{APPEND_PATH}").parse().context("the address of the RPC")?;
    Ok((Caller { sender, uri }, Connection { _driver: driver }))
}

impl<B> Caller<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// One call. Anything but a committed append is an error.
    pub(crate) async fn append(&mut self, body: B) -> Result<()> {
        let mut request = Request::post(self.uri.clone()).body(body)?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        self.sender.ready().await.context("the connection is closed")?;
        let response = self.sender.send_request(request).await.context("no answer to Append")?;
        ensure!(
            response.status() == StatusCode::OK,
            "Append was answered with HTTP status {}",
            response.status()
        );
        let early = response.headers().get("grpc-status").cloned();
        let collected = response.into_body().collect().await.context("a broken answer to Append")?;
        let trailer = collected.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
        let code = early.or(trailer).context("an answer to Append without grpc-status")?;
        ensure!(code == "0", "Append failed with grpc-status {code:?}");
        let answer: Bytes = collected.to_bytes();
        framing::check_answer(&answer)
    }
}
