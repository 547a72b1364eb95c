//! Tests of the rules of List.

use prost::Message;

use super::*;

#[test]
fn list_request() {
    let good = wire::ListRequest {
        selector: Some(selector(&[("include", "a"), ("prefix", "foo/")], &[("exclude", "b")])),
        ..Default::default()
    };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.selector = None, Ok(()));
    check(
        &good,
        |r| r.selector = Some(selector(&[("xxx xxx", "")], &[])),
        Err("Selector.Include.Labels[0].Name: not a valid token (xxx xxx)"),
    );
    check(
        &good,
        |r| r.selector = Some(selector(&[("prefix", "foo")], &[])),
        Err(r#"Selector.Include.Labels["prefix"]: expected trailing '/' (foo)"#),
    );
    check(
        &good,
        |r| r.selector = Some(selector(&[], &[("prefix", "a/"), ("prefix", "b")])),
        Err(r#"Selector.Exclude.Labels["prefix"]: expected trailing '/' (b)"#),
    );
}

#[test]
fn list_response() {
    let journal = wire::list_response::Journal {
        spec: Some(spec()),
        mod_revision: 1,
        route: Some(header().route.expect("route")),
        create_revision: 1,
    };
    let good = wire::ListResponse { header: Some(header()), journals: vec![journal], ..Default::default() };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.status = 1234, Err("Status: invalid status (1234)"));
    check(&good, |r| r.header = Some(bad_header()), Err("Header.Etcd: invalid ClusterId (expected != 0)"));
    check(
        &good,
        |r| r.journals[0].spec.as_mut().expect("spec").replication = 0,
        Err("Journals[0].Spec: invalid Replication (0; expected 1 <= Replication <= 5)"),
    );
    check(
        &good,
        |r| r.journals[0].mod_revision = 0,
        Err("Journals[0]: invalid ModRevision (0; expected > 0)"),
    );
    check(
        &good,
        |r| r.journals[0].route.as_mut().expect("route").primary = 1,
        Err("Journals[0].Route: invalid Primary (1; expected -1 <= Primary < 1)"),
    );
    // The messages behind the first of a snapshot, and the one that marks its end.
    let empty = wire::Header {
        process_id: Some(Default::default()),
        route: Some(Default::default()),
        etcd: Some(Default::default()),
    };
    check(&good, |r| r.header = Some(empty.clone()), Ok(()));
    let end = wire::ListResponse { header: Some(empty), ..Default::default() };
    assert_eq!(end.encode_to_vec(), [0x12, 0x06, 0x0a, 0x00, 0x12, 0x00, 0x1a, 0x00]);
}
