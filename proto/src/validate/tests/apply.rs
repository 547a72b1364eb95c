//! Tests of the rules of Apply.

use super::*;

#[test]
fn apply_request() {
    let upsert = wire::apply_request::Change { upsert: Some(spec()), ..Default::default() };
    let delete = wire::apply_request::Change {
        expect_mod_revision: 1,
        delete: "a/journal".into(),
        ..Default::default()
    };
    let good = wire::ApplyRequest { changes: vec![upsert, delete] };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.changes.clear(), Ok(()));
    check(
        &good,
        |r| r.changes[0].upsert.as_mut().expect("spec").replication = 1 << 20,
        Err("Changes[0].Upsert: invalid Replication (1048576; expected 1 <= Replication <= 5)"),
    );
    check(
        &good,
        |r| r.changes[0].delete = "a/journal".into(),
        Err("Changes[0]: both Upsert and Delete are set (expected exactly one)"),
    );
    check(
        &good,
        |r| r.changes[0].upsert = None,
        Err("Changes[0]: neither Upsert nor Delete are set (expected exactly one)"),
    );
    check(&good, |r| r.changes[0].expect_mod_revision = -1, Ok(()));
    check(
        &good,
        |r| r.changes[0].expect_mod_revision = -2,
        Err("Changes[0]: invalid ExpectModRevision (-2; expected >= 0 or -1)"),
    );
    check(&good, |r| r.changes[1].expect_mod_revision = -1, Ok(()));
    for revision in [0, -2] {
        let text = format!("Changes[1]: invalid ExpectModRevision ({revision}; expected > 0 or -1)");
        check(&good, |r| r.changes[1].expect_mod_revision = revision, Err(&text));
    }
    check(
        &good,
        |r| r.changes[1].delete = "/bad".into(),
        Err("Changes[1].Delete: cannot begin with '/' (/bad)"),
    );
    check(
        &good,
        |r| r.changes[1].delete = "a/journal;meta".into(),
        Err("Changes[1]: Delete cannot have a metadata path segment (;meta; expected no segment)"),
    );
    let response = wire::ApplyResponse { header: Some(header()), ..Default::default() };
    check(&response, |_| {}, Ok(()));
    check(&response, |r| r.status = 1234, Err("Status: invalid status (1234)"));
    check(
        &response,
        |r| r.header = Some(bad_header()),
        Err("Header.Etcd: invalid ClusterId (expected != 0)"),
    );
}
