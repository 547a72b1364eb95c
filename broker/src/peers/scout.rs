//! Asks all members of our kind, again and again, whether they are there, and tells what is found.
//!
//! It asks over connections of its own runtime, so that a core that is busy keeps nobody silent; and for the heads of no journals, which
//! touches none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use courant_proto::endpoint::Endpoint;
use courant_proto::header::Header;
use courant_proto::id::ProcessId;
use courant_proto::route::Route;
use courant_proto::wire::courant::HeadsRequest;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::lookout::{Lookout, Pace};
use super::{Found, Peers};
use crate::journal_space::{Space, SpaceMirror};
use crate::peer::client::PeerClient;

/// Looks after the members.
#[derive(Debug)]
pub(crate) struct Scout {
    pub(crate) peers: Peers,
    pub(crate) client: PeerClient,
    pub(crate) space: SpaceMirror,
    pub(crate) pace: Pace,
}

impl Scout {
    /// Looks after them until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.watch()).await;
    }

    async fn watch(self) {
        let began = Instant::now();
        let mut lookout = Lookout::new(self.pace);
        let mut asking = JoinSet::new();
        let mut asked = HashMap::new();
        let mut ticks = interval(self.pace.tick());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.peers.0.complained.notified() => lookout.hurry(),
                Some(ended) = asking.join_next_with_id() => {
                    // A question that failed by itself has no answer either, and has to be asked again.
                    let (question, answered) = ended.unwrap_or_else(|failed| (failed.id(), false));
                    if let Some(id) = asked.remove(&question) {
                        lookout.settled(began.elapsed(), &id, answered);
                    }
                }
            }
            let space = self.space.snapshot();
            let view = self.peers.view();
            let endpoints = endpoints(&space, &self.peers.0.me, view.courant.keys());
            for id in lookout.look(began.elapsed(), &endpoints.keys().cloned().collect::<BTreeSet<_>>()) {
                if let Some(endpoint) = endpoints.get(&id).cloned() {
                    let (client, request) = (self.client.clone(), self.question(&space, &id));
                    let answer = self.pace.answer;
                    let question = asking.spawn(ask(client, request, id.clone(), endpoint, answer));
                    asked.insert(question.id(), id);
                }
            }
            let trusted = lookout.may_complain(began.elapsed(), space.members().count());
            let trusted = trusted.map(|trusted| began + trusted);
            self.peers.found(Found { silent: lookout.silent(), trusted });
        }
    }

    fn question(&self, space: &Space, to: &ProcessId) -> HeadsRequest {
        let mut etcd = space.etcd();
        // Who is behind with the registry is there all the same.
        etcd.revision = 1;
        let header = Header { process_id: Some(to.clone()), route: Route::empty(), etcd };
        HeadsRequest {
            header: Some((&header).into()),
            caller: Some((&self.peers.0.me).into()),
            journals: Vec::new(),
            // Who has come to another registry is there all the same.
            incarnation: Bytes::new(),
        }
    }
}

/// The others of our kind, and where they are reached. Who is leaving is asked as well: one that nobody reaches can hand nothing over, and holds up
/// whoever is to take it. Who leaves asks nobody, being busy and missed by nobody.
fn endpoints<'a>(
    space: &Space,
    me: &ProcessId,
    courant: impl Iterator<Item = &'a ProcessId>,
) -> BTreeMap<ProcessId, Endpoint> {
    if space.member(me).is_none_or(|spec| spec.exiting) {
        return BTreeMap::new();
    }
    let others = courant.filter(|id| *id != me);
    others.filter_map(|id| Some((id.clone(), space.member(id)?.endpoint.clone()))).collect()
}

/// Whether a member answers within a time.
async fn ask(
    client: PeerClient,
    request: HeadsRequest,
    id: ProcessId,
    endpoint: Endpoint,
    within: Duration,
) -> bool {
    let answered = timeout(within, client.heads(&id, &endpoint, request)).await;
    matches!(answered, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use courant_proto::spec::BrokerSpec;

    use super::*;
    use crate::journal_space::fixture::{Keys, broker, id};

    #[test]
    fn members_that_are_leaving_are_asked_and_ask_nobody() {
        let (stays, leaves, foreign, gone) =
            (id("zone/stays"), id("zone/leaves"), id("zone/foreign"), id("zone/gone"));
        let mut keys = Keys::with_members(&["zone/stays", "zone/foreign"]);
        keys.member(&BrokerSpec { exiting: true, ..broker(&leaves) });
        let space = keys.space();
        let courant = [stays.clone(), leaves.clone(), gone];
        let asked = |me: &ProcessId| endpoints(&space, me, courant.iter()).into_keys().collect::<Vec<_>>();
        assert_eq!(asked(&stays), std::slice::from_ref(&leaves));
        assert_eq!(asked(&foreign), [leaves.clone(), stays]);
        assert_eq!(asked(&leaves), []);
    }
}
