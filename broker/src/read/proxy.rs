//! A read that is passed on to a member of the journal's route, and its responses relayed as they are.

use std::sync::Arc;
use std::vec;

use courant_proto::name::JournalName;
use courant_proto::wire;
use tonic::{Status, Streaming};

use crate::peer::client::relayed;
use crate::peer::gone::{self, Part};
use crate::resolver::target::Target;
use crate::shared::Shared;

/// A read at another broker.
pub(super) struct Passing {
    shared: Arc<Shared>,
    journal: JournalName,
    request: wire::ReadRequest,
    /// Who may be tried yet.
    targets: vec::IntoIter<Target>,
    /// Who serves it, once somebody does.
    at: Option<(Target, Streaming<wire::ReadResponse>)>,
}

impl Passing {
    /// A read with its header in place, to be passed on to the first of these that can be reached.
    pub(super) fn new(
        shared: Arc<Shared>,
        journal: JournalName,
        request: wire::ReadRequest,
        targets: Vec<Target>,
    ) -> Self {
        Self { shared, journal, request, targets: targets.into_iter(), at: None }
    }

    /// The next response. None is a clean end: the peer's, or ours, as we stop or the peer is gone without having said so.
    pub(super) async fn next(&mut self) -> Result<Option<wire::ReadResponse>, Status> {
        let Self { shared, journal, request, targets, at } = self;
        while at.is_none() {
            let Some(target) = targets.next() else {
                return Err(Status::unavailable(format!(
                    "no broker that has journal {journal} can be reached; try again"
                )));
            };
            let opened = tokio::select! {
                opened = shared.peers.read(&target.endpoint, request.clone()) => opened,
                () = gone::gone(shared, journal, &target.id, Part::Member) => return Ok(None),
                () = shared.closing.cancelled() => return Ok(None),
            };
            match opened {
                Ok(responses) => *at = Some((target, responses)),
                // Who could not be reached has sent nothing, so that another one can begin.
                Err(fault) if targets.len() == 0 || !shared.peers.has_failed(&target.endpoint) => {
                    return Err(fault);
                }
                Err(_) => {}
            }
        }
        let Some((target, responses)) = at else { return Ok(None) };
        tokio::select! {
            response = responses.message() => response.map_err(|fault| relayed(&target.endpoint, fault)),
            () = gone::gone(shared, journal, &target.id, Part::Member) => Ok(None),
            () = shared.closing.cancelled() => Ok(None),
        }
    }
}
