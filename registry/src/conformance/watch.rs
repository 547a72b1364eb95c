//! Cases of watches.

use etcd_client::{
    DeleteOptions, Event, EventType, PutOptions, Txn, TxnOp, WatchFilterType, WatchOptions, WatchResponse,
    WatchStream,
};

use super::{Case, revision, soon};

/// An event in short: `+name=value@revision` for a put, `-name@revision` for a delete, `<old` for what was before;
/// revisions count from `base`.
fn short(prefix: &str, base: i64, event: &Event) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let kv = event.kv().expect("an event has a key");
    let key = text(kv.key());
    let name = key.strip_prefix(prefix).expect("a key of this case");
    let at = kv.mod_revision() - base;
    let mut out = match event.event_type() {
        EventType::Put => format!("+{name}={}@{at}", text(kv.value())),
        EventType::Delete => {
            assert_eq!(
                (kv.version(), kv.create_revision(), kv.value()),
                (0, 0, &b""[..]),
                "a delete shows its key"
            );
            format!("-{name}@{at}")
        }
    };
    if let Some(prev) = event.prev_kv() {
        assert_eq!(prev.key(), kv.key());
        out.push_str(&format!("<{}", text(prev.value())));
    }
    out
}

async fn next(stream: &mut WatchStream) -> WatchResponse {
    soon(stream.message()).await.expect("a response").expect("the stream goes on")
}

/// The next `count` events of a stream.
async fn events(case: &Case, base: i64, stream: &mut WatchStream, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let response = next(stream).await;
        assert!(!response.canceled(), "cancelled: {response:?}");
        let header = revision(response.header());
        for event in response.events() {
            let at = event.kv().expect("a key").mod_revision();
            assert!(at <= header, "an event of revision {at} under a header of {header}");
            seen.push(short(&case.prefix, base, event));
        }
    }
    seen
}

async fn open(case: &mut Case, options: WatchOptions) -> WatchStream {
    let mut stream = case.client.watch(case.key(""), Some(options)).await.expect("a watch");
    let created = next(&mut stream).await;
    assert!(created.created() && !created.canceled() && created.events().is_empty(), "{created:?}");
    stream
}

pub(super) async fn events_come_in_order_and_whole(mut case: Case) {
    let base = case.revision().await;
    let mut stream = open(&mut case, WatchOptions::new().with_prefix()).await;
    case.client.put(case.key("a"), "1", None).await.expect("a put");
    let txn = Txn::new().and_then([
        TxnOp::put(case.key("c"), "2", None),
        TxnOp::delete(case.key("a"), None),
        TxnOp::put(case.key("b"), "2", None),
    ]);
    case.client.txn(txn).await.expect("a txn");
    case.client.delete(case.key(""), Some(DeleteOptions::new().with_prefix())).await.expect("a delete");
    case.client.put("elsewhere", "1", None).await.expect("a put");
    case.client.put(case.key("d"), "", None).await.expect("a put");
    let seen = events(&case, base, &mut stream, 7).await;
    assert_eq!(seen, ["+a=1@1", "+c=2@2", "-a@2", "+b=2@2", "-b@3", "-c@3", "+d=@5"]);
}

pub(super) async fn the_past_can_be_watched(mut case: Case) {
    let base = case.revision().await;
    for value in ["1", "2", "3"] {
        case.client.put(case.key("a"), value, None).await.expect("a put");
    }
    let mut stream = open(&mut case, WatchOptions::new().with_prefix().with_start_revision(base + 2)).await;
    case.client.delete(case.key("a"), None).await.expect("a delete");
    assert_eq!(events(&case, base, &mut stream, 3).await, ["+a=2@2", "+a=3@3", "-a@4"]);
}

pub(super) async fn the_future_can_be_watched(mut case: Case) {
    let base = case.revision().await;
    let mut stream = open(&mut case, WatchOptions::new().with_prefix().with_start_revision(base + 3)).await;
    for value in ["1", "2", "3", "4"] {
        case.client.put(case.key("a"), value, None).await.expect("a put");
    }
    assert_eq!(events(&case, base, &mut stream, 2).await, ["+a=3@3", "+a=4@4"]);
}

pub(super) async fn filters_and_previous_values(mut case: Case) {
    let base = case.revision().await;
    let all = || WatchOptions::new().with_prefix().with_start_revision(base + 1).with_prev_key();
    case.client.put(case.key("a"), "1", None).await.expect("a put");
    case.client.put(case.key("a"), "2", None).await.expect("a put");
    case.client.delete(case.key("a"), None).await.expect("a delete");
    case.client.put(case.key("a"), "3", None).await.expect("a put");
    case.client.delete(case.key("a"), None).await.expect("a delete");
    let mut stream = open(&mut case, all()).await;
    let seen = events(&case, base, &mut stream, 5).await;
    assert_eq!(seen, ["+a=1@1", "+a=2@2<1", "-a@3<2", "+a=3@4", "-a@5<3"]);
    let mut stream = open(&mut case, all().with_filters([WatchFilterType::NoPut])).await;
    assert_eq!(events(&case, base, &mut stream, 2).await, ["-a@3<2", "-a@5<3"]);
    let mut stream = open(&mut case, all().with_filters([WatchFilterType::NoDelete])).await;
    assert_eq!(events(&case, base, &mut stream, 3).await, ["+a=1@1", "+a=2@2<1", "+a=3@4"]);
}

pub(super) async fn streams_carry_many_watchers(mut case: Case) {
    let mut stream = open(&mut case, WatchOptions::new().with_prefix().with_watch_id(7)).await;
    let a = case.key("a");
    stream.watch(a.as_str(), None).await.expect("a second watcher");
    let created = next(&mut stream).await;
    assert!(created.created());
    let second = created.watch_id();
    assert_ne!(second, 7);
    case.client.put(a.as_str(), "1", None).await.expect("a put");
    let mut ids = [next(&mut stream).await, next(&mut stream).await].map(|response| {
        assert_eq!(response.events().len(), 1);
        response.watch_id()
    });
    ids.sort_unstable();
    assert_eq!(ids, [second.min(7), second.max(7)], "both are told");

    stream.cancel(7).await.expect("a cancellation");
    let cancelled = next(&mut stream).await;
    assert!(
        cancelled.canceled() && cancelled.watch_id() == 7 && cancelled.compact_revision() == 0,
        "{cancelled:?}"
    );
    // Of a watcher that does not exist nothing is said; the next that comes is the event.
    stream.cancel(99).await.expect("a cancellation");
    case.client.put(a.as_str(), "2", None).await.expect("a put");
    let response = next(&mut stream).await;
    assert_eq!((response.watch_id(), response.events().len()), (second, 1));
}

pub(super) async fn bad_watches_are_refused(mut case: Case) {
    let mut stream = open(&mut case, WatchOptions::new().with_prefix().with_watch_id(7)).await;
    for (options, reason) in [
        (WatchOptions::new().with_watch_id(7), "mvcc: duplicate watch ID provided on the WatchStream"),
        (WatchOptions::new().with_range(case.key("")), "mvcc: watcher range is empty"),
    ] {
        stream.watch(case.key("k"), Some(options)).await.expect("a request");
        let refused = next(&mut stream).await;
        assert!(refused.created() && refused.canceled(), "{refused:?}");
        assert_eq!((refused.watch_id(), refused.cancel_reason()), (-1, reason));
    }
    case.client.put(case.key("k"), "1", None).await.expect("a put");
    assert_eq!(next(&mut stream).await.watch_id(), 7, "the first watcher goes on");
}

pub(super) async fn progress_can_be_asked_for(mut case: Case) {
    let mut stream = open(&mut case, WatchOptions::new().with_prefix()).await;
    case.client.put("elsewhere", "1", None).await.expect("a put");
    stream.request_progress().await.expect("a request");
    let progress = next(&mut stream).await;
    assert_eq!((progress.watch_id(), progress.events().len(), progress.canceled()), (-1, 0, false));
    assert!(revision(progress.header()) > 0);
}

pub(super) async fn large_changes_come_in_fragments(mut case: Case) {
    let options = WatchOptions::new().with_prefix().with_prev_key().with_fragment();
    let half = vec![b'x'; 700 << 10];
    for name in ["a", "b"] {
        case.client.put(case.key(name), half.clone(), None).await.expect("a put");
    }
    let mut stream = open(&mut case, options).await;
    // Two keys, each with what it was: about 2.8 MB in one revision.
    let txn = ["a", "b"].map(|name| TxnOp::put(case.key(name), half.clone(), Some(PutOptions::new())));
    case.client.txn(Txn::new().and_then(txn)).await.expect("a txn");
    let mut names = Vec::new();
    let mut more = Vec::new();
    while names.len() < 2 {
        let response = next(&mut stream).await;
        // The client shows this only in its raw form.
        more.push(response.0.fragment);
        for event in response.events() {
            assert_eq!(event.prev_kv().expect("what it was").value(), half);
            names.push(String::from_utf8_lossy(event.kv().expect("a key").key()).into_owned());
        }
    }
    assert_eq!(names, [case.key("a"), case.key("b")]);
    assert_eq!(more, [true, false], "all but the last are marked");
    case.client.delete(case.key(""), Some(DeleteOptions::new().with_prefix())).await.expect("a delete");
}
