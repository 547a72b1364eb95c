//! Which transactions a pass makes: what they compare, what they write, where one ends and the next begins.

use super::*;
use crate::state::{MemberSpec, Stamp};
use crate::transaction::Write;

struct Valued;

impl Values for Valued {
    fn value(&self, key: &[u8]) -> Vec<u8> {
        [b"value of ", key].concat()
    }

    fn alone(&self, zone: &str, suffix: &str) -> Vec<u8> {
        format!("{zone}/{suffix} alone").into_bytes()
    }
}

/// Two members: `one` leads, `two` has another lease.
fn state() -> State {
    let mut state = State::new();
    let spec = MemberSpec { limit: 1_000, exiting: false };
    state.put_member("z", "one", spec, Stamp { create_revision: 1, mod_revision: 11, lease: 101 });
    state.put_member("z", "two", spec, Stamp { create_revision: 2, mod_revision: 12, lease: 102 });
    state
}

fn stamp(mod_revision: i64, lease: i64) -> Stamp {
    Stamp { create_revision: mod_revision, mod_revision, lease }
}

fn plan(state: &mut State, policy: Policy) -> Plan {
    state.plan(("z", "one"), policy, &Keys::new("/r"), &Valued)
}

fn told(plan: &Plan) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("/r/", "");
    let transaction = |transaction: &Transaction| {
        let compares = transaction.compares.iter().map(|compare| match compare {
            Compare::Unchanged { key, mod_revision } => format!("{}@{mod_revision}", text(key)),
            Compare::Absent { key } => format!("!{}", text(key)),
        });
        let writes = transaction.writes.iter().map(|write| match write {
            Write::Put { key, value, lease } => format!("+{}={}%{lease}", text(key), text(value)),
            Write::Delete { key } => format!("-{}", text(key)),
        });
        compares.chain(writes).collect::<Vec<_>>().join(" ")
    };
    plan.transactions.iter().map(transaction).collect()
}

#[track_caller]
fn check(state: &mut State, expected: &[&str]) {
    assert_eq!(told(&plan(state, Policy::default())), expected);
}

#[test]
fn new_assignments_compare_their_members_once_and_live_by_their_leases() {
    let mut state = state();
    state.put_item("i", 2, stamp(20, 0));
    state.put_item("j", 2, stamp(21, 0));
    check(
        &mut state,
        &["members/z#one@11 members/z#two@12 +assign/i#z#one#0=%101 +assign/i#z#two#1=%102 \
           +assign/j#z#one#1=%101 +assign/j#z#two#0=%102"],
    );
    // Until the mirror shows it, it is not known to have happened.
    assert_eq!(plan(&mut state, Policy::default()).transactions.len(), 1);
}

#[test]
fn who_is_alone_is_told_so_at_once() {
    let mut state = state();
    state.put_item("i", 1, stamp(20, 0));
    check(&mut state, &["members/z#one@11 members/z#two@12 +assign/i#z#two#0=z/two alone%102"]);
}

#[test]
fn removals_compare_the_item_once_and_promotions_keep_value_and_lease() {
    let mut state = state();
    state.put_item("i", 1, stamp(20, 0));
    state.put_assignment("i", ("z", "gone"), 0, stamp(30, 99), true);
    state.put_assignment("i", ("z", "left"), 1, stamp(31, 98), true);
    state.put_assignment("i", ("z", "two"), 2, stamp(32, 102), true);
    check(
        &mut state,
        &["members/z#one@11 items/i@20 assign/i#z#gone#0@30 assign/i#z#left#1@31 assign/i#z#two#2@32 \
           -assign/i#z#gone#0 -assign/i#z#left#1 -assign/i#z#two#2 \
           +assign/i#z#two#0=value of assign/i#z#two#2%102"],
    );
}

#[test]
fn assignments_of_nothing_go_together() {
    let mut state = state();
    state.put_assignment("dead", ("z", "one"), 0, stamp(30, 101), false);
    state.put_assignment("dead", ("z", "two"), 1, stamp(31, 102), false);
    check(
        &mut state,
        &["members/z#one@11 !items/dead assign/dead#z#one#0@30 assign/dead#z#two#1@31 \
           -assign/dead#z#one#0 -assign/dead#z#two#1"],
    );
    state.remove_assignment("dead", ("z", "one"), 0);
    state.remove_assignment("dead", ("z", "two"), 1);
    check(&mut state, &[]);
    assert!(state.is_settled() && state.items.find("dead").is_none(), "it is forgotten");
}

#[test]
fn only_members_plan() {
    let mut state = state();
    state.put_item("i", 1, stamp(20, 0));
    let plan = state.plan(("z", "nobody"), Policy::default(), &Keys::new("/r"), &Valued);
    assert_eq!(plan, Plan::default());
}

#[test]
fn transactions_are_filled_and_no_item_is_torn_apart() {
    let check = |items: usize, most_operations: usize, writes: &[usize]| {
        let mut state = state();
        for item in 0..items {
            state.put_item(&format!("i{item:03}"), 2, stamp(20, 0));
        }
        let plan = plan(&mut state, Policy { most_operations, ..Policy::default() });
        let found: Vec<usize> =
            plan.transactions.iter().map(|transaction| transaction.writes.len()).collect();
        assert_eq!(found, writes);
        for Transaction { compares, .. } in plan.transactions {
            assert!(compares.len() <= most_operations);
            let leader = Compare::Unchanged { key: b"/r/members/z#one".to_vec(), mod_revision: 11 };
            assert_eq!(compares[0], leader);
        }
    };
    check(0, 3, &[]);
    check(3, 3, &[2, 2, 2]);
    check(3, 5, &[4, 2]);
    check(100, 128, &[128, 72]);
}

#[test]
fn a_pass_may_stop_before_the_end_and_the_next_goes_on() {
    let mut state = state();
    for item in 0..300 {
        state.put_item(&format!("i{item:03}"), 1, stamp(20, 0));
    }
    let policy = Policy { most_transactions: 1, ..Policy::default() };
    let mut partial = 0;
    loop {
        let plan = plan(&mut state, policy);
        partial += usize::from(plan.is_partial);
        let writes: Vec<Write> = plan.transactions.into_iter().flat_map(|done| done.writes).collect();
        if writes.is_empty() {
            break;
        }
        for write in writes {
            let Write::Put { key, lease, .. } = write else { panic!("{write:?}") };
            let key = String::from_utf8(key).expect("a key");
            let parts: Vec<&str> = key.trim_start_matches("/r/assign/").split('#').collect();
            state.put_assignment(parts[0], (parts[1], parts[2]), 0, stamp(40, lease), true);
        }
    }
    assert_eq!(partial, 2);
    assert_eq!(state.assignments().count(), 300);
}
