//! Limits, shares, and what is solved how.

use super::*;
use crate::state::{MemberSpec, Stamp};

#[test]
fn parts_are_rounded_up_and_never_more_than_the_whole() {
    let check = |count, numerator, denominator, expected| {
        assert_eq!(scaled(count, numerator, denominator), expected, "{count} × {numerator}/{denominator}");
    };
    check(10, 1, 3, 4);
    check(9, 1, 3, 3);
    check(0, 1, 3, 0);
    check(10, 3, 3, 10);
    check(10, 7, 3, 10);
    check(10, 0, 0, 10);
    check(u32::MAX, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u32::MAX);
}

/// Members in three zones and items of mixed replication, all held as solved.
fn cluster(members: u32, items: u32) -> State {
    let mut state = State::new();
    for number in 0..members {
        let zone = ["a", "b", "c"][number as usize % 3];
        let spec = MemberSpec { limit: 10_000, exiting: false };
        state.put_member(zone, &format!("m{number:03}"), spec, Stamp::default());
    }
    for number in 0..items {
        state.put_item(&format!("i{number:05}"), [3, 2, 3, 1, 3][number as usize % 5], Stamp::default());
    }
    settle(&mut state);
    state
}

/// All items are held as they are to be.
fn settle(state: &mut State) {
    state.solve();
    let names: Vec<String> =
        state.items.ordered().iter().map(|&item| state.items.get(item).id.to_string()).collect();
    for name in names {
        let number = state.items.find(&name).expect("an item");
        state.items.get_mut(number).assigned.clear();
        let desired: Vec<(String, String)> = state
            .desired(&name)
            .iter()
            .map(|(zone, suffix)| (zone.to_string(), suffix.to_string()))
            .collect();
        for (slot, (zone, suffix)) in (0..).zip(&desired) {
            state.put_assignment(&name, (zone, suffix), slot, Stamp::default(), true);
        }
    }
}

/// What solving every batch whole comes to: what a leader does that knows nothing of mending.
fn solved_whole(state: &mut State) -> Vec<u32> {
    state.settle();
    let mut solve = Solve::new(state);
    let mut members = Vec::new();
    for items in state.items.ordered().chunks(BATCH_ITEMS) {
        let frame = solve.frame(items);
        let solved = solve.whole(&frame);
        members.extend(solved.all.iter().map(|&place| state.members.order[place as usize]));
    }
    members
}

#[test]
fn who_solves_whole_keeps_what_was_mended() {
    let check = |what: &str, change: &dyn Fn(&mut State)| {
        let mut state = cluster(10, 3_000);
        change(&mut state);
        let outcome = state.solve();
        assert!(outcome.whole == 0 && outcome.mended > 0, "{what}: {outcome:?}");
        settle(&mut state);
        let members = state.solution.members.clone();
        assert!(solved_whole(&mut state) == members, "{what}");
    };
    let spec = MemberSpec { limit: 10_000, exiting: false };
    check("a member dies", &|state| state.remove_member("b", "m004"));
    check("a member comes", &|state| state.put_member("b", "m9", spec, Stamp::default()));
    check("an item comes", &|state| state.put_item("i01000x", 3, Stamp::default()));
    check("an item grows", &|state| state.put_item("i01003", 3, Stamp::default()));
}

#[test]
fn batches_are_those_of_consecutive_items() {
    let count = |items: u32| {
        let mut state = cluster(6, items);
        state.version += 1;
        let members = solved_whole(&mut state).len();
        assert_eq!(members as u64, state.items.slots);
        state.items.ordered().chunks(BATCH_ITEMS).count()
    };
    assert_eq!(count(10_000), 1);
    assert_eq!(count(10_001), 2);
}

#[test]
fn suspects_get_nothing_of_the_items_that_they_are_suspected_for() {
    let mut state = cluster(6, 300);
    state.set_suspects([("i00000", ("a", "m000")), ("i00000", ("b", "m001"))]);
    state.solve();
    let desired = state.desired("i00000");
    assert_eq!(desired.len(), 3);
    assert!(!desired.contains(&("a", "m000")) && !desired.contains(&("b", "m001")), "{desired:?}");
}

#[test]
fn who_is_cut_off_is_treated_as_if_its_key_were_gone() {
    let mut state = cluster(5, 1_000);
    let reports = ["m000", "m002", "m003", "m004"].map(|by| (("b", "m001"), by));
    let zone = |suffix: &str| ["a", "b", "c", "a", "b"][usize::from(suffix.as_bytes()[3] - b'0')];
    state.set_reports(reports.map(|(member, by)| (member, (zone(by), by), true)));
    state.solve();
    let moved_to = state.solution.members.clone();
    assert!(!moved_to.contains(&state.members.number("b", "m001")), "it is given something");
    settle(&mut state);
    state.remove_member("b", "m001");
    state.set_reports([]);
    state.solve();
    assert!(state.solution.members == moved_to, "something else moves when it is gone");
}
