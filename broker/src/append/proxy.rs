//! Passes an append on to the primary, message by message as they come; or content that was received whole before its journal moved.
//!
//! It is sent once. Only where certainly nothing was sent, as no connection came about, is it given back.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use courant_proto::name::JournalName;
use courant_proto::service::AppendRequests;
use courant_proto::wire;
use futures::stream::{self, Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tonic::Status;

use super::receive::{Content, from_client};
use crate::peer::gone::{self, Part};
use crate::resolver::target::Target;
use crate::shared::Shared;

/// Bytes of content in one message, of content that was received before.
const CHUNK: usize = 256 << 10;

/// What came of passing an append on.
pub(super) enum Passed {
    Answered(Box<wire::AppendResponse>),
    /// The peer could not be reached: it has seen nothing of the append, which is given back.
    Unsent {
        requests: AppendRequests,
        why: Status,
    },
}

/// Passes an append on: its first message with a header in place, and what follows it.
pub(super) async fn pass_on(
    shared: &Shared,
    journal: &JournalName,
    target: &Target,
    first: wire::AppendRequest,
    requests: AppendRequests,
) -> Result<Passed, Status> {
    let (failed, failure) = oneshot::channel();
    let relay = Relay::new(first, requests, failed);
    let relay = Arc::new(Mutex::new(relay));
    let answer = tokio::select! {
        biased;
        // The call is dropped, by which the peer learns that no end will come, and rolls back.
        Ok(fault) = failure => return Err(fault),
        answer = shared.peers.append(&target.endpoint, Relayed(Arc::clone(&relay))) => answer,
        () = gone::gone(shared, journal, &target.id, Part::Primary) => {
            return Err(Status::unavailable(format!(
                "broker {} has ceased to be the primary of journal {journal}; whether the append was committed is not known",
                target.id
            )));
        }
    };
    match answer {
        Ok(answer) => Ok(Passed::Answered(Box::new(answer))),
        Err(why) => match relay.lock().unsent() {
            Some(requests) => Ok(Passed::Unsent { requests, why }),
            None => Err(why),
        },
    }
}

/// The messages of an append on their way to a peer.
struct Relay {
    first: Option<wire::AppendRequest>,
    rest: Option<AppendRequests>,
    /// Messages that go before what comes next of `rest`.
    ready: VecDeque<wire::AppendRequest>,
    /// The intent to commit, which goes once the client has ended its stream, or has said more: a peer may take a call that was dropped
    /// for one that has ended.
    intent: Option<wire::AppendRequest>,
    /// Told of the client's fault.
    failed: Option<oneshot::Sender<Status>>,
}

impl Relay {
    fn new(first: wire::AppendRequest, rest: AppendRequests, failed: oneshot::Sender<Status>) -> Self {
        Self {
            first: Some(first),
            rest: Some(rest),
            ready: VecDeque::new(),
            intent: None,
            failed: Some(failed),
        }
    }

    /// Takes a message of the client. It goes on at once, unless it is the intent to commit.
    fn take(&mut self, request: wire::AppendRequest) {
        let before = self.intent.take();
        self.ready.extend(before);
        if request.journal.is_empty() && request.content.is_empty() {
            self.intent = Some(request);
        } else {
            self.ready.push_back(request);
        }
    }

    /// What comes behind the first message, if that was not asked for.
    fn unsent(&mut self) -> Option<AppendRequests> {
        self.first.take().and_then(|_| self.rest.take())
    }
}

struct Relayed(Arc<Mutex<Relay>>);

impl Stream for Relayed {
    type Item = wire::AppendRequest;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut relay = self.0.lock();
        if let Some(first) = relay.first.take() {
            return Poll::Ready(Some(first));
        }
        loop {
            if let Some(request) = relay.ready.pop_front() {
                return Poll::Ready(Some(request));
            }
            let Some(rest) = &mut relay.rest else { return Poll::Ready(None) };
            match rest.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(request))) => relay.take(request),
                Poll::Ready(Some(Err(fault))) => {
                    if let Some(failed) = relay.failed.take() {
                        let _ = failed.send(from_client(fault));
                    }
                    // An end would look like one that the client meant; there is none, the call is dropped instead.
                    return Poll::Pending;
                }
                Poll::Ready(None) => {
                    relay.rest = None;
                    let intent = relay.intent.take();
                    relay.ready.extend(intent);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Content that was received whole as the messages it may have come in, with the intent to commit it.
pub(super) fn requests_of(content: &Content, length: u64) -> AppendRequests {
    let chunks = match content {
        Content::Memory { chunks, .. } => stream::iter(in_chunks(chunks.clone())).map(Ok).boxed(),
        Content::Scratch { file } => {
            let file = Arc::clone(file);
            stream::try_unfold(0, move |at| {
                let file = Arc::clone(&file);
                async move {
                    let wanted = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
                    if wanted == 0 {
                        return Ok(None);
                    }
                    let read = tokio::task::spawn_blocking(move || {
                        let mut buffer = BytesMut::zeroed(wanted);
                        file.read_exact_at(&mut buffer, at).map(|()| buffer.freeze())
                    });
                    let chunk = read
                        .await
                        .map_err(|_| Status::internal("reading a scratch file was interrupted"))?
                        .map_err(|error| Status::internal(format!("cannot read a scratch file: {error}")))?;
                    Ok(Some((chunk, at + wanted as u64)))
                }
            })
            .boxed()
        }
    };
    chunks
        .chain(stream::once(async { Ok(Bytes::new()) }))
        .map(|chunk| chunk.map(|content| wire::AppendRequest { content, ..Default::default() }))
        .boxed()
}

/// The same bytes, none of them in more than a message may hold.
fn in_chunks(chunks: Vec<Bytes>) -> impl Iterator<Item = Bytes> + Send {
    chunks.into_iter().flat_map(|mut chunk| {
        std::iter::from_fn(move || (!chunk.is_empty()).then(|| chunk.split_to(chunk.len().min(CHUNK))))
    })
}

#[cfg(test)]
mod tests;
