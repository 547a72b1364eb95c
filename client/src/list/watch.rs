//! A listing that is followed: reconnects, resumes where it was, and says what changed.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use courant_proto::wire;
use futures::stream::{Stream, StreamExt as _};
use rand::rngs::SmallRng;
use tokio::time::{Instant, Sleep};

use super::snapshot::Assembly;
use super::{CALL, Listing};
use crate::transport::Answers;
use crate::{Client, Error, backoff};

/// The journals of a watch, by their names.
pub type Journals = BTreeMap<String, wire::list_response::Journal>;

/// A change of the journals that a watch follows.
#[derive(Clone, Debug)]
pub struct Change {
    /// The revision of the registry that shows it.
    pub revision: i64,
    /// All journals, as they are now.
    pub journals: Arc<Journals>,
    /// The names of those that are new, or have another spec, revision or route than before, in order.
    pub upserted: Vec<String>,
    /// The names of those that are no more, in order.
    pub removed: Vec<String>,
}

/// Follows the journals that a selector matches. See [`Client::watch`].
///
/// The first item holds all of them; each further one comes with a change of their number or of a spec. Changes
/// of routes alone are not told. An error is an item, handed out once the watch has failed for as long as the
/// client's [`Options::retry_for`](crate::Options::retry_for); polled again, the watch goes on trying. It never
/// ends by itself.
pub struct Watch {
    client: Client,
    selector: wire::LabelSelector,
    state: State,
    /// Of the last complete listing.
    resume: Option<wire::Header>,
    journals: Arc<Journals>,
    failures: u32,
    failing_since: Option<Instant>,
    rng: SmallRng,
}

enum State {
    Idle,
    Pausing(Pin<Box<Sleep>>),
    Listening { answers: Answers<wire::ListResponse>, assembly: Assembly },
}

impl Watch {
    pub(super) fn new(client: Client, selector: wire::LabelSelector) -> Self {
        let rng = client.rng();
        Self {
            client,
            selector,
            state: State::Idle,
            resume: None,
            journals: Arc::default(),
            failures: 0,
            failing_since: None,
            rng,
        }
    }

    fn request(&self) -> wire::ListRequest {
        wire::ListRequest {
            selector: Some(self.selector.clone()),
            watch: true,
            watch_resume: self.resume.clone(),
        }
    }

    /// Pauses after a failure. Gives the error back if it has lasted too long to go on in silence.
    fn fail(&mut self, error: Error) -> Option<Error> {
        let now = Instant::now();
        let since = *self.failing_since.get_or_insert(now);
        let patient = now.duration_since(since) < self.client.options.retry_for;
        let pause = backoff::pause(self.failures, &mut self.rng);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Pausing(Box::pin(tokio::time::sleep(pause)));
        if patient {
            tracing::debug!(failures = self.failures, %error, "watch is tried again");
            return None;
        }
        self.failing_since = None;
        Some(error)
    }

    fn accept(&mut self, listing: Listing) -> Result<Change, Error> {
        let revision = listing.revision();
        let before =
            self.resume.as_ref().and_then(|header| header.etcd.as_ref()).map_or(0, |etcd| etcd.revision);
        if revision <= before {
            let reason = format!("its revision is {revision}, expected more than {before}");
            return Err(Error::malformed(CALL, reason));
        }
        let now: Journals = listing
            .journals
            .into_iter()
            .map(|journal| (journal.spec.as_ref().map(|spec| spec.name.clone()).unwrap_or_default(), journal))
            .collect();
        let upserted = now
            .iter()
            .filter(|(name, journal)| self.journals.get(*name) != Some(*journal))
            .map(|(n, _)| n.clone());
        let removed = self.journals.keys().filter(|name| !now.contains_key(*name)).cloned();
        let (upserted, removed) = (upserted.collect(), removed.collect());
        self.journals = Arc::new(now);
        self.resume = Some(listing.header);
        self.failures = 0;
        self.failing_since = None;
        Ok(Change { revision, journals: Arc::clone(&self.journals), upserted, removed })
    }
}

impl Stream for Watch {
    type Item = Result<Change, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let failed = match &mut this.state {
                State::Pausing(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    this.state = State::Idle;
                    continue;
                }
                State::Idle => {
                    let answers = this.client.transport.list(this.request());
                    this.state = State::Listening { answers, assembly: Assembly::default() };
                    continue;
                }
                State::Listening { answers, assembly } => match ready!(answers.poll_next_unpin(cx)) {
                    Some(Ok(message)) => match assembly.accept(message) {
                        Ok(None) => continue,
                        Ok(Some(listing)) => match this.accept(listing) {
                            Ok(change) => return Poll::Ready(Some(Ok(change))),
                            Err(error) => error,
                        },
                        Err(error) => error,
                    },
                    Some(Err(status)) => status.into(),
                    None => Error::from(tonic::Status::unavailable("the broker ended the watch")),
                },
            };
            if let Some(error) = this.fail(failed) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("journals", &self.journals.len())
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}
