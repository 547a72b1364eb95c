//! Pure: the keys of a cluster — journals, members, assignments — as one broker sees them at one revision.
//!
//! ```text
//!  <root>/assign/<journal>#<zone>#<suffix>#<slot>   who holds a journal; slot 0 is its primary
//!  <root>/items/<journal>                           what is wanted of a journal
//!  <root>/members/<zone>#<suffix>                   who can hold journals
//! ```
//!
//! Keys and values are Gazette's, byte for byte: [`key`] makes them, [`decode`] reads them. It does not know how the picture is
//! kept current; that is the mirror's part.

pub(crate) mod decode;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod key;
pub(crate) mod mirror;
mod recent;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use courant_keyspace::{Change, Entry, Run, Snapshot};
use courant_proto::header::{Etcd, Header};
use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use courant_proto::route::Route;
use courant_proto::spec::{BrokerSpec, JournalSpec};

use decode::{Assignment, Value};
pub(crate) use key::Root;
pub(crate) use mirror::SpaceMirror;

/// The cluster's keys at one revision. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    root: Arc<Root>,
    snapshot: Arc<Snapshot<Value>>,
}

/// A journal's spec, and since when it is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) spec: Arc<JournalSpec>,
    pub(crate) create_revision: i64,
    pub(crate) mod_revision: i64,
}

/// An assignment with its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assigned<'a> {
    pub(crate) entry: &'a Entry<Value>,
    pub(crate) assignment: &'a Assignment,
}

impl Space {
    /// The picture that a snapshot of the keys under `root` shows.
    pub(crate) fn new(root: Arc<Root>, snapshot: Arc<Snapshot<Value>>) -> Self {
        Self { root, snapshot }
    }

    /// Where the cluster's keys lie.
    pub(crate) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// The keys as they are.
    pub(crate) fn snapshot(&self) -> &Arc<Snapshot<Value>> {
        &self.snapshot
    }

    /// The revision of the newest change of any key. Brokers with the same one see the same.
    pub(crate) fn revision(&self) -> i64 {
        self.snapshot.revision().get()
    }

    /// The greatest revision of the registry that this picture reflects; what happened above [`Space::revision`] happened elsewhere.
    pub(crate) fn read_through(&self) -> i64 {
        self.snapshot.read_through().get()
    }

    /// The registry, as headers tell of it.
    pub(crate) fn etcd(&self) -> Etcd {
        let header = self.snapshot.header();
        Etcd {
            cluster_id: header.cluster_id,
            member_id: header.member_id,
            revision: header.revision.get(),
            raft_term: header.raft_term,
        }
    }

    /// The header of an answer about no one journal. It names this process only while its member key is there.
    pub(crate) fn unrouted(&self, me: &ProcessId) -> Header {
        Header::unrouted(self.member(me).map(|_| me.clone()), self.etcd())
    }

    /// A journal, if there is one.
    pub(crate) fn item(&self, journal: &JournalName) -> Option<Item> {
        self.snapshot.get(self.root.item(journal)).and_then(to_item)
    }

    /// Whether a journal of this name is there, which may be no valid one.
    pub(crate) fn has_item(&self, journal: &str) -> bool {
        self.snapshot.get(self.root.item_of(journal)).is_some()
    }

    /// All journals, by name.
    #[cfg(test)]
    pub(crate) fn items(&self) -> impl Iterator<Item = Item> {
        self.item_entries().into_iter().filter_map(|entry| to_item(entry))
    }

    /// The entries of all journals, by name.
    pub(crate) fn item_entries(&self) -> Run<'_, Value> {
        self.snapshot.prefix(self.root.items())
    }

    /// The entries of the journals whose name begins so, by name.
    pub(crate) fn item_entries_with_prefix(&self, prefix: &str) -> Run<'_, Value> {
        self.snapshot.prefix(self.root.item_of(prefix))
    }

    /// The name of the first journal at or after a bound.
    pub(crate) fn first_item_from(&self, bound: &str) -> Option<&str> {
        let run = self.snapshot.range(self.root.item_of(bound), self.root.items_end());
        match &run.first()?.value {
            Value::Item(spec) => Some(spec.name.as_str()),
            _ => None,
        }
    }

    /// A member's spec, while its key is there.
    pub(crate) fn member(&self, id: &ProcessId) -> Option<&Arc<BrokerSpec>> {
        self.member_entry(id).map(|(_, spec)| spec)
    }

    /// A member's spec with its entry.
    pub(crate) fn member_entry(&self, id: &ProcessId) -> Option<(&Entry<Value>, &Arc<BrokerSpec>)> {
        self.snapshot.get(self.root.member(id)).and_then(to_member)
    }

    /// All members, by zone and suffix.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&Entry<Value>, &Arc<BrokerSpec>)> {
        self.snapshot.prefix(self.root.members()).into_iter().filter_map(|entry| to_member(entry))
    }

    /// The assignments of a journal, by zone and suffix of their members.
    pub(crate) fn assignments<'a>(
        &'a self,
        journal: &JournalName,
    ) -> impl Iterator<Item = Assigned<'a>> + use<'a> {
        let run = self.snapshot.prefix(self.root.assignments(journal));
        run.into_iter().filter_map(|entry| to_assigned(entry))
    }

    /// The entries of all assignments, of journals by name and members by zone and suffix.
    pub(crate) fn all_assignments(&self) -> Run<'_, Value> {
        self.snapshot.prefix(self.root.all_assignments())
    }

    /// The journals whose spec or assignments may have changed since another picture; without one, all of them.
    pub(crate) fn journals_changed_since(&self, before: Option<&Self>) -> BTreeSet<JournalName> {
        match before {
            Some(before) => {
                let changes = self.snapshot.changes_since(&before.snapshot);
                changes.iter().filter_map(|change| value_of(change).journal()).cloned().collect()
            }
            None => self.snapshot.all().iter().filter_map(|entry| entry.value.journal()).cloned().collect(),
        }
    }

    /// The route of a journal, with endpoints. A member that is assigned but gone has none.
    pub(crate) fn route(&self, journal: &JournalName) -> Route {
        self.bare_route(journal).with_endpoints(|id| self.member(id).map(|spec| spec.endpoint.clone()))
    }

    /// The route of a journal as the registry keeps it.
    pub(crate) fn bare_route(&self, journal: &JournalName) -> Route {
        route_of(self.assignments(journal).map(|assigned| assigned.assignment))
    }

    /// Whether every assignment of a journal knows the route that its assignments make: all members have synchronised in it. A
    /// journal without assignments is consistent.
    #[cfg(test)]
    pub(crate) fn is_consistent(&self, journal: &JournalName) -> bool {
        let route = self.bare_route(journal);
        self.assignments(journal).all(|assigned| assigned.assignment.knows(&route))
    }
}

/// The value that a change left, or took away.
fn value_of<'a>(change: &Change<'a, Value>) -> &'a Value {
    match change {
        Change::Added(entry) | Change::Removed(entry) | Change::Updated { new: entry, .. } => &entry.value,
    }
}

/// The route that assignments make, in the order of their keys. Routes are compared between brokers, so all make them like this.
pub(crate) fn route_of<'a>(assignments: impl Iterator<Item = &'a Assignment>) -> Route {
    let mut members: Vec<ProcessId> = Vec::with_capacity(5);
    let mut primary = None;
    for assignment in assignments {
        // A member that holds two slots, which no allocator intends, counts with its first.
        if members.last() == Some(&assignment.member) {
            continue;
        }
        if assignment.slot == 0 {
            primary = Some(members.len());
        }
        members.push(assignment.member.clone());
    }
    // The members come in order, and the primary is one of them: there is nothing to refuse.
    Route::new(members, primary).unwrap_or_default()
}

/// Replicas that a journal is to have: what its spec and its suspension say, and at most `most`.
pub(crate) fn effective_replication(spec: &JournalSpec, most: usize) -> usize {
    usize::try_from(spec.effective_replication()).unwrap_or(0).min(most)
}

pub(crate) fn to_item(entry: &Entry<Value>) -> Option<Item> {
    match &entry.value {
        Value::Item(spec) => Some(Item {
            spec: Arc::clone(spec),
            create_revision: entry.create_revision.get(),
            mod_revision: entry.mod_revision.get(),
        }),
        _ => None,
    }
}

fn to_member(entry: &Entry<Value>) -> Option<(&Entry<Value>, &Arc<BrokerSpec>)> {
    match &entry.value {
        Value::Member(spec) => Some((entry, spec)),
        _ => None,
    }
}

fn to_assigned(entry: &Entry<Value>) -> Option<Assigned<'_>> {
    match &entry.value {
        Value::Assignment(assignment) => Some(Assigned { entry, assignment }),
        _ => None,
    }
}
