//! `courant journals reset-head`: an empty append at the offset where the stored fragments end, once it is known that nobody who is
//! away may hold more.

use std::time::Duration;

use courant_client::Error;
use courant_proto::wire::courant::{LineageResponse, MembersResponse};
use courant_proto::wire::{self, Status, append_request::Suspend};
use futures::StreamExt as _;

use super::{AT_ONCE, Session, is_suspended, name_of};
use crate::args::ResetHeadArgs;
use crate::failure::Failure;
use crate::output;

/// How often a head is read anew that turns out not to be the furthest.
const MOST_TRIES: u32 = 8;

/// The pause before that.
const PAUSE: Duration = Duration::from_millis(500);

/// Resets the write heads, and tells of each journal what came of it. That others appended first is no failure.
pub(super) async fn run(session: &Session, args: ResetHeadArgs) -> Result<(), Failure> {
    let journals = session.select(args.select.selector).await?;
    // Brokers of another make do not tell, and then it is up to who asks, as it always was with them.
    let members = told(session.client.members().await)
        .map_err(|error| session.failure("cannot list the members of the cluster", &error))?;
    let outcomes = journals.iter().filter(|journal| !is_suspended(journal)).map(async |journal| {
        let name = name_of(journal);
        let away = match &members {
            Some(members) => match told(session.client.lineage(name).await) {
                Ok(lineage) => lineage.map_or_else(Vec::new, |lineage| away(&lineage, members)),
                Err(error) => return Err(session.explain(&format!("cannot tell who held {name} last"), &error)),
            },
            None => Vec::new(),
        };
        if !away.is_empty() && !args.accept_loss {
            return Err(format!(
                "{name} was not reset: of the brokers that held it last, {} may have bytes that nobody else has, and cannot be \
                 reached; start them on their data folders, or give those bytes up with --accept-loss",
                away.join(" and ")
            ));
        }
        let given_up = match away.as_slice() {
            [] => String::new(),
            away => format!("; what {} had beyond that is given up", away.join(" and ")),
        };
        match reset(session, name).await {
            // Offset 0 is no expectation in the protocol, so nothing can be accepted there.
            Ok(0) => Ok(format!(
                "{name} has its write head at 0; if appends are still refused, what it held was lost before any of it was \
                 stored: delete the journal and create it anew"
            )),
            Ok(offset) => Ok(format!("{name} has its write head at {offset}{given_up}")),
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

/// Appends nothing at the head. A broker that has just taken the journal over may not know all that is stored yet, so it is asked again.
async fn reset(session: &Session, name: &str) -> Result<i64, Error> {
    let mut tries = 0;
    loop {
        match reset_once(session, name).await {
            Err(error) if error.status() == Some(Status::IndexHasGreaterOffset) && tries < MOST_TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

async fn reset_once(session: &Session, name: &str) -> Result<i64, Error> {
    let lineage = told(session.client.lineage(name).await)?;
    let known = lineage.map_or(0, |lineage| lineage.stored.max(lineage.begin).max(lineage.lost_end));
    let offset = session.client.head(name).await?.max(known);
    let request = wire::AppendRequest {
        journal: name.to_owned(),
        offset,
        suspend: Suspend::Keep.into(),
        ..Default::default()
    };
    session.client.append(request, bytes::Bytes::new()).await.map(|appended| appended.commit.end)
}

/// An answer that a broker of another make does not have.
fn told<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::Rpc(status)) if status.code() == tonic::Code::Unimplemented => Ok(None),
        Err(error) => Err(error),
    }
}

/// The brokers that may hold what nobody else does, and are away: members of the last epoch that are no members of the cluster now, or
/// that others cannot reach. Of an epoch that was closed in order and stored nobody holds more.
fn away(lineage: &LineageResponse, members: &MembersResponse) -> Vec<String> {
    if lineage.sealed && lineage.end <= lineage.stored {
        return Vec::new();
    }
    let is_there = |id: &wire::process_spec::Id| {
        members.members.iter().filter(|member| member.suspected_by.is_empty()).any(|member| {
            let process = member.spec.as_ref().and_then(|spec| spec.process_spec.as_ref());
            process.and_then(|process| process.id.as_ref()) == Some(id)
        })
    };
    let away = lineage.members.iter().filter(|id| !is_there(id));
    away.map(|id| format!("{} of zone {}", id.suffix, id.zone)).collect()
}

#[cfg(test)]
mod tests {
    use courant_proto::wire::courant::members_response::Member;

    use super::*;

    fn id(suffix: &str) -> wire::process_spec::Id {
        wire::process_spec::Id { zone: "a".into(), suffix: suffix.into() }
    }

    #[test]
    fn who_is_away_may_hold_more() {
        let member = |suffix: &str, suspected_by: &[&str]| Member {
            spec: Some(wire::BrokerSpec {
                process_spec: Some(wire::ProcessSpec { id: Some(id(suffix)), ..Default::default() }),
                ..Default::default()
            }),
            suspected_by: suspected_by.iter().map(|by| id(by)).collect(),
            ..Default::default()
        };
        let members = MembersResponse {
            members: vec![member("one", &[]), member("two", &["one"]), member("new", &[])],
            ..Default::default()
        };
        let check = |held_by: &[&str], sealed: Option<i64>, expected: &[&str]| {
            let lineage = LineageResponse {
                epoch: 3,
                members: held_by.iter().map(|suffix| id(suffix)).collect(),
                stored: 100,
                sealed: sealed.is_some(),
                end: sealed.unwrap_or(0),
                ..Default::default()
            };
            assert_eq!(away(&lineage, &members), expected, "{held_by:?}");
        };
        check(&[], None, &[]);
        check(&["one", "new"], None, &[]);
        check(&["one", "two"], None, &["two of zone a"]);
        check(&["gone", "one", "off"], None, &["gone of zone a", "off of zone a"]);
        check(&["gone"], Some(100), &[]);
        check(&["gone"], Some(101), &["gone of zone a"]);
    }
}
