//! `courant journals reset-head`: an empty append at the offset where the stored fragments end.

use courant_client::Error;
use courant_proto::wire::{self, Status, append_request::Suspend};
use futures::StreamExt as _;

use super::{AT_ONCE, Session, is_suspended, name_of};
use crate::args::ResetHeadArgs;
use crate::failure::Failure;
use crate::output;

/// Resets the write heads, and tells of each journal what came of it. That others appended first is no failure.
pub(super) async fn run(session: &Session, args: ResetHeadArgs) -> Result<(), Failure> {
    let journals = session.select(args.select.selector).await?;
    let outcomes = journals.iter().filter(|journal| !is_suspended(journal)).map(async |journal| {
        let name = name_of(journal);
        match reset(session, name).await {
            // Offset 0 is no expectation in the protocol, so nothing can be accepted there.
            Ok(0) => Ok(format!(
                "{name} has its write head at 0; if appends are still refused, what it held was lost before any of it was \
                 stored: delete the journal and create it anew"
            )),
            Ok(offset) => Ok(format!("{name} has its write head at {offset}")),
            Err(error) if error.status() == Some(Status::WrongAppendOffset) => {
                Ok(format!("{name} was not reset, since other appends came first"))
            }
            Err(error) => Err(session.explain(&format!("cannot reset the head of {name}"), &error)),
        }
    });
    let mut outcomes = futures::stream::iter(outcomes).buffered(AT_ONCE);
    let mut failures = Vec::new();
    while let Some(outcome) = outcomes.next().await {
        match outcome {
            Ok(line) => output::print_line(&line)?,
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::failed(failures)) }
}

async fn reset(session: &Session, name: &str) -> Result<i64, Error> {
    let offset = session.client.head(name).await?;
    let request = wire::AppendRequest {
        journal: name.to_owned(),
        offset,
        suspend: Suspend::Keep.into(),
        ..Default::default()
    };
    session.client.append(request, bytes::Bytes::new()).await.map(|appended| appended.commit.end)
}
