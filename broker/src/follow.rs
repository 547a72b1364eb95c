//! Follows the mirror: journals that are assigned to us become replicas of a core, and those that are not any more stop.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use courant_fragment::index::Index;
use courant_fragment::spool::recover::RecoveredJournal;
use courant_proto::name::JournalName;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::core::command::Command;
use crate::core::place::Place;
use crate::incarnation;
use crate::journal_space::Space;
use crate::recovery::{Adoptable, Judged};
use crate::replica::Replica;
use crate::resolver::locals::{self, Changes, Local, Locals};
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
    rng: StdRng,
}

impl Follower {
    pub(crate) fn new(shared: Arc<Shared>, judged: Judged, followed: watch::Sender<i64>, seed: u64) -> Self {
        let Judged { adoptable, aside, .. } = judged;
        let rng = StdRng::seed_from_u64(seed);
        Self { shared, locals: Locals::default(), recovered: adoptable, aside, followed, rng }
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
            let stepped = tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                stepped = self.step() => stepped?,
            };
            if !stepped {
                // Nobody follows any more; who runs this broker ends it.
                cancel.cancelled().await;
                return Ok(());
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                changed = news.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    /// False: what the registry shows is not to be believed, and this broker has given up its place.
    async fn step(&mut self) -> Result<bool, Status> {
        let space = self.shared.space();
        let changes = locals::follow(mem::take(&mut self.locals), &space, &self.shared.config.id);
        if deletes(&changes, &space) && !self.is_believed(&space).await {
            return Ok(false);
        }
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
        Ok(true)
    }

    /// Whether journals that are gone were deleted. Content that no store has is let go of with them, so the registry is asked first whether
    /// it is the one that it was; a broker that does not get to know waits. Keys that were all deleted, the brokers' own among them, are no
    /// deletion of journals either.
    async fn is_believed(&mut self, space: &Space) -> bool {
        let before = *self.followed.borrow();
        let why = if is_emptied(space, before) {
            "all members' keys are gone together with those of journals"
        } else if !incarnation::is_the_one(&self.shared.registry, &mut self.rng).await {
            "its witness is gone, or another"
        } else {
            return true;
        };
        self.shared.member.estrange(&why);
        false
    }

    async fn start(&mut self, local: Local, space: &Space) -> Result<(), Status> {
        let index = Index::new(local.journal.clone(), self.shared.config.tail_bytes);
        let replica = Arc::new(Replica::new(
            local.journal.clone(),
            local.create_revision,
            Arc::clone(&local.spec),
            Arc::new(index),
        ));
        let place = place(&local, space);
        let command = Command::Start { replica: Arc::clone(&replica), place };
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

/// Whether journals that this process holds are gone, or were created anew.
fn deletes(changes: &Changes, space: &Space) -> bool {
    let is_gone = |local: &Local| {
        space.item(&local.journal).is_none_or(|item| item.create_revision != local.create_revision)
    };
    changes.stop.iter().any(is_gone)
}

/// Whether nobody is a member any more who was one at a revision.
fn is_emptied(space: &Space, before: i64) -> bool {
    space.members().all(|(entry, _)| entry.create_revision.get() > before)
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
