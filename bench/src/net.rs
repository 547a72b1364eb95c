//! The seam to the network: where sockets of the loopback interface are opened.
#![expect(clippy::disallowed_methods, reason = "this is the seam that the benches reach the network through")]

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// A connection without delays.
pub(crate) async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    Ok(stream)
}

/// Connections that wait to be accepted. Generators open hundreds at once.
const BACKLOG: u32 = 4_096;

/// A listener.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener> {
    let bound = || {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().with_context(|| format!("cannot listen on {address}"))
}

/// A port that was free a moment ago.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into())?;
    listener.local_addr().context("the listener has no address")
}

/// Asks for a path, and returns the status of the answer.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<http::StatusCode> {
    Ok(answer(address, path).await?.0)
}

/// Asks for a path, and returns the text of the answer.
pub(crate) async fn text(address: SocketAddr, path: &str) -> Result<String> {
    let (_, body) = answer(address, path).await?;
    String::from_utf8(body.into()).with_context(|| format!("{path} is no text"))
}

async fn answer(address: SocketAddr, path: &str) -> Result<(http::StatusCode, Bytes)> {
    let stream = connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let request = http::Request::get(path)
        .header(http::header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}
