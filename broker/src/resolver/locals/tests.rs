//! Which replicas start, stop and are told of change when the picture changes.

use super::*;
use crate::journal_space::fixture::*;

/// What to do, by name: `-` stop, `+` start, `~` changed.
fn told(changes: &Changes) -> Vec<String> {
    let lines = |mark: &str, locals: &[Local]| -> Vec<String> {
        locals.iter().map(|local| format!("{mark}{}@{}", local.journal, local.create_revision)).collect()
    };
    [lines("-", &changes.stop), lines("+", &changes.start), lines("~", &changes.changed)].concat()
}

/// The keys before, what is done to them, and what follows.
fn check(what: &str, prepare: impl Fn(&mut Keys), change: impl Fn(&mut Keys), expected: &[&str]) {
    let mut keys = Keys::with_members(&["zone-a/self", "zone-b/peer"]);
    prepare(&mut keys);
    let before = follow(Locals::default(), &keys.space(), &me()).locals;
    change(&mut keys);
    let changes = follow(before, &keys.space(), &me());
    assert_eq!(told(&changes), expected, "{what}");
    // The same picture without a past leads to the same journals.
    let afresh = follow(Locals::default(), &keys.space(), &me()).locals;
    assert_eq!(changes.locals.iter().collect::<Vec<_>>(), afresh.iter().collect::<Vec<_>>(), "{what}");
}

fn one(keys: &mut Keys) {
    keys.item(&spec("the/one")).assign("the/one", "zone-a/self", 0, None);
}

#[test]
fn follows_assignments_and_specs() {
    check("nothing happens", one, |_| {}, &[]);
    check("newly assigned", |_| {}, one, &["+the/one@4"]);
    check(
        "assigned to a peer",
        |_| {},
        |keys| {
            keys.item(&spec("the/one")).assign("the/one", "zone-b/peer", 0, None);
        },
        &[],
    );
    check(
        "assigned without a spec",
        |_| {},
        |keys| {
            keys.assign("the/one", "zone-a/self", 0, None);
        },
        &[],
    );
    check(
        "no longer assigned",
        one,
        |keys| {
            keys.unassign("the/one", "zone-a/self", 0);
        },
        &["-the/one@4"],
    );
    check(
        "deleted",
        one,
        |keys| {
            keys.delete_item("the/one");
        },
        &["-the/one@4"],
    );
    check(
        "deleted and created anew in one batch",
        one,
        |keys| {
            keys.delete_item("the/one").item(&spec("the/one"));
        },
        &["-the/one@4", "+the/one@7"],
    );
    check(
        "demoted",
        one,
        |keys| {
            keys.unassign("the/one", "zone-a/self", 0).assign("the/one", "zone-a/self", 1, None);
        },
        &["-the/one@4", "+the/one@4"],
    );
    check(
        "taken away and given back unseen",
        one,
        |keys| {
            keys.unassign("the/one", "zone-a/self", 0).assign("the/one", "zone-a/self", 0, None);
        },
        &["-the/one@4", "+the/one@4"],
    );
    check(
        "promoted",
        |keys| {
            keys.item(&spec("the/one")).assign("the/one", "zone-a/self", 1, None);
        },
        |keys| {
            keys.unassign("the/one", "zone-a/self", 1).assign("the/one", "zone-a/self", 0, None);
        },
        &["~the/one@4"],
    );
    check(
        "spec changed",
        one,
        |keys| {
            keys.item(&labelled("the/one", &[("key", "value")]));
        },
        &["~the/one@4"],
    );
    check(
        "a peer was assigned too",
        one,
        |keys| {
            keys.assign("the/one", "zone-b/peer", 1, None);
        },
        &["~the/one@4"],
    );
    check(
        "another journal",
        one,
        |keys| {
            keys.item(&spec("the/two")).assign("the/two", "zone-a/self", 0, None);
        },
        &["+the/two@6"],
    );
    check(
        "a member came",
        one,
        |keys| {
            keys.member(&broker(&id("zone-c/third")));
        },
        &[],
    );
}

#[test]
fn a_changed_journal_comes_with_its_new_spec_and_role() {
    let mut keys = Keys::with_members(&["zone-a/self"]);
    one(&mut keys);
    let before = follow(Locals::default(), &keys.space(), &me()).locals;
    keys.item(&labelled("the/one", &[("key", "value")]));
    let changes = follow(before, &keys.space(), &me());
    let [changed] = &changes.changed[..] else { panic!("{changes:?}") };
    assert_eq!(changed.spec.labels.value_of("key"), Some("value"));
    assert!(changed.is_primary);
    assert_eq!((changed.create_revision, changed.mod_revision), (3, 5));
}
