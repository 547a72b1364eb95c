//! One `Read` call as a stream. Repeats nothing.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use courant_proto::wire;
use futures::stream::{FusedStream, Stream, StreamExt as _};

use super::ReadEvent;
use super::cursor::Cursor;
use crate::transport::Answers;
use crate::{Client, Error};

/// The events of one `Read` call. It ends where the broker ends it, or after an error.
pub struct ReadStream {
    cursor: Cursor,
    /// None once it ended.
    answers: Option<Answers<wire::ReadResponse>>,
}

impl ReadStream {
    pub(crate) fn open(client: &Client, request: wire::ReadRequest) -> Self {
        Self { cursor: Cursor::new(&request), answers: Some(client.transport.read(request)) }
    }

    /// Of the next byte; -1 while it is the head and was not resolved.
    pub fn offset(&self) -> i64 {
        self.cursor.offset()
    }
}

impl Stream for ReadStream {
    type Item = Result<ReadEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(answers) = &mut self.answers else {
                return Poll::Ready(None);
            };
            let event = match ready!(answers.poll_next_unpin(cx)) {
                Some(Ok(response)) => self.cursor.accept(response),
                Some(Err(status)) => Err(status.into()),
                None => {
                    self.answers = None;
                    return Poll::Ready(None);
                }
            };
            match event {
                Ok(None) => {}
                Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Err(error) => {
                    self.answers = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl FusedStream for ReadStream {
    fn is_terminated(&self) -> bool {
        self.answers.is_none()
    }
}

impl fmt::Debug for ReadStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadStream").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}
