//! A journal as one stream across many `Read` calls: what is lost on the way is asked for again.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use courant_proto::wire;
use futures::stream::{FusedStream, Stream, StreamExt as _};
use rand::rngs::SmallRng;
use tokio::time::{Instant, Sleep};

use super::{ReadEvent, ReadStream};
use crate::{Client, Error, backoff};

/// A journal that was not found is asked for this often, for it may be that a broker has not heard of it yet.
const TRIES_TO_FIND: u32 = 5;

/// Reads a journal, on and on. See [`Client::reader`].
///
/// An error is an item; polled again, the reader tries again, after a pause that grows with the errors in a
/// row. What is handed out at once:
///
/// - `OFFSET_NOT_YET_AVAILABLE`, of a reader that does not block: the journal's end was reached. A replica that came late may lack
///   what lies before that; then another one is asked;
/// - `SUSPENDED` and `NOT_ALLOWED`, which do not pass by themselves;
/// - `JOURNAL_NOT_FOUND` with the fifth failure in a row, or with the first if the request carries a header.
///
/// Everything else is tried again in silence for as long as the client's
/// [`Options::retry_for`](crate::Options::retry_for), and then handed out as well.
///
/// The stream ends when `end_offset` was reached, or after the first metadata if nothing else was asked for.
/// Content of fragments is always read through brokers, so `do_not_proxy` of the request is not heeded.
pub struct Reader {
    client: Client,
    /// As the next call will be made: the offset advances.
    request: wire::ReadRequest,
    state: State,
    /// Failures since there was progress.
    failures: u32,
    /// When the first of them was.
    failing_since: Option<Instant>,
    rng: SmallRng,
}

enum State {
    Idle,
    Pausing(Pin<Box<Sleep>>),
    Reading {
        stream: ReadStream,
        /// Whether this call yielded content or skipped some.
        progressed: bool,
        /// Whether it yielded anything.
        answered: bool,
    },
    Ended,
}

impl Reader {
    pub(crate) fn new(client: Client, mut request: wire::ReadRequest) -> Self {
        request.do_not_proxy = false;
        let rng = client.rng();
        Self { client, request, state: State::Idle, failures: 0, failing_since: None, rng }
    }

    /// Of the next byte; -1 while it is the head and was not resolved.
    pub fn offset(&self) -> i64 {
        self.request.offset
    }

    /// Whether the reader waits at the journal's end for what is appended. Takes effect with the next call:
    /// a reader that was told of the end waits there when it is polled again.
    pub fn set_block(&mut self, block: bool) {
        self.request.block = block;
    }

    fn is_at_end(&self) -> bool {
        self.request.end_offset != 0 && self.request.offset >= self.request.end_offset
    }

    /// Notes a failure and pauses. Gives the error back if it is to be handed out.
    fn fail(&mut self, error: Option<Error>) -> Option<Error> {
        let now = Instant::now();
        let since = *self.failing_since.get_or_insert(now);
        let patient = now.duration_since(since) < self.client.options.retry_for;
        self.failures = self.failures.saturating_add(1);
        let pause = backoff::pause(self.failures - 1, &mut self.rng);
        self.state = State::Pausing(Box::pin(tokio::time::sleep(pause)));

        let error = error?;
        if patient && !self.is_final(&error) {
            tracing::debug!(
                journal = self.request.journal,
                offset = self.request.offset,
                failures = self.failures,
                %error,
                "read is tried again"
            );
            return None;
        }
        // Whoever polls again has patience again.
        self.failing_since = None;
        Some(error)
    }

    /// Whether the error is handed out without trying again.
    fn is_final(&self, error: &Error) -> bool {
        match error.status() {
            // Before the end, content is missing where it was asked for, and another replica may have it.
            Some(wire::Status::OffsetNotYetAvailable) => {
                let is_end = error.refusal().is_none_or(|refusal| refusal.offset >= refusal.write_head);
                is_end && !self.request.block
            }
            Some(wire::Status::Suspended | wire::Status::NotAllowed) => true,
            Some(wire::Status::JournalNotFound) => {
                self.request.header.is_some() || self.failures >= TRIES_TO_FIND
            }
            _ => false,
        }
    }

    fn progress(&mut self) {
        self.failures = 0;
        self.failing_since = None;
    }
}

impl Stream for Reader {
    type Item = Result<ReadEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let at_end = this.is_at_end();
            match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::Pausing(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    this.state = State::Idle;
                }
                State::Idle if at_end => this.state = State::Ended,
                State::Idle => {
                    let stream = this.client.read(this.request.clone());
                    this.state = State::Reading { stream, progressed: false, answered: false };
                }
                State::Reading { stream, progressed, answered } => match ready!(stream.poll_next_unpin(cx)) {
                    Some(Ok(event)) => {
                        *answered = true;
                        let progress = stream.offset() != this.request.offset;
                        *progressed |= progress;
                        this.request.offset = stream.offset();
                        if stream.is_at_end() {
                            this.state = State::Ended;
                        }
                        if progress {
                            this.progress();
                        }
                        return Poll::Ready(Some(Ok(event)));
                    }
                    Some(Err(error)) => {
                        if let Some(error) = this.fail(Some(error)) {
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                    None if this.request.metadata_only && *answered => this.state = State::Ended,
                    // A broker ends a call when it has to, and the next one goes on at once. One that ends
                    // calls without a byte is not asked in a tight loop.
                    None if *progressed => this.state = State::Idle,
                    None => {
                        this.fail(None);
                    }
                },
            }
        }
    }
}

impl FusedStream for Reader {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Ended)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("journal", &self.request.journal)
            .field("offset", &self.request.offset)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}
