//! One item's next step, case by case.

use std::collections::HashSet;

use super::*;
use crate::state::{MemberSpec, Stamp};

/// Members `a` to `f` with ten places each, and `full` with none; one item that wants `replication`, held as told by `member(slot)`,
/// with a star where consistent, and to be held by `desired`.
fn state(replication: u32, held: &str, desired: &str) -> State {
    let mut state = State::new();
    let stamp = |revision| Stamp { create_revision: revision, mod_revision: revision, lease: 7 };
    for (number, suffix) in (1..).zip(["a", "b", "c", "d", "e", "f", "full"]) {
        let limit = if suffix == "full" { 0 } else { 10 };
        state.put_member("zone", suffix, MemberSpec { limit, exiting: false }, stamp(number));
    }
    state.put_item("item", replication, stamp(50));
    for held in held.split_whitespace() {
        let (member, slot) = held.trim_end_matches([')', '*']).split_once('(').expect("member(slot)");
        let slot = slot.parse().expect("a slot");
        state.put_assignment("item", ("zone", member), slot, stamp(60), held.ends_with('*'));
    }
    state.solve();
    let number = state.items.find("item").expect("the item");
    let members: Vec<u32> =
        desired.split_whitespace().map(|suffix| state.members.number("zone", suffix)).collect();
    state.items.get_mut(number).desired = crate::items::Span { from: 0, len: crate::network::len(&members) };
    state.solution.members = members;
    state
}

/// Gives a member other items to hold: `total`, of which it is the primary of `primaries`.
fn load(state: &mut State, suffix: &str, total: u32, primaries: u32) {
    let number = state.members.number("zone", suffix);
    let member = state.members.get_mut(number);
    (member.total, member.primaries) = (member.total + total, member.primaries + primaries);
}

/// What is done: `+member(slot)`, `-member(slot)`, `member(slot>slot)`, `~member(slot)` for another lease.
fn told(state: &State, first: FirstPrimary) -> String {
    let number = state.items.find("item").expect("the item");
    let step = state.step(number, first, &mut Loads::of(state));
    let name = |member: u32| state.members.get(member).suffix.to_string();
    let mut words = Vec::new();
    words.extend(step.adds.iter().map(|&(member, slot)| format!("+{}({slot})", name(member))));
    words.extend(step.removes.iter().map(|held| format!("-{}({})", name(held.member), held.slot)));
    words
        .extend(step.moved.iter().map(|(held, slot)| format!("{}({}>{slot})", name(held.member), held.slot)));
    words.extend(step.leases.iter().map(|held| format!("~{}({})", name(held.member), held.slot)));
    words.extend(step.waits.then(|| "waits".to_owned()));
    words.join(" ")
}

#[track_caller]
fn check(replication: u32, held: &str, desired: &str, expected: &str) {
    let state = state(replication, held, desired);
    assert_eq!(told(&state, FirstPrimary::FirstInOrder), expected, "{held} to {desired}");
}

#[test]
fn nothing_is_done_where_all_is_as_it_should_be() {
    check(2, "a(0)* b(1)*", "a b", "");
    check(2, "a(0) b(1)", "a b", "");
    check(0, "", "", "");
}

#[test]
fn members_are_added_above_the_highest_slot_and_only_where_they_have_room() {
    check(3, "", "a b c", "+a(0) +b(1) +c(2)");
    check(3, "b(1) a(7)", "a b c", "+c(8) b(1>0)");
    check(5, "a(0) b(7)", "a b c full d", "+c(8) +d(10) waits");
    check(1, "a(0)*", "full", "waits");
}

#[test]
fn removals_leave_as_many_consistent_ones_as_are_wanted() {
    check(2, "a(0)* b(1)* c(2)*", "b c", "-a(0) b(1>0)");
    check(2, "a(0)* b(1)* c(2)", "b c", "");
    check(2, "a(0) b(1) c(2)", "b c", "");
    check(2, "a(0)* b(1)* c(2)", "a b", "-c(2)");
    check(0, "a(0)* b(1)", "", "-a(0) -b(1)");
    check(1, "a(0)* b(1)* c(2)* d(3)*", "d", "-a(0) -b(1) -c(2) d(3>0)");
    // Two slots of one member are one too many.
    check(1, "a(0)* a(1)*", "a", "-a(1)");
}

#[test]
fn the_fullest_goes_first() {
    let mut state = state(2, "a(0)* b(1)* c(2)* d(3)*", "d e");
    load(&mut state, "b", 5, 0);
    load(&mut state, "c", 3, 0);
    assert_eq!(told(&state, FirstPrimary::FirstInOrder), "+e(4) -b(1) -c(2)");
    // A member without a key is fuller than those, and one that may hold nothing is fuller than that.
    state.remove_member("zone", "c");
    assert_eq!(told(&state, FirstPrimary::FirstInOrder), "+e(4) -c(2) -b(1)");
    state.put_member("zone", "d", MemberSpec { limit: 0, exiting: false }, Stamp::default());
    state.members.settle(2, 2, &HashSet::new());
    let number = state.items.find("item").expect("the item");
    state.items.get_mut(number).desired.len = 0;
    assert_eq!(told(&state, FirstPrimary::FirstInOrder), "-d(3) -c(2)");
}

#[test]
fn a_primary_is_chosen_among_the_consistent_by_primaries() {
    check(3, "a(1) b(2)* c(3)", "a b c", "b(2>0)");
    check(3, "a(1)* b(2)* c(3)*", "a b c", "a(1>0)");
    check(2, "a(0) b(1)*", "a b", "");
    let mut state = state(3, "a(1)* b(2)* c(3)", "a b c");
    load(&mut state, "a", 3, 3);
    load(&mut state, "b", 3, 1);
    assert_eq!(told(&state, FirstPrimary::FirstInOrder), "b(2>0)");
}

#[test]
fn the_first_primary_is_where_there_are_fewest() {
    let mut state = state(3, "", "a b c");
    load(&mut state, "a", 1, 1);
    load(&mut state, "b", 9, 0);
    assert_eq!(told(&state, FirstPrimary::LeastLoaded), "+a(1) +b(0) +c(2)");
    assert_eq!(told(&state, FirstPrimary::FirstInOrder), "+a(0) +b(1) +c(2)");
    // Full members are no choice.
    load(&mut state, "b", 1, 0);
    assert_eq!(told(&state, FirstPrimary::LeastLoaded), "+a(2) +c(0) waits");
}

#[test]
fn slots_are_packed_one_at_a_time_once_nothing_else_is_to_be_done() {
    check(3, "a(0)* b(3)* c(5)*", "a b c", "b(3>1)");
    check(3, "a(0)* b(1)* c(5)*", "a b c", "c(5>2)");
    check(3, "a(0)* b(3)* c(5)*", "a b d", "+d(6)");
}

#[test]
fn a_suspect_goes_at_once_when_another_is_known_to_have_everything_and_there_is_a_replacement() {
    let check = |held: &str, desired: &str, expected: &str| {
        let mut state = state(2, held, desired);
        let number = state.items.find("item").expect("the item");
        let suspect = state.members.number("zone", "b");
        state.suspects.insert((number, suspect));
        assert_eq!(told(&state, FirstPrimary::FirstInOrder), expected, "{held} to {desired}");
    };
    check("a(0)* b(1)*", "a c", "+c(2) -b(1)");
    check("a(0) b(1)*", "a c", "+c(2)");
    check("a(0) b(1)", "a c", "+c(2)");
    check("a(0)* b(1)*", "a", "");
    check("b(0)* a(1)*", "a c", "+c(2) -b(0) a(1>0)");
}

#[test]
fn a_suspect_goes_also_if_it_failed_before_the_set_was_consistent_again() {
    // They were three when they were told so last; since then a third one is to take part, and does not answer.
    let mut state = state(3, "a(0) b(1) c(2)", "a c d");
    state.set_synced("item", |at| at == 0);
    let number = state.items.find("item").expect("the item");
    let suspect = state.members.number("zone", "b");
    state.suspects.insert((number, suspect));
    assert_eq!(told(&state, FirstPrimary::FirstInOrder), "+d(3) -b(1)");
}

#[test]
fn assignments_follow_their_member_to_its_new_lease() {
    let mut state = state(2, "a(0)* b(1)*", "a b");
    let stamp = Stamp { create_revision: 70, mod_revision: 70, lease: 8 };
    state.put_member("zone", "b", MemberSpec { limit: 10, exiting: false }, stamp);
    assert_eq!(told(&state, FirstPrimary::FirstInOrder), "~b(1)");
}
