//! The `List` RPC: the journals that a selector means, once, or again whenever they change.
//!
//! ```text
//!  ┌► snapshot: pages of journals ─► (watch) an empty message ─► wait until their number or newest revision differs ─┐
//!  └─────────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A snapshot is of one revision however long it takes to send: it holds a picture of the cluster, and no lock. A slow client
//! misses what lies between two snapshots, and nothing else.

pub(crate) mod select;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use courant_keyspace::Snapshot;
use courant_proto::id::ProcessId;
use courant_proto::selector::LabelSelector;
use courant_proto::validate::Validate;
use courant_proto::wire;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::journal_space::decode::Value;
use crate::journal_space::{Space, SpaceMirror};
use select::{Fingerprint, Selection};

/// Journals in one message: what keeps it small enough for the buffers that Gazette's clients pool.
const PAGE: usize = 25;

type Response = Result<wire::ListResponse, tonic::Status>;

/// Serves one request. The stream ends cleanly when `closing` is cancelled.
pub(crate) fn respond(
    mirror: SpaceMirror,
    me: ProcessId,
    closing: CancellationToken,
    request: wire::ListRequest,
) -> BoxStream<'static, Response> {
    match Listing::new(mirror, me, closing, request) {
        Err(refusal) => stream::once(async { Err(refusal) }).boxed(),
        Ok(listing) => stream::unfold(listing, |mut listing| async move {
            let response = listing.next().await?;
            Some((Ok(response), listing))
        })
        .boxed(),
    }
}

struct Listing {
    selection: Selection,
    watch: bool,
    me: ProcessId,
    mirror: SpaceMirror,
    news: watch::Receiver<Arc<Snapshot<Value>>>,
    closing: CancellationToken,
    stage: Stage,
}

enum Stage {
    /// Waits for a change above this revision, then sends a snapshot whatever the change was.
    Resuming {
        after: i64,
    },
    /// Sends what is left of a snapshot.
    Sending(Sending),
    /// The snapshot of this picture was sent; waits for another.
    Sent {
        space: Arc<Space>,
        fingerprint: Fingerprint,
    },
    Ended,
}

struct Sending {
    space: Arc<Space>,
    selected: select::Selected,
    sent: usize,
    begun: bool,
}

impl Listing {
    fn new(
        mirror: SpaceMirror,
        me: ProcessId,
        closing: CancellationToken,
        request: wire::ListRequest,
    ) -> Result<Self, tonic::Status> {
        request.validate()?;
        let selector = LabelSelector::try_from(request.selector.unwrap_or_default())?;
        let selection = Selection::new(&selector);
        // News from before the first picture is taken: nothing is missed between the two.
        let news = mirror.subscribe();
        let resume = request.watch_resume.and_then(|header| header.etcd).map(|etcd| etcd.revision);
        let stage = match resume.filter(|_| request.watch) {
            Some(after) => Stage::Resuming { after },
            None => Stage::Sending(Sending::new(mirror.snapshot(), &selection)),
        };
        Ok(Self { selection, watch: request.watch, me, mirror, news, closing, stage })
    }

    async fn next(&mut self) -> Option<wire::ListResponse> {
        loop {
            match &mut self.stage {
                Stage::Ended => return None,
                Stage::Resuming { after } => {
                    let space = self.mirror.snapshot();
                    if space.revision() > *after {
                        self.stage = Stage::Sending(Sending::new(space, &self.selection));
                    } else if !self.changed().await {
                        return None;
                    }
                }
                Stage::Sending(sending) => {
                    if let Some(page) = sending.page(&self.me) {
                        return Some(page);
                    }
                    if !self.watch {
                        self.stage = Stage::Ended;
                        return None;
                    }
                    let fingerprint = sending.selected.fingerprint();
                    self.stage = Stage::Sent { space: Arc::clone(&sending.space), fingerprint };
                    return Some(wire::ListResponse::default());
                }
                Stage::Sent { space, fingerprint } => {
                    let newer = self.mirror.snapshot();
                    if self.selection.may_differ(space, &newer) {
                        let sending = Sending::new(Arc::clone(&newer), &self.selection);
                        if sending.selected.fingerprint() != *fingerprint {
                            self.stage = Stage::Sending(sending);
                            continue;
                        }
                    }
                    *space = newer;
                    if !self.changed().await {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits for another picture. False: there will be none that anybody wants.
    async fn changed(&mut self) -> bool {
        let changed = tokio::select! {
            changed = self.news.changed() => changed.is_ok(),
            () = self.closing.cancelled() => false,
        };
        if !changed {
            self.stage = Stage::Ended;
        }
        changed
    }
}

impl Sending {
    fn new(space: Arc<Space>, selection: &Selection) -> Self {
        let selected = selection.select(&space);
        Self { space, selected, sent: 0, begun: false }
    }

    /// The next message. There is at least one, and only the first has a header.
    fn page(&mut self, me: &ProcessId) -> Option<wire::ListResponse> {
        let left = &self.selected.entries()[self.sent..];
        if self.begun && left.is_empty() {
            return None;
        }
        let header = (!self.begun).then(|| (&self.space.unrouted(me)).into());
        let page = &left[..left.len().min(PAGE)];
        let journals = page.iter().filter_map(|entry| select::describe(&self.space, entry)).collect();
        self.sent += page.len();
        self.begun = true;
        Some(wire::ListResponse { status: wire::Status::Ok.into(), header, journals })
    }
}
