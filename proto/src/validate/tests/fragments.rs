//! Tests of the rules of ListFragments and FragmentStoreHealth.

use super::*;

#[test]
fn fragments_request() {
    let good = wire::FragmentsRequest {
        header: Some(header()),
        journal: "a/journal".into(),
        begin_mod_time: 1,
        end_mod_time: 2,
        next_page_token: 3,
        page_limit: 10_000,
        signature_ttl: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        do_not_proxy: false,
    };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.header = Some(bad_header()), Err("Header.Etcd: invalid ClusterId (expected != 0)"));
    check(&good, |r| r.journal = "/bad".into(), Err("Journal: cannot begin with '/' (/bad)"));
    check(&good, |r| r.end_mod_time = 0, Ok(()));
    check(&good, |r| r.end_mod_time = 1, Ok(()));
    check(&good, |r| r.begin_mod_time = 3, Err("invalid EndModTime (2 must be after 3)"));
    check(&good, |r| r.next_page_token = -1, Err("invalid NextPageToken (-1; must be >= 0)"));
    check(&good, |r| r.page_limit = -1, Err("invalid PageLimit (-1; must be >= 0 and <= 10000)"));
    check(&good, |r| r.page_limit = 10_001, Err("invalid PageLimit (10001; must be >= 0 and <= 10000)"));
    let ttl = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    check(&good, |r| r.signature_ttl = None, Ok(()));
    check(&good, |r| r.signature_ttl = ttl(0), Err("invalid SignatureTTL (0s; must be > 0s)"));
    check(&good, |r| r.signature_ttl = ttl(-60), Err("invalid SignatureTTL (-1m0s; must be > 0s)"));
    assert!(wire::FragmentsRequest { signature_ttl: ttl(i64::MAX), ..good }.validate().is_err());
}

#[test]
fn fragments_response() {
    let fragment =
        wire::fragments_response::Fragment { spec: Some(fragment()), signed_url: "http://host/path".into() };
    let good =
        wire::FragmentsResponse { header: Some(header()), fragments: vec![fragment], ..Default::default() };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.status = 1234, Err("Status: invalid status (1234)"));
    check(&good, |r| r.header = Some(bad_header()), Err("Header.Etcd: invalid ClusterId (expected != 0)"));
    check(
        &good,
        |r| r.fragments[0].spec.as_mut().expect("spec").end = 99,
        Err("Fragments[0].Spec: expected Begin <= End (have 100, 99)"),
    );
    check(
        &good,
        |r| r.fragments[0].signed_url = ":garbage:".into(),
        Err(r#"Fragments[0].SignedUrl: parse ":garbage:": missing protocol scheme"#),
    );
    check(&good, |r| r.next_page_token = -1, Err("invalid NextPageToken (-1; must be >= 0)"));
}

#[test]
fn fragment_store_health() {
    let good = wire::FragmentStoreHealthRequest {
        fragment_store: "file:///".into(),
        check_delete: true,
        check_delete_prefix: "a/folder/".into(),
    };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.check_delete_prefix.clear(), Ok(()));
    check(&good, |r| r.fragment_store = "invalid".into(), Err("FragmentStore: not absolute (invalid)"));
    check(
        &good,
        |r| r.check_delete = false,
        Err("CheckDeletePrefix: cannot be set when CheckDelete is false"),
    );
    for (prefix, expected) in [
        ("a/folder", "must end in '/' (a/folder)"),
        ("../", "cannot traverse outside the store (../)"),
        ("../../a/", "cannot traverse outside the store (../../a/)"),
        ("/", "invalid length (0; expected 1 <= length <= 512)"),
        ("a//", "must be a clean path (a/)"),
        ("a/../b/", "must be a clean path (a/../b)"),
        ("/a/", "cannot begin with '/' (/a)"),
        ("a b/", "not a valid token (a b)"),
    ] {
        let text = format!("CheckDeletePrefix: {expected}");
        check(&good, |r| r.check_delete_prefix = prefix.into(), Err(&text));
    }
    let response = wire::FragmentStoreHealthResponse { header: Some(header()), ..Default::default() };
    check(&response, |_| {}, Ok(()));
    check(&response, |r| r.status = 1234, Err("Status: invalid status (1234)"));
    check(
        &response,
        |r| r.header = None,
        Err("Header.Route: invalid Primary (0; expected -1 <= Primary < 0)"),
    );
}
