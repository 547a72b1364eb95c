//! Follows the mirror: journals that are assigned to us become replicas of a core, and those that are not any more stop.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use courant_fragment::index::Index;
use courant_fragment::spool::recover::RecoveredJournal;
use courant_proto::name::JournalName;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::core::command::Command;
use crate::core::place::Place;
use crate::journal_space::Space;
use crate::recovery::{Adoptable, Judged};
use crate::replica::Replica;
use crate::resolver::locals::{self, Local, Locals};
use crate::shared::Shared;

/// Keeps the replicas of this process as the mirror says they should be.
#[derive(Debug)]
pub(crate) struct Follower {
    shared: Arc<Shared>,
    locals: Locals,
    /// What an earlier process left, and may be taken up.
    recovered: HashMap<JournalName, Adoptable>,
    /// What it left and counts for nothing.
    aside: Vec<(RecoveredJournal, String)>,
    followed: watch::Sender<i64>,
}

impl Follower {
    pub(crate) fn new(shared: Arc<Shared>, judged: Judged, followed: watch::Sender<i64>) -> Self {
        let Judged { adoptable, aside } = judged;
        Self { shared, locals: Locals::default(), recovered: adoptable, aside, followed }
    }

    /// Follows until cancelled, or until a core has stopped.
    pub(crate) async fn run(mut self, cancel: CancellationToken) -> Result<(), Status> {
        for (journal, reason) in mem::take(&mut self.aside) {
            let name = journal.identity.journal.clone();
            self.shared.cores.send(&name, Command::SetAside { journal: Box::new(journal), reason }).await?;
        }
        // Also of journals that are not assigned to us: what they have here is persisted, and holds up no segment of the log.
        let mut recovered: Vec<_> = mem::take(&mut self.recovered).into_iter().collect();
        recovered.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (journal, adoptable) in recovered {
            self.shared.cores.send(&journal, Command::Adopt(Box::new(adoptable))).await?;
        }
        loop {
            let mut news = self.shared.mirror.subscribe();
            self.step().await?;
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                changed = news.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    async fn step(&mut self) -> Result<(), Status> {
        let space = self.shared.space();
        let changes = locals::follow(mem::take(&mut self.locals), &space, &self.shared.config.id);
        for local in changes.stop {
            self.stop(&local, space.item(&local.journal).is_none()).await?;
        }
        for local in changes.start {
            self.start(local, &space).await?;
        }
        for local in changes.changed {
            if let Some(replica) = self.shared.replicas.get(&local.journal) {
                replica.set_spec(Arc::clone(&local.spec));
                let place = place(&local, &space);
                self.shared.cores.send(&local.journal, Command::Rerouted { replica, place }).await?;
            }
        }
        self.locals = changes.locals;
        self.shared.metrics.journals(self.shared.replicas.len());
        self.followed.send_replace(space.revision());
        Ok(())
    }

    async fn start(&mut self, local: Local, space: &Space) -> Result<(), Status> {
        let index = Index::new(local.journal.clone(), self.shared.config.tail_bytes);
        let replica = Arc::new(Replica::new(
            local.journal.clone(),
            local.create_revision,
            Arc::clone(&local.spec),
            Arc::new(index),
        ));
        let lost_end = self.shared.config.lost_ends.get(&local.journal).copied().unwrap_or_default();
        let place = place(&local, space);
        let command = Command::Start { replica: Arc::clone(&replica), place, lost_end };
        self.shared.cores.send(&local.journal, command).await?;
        self.shared.replicas.insert(replica);
        Ok(())
    }

    async fn stop(&self, local: &Local, deleted: bool) -> Result<(), Status> {
        self.shared.replicas.remove(&local.journal);
        let command =
            Command::Stop { journal: local.journal.clone(), create_revision: local.create_revision, deleted };
        self.shared.cores.send(&local.journal, command).await
    }
}

/// Our part in a journal, as the assignments have it.
fn place(local: &Local, space: &Space) -> Place {
    let route = Arc::new(space.bare_route(&local.journal));
    Place {
        is_primary: local.is_primary,
        is_noted: space.assignments(&local.journal).all(|assigned| assigned.assignment.knows(&route)),
        // What made the route so may be a key that is gone, so no key's own revision tells.
        revision: space.revision(),
        route,
    }
}
