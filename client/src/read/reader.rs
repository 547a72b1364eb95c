//! A journal as one stream across many `Read` calls: what is lost on the way is asked for again.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use courant_proto::fragment::Fragment;
use courant_proto::offset::Offset;
use courant_proto::wire;
use futures::stream::{FusedStream, Stream, StreamExt as _};
use rand::rngs::SmallRng;
use tokio::time::{Instant, Sleep};

use super::cursor::Cursor;
use super::{ReadEvent, ReadStream};
use crate::direct::{Fault, Fetch, Wanted};
use crate::{Client, Direct, Error, backoff};

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
/// - lost data: an object in a store does not hold what it should. What was handed out of that fragment before may be wrong as well;
/// - `JOURNAL_NOT_FOUND` with the fifth failure in a row, or with the first if the request carries a header.
///
/// Everything else is tried again in silence for as long as the client's
/// [`Options::retry_for`](crate::Options::retry_for), and then handed out as well.
///
/// The stream ends when `end_offset` was reached, or after the first metadata if nothing else was asked for.
/// Content of fragments is read through brokers, unless the reader is a [direct](Self::direct) one; `do_not_proxy` of the request is
/// not heeded.
pub struct Reader {
    client: Client,
    /// As the next call will be made: the offset advances.
    request: wire::ReadRequest,
    state: State,
    detour: Option<Detour>,
    /// Failures since there was progress.
    failures: u32,
    /// When the first of them was.
    failing_since: Option<Instant>,
    rng: SmallRng,
}

/// How fragments are fetched past brokers.
struct Detour {
    direct: Direct,
    /// Up to here they are not.
    not_before: i64,
    /// Where a URL was refused last.
    refused_at: Option<i64>,
    /// The fragment that the last metadata told of, and its URL.
    next: Option<(wire::Fragment, String)>,
}

enum State {
    Idle,
    Fetching {
        fetch: Fetch,
        cursor: Cursor,
        store: String,
        /// Where the fragment begins and ends, and what it is called.
        fragment: Box<Fragment>,
        has_begun: bool,
    },
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
        Self { client, request, state: State::Idle, detour: None, failures: 0, failing_since: None, rng }
    }

    /// The same reader, which fetches stored fragments from their stores and asks brokers only where they are. What cannot be fetched
    /// so is read through brokers.
    #[must_use]
    pub fn direct(mut self, direct: &Direct) -> Self {
        let direct = direct.clone();
        self.detour = Some(Detour { direct, not_before: 0, refused_at: None, next: None });
        self
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
            // Asked for from here on, the journal might go on as if nothing had been.
            None if matches!(error, Error::Rpc(status) if status.code() == tonic::Code::DataLoss) => true,
            Some(wire::Status::JournalNotFound) => {
                self.request.header.is_some() || self.failures >= TRIES_TO_FIND
            }
            _ => false,
        }
    }

    /// The next call: its broker is to serve what is stored, or not to.
    fn next_call(&mut self) -> wire::ReadRequest {
        let mut request = self.request.clone();
        if let Some(detour) = &mut self.detour {
            detour.next = None;
            if request.offset < detour.not_before {
                // Only so far, and directly again from there on.
                let end = detour.not_before;
                request.end_offset = if request.end_offset == 0 { end } else { request.end_offset.min(end) };
            } else {
                request.do_not_proxy = true;
            }
        }
        request
    }

    /// The broker ended a call. Begins to fetch the fragment that it told of and did not serve, if there is one.
    fn begin_fetch(&mut self) -> bool {
        let Some(detour) = &mut self.detour else { return false };
        let Some((fragment, url)) = detour.next.take() else { return false };
        let at = self.request.offset;
        if url.is_empty() || at < fragment.begin || at >= fragment.end || at < detour.not_before {
            return false;
        }
        let end = fragment.end;
        let wanted_end = if self.request.end_offset == 0 { end } else { self.request.end_offset.min(end) };
        let span = Offset::new(at).zip(Offset::new(wanted_end));
        let place = detour.direct.place(&url);
        let (Some(place), Ok(fragment), Some((from, until))) = (place, Fragment::try_from(fragment), span)
        else {
            detour.not_before = end;
            self.state = State::Idle;
            return true;
        };
        let store = place.store().to_owned();
        let cursor = Cursor::placed(&self.request);
        let wanted = Wanted { place, fragment: fragment.clone(), from, until };
        let fetch = Fetch::begin(&detour.direct, wanted);
        self.state = State::Fetching { fetch, cursor, store, fragment: Box::new(fragment), has_begun: false };
        true
    }

    /// A fetch failed. Gives the error if it is to be handed out; otherwise a broker is asked.
    fn fetch_failed(&mut self, fault: Fault) -> Option<Error> {
        let state = std::mem::replace(&mut self.state, State::Idle);
        let State::Fetching { store, fragment, has_begun, .. } = state else { return None };
        let detour = self.detour.as_mut()?;
        let at = self.request.offset;
        match fault {
            // A URL is valid for a minute, and there may be a new one.
            Fault::Refused(status)
                if status != reqwest::StatusCode::NOT_FOUND && detour.refused_at != Some(at) =>
            {
                detour.refused_at = Some(at);
            }
            Fault::Refused(status) => {
                tracing::warn!(fragment = %*fragment, store, %status, "a fragment is read through brokers");
                detour.not_before = fragment.end.get();
            }
            Fault::Store(reason) => {
                detour.direct.shun(&store, &reason);
                detour.not_before = fragment.end.get();
            }
            // A broker may know of another object with the same content, and checks what it sends.
            Fault::Damaged(reason) if !has_begun => {
                tracing::warn!(fragment = %*fragment, store, reason, "a damaged fragment is read through brokers");
                detour.not_before = fragment.end.get();
            }
            Fault::Damaged(reason) => {
                let lost = tonic::Status::data_loss(format!(
                    "data loss: {fragment} at {store} does not hold the content that its name promises: {reason}"
                ));
                detour.not_before = fragment.end.get();
                return self.fail(Some(lost.into()));
            }
        }
        None
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
                    let call = this.next_call();
                    let stream = this.client.read(call);
                    this.state = State::Reading { stream, progressed: false, answered: false };
                }
                State::Fetching { fetch, cursor, has_begun, .. } => match ready!(fetch.poll_next(cx)) {
                    Some(Ok(content)) => {
                        *has_begun = true;
                        let event = cursor.take(content);
                        this.request.offset = cursor.offset();
                        this.progress();
                        if let Some(event) = event.transpose() {
                            return Poll::Ready(Some(event));
                        }
                    }
                    Some(Err(fault)) => {
                        if let Some(error) = this.fetch_failed(fault) {
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                    None => this.state = State::Idle,
                },
                State::Reading { stream, progressed, answered } => match ready!(stream.poll_next_unpin(cx)) {
                    Some(Ok(event)) => {
                        *answered = true;
                        if let (Some(detour), ReadEvent::Metadata(metadata)) = (&mut this.detour, &event) {
                            detour.next = metadata.fragment.clone().zip(Some(metadata.fragment_url.clone()));
                        }
                        let progress = stream.offset() != this.request.offset;
                        *progressed |= progress;
                        this.request.offset = stream.offset();
                        if this.is_at_end() {
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
                    None => {
                        let (progressed, answered) = (*progressed, *answered);
                        if this.request.metadata_only && answered {
                            this.state = State::Ended;
                        } else if this.begin_fetch() {
                            // It goes on with what the broker told of.
                        } else if progressed {
                            // A broker ends a call when it has to, and the next one goes on at once.
                            this.state = State::Idle;
                        } else {
                            // One that ends calls without a byte is not asked in a tight loop.
                            this.fail(None);
                        }
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
