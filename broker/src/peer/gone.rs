//! When to give up on a peer that a request was passed on to: it does not serve the journal any more, and had time to finish.

use std::time::Duration;

use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use tokio::time::{Instant, timeout_at};

use crate::journal_space::Space;
use crate::shared::Shared;

/// A peer that still lives finishes what it has, which a request waits for.
const LIVING: Duration = Duration::from_secs(10);

/// One whose place is gone has little to finish.
const DEAD: Duration = Duration::from_secs(1);

/// What a peer has to be for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Primary,
    Member,
}

/// Ends when a peer has ceased to be what a request needs, and the time for the rest of its work is over.
pub(crate) async fn gone(shared: &Shared, journal: &JournalName, id: &ProcessId, part: Part) {
    let mut news = shared.mirror.subscribe();
    let mut since = None;
    loop {
        let space = shared.space();
        let changed = news.changed();
        let changed = if serves(&space, journal, id, part) {
            since = None;
            changed.await
        } else {
            let grace = if space.member(id).is_some() { LIVING } else { DEAD };
            let since = *since.get_or_insert_with(Instant::now);
            match timeout_at(since + grace, changed).await {
                Ok(changed) => changed,
                Err(_) => return,
            }
        };
        if changed.is_err() {
            // The mirror has ended, which whoever runs it reports.
            return std::future::pending().await;
        }
    }
}

fn serves(space: &Space, journal: &JournalName, id: &ProcessId, part: Part) -> bool {
    let mut assignments = space.assignments(journal);
    assignments.any(|one| one.assignment.member == *id && (part == Part::Member || one.assignment.slot == 0))
}
