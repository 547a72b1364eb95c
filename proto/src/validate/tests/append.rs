//! Tests of the rules of Append.

use bytes::Bytes;
use prost::Message;

use super::*;

#[test]
fn append_request_with_parameters() {
    let good = wire::AppendRequest {
        header: Some(header()),
        journal: "a/journal;meta".into(),
        do_not_proxy: true,
        offset: 100,
        check_registers: Some(selector(&[("include", "")], &[("exclude", "")])),
        union_registers: Some(set(&[("add", "")])),
        subtract_registers: Some(set(&[("remove", "")])),
        suspend: 4,
        ..Default::default()
    };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.header = Some(bad_header()), Err("Header.Etcd: invalid ClusterId (expected != 0)"));
    check(&good, |r| r.journal = "/bad".into(), Err("Journal: cannot begin with '/' (/bad)"));
    check(&good, |r| r.offset = -1, Err("invalid Offset (-1; expected >= 0)"));
    check(&good, |r| r.content = Bytes::from_static(b"foo"), Err("unexpected Content"));
    check(
        &good,
        |r| r.check_registers = Some(selector(&[("xxx xxx", "")], &[])),
        Err("CheckRegisters.Include.Labels[0].Name: not a valid token (xxx xxx)"),
    );
    check(
        &good,
        |r| r.union_registers = Some(set(&[("xxx xxx", "")])),
        Err("UnionRegisters.Labels[0].Name: not a valid token (xxx xxx)"),
    );
    check(
        &good,
        |r| r.subtract_registers = Some(set(&[("bb", ""), ("aa", "")])),
        Err("SubtractRegisters: Labels not in unique, sorted order (index 1; label name aa <= bb)"),
    );
    check(&good, |r| r.suspend = 5, Err("Suspend: invalid Suspend variant (5)"));
}

#[test]
fn append_request_with_content() {
    let good = wire::AppendRequest { content: Bytes::from_static(b"foo"), ..Default::default() };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.content = Bytes::new(), Ok(()));
    check(&good, |r| r.min_etcd_revision = 1, Ok(()));
    check(&good, |r| r.header = Some(header()), Err("unexpected Header"));
    check(&good, |r| r.do_not_proxy = true, Err("unexpected DoNotProxy"));
    check(&good, |r| r.offset = 1, Err("unexpected Offset"));
    check(&good, |r| r.check_registers = Some(Default::default()), Err("unexpected CheckRegisters"));
    check(&good, |r| r.union_registers = Some(Default::default()), Err("unexpected UnionRegisters"));
    check(&good, |r| r.subtract_registers = Some(Default::default()), Err("unexpected SubtractRegisters"));
    check(&good, |r| r.suspend = 3, Err("unexpected Suspend (SUSPEND_NOW; expected SUSPEND_RESUMED)"));
    check(&good, |r| r.suspend = 9, Err("unexpected Suspend (9; expected SUSPEND_RESUMED)"));
}

#[test]
fn append_response() {
    let good = wire::AppendResponse {
        header: Some(header()),
        commit: Some(fragment()),
        registers: Some(Default::default()),
        ..Default::default()
    };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.status = -1, Err("Status: invalid status (-1)"));
    check(&good, |r| r.header = None, Err("Header.Route: invalid Primary (0; expected -1 <= Primary < 0)"));
    check(
        &good,
        |r| r.commit = Some(wire::Fragment { end: 99, ..fragment() }),
        Err("Commit: expected Begin <= End (have 100, 99)"),
    );
    check(&good, |r| r.commit = None, Err("expected Commit"));
    check(&good, |r| r.registers = None, Err("expected Registers"));
    check(
        &good,
        |r| r.registers = Some(set(&[("xxx xxx", "")])),
        Err("Registers.Labels[0].Name: not a valid token (xxx xxx)"),
    );
    let mismatch =
        |r: &mut wire::AppendResponse| (r.status, r.commit) = (Status::RegisterMismatch.into(), None);
    check(&good, mismatch, Ok(()));
    check(
        &good,
        |r| {
            mismatch(r);
            r.registers = None;
        },
        Err("expected Registers"),
    );
    check(
        &good,
        |r| (r.status, r.commit, r.registers) = (Status::WrongAppendOffset.into(), None, None),
        Ok(()),
    );
    // Empty registers are present, or clients refuse the response.
    let bytes = wire::AppendResponse { registers: Some(Default::default()), ..Default::default() };
    assert_eq!(bytes.encode_to_vec(), [0x22, 0x00]);
}
