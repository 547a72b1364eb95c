//! Loading, reading again over what was known, and looking things up.

use super::*;

struct Text;

impl Decoder for Text {
    type Value = String;

    fn decode(&self, key: &[u8], value: &[u8]) -> Result<String, String> {
        let text = String::from_utf8_lossy(value).into_owned();
        if !key.starts_with(b"/root/") {
            return Err("unexpected key prefix".to_owned());
        }
        if text == "bad" { Err("bad value".to_owned()) } else { Ok(text) }
    }
}

fn kv(key: &str, value: &str, create: i64, modified: i64) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision: Revision::new(create),
        mod_revision: Revision::new(modified),
        version: 1 + modified - create,
        lease: 7,
    }
}

fn at(revision: i64) -> StoreHeader {
    StoreHeader { cluster_id: 1, member_id: 2, revision: Revision::new(revision), raft_term: 3 }
}

fn keys(run: Run<'_, String>) -> Vec<String> {
    run.iter().map(|entry| String::from_utf8_lossy(&entry.key).into_owned()).collect()
}

fn sample() -> Snapshot<String> {
    let kvs = ["/root/items/a", "/root/items/a/b", "/root/items/b", "/root/members/m", "/root/assign/a#m#0"];
    Snapshot::loaded(at(20), kvs.map(|key| kv(key, key, 5, 6)), &Text)
}

#[test]
fn lookups() {
    let snapshot = sample();
    assert_eq!(snapshot.len(), 5);
    let entry = snapshot.get("/root/items/b").unwrap();
    assert_eq!((entry.value.as_str(), entry.version, entry.lease), ("/root/items/b", 2, 7));
    assert!(snapshot.get("/root/items/").is_none());
    assert_eq!(keys(snapshot.prefix("/root/items/")), ["/root/items/a", "/root/items/a/b", "/root/items/b"]);
    assert_eq!(keys(snapshot.prefix("/root/nothing")), [""; 0]);
    assert_eq!(keys(snapshot.range("/root/items/a/", "/root/items/c")), ["/root/items/a/b", "/root/items/b"]);
    assert!(snapshot.range("/root/z", "/root/a").is_empty());
    assert_eq!(keys(snapshot.prefix("")).len(), 5);
    assert_eq!(snapshot.all().first().map(|entry| &*entry.key), Some(&b"/root/assign/a#m#0"[..]));
}

#[test]
fn what_cannot_be_decoded_is_set_aside_and_counted() {
    let kvs = [kv("/root/a", "ok", 1, 1), kv("/root/b", "bad", 2, 3), kv("/root2/c", "ok", 4, 4)];
    let snapshot = Snapshot::loaded(at(9), kvs, &Text);
    assert_eq!(keys(snapshot.all()), ["/root/a"]);
    let aside: Vec<_> = snapshot
        .set_aside()
        .map(|refused| (&*refused.key, refused.reason.as_str(), refused.mod_revision.get()))
        .collect();
    assert_eq!(aside, [(&b"/root/b"[..], "bad value", 3), (&b"/root2/c"[..], "unexpected key prefix", 4)]);
    assert_eq!(snapshot.key_count(), 3);
}

#[test]
fn reading_again_shares_what_did_not_change() {
    let old = Snapshot::loaded(
        at(9),
        [
            kv("/root/a", "1", 1, 1),
            kv("/root/b", "1", 2, 2),
            kv("/root/c", "1", 3, 3),
            kv("/root/d", "1", 4, 4),
        ],
        &Text,
    );
    let again = [
        kv("/root/a", "1", 1, 1),
        kv("/root/b", "2", 2, 11),
        kv("/root/c", "bad", 3, 12),
        kv("/root/e", "bad", 13, 13),
    ];
    let new = Snapshot::reloaded(at(20), again, &Text, Some(&old));
    assert!(Arc::ptr_eq(old.get_shared("/root/a").unwrap(), new.get_shared("/root/a").unwrap()));
    assert_eq!(keys(new.all()), ["/root/a", "/root/b", "/root/c"]);
    assert_eq!(new.get("/root/c").unwrap().mod_revision, Revision::new(3), "the last good value stays");
    assert_eq!(new.set_aside().len(), 2);
    assert_eq!((new.revision().get(), new.read_through().get(), new.resume_at().get()), (20, 20, 21));

    let changed: Vec<_> = new
        .changes_since(&old)
        .into_iter()
        .map(|change| match change {
            Change::Added(entry) => format!("+{}", String::from_utf8_lossy(&entry.key)),
            Change::Updated { new, .. } => format!("~{}", String::from_utf8_lossy(&new.key)),
            Change::Removed(entry) => format!("-{}", String::from_utf8_lossy(&entry.key)),
        })
        .collect();
    assert_eq!(changed, ["~/root/b", "-/root/d"]);
}

#[test]
fn a_key_that_is_older_than_it_was_is_of_another_history() {
    let (held, refused) = (kv("/root/a", "1", 1, 8), kv("/root/b", "bad", 2, 9));
    let old = Snapshot::loaded(at(9), [held.clone(), kv("/root/b", "1", 2, 2)], &Text);
    let old = Snapshot::reloaded(at(10), [held, refused.clone()], &Text, Some(&old));
    let check = |now: [KeyValue; 2], expected: Option<(i64, i64)>| {
        let now = Snapshot::reloaded(at(20), now, &Text, Some(&old));
        let found = now.key_before(&old).map(|(held, got)| (held.get(), got.get()));
        assert_eq!(found, expected);
    };
    check([kv("/root/a", "1", 1, 8), refused.clone()], None);
    check([kv("/root/a", "1", 15, 15), kv("/root/c", "1", 3, 3)], None);
    check([kv("/root/a", "0", 1, 5), refused], Some((8, 5)));
    check([kv("/root/a", "1", 1, 8), kv("/root/b", "1", 2, 2)], Some((9, 2)));
}

#[test]
fn reading_again_does_not_revive_the_value_of_a_former_life() {
    let old = Snapshot::loaded(at(9), [kv("/root/a", "1", 1, 1)], &Text);
    let new = Snapshot::reloaded(at(20), [kv("/root/a", "bad", 15, 15)], &Text, Some(&old));
    assert!(new.is_empty());
    assert_eq!(new.set_aside().len(), 1);
}
