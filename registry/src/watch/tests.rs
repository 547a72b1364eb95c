//! Watchers as cursors: bounds, turns, compaction, fragments, progress.

use bytes::Bytes;

use super::*;

fn create(key: &str, end: &str, start_revision: i64) -> Create {
    Create {
        key: key.into(),
        range_end: end.into(),
        start_revision,
        progress_notify: false,
        no_put: false,
        no_delete: false,
        prev_kv: false,
        watch_id: 0,
        fragment: false,
    }
}

/// A store with one put of `key` per revision, `count` of them, the first at revision 2.
fn store(key: &'static str, count: usize, value_bytes: usize) -> Store {
    let mut store = Store::new();
    for _ in 0..count {
        store.put(Bytes::from_static(key.as_bytes()), Bytes::from(vec![b'x'; value_bytes]), 0);
        store.seal();
    }
    store
}

fn revisions(response: &PbWatchResponse) -> Vec<i64> {
    response.events.iter().filter_map(|event| Some(event.kv.as_ref()?.mod_revision)).collect()
}

fn at(response: &PbWatchResponse) -> i64 {
    response.header.as_ref().expect("a header").revision
}

#[test]
fn a_watcher_far_behind_catches_up_in_bounded_steps() {
    let store = store("k", 2_500, 1);
    let mut watchers = Watchers::default();
    watchers.create(create("k", "", 2), store.revision());
    let mut next = 2;
    let mut responses = 0;
    while let Some(response) = watchers.next(&store, store.revision()) {
        let seen = revisions(&response);
        assert!(seen.len() <= MAX_REVISIONS);
        assert_eq!(seen.first(), Some(&next), "no gap, nothing twice");
        next += seen.len() as i64;
        assert_eq!(at(&response), next - 1, "the header tells how far the events go");
        responses += 1;
    }
    assert_eq!((next, responses), (2_502, 3));
}

#[test]
fn large_values_make_small_responses() {
    let store = store("k", 10, 400 << 10);
    let mut watchers = Watchers::default();
    watchers.create(create("k", "", 2), store.revision());
    let response = watchers.next(&store, store.revision()).expect("events");
    assert_eq!(revisions(&response), [2, 3, 4], "a response ends once it is past its bound");
}

#[test]
fn nobody_sees_past_the_watermark() {
    let store = store("k", 5, 1);
    let mut watchers = Watchers::default();
    watchers.create(create("k", "", 0), 3);
    assert!(watchers.next(&store, 3).is_none());
    assert_eq!(revisions(&watchers.next(&store, 5).expect("events")), [4, 5]);
    assert!(watchers.next(&store, 5).is_none());
    assert_eq!(revisions(&watchers.next(&store, 6).expect("events")), [6]);
}

#[test]
fn watchers_take_turns() {
    let store = store("k", 2_500, 1);
    let mut watchers = Watchers::default();
    let first = watchers.create(create("k", "", 2), store.revision()).watch_id;
    let second = watchers.create(create("k", "", 2), store.revision()).watch_id;
    let order: Vec<i64> = std::iter::from_fn(|| watchers.next(&store, store.revision()))
        .map(|response| response.watch_id)
        .collect();
    assert_eq!(order, [first, second, first, second, first, second]);
}

#[test]
fn who_falls_behind_the_compaction_is_told() {
    let mut store = store("k", 10, 1);
    let mut watchers = Watchers::default();
    let slow = watchers.create(create("k", "", 3), store.revision()).watch_id;
    store.compact(5).expect("a compaction");
    let response = watchers.next(&store, store.revision()).expect("a cancellation");
    assert_eq!((response.watch_id, response.canceled, response.compact_revision), (slow, true, 5));
    assert!(watchers.next(&store, store.revision()).is_none(), "once");
    watchers.create(create("k", "", 5), store.revision());
    let response = watchers.next(&store, store.revision()).expect("events");
    assert_eq!(revisions(&response), [5, 6, 7, 8, 9, 10, 11], "the compacted revision itself is still there");
}

#[test]
fn a_deletion_at_the_compacted_revision_is_still_told() {
    let mut store = store("k", 1, 1);
    store.delete(&KeyRange::One(Bytes::from_static(b"k")));
    store.seal();
    store.compact(3).expect("a compaction");
    let mut watchers = Watchers::default();
    watchers.create(create("k", "", 3), store.revision());
    let response = watchers.next(&store, store.revision()).expect("events");
    assert_eq!(response.events.first().map(|event| event.r#type), Some(EventType::Delete as i32));
}

#[test]
fn quiet_watchers_tell_progress_when_asked_to() {
    let store = store("k", 3, 1);
    let mut watchers = Watchers::default();
    let asks = |key, start| Create { progress_notify: true, ..create(key, "", start) };
    let busy = watchers.create(asks("k", 2), store.revision()).watch_id;
    let quiet = watchers.create(asks("other", 2), store.revision()).watch_id;
    watchers.create(create("other", "", 2), store.revision());
    while watchers.next(&store, store.revision()).is_some() {}
    let ids =
        |responses: &[PbWatchResponse]| responses.iter().map(|r| (r.watch_id, at(r))).collect::<Vec<_>>();
    assert_eq!(ids(&watchers.quiet(4)), [(quiet, 4)], "the busy one told enough");
    assert_eq!(ids(&watchers.quiet(4)), [(busy, 4), (quiet, 4)], "and is quiet by now");
    // One that looks into the future has nothing to say about the present, but is no further behind either.
    watchers.create(asks("k", 100), store.revision());
    assert_eq!(watchers.quiet(4).len(), 3);
}

#[test]
fn one_large_revision_is_split_only_if_asked() {
    let mut store = Store::new();
    for name in ["a", "b", "c"] {
        store.put(Bytes::from_static(name.as_bytes()), Bytes::from(vec![b'x'; 900 << 10]), 0);
    }
    store.seal();
    let mut watchers = Watchers::default();
    watchers.create(create("a", "d", 2), store.revision());
    let whole = watchers.next(&store, store.revision()).expect("events");
    assert_eq!((whole.events.len(), whole.fragment), (3, false));

    let mut watchers = Watchers::default();
    watchers.create(Create { fragment: true, ..create("a", "d", 2) }, store.revision());
    let parts: Vec<(usize, bool)> = std::iter::from_fn(|| watchers.next(&store, store.revision()))
        .map(|part| (part.events.len(), part.fragment))
        .collect();
    assert_eq!(parts, [(1, true), (1, true), (1, false)]);
}

#[test]
fn ids_are_given_and_taken() {
    let mut watchers = Watchers::default();
    let named = |id| Create { watch_id: id, ..create("k", "", 0) };
    assert_eq!(watchers.create(named(1), 1).watch_id, 1);
    assert_eq!(watchers.create(named(0), 1).watch_id, 0);
    assert_eq!(watchers.create(named(0), 1).watch_id, 2, "one is taken");
    let refused = watchers.create(named(1), 1);
    assert_eq!((refused.watch_id, refused.created, refused.canceled), (-1, true, true));
    assert!(watchers.cancel(1, 1).is_some_and(|answer| answer.canceled));
    assert!(watchers.cancel(1, 1).is_none());
    let all = watchers.create(create("", "\0", 0), 1);
    assert!(!all.canceled, "an empty key is the smallest one");
}
