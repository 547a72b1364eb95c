//! One append, written piece by piece by its caller. No task drives it: it moves while its caller awaits it.

use std::fmt;

use bytes::Bytes;
use courant_proto::wire;
use futures::future::BoxFuture;
use futures::stream;
use tokio::sync::mpsc;
use tonic::Status;

use super::content::{MESSAGE_BYTES, chunk};
use super::{Appended, CALL, outcome};
use crate::Error;
use crate::transport::Transport;

/// Messages that wait for the transport to take them.
const QUEUED_MESSAGES: usize = 4;

/// One append in the making. See [`Client::appender`](crate::Client::appender).
///
/// All that is written becomes one span of the journal when [`commit`](Self::commit) succeeds. Dropped or
/// aborted before, nothing of it stays. Have the content at hand before writing it: a broker bounds how slowly
/// an append may come.
pub struct Appender {
    transport: Transport,
    state: State,
}

enum State {
    /// Nothing was sent.
    Idle(Box<wire::AppendRequest>),
    Open {
        messages: mpsc::Sender<Result<wire::AppendRequest, Status>>,
        answer: BoxFuture<'static, Result<wire::AppendResponse, Status>>,
    },
    /// The broker answered before the commit, and the answer was handed out.
    Failed,
}

impl Appender {
    pub(crate) fn new(transport: Transport, request: wire::AppendRequest) -> Self {
        Self { transport, state: State::Idle(Box::new(request)) }
    }

    /// Sends content. Writing nothing does nothing.
    ///
    /// # Errors
    ///
    /// What the broker answered, if it answered before the commit. The append is over then.
    pub async fn write(&mut self, mut content: Bytes) -> Result<(), Error> {
        while !content.is_empty() {
            let most = content.len().min(MESSAGE_BYTES);
            self.send(chunk(content.split_to(most))).await?;
        }
        Ok(())
    }

    /// Commits what was written, and waits for the outcome.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the status. After a fault of the call, whether the append happened is not known.
    pub async fn commit(mut self) -> Result<Appended, Error> {
        self.send(chunk(Bytes::new())).await?;
        match self.state {
            State::Open { messages, answer } => {
                drop(messages);
                outcome(answer.await?)
            }
            State::Idle(_) | State::Failed => Err(over()),
        }
    }

    /// Takes back what was written, and waits until the broker has let go of it. Dropping does the same without
    /// waiting.
    pub async fn abort(self) {
        if let State::Open { messages, answer } = self.state {
            drop(messages);
            // The broker reports the end without a commit as the caller's mistake; here it is what is wanted.
            if let Ok(response) = answer.await {
                tracing::debug!(status = response.status, "aborted append was answered");
            }
        }
    }

    async fn send(&mut self, message: wire::AppendRequest) -> Result<(), Error> {
        if let State::Idle(request) = &mut self.state {
            let (messages, receiver) = mpsc::channel(QUEUED_MESSAGES);
            let journal = request.journal.clone();
            // There is room: the channel is new.
            let _ = messages.try_send(Ok(std::mem::take(&mut **request)));
            let requests = Box::pin(stream::unfold(receiver, async |mut receiver| {
                receiver.recv().await.map(|message| (message, receiver))
            }));
            let answer = self.transport.append(&journal, requests);
            self.state = State::Open { messages, answer };
        }
        let State::Open { messages, answer } = &mut self.state else {
            return Err(over());
        };
        // The answer comes first: polling it is also what takes messages out of the queue.
        let early = tokio::select! {
            biased;
            early = &mut *answer => early,
            room = messages.reserve() => match room {
                Ok(room) => {
                    room.send(Ok(message));
                    return Ok(());
                }
                // The transport stopped taking messages; its answer says why.
                Err(_) => answer.as_mut().await,
            },
        };
        self.state = State::Failed;
        match outcome(early?) {
            Ok(_) => Err(Error::malformed(CALL, "it succeeded before the intent to commit was sent")),
            Err(error) => Err(error),
        }
    }
}

fn over() -> Error {
    Error::Invalid("this append failed before; begin another one".to_owned())
}

impl fmt::Debug for Appender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Idle(_) => "idle",
            State::Open { .. } => "open",
            State::Failed => "failed",
        };
        f.debug_struct("Appender").field("state", &state).finish_non_exhaustive()
    }
}
