//! Which assignments are made, kept and given up for which picture of the cluster.

use courant_proto::spec::{BrokerSpec, SuspendLevel};

use super::*;
use crate::journal_space::fixture::*;

/// What a plan does, without the root in front of keys.
fn told(plan: &Plan) -> Vec<String> {
    let Plan::Alone(transactions) = plan else { return vec![format!("{plan:?}")] };
    let short = |key: &[u8]| String::from_utf8_lossy(key).replace("/courant/cluster/", "");
    let mut lines = Vec::new();
    for transaction in transactions {
        lines.extend(transaction.guards.iter().map(|guard| match guard {
            Guard::Unchanged { key, mod_revision } => format!("{} put at {mod_revision}", short(key)),
            Guard::SameLife { key, create_revision } => {
                format!("{} created at {create_revision}", short(key))
            }
            Guard::NotCreatedAfter { .. } => panic!("{guard:?}"),
        }));
        lines.extend(transaction.writes.iter().map(|write| match write {
            Write::Delete { key } => format!("-{}", short(key)),
            Write::Put { key, value, lease } => {
                assert_eq!(*lease, PutLease::Under(LEASE));
                assert_eq!(*value, own().encode());
                format!("+{}", short(key))
            }
        }));
    }
    lines
}

fn own() -> Route {
    route(&["zone-a/self"], Some(0))
}

fn check(what: &str, prepare: impl Fn(&mut Keys), expected: &[&str]) {
    let mut keys = Keys::with_members(&["zone-a/self"]);
    prepare(&mut keys);
    assert_eq!(told(&plan(&keys.space(), None, &me())), expected, "{what}");
}

const MEMBER: &str = "members/zone-a#self put at 2";

#[test]
fn brings_every_journal_to_the_only_member() {
    check("no journals", |_| {}, &[]);
    check(
        "a new journal",
        |keys| {
            keys.item(&spec("the/one"));
        },
        &[MEMBER, "+assign/the/one#zone-a#self#0"],
    );
    check(
        "all is well",
        |keys| {
            keys.item(&spec("the/one")).assign("the/one", "zone-a/self", 0, Some(&own()));
        },
        &[],
    );
    check(
        "it was never synchronised",
        |keys| {
            keys.item(&spec("the/one")).assign("the/one", "zone-a/self", 0, None);
        },
        &[MEMBER, "assign/the/one#zone-a#self#0 put at 4", "+assign/the/one#zone-a#self#0"],
    );
    check(
        "its route is another",
        |keys| {
            let other = route(&["zone-a/self", "zone-b/gone"], Some(1));
            keys.item(&spec("the/one")).assign("the/one", "zone-a/self", 0, Some(&other));
        },
        &[MEMBER, "assign/the/one#zone-a#self#0 put at 4", "+assign/the/one#zone-a#self#0"],
    );
    check(
        "it has no primary",
        |keys| {
            keys.item(&spec("the/one")).assign("the/one", "zone-a/self", 2, Some(&own()));
        },
        &[
            MEMBER,
            "assign/the/one#zone-a#self#2 put at 4",
            "-assign/the/one#zone-a#self#2",
            "+assign/the/one#zone-a#self#0",
        ],
    );
    check(
        "it lives by another lease",
        |keys| {
            let key = root().assignment(&name("the/one"), &me(), 0);
            keys.item(&spec("the/one")).put(key, own().encode(), 0x55);
        },
        &[MEMBER, "assign/the/one#zone-a#self#0 put at 4", "+assign/the/one#zone-a#self#0"],
    );
    check(
        "a member that is gone has it",
        |keys| {
            keys.item(&spec("the/one")).assign("the/one", "zone-b/gone", 0, None);
        },
        &[
            MEMBER,
            "assign/the/one#zone-b#gone#0 put at 4",
            "items/the/one put at 3",
            "-assign/the/one#zone-b#gone#0",
            "+assign/the/one#zone-a#self#0",
        ],
    );
    check(
        "its journal is gone",
        |keys| {
            keys.assign("the/one", "zone-a/self", 0, Some(&own()));
        },
        &[
            MEMBER,
            "assign/the/one#zone-a#self#0 put at 3",
            "items/the/one created at 0",
            "-assign/the/one#zone-a#self#0",
        ],
    );
    check(
        "it is suspended and held",
        |keys| {
            keys.item(&suspended("the/one", SuspendLevel::Full)).assign(
                "the/one",
                "zone-a/self",
                0,
                Some(&own()),
            );
        },
        &[
            MEMBER,
            "assign/the/one#zone-a#self#0 put at 4",
            "items/the/one put at 3",
            "-assign/the/one#zone-a#self#0",
        ],
    );
    check(
        "it is suspended",
        |keys| {
            keys.item(&suspended("the/one", SuspendLevel::Full));
        },
        &[],
    );
    check(
        "it is suspended in part",
        |keys| {
            keys.item(&suspended("the/one", SuspendLevel::Partial));
        },
        &[MEMBER, "+assign/the/one#zone-a#self#0"],
    );
}

#[test]
fn does_nothing_beside_others_or_without_a_place() {
    let mut keys = Keys::with_members(&["zone-a/self", "zone-b/peer"]);
    keys.item(&spec("the/one"));
    assert_eq!(plan(&keys.space(), None, &me()), Plan::NotAlone { other: id("zone-b/peer") });
    keys.delete(&root().member(&id("zone-b/peer")));
    assert!(matches!(plan(&keys.space(), None, &me()), Plan::Alone(_)));
    keys.delete(&root().member(&me()));
    assert_eq!(plan(&keys.space(), None, &me()), Plan::Absent);
}

#[test]
fn takes_no_more_than_its_limit_and_nothing_when_it_leaves() {
    let count = |limit: u32, exiting: bool| {
        let mut keys = Keys::new();
        keys.member(&BrokerSpec { journal_limit: limit, exiting, ..broker(&me()) });
        for n in 0..5 {
            keys.item(&spec(&format!("the/{n:04}")));
        }
        keys.assign("the/0003", "zone-a/self", 0, Some(&own()));
        told(&plan(&keys.space(), None, &me())).iter().filter(|line| line.starts_with('+')).count()
    };
    assert_eq!(count(1000, false), 4);
    assert_eq!(count(3, false), 2);
    assert_eq!(count(1, false), 0);
    assert_eq!(count(1000, true), 0);
}

#[test]
fn fills_transactions_and_never_tears_a_journal_apart() {
    let mut keys = Keys::with_members(&["zone-a/self"]);
    for n in 0..1000 {
        let journal = format!("the/{n:04}");
        keys.item(&spec(&journal));
        if n % 3 == 0 {
            keys.assign(&journal, "zone-b/gone", 0, None).assign(&journal, "zone-c/gone", 1, None);
        }
    }
    let Plan::Alone(transactions) = plan(&keys.space(), None, &me()) else { panic!("alone") };
    assert!(transactions.len() < 20, "{}", transactions.len());
    let mut writes = 0;
    for transaction in &transactions {
        assert!(transaction.guards.len() <= 128 && transaction.writes.len() <= 128);
        let member = Guard::Unchanged { key: root().member(&me()), mod_revision: 2 };
        assert_eq!(transaction.guards[0], member);
        writes += transaction.writes.len();
        let of = |n: i32| {
            let part = format!("/the/{n:04}#");
            let touches = |write: &&Write| {
                let (Write::Put { key, .. } | Write::Delete { key }) = write;
                String::from_utf8_lossy(key).contains(&part)
            };
            transaction.writes.iter().filter(touches).count()
        };
        assert!((0..1000).step_by(3).all(|n| [0, 3].contains(&of(n))));
    }
    assert_eq!(writes, 1000 + 2 * 334);
}

#[test]
fn looks_only_at_what_has_changed_since_all_was_well() {
    let mut keys = Keys::with_members(&["zone-a/self"]);
    keys.item(&spec("the/one"));
    let settled = keys.space();
    keys.item(&spec("the/two"));
    let since = |keys: &Keys| told(&plan(&keys.space(), Some(&settled), &me()));
    assert_eq!(since(&keys), [MEMBER, "+assign/the/two#zone-a#self#0"]);
    // Another spec of this member concerns them all.
    keys.member(&BrokerSpec { journal_limit: 7, ..broker(&me()) });
    assert_eq!(since(&keys).iter().filter(|line| line.starts_with('+')).count(), 2);
}
