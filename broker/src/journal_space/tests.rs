//! Keys and values as Gazette writes them, and what is set aside with which words.

use courant_keyspace::Decoder;
use courant_proto::spec::SuspendLevel;
use proptest::prelude::*;

use super::decode::{SpaceDecoder, Value};
use super::fixture::*;
use super::*;

#[test]
fn a_root_is_a_clean_path() {
    for good in ["/courant/cluster", "/gazette/cluster", "/a"] {
        assert_eq!(Root::parse(good).expect(good).to_string(), good);
    }
    for bad in ["", "/", "courant", "/courant/", "/courant//cluster", "/courant/./cluster", "/a/../b", "//"] {
        let text = Root::parse(bad).expect_err(bad).to_string();
        assert!(text.contains("must be a clean path"), "{bad}: {text}");
    }
}

#[test]
fn keys_are_gazettes() {
    let root = Root::parse("/gazette/cluster").expect("a root");
    let text = |key: Vec<u8>| String::from_utf8(key).expect("text");
    let events = name("acme/events");
    assert_eq!(root.folder(), "/gazette/cluster/");
    assert_eq!(text(root.item(&events)), "/gazette/cluster/items/acme/events");
    assert_eq!(text(root.member(&id("us-a/brk1"))), "/gazette/cluster/members/us-a#brk1");
    assert_eq!(
        text(root.assignment(&events, &id("us-a/brk1"), 0)),
        "/gazette/cluster/assign/acme/events#us-a#brk1#0"
    );
    assert_eq!(text(root.assignments(&events)), "/gazette/cluster/assign/acme/events#");
    assert_eq!(text(root.lineage(&events)), "/courant-x/gazette/cluster/lineage/acme/events");
    let (from, to) = root.nested_items(&events);
    assert_eq!(
        (text(from), text(to)),
        ("/gazette/cluster/items/acme/events/".to_owned(), "/gazette/cluster/items/acme/events0".to_owned(),)
    );
}

proptest! {
    /// What keys are separated by is below every byte that a name, a zone or a suffix may have.
    #[test]
    fn no_part_of_a_key_holds_what_separates_them(text in "\\PC{4,20}") {
        let is_part = JournalName::parse(&text).is_ok() || ProcessId::new(&text, "self").is_ok();
        prop_assert!(!is_part || text.bytes().all(|byte| byte > key::SEPARATOR), "{text:?}");
    }
}

#[test]
fn what_cannot_be_decoded_says_why() {
    let decoder = SpaceDecoder::new(root());
    let check = |key: &str, value: &[u8], expected: &str| {
        let key = format!("/courant/cluster/{key}");
        let error = decoder.decode(key.as_bytes(), value).expect_err(&key);
        assert!(error.contains(expected), "{key}: {error}");
    };
    let (journal, member) = (spec("acme/events").encode(), broker(&me()).encode());
    check("members/zone-a", &member, "expected (zone, suffix) in member key");
    check("members/zone-a#self#more", &member, "expected (zone, suffix) in member key");
    check("items/acme#events", &journal, "expected (id) in item key");
    let parts = "expected (item-id, member-zone, member-suffix, slot) in assignment key";
    check("assign/acme/events#zone-a#self", b"", parts);
    check("assign/acme/events#zone-a#self#0#1", b"", parts);
    for slot in ["", "x", "-1", "+1", "4294967296"] {
        check(&format!("assign/acme/events#zone-a#self#{slot}"), b"", "invalid syntax");
    }
    check("other/acme/events", &journal, "unexpected key prefix");
    check("items/acme/events", b"\xff", "decode");
    check("items/acme/other", &journal, "JournalSpec Name doesn't match Item ID (acme/events vs acme/other)");
    check("members/zone-b#self", &member, "BrokerSpec Zone doesn't match Member Zone (zone-a vs zone-b)");
    check("members/zone-a#elf-1", &member, "BrokerSpec Suffix doesn't match Member Suffix (self vs elf-1)");
    let invalid = JournalSpec { replication: 6, ..spec("acme/events") }.encode();
    check("items/acme/events", &invalid, "invalid Replication (6; expected 1 <= Replication <= 5)");
    check("assign/acme/events#zone-a#self#0", b"\x0a\x01", "decode");
}

#[test]
fn an_assignment_that_was_never_synchronised_knows_no_route() {
    let decoder = SpaceDecoder::new(root());
    let decoded =
        decoder.decode(b"/courant/cluster/assign/acme/events#zone-a#self#10", b"").expect("an assignment");
    let Value::Assignment(assignment) = decoded else { panic!("{decoded:?}") };
    assert_eq!((assignment.journal, assignment.member, assignment.slot), (name("acme/events"), me(), 10));
    assert_eq!(assignment.route, None);
}

#[test]
fn finds_journals_members_and_assignments() {
    let mut keys = Keys::with_members(&["zone-a/self", "zone-b/peer"]);
    for journal in ["acme/events", "acme/events-more", "acme/event", "acme/zebra"] {
        keys.item(&spec(journal));
    }
    keys.item(&labelled("acme/events", &[("key", "value")]));
    keys.assign("acme/events", "zone-b/peer", 0, None).assign("acme/events", "zone-a/self", 1, None);
    keys.assign("acme/events-more", "zone-a/self", 0, None);
    let space = keys.space();

    let item = space.item(&name("acme/events")).expect("a journal");
    assert_eq!((item.create_revision, item.mod_revision), (4, 8));
    assert_eq!(item.spec.labels.value_of("key"), Some("value"));
    assert_eq!(space.item(&name("acme/even")), None);
    let names: Vec<String> = space.items().map(|item| item.spec.name.to_string()).collect();
    assert_eq!(names, ["acme/event", "acme/events", "acme/events-more", "acme/zebra"]);
    assert_eq!(space.first_item_from("acme/events/"), Some("acme/zebra"));
    assert_eq!(space.first_item_from("b"), None);

    let of = |journal: &str| -> Vec<String> {
        let assignments = space.assignments(&name(journal));
        assignments.map(|a| format!("{}#{}", a.assignment.member, a.assignment.slot)).collect()
    };
    assert_eq!(of("acme/events"), ["zone-a#self#1", "zone-b#peer#0"]);
    assert_eq!(of("acme/event"), Vec::<String>::new());
    assert_eq!(
        space.member(&me()).map(|spec| spec.endpoint.to_string()).as_deref(),
        Some("http://self:8080")
    );
    assert_eq!(space.member(&id("zone-a/nobody")), None);
    assert_eq!(space.members().count(), 2);
    assert_eq!((space.revision(), space.etcd().cluster_id), (11, 0xc1));
}

#[test]
fn a_route_is_made_of_assignments_in_the_order_of_their_keys() {
    let check = |assigned: &[(&str, u32)], members: &[&str], primary: Option<usize>| {
        let mut keys = Keys::with_members(&["zone-a/self", "zone-b/peer"]);
        for (member, slot) in assigned {
            keys.assign("acme/events", member, *slot, None);
        }
        let space = keys.space();
        let expected = route(members, primary);
        assert_eq!(space.bare_route(&name("acme/events")), expected);
        assert!(space.route(&name("acme/events")).equivalent(&expected));
    };
    check(&[], &[], None);
    check(&[("zone-a/self", 0)], &["zone-a/self"], Some(0));
    check(&[("zone-a/self", 2)], &["zone-a/self"], None);
    check(
        &[("zone-b/peer", 0), ("zone-a/self", 1), ("zone-a/zulu", 2)],
        &["zone-a/self", "zone-a/zulu", "zone-b/peer"],
        Some(2),
    );
    // Two slots of one member count once, with the first.
    check(
        &[("zone-a/self", 0), ("zone-a/self", 1), ("zone-b/peer", 2)],
        &["zone-a/self", "zone-b/peer"],
        Some(0),
    );

    let mut keys = Keys::with_members(&["zone-a/self"]);
    keys.assign("acme/events", "zone-a/self", 0, None).assign("acme/events", "zone-c/gone", 1, None);
    let found = keys.space().route(&name("acme/events"));
    assert_eq!(found.primary_endpoint().map(ToString::to_string).as_deref(), Some("http://self:8080"));
    assert_eq!(found.endpoint(1), None, "a member that is gone has no endpoint");
}

#[test]
fn a_journal_is_consistent_when_all_its_assignments_know_its_route() {
    let both = ["zone-a/self", "zone-b/peer"];
    let right = route(&both, Some(0));
    let check = |known: [Option<&Route>; 2], expected: bool, what: &str| {
        let mut keys = Keys::with_members(&both);
        keys.assign("acme/events", both[0], 0, known[0]).assign("acme/events", both[1], 1, known[1]);
        assert_eq!(keys.space().is_consistent(&name("acme/events")), expected, "{what}");
    };
    check([Some(&right), Some(&right)], true, "all equal");
    check([Some(&right), None], false, "one was never synchronised");
    let other_primary = route(&both, Some(1));
    check([Some(&other_primary), Some(&other_primary)], false, "another primary");
    let fewer = route(&both[..1], Some(0));
    check([Some(&right), Some(&fewer)], false, "other members");
    let endpoints = right.clone().with_endpoints(|_| Some(broker(&me()).endpoint));
    check([Some(&right), Some(&endpoints)], true, "endpoints do not count");
    assert!(Keys::new().space().is_consistent(&name("acme/events")), "no assignments");
}

#[test]
fn replication_is_what_spec_suspension_and_the_limit_leave() {
    let check = |level: SuspendLevel, replication: i32, most: usize, expected: usize| {
        let spec = JournalSpec { replication, ..suspended("acme/events", level) };
        assert_eq!(effective_replication(&spec, most), expected);
    };
    check(SuspendLevel::None, 3, 9, 3);
    check(SuspendLevel::None, 3, 1, 1);
    check(SuspendLevel::Partial, 3, 9, 1);
    check(SuspendLevel::Full, 3, 9, 0);
}

#[test]
fn tells_which_journals_a_change_concerns() {
    let mut keys = Keys::with_members(&["zone-a/self"]);
    keys.item(&spec("acme/one")).item(&spec("acme/two")).assign("acme/two", "zone-a/self", 0, None);
    let before = keys.space();
    keys.member(&broker(&id("zone-b/peer"))).unassign("acme/two", "zone-a/self", 0).item(&spec("acme/three"));
    let after = keys.space();
    let names = |space: &Space, before| -> Vec<String> {
        space.journals_changed_since(before).iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(&after, Some(&before)), ["acme/three", "acme/two"]);
    assert_eq!(names(&after, Some(&after)), Vec::<String>::new());
    assert_eq!(names(&after, None), ["acme/one", "acme/three", "acme/two"]);
}
