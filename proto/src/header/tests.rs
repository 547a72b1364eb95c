//! Tests of headers.

use super::*;

fn good() -> wire::Header {
    wire::Header {
        process_id: Some(wire::process_spec::Id { zone: "zone".into(), suffix: "name".into() }),
        route: Some(wire::Route { primary: -1, ..Default::default() }),
        etcd: Some(wire::header::Etcd { cluster_id: 12, member_id: 34, revision: 56, raft_term: 78 }),
    }
}

#[test]
fn rules() {
    let check = |alter: fn(&mut wire::Header), expected: Result<(), &str>| {
        let mut wire = good();
        alter(&mut wire);
        let got = Header::try_from(wire).map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(got, expected.map_err(str::to_owned));
    };
    fn etcd(header: &mut wire::Header) -> &mut wire::header::Etcd {
        header.etcd.as_mut().expect("etcd")
    }
    check(|_| {}, Ok(()));
    check(|h| h.process_id = None, Ok(()));
    check(|h| h.process_id = Some(Default::default()), Ok(()));
    check(
        |h| h.process_id = Some(wire::process_spec::Id { zone: "zone".into(), suffix: String::new() }),
        Err("ProcessId.Suffix: invalid length (0; expected 4 <= length <= 128)"),
    );
    check(|h| h.route = None, Err("Route: invalid Primary (0; expected -1 <= Primary < 0)"));
    check(|h| h.etcd = None, Err("Etcd: invalid ClusterId (expected != 0)"));
    check(|h| etcd(h).cluster_id = 0, Err("Etcd: invalid ClusterId (expected != 0)"));
    check(|h| etcd(h).member_id = 0, Err("Etcd: invalid MemberId (expected != 0)"));
    check(|h| etcd(h).revision = 0, Err("Etcd: invalid Revision (0; expected 0 < revision)"));
    check(|h| etcd(h).revision = -1, Err("Etcd: invalid Revision (-1; expected 0 < revision)"));
    check(|h| etcd(h).raft_term = 0, Err("Etcd: invalid RaftTerm (expected != 0)"));
}

#[test]
fn survives_the_wire() {
    let header = Header::try_from(good()).expect("header");
    assert_eq!(wire::Header::from(&header), good());

    // An answer about no one journal, by a process that is not known: every part is there, and the route says
    // that it has no primary.
    let unrouted = wire::Header::from(&Header::unrouted(None, header.etcd));
    assert_eq!(unrouted.process_id, Some(Default::default()));
    assert_eq!(unrouted.route.as_ref().map(|route| route.primary), Some(-1));
    assert_eq!(Header::try_from(unrouted).map(|header| header.process_id), Ok(None));
}
