//! The `Read` RPC: resolve, then serve it, pass it on, or refuse it.

use std::sync::Arc;
use std::time::Duration;

use courant_proto::name::{JournalName, RequestName};
use courant_proto::offset::{Offset, ReadFrom};
use courant_proto::status::Status;
use courant_proto::validate::Validate;
use courant_proto::wire;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::time::timeout;

use super::Chunks;
use super::plan::{Plan, Request};
use super::proxy::Passing;
use super::reading::Reading;
use crate::core::command::Command;
use crate::replica::Replica;
use crate::shared::{Shared, Wants};

/// How long a read waits for the first listing of a journal's stores. After that it answers from what is here.
const FIRST_LISTING: Duration = Duration::from_secs(5);

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
            Self::Asked { shared, request, chunks } => match open(shared, *request, chunks).await {
                Err(fault) => Some((Err(fault), Self::Ended)),
                Ok(Opened::Refused(response)) => Some((Ok(*response), Self::Ended)),
                Ok(Opened::Reading(reading)) => serve(reading).await,
                Ok(Opened::Passing(passing)) => pass(passing).await,
            },
            Self::Reading(reading) => serve(reading).await,
            Self::Passing(passing) => pass(passing).await,
        }
    }
}

async fn serve(mut reading: Box<Reading>) -> Option<(Response, State)> {
    match reading.next().await {
        Ok(Some(response)) => Some((Ok(response), State::Reading(reading))),
        Ok(None) => None,
        Err(fault) => Some((Err(fault), State::Ended)),
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

/// Resolves the journal, and finds out who serves the read.
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
    Ok(Opened::Reading(Box::new(Reading::new(shared, replica, plan, header, chunks))))
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
