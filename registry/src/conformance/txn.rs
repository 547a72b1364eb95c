//! Cases of transactions.

use etcd_client::{Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse};
use tonic::Code;

use super::{Case, refused, revision};

async fn value(case: &mut Case, name: &str) -> Option<String> {
    let got = case.client.get(case.key(name), None).await.expect("a get");
    got.kvs().first().map(|kv| String::from_utf8_lossy(kv.value()).into_owned())
}

pub(super) async fn guards_choose_the_branch(mut case: Case) {
    let key = case.key("k");
    let create = |value: &str| {
        Txn::new()
            .when([Compare::create_revision(key.as_str(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key.as_str(), value, None)])
            .or_else([TxnOp::get(key.as_str(), None)])
    };
    let before = case.revision().await;
    let first = case.client.txn(create("one")).await.expect("a txn");
    assert_eq!((first.succeeded(), revision(first.header())), (true, before + 1));
    let second = case.client.txn(create("two")).await.expect("a txn");
    assert_eq!((second.succeeded(), revision(second.header())), (false, before + 1), "a read is no revision");
    match &second.op_responses()[..] {
        [TxnOpResponse::Get(got)] => assert_eq!(got.kvs()[0].value(), b"one"),
        other => panic!("the branch was not taken: {other:?}"),
    }
    let empty = case.client.txn(Txn::new()).await.expect("a txn");
    assert_eq!((empty.succeeded(), empty.op_responses().len()), (true, 0), "nothing to compare holds");
}

pub(super) async fn every_target_compares(mut case: Case) {
    let lease = case.client.lease_grant(60, None).await.expect("a lease").id();
    let key = case.key("k");
    let none = case.key("none");
    let base = case.revision().await;
    case.client.put(key.as_str(), "b", None).await.expect("a put");
    let options = PutOptions::new().with_lease(lease);
    case.client.put(key.as_str(), "b", Some(options)).await.expect("a put");
    let key = key.as_str();
    let none = none.as_str();
    use CompareOp::{Equal, Greater, Less, NotEqual};
    let table = [
        (Compare::version(key, Equal, 2), true),
        (Compare::version(key, Greater, 2), false),
        (Compare::version(key, Less, 3), true),
        (Compare::version(key, NotEqual, 2), false),
        (Compare::version(none, Equal, 0), true),
        (Compare::create_revision(key, Equal, base + 1), true),
        (Compare::create_revision(key, Less, base + 1), false),
        (Compare::create_revision(none, Equal, 0), true),
        (Compare::mod_revision(key, Equal, base + 2), true),
        (Compare::mod_revision(key, Greater, base + 1), true),
        (Compare::mod_revision(none, Greater, 0), false),
        (Compare::value(key, Equal, "b"), true),
        (Compare::value(key, Greater, "a"), true),
        (Compare::value(key, Less, "a"), false),
        (Compare::value(key, NotEqual, "a"), true),
        (Compare::value(none, Equal, ""), false),
        (Compare::value(none, NotEqual, "a"), false),
        (Compare::lease(key, Equal, lease), true),
        (Compare::lease(key, NotEqual, lease), false),
        (Compare::lease(none, Equal, 0), true),
    ];
    for (compare, expected) in table {
        let outcome = case.client.txn(Txn::new().when([compare.clone()])).await.expect("a txn");
        assert_eq!(outcome.succeeded(), expected, "{compare:?}");
    }
    case.client.lease_revoke(lease).await.expect("a revocation");
}

pub(super) async fn a_guard_holds_for_a_whole_range(mut case: Case) {
    for (name, value) in [("a", "1"), ("b", "2")] {
        case.client.put(case.key(name), value, None).await.expect("a put");
    }
    let prefix = case.key("");
    let table = [
        (Compare::value(prefix.as_str(), CompareOp::Less, "3").with_prefix(), true),
        (Compare::value(prefix.as_str(), CompareOp::Less, "2").with_prefix(), false),
        (Compare::version(prefix.as_str(), CompareOp::Equal, 1).with_prefix(), true),
        (Compare::version(case.key("x"), CompareOp::Equal, 0).with_prefix(), true),
        (Compare::value(case.key("x"), CompareOp::NotEqual, "3").with_prefix(), false),
        (Compare::version(case.key("a"), CompareOp::Equal, 1).with_range(case.key("b")), true),
    ];
    for (compare, expected) in table {
        let outcome = case.client.txn(Txn::new().when([compare.clone()])).await.expect("a txn");
        assert_eq!(outcome.succeeded(), expected, "{compare:?}");
    }
}

pub(super) async fn all_or_nothing(mut case: Case) {
    let before = case.revision().await;
    let put = |case: &Case, name: &str| TxnOp::put(case.key(name), "v", None);
    let bad_lease = TxnOp::put(case.key("b"), "v", Some(PutOptions::new().with_lease(0x5eed)));
    let outcome = case.client.txn(Txn::new().and_then([put(&case, "a"), bad_lease.clone()])).await;
    refused(outcome, Code::NotFound, "etcdserver: requested lease not found");
    let bad_read = TxnOp::get(case.key("a"), Some(GetOptions::new().with_revision(before + 100)));
    let outcome = case.client.txn(Txn::new().and_then([put(&case, "a"), bad_read])).await;
    refused(outcome, Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
    let bad_put = TxnOp::put(case.key("c"), "", Some(PutOptions::new().with_ignore_value()));
    let outcome = case.client.txn(Txn::new().and_then([put(&case, "a"), bad_put])).await;
    refused(outcome, Code::InvalidArgument, "etcdserver: key not found");
    let nested = Txn::new().and_then([bad_lease.clone()]);
    let outcome = case.client.txn(Txn::new().and_then([put(&case, "a"), TxnOp::txn(nested)])).await;
    refused(outcome, Code::NotFound, "etcdserver: requested lease not found");
    let empty = Txn::new().and_then([put(&case, "a"), TxnOp::get("", None)]);
    refused(case.client.txn(empty).await, Code::InvalidArgument, "etcdserver: key is not provided");
    assert_eq!(case.revision().await, before);
    assert_eq!(value(&mut case, "a").await, None);

    // What is not chosen is not asked whether it could be done.
    let outcome = case.client.txn(Txn::new().and_then([put(&case, "a")]).or_else([bad_lease])).await;
    assert!(outcome.expect("a txn").succeeded());
    assert_eq!(case.revision().await, before + 1);
}

pub(super) async fn responses_tell_revisions(mut case: Case) {
    case.client.put(case.key("old"), "v", None).await.expect("a put");
    let before = case.revision().await;
    let prev = DeleteOptions::new().with_prev_key();
    let txn = Txn::new().and_then([
        TxnOp::get(case.key("a"), None),
        TxnOp::put(case.key("a"), "1", Some(PutOptions::new().with_prev_key())),
        TxnOp::get(case.key("a"), None),
        TxnOp::get(case.key("a"), Some(GetOptions::new().with_revision(before))),
        TxnOp::delete(case.key("old"), Some(prev)),
        TxnOp::delete(case.key("x"), None),
    ]);
    let outcome = case.client.txn(txn).await.expect("a txn");
    assert_eq!(revision(outcome.header()), before + 1);
    match &outcome.op_responses()[..] {
        [
            TxnOpResponse::Get(first),
            TxnOpResponse::Put(put),
            TxnOpResponse::Get(second),
            TxnOpResponse::Get(past),
            TxnOpResponse::Delete(gone),
            TxnOpResponse::Delete(nothing),
        ] => {
            assert_eq!(
                (first.count(), revision(first.header())),
                (0, before),
                "reads before a write see the past"
            );
            assert_eq!((put.prev_key().is_none(), revision(put.header())), (true, before + 1));
            assert_eq!(
                (second.count(), revision(second.header())),
                (1, before + 1),
                "reads after a write see it"
            );
            assert_eq!(second.kvs()[0].mod_revision(), before + 1);
            assert_eq!(past.count(), 0);
            assert_eq!((gone.deleted(), gone.prev_kvs().len(), revision(gone.header())), (1, 1, before + 1));
            assert_eq!((nothing.deleted(), revision(nothing.header())), (0, before + 1));
        }
        other => panic!("unexpected responses {other:?}"),
    }
}

pub(super) async fn nested_transactions_see_the_state_before(mut case: Case) {
    let key = case.key("k");
    // The nested guard looks at the state before the outer put, so it finds no key.
    let nested = Txn::new()
        .when([Compare::version(key.as_str(), CompareOp::Equal, 0)])
        .and_then([TxnOp::get(key.as_str(), None), TxnOp::put(case.key("then"), "v", None)])
        .or_else([TxnOp::put(case.key("else"), "v", None)]);
    let txn = Txn::new().and_then([TxnOp::put(key.as_str(), "v", None), TxnOp::txn(nested)]);
    let outcome = case.client.txn(txn).await.expect("a txn");
    match &outcome.op_responses()[..] {
        [TxnOpResponse::Put(_), TxnOpResponse::Txn(inner)] => {
            assert!(inner.succeeded());
            match &inner.op_responses()[..] {
                [TxnOpResponse::Get(got), TxnOpResponse::Put(_)] => assert_eq!(got.count(), 1),
                other => panic!("unexpected responses {other:?}"),
            }
        }
        other => panic!("unexpected responses {other:?}"),
    }
    assert_eq!(value(&mut case, "then").await.as_deref(), Some("v"));
    assert_eq!(value(&mut case, "else").await, None);
}

pub(super) async fn operations_are_limited(mut case: Case) {
    let puts = |count: usize| -> Vec<TxnOp> {
        (0..count).map(|n| TxnOp::put(case.key(&format!("{n:03}")), "v", None)).collect()
    };
    let many = "etcdserver: too many operations in txn request";
    let (fits, exceeds) = (puts(128), puts(129));
    let nested = |outer: usize, inner: usize| {
        let mut operations: Vec<TxnOp> = (1..outer).map(|_| TxnOp::get(case.key("x"), None)).collect();
        let inner: Vec<TxnOp> = (0..inner).map(|_| TxnOp::get(case.key("x"), None)).collect();
        operations.push(TxnOp::txn(Txn::new().and_then(inner)));
        Txn::new().and_then(operations)
    };
    let (shared, overdrawn) = (nested(100, 28), nested(100, 29));
    let compares: Vec<Compare> =
        (0..129).map(|_| Compare::version(case.key("x"), CompareOp::Equal, 0)).collect();
    let before = case.revision().await;
    case.client.txn(Txn::new().and_then(fits)).await.expect("128 operations");
    assert_eq!(case.revision().await, before + 1);
    refused(case.client.txn(Txn::new().and_then(exceeds.clone())).await, Code::InvalidArgument, many);
    refused(case.client.txn(Txn::new().or_else(exceeds)).await, Code::InvalidArgument, many);
    refused(case.client.txn(Txn::new().when(compares)).await, Code::InvalidArgument, many);
    case.client.txn(shared).await.expect("128 operations in all");
    refused(case.client.txn(overdrawn).await, Code::InvalidArgument, many);
    assert_eq!(case.revision().await, before + 1);
}

pub(super) async fn no_key_is_written_twice(mut case: Case) {
    let put = |name: &str| TxnOp::put(case.key(name), "v", None);
    let delete = |name: &str| TxnOp::delete(case.key(name), None);
    let delete_all = || TxnOp::delete(case.key(""), Some(DeleteOptions::new().with_prefix()));
    let nested =
        |success: Vec<TxnOp>, failure: Vec<TxnOp>| TxnOp::txn(Txn::new().and_then(success).or_else(failure));
    let refusals: Vec<(&str, Vec<TxnOp>)> = vec![
        ("two puts", vec![put("a"), put("a")]),
        ("put and delete", vec![put("a"), delete("a")]),
        ("delete and put", vec![delete("a"), put("a")]),
        ("put in a deleted range", vec![put("a"), delete_all()]),
        ("put here and nested", vec![put("a"), nested(vec![put("a")], vec![])]),
        ("put here, deleted nested", vec![nested(vec![delete_all()], vec![]), put("a")]),
        ("put nested, deleted here", vec![nested(vec![], vec![put("a")]), delete_all()]),
        ("two nested puts", vec![nested(vec![put("a")], vec![]), nested(vec![], vec![put("a")])]),
    ];
    let accepted: Vec<(&str, Vec<TxnOp>)> = vec![
        ("two keys", vec![put("a"), put("b")]),
        ("both branches", vec![nested(vec![put("a")], vec![put("a")])]),
        ("two deletes", vec![delete("a"), delete_all()]),
    ];
    let duplicate = "etcdserver: duplicate key given in txn request";
    for (name, operations) in refusals {
        for txn in [Txn::new().and_then(operations.clone()), Txn::new().or_else(operations.clone())] {
            match case.client.txn(txn).await {
                Err(etcd_client::Error::GRpcStatus(status)) => {
                    assert_eq!(
                        (status.code(), status.message()),
                        (Code::InvalidArgument, duplicate),
                        "{name}"
                    );
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    for (name, operations) in accepted {
        let outcome = case.client.txn(Txn::new().and_then(operations)).await;
        assert!(outcome.is_ok(), "{name}: {outcome:?}");
    }
}
