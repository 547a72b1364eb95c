//! Where each kind of request is served, or why it is not.

use courant_proto::route::Route;
use courant_proto::spec::SuspendLevel;

use super::*;
use crate::journal_space::fixture::*;

const PEER: &str = "zone-b/peer";

/// `local` is ours as primary, `peer` the peer's with us as replica, `remote` the peer's alone, `headless` has no primary, `bare`
/// nobody, `asleep` is fully suspended; `ghost` has an assignment and no spec.
fn keys() -> Keys {
    let mut keys = Keys::with_members(&["zone-a/self", PEER]);
    for journal in ["the/local", "the/peer", "the/remote", "the/headless", "the/bare"] {
        keys.item(&spec(journal));
    }
    keys.item(&suspended("the/asleep", SuspendLevel::Full));
    keys.assign("the/local", "zone-a/self", 0, None);
    keys.assign("the/peer", "zone-a/self", 1, None).assign("the/peer", PEER, 0, None);
    keys.assign("the/remote", PEER, 0, None);
    keys.assign("the/headless", "zone-a/self", 1, None).assign("the/headless", PEER, 2, None);
    keys.assign("the/asleep", "zone-a/self", 0, None);
    keys.assign("the/ghost", "zone-a/self", 0, None);
    keys
}

fn asked(space: &Space, journal: &str, may_proxy: bool, require_primary: bool) -> Resolution {
    resolve(space, &Ask { journal: &name(journal), may_proxy, require_primary, me: &me() })
}

#[test]
fn statuses_and_who_serves() {
    let space = keys().space();
    let mine = Some("zone-a#self");
    // (journal, may proxy, primary) -> status, process id, local
    type Row = (&'static str, bool, bool, Status, Option<&'static str>, bool);
    let table: &[Row] = &[
        ("the/local", false, false, Status::Ok, mine, true),
        ("the/local", false, true, Status::Ok, mine, true),
        ("the/peer", false, false, Status::Ok, mine, true),
        ("the/peer", false, true, Status::NotJournalPrimaryBroker, mine, false),
        ("the/peer", true, true, Status::Ok, Some("zone-b#peer"), false),
        ("the/remote", false, false, Status::NotJournalBroker, mine, false),
        ("the/remote", true, false, Status::Ok, None, false),
        ("the/remote", true, true, Status::Ok, Some("zone-b#peer"), false),
        ("the/headless", true, true, Status::NoJournalPrimaryBroker, mine, false),
        ("the/headless", true, false, Status::Ok, mine, true),
        ("the/bare", true, false, Status::InsufficientJournalBrokers, mine, false),
        ("the/bare", true, true, Status::NoJournalPrimaryBroker, mine, false),
        ("the/asleep", true, true, Status::Suspended, mine, false),
        ("the/ghost", true, false, Status::JournalNotFound, mine, false),
        ("the/unknown", true, true, Status::JournalNotFound, mine, false),
    ];
    for (journal, may_proxy, primary, status, process, is_local) in table {
        let found = asked(&space, journal, *may_proxy, *primary);
        let got = (found.status, found.header.process_id.as_ref().map(ToString::to_string), found.is_local);
        assert_eq!(
            got,
            (*status, process.map(str::to_owned), *is_local),
            "{journal}, proxy {may_proxy}, primary {primary}"
        );
        assert_eq!(found.header.etcd, space.etcd());
    }
}

#[test]
fn refusals_carry_the_route_with_endpoints() {
    let space = keys().space();
    let found = asked(&space, "the/peer", false, true);
    let route = &found.header.route;
    assert!(route.equivalent(&route_of_both(Some(1))));
    assert_eq!(route.primary_endpoint().map(ToString::to_string).as_deref(), Some("http://peer:8080"));
    assert_eq!(found.item.map(|item| item.spec.name.clone()), Some(name("the/peer")));
    for nothing in ["the/unknown", "the/bare"] {
        assert_eq!(asked(&space, nothing, true, false).header.route, Route::empty(), "{nothing}");
    }
}

fn route_of_both(primary: Option<usize>) -> Route {
    route(&["zone-a/self", PEER], primary)
}

#[test]
fn without_a_member_key_peers_are_found_and_refusals_are_signed_by_a_placeholder() {
    let mut keys = keys();
    keys.delete(&root().member(&me()));
    let space = keys.space();
    let found = asked(&space, "the/remote", true, true);
    assert_eq!((found.status, found.header.process_id), (Status::Ok, Some(id(PEER))));
    let found = asked(&space, "the/remote", false, true);
    assert_eq!(found.status, Status::NotJournalPrimaryBroker);
    assert_eq!(found.header.process_id, Some(id("local-BrokerSpec/missing-from-Etcd")));
}

#[test]
fn headers_meant_for_others_are_refused() {
    let space = keys().space();
    let header = |process_id, cluster_id| {
        let etcd = courant_proto::header::Etcd { cluster_id, ..space.etcd() };
        Header { process_id, route: Route::empty(), etcd }
    };
    let check = |header: Header, expected: Result<(), &str>| {
        let got = check_header(&space, &me(), &header).map_err(|error| error.to_string());
        assert_eq!(got, expected.map_err(str::to_owned));
    };
    check(header(None, 0xc1), Ok(()));
    check(header(Some(me()), 0xc1), Ok(()));
    check(header(None, 0xc2), Err("request Etcd ClusterId doesn't match our own (194 vs 193)"));
    check(
        header(Some(id(PEER)), 0xc1),
        Err(
            r#"request ProcessId doesn't match our own (zone:"zone-b" suffix:"peer"  vs zone:"zone-a" suffix:"self" )"#,
        ),
    );
    let status = tonic::Status::from(Misdirected::Cluster { theirs: 1, ours: 2 });
    assert_eq!(status.code(), tonic::Code::Unknown);
}
