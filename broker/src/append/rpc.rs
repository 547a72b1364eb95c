//! The `Append` RPC: resolve, receive, hand to the owning core, answer.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use courant_proto::label::LabelSet;
use courant_proto::name::{JournalName, RequestName};
use courant_proto::offset::Offset;
use courant_proto::selector::LabelSelector;
use courant_proto::service::AppendRequests;
use courant_proto::spec::{JournalSpec, Suspend, SuspendLevel};
use courant_proto::status::Status;
use courant_proto::validate::Validate;
use courant_proto::wire;
use courant_proto::wire::append_request::Suspend as WireSuspend;
use futures::{StreamExt, stream};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::flow::Rates;
use super::group::{Ask, SuspendAsk};
use super::proxy::{self, Passed};
use super::receive::{self, Content, Received, Terms};
use crate::core::command::{AppendJob, Command, Outcome};
use crate::journal_space::effective_replication;
use crate::resolver::target::Target;
use crate::shared::Wants;
use crate::shared::{Located, Shared};

/// No journal has more replicas, whatever its spec says.
pub(crate) const MOST_REPLICATION: usize = 9;

/// How often one request follows its journal to another place before it gives up.
const MOST_MOVES: usize = 8;

/// A primary that could not be reached is tried again after so long, if nothing has changed before.
const UNREACHED: Duration = Duration::from_millis(200);

/// Serves one append.
pub(crate) async fn append(
    shared: Arc<Shared>,
    mut requests: AppendRequests,
) -> Result<wire::AppendResponse, tonic::Status> {
    let first = tokio::select! {
        first = requests.next() => first,
        () = shared.closing.cancelled() => return Err(stopping()),
    };
    let first = match first {
        Some(first) => first?,
        None => return Err(receive::broken("unexpected EOF")),
    };
    first.validate()?;
    let name = RequestName::parse(&first.journal)?;
    let suspend = suspend_ask(first.suspend());
    let mut wants = Wants {
        may_proxy: !first.do_not_proxy,
        primary: true,
        create: true,
        settles: true,
        min_revision: first.min_etcd_revision,
        header: first.header.as_ref(),
    };
    let mut received: Option<Received> = None;
    let mut give_up = None;
    let mut moves = 0;
    while moves < MOST_MOVES {
        moves += 1;
        let located = shared.locate(&name.name, &wants).await?;
        if located.resolution.status == Status::Suspended && suspend == SuspendAsk::Resume {
            wants.min_revision = resume_fully(&shared, &name.name, &located).await?;
            continue;
        }
        if let Some(target) = located.targets.first() {
            if shared.presence.is_silent(&target.id) {
                // It would be lost on the way. Another primary takes its place in a moment, and then it can be passed on.
                another_route(&shared, &mut give_up, silent(target)).await?;
                moves -= 1;
                continue;
            }
            let mut first = first.clone();
            first.header = Some((&located.resolution.header).into());
            let passing = match &received {
                Some(received) => proxy::requests_of(&received.content, received.length),
                None => mem::replace(&mut requests, stream::empty().boxed()),
            };
            match proxy::pass_on(&shared, &name.name, target, first, passing).await? {
                Passed::Answered(answer) => return Ok(*answer),
                Passed::Unsent { requests: unsent, why } => {
                    if received.is_none() {
                        requests = unsent;
                    }
                    another_route(&shared, &mut give_up, why).await?;
                    moves -= 1;
                    continue;
                }
            }
        }
        let (Status::Ok, Some(replica)) = (located.resolution.status, &located.replica) else {
            return Ok(refusal(&located, located.resolution.status));
        };
        if !shared.member.is_held() {
            return Err(tonic::Status::unavailable(
                "this broker has lost its place in the cluster and takes it again as soon as it can; nothing was committed, try again",
            ));
        }
        let spec = replica.spec();
        let copies = located.resolution.header.route.members().len();
        if effective_replication(&spec, MOST_REPLICATION) > copies {
            return Ok(refusal(&located, Status::InsufficientJournalBrokers));
        }
        if received.is_none()
            && shared.quota.is_tight(&shared.presence)
            && let Some(refused) = shared.quota.refusal(
                &spec,
                &located.resolution.header.route,
                &shared.presence,
                &shared.stores,
            )
        {
            // Nothing of it is received, unless it asks for registers or suspension alone.
            let rates = rates(&shared, &spec);
            let next = tokio::select! {
                next = receive::first(&mut requests, rates, &*shared.clock) => next?,
                () = shared.closing.cancelled() => return Err(stopping()),
            };
            if next.as_ref().is_some_and(|request| !request.content.is_empty()) {
                shared.quota.count_refused(1);
                return refused_with(refused.outcome(), &located);
            }
            requests = stream::iter(next.map(Ok)).chain(requests).boxed();
        }
        if received.is_none() {
            let terms = Terms {
                rates: rates(&shared, &spec),
                largest: shared.config.max_append_bytes,
                bucket: &replica.bucket,
                budget: &shared.budget,
                clock: &*shared.clock,
                index: &replica.index,
            };
            received = Some(receive::receive(&mut requests, terms).await?);
        }
        let Some(Received { content, length, sum, total_chunks, delayed_chunks }) = received.take() else {
            return Err(tonic::Status::internal("an append lost its content"));
        };
        let (reply, answer) = oneshot::channel();
        let job = AppendJob {
            journal: name.name.clone(),
            create_revision: replica.create_revision,
            ask: ask(&first, length, &content, suspend)?,
            content,
            reply,
        };
        shared.cores.send(&name.name, Command::Append(Box::new(job))).await?;
        let outcome = answer.await.map_err(|_| crate::core::stopping())?;
        match outcome {
            Outcome::Committed { begin, end, codec, registers } => {
                return Ok(wire::AppendResponse {
                    status: Status::Ok as i32,
                    header: Some((&located.resolution.header).into()),
                    commit: Some(wire::Fragment {
                        journal: name.name.as_str().to_owned(),
                        begin: begin.get(),
                        end: end.get(),
                        sum: Some(sum.into()),
                        compression_codec: codec.to_wire() as i32,
                        ..Default::default()
                    }),
                    registers: Some(registers.labels().into()),
                    total_chunks,
                    delayed_chunks,
                    store_health_error: String::new(),
                });
            }
            refused @ (Outcome::Refused { .. } | Outcome::Broken(_) | Outcome::Fault(_)) => {
                return refused_with(refused, &located);
            }
            Outcome::Resuspend { level, offset, content } => {
                wants.min_revision = shared.resuspend(&name.name, Suspend { level, offset }).await?;
                if level != SuspendLevel::None {
                    // What is local is closed now, and persisted while nobody writes.
                    shared.cores.send(&name.name, Command::Roll { journal: name.name.clone() }).await?;
                    // Who is told so finds it so, in whatever is asked next.
                    let located = shared.locate(&name.name, &wants).await?;
                    return Ok(refusal(&located, Status::Suspended));
                }
                received = Some(Received { content, length, sum, total_chunks, delayed_chunks });
            }
            Outcome::Moved { content } => {
                // The core has followed the registry further than the replica that was found here.
                wants.min_revision = located.resolution.header.etcd.revision;
                received = Some(Received { content, length, sum, total_chunks, delayed_chunks });
            }
        }
    }
    Err(tonic::Status::unavailable(format!(
        "journal {} keeps moving or changing its suspension; nothing was committed, try again",
        name.name
    )))
}

fn stopping() -> tonic::Status {
    tonic::Status::unavailable("the broker is stopping; nothing was committed, try again elsewhere")
}

/// How fast an append to a journal may come in, and how slow it may be.
fn rates(shared: &Shared, spec: &JournalSpec) -> Rates {
    Rates::of(
        spec.max_append_rate.map_or(0, |rate| i64::try_from(rate).unwrap_or(i64::MAX)),
        shared.config.max_append_rate,
        shared.config.min_append_rate,
    )
}

fn silent(target: &Target) -> tonic::Status {
    tonic::Status::unavailable(format!(
        "broker {}, the primary, answers nothing at {}; nothing was committed, try again when another has taken its place",
        target.id, target.endpoint
    ))
}

/// The primary could not be reached: waits until something has changed in the cluster, or a moment; not for ever.
async fn another_route(
    shared: &Shared,
    give_up: &mut Option<Instant>,
    why: tonic::Status,
) -> Result<(), tonic::Status> {
    let mut news = shared.mirror.subscribe();
    let until = *give_up.get_or_insert_with(|| Instant::now() + shared.config.settle);
    if Instant::now() >= until {
        return Err(why);
    }
    let pause = until.min(Instant::now() + UNREACHED);
    tokio::select! {
        _ = timeout_at(pause, news.changed()) => Ok(()),
        () = shared.closing.cancelled() => Err(why),
    }
}

/// Ends a full suspension, and returns the revision at which it has ended.
async fn resume_fully(
    shared: &Shared,
    journal: &JournalName,
    located: &Located,
) -> Result<i64, tonic::Status> {
    let offset = located
        .resolution
        .item
        .as_ref()
        .and_then(|item| item.spec.suspend.as_ref())
        .map_or(Offset::ZERO, |suspend| suspend.offset);
    shared.resuspend(journal, Suspend { level: SuspendLevel::None, offset }).await
}

/// The answer to an append of which nothing was kept.
fn refused_with(refused: Outcome, located: &Located) -> Result<wire::AppendResponse, tonic::Status> {
    match refused {
        Outcome::Refused { status, registers, detail } => {
            let mut response = refusal(located, status);
            response.registers = registers.map(|registers| registers.labels().into());
            response.store_health_error = detail.unwrap_or_default();
            Ok(response)
        }
        Outcome::Broken(text) => Err(tonic::Status::unknown(text)),
        Outcome::Fault(fault) => Err(fault),
        outcome @ (Outcome::Committed { .. } | Outcome::Resuspend { .. } | Outcome::Moved { .. }) => {
            Err(tonic::Status::internal(format!("an append came to {outcome:?} before it was asked")))
        }
    }
}

fn refusal(located: &Located, status: Status) -> wire::AppendResponse {
    wire::AppendResponse {
        status: status as i32,
        header: Some((&located.resolution.header).into()),
        ..Default::default()
    }
}

fn suspend_ask(suspend: WireSuspend) -> SuspendAsk {
    match suspend {
        WireSuspend::Resume => SuspendAsk::Resume,
        WireSuspend::NoResume => SuspendAsk::NoResume,
        WireSuspend::IfFlushed => SuspendAsk::IfFlushed,
        WireSuspend::Now => SuspendAsk::Now,
        WireSuspend::Keep => SuspendAsk::Keep,
    }
}

fn ask(
    first: &wire::AppendRequest,
    length: u64,
    content: &Content,
    suspend: SuspendAsk,
) -> Result<Ask, tonic::Status> {
    Ok(Ask {
        length,
        offset: Offset::new(first.offset).unwrap_or(Offset::ZERO),
        check: first.check_registers.clone().map(LabelSelector::try_from).transpose()?,
        union: first.union_registers.clone().map(LabelSet::try_from).transpose()?.unwrap_or_default(),
        subtract: first.subtract_registers.clone().map(LabelSet::try_from).transpose()?.unwrap_or_default(),
        suspend,
        alone: matches!(content, Content::Scratch { .. }),
    })
}
