//! Pure: the journals whose replicas are not what is wanted of them, or not in step, as the cluster's keys show it.

use courant_proto::wire::courant::unsettled_response::Journal;

use crate::journal_space::{Space, effective_replication, route_of, to_item};

/// The journals, by name. A suspended journal that has no replicas wants none.
pub(super) fn unsettled(space: &Space) -> Vec<Journal> {
    let items = space.item_entries().into_iter().filter_map(|entry| to_item(entry));
    let standings = items.map(|item| {
        let wanted = effective_replication(&item.spec, usize::MAX);
        let assigned: Vec<_> =
            space.assignments(&item.spec.name).map(|assigned| assigned.assignment).collect();
        let route = route_of(assigned.iter().copied());
        Journal {
            name: item.spec.name.to_string(),
            wanted: u32::try_from(wanted).unwrap_or(u32::MAX),
            assigned: u32::try_from(assigned.len()).unwrap_or(u32::MAX),
            has_primary: route.primary_member().is_some(),
            consistent: assigned.iter().all(|assignment| assignment.knows(&route)),
        }
    });
    standings.filter(|journal| !is_settled(journal)).collect()
}

fn is_settled(journal: &Journal) -> bool {
    journal.assigned == journal.wanted && journal.consistent && (journal.has_primary || journal.wanted == 0)
}

#[cfg(test)]
mod tests {
    use courant_proto::spec::SuspendLevel;

    use super::*;
    use crate::journal_space::fixture::{Keys, route, spec, suspended};

    #[test]
    fn journals_are_told_that_are_not_as_they_shall_be() {
        let members = ["a/ahab", "b/bess", "c/cleo"];
        let mut keys = Keys::with_members(&members);
        let twice = |name: &str| courant_proto::spec::JournalSpec { replication: 2, ..spec(name) };
        for name in ["acme/alone", "acme/behind", "acme/headless", "acme/new", "acme/settled", "acme/spare"] {
            keys.item(&twice(name));
        }
        keys.item(&suspended("acme/asleep", SuspendLevel::Full));
        let both = route(&members[..2], Some(0));
        for (name, known) in [("acme/settled", Some(&both)), ("acme/behind", None)] {
            keys.assign(name, "a/ahab", 0, Some(&both)).assign(name, "b/bess", 1, known);
        }
        let one = route(&members[..1], Some(0));
        keys.assign("acme/alone", "a/ahab", 0, Some(&one));
        let headless = route(&members[..2], None);
        keys.assign("acme/headless", "a/ahab", 1, Some(&headless));
        keys.assign("acme/headless", "b/bess", 2, Some(&headless));
        let all = route(&members, Some(0));
        for (slot, member) in (0..).zip(members) {
            keys.assign("acme/spare", member, slot, Some(&all));
        }
        let shown: Vec<_> = unsettled(&keys.space())
            .iter()
            .map(|journal| {
                let primary = if journal.has_primary { "" } else { " headless" };
                let step = if journal.consistent { "" } else { " behind" };
                format!("{} {}/{}{primary}{step}", journal.name, journal.assigned, journal.wanted)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "acme/alone 1/2",
                "acme/behind 2/2 behind",
                "acme/headless 2/2 headless",
                "acme/new 0/2 headless",
                "acme/spare 3/2"
            ]
        );
    }
}
