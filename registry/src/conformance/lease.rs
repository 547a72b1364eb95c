//! Cases of leases.

use std::time::Duration;

use etcd_client::{LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions, WatchOptions};
use tonic::Code;

use super::{Case, refused, revision, soon};

pub(super) async fn a_lease_carries_its_keys(mut case: Case) {
    let before = case.revision().await;
    let granted = case.client.lease_grant(60, None).await.expect("a lease");
    assert!(granted.id() > 0 && granted.ttl() == 60, "{granted:?}");
    assert_eq!(revision(granted.header()), before, "a lease is no revision");
    let id = granted.id();
    for name in ["b", "a"] {
        case.client.put(case.key(name), "v", Some(PutOptions::new().with_lease(id))).await.expect("a put");
    }
    let options = LeaseTimeToLiveOptions::new().with_keys();
    let left = case.client.lease_time_to_live(id, Some(options)).await.expect("a time to live");
    assert_eq!((left.id(), left.granted_ttl()), (id, 60));
    assert!((50..=60).contains(&left.ttl()), "{left:?}");
    let mut keys: Vec<&[u8]> = left.keys().iter().map(Vec::as_slice).collect();
    keys.sort_unstable();
    assert_eq!(keys, [case.key("a").as_bytes(), case.key("b").as_bytes()]);
    let left = case.client.lease_time_to_live(id, None).await.expect("a time to live");
    assert!(left.keys().is_empty(), "keys are shown to those who ask");
    let all = case.client.leases().await.expect("the leases");
    assert!(all.leases().iter().any(|lease| lease.id() == id));

    let options = WatchOptions::new().with_prefix().with_start_revision(before + 3);
    let mut stream = case.client.watch(case.key(""), Some(options)).await.expect("a watch");
    let revoked = case.client.lease_revoke(id).await.expect("a revocation");
    assert_eq!(revision(revoked.header()), before + 3, "all keys go in one revision");
    let mut gone = Vec::new();
    while gone.len() < 2 {
        let response = soon(stream.message()).await.expect("a response").expect("the stream goes on");
        gone.extend(response.events().iter().map(|event| event.kv().expect("a key").key().to_vec()));
    }
    assert_eq!(gone, [case.key("a").into_bytes(), case.key("b").into_bytes()], "in the order of the keys");
    let left = case.client.lease_time_to_live(id, None).await.expect("a time to live");
    assert_eq!((left.ttl(), left.granted_ttl()), (-1, 0));
}

pub(super) async fn a_key_changes_its_lease(mut case: Case) {
    let first = case.client.lease_grant(60, None).await.expect("a lease").id();
    let second = case.client.lease_grant(60, None).await.expect("a lease").id();
    assert_ne!(first, second);
    let with = |id| Some(PutOptions::new().with_lease(id));
    case.client.put(case.key("moved"), "v", with(first)).await.expect("a put");
    case.client.put(case.key("moved"), "v", with(second)).await.expect("a put");
    case.client.put(case.key("freed"), "v", with(first)).await.expect("a put");
    case.client.put(case.key("freed"), "v", None).await.expect("a put");
    case.client.put(case.key("deleted"), "v", with(first)).await.expect("a put");
    case.client.delete(case.key("deleted"), None).await.expect("a delete");
    case.client.put(case.key("deleted"), "v", None).await.expect("a put");
    let before = case.revision().await;
    let revoked = case.client.lease_revoke(first).await.expect("a revocation");
    assert_eq!(revision(revoked.header()), before, "no key was left on it");
    for (name, lease) in [("moved", second), ("freed", 0), ("deleted", 0)] {
        let got = case.client.get(case.key(name), None).await.expect("a get");
        assert_eq!(got.kvs().first().map(etcd_client::KeyValue::lease), Some(lease), "{name}");
    }
    case.client.lease_revoke(second).await.expect("a revocation");
    assert_eq!(case.revision().await, before + 1);
}

pub(super) async fn a_lease_ends(mut case: Case) {
    // One second is less than a server lets anyone have.
    let granted = case.client.lease_grant(1, None).await.expect("a lease");
    assert_eq!(granted.ttl(), 2);
    let options = PutOptions::new().with_lease(granted.id());
    let put = case.client.put(case.key("k"), "v", Some(options)).await.expect("a put");
    let options = WatchOptions::new().with_start_revision(revision(put.header()) + 1).with_prev_key();
    let mut stream = case.client.watch(case.key("k"), Some(options)).await.expect("a watch");
    loop {
        let response = soon(stream.message()).await.expect("a response").expect("the stream goes on");
        if let Some(event) = response.events().first() {
            assert_eq!(event.event_type(), etcd_client::EventType::Delete);
            assert_eq!(event.prev_kv().expect("what it was").lease(), granted.id());
            break;
        }
    }
    let left = case.client.lease_time_to_live(granted.id(), None).await.expect("a time to live");
    assert_eq!(left.ttl(), -1);
    let revoked = case.client.lease_revoke(granted.id()).await;
    refused(revoked, Code::NotFound, "etcdserver: requested lease not found");
}

pub(super) async fn a_lease_is_kept_alive(mut case: Case) {
    let id = case.client.lease_grant(2, None).await.expect("a lease").id();
    case.client.put(case.key("k"), "v", Some(PutOptions::new().with_lease(id))).await.expect("a put");
    let before = case.revision().await;
    let (mut keeper, mut renewals) = case.client.lease_keep_alive(id).await.expect("a keeper");
    for _ in 0..6 {
        keeper.keep_alive().await.expect("a request");
        let renewal = soon(renewals.message()).await.expect("a response").expect("the stream goes on");
        assert_eq!((renewal.id(), renewal.ttl()), (id, 2));
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    let got = case.client.get(case.key("k"), None).await.expect("a get");
    assert_eq!((got.count(), revision(got.header())), (1, before), "renewals are no revisions");
    case.client.lease_revoke(id).await.expect("a revocation");
    keeper.keep_alive().await.expect("a request");
    let renewal = soon(renewals.message()).await.expect("a response").expect("the stream goes on");
    assert_eq!((renewal.id(), renewal.ttl()), (id, 0), "a lease that is gone has no time");
}

pub(super) async fn bad_leases_are_refused(mut case: Case) {
    let id = 0x0c0a_0001;
    let named = || Some(LeaseGrantOptions::new().with_id(id));
    let granted = case.client.lease_grant(60, named()).await.expect("a lease");
    assert_eq!(granted.id(), id);
    let again = case.client.lease_grant(60, named()).await;
    refused(again, Code::FailedPrecondition, "etcdserver: lease already exists");
    case.client.lease_revoke(id).await.expect("a revocation");
    let missing = case.client.lease_revoke(id).await;
    refused(missing, Code::NotFound, "etcdserver: requested lease not found");
    let long = case.client.lease_grant(9_000_000_001, None).await;
    refused(long, Code::OutOfRange, "etcdserver: too large lease TTL");
    let longest = case.client.lease_grant(9_000_000_000, None).await.expect("a long lease");
    case.client.lease_revoke(longest.id()).await.expect("a revocation");
}
