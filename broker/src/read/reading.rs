//! A read that this broker serves: metadata and content in turn, as the plan says, across fragments that are damaged or gone while
//! others cover the same offsets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use courant_fragment::index::{Answer, Doubt, Hit, Source};
use courant_fragment::query::{Gap, Query};
use courant_fragment::store::Stores;
use courant_proto::fragment::Fragment;
use courant_proto::offset::{Offset, ReadFrom};
use courant_proto::status::Status;
use courant_proto::time::Timestamp;
use courant_proto::wire;
use tokio::time::{sleep, timeout};

use super::Chunks;
use super::ahead::{Ahead, Wanted};
use super::plan::{Found, Next, Plan};
use super::rpc::refresh;
use super::serve::{Fault, Serve};
use super::window::Window;
use crate::replica::Replica;
use crate::shared::Shared;

/// While a reader waits for content that is not here, the stores are listed this often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How long a read waits for the listing that may show what to read instead of an object that is damaged or gone.
const LISTING: Duration = Duration::from_secs(5);

/// How long a URL to a stored fragment is valid.
const URL_LIFE: Duration = Duration::from_secs(60);

pub(super) struct Reading {
    shared: Arc<Shared>,
    replica: Arc<Replica>,
    plan: Plan,
    /// Sent with the first response.
    header: Option<wire::Header>,
    /// What is served, and the fragment that it is of if that is stored.
    serve: Option<(Serve, Option<Fragment>)>,
    ending: bool,
    chunks: Chunks,
    window: Window,
    /// The fragments behind the one that is served, in order, as far as they are fetched already.
    ahead: VecDeque<Ahead>,
    /// What lies behind those cannot be fetched: it is not stored, or there is no room.
    is_all: bool,
    /// Where the stores were listed anew for want of an object that holds what it should.
    listed_for: Option<Offset>,
    /// An object that was not there, and since when that is known.
    missing: Option<(Fragment, Timestamp)>,
}

impl Reading {
    pub(super) fn new(
        shared: Arc<Shared>,
        replica: Arc<Replica>,
        plan: Plan,
        header: Option<wire::Header>,
        chunks: Chunks,
    ) -> Self {
        Self {
            shared,
            replica,
            plan,
            header,
            serve: None,
            ending: false,
            chunks,
            window: Window::default(),
            ahead: VecDeque::new(),
            is_all: false,
            listed_for: None,
            missing: None,
        }
    }

    /// The next response; none where the stream ends.
    pub(super) async fn next(&mut self) -> Result<Option<wire::ReadResponse>, tonic::Status> {
        if self.ending {
            return Ok(None);
        }
        if let Some(response) = self.content().await? {
            return Ok(Some(response));
        }
        if self.plan.is_done() {
            return Ok(None);
        }
        let replica = Arc::clone(&self.replica);
        loop {
            let changed = replica.index.listen();
            let query = Query { from: self.plan.from(), begin_mod_time: self.plan.begin_mod_time() };
            let answer = replica.index.query(&query, self.shared.clock.now());
            match self.plan.found(found(&answer)) {
                Next::Wait => {
                    if answer.closed {
                        return Ok(None);
                    }
                    // What lies below the head and is not here lies in a store: another member may have put it there.
                    let lacks = answer.offset < answer.write_head;
                    if lacks && replica.may_look_again(self.shared.clock.now(), LOOK_AGAIN) {
                        refresh(&self.shared, &replica.journal).await?;
                    }
                    tokio::select! {
                        () = changed => {}
                        () = sleep(LOOK_AGAIN), if lacks => {}
                        () = self.shared.closing.cancelled() => return Ok(None),
                    }
                }
                Next::DescribeAndEnd => {
                    self.ending = true;
                    self.count(answer.gap);
                    let url = answer_url(&self.shared.stores, &answer).await;
                    return Ok(Some(self.describe(&answer, url)));
                }
                Next::Describe { until } => {
                    let url = answer_url(&self.shared.stores, &answer).await;
                    let response = self.describe(&answer, url);
                    let (offset, gap) = (answer.offset, answer.gap);
                    let Some(Hit { fragment, source }) = answer.hit else { continue };
                    match self.open(source, &fragment, offset, until).await {
                        Ok(serve) => {
                            let stored = serve.as_ref().is_some_and(Serve::is_stored).then_some(fragment);
                            self.serve = serve.map(|serve| (serve, stored));
                            self.count(gap);
                            return Ok(Some(response));
                        }
                        Err(fault) => {
                            self.header = response.header;
                            self.instead(&fragment, offset, fault).await?;
                        }
                    }
                }
            }
        }
    }

    /// The next content of what is served; none if that was all of it, or if something else is to be served instead.
    async fn content(&mut self) -> Result<Option<wire::ReadResponse>, tonic::Status> {
        let Some((serve, stored)) = &mut self.serve else { return Ok(None) };
        match serve.next().await {
            Ok(Some((offset, content))) => {
                let length = content.len() as u64;
                self.plan.advanced(offset.plus(length).unwrap_or(Offset::MAX));
                if stored.is_some() {
                    self.window.took(length);
                    self.fetch_ahead();
                }
                Ok(Some(wire::ReadResponse { offset: offset.get(), content, ..Default::default() }))
            }
            Ok(None) => {
                self.serve = None;
                Ok(None)
            }
            Err(fault) => {
                let has_begun = serve.has_begun();
                let stored = stored.take();
                self.serve = None;
                let (Some(fragment), ReadFrom::At(offset)) = (stored, self.plan.from()) else {
                    return Err(fault.status(None, None));
                };
                if has_begun {
                    // What was sent of it may be wrong as well, and who has it must hear of that.
                    self.doubt(&fragment, &fault);
                    return Err(self.told(&fragment, fault));
                }
                self.instead(&fragment, offset, fault).await?;
                Ok(None)
            }
        }
    }

    /// Opens the content of a fragment from an offset on, up to another.
    async fn open(
        &mut self,
        source: Source,
        fragment: &Fragment,
        offset: Offset,
        until: Offset,
    ) -> Result<Option<Serve>, Fault> {
        self.is_all = false;
        let largest = self.chunks.largest;
        match source {
            Source::Memory(_) | Source::Local(..) => {
                self.ahead.clear();
                let remaining = until.distance_from(offset).unwrap_or(0);
                return Ok(Serve::local(source, offset, remaining, largest));
            }
            Source::Damaged => {
                self.ahead.clear();
                return Err(Fault::Known(damaged(fragment)));
            }
            Source::Remote => {}
        }
        match self.ahead.pop_front() {
            Some(ahead) if ahead.is(fragment, offset, until) => {
                return Ok(Some(Serve::fetched(ahead, offset, largest)));
            }
            // The index has changed, and so has what follows.
            _ => self.ahead.clear(),
        }
        let wanted = self.wanted(fragment, offset, until)?;
        Serve::stored(&wanted, largest).await.map(Some)
    }

    fn wanted(&self, fragment: &Fragment, from: Offset, until: Offset) -> Result<Wanted, Fault> {
        let Some(url) = &fragment.store else {
            return Err(Fault::Here(tonic::Status::internal("a stored fragment names no store")));
        };
        let store = self.shared.stores.get(url).map_err(Fault::Stored)?;
        Ok(Wanted { store, fragment: fragment.clone(), from, until })
    }

    /// Opens as many of the fragments that follow as the reader's window reaches.
    fn fetch_ahead(&mut self) {
        let Some((serve, Some(fragment))) = &mut self.serve else { return };
        let mut ahead = serve.remaining() + self.ahead.iter().map(Ahead::length).sum::<u64>();
        if self.is_all || !self.window.wants_more(0, self.ahead.len()) {
            return;
        }
        serve.hurry(&self.shared.read_ahead);
        let mut at = self.ahead.back().map_or(fragment.end, Ahead::until);
        while self.window.wants_more(ahead, self.ahead.len()) {
            let Some(next) = self.following(at) else {
                self.is_all = true;
                return;
            };
            ahead += next.length();
            at = next.until();
            self.ahead.push_back(next);
        }
    }

    /// Begins to fetch the fragment at an offset, if the reader comes there, it is stored, and there is room.
    fn following(&self, at: Offset) -> Option<Ahead> {
        let mut plan = self.plan;
        plan.advanced(at);
        if plan.is_done() {
            return None;
        }
        let query = Query { from: ReadFrom::At(at), begin_mod_time: plan.begin_mod_time() };
        let answer = self.replica.index.query(&query, self.shared.clock.now());
        let Next::Describe { until } = plan.found(found(&answer)) else { return None };
        let Some(Hit { fragment, source: Source::Remote }) = answer.hit else { return None };
        let wanted = self.wanted(&fragment, answer.offset, until).ok()?;
        Ahead::open(&self.shared.read_ahead, wanted)
    }

    /// Sees to it that the next query finds something else over the offset than an object that is damaged or gone. Fails if
    /// that was tried before.
    async fn instead(
        &mut self,
        fragment: &Fragment,
        offset: Offset,
        fault: Fault,
    ) -> Result<(), tonic::Status> {
        let index = Arc::clone(&self.replica.index);
        let listings = index.listings();
        let may_help = match &fault {
            // Somebody may have mended it, or put something beside it.
            Fault::Known(_) => self.replica.may_look_again(self.shared.clock.now(), LOOK_AGAIN),
            fault => self.doubt(fragment, fault),
        };
        if !may_help || self.listed_for == Some(offset) {
            return Err(self.told(fragment, fault));
        }
        self.listed_for = Some(offset);
        tracing::warn!(
            journal = %self.replica.journal, %offset, fragment = %fragment.content_path(),
            "looking for other fragments over the offset"
        );
        refresh(&self.shared, &self.replica.journal).await?;
        let listed = async {
            loop {
                let changed = index.listen();
                if index.listings() > listings || index.is_closed() {
                    return;
                }
                changed.await;
            }
        };
        // Without it, what is known of has to do.
        let _ = timeout(LISTING, listed).await;
        Ok(())
    }

    /// Notes that an object is damaged or gone. False if something else is wrong.
    fn doubt(&mut self, fragment: &Fragment, fault: &Fault) -> bool {
        let Some(doubt) = fault.doubt() else { return false };
        let now = self.shared.clock.now();
        self.replica.index.doubt(fragment, doubt, now);
        if doubt == Doubt::Missing && self.missing.as_ref().is_none_or(|(known, _)| known != fragment) {
            self.missing = Some((fragment.clone(), now));
        }
        true
    }

    /// What the reader is told of a fragment that cannot be served.
    fn told(&self, fragment: &Fragment, fault: Fault) -> tonic::Status {
        let missing = self.missing.as_ref().filter(|(missing, _)| missing == fragment);
        fault.status(missing.map(|(_, since)| *since), self.replica.index.listed_at())
    }

    /// Counts what the reader is told that it was moved over.
    fn count(&self, gap: Option<Gap>) {
        if let Some(gap) = gap {
            self.shared.metrics.skipped(gap.end.distance_from(gap.begin).unwrap_or_default());
        }
    }

    /// The metadata message of what the index answered, with a URL to the fragment.
    fn describe(&mut self, answer: &Answer, fragment_url: String) -> wire::ReadResponse {
        let fragment = answer.hit.as_ref().map(|hit| &hit.fragment);
        let status = if fragment.is_some() { Status::Ok } else { Status::OffsetNotYetAvailable };
        wire::ReadResponse {
            status: status as i32,
            header: self.header.take(),
            offset: answer.offset.get(),
            write_head: answer.write_head.get(),
            fragment_url,
            fragment: fragment.map(Into::into),
            ..Default::default()
        }
    }
}

/// A URL to the fragment that the index answered with; none if it is not stored, or cannot be signed for.
async fn answer_url(stores: &Stores, answer: &Answer) -> String {
    let stored = answer.hit.as_ref().map(|hit| &hit.fragment).filter(|fragment| fragment.mod_time != 0);
    let Some((fragment, url)) = stored.and_then(|fragment| Some((fragment, fragment.store.as_ref()?))) else {
        return String::new();
    };
    let signed = match stores.get(url) {
        Ok(store) => store.signed_url(fragment, URL_LIFE).await,
        Err(error) => Err(error),
    };
    signed.unwrap_or_else(|error| {
        tracing::warn!(fragment = %fragment.content_path(), %error, "cannot sign a URL");
        String::new()
    })
}

/// What a reader is told of an object that is known to be damaged.
fn damaged(fragment: &Fragment) -> tonic::Status {
    let store = fragment.store.as_ref().map(ToString::to_string).unwrap_or_default();
    tonic::Status::data_loss(format!(
        "data loss: {} in {store} was found damaged, and nothing else has its content; put back what its name promises, or remove it",
        fragment.content_path()
    ))
}

fn found(answer: &Answer) -> Found {
    match &answer.hit {
        None => Found {
            status: Status::OffsetNotYetAvailable,
            offset: answer.offset,
            fragment_end: answer.offset,
            remote: false,
        },
        Some(hit) => Found {
            status: Status::Ok,
            offset: answer.offset,
            fragment_end: hit.fragment.end,
            remote: matches!(hit.source, Source::Remote),
        },
    }
}
