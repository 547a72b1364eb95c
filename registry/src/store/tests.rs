//! The store against a model that keeps a whole copy of every revision.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::record::Fact;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8, u8),
    /// Several writes in one revision.
    Both(u8, u8, u8),
    Compact(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0_u8..8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => (0_u8..8, 0_u8..8).prop_map(|(from, to)| Step::Delete(from, to)),
        2 => (0_u8..8, 0_u8..8, any::<u8>()).prop_map(|(a, b, value)| Step::Both(a, b, value)),
        1 => (0_u8..10).prop_map(Step::Compact),
    ];
    proptest::collection::vec(step, 0..60)
}

type Copy = BTreeMap<Bytes, Entry>;

fn key(n: u8) -> Bytes {
    Bytes::copy_from_slice(&[b'a' + n])
}

fn value(n: u8) -> Bytes {
    Bytes::copy_from_slice(&[n])
}

fn everything() -> KeyRange {
    KeyRange::new(vec![0], vec![0])
}

fn copy_at(store: &Store, revision: i64) -> Copy {
    store.range_at(&everything(), revision).map(|(key, entry)| (key.clone(), entry.clone())).collect()
}

fn put(copy: &mut Copy, key: Bytes, value: Bytes, revision: i64) {
    let (create_revision, version) =
        copy.get(&key).map_or((revision, 1), |e| (e.create_revision, e.version + 1));
    copy.insert(key, Entry { value, create_revision, mod_revision: revision, version, lease: 0 });
}

/// Does the steps to a store and to a copy per revision.
fn run(steps: &[Step]) -> (Store, BTreeMap<i64, Copy>) {
    let mut store = Store::new();
    let mut copies = BTreeMap::from([(store.revision(), Copy::new())]);
    for step in steps {
        let revision = store.revision() + 1;
        let mut copy = copies[&store.revision()].clone();
        match *step {
            Step::Put(k, v) => {
                let before = store.put(key(k), value(v), 0);
                assert_eq!(before.as_deref(), copy.get(&key(k)));
                put(&mut copy, key(k), value(v), revision);
            }
            Step::Delete(from, to) => {
                let range = KeyRange::new(key(from), key(to));
                let gone = store.delete(&range).into_iter();
                let gone: Copy = gone.map(|(key, entry)| (key, (*entry).clone())).collect();
                let expected: Copy = copy.extract_if(.., |key, _| range.contains(key)).collect();
                assert_eq!(gone, expected);
            }
            Step::Both(a, b, v) => {
                store.put(key(a), value(v), 0);
                put(&mut copy, key(a), value(v), revision);
                store.delete(&KeyRange::One(key(b)));
                copy.remove(&key(b));
            }
            Step::Compact(back) => {
                let at = store.revision() - i64::from(back);
                let expected = if at <= store.compacted() { Err(Refusal::Compacted) } else { Ok(()) };
                assert_eq!(store.compact(at), expected);
                continue;
            }
        }
        match store.seal() {
            Some(change) => assert_eq!(change.revision, revision),
            None => assert_eq!(copy, copies[&store.revision()], "no change without a revision"),
        }
        copies.insert(store.revision(), copy);
    }
    (store, copies)
}

proptest! {
    #[test]
    fn every_readable_revision_is_as_it_was(steps in steps()) {
        let (store, copies) = run(&steps);
        for (&revision, copy) in &copies {
            if revision >= store.compacted() {
                prop_assert_eq!(&copy_at(&store, revision), copy, "at {}", revision);
                prop_assert_eq!(store.readable(revision), Ok(revision));
            } else {
                prop_assert_eq!(store.readable(revision), Err(Refusal::Compacted));
            }
        }
        prop_assert_eq!(store.readable(0), Ok(store.revision()));
        prop_assert_eq!(store.readable(store.revision() + 1), Err(Refusal::FutureRevision));
    }

    #[test]
    fn the_changes_lead_from_copy_to_copy(steps in steps()) {
        let (store, copies) = run(&steps);
        let first = store.compacted().max(1);
        let mut copy = copies[&first].clone();
        let mut at = first;
        for change in store.changes_from(first + 1) {
            at += 1;
            prop_assert_eq!(change.revision, at);
            for event in &change.events {
                match &event.entry {
                    Some(entry) => copy.insert(event.key.clone(), (**entry).clone()),
                    None => copy.remove(&event.key),
                };
            }
            prop_assert_eq!(&copy, &copies[&at]);
        }
        prop_assert_eq!(at, store.revision());
        let bytes: usize = store.changes_from(0).flat_map(|change| &change.events).map(Event::len).sum();
        prop_assert_eq!(store.history_bytes(), bytes);
    }

    #[test]
    fn a_snapshot_restores_all_of_it(steps in steps()) {
        let (store, copies) = run(&steps);
        let mut restored = Store::new();
        let facts = store.facts(1);
        for fact in facts.clone() {
            match fact {
                Fact::Base(base) => restored.restore(base),
                Fact::Kept(kept) => restored.restore_key(kept),
                Fact::Past(change) => restored.restore_change(change),
                Fact::Change(change) => {
                    for edit in change.edits {
                        match edit.put {
                            Some(put) => drop(restored.put(edit.key, put.value, put.lease)),
                            None => drop(restored.delete(&KeyRange::One(edit.key))),
                        }
                    }
                    restored.seal();
                }
                other => prop_assert!(false, "unexpected {other:?}"),
            }
        }
        prop_assert_eq!((restored.revision(), restored.compacted()), (store.revision(), store.compacted()));
        for (&revision, copy) in copies.range(store.compacted().max(1)..) {
            prop_assert_eq!(&copy_at(&restored, revision), copy, "at {}", revision);
        }
    }

    #[test]
    fn nothing_is_kept_that_nobody_can_read(steps in steps()) {
        let (mut store, copies) = run(&steps);
        let now = store.revision();
        if store.compact(now).is_ok() {
            // A deletion at the compacted revision goes with it.
            let versions: usize = store.keys.values().map(Vec::len).sum();
            prop_assert_eq!(versions, copies[&now].len());
            prop_assert!(store.history.len() <= 1);
        }
    }
}
