//! Cases of compaction.

use etcd_client::{GetOptions, WatchOptions};
use tonic::Code;

use super::{Case, refused, revision, soon};

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";

pub(super) async fn compaction_forgets(mut case: Case) {
    let base = case.revision().await;
    let key = case.key("k");
    for value in ["1", "2", "3"] {
        case.client.put(key.as_str(), value, None).await.expect("a put");
    }
    case.client.delete(key.as_str(), None).await.expect("a delete");
    refused(case.client.compact(base + 100, None).await, Code::OutOfRange, FUTURE);
    let compacted = case.client.compact(base + 2, None).await.expect("a compaction");
    assert_eq!(revision(compacted.header()), base + 4, "a compaction is no revision");
    refused(case.client.compact(base + 2, None).await, Code::OutOfRange, COMPACTED);
    refused(case.client.compact(base + 1, None).await, Code::OutOfRange, COMPACTED);
    let past = case.client.get(key.as_str(), Some(GetOptions::new().with_revision(base + 1))).await;
    refused(past, Code::OutOfRange, COMPACTED);
    for (at, expected) in [(2, Some(&b"2"[..])), (3, Some(&b"3"[..])), (4, None)] {
        let options = GetOptions::new().with_revision(base + at);
        let got = case.client.get(key.as_str(), Some(options)).await.expect("a get");
        assert_eq!(got.kvs().first().map(etcd_client::KeyValue::value), expected, "at {at}");
    }
}

pub(super) async fn watchers_learn_of_compaction(mut case: Case) {
    let base = case.revision().await;
    for value in ["1", "2", "3"] {
        case.client.put(case.key("k"), value, None).await.expect("a put");
    }
    case.client.compact(base + 2, None).await.expect("a compaction");
    let options = WatchOptions::new().with_start_revision(base + 1);
    let mut stream = case.client.watch(case.key("k"), Some(options)).await.expect("a watch");
    let created = soon(stream.message()).await.expect("a response").expect("the stream goes on");
    assert!(created.created() && !created.canceled(), "{created:?}");
    let cancelled = soon(stream.message()).await.expect("a response").expect("the stream goes on");
    assert!(cancelled.canceled(), "{cancelled:?}");
    assert_eq!((cancelled.compact_revision(), cancelled.watch_id()), (base + 2, created.watch_id()));

    let options = WatchOptions::new().with_start_revision(base + 2);
    stream.watch(case.key("k"), Some(options)).await.expect("a watch");
    let mut values = Vec::new();
    while values.len() < 2 {
        let response = soon(stream.message()).await.expect("a response").expect("the stream goes on");
        values.extend(response.events().iter().map(|event| event.kv().expect("a key").value().to_vec()));
    }
    assert_eq!(values, [b"2", b"3"], "the compacted revision itself can still be watched");
}
