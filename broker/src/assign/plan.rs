//! Pure: what is to be done so that the only member of a cluster holds every journal.
//!
//! | the journal | its assignments | done |
//! |---|---|---|
//! | wants a replica | none of this member | added, as primary |
//! | wants a replica | this member's, but not as primary | promoted |
//! | wants a replica | this member's, with another route or lease | put again |
//! | wants none (it is suspended) | any | removed |
//! | any | of a member that is gone | removed |
//! | is not there | any | removed |
//!
//! Every transaction is guarded by this member's own key. An assignment carries the route that it makes: a set of one is
//! synchronised by itself.

use courant_keyspace::Entry;
use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use courant_proto::route::Route;

use crate::journal_space::decode::Value;
use crate::journal_space::{Assigned, Space, effective_replication};
use crate::transaction::{Guard, PutLease, Transaction, Write};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// This process is not a member.
    Absent,
    /// Somebody else is a member too.
    NotAlone { other: ProcessId },
    /// These transactions, in order.
    Alone(Vec<Transaction>),
}

/// Plans for the picture `space`. Journals that are as they were in `settled`, where all was well, are not looked at.
pub(crate) fn plan(space: &Space, settled: Option<&Space>, me: &ProcessId) -> Plan {
    if let Some((_, other)) = space.members().find(|(_, spec)| spec.id != *me) {
        return Plan::NotAlone { other: other.id.clone() };
    }
    let Some((member, spec)) = space.member_entry(me) else { return Plan::Absent };
    let limit = usize::try_from(spec.journal_limit).unwrap_or(usize::MAX);
    // Another life of the member key, or another limit, concerns every journal; and so does the end of one, where others wait
    // for its place.
    let settled = settled.filter(|before| {
        space.item_entries().len() <= limit
            && before.member_entry(me).is_some_and(|(entry, _)| entry.mod_revision == member.mod_revision)
    });
    // Where the limit is far, nobody needs to count.
    let assigned = space.all_assignments();
    let held = if assigned.len() + space.item_entries().len() <= limit {
        assigned.len()
    } else {
        assigned.iter().filter(|entry| entry.value.member() == Some(me)).count()
    };
    let mut planner = Planner {
        space,
        me,
        member,
        // An exiting member takes nothing more.
        room: if spec.exiting { 0 } else { limit.saturating_sub(held) },
        route: Route::new(vec![me.clone()], Some(0)).unwrap_or_default(),
        done: Vec::new(),
        current: Transaction::default(),
    };
    for journal in space.journals_changed_since(settled) {
        planner.journal(&journal);
    }
    planner.flush();
    Plan::Alone(planner.done)
}

struct Planner<'a> {
    space: &'a Space,
    me: &'a ProcessId,
    member: &'a Entry<Value>,
    /// Journals that this member may still be given.
    room: usize,
    route: Route,
    done: Vec<Transaction>,
    current: Transaction,
}

impl Planner<'_> {
    fn journal(&mut self, journal: &JournalName) {
        let item = self.space.item(journal);
        let wanted = item.as_ref().is_some_and(|item| effective_replication(&item.spec, 1) > 0);
        let mut kept = None;
        let mut step = Transaction::default();
        for assigned in self.space.assignments(journal) {
            let keep = wanted && kept.is_none() && assigned.assignment.member == *self.me;
            if keep {
                kept = Some(assigned);
            } else {
                step.guards.push(unchanged(&assigned));
                step.writes.push(Write::Delete { key: assigned.entry.key.to_vec() });
            }
        }
        if !step.writes.is_empty() {
            let key = self.space.root().item(journal);
            step.guards.push(match &item {
                Some(item) => Guard::Unchanged { key, mod_revision: item.mod_revision },
                None => Guard::SameLife { key, create_revision: 0 },
            });
        }
        match kept {
            Some(assigned) => self.mend(journal, &assigned, &mut step),
            None if wanted && self.room > 0 => {
                self.room -= 1;
                step.writes.push(self.put(journal));
            }
            None => {}
        }
        self.push(step);
    }

    /// An assignment of ours: it should be the primary's, live by our lease, and know its route.
    fn mend(&self, journal: &JournalName, assigned: &Assigned<'_>, step: &mut Transaction) {
        let assignment = assigned.assignment;
        let leased = assigned.entry.lease == self.member.lease;
        if assignment.slot == 0 && leased && assignment.knows(&self.route) {
            return;
        }
        step.guards.push(unchanged(assigned));
        if assignment.slot != 0 {
            step.writes.push(Write::Delete { key: assigned.entry.key.to_vec() });
        }
        step.writes.push(self.put(journal));
    }

    fn put(&self, journal: &JournalName) -> Write {
        Write::Put {
            key: self.space.root().assignment(journal, self.me, 0),
            value: self.route.encode(),
            lease: PutLease::Under(self.member.lease),
        }
    }

    /// Adds what is to be done for one journal, which is never torn apart.
    fn push(&mut self, step: Transaction) {
        if step.writes.is_empty() {
            return;
        }
        if self.current.guards.is_empty() {
            self.begin();
        } else if !self.current.has_room_for(&step) {
            self.flush();
            self.begin();
        }
        self.current.join(step);
    }

    fn begin(&mut self) {
        let key = self.member.key.to_vec();
        self.current.guards.push(Guard::Unchanged { key, mod_revision: self.member.mod_revision.get() });
    }

    fn flush(&mut self) {
        let full = std::mem::take(&mut self.current);
        if !full.writes.is_empty() {
            self.done.push(full);
        }
    }
}

fn unchanged(assigned: &Assigned<'_>) -> Guard {
    Guard::Unchanged { key: assigned.entry.key.to_vec(), mod_revision: assigned.entry.mod_revision.get() }
}

#[cfg(test)]
mod tests;
