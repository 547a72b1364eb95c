//! The body of a PUT: whole if it is small, as a stream if it is not, and never more or slower than allowed.

use std::io;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::Config;

/// Why a body is not all there. Nothing of it was appended.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is over the limit of {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("nothing of the body came for {after:?}, and nothing was appended")]
    Idle { after: Duration },
    #[error("the body broke off, and nothing was appended: {0}")]
    Broken(#[source] axum::Error),
}

/// A body as far as it was worth waiting for.
pub(super) enum Received<S> {
    Whole(Bytes),
    /// More than is kept in memory: what came, and the rest as it comes.
    Larger(S),
}

/// Receives a body, all of it if it is small.
pub(super) async fn receive(
    body: Body,
    config: &Config,
) -> Result<Received<impl Stream<Item = io::Result<Bytes>> + Send + 'static>, BodyError> {
    let mut body = Limited {
        body,
        left: config.max_body_bytes,
        limit: config.max_body_bytes,
        idle: config.body_idle_timeout,
    };
    // Nearly every small body is one part, which is then passed on as it is.
    let Some(first) = body.part().await? else {
        return Ok(Received::Whole(Bytes::new()));
    };
    let mut received = first.len();
    let mut more = Vec::new();
    while received <= config.small_body_bytes {
        match body.part().await? {
            Some(part) => {
                received = received.saturating_add(part.len());
                more.push(part);
            }
            None if more.is_empty() => return Ok(Received::Whole(first)),
            None => {
                let mut whole = BytesMut::with_capacity(received);
                whole.extend_from_slice(&first);
                more.iter().for_each(|part| whole.extend_from_slice(part));
                return Ok(Received::Whole(whole.freeze()));
            }
        }
    }
    more.insert(0, first);
    Ok(Received::Larger(stream::unfold((more.into_iter(), Some(body)), |(mut kept, body)| async {
        if let Some(part) = kept.next() {
            return Some((Ok(part), (kept, body)));
        }
        let mut body = body?;
        match body.part().await {
            Ok(part) => part.map(|part| (Ok(part), (kept, Some(body)))),
            Err(error) => Some((Err(io::Error::other(error)), (kept, None))),
        }
    })))
}

struct Limited {
    body: Body,
    left: u64,
    limit: u64,
    idle: Duration,
}

impl Limited {
    /// The next part that is not empty.
    async fn part(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            if self.body.is_end_stream() {
                return Ok(None);
            }
            let frame = match tokio::time::timeout(self.idle, self.body.frame()).await {
                Ok(Some(frame)) => frame.map_err(BodyError::Broken)?,
                Ok(None) => return Ok(None),
                Err(_) => return Err(BodyError::Idle { after: self.idle }),
            };
            // Trailers say nothing that an append knows of.
            let Ok(part) = frame.into_data() else { continue };
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            self.left = self.left.checked_sub(length).ok_or(BodyError::TooLarge { limit: self.limit })?;
            if !part.is_empty() {
                return Ok(Some(part));
            }
        }
    }
}
