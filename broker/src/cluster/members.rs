//! Pure: the brokers of a cluster as its keys show them, for whoever operates it. What is known of them beside these keys it is told.

use std::collections::HashMap;

use courant_proto::id::ProcessId;
use courant_proto::wire::courant::members_response::Member;

use crate::journal_space::Space;
use crate::journal_space::decode::Value;

/// What is known of a member beside the cluster's own keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The version of a Courant broker; empty for one of another make.
    pub(crate) version: String,
    /// Who cannot reach it.
    pub(crate) suspected_by: Vec<ProcessId>,
}

/// The members, by zone and suffix.
pub(crate) fn members(space: &Space, known: impl Fn(&ProcessId) -> Known) -> Vec<Member> {
    let held = held(space);
    // Of those that were announced first, which one transaction may have made several of, the first in order leads.
    let leader = space.members().map(|(entry, _)| entry.create_revision).min();
    let mut leader = leader.and_then(|first| {
        let mut members = space.members();
        members.find(|(entry, _)| entry.create_revision == first).map(|(_, spec)| spec.id.clone())
    });
    space
        .members()
        .map(|(entry, spec)| {
            let Known { version, suspected_by } = known(&spec.id);
            let Held { replicas, primaries } = held.get(&spec.id).copied().unwrap_or_default();
            Member {
                spec: Some((&**spec).into()),
                create_revision: entry.create_revision.get(),
                replicas,
                primaries,
                version,
                suspected_by: suspected_by.iter().map(Into::into).collect(),
                leader: leader.take_if(|leader| *leader == spec.id).is_some(),
            }
        })
        .collect()
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    replicas: u32,
    primaries: u32,
}

/// What each member holds of journals that there are. Assignments of deleted ones are about to go.
fn held(space: &Space) -> HashMap<&ProcessId, Held> {
    let mut held: HashMap<&ProcessId, Held> = HashMap::new();
    for entry in space.all_assignments() {
        let Value::Assignment(assignment) = &entry.value else { continue };
        if space.has_item(assignment.journal.as_str()) {
            let held = held.entry(&assignment.member).or_default();
            held.replicas = held.replicas.saturating_add(1);
            held.primaries = held.primaries.saturating_add(u32::from(assignment.slot == 0));
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal_space::fixture::{Keys, broker, id, spec};

    /// A member in a line: its name, what it holds, and what else is known of it.
    fn show(member: &Member) -> String {
        let process = member.spec.as_ref().unwrap().process_spec.as_ref().unwrap();
        let id = process.id.as_ref().unwrap();
        let by: Vec<_> = member.suspected_by.iter().map(|by| by.suffix.as_str()).collect();
        let leader = if member.leader { " leads" } else { "" };
        let (held, primary) = (member.replicas, member.primaries);
        format!("{}/{} {held}/{primary} v{}{leader} [{}]", id.zone, id.suffix, member.version, by.join(","))
    }

    #[test]
    fn members_are_told_with_what_they_hold() {
        let mut keys = Keys::with_members(&["b/bess", "a/ahab"]);
        let mut exiting = broker(&id("c/cleo"));
        exiting.exiting = true;
        keys.member(&exiting);
        // A later change of its key does not make it a later member.
        keys.member(&broker(&id("b/bess")));
        keys.item(&spec("acme/x")).item(&spec("acme/y"));
        keys.assign("acme/x", "a/ahab", 0, None).assign("acme/x", "b/bess", 1, None);
        keys.assign("acme/y", "a/ahab", 1, None).assign("acme/y", "c/cleo", 2, None);
        keys.assign("acme/gone", "a/ahab", 0, None);
        let known = |member: &ProcessId| Known {
            version: if *member == id("b/bess") { String::new() } else { "1.0".to_owned() },
            suspected_by: if *member == id("c/cleo") { vec![id("a/ahab"), id("b/bess")] } else { Vec::new() },
        };
        let members = members(&keys.space(), known);
        assert_eq!(
            members.iter().map(show).collect::<Vec<_>>(),
            ["a/ahab 2/1 v1.0 []", "b/bess 1/0 v leads []", "c/cleo 1/0 v1.0 [ahab,bess]"]
        );
        assert!(members[2].spec.as_ref().unwrap().exiting);
        assert_eq!(members[1].create_revision, 2);
    }

    #[test]
    fn nobody_is_nobody() {
        assert_eq!(members(&Keys::new().space(), |_| Known::default()), []);
    }
}
