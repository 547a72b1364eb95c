//! The `Read` RPC: resolve, then metadata and content in turn, as the plan says.

use std::sync::Arc;
use std::time::Duration;

use courant_fragment::index::{Answer, Hit, Source};
use courant_fragment::query::Query;
use courant_fragment::store::Stores;
use courant_proto::name::{JournalName, RequestName};
use courant_proto::offset::{Offset, ReadFrom};
use courant_proto::status::Status;
use courant_proto::validate::Validate;
use courant_proto::wire;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::time::{sleep, timeout};

use super::Chunks;
use super::plan::{Found, Next, Plan, Request};
use super::proxy::Passing;
use super::serve::{Serve, unreadable};
use crate::core::command::Command;
use crate::replica::Replica;
use crate::shared::{Shared, Wants};

/// How long a read waits for the first listing of a journal's stores. After that it answers from what is here.
const FIRST_LISTING: Duration = Duration::from_secs(5);

/// While a reader waits for content that is not here, the stores are listed this often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How long a URL to a stored fragment is valid.
const URL_LIFE: Duration = Duration::from_secs(60);

type Response = Result<wire::ReadResponse, tonic::Status>;

/// Serves one read. The stream ends cleanly when the journal moves away or the broker stops.
pub(crate) fn read(
    shared: Arc<Shared>,
    request: wire::ReadRequest,
    chunks: Chunks,
) -> BoxStream<'static, Response> {
    stream::unfold(State::Asked { shared, request: Box::new(request), chunks }, |state| async move {
        let (response, next) = state.step().await?;
        Some((response, next))
    })
    .boxed()
}

enum State {
    Asked { shared: Arc<Shared>, request: Box<wire::ReadRequest>, chunks: Chunks },
    Reading(Box<Reading>),
    Passing(Box<Passing>),
    Ended,
}

impl State {
    async fn step(self) -> Option<(Response, Self)> {
        match self {
            Self::Ended => None,
            Self::Asked { shared, request, chunks } => match Reading::open(shared, *request, chunks).await {
                Err(fault) => Some((Err(fault), Self::Ended)),
                Ok(Opened::Refused(response)) => Some((Ok(*response), Self::Ended)),
                Ok(Opened::Reading(reading)) => reading.next().await,
                Ok(Opened::Passing(passing)) => pass(passing).await,
            },
            Self::Reading(reading) => reading.next().await,
            Self::Passing(passing) => pass(passing).await,
        }
    }
}

async fn pass(mut passing: Box<Passing>) -> Option<(Response, State)> {
    match passing.next().await {
        Ok(Some(response)) => Some((Ok(response), State::Passing(passing))),
        Ok(None) => None,
        Err(fault) => Some((Err(fault), State::Ended)),
    }
}

enum Opened {
    Refused(Box<wire::ReadResponse>),
    Reading(Box<Reading>),
    Passing(Box<Passing>),
}

struct Reading {
    shared: Arc<Shared>,
    replica: Arc<Replica>,
    plan: Plan,
    /// Sent with the first response.
    header: Option<wire::Header>,
    serve: Option<Serve>,
    ending: bool,
    chunks: Chunks,
}

impl Reading {
    async fn open(
        shared: Arc<Shared>,
        request: wire::ReadRequest,
        chunks: Chunks,
    ) -> Result<Opened, tonic::Status> {
        request.validate()?;
        let name = RequestName::parse(&request.journal)?;
        let wants = Wants {
            may_proxy: !request.do_not_proxy,
            primary: false,
            create: false,
            settles: true,
            min_revision: request.min_etcd_revision,
            header: request.header.as_ref(),
        };
        let located = shared.locate(&name.name, &wants).await?;
        if !located.targets.is_empty() {
            let header = Some((&located.resolution.header).into());
            let request = wire::ReadRequest { header, ..request };
            let passing = Passing::new(shared, name.name, request, located.targets);
            return Ok(Opened::Passing(Box::new(passing)));
        }
        let refuse = |status: Status| {
            Opened::Refused(Box::new(wire::ReadResponse {
                status: status as i32,
                header: Some((&located.resolution.header).into()),
                ..Default::default()
            }))
        };
        let (Status::Ok, Some(replica)) = (located.resolution.status, &located.replica) else {
            return Ok(refuse(located.resolution.status));
        };
        if !replica.spec().flags.may_read() {
            return Ok(refuse(Status::NotAllowed));
        }
        let replica = Arc::clone(replica);
        listed(&shared, &replica).await?;
        let plan = Plan::new(Request {
            from: Offset::new(request.offset).map_or(ReadFrom::WriteHead, ReadFrom::At),
            block: request.block,
            metadata_only: request.metadata_only,
            do_not_proxy: request.do_not_proxy,
            end_offset: Offset::new(request.end_offset).filter(|end| *end != Offset::ZERO),
            begin_mod_time: request.begin_mod_time,
        });
        let header = Some((&located.resolution.header).into());
        Ok(Opened::Reading(Box::new(Self {
            shared,
            replica,
            plan,
            header,
            serve: None,
            ending: false,
            chunks,
        })))
    }

    async fn next(mut self: Box<Self>) -> Option<(Response, State)> {
        if self.ending {
            return None;
        }
        match self.respond().await {
            Ok(Some(response)) => Some((Ok(response), State::Reading(self))),
            Ok(None) => None,
            Err(fault) => Some((Err(fault), State::Ended)),
        }
    }

    async fn respond(&mut self) -> Result<Option<wire::ReadResponse>, tonic::Status> {
        if let Some(serve) = &mut self.serve {
            if let Some((offset, content)) = serve.next().await? {
                self.plan.advanced(offset.plus(content.len() as u64).unwrap_or(Offset::MAX));
                return Ok(Some(wire::ReadResponse { offset: offset.get(), content, ..Default::default() }));
            }
            self.serve = None;
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
                    let url = answer_url(&self.shared.stores, &answer).await;
                    return Ok(Some(self.describe(&answer, url)));
                }
                Next::Describe { until } => {
                    let stores = Arc::clone(&self.shared.stores);
                    let url = answer_url(&stores, &answer).await;
                    let response = self.describe(&answer, url);
                    self.serve = open(&stores, answer, until, self.chunks.largest).await?;
                    return Ok(Some(response));
                }
            }
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

/// The content of what the index answered, up to an offset.
async fn open(
    stores: &Stores,
    answer: Answer,
    until: Offset,
    largest: usize,
) -> Result<Option<Serve>, tonic::Status> {
    let Some(Hit { fragment, source }) = answer.hit else { return Ok(None) };
    let remaining = until.distance_from(answer.offset).unwrap_or(0);
    if !matches!(source, Source::Remote) {
        return Ok(Serve::local(source, answer.offset, remaining, largest));
    }
    let Some(url) = &fragment.store else {
        return Err(tonic::Status::internal("a stored fragment names no store"));
    };
    let store = stores.get(url).map_err(|error| unreadable(&error))?;
    Serve::stored(store, &fragment, answer.offset, remaining, largest).await.map(Some)
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

/// Waits, within a bound, until the stores of the journal were listed once: a journal that was held before would seem shorter than it
/// is.
async fn listed(shared: &Shared, replica: &Replica) -> Result<(), tonic::Status> {
    if replica.index.is_refreshed() {
        return Ok(());
    }
    refresh(shared, &replica.journal).await?;
    // Past the bound the journal is served from what is known of it: reading must not depend on every store.
    let _ = timeout(FIRST_LISTING, replica.index.refreshed()).await;
    Ok(())
}

/// Asks the owning core to list the stores of a journal.
pub(crate) async fn refresh(shared: &Shared, journal: &JournalName) -> Result<(), tonic::Status> {
    shared.cores.send(journal, Command::Refresh { journal: journal.clone() }).await
}
