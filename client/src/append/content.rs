//! What is appended, and the messages that carry it: parameters, content, the intent to commit.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use courant_proto::service::AppendRequests;
use courant_proto::wire;
use futures::stream::{BoxStream, Stream, StreamExt as _};
use parking_lot::Mutex;
use tonic::Status;

/// Content is sent in messages of at most this much. Brokers of the protocol accept 4 MiB, overhead included.
pub(crate) const MESSAGE_BYTES: usize = 1 << 20;

/// Content in parts. An error ends it, and with it the append.
pub(crate) type Parts = BoxStream<'static, io::Result<Bytes>>;

/// The content of an append.
pub struct Content(pub(crate) Source);

pub(crate) enum Source {
    Repeatable(Repeatable),
    Once(Parts),
}

/// Content that can be sent again.
pub(crate) enum Repeatable {
    Whole(Bytes),
    Replay(Box<dyn Fn() -> Parts + Send + Sync>),
}

impl Content {
    /// Content that is read once, while it is sent. An append of it is attempted once.
    pub fn stream(parts: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self(Source::Once(parts.boxed()))
    }

    /// Content that is made anew for each attempt, equal each time.
    pub fn replay<S>(open: impl Fn() -> S + Send + Sync + 'static) -> Self
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        Self(Source::Repeatable(Repeatable::Replay(Box::new(move || open().boxed()))))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Repeatable(Repeatable::Whole(content)) => write!(f, "Content({} bytes)", content.len()),
            Source::Repeatable(Repeatable::Replay(_)) => f.write_str("Content(replayed)"),
            Source::Once(_) => f.write_str("Content(stream)"),
        }
    }
}

impl<T: Into<Bytes>> From<T> for Content {
    fn from(content: T) -> Self {
        Self(Source::Repeatable(Repeatable::Whole(content.into())))
    }
}

/// A message that carries nothing but content; with none, it is the intent to commit.
pub(crate) fn chunk(content: Bytes) -> wire::AppendRequest {
    wire::AppendRequest { content, ..Default::default() }
}

/// The messages of content that is at hand.
pub(crate) fn whole(request: wire::AppendRequest, content: Bytes) -> AppendRequests {
    Box::pin(Whole { request: Some(request), content, committed: false })
}

/// Three messages and one allocation for the common case of small content.
struct Whole {
    request: Option<wire::AppendRequest>,
    content: Bytes,
    committed: bool,
}

impl Stream for Whole {
    type Item = Result<wire::AppendRequest, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = if let Some(request) = self.request.take() {
            Some(request)
        } else if !self.content.is_empty() {
            let most = self.content.len().min(MESSAGE_BYTES);
            Some(chunk(self.content.split_to(most)))
        } else if !self.committed {
            self.committed = true;
            Some(chunk(Bytes::new()))
        } else {
            None
        };
        Poll::Ready(next.map(Ok))
    }
}

/// Why streamed content broke off, once it has.
#[derive(Clone, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    pub(crate) fn take(&self) -> Option<io::Error> {
        self.0.lock().take()
    }
}

/// The messages of streamed content. Where it breaks off they end without the intent to commit, and the cause
/// is left in the [`Failure`].
pub(crate) fn streamed(request: wire::AppendRequest, parts: Parts) -> (AppendRequests, Failure) {
    let failure = Failure::default();
    let messages = Streamed {
        request: Some(request),
        pending: Bytes::new(),
        parts: Some(parts),
        committed: false,
        failure: failure.clone(),
    };
    (Box::pin(messages), failure)
}

struct Streamed {
    request: Option<wire::AppendRequest>,
    /// What is left of a part that is larger than a message.
    pending: Bytes,
    /// None once the content ended.
    parts: Option<Parts>,
    committed: bool,
    failure: Failure,
}

impl Stream for Streamed {
    type Item = Result<wire::AppendRequest, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(request) = self.request.take() {
            return Poll::Ready(Some(Ok(request)));
        }
        loop {
            if !self.pending.is_empty() {
                let most = self.pending.len().min(MESSAGE_BYTES);
                return Poll::Ready(Some(Ok(chunk(self.pending.split_to(most)))));
            }
            let Some(parts) = &mut self.parts else {
                if self.committed {
                    return Poll::Ready(None);
                }
                self.committed = true;
                return Poll::Ready(Some(Ok(chunk(Bytes::new()))));
            };
            match ready!(parts.poll_next_unpin(cx)) {
                // An empty part must not become an empty message, which would commit.
                Some(Ok(part)) => self.pending = part,
                Some(Err(error)) => {
                    let status = Status::cancelled(format!("the content broke off: {error}"));
                    *self.failure.0.lock() = Some(error);
                    self.parts = None;
                    self.committed = true;
                    return Poll::Ready(Some(Err(status)));
                }
                None => self.parts = None,
            }
        }
    }
}
