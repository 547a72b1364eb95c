//! Pure: which journals this process holds, and what became different about them since it looked last.
//!
//! ```text
//!  assigned, was not ─────────────► start       created anew, or demoted ─► stop the old, start the new
//!  not assigned any more, or gone ─► stop       spec or assignments changed ─► changed
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use courant_proto::spec::JournalSpec;

use crate::journal_space::{Item, Space};

/// A journal that this process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) journal: JournalName,
    /// Tells it from an earlier or later journal of its name.
    pub(crate) create_revision: i64,
    /// When its spec was changed last.
    pub(crate) mod_revision: i64,
    pub(crate) spec: Arc<JournalSpec>,
    pub(crate) is_primary: bool,
    /// Since when we are assigned to it, in the slot that we have.
    assigned: i64,
    /// When each of its assignments was changed last, in their order.
    assignments: Vec<i64>,
}

/// The journals of this process as of a picture of the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locals {
    by_journal: BTreeMap<JournalName, Local>,
    seen: Option<Space>,
}

/// What to do so that this process holds what it should.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// First these: not ours any more, or to be replaced.
    pub(crate) stop: Vec<Local>,
    /// Then these: ours from now on, or in place of one that was stopped.
    pub(crate) start: Vec<Local>,
    /// Ours as before, with another spec or other assignments. Requests that wait look again.
    pub(crate) changed: Vec<Local>,
    /// To be given to the next call.
    pub(crate) locals: Locals,
}

impl Locals {
    /// The journals, by name.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Local> {
        self.by_journal.values()
    }
}

/// Compares what is with what was. What did not change between the two pictures is not looked at.
pub(crate) fn follow(before: Locals, space: &Space, me: &ProcessId) -> Changes {
    let Locals { mut by_journal, seen } = before;
    let (mut stop, mut start, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for journal in space.journals_changed_since(seen.as_ref()) {
        let now = local(space, &journal, me);
        let was = match &now {
            Some(now) => by_journal.insert(journal, now.clone()),
            None => by_journal.remove(&journal),
        };
        match (was, now) {
            (None, None) => {}
            (Some(was), None) => stop.push(was),
            (None, Some(now)) => start.push(now),
            // An old primary's pipeline and spool belong to its role: a demoted replica begins anew. So does one whose assignment was
            // taken away and given back unseen, as somebody else may have been primary in between.
            (Some(was), Some(now))
                if was.create_revision != now.create_revision
                    || (was.is_primary && (!now.is_primary || was.assigned != now.assigned)) =>
            {
                stop.push(was);
                start.push(now);
            }
            (Some(was), Some(now)) if was != now => changed.push(now),
            (Some(_), Some(_)) => {}
        }
    }
    Changes { stop, start, changed, locals: Locals { by_journal, seen: Some(space.clone()) } }
}

/// What this process has of a journal, if it has any.
fn local(space: &Space, journal: &JournalName, me: &ProcessId) -> Option<Local> {
    let own = space.assignments(journal).find(|assigned| assigned.assignment.member == *me)?;
    let Item { spec, create_revision, mod_revision } = space.item(journal)?;
    Some(Local {
        journal: journal.clone(),
        create_revision,
        mod_revision,
        spec,
        is_primary: own.assignment.slot == 0,
        assigned: own.entry.create_revision.get(),
        assignments: space.assignments(journal).map(|assigned| assigned.entry.mod_revision.get()).collect(),
    })
}

#[cfg(test)]
mod tests;
