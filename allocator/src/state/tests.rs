//! What is derived of what was told.

use super::*;

fn at(revision: i64) -> Stamp {
    Stamp { create_revision: revision, mod_revision: revision, lease: 7 }
}

const SPEC: MemberSpec = MemberSpec { limit: 5, exiting: false };

fn state() -> State {
    let mut state = State::new();
    state.put_member("b", "two", SPEC, at(3));
    state.put_member("a", "one", SPEC, at(4));
    state.put_member("c", "none", MemberSpec { limit: 0, ..SPEC }, at(5));
    state.put_item("i", 2, at(6));
    state
}

#[test]
fn zones_are_those_with_capacity() {
    let mut state = state();
    state.settle();
    assert_eq!(state.members.zones, [(0, 1), (1, 2)]);
    assert_eq!(state.members.slots, 10);
    assert_eq!((state.items.slots, state.items.widest(), state.item_count()), (2, 2, 1));
}

#[test]
fn only_assignments_of_what_exists_are_counted() {
    let mut state = state();
    state.put_assignment("i", ("a", "one"), 0, at(7), true);
    state.put_assignment("dead", ("a", "one"), 0, at(8), true);
    assert_eq!(state.load("a", "one"), (1, 1));
    state.put_item("dead", 1, at(9));
    assert_eq!(state.load("a", "one"), (2, 2));
    state.remove_item("i");
    assert_eq!(state.load("a", "one"), (1, 1));
    state.put_assignment("dead", ("a", "one"), 0, at(10), false);
    state.remove_assignment("dead", ("a", "one"), 1);
    assert_eq!(state.load("a", "one"), (1, 1), "the same again, and another that was never there");
    state.remove_assignment("dead", ("a", "one"), 0);
    assert_eq!(state.load("a", "one"), (0, 0));
}

#[test]
fn the_network_is_solved_again_for_what_it_is_made_of() {
    let check = |what: &str, expected: bool, change: fn(&mut State)| {
        let mut state = state();
        state.put_assignment("i", ("a", "one"), 0, at(7), true);
        state.solve();
        let before = state.version;
        change(&mut state);
        assert_eq!(state.version != before, expected, "{what}");
    };
    check("an assignment", false, |state| state.put_assignment("i", ("b", "two"), 1, at(9), false));
    check("another label of an item", false, |state| state.put_item("i", 2, at(9)));
    check("another endpoint of a member", false, |state| {
        state.put_member("a", "one", SPEC, Stamp { mod_revision: 9, ..at(4) });
    });
    check("replication", true, |state| state.put_item("i", 3, at(9)));
    check("an item", true, |state| state.put_item("j", 1, at(9)));
    check("an item that goes", true, |state| state.remove_item("i"));
    check("a limit", true, |state| state.put_member("a", "one", MemberSpec { limit: 6, ..SPEC }, at(4)));
    check("a member that leaves", true, |state| {
        state.put_member("a", "one", MemberSpec { exiting: true, ..SPEC }, at(4));
    });
    check("a member that goes", true, |state| state.remove_member("a", "one"));
    check("nothing", false, |state| state.remove_member("z", "nobody"));
    check("a suspect", true, |state| state.set_reports([(("b", "two"), ("a", "one"), true)]));
    check("a report by who is no primary", false, |state| {
        state.set_reports([(("a", "one"), ("b", "two"), true)])
    });
}

#[test]
fn the_oldest_leads_and_ties_go_by_key() {
    let mut state = state();
    assert!(state.is_leader("b", "two") && !state.is_leader("a", "one"));
    state.remove_member("b", "two");
    assert!(state.is_leader("a", "one"));
    state.put_member("b", "two", SPEC, at(4));
    assert!(state.is_leader("a", "one") && !state.is_leader("b", "two") && !state.is_leader("z", "nobody"));
}

#[test]
fn a_member_is_drained_when_it_leaves_and_holds_nothing() {
    let mut state = state();
    state.put_assignment("i", ("a", "one"), 0, at(7), true);
    state.put_member("a", "one", MemberSpec { exiting: true, ..SPEC }, at(4));
    assert!(!state.is_drained("a", "one") && !state.is_drained("b", "two"));
    state.remove_assignment("i", ("a", "one"), 0);
    assert!(state.is_drained("a", "one"));
}

#[test]
fn items_that_go_and_come_again_are_in_order_once() {
    let mut state = state();
    for id in ["z", "k", "a"] {
        state.put_item(id, 1, at(9));
    }
    state.settle();
    state.remove_item("k");
    state.put_item("k", 1, at(10));
    state.remove_item("a");
    state.put_item("b", 1, at(11));
    state.settle();
    let names: Vec<&str> = state.items.ordered().iter().map(|&item| &*state.items.get(item).id).collect();
    assert_eq!(names, ["b", "i", "k", "z"]);
}

#[test]
fn who_hears_nobody_is_reported_by_most_and_believed_by_none() {
    let check = |reports: &[(&str, &str)], expected: &[&str]| {
        let mut state = State::new();
        for suffix in ["p", "q", "r", "s", "t"] {
            state.put_member("z", suffix, SPEC, at(4));
        }
        state.put_item("i", 3, at(5));
        for (slot, suffix) in (0..).zip(["p", "q", "r"]) {
            state.put_assignment("i", ("z", suffix), slot, at(7), true);
        }
        state.set_reports(reports.iter().map(|(member, by)| (("z", *member), ("z", *by), true)));
        let item = state.items.find("i").expect("the item");
        let found = ["p", "q", "r", "s", "t"]
            .into_iter()
            .filter(|suffix| state.is_suspect(item, state.members.find("z", suffix).expect("a member")));
        assert_eq!(found.collect::<Vec<_>>(), expected, "{reports:?}");
    };
    check(&[("q", "p")], &["q"]);
    check(&[("p", "q"), ("p", "r")], &[]);
    check(&[("p", "q"), ("p", "r"), ("p", "s")], &["p"]);
    check(&[("p", "q"), ("p", "r"), ("p", "s"), ("q", "p"), ("r", "p"), ("s", "p")], &["p"]);
    check(&[("t", "q"), ("t", "r"), ("t", "s"), ("q", "t")], &["t"]);
}
