//! `etcdserverpb.Watch`: one stream, any number of watchers.
//!
//! The stream has no task and no queue of events: it looks into the history when its client takes the next
//! response, and waits for the watermark when there is nothing new. A slow client costs a cursor.

use std::collections::VecDeque;

use etcd_client::proto::{PbWatchRequest, PbWatchRequestUnion, PbWatchResponse, PbWatchService};
use futures::FutureExt;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::{Responses, Service};
use crate::engine::Watermark;
use crate::watch::{Create, Watchers};

#[tonic::async_trait]
impl PbWatchService for Service {
    type WatchStream = Responses<PbWatchResponse>;

    async fn watch(
        &self,
        request: Request<Streaming<PbWatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let session = Session {
            watermark: self.engine.subscribe(),
            requests: request.into_inner(),
            watchers: Watchers::default(),
            answers: VecDeque::new(),
            progress_asked: false,
            quiet_at: Instant::now() + self.engine.config.progress_interval,
            service: self.clone(),
        };
        let responses = futures::stream::try_unfold(session, |mut session| async move {
            let response = session.next().await?;
            Ok(response.map(|response| (response, session)))
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

struct Session {
    service: Service,
    watermark: watch::Receiver<Watermark>,
    requests: Streaming<PbWatchRequest>,
    watchers: Watchers,
    /// Answers that are due before anything else. No request is taken while one is left, so there are few.
    answers: VecDeque<PbWatchResponse>,
    /// The client wants to know how far we are.
    progress_asked: bool,
    /// When quiet watchers are next told how far they are.
    quiet_at: Instant,
}

impl Session {
    /// The next response, or nothing once the client has hung up.
    async fn next(&mut self) -> Result<Option<PbWatchResponse>, Status> {
        let engine = std::sync::Arc::clone(&self.service.engine);
        loop {
            if let Some(mut answer) = self.answers.pop_front() {
                let revision = answer.header.map_or(0, |header| header.revision);
                answer.header = Some(engine.peek(|state| state.header_at(revision)));
                return Ok(Some(answer));
            }
            // A stream of events must not keep a cancellation waiting.
            if let Some(request) = self.requests.message().now_or_never() {
                let Some(request) = request? else { return Ok(None) };
                self.take(request);
                continue;
            }
            let (revision, ended) = {
                let mark = self.watermark.borrow_and_update();
                (mark.revision, mark.ended.clone())
            };
            if let Some(response) = engine.peek(|state| self.watchers.next(state.store(), revision)) {
                self.answers.push_back(response);
                continue;
            }
            if std::mem::take(&mut self.progress_asked) {
                self.answers.push_back(Watchers::progress(revision));
                continue;
            }
            if Instant::now() >= self.quiet_at {
                self.quiet_at = Instant::now() + engine.config.progress_interval;
                self.answers.extend(self.watchers.quiet(revision));
                continue;
            }
            if let Some(reason) = ended {
                return Err(Status::unavailable(&*reason));
            }
            tokio::select! {
                request = self.requests.message() => {
                    let Some(request) = request? else { return Ok(None) };
                    self.take(request);
                }
                changed = self.watermark.changed() => {
                    if changed.is_err() {
                        return Ok(None);
                    }
                }
                () = tokio::time::sleep_until(self.quiet_at) => {}
            }
        }
    }

    fn take(&mut self, request: PbWatchRequest) {
        let revision = self.watermark.borrow().revision;
        match request.request_union {
            Some(PbWatchRequestUnion::CreateRequest(create)) => {
                let create = Create {
                    no_put: create.filters.contains(&0),
                    no_delete: create.filters.contains(&1),
                    key: create.key,
                    range_end: create.range_end,
                    start_revision: create.start_revision,
                    progress_notify: create.progress_notify,
                    prev_kv: create.prev_kv,
                    watch_id: create.watch_id,
                    fragment: create.fragment,
                };
                self.answers.push_back(self.watchers.create(create, revision));
            }
            Some(PbWatchRequestUnion::CancelRequest(cancel)) => {
                self.answers.extend(self.watchers.cancel(cancel.watch_id, revision));
            }
            Some(PbWatchRequestUnion::ProgressRequest(_)) => self.progress_asked = true,
            None => {}
        }
    }
}
