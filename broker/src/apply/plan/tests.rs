//! Which changes of an Apply become which transaction, and which are refused.

use courant_proto::label::LabelSet;

use super::*;
use crate::journal_space::fixture::*;

fn upsert(journal: &str, expect: Expect) -> Change {
    Change { expect, to: Target::Upsert(Box::new(spec(journal))) }
}

fn delete(journal: &str, expect: Expect) -> Change {
    Change { expect, to: Target::Delete(name(journal)) }
}

fn with(journals: &[&str]) -> Space {
    let mut keys = Keys::new();
    for journal in journals {
        keys.item(&spec(journal));
    }
    keys.space()
}

/// Guards without the root in front of their keys.
fn guards(transaction: &Transaction) -> Vec<String> {
    let short = |key: &[u8]| String::from_utf8_lossy(key).replace("/courant/cluster/items/", "");
    let guards = transaction.guards.iter().map(|guard| match guard {
        Guard::Unchanged { key, mod_revision } => format!("{} put at {mod_revision}", short(key)),
        Guard::SameLife { key, create_revision } => format!("{} created at {create_revision}", short(key)),
        Guard::NotCreatedAfter { key, end, revision } => {
            let end = end.as_ref().map_or(String::new(), |end| format!("..{}", short(end)));
            format!("{}{end} not created after {revision}", short(key))
        }
    });
    guards.collect()
}

#[test]
fn guards_what_a_request_expects_and_what_it_must_not_nest_with() {
    let space = with(&["acme/one", "acme/two"]);
    let check = |change: Change, expected: &[&str]| {
        let transaction = plan(&space, std::slice::from_ref(&change), 128).expect("a plan");
        assert_eq!(guards(&transaction), expected, "{change:?}");
        assert_eq!(transaction.otherwise, [root().item(change.journal())]);
    };
    check(upsert("acme/one", Expect::At(2)), &["acme/one put at 2"]);
    check(upsert("acme/one", Expect::At(9)), &["acme/one put at 9"]);
    check(upsert("acme/one", Expect::Any), &["acme/one created at 2"]);
    check(upsert("acme/one", Expect::Absent), &["acme/one put at 0"]);
    check(delete("acme/one", Expect::At(2)), &["acme/one put at 2"]);
    check(delete("acme/one", Expect::Any), &[]);
    check(delete("acme/none", Expect::Any), &[]);
    check(
        upsert("acme/a/b/c", Expect::Absent),
        &[
            "acme/a/b/c/..acme/a/b/c0 not created after 3",
            "acme/a/b/c put at 0",
            "acme not created after 3",
            "acme/a not created after 3",
            "acme/a/b not created after 3",
        ],
    );
    check(
        upsert("a/b/new", Expect::Any),
        // No journal has a name as short as those of the folders that it lies in.
        &["a/b/new/..a/b/new0 not created after 3"],
    );
}

#[test]
fn writes_what_a_request_says() {
    let changes = [upsert("acme/new", Expect::Absent), delete("acme/one", Expect::Any)];
    let transaction = plan(&with(&["acme/one"]), &changes, 128).expect("a plan");
    assert_eq!(
        transaction.writes,
        [
            Write::Put {
                key: root().item(&name("acme/new")),
                value: spec("acme/new").encode(),
                lease: PutLease::None
            },
            Write::Delete { key: root().item(&name("acme/one")) },
        ]
    );
}

#[test]
fn folders_that_new_journals_share_are_guarded_once() {
    let changes: Vec<Change> =
        (0..60).map(|n| upsert(&format!("acme/folder/journal-{n}"), Expect::Absent)).collect();
    let transaction = plan(&with(&[]), &changes, 128).expect("a plan");
    assert_eq!(transaction.guards.len(), 2 * 60 + 2);
}

#[test]
fn where_guards_are_too_many_one_stands_for_all_new_journals() {
    let space = with(&["acme/one"]);
    let mut changes: Vec<Change> =
        (0..127).map(|n| upsert(&format!("acme/new/journal-{n}"), Expect::Absent)).collect();
    changes.push(upsert("acme/one", Expect::At(2)));
    let transaction = plan(&space, &changes, 128).expect("a plan");
    // One journal created since would spoil the transaction, so that no name can have been taken either.
    assert_eq!(
        guards(&transaction),
        ["acme/one put at 2", "/courant/cluster/items/../courant/cluster/items0 not created after 2"]
            .map(|text| text.replace("/courant/cluster/items/", ""))
    );
    assert!(transaction.guards.len() <= 128 && transaction.otherwise.len() <= 128);
    assert_eq!(transaction.writes.len(), 128);
}

#[test]
fn refuses_names_that_nest() {
    let space = with(&["acme/one", "acme/two/inner"]);
    let check = |changes: &[Change], expected: Option<(usize, &str)>| {
        let got = match plan(&space, changes, 128) {
            Err(Refusal::Nested { index, conflict }) => Some((index, conflict.existing)),
            Err(other) => panic!("{changes:?}: {other}"),
            Ok(_) => None,
        };
        assert_eq!(got, expected.map(|(index, existing)| (index, existing.to_owned())), "{changes:?}");
    };
    let new = |journal| upsert(journal, Expect::Absent);
    check(&[new("acme/one/inner")], Some((0, "acme/one")));
    check(&[new("acme/ones")], None);
    check(&[upsert("acme/two", Expect::Any)], Some((0, "acme/two/inner")));
    check(&[new("acme/three"), new("acme/three/inner")], Some((0, "acme/three/inner")));
    check(&[new("acme/three/inner"), new("acme/three")], Some((1, "acme/three/inner")));
    // What the request deletes is out of the way, and what it only changes is not new.
    check(&[new("acme/one/inner"), delete("acme/one", Expect::Any)], None);
    check(&[delete("acme/two/inner", Expect::At(3)), new("acme/two")], None);
    check(&[upsert("acme/one", Expect::At(2)), new("acme/one/inner")], Some((1, "acme/one")));

    // A cluster that Gazette has let nest: changing what is there makes nothing worse.
    let nested = with(&["acme/one", "acme/one/inner"]);
    let change = [upsert("acme/one", Expect::At(2)), upsert("acme/one/inner", Expect::Any)];
    assert!(plan(&nested, &change, 128).is_ok());
}

#[test]
fn refuses_two_changes_of_one_journal() {
    let space = with(&["acme/one"]);
    let other = delete("acme/other", Expect::Any);
    for second in [upsert("acme/one", Expect::At(2)), delete("acme/one", Expect::Any)] {
        let changes = [delete("acme/one", Expect::Any), other.clone(), second];
        let refusal = plan(&space, &changes, 128).expect_err("one journal twice");
        let text = refusal.to_string();
        assert!(text.starts_with("Changes[2]: journal acme/one is changed by Changes[0] already"), "{text}");
    }
}

#[test]
fn durability_is_what_there_is_and_what_all_members_know() {
    let with_level = |journal: &str, level: &str| {
        let labels = LabelSet::from_pairs([("courant.dev/durability", level)]).expect("labels");
        JournalSpec { labels, ..spec(journal) }
    };
    let mut keys = Keys::with_members(&["a/ours", "b/theirs"]);
    keys.item(&with_level("acme/old", "fsync"));
    let space = keys.space();
    let check = |journal: &str, level: &str, strangers: bool, expected: Option<&str>| {
        let change = Change { expect: Expect::Any, to: Target::Upsert(Box::new(with_level(journal, level))) };
        let is_courant = |id: &ProcessId| !strangers || id.suffix() == "ours";
        let refused =
            check_durability(&space, &[change], &is_courant).err().map(|refusal| refusal.to_string());
        match (&refused, expected) {
            (None, None) => {}
            (Some(refused), Some(expected)) if refused.contains(expected) => {}
            _ => panic!("{journal} {level}: {refused:?}"),
        }
    };
    check("acme/new", "replicated", true, None);
    check("acme/new", "fsync", false, None);
    check("acme/new", "fsync", true, Some("#theirs does not know of"));
    check("acme/new", "sync", false, Some("Changes[0].Upsert.Labels: label courant.dev/durability is"));
    check("acme/old", "fsync", true, None);
    check("acme/old", "persisted", false, Some("there are no stores to persist to"));
}
