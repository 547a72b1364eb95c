//! `courant journals suspend`: an empty append that asks for suspension.

use courant_proto::wire::{self, Status, append_request::Suspend};
use futures::StreamExt as _;

use super::{AT_ONCE, Session, is_suspended, name_of};
use crate::args::SuspendArgs;
use crate::failure::Failure;
use crate::output;

/// Suspends what can be, and tells of each journal whether it is.
pub(super) async fn run(session: &Session, args: SuspendArgs) -> Result<(), Failure> {
    let journals = session.select(args.select.selector).await?;
    let suspend = if args.force { Suspend::Now } else { Suspend::IfFlushed };
    let outcomes = journals.iter().map(async |journal| {
        let name = name_of(journal);
        if is_suspended(journal) {
            return (name, Ok("is suspended already"));
        }
        let request =
            wire::AppendRequest { journal: name.to_owned(), suspend: suspend.into(), ..Default::default() };
        match session.client.append(request, bytes::Bytes::new()).await {
            Ok(_) if args.force => (name, Ok("was not suspended")),
            Ok(_) => {
                (name, Ok("was not suspended: it holds content that is not persisted yet (see --force)"))
            }
            Err(error) if error.status() == Some(Status::Suspended) => (name, Ok("is suspended now")),
            Err(error) => (name, Err(session.explain(&format!("cannot suspend {name}"), &error))),
        }
    });
    let mut outcomes = futures::stream::iter(outcomes).buffered(AT_ONCE);
    let mut failures = Vec::new();
    while let Some((name, outcome)) = outcomes.next().await {
        match outcome {
            Ok(outcome) => output::print_line(&format!("{name} {outcome}"))?,
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::failed(failures)) }
}
