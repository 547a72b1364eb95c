//! What a client library never sends but a socket may: malformed transactions. The well-formed ones are the
//! conformance suite's.

use super::*;

fn put(key: &str) -> PbTxnRequestOp {
    let put = PbPutRequest { key: key.into(), value: b"v".to_vec(), ..Default::default() };
    PbTxnRequestOp { request: Some(PbTxnOpRequest::RequestPut(put)) }
}

fn compare(target: i32, result: i32, union: Option<PbTargetUnion>) -> PbCompare {
    PbCompare { target, result, key: b"k".to_vec(), range_end: Vec::new(), target_union: union }
}

#[test]
fn malformed_transactions_are_refused() {
    #[track_caller]
    fn check(request: PbTxnRequest, expected: Result<(), Refusal>) {
        assert_eq!(super::check(&request), expected);
    }
    let nothing = PbTxnRequestOp { request: None };
    check(PbTxnRequest { success: vec![nothing.clone()], ..Default::default() }, Err(Refusal::KeyNotFound));
    check(PbTxnRequest { failure: vec![nothing], ..Default::default() }, Err(Refusal::KeyNotFound));
    let guarded = |compare| PbTxnRequest { compare: vec![compare], ..Default::default() };
    check(guarded(compare(0, 4, None)), Err(Refusal::InvalidCompare));
    check(guarded(compare(5, 0, None)), Err(Refusal::InvalidCompare));
    check(guarded(compare(-1, 0, None)), Err(Refusal::InvalidCompare));
    check(guarded(PbCompare::default()), Err(Refusal::EmptyKey));
    check(guarded(compare(4, 3, None)), Ok(()));
    check(PbTxnRequest::default(), Ok(()));
}

#[test]
fn a_value_of_another_kind_counts_as_none() {
    let mut store = Store::new();
    let mut leases = Leases::default();
    super::put(&mut store, &mut leases, PbPutRequest { key: b"k".to_vec(), ..Default::default() });
    store.seal();
    let holds = |target, result, union| super::holds(&store, &compare(target, result, union));
    assert!(holds(0, 0, Some(PbTargetUnion::Version(1))));
    assert!(!holds(0, 0, Some(PbTargetUnion::ModRevision(1))));
    assert!(holds(0, 1, Some(PbTargetUnion::ModRevision(1))), "one is more than none");
    assert!(holds(3, 0, Some(PbTargetUnion::Version(1))), "the value is empty, and so is none");
    assert!(holds(4, 0, None));
}

#[test]
fn a_put_where_anything_may_be_deleted_is_refused() {
    use etcd_client::proto::PbDeleteRequest;
    let delete = PbDeleteRequest { key: vec![0], range_end: vec![0], prev_kv: false };
    let delete = PbTxnRequestOp { request: Some(PbTxnOpRequest::RequestDeleteRange(delete)) };
    let request = PbTxnRequest { success: vec![put("a"), delete], ..Default::default() };
    assert_eq!(check(&request), Err(Refusal::DuplicateKey));
}

/// Deep nesting must run out of operations before it runs out of stack.
#[test]
fn nesting_ends() {
    let mut request = PbTxnRequest { success: vec![put("k")], ..Default::default() };
    for _ in 0..127 {
        let nested = PbTxnRequestOp { request: Some(PbTxnOpRequest::RequestTxn(request)) };
        request = PbTxnRequest { success: vec![nested], ..Default::default() };
    }
    assert_eq!(check(&request), Ok(()));
    let nested = PbTxnRequestOp { request: Some(PbTxnOpRequest::RequestTxn(request)) };
    let request = PbTxnRequest { success: vec![nested], ..Default::default() };
    assert_eq!(check(&request), Err(Refusal::TooManyOperations));
}
