//! Tests of the rules of Read.

use bytes::Bytes;

use super::*;

#[test]
fn read_request() {
    let good =
        wire::ReadRequest { header: Some(header()), journal: "a/journal".into(), ..Default::default() };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.header = None, Ok(()));
    check(&good, |r| r.header = Some(bad_header()), Err("Header.Etcd: invalid ClusterId (expected != 0)"));
    check(&good, |r| r.journal = "a/journal;with/meta".into(), Ok(()));
    check(&good, |r| r.journal = "/bad".into(), Err("Journal: cannot begin with '/' (/bad)"));
    check(
        &good,
        |r| r.journal = "a/journal;".into(),
        Err("Journal.metadata path segment: invalid length (0; expected 1 <= length <= 512)"),
    );
    check(&good, |r| r.offset = -1, Ok(()));
    check(&good, |r| r.offset = -2, Err("invalid Offset (-2; expected -1 <= Offset <= MaxInt64)"));
    check(&good, |r| (r.offset, r.end_offset) = (100, 100), Ok(()));
    check(
        &good,
        |r| (r.offset, r.end_offset) = (100, 99),
        Err("invalid EndOffset (99; expected 0 or Offset <= EndOffset)"),
    );
    check(
        &good,
        |r| (r.offset, r.end_offset) = (-1, -1),
        Err("invalid EndOffset (-1; expected 0 or Offset <= EndOffset)"),
    );
}

#[test]
fn read_response_with_content() {
    let good =
        wire::ReadResponse { offset: 123, content: Bytes::from_static(b"content"), ..Default::default() };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.status = 9999, Err("Status: invalid status (9999)"));
    check(&good, |r| r.offset = -1, Err("invalid Offset (-1; expected >= 0)"));
    check(&good, |r| r.status = 13, Err("unexpected Status with Content (REGISTER_MISMATCH)"));
    check(&good, |r| r.write_head = 5, Err("unexpected WriteHead with Content (5)"));
    check(
        &good,
        |r| r.fragment_url = "http://x".into(),
        Err("unexpected FragmentUrl with Content (http://x)"),
    );
    for alter in
        [(|r| r.header = Some(header())) as fn(&mut wire::ReadResponse), |r| r.fragment = Some(fragment())]
    {
        let mut message = good.clone();
        alter(&mut message);
        let text = message.validate().expect_err("not beside content").to_string();
        assert!(text.starts_with("unexpected ") && text.contains(" with Content ("), "{text}");
    }
}

#[test]
fn read_response_without_content() {
    let good = wire::ReadResponse {
        header: Some(header()),
        offset: 150,
        write_head: 200,
        fragment: Some(fragment()),
        fragment_url: "http://host/path".into(),
        ..Default::default()
    };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.header = Some(bad_header()), Err("Header.Etcd: invalid ClusterId (expected != 0)"));
    check(&good, |r| r.write_head = -1, Err("invalid WriteHead (-1; expected >= 0)"));
    check(&good, |r| r.offset = 99, Err("invalid Offset (99; expected 100 <= offset < 200)"));
    check(&good, |r| r.offset = 200, Err("invalid Offset (200; expected 100 <= offset < 200)"));
    check(&good, |r| r.write_head = 199, Err("invalid WriteHead (199; expected >= 200)"));
    check(
        &good,
        |r| r.fragment_url = ":garbage:".into(),
        Err(r#"FragmentUrl: parse ":garbage:": missing protocol scheme"#),
    );
    check(
        &good,
        |r| r.fragment = Some(wire::Fragment { end: 99, ..fragment() }),
        Err("Fragment: expected Begin <= End (have 100, 99)"),
    );
    check(&good, |r| r.fragment = None, Err("unexpected Offset without Fragment or Content (150)"));
    check(
        &good,
        |r| (r.fragment, r.offset) = (None, 0),
        Err("unexpected FragmentUrl without Fragment (http://host/path)"),
    );
    // A status that is no success may tell the offset alone.
    check(
        &good,
        |r| {
            (r.fragment, r.fragment_url) = (None, String::new());
            r.status = Status::OffsetNotYetAvailable.into();
        },
        Ok(()),
    );
}
