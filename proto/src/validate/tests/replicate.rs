//! Tests of the rules of Replicate.

use bytes::Bytes;

use super::*;

#[test]
fn replicate_request_with_proposal() {
    let good = wire::ReplicateRequest {
        header: Some(header()),
        deprecated_journal: "a/journal".into(),
        proposal: Some(fragment()),
        acknowledge: true,
        registers: Some(set(&[("fence", "1")])),
        ..Default::default()
    };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.registers = None, Ok(()));
    check(&good, |r| r.deprecated_journal.clear(), Ok(()));
    check(&good, |r| (r.header, r.acknowledge) = (None, false), Ok(()));
    check(&good, |r| r.header = Some(bad_header()), Err("Header.Etcd: invalid ClusterId (expected != 0)"));
    check(
        &good,
        |r| r.proposal = Some(wire::Fragment { end: 99, ..fragment() }),
        Err("Proposal: expected Begin <= End (have 100, 99)"),
    );
    check(
        &good,
        |r| r.deprecated_journal = "other/journal".into(),
        Err("DeprecatedJournal and Proposal.Journal mismatch (other/journal vs a/journal)"),
    );
    check(
        &good,
        |r| r.registers = Some(set(&[("xxx xxx", "")])),
        Err("Registers.Labels[0].Name: not a valid token (xxx xxx)"),
    );
    check(&good, |r| r.acknowledge = false, Err("expected Acknowledge with Header"));
    check(&good, |r| r.content = Bytes::from_static(b"foo"), Err("unexpected Content with Proposal (len 3)"));
    check(&good, |r| r.content_delta = 1, Err("unexpected ContentDelta with Proposal (1)"));
}

#[test]
fn replicate_request_with_content() {
    let good = wire::ReplicateRequest {
        content: Bytes::from_static(b"foo"),
        content_delta: 100,
        ..Default::default()
    };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.content = Bytes::new(), Err("expected Content or Proposal"));
    check(&good, |r| r.committed = 7, Ok(()));
    check(&good, |r| r.committed = -1, Err("invalid Committed (-1; expected >= 0)"));
    check(&good, |r| r.content_delta = -1, Err("invalid ContentDelta (-1; expected >= 0)"));
    check(&good, |r| r.header = Some(header()), Err("unexpected Header without Proposal"));
    check(&good, |r| r.registers = Some(Default::default()), Err("unexpected Registers without Proposal"));
    check(&good, |r| r.acknowledge = true, Err("unexpected Acknowledge without Proposal"));
    check(
        &good,
        |r| r.deprecated_journal = "a/journal".into(),
        Err("unexpected DeprecatedJournal without Proposal"),
    );
}

#[test]
fn replicate_request_with_a_watermark_alone() {
    let good = wire::ReplicateRequest { committed: 100, ..Default::default() };
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.committed = 0, Err("expected Content or Proposal"));
    check(&good, |r| r.content_delta = 3, Err("unexpected ContentDelta without Content (3)"));
    check(&good, |r| r.acknowledge = true, Err("unexpected Acknowledge without Proposal"));
    check(&good, |r| r.attach = Some(Default::default()), Err("unexpected Attach without Header"));
}

#[test]
fn replicate_response() {
    let good = wire::ReplicateResponse::default();
    check(&good, |_| {}, Ok(()));
    check(&good, |r| r.header = Some(header()), Ok(()));
    check(&good, |r| r.status = 99, Err("Status: invalid status (99)"));
    check(&good, |r| r.fragment = Some(fragment()), Err("unexpected Fragment with OK"));
    check(&good, |r| r.registers = Some(Default::default()), Err("unexpected Registers with OK"));

    let wrong_route = wire::ReplicateResponse {
        status: Status::WrongRoute.into(),
        header: Some(header()),
        ..Default::default()
    };
    check(&wrong_route, |_| {}, Ok(()));
    check(&wrong_route, |r| r.header = None, Err("expected Header with WRONG_ROUTE"));
    check(
        &wrong_route,
        |r| r.header = Some(bad_header()),
        Err("Header.Etcd: invalid ClusterId (expected != 0)"),
    );

    let mismatch = wire::ReplicateResponse {
        status: Status::ProposalMismatch.into(),
        fragment: Some(fragment()),
        registers: Some(Default::default()),
        ..Default::default()
    };
    check(&mismatch, |_| {}, Ok(()));
    check(&mismatch, |r| r.fragment = None, Err("expected Fragment with PROPOSAL_MISMATCH"));
    check(&mismatch, |r| r.registers = None, Err("expected Registers with PROPOSAL_MISMATCH"));
    check(&mismatch, |r| r.header = Some(header()), Err("unexpected Header with PROPOSAL_MISMATCH"));
}
