//! Writes into the assignments of a journal that its members are synchronised, in the route that they make: only then may an allocator
//! remove one of them. Journals that are synchronised together share transactions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use courant_keyspace::Error;
use courant_proto::name::JournalName;
use courant_proto::route::Route;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::journal_space::{Space, SpaceMirror};
use crate::transaction::commit::{Registry, commit};
use crate::transaction::{Guard, PutLease, Transaction, Write};

/// Notes that may wait. A note that finds no room is made again when the mirror next tells of its journal.
const QUEUE: usize = 65_536;

/// The first and the longest pause after a registry that does not answer.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Where routes are noted. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct RouteNotes {
    sender: mpsc::Sender<(JournalName, Arc<Route>)>,
}

/// The task that writes them.
pub(crate) struct RouteNotesTask {
    registry: Registry,
    mirror: SpaceMirror,
    notes: mpsc::Receiver<(JournalName, Arc<Route>)>,
    rng: StdRng,
}

impl std::fmt::Debug for RouteNotesTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteNotesTask").finish_non_exhaustive()
    }
}

impl RouteNotes {
    pub(crate) fn new(registry: Registry, mirror: SpaceMirror, seed: u64) -> (Self, RouteNotesTask) {
        let (sender, notes) = mpsc::channel(QUEUE);
        (Self { sender }, RouteNotesTask { registry, mirror, notes, rng: StdRng::seed_from_u64(seed) })
    }

    /// Notes that the members of a journal are synchronised in a route.
    pub(crate) fn note(&self, journal: &JournalName, route: &Arc<Route>) {
        let _ = self.sender.try_send((journal.clone(), Arc::clone(route)));
    }
}

impl RouteNotesTask {
    /// Writes notes until cancelled.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        cancel.run_until_cancelled(Box::pin(self.write_all())).await;
    }

    async fn write_all(&mut self) {
        let mut noted: BTreeMap<JournalName, Arc<Route>> = BTreeMap::new();
        let mut pause = PAUSES.0;
        loop {
            if noted.is_empty() {
                let Some((journal, route)) = self.notes.recv().await else { return };
                noted.insert(journal, route);
            }
            while let Ok((journal, route)) = self.notes.try_recv() {
                noted.insert(journal, route);
            }
            match self.write_some(&mut noted).await {
                Ok(()) => pause = PAUSES.0,
                Err(error) => {
                    tracing::warn!(%error, "could not note yet that journals are synchronised");
                    sleep(pause.mul_f64(0.5 + 0.5 * self.rng.random::<f64>())).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// One transaction. What is in it is noted, or was overtaken by a change that the mirror is about to tell of.
    async fn write_some(&self, noted: &mut BTreeMap<JournalName, Arc<Route>>) -> Result<(), Error> {
        let space = self.mirror.snapshot();
        let mut transaction = Transaction::default();
        let mut written = Vec::new();
        let mut done = Vec::new();
        for (journal, route) in noted.iter() {
            let Some(one) = note(&space, journal, route) else {
                done.push(journal.clone());
                continue;
            };
            if !transaction.has_room_for(&one) {
                break;
            }
            transaction.join(one);
            written.push(journal.clone());
        }
        for journal in done {
            noted.remove(&journal);
        }
        if written.is_empty() {
            return Ok(());
        }
        let outcome = commit(&self.registry, transaction, || "noting routes".to_owned()).await?;
        if !outcome.succeeded && written.len() > 1 {
            // One of them has changed, which is no reason to keep the others waiting.
            for journal in &written {
                if let Some(route) = noted.get(journal)
                    && let Some(one) = note(&space, journal, route)
                {
                    commit(&self.registry, one, || "noting a route".to_owned()).await?;
                }
            }
        }
        for journal in written {
            noted.remove(&journal);
        }
        Ok(())
    }
}

/// What is to be written so that all assignments of a journal know the route; none if they do, or it is not their route any more.
fn note(space: &Space, journal: &JournalName, route: &Arc<Route>) -> Option<Transaction> {
    if !space.bare_route(journal).equivalent(route) {
        return None;
    }
    let mut transaction = Transaction::default();
    for assigned in space.assignments(journal) {
        let key = assigned.entry.key.to_vec();
        let mod_revision = assigned.entry.mod_revision.get();
        transaction.guards.push(Guard::Unchanged { key: key.clone(), mod_revision });
        if !assigned.assignment.knows(route) {
            transaction.writes.push(Write::Put { key, value: route.encode(), lease: PutLease::Kept });
        }
    }
    (!transaction.writes.is_empty()).then_some(transaction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal_space::fixture::*;

    #[tokio::test]
    async fn a_route_is_noted_in_every_assignment_and_once() {
        let cluster = Cluster::start().await;
        let (one, other) = (me(), courant_proto::id::ProcessId::new("zone", "other").expect("an id"));
        cluster.put_item(&spec("the/one")).await;
        for (member, slot) in [(&one, 0), (&other, 1)] {
            cluster.put(root().assignment(&name("the/one"), member, slot), Vec::new()).await;
        }
        let known = |space: &Space| space.assignments(&name("the/one")).count() == 2;
        let space = cluster.until("both assignments", known).await;
        let route = Arc::new(space.bare_route(&name("the/one")));
        let transaction = note(&space, &name("the/one"), &route).expect("something to note");
        assert_eq!((transaction.guards.len(), transaction.writes.len()), (2, 2));
        // Somebody writes to one of them in between: then to none of them.
        cluster.put(root().assignment(&name("the/one"), &other, 1), Vec::new()).await;
        let lost =
            commit(&cluster.as_registry(), transaction, || "noting".to_owned()).await.expect("an answer");
        assert!(!lost.succeeded);
        let space = cluster.mirror.snapshot();
        assert!(space.assignments(&name("the/one")).all(|held| !held.assignment.knows(&route)));
        let transaction = note(&space, &name("the/one"), &route).expect("something to note");
        let outcome =
            commit(&cluster.as_registry(), transaction, || "noting".to_owned()).await.expect("an answer");
        assert!(outcome.succeeded);
        let space = cluster.until("the route", |space| space.is_consistent(&name("the/one"))).await;
        assert_eq!(note(&space, &name("the/one"), &route), None);
        let alone = Arc::new(Route::new(vec![one], Some(0)).expect("a route"));
        assert_eq!(note(&space, &name("the/one"), &alone), None, "it is not their route");
        cluster.stop().await;
    }
}
