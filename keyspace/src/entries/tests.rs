//! The persistent map against a plain one, and what versions share.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::Revision;
use crate::changes::{Change, between};

type Model = BTreeMap<Vec<u8>, u32>;

fn entry(key: &[u8], value: u32) -> Arc<Entry<u32>> {
    let at = Revision::new(i64::from(value));
    Arc::new(Entry { key: key.into(), value, create_revision: at, mod_revision: at, version: 1, lease: 0 })
}

fn edit(entries: &Entries<u32>, model: &mut Model, edits: &BTreeMap<Vec<u8>, Option<u32>>) -> Entries<u32> {
    for (key, value) in edits {
        match value {
            Some(value) => model.insert(key.clone(), *value),
            None => model.remove(key),
        };
    }
    let edits = edits.iter().map(|(key, value)| (key.clone().into(), value.map(|value| entry(key, value))));
    entries.edited(edits.collect())
}

fn pairs<'a>(entries: impl IntoIterator<Item = &'a Arc<Entry<u32>>>) -> Vec<(Vec<u8>, u32)> {
    entries.into_iter().map(|entry| (entry.key.to_vec(), entry.value)).collect()
}

fn check_same(entries: &Entries<u32>, model: &Model) {
    let expected: Vec<_> = model.iter().map(|(key, value)| (key.clone(), *value)).collect();
    assert_eq!(pairs(entries.all()), expected);
    assert_eq!(entries.len(), expected.len());
    assert!(entries.chunks().iter().all(|chunk| (1..=CHUNK_MAX).contains(&chunk.len())), "chunk size");
}

fn numbered(count: u32) -> Entries<u32> {
    Entries::from_sorted((0..count).map(|n| entry(&n.to_be_bytes(), n)).collect())
}

/// Few distinct bytes, so that edits meet and prefixes are shared.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(vec![0, 1, b'a', 0xff]), 1..6)
}

fn some_edits() -> impl Strategy<Value = BTreeMap<Vec<u8>, Option<u32>>> {
    btree_map(key(), prop::option::weighted(0.6, any::<u32>()), 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn behaves_as_a_sorted_map_at_every_version(batches in vec(some_edits(), 1..8), from in key(), to in key()) {
        let (mut entries, mut model) = (Entries::from_sorted(Vec::new()), Model::new());
        let mut versions = Vec::new();
        for edits in &batches {
            versions.push((entries.clone(), model.clone()));
            entries = edit(&entries, &mut model, edits);
            check_same(&entries, &model);
        }
        for (old, old_model) in &versions {
            check_same(old, old_model);
        }
        for probe in model.keys().chain([&from, &to]) {
            prop_assert_eq!(entries.get(probe).map(|found| found.value), model.get(probe).copied());
        }

        let run = entries.range(&from, Some(&to));
        let expected: Vec<_> = model
            .iter()
            .filter(|(key, _)| **key >= from && **key < to)
            .map(|(key, value)| (key.clone(), *value))
            .collect();
        prop_assert_eq!(pairs(run), expected.clone());
        prop_assert_eq!(run.len(), expected.len());
        prop_assert_eq!(run.first().map(|entry| entry.value), expected.first().map(|pair| pair.1));
        prop_assert_eq!(run.last().map(|entry| entry.value), expected.last().map(|pair| pair.1));
        let reversed: Vec<_> = expected.into_iter().rev().collect();
        prop_assert_eq!(pairs(run.iter().rev()), reversed);

        let with_prefix: Vec<_> = model.keys().filter(|key| key.starts_with(&from)).cloned().collect();
        let found = entries.range(&from, prefix_end(&from).as_deref());
        prop_assert_eq!(found.iter().map(|entry| entry.key.to_vec()).collect::<Vec<_>>(), with_prefix);

        let (oldest, oldest_model) = &versions[0];
        prop_assert!(oldest_model.is_empty());
        let from_nothing = between(oldest, &entries);
        prop_assert!(from_nothing.iter().all(|change| matches!(change, Change::Added(_))));
        prop_assert_eq!(from_nothing.len(), model.len());
        for (old, old_model) in &versions {
            let mut patched = old_model.clone();
            for change in between(old, &entries) {
                let key = change.key().to_vec();
                let (was, is) = match change {
                    Change::Added(entry) => (None, Some(entry.value)),
                    Change::Updated { old, new } => (Some(old.value), Some(new.value)),
                    Change::Removed(entry) => (Some(entry.value), None),
                };
                prop_assert_ne!(was, is);
                prop_assert_eq!(patched.get(&key).copied(), was);
                match is {
                    Some(value) => patched.insert(key, value),
                    None => patched.remove(&key),
                };
            }
            prop_assert_eq!(&patched, &model);
        }
    }
}

#[test]
fn a_small_change_shares_all_other_chunks() {
    let old = numbered(10_000);
    let new = old.edited(vec![(5_000_u32.to_be_bytes().into(), Some(entry(&5_000_u32.to_be_bytes(), 1)))]);
    let shared =
        new.chunks().iter().filter(|chunk| old.chunks().iter().any(|o| Arc::ptr_eq(o, chunk))).count();
    assert_eq!(shared, old.chunks().len() - 1);
    let changes = between(&old, &new);
    assert!(matches!(changes[..], [Change::Updated { old, new }] if old.value == 5_000 && new.value == 1));
}

#[test]
fn growth_splits_chunks_and_shrinkage_joins_them() {
    let mut entries = numbered(0);
    for n in 0..5_000_u32 {
        entries = entries.edited(vec![(n.to_be_bytes().into(), Some(entry(&n.to_be_bytes(), n)))]);
    }
    assert!(entries.chunks().len() >= 5_000 / CHUNK_MAX, "{} chunks", entries.chunks().len());
    for n in (0..5_000_u32).filter(|n| n % 100 != 0) {
        entries = entries.edited(vec![(n.to_be_bytes().into(), None)]);
    }
    assert_eq!(entries.len(), 50);
    assert!(entries.chunks().len() <= 2, "{} chunks for 50 entries", entries.chunks().len());
}

#[test]
fn the_end_of_a_prefix() {
    let check = |prefix: &[u8], end: Option<&[u8]>| assert_eq!(prefix_end(prefix).as_deref(), end);
    check(b"/root/", Some(b"/root0"));
    check(b"a\xff\xff", Some(b"b"));
    check(b"\xff", None);
    check(b"", None);
}
