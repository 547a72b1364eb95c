//! Pure: where a request for a journal belongs, as the cluster's keys have it.
//!
//! ```text
//!  no spec ─► JOURNAL_NOT_FOUND      no primary ─► NO_JOURNAL_PRIMARY_BROKER     not ours, not to be
//!  FULL ────► SUSPENDED              no members ─► INSUFFICIENT_JOURNAL_BROKERS  passed on ─► NOT_JOURNAL_…BROKER
//! ```
//!
//! The first of these that holds is the answer, else the request is this process's, or a peer's.

use courant_proto::header::Header;
use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use courant_proto::spec::SuspendLevel;
use courant_proto::status::Status;

use crate::journal_space::{Item, Space};

/// What a request wants of a journal's members.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) journal: &'a JournalName,
    /// It may be passed on to a peer.
    pub(crate) may_proxy: bool,
    /// Only the primary will do.
    pub(crate) require_primary: bool,
    /// This process.
    pub(crate) me: &'a ProcessId,
}

/// Where a request belongs.
#[derive(Clone, Debug)]
pub(crate) struct Resolution {
    pub(crate) status: Status,
    /// For the response, or for the request to a peer. It names whoever serves the request — nobody if any member may — or this
    /// process, as the author of a refusal; and always the route, so that a client can do better next time.
    pub(crate) header: Header,
    /// The journal, if there is one.
    pub(crate) item: Option<Item>,
    /// It is served here.
    pub(crate) is_local: bool,
}

/// Finds out where a request belongs.
pub(crate) fn resolve(space: &Space, ask: &Ask<'_>) -> Resolution {
    let item = space.item(ask.journal);
    let route = space.route(ask.journal);
    let mine = route.members().contains(ask.me);
    let process =
        if ask.require_primary { route.primary_member().cloned() } else { mine.then(|| ask.me.clone()) };
    let is_me = process.as_ref() == Some(ask.me);
    let suspended = item.as_ref().is_some_and(|item| item.spec.suspend_level() == SuspendLevel::Full);
    let status = if item.is_none() {
        Status::JournalNotFound
    } else if suspended {
        Status::Suspended
    } else if ask.require_primary && process.is_none() {
        Status::NoJournalPrimaryBroker
    } else if route.members().is_empty() {
        Status::InsufficientJournalBrokers
    } else if !ask.may_proxy && !is_me {
        if ask.require_primary { Status::NotJournalPrimaryBroker } else { Status::NotJournalBroker }
    } else {
        Status::Ok
    };
    let is_local = status == Status::Ok && is_me;
    let process_id = if status == Status::Ok { process } else { Some(local_id(space, ask.me)) };
    Resolution { status, header: Header { process_id, route, etcd: space.etcd() }, item, is_local }
}

/// Who this process is to others: its id, or one that says that its member key is gone.
pub(crate) fn local_id(space: &Space, me: &ProcessId) -> ProcessId {
    if space.member(me).is_some() { me.clone() } else { missing() }
}

fn missing() -> ProcessId {
    ProcessId::new("local-BrokerSpec", "missing-from-Etcd").expect("both parts are tokens")
}

/// A request that was meant for somebody else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misdirected {
    /// It comes from another cluster.
    #[error("request Etcd ClusterId doesn't match our own ({theirs} vs {ours})")]
    Cluster { theirs: u64, ours: u64 },
    /// It names another process.
    #[error("request ProcessId doesn't match our own ({theirs} vs {ours})")]
    Process { theirs: String, ours: String },
}

/// Checks what a request's header says of whom it is meant for.
pub(crate) fn check_header(space: &Space, me: &ProcessId, header: &Header) -> Result<(), Misdirected> {
    let (theirs, ours) = (header.etcd.cluster_id, space.etcd().cluster_id);
    if theirs != ours {
        return Err(Misdirected::Cluster { theirs, ours });
    }
    let ours = local_id(space, me);
    match &header.process_id {
        Some(theirs) if *theirs != ours => {
            Err(Misdirected::Process { theirs: in_words(theirs), ours: in_words(&ours) })
        }
        _ => Ok(()),
    }
}

/// An id as Gazette's errors print it.
fn in_words(id: &ProcessId) -> String {
    format!("zone:\"{}\" suffix:\"{}\" ", id.zone(), id.suffix())
}

/// Gazette answers such a request with an error of no particular code.
impl From<Misdirected> for tonic::Status {
    fn from(misdirected: Misdirected) -> Self {
        Self::unknown(misdirected.to_string())
    }
}

#[cfg(test)]
mod tests;
