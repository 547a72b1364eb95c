//! A generator within this program: as many loops as there are to be appends in flight, on the calling thread.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{CHUNK, Load, content};
use crate::args::Surface;
use crate::stats::{self, Times};
use crate::{framing, grpc, net};

pub(super) async fn run(load: &Load, requests: u64) -> Result<(u64, Duration, Times)> {
    let left = Cell::new(requests);
    match load.surface {
        Surface::Grpc => over_grpc(load, &left).await,
        Surface::Http => over_http(load, &left).await,
    }
    .map(|(elapsed, times)| (requests, elapsed, times))
}

/// Takes one request off what is left.
fn take(left: &Cell<u64>) -> bool {
    let now = left.get();
    left.set(now.saturating_sub(1));
    now > 0
}

async fn over_grpc(load: &Load, left: &Cell<u64>) -> Result<(Duration, Times)> {
    let body = framing::append_body(&load.journal, &content(load.size), CHUNK);
    let mut callers = Vec::new();
    let mut connections = Vec::new();
    for _ in 0..load.connections() {
        let (caller, connection) = grpc::connect::<Full<Bytes>>(load.address).await?;
        callers.push(caller);
        connections.push(connection);
    }
    let began = Instant::now();
    let loops = (0..load.in_flight).map(|number| {
        let mut caller = callers[number % callers.len()].clone();
        let body = body.clone();
        async move {
            let mut times = stats::times();
            while take(left) {
                let sent = Instant::now();
                caller.append(Full::new(body.clone())).await?;
                stats::record(&mut times, sent.elapsed());
            }
            anyhow::Ok(times)
        }
    });
    merge(began, try_join_all(loops).await?)
}

async fn over_http(load: &Load, left: &Cell<u64>) -> Result<(Duration, Times)> {
    let body = Bytes::from(content(load.size));
    let path = format!("/{}", load.journal);
    let mut drivers = JoinSet::new();
    let mut senders = Vec::new();
    for _ in 0..load.in_flight {
        let stream = TokioIo::new(net::connect(load.address).await?);
        let (sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        drivers.spawn(connection);
        senders.push(sender);
    }
    let began = Instant::now();
    let host = load.address.to_string();
    let loops = senders.into_iter().map(|mut sender| {
        let (body, path, host) = (&body, &path, &host);
        async move {
            let mut times = stats::times();
            while take(left) {
                let request = Request::put(path).header(header::HOST, host).body(Full::new(body.clone()))?;
                let sent = Instant::now();
                sender.ready().await.context("the connection is closed")?;
                let response = sender.send_request(request).await.context("no answer to PUT")?;
                let status = response.status();
                let said = response.into_body().collect().await.context("a broken answer to PUT")?.to_bytes();
                stats::record(&mut times, sent.elapsed());
                let said = String::from_utf8_lossy(&said);
                ensure!(status == StatusCode::NO_CONTENT, "PUT was answered with {status}: {said}");
            }
            anyhow::Ok(times)
        }
    });
    merge(began, try_join_all(loops).await?)
}

fn merge(began: Instant, parts: Vec<Times>) -> Result<(Duration, Times)> {
    let elapsed = began.elapsed();
    let mut times = stats::times();
    for part in parts {
        times.add(part).context("times out of range")?;
    }
    Ok((elapsed, times))
}
