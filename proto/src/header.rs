//! Pure: who answers, at which revision of the registry, by which route.

#[cfg(test)]
mod tests;

use crate::id::{self, ProcessId};
use crate::invalid::{Context, Invalid};
use crate::route::{self, Route};
use crate::wire;

/// What goes with a request or response about who serves it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Who answered, or of whom it is asked; none when any member may serve it.
    pub process_id: Option<ProcessId>,
    /// The journal's route; empty when the answer is about no one journal.
    pub route: Route,
    /// The registry, as the author knew it.
    pub etcd: Etcd,
}

/// A registry, at a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Etcd {
    /// Which cluster; never zero.
    pub cluster_id: u64,
    /// Which member of it answered; never zero.
    pub member_id: u64,
    /// The revision, above zero.
    pub revision: i64,
    /// The term of its leader; never zero.
    pub raft_term: u64,
}

impl Header {
    /// The header of an answer about no one journal.
    pub const fn unrouted(process_id: Option<ProcessId>, etcd: Etcd) -> Self {
        Self { process_id, route: Route::empty(), etcd }
    }
}

impl TryFrom<wire::Header> for Header {
    type Error = Invalid;

    fn try_from(header: wire::Header) -> Result<Self, Invalid> {
        check_wire_header(&header)?;
        let process_id = match header.process_id.filter(|id| *id != wire::process_spec::Id::default()) {
            Some(id) => Some(ProcessId::try_from(&id).within("ProcessId")?),
            None => None,
        };
        Ok(Self {
            process_id,
            route: Route::try_from(header.route.unwrap_or_default()).within("Route")?,
            etcd: header.etcd.unwrap_or_default().into(),
        })
    }
}

impl From<&Header> for wire::Header {
    fn from(header: &Header) -> Self {
        Self {
            process_id: Some(header.process_id.as_ref().map(Into::into).unwrap_or_default()),
            route: Some((&header.route).into()),
            etcd: Some(header.etcd.into()),
        }
    }
}

impl From<wire::header::Etcd> for Etcd {
    fn from(etcd: wire::header::Etcd) -> Self {
        let wire::header::Etcd { cluster_id, member_id, revision, raft_term } = etcd;
        Self { cluster_id, member_id, revision, raft_term }
    }
}

impl From<Etcd> for wire::header::Etcd {
    fn from(etcd: Etcd) -> Self {
        let Etcd { cluster_id, member_id, revision, raft_term } = etcd;
        Self { cluster_id, member_id, revision, raft_term }
    }
}

pub(crate) fn check_wire_header(header: &wire::Header) -> Result<(), Invalid> {
    if let Some(id) = header.process_id.as_ref().filter(|id| **id != wire::process_spec::Id::default()) {
        id::check_process_id(&id.zone, &id.suffix).within("ProcessId")?;
    }
    route::check_wire_route(header.route.as_ref().unwrap_or(&wire::Route::default())).within("Route")?;
    check_etcd(&header.etcd.unwrap_or_default()).within("Etcd")
}

fn check_etcd(etcd: &wire::header::Etcd) -> Result<(), Invalid> {
    if etcd.cluster_id == 0 {
        return Err(Invalid::new("invalid ClusterId (expected != 0)"));
    }
    if etcd.member_id == 0 {
        return Err(Invalid::new("invalid MemberId (expected != 0)"));
    }
    if etcd.revision <= 0 {
        return Err(Invalid::new(format!("invalid Revision ({}; expected 0 < revision)", etcd.revision)));
    }
    if etcd.raft_term == 0 {
        return Err(Invalid::new("invalid RaftTerm (expected != 0)"));
    }
    Ok(())
}
