//! An orderly exit: tell the others, go on serving while they take over, and know when there is nothing left, or nothing to wait for.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::outlook::{Candidate, hindrance};
use crate::broker::Broker;
use crate::error::Error;
use crate::journal_space::{Space, effective_replication, to_item};

/// How often it is looked whether the others can still take over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Replicas of one journal beyond this are not assigned.
const MOST_REPLICATION: usize = 9;

/// What the others have not taken over.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{journals} journals are not handed over: {reason}")]
pub struct Unshed {
    /// How many journals are still held here.
    pub journals: usize,
    /// Why nobody took them.
    pub reason: String,
}

impl Broker {
    /// Tells the cluster that this broker is exiting. It goes on serving; the allocator's leader gives what it holds to others.
    ///
    /// # Errors
    /// When the registry could not be told in time.
    pub async fn begin_exit(&self) -> Result<(), Error> {
        Ok(self.shared.member.begin_exit().await?)
    }

    /// Journals that this broker holds now, and whether others have taken over all of them.
    pub fn is_shed(&self) -> bool {
        self.journals() == 0
    }

    /// Waits until others have taken over what this broker holds, for at most `bound`. After [`Broker::begin_exit`].
    ///
    /// # Errors
    /// When time is up, or as soon as it is seen that nobody is there to take over.
    pub async fn shed(&self, bound: Duration) -> Result<(), Unshed> {
        let until = Instant::now() + bound;
        // Our own picture has to show that we are exiting before anything can be told from it.
        let joined = self.shared.member.joined();
        let shown = timeout_at(until, self.shared.mirror.at_least(joined)).await;
        let mut followed = self.shared.followed.clone();
        let mut waiting = matches!(shown, Ok(Ok(_)));
        while waiting {
            if self.is_shed() {
                return Ok(());
            }
            let space = self.shared.space();
            if let Some(reason) = hindered(&space, &self.shared.config.id) {
                return Err(Unshed { journals: self.journals(), reason });
            }
            let next = (Instant::now() + LOOK_EVERY).min(until);
            // Until there is nothing left, or time for another look.
            while !self.is_shed() && matches!(timeout_at(next, followed.changed()).await, Ok(Ok(()))) {}
            // Where the broker is ending by itself there is no news, and no time passed.
            waiting = self.is_shed() || (Instant::now() < until && followed.has_changed().is_ok());
        }
        let reason = format!("nobody had taken them within {bound:?}");
        Err(Unshed { journals: self.journals(), reason })
    }
}

/// Why the allocator does not let this member go, if it does not.
fn hindered(space: &Space, me: &courant_proto::id::ProcessId) -> Option<String> {
    let members: Vec<Candidate> = space
        .members()
        .map(|(entry, spec)| Candidate {
            is_me: spec.id == *me,
            limit: spec.journal_limit.into(),
            exiting: spec.exiting,
            joined: entry.create_revision.get(),
        })
        .collect();
    let items = space.item_entries();
    let replicas = items
        .iter()
        .filter_map(|entry| to_item(entry))
        .map(|item| effective_replication(&item.spec, MOST_REPLICATION));
    let (wanted, most) =
        replicas.fold((0, 0), |(wanted, most), replicas| (wanted + replicas, most.max(replicas)));
    hindrance(&members, u64::try_from(wanted).unwrap_or(u64::MAX), most)
        .map(|hindrance| hindrance.to_string())
}
