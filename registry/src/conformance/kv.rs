//! Cases of ranges, puts and deletes.

use etcd_client::{DeleteOptions, GetOptions, GetResponse, PutOptions, SortOrder, SortTarget};
use tonic::Code;

use super::{Case, refused, revision};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The keys of a response as the case named them.
fn keys(case: &Case, response: &GetResponse) -> String {
    let keys: Vec<String> = response
        .kvs()
        .iter()
        .map(|kv| text(kv.key()).strip_prefix(&case.prefix).expect("a key of this case").to_owned())
        .collect();
    keys.join(" ")
}

pub(super) async fn a_put_is_a_revision(mut case: Case) {
    let key = case.key("k");
    let before = case.revision().await;
    let first = case.client.put(key.as_str(), "one", None).await.expect("a put");
    assert_eq!(revision(first.header()), before + 1);
    assert!(first.prev_key().is_none(), "previous values are shown to those who ask");
    let with_prev = PutOptions::new().with_prev_key();
    let second = case.client.put(key.as_str(), "two", Some(with_prev)).await.expect("a put");
    assert_eq!(revision(second.header()), before + 2);
    let prev = second.prev_key().expect("a previous value");
    assert_eq!((prev.value(), prev.version(), prev.mod_revision()), (&b"one"[..], 1, before + 1));

    let got = case.client.get(key.as_str(), None).await.expect("a get");
    assert_eq!((revision(got.header()), got.count(), got.more()), (before + 2, 1, false));
    let kv = got.kvs().first().expect("the key");
    assert_eq!((kv.key(), kv.value()), (key.as_bytes(), &b"two"[..]));
    assert_eq!((kv.create_revision(), kv.mod_revision(), kv.version()), (before + 1, before + 2, 2));

    // A key that comes back starts over.
    case.client.delete(key.as_str(), None).await.expect("a delete");
    case.client.put(key.as_str(), "", None).await.expect("a put");
    let got = case.client.get(key.as_str(), None).await.expect("a get");
    let kv = got.kvs().first().expect("the key");
    assert_eq!((kv.value(), kv.version(), kv.create_revision()), (&b""[..], 1, before + 4));
}

pub(super) async fn a_put_keeps_what_it_is_told_to_ignore(mut case: Case) {
    let key = case.key("k");
    let lease = case.client.lease_grant(60, None).await.expect("a lease").id();
    let ignore_value = || Some(PutOptions::new().with_ignore_value());
    let ignore_lease = || Some(PutOptions::new().with_ignore_lease());
    let missing = case.client.put(key.as_str(), "", ignore_value()).await;
    refused(missing, Code::InvalidArgument, "etcdserver: key not found");
    let missing = case.client.put(key.as_str(), "v", ignore_lease()).await;
    refused(missing, Code::InvalidArgument, "etcdserver: key not found");

    case.client.put(key.as_str(), "v", Some(PutOptions::new().with_lease(lease))).await.expect("a put");
    case.client.put(key.as_str(), "w", ignore_lease()).await.expect("a put");
    let got = case.client.get(key.as_str(), None).await.expect("a get");
    assert_eq!((got.kvs()[0].value(), got.kvs()[0].lease()), (&b"w"[..], lease));
    case.client.put(key.as_str(), "", ignore_value()).await.expect("a put");
    let got = case.client.get(key.as_str(), None).await.expect("a get");
    assert_eq!((got.kvs()[0].value(), got.kvs()[0].lease()), (&b"w"[..], 0));

    let both = case.client.put(key.as_str(), "x", ignore_value()).await;
    refused(both, Code::InvalidArgument, "etcdserver: value is provided");
    let both = case
        .client
        .put(key.as_str(), "x", Some(PutOptions::new().with_ignore_lease().with_lease(lease)))
        .await;
    refused(both, Code::InvalidArgument, "etcdserver: lease is provided");
    case.client.lease_revoke(lease).await.expect("a revocation");
}

pub(super) async fn ranges_have_ends(mut case: Case) {
    for name in ["a", "aa", "b", "c"] {
        case.client.put(case.key(name), name, None).await.expect("a put");
    }
    for (start, end, expected) in [
        ("a", "b", "a aa"),
        ("aa", "d", "aa b c"),
        ("a", "aa", "a"),
        ("b", "b", ""),
        ("c", "a", ""),
        ("x", "z", ""),
    ] {
        let options = GetOptions::new().with_range(case.key(end));
        let got = case.client.get(case.key(start), Some(options)).await.expect("a get");
        assert_eq!(keys(&case, &got), expected, "[{start}, {end})");
        assert_eq!(got.count(), got.kvs().len() as i64);
    }
    let got = case.client.get(case.key(""), Some(GetOptions::new().with_prefix())).await.expect("a get");
    assert_eq!(keys(&case, &got), "a aa b c");
    let got = case.client.get(case.key("b"), Some(GetOptions::new().with_from_key())).await.expect("a get");
    assert!(got.count() >= 2, "everything from b on");
    assert_eq!(got.kvs()[0].key(), case.key("b").as_bytes());
}

pub(super) async fn ranges_are_limited_sorted_and_filtered(mut case: Case) {
    let base = case.revision().await;
    // Versions: a 1, b 2, c 3; values in the opposite order of keys.
    for (name, value) in [("c", "1"), ("c", "1"), ("b", "2"), ("c", "1"), ("a", "3"), ("b", "2")] {
        case.client.put(case.key(name), value, None).await.expect("a put");
    }
    let prefix = case.key("");
    let all = || GetOptions::new().with_prefix();
    let table: Vec<(&str, GetOptions, &str, bool, i64)> = vec![
        ("limit", all().with_limit(2), "a b", true, 3),
        ("limit of all", all().with_limit(3), "a b c", false, 3),
        ("descending", all().with_sort(SortTarget::Key, SortOrder::Descend), "c b a", false, 3),
        ("by version", all().with_sort(SortTarget::Version, SortOrder::Descend), "c b a", false, 3),
        ("by create", all().with_sort(SortTarget::Create, SortOrder::Ascend), "c b a", false, 3),
        ("by mod", all().with_sort(SortTarget::Mod, SortOrder::Ascend), "c a b", false, 3),
        ("by value", all().with_sort(SortTarget::Value, SortOrder::Ascend), "c b a", false, 3),
        (
            "sorted, limited",
            all().with_sort(SortTarget::Value, SortOrder::Ascend).with_limit(1),
            "c",
            true,
            3,
        ),
        ("min mod", all().with_min_mod_revision(base + 5), "a b", false, 3),
        ("max mod", all().with_max_mod_revision(base + 5), "a c", false, 3),
        ("min create", all().with_min_create_revision(base + 3), "a b", false, 3),
        ("max create, limited", all().with_max_create_revision(base + 3).with_limit(1), "b", true, 3),
        ("count only", all().with_count_only(), "", false, 3),
    ];
    for (name, options, expected, more, count) in table {
        let got = case.client.get(prefix.as_str(), Some(options)).await.expect("a get");
        assert_eq!((keys(&case, &got).as_str(), got.more(), got.count()), (expected, more, count), "{name}");
    }
    let got = case.client.get(prefix.as_str(), Some(all().with_keys_only())).await.expect("a get");
    assert_eq!(keys(&case, &got), "a b c");
    assert!(got.kvs().iter().all(|kv| kv.value().is_empty() && kv.version() > 0), "keys alone");
}

pub(super) async fn the_past_can_be_read(mut case: Case) {
    let base = case.revision().await;
    let key = case.key("k");
    case.client.put(key.as_str(), "one", None).await.expect("a put");
    case.client.put(key.as_str(), "two", None).await.expect("a put");
    case.client.delete(key.as_str(), None).await.expect("a delete");
    for (at, expected) in [(0, None), (1, Some("one")), (2, Some("two")), (3, None)] {
        let options = GetOptions::new().with_revision(base + at);
        let got = case.client.get(key.as_str(), Some(options)).await.expect("a get");
        let value = got.kvs().first().map(|kv| text(kv.value()));
        assert_eq!(value.as_deref(), expected, "at {at}");
        assert_eq!(revision(got.header()), base + 3, "headers speak of now");
    }
    let future = case.client.get(key.as_str(), Some(GetOptions::new().with_revision(base + 4))).await;
    refused(future, Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
}

pub(super) async fn deletes_count(mut case: Case) {
    for name in ["a", "b", "c"] {
        case.client.put(case.key(name), name, None).await.expect("a put");
    }
    let before = case.revision().await;
    let nothing = case.client.delete(case.key("x"), None).await.expect("a delete");
    assert_eq!((nothing.deleted(), revision(nothing.header())), (0, before), "nothing is no revision");
    let options = DeleteOptions::new().with_range(case.key("c")).with_prev_key();
    let two = case.client.delete(case.key("a"), Some(options)).await.expect("a delete");
    assert_eq!((two.deleted(), revision(two.header())), (2, before + 1));
    let gone: Vec<String> = two.prev_kvs().iter().map(|kv| text(kv.value())).collect();
    assert_eq!(gone, ["a", "b"]);
    let rest =
        case.client.delete(case.key(""), Some(DeleteOptions::new().with_prefix())).await.expect("a delete");
    assert_eq!((rest.deleted(), rest.prev_kvs().len()), (1, 0));
}

pub(super) async fn bad_requests_are_refused(mut case: Case) {
    let empty = "etcdserver: key is not provided";
    refused(case.client.get("", None).await, Code::InvalidArgument, empty);
    refused(case.client.put("", "v", None).await, Code::InvalidArgument, empty);
    refused(case.client.delete("", None).await, Code::InvalidArgument, empty);
    let before = case.revision().await;
    let lease = case.client.put(case.key("k"), "v", Some(PutOptions::new().with_lease(0x5eed))).await;
    refused(lease, Code::NotFound, "etcdserver: requested lease not found");
    assert_eq!(case.revision().await, before, "a refusal writes nothing");
}

pub(super) async fn sizes_are_limited(mut case: Case) {
    let key = case.key("k");
    let fits = vec![b'x'; (3 << 19) - 4096];
    case.client.put(key.as_str(), fits.clone(), None).await.expect("a large put");
    let got = case.client.get(key.as_str(), None).await.expect("a get");
    assert_eq!(got.kvs()[0].value(), fits);
    let large = case.client.put(key.as_str(), vec![b'x'; (3 << 19) + 1], None).await;
    refused(large, Code::InvalidArgument, "etcdserver: request is too large");
    match case.client.put(key.as_str(), vec![b'x'; (2 << 20) + 1], None).await {
        Err(etcd_client::Error::GRpcStatus(status)) => assert_eq!(status.code(), Code::ResourceExhausted),
        other => panic!("a message too large for gRPC was answered {other:?}"),
    }
    case.client.delete(key.as_str(), None).await.expect("a delete");
}
