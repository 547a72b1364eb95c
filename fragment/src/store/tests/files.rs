//! What `file://` stores leave in their folder, and where they will not go.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

#[tokio::test]
async fn objects_lie_where_their_names_say() {
    let fixture = Fixture::new();
    let content = text(1000);
    let postfixed =
        Fragment { postfix: "day=1/hour=2".into(), ..fragment("a/journal", 16, Codec::None, &content) };
    let path = postfixed.content_path();
    let check = |stored: &str| {
        let on_disk = fs::read(fixture.root.path().join(stored)).expect(stored);
        assert_eq!(on_disk, content, "{stored}");
    };

    put(&fixture.get("file:///"), &postfixed, &content).await;
    check(&path);
    put(&fixture.get("file:///deep/er/"), &postfixed, &content).await;
    check(&format!("deep/er/{path}"));
    // The first occurrence only, and before the prefix is put in front.
    put(&fixture.get("file:///a/?find=a/&replace=b/c/"), &postfixed, &content).await;
    check(&format!("a/b/c/{}", &path[2..]));
    let odd = fragment("odd%2Fname/über=1", 0, Codec::None, &content);
    put(&fixture.get("file:///"), &odd, &content).await;
    check(&odd.content_path());
    // And nothing else: no file of an upload is left.
    assert_eq!(fixture.files().len(), 4, "{:?}", fixture.files());
}

#[tokio::test]
async fn listings_take_the_same_way_as_objects() {
    let fixture = Fixture::new();
    let content = text(100);
    for store in ["file:///", "file:///deep/er/", "file:///a/?find=a/&replace=b/c/"] {
        let store = fixture.get(store);
        for (begin, postfix) in [(0, ""), (100, "day=1"), (200, "day=1/hour=2")] {
            let plain = fragment("a/journal", begin, Codec::Gzip, &content);
            put(&store, &Fragment { postfix: postfix.into(), ..plain }, &content).await;
        }
        let mut listed = store.list(&name("a/journal"), &[]).await.expect("a listing");
        listed.sort_by_key(|fragment| fragment.begin);
        let shown: Vec<_> =
            listed.iter().map(|fragment| (fragment.begin.get(), &*fragment.postfix)).collect();
        assert_eq!(shown, [(0, ""), (100, "day=1"), (200, "day=1/hour=2")]);
        for fragment in &listed {
            assert_eq!(fragment.store.as_ref(), Some(store.url()));
            assert!(fragment.mod_time > 1_500_000_000);
            assert_eq!(read(&store, fragment, fragment.begin.get()).await.expect("content"), content);
        }
        assert_eq!(store.list(&name("a/journey"), &[]).await.expect("nothing there"), []);
        assert_eq!(store.list(&name("a/jour"), &[]).await.expect("not a prefix of names"), []);
    }
}

#[tokio::test]
async fn strays_are_left_out_and_counted() {
    let fixture = Fixture::new();
    let store = fixture.get("file:///");
    let content = text(100);
    let good = fragment("a/journal", 0, Codec::None, &content);
    put(&store, &good, &content).await;
    let nested = fragment("a/journal/nested", 0, Codec::None, &content);
    put(&store, &nested, &content).await;
    let put_file = |path: &str, content: &[u8]| {
        let path = fixture.root.path().join("a/journal").join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, content).expect("written");
    };
    put_file("notes.txt", b"hello");
    put_file("0-7fffffffffffffff-0102030405060708090a0b0c0d0e0f1011121314.gz", b"x");
    put_file("0-10-0102030405060708090a0b0c0d0e0f1011121314.raw", b"too short");
    put_file(&format!("{}#1", good.content_name()), b"an upload under way");
    put_file(".partial-123", b"an upload of another broker");
    let mut deep = vec!["deep"; 80].join("/");
    deep.push_str(&format!("/{}", good.content_name()));
    put_file(&deep, &content);

    let listed = store.list(&name("a/journal"), &[name("a/journal/nested")]).await.expect("a listing");
    assert_eq!(listed.iter().map(|fragment| &fragment.sum).collect::<Vec<_>>(), [&good.sum]);
    let strays: Vec<u64> = StrayReason::ALL.iter().map(|reason| store.counters().strays(*reason)).collect();
    assert_eq!(strays, [1, 1, 1, 1, 0]);
    // Without knowing of the journal below, its fragment looks like one of ours.
    assert_eq!(store.list(&name("a/journal"), &[]).await.expect("a listing").len(), 2);
}

#[tokio::test]
async fn a_missing_base_is_no_empty_listing() {
    let fixture = Fixture::new();
    let store = fixture.get("file:///base/");
    assert_eq!(store.list(&name("a/journal"), &[]).await.expect("nothing there"), []);
    fs::remove_dir(fixture.root.path().join("base")).expect("removed");
    let error = store.list(&name("a/journal"), &[]).await.expect_err("no base");
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn links_are_not_followed() {
    let fixture = Fixture::new();
    let outside = TempDir::new().expect("a folder");
    let content = text(100);
    let secret = fragment("a/journal", 0, Codec::None, &content);
    fs::write(outside.path().join(secret.content_name()), &content).expect("written");
    fs::create_dir(fixture.root.path().join("a")).expect("made");
    // The folder of the journal is a link out of the root.
    symlink(outside.path(), fixture.root.path().join("a/journal")).expect("linked");
    let store = fixture.get("file:///");
    let refused = |error: StoreError| {
        let text = error.to_string();
        assert!(text.contains("link"), "{text}");
        assert!(!error.is_authorization());
    };
    refused(store.open(&secret, secret.begin).await.expect_err("a link"));
    refused(store.list(&name("a/journal"), &[]).await.expect_err("a link"));
    refused(
        store
            .put(&fragment("a/journal", 9, Codec::None, &content), reader(content.clone()))
            .await
            .expect_err("a link"),
    );
    refused(store.remove(&secret).await.expect_err("a link"));
    assert_eq!(fs::read_dir(outside.path()).expect("a folder").count(), 1);

    // A file that is a link, in a folder that is none.
    let other = fragment("b/journal", 0, Codec::None, &content);
    fs::create_dir_all(fixture.root.path().join("b/journal")).expect("made");
    let planted = fixture.root.path().join(other.content_path());
    symlink(outside.path().join(secret.content_name()), &planted).expect("linked");
    store.open(&other, other.begin).await.expect_err("a link");
    store.put(&other, reader(content.clone())).await.expect_err("a link");
    assert_eq!(store.list(&name("b/journal"), &[]).await.expect("a listing"), []);

    // A store whose own folder is a link.
    symlink(outside.path(), fixture.root.path().join("linked")).expect("linked");
    fixture.stores.get(&url("file:///linked/")).expect_err("a link");
}

#[tokio::test]
async fn paths_do_not_lead_up() {
    let fixture = Fixture::new();
    let content = text(10);
    let store = fixture.get("file:///base/?find=a/journal&replace=../../up");
    let error =
        store.put(&fragment("a/journal", 0, Codec::None, &content), reader(content)).await.expect_err("up");
    assert!(matches!(error, StoreError::Path { .. }), "{error}");
    assert_eq!(fixture.files(), Vec::<String>::new());
}

#[tokio::test]
async fn folders_are_closed_to_others() {
    let fixture = Fixture::new();
    let content = text(10);
    put(&fixture.get("file:///base/"), &fragment("a/journal", 0, Codec::None, &content), &content).await;
    for folder in ["base", "base/a", "base/a/journal"] {
        let mode = fs::metadata(fixture.root.path().join(folder)).expect(folder).permissions().mode();
        assert_eq!(mode & 0o007, 0, "{folder}: {mode:o}");
    }
}

#[tokio::test]
async fn what_a_killed_upload_left_is_cleared_away() {
    let fixture = Fixture::new();
    let store = fixture.get("file:///");
    let content = text(10);
    let good = fragment("a/journal", 0, Codec::None, &content);
    let folder = fixture.root.path().join("a/journal");
    fs::create_dir_all(&folder).expect("made");
    let staged = |number| folder.join(format!("{}#{number}", good.content_name()));
    for (number, age) in [(1, 3600), (2, 10)] {
        let file = fs::File::create(staged(number)).expect("made");
        let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOW.secs() as u64 - age);
        file.set_modified(modified).expect("set");
    }
    put(&store, &good, &content).await;
    assert_eq!(fixture.files(), [good.content_path()], "who reads the folder finds fragments alone");
    // Killed after it was there, and found there by the next.
    fs::write(staged(1), b"part").expect("written");
    assert!(matches!(put(&store, &good, &content).await, PutOutcome::AlreadyThere { .. }));
    assert_eq!(fixture.files(), [good.content_path()]);
}

#[tokio::test]
async fn urls_for_others() {
    let fixture = Fixture::new();
    let check = async |store: &str, journal: &str, expected: &str| {
        let fragment = fragment(journal, 0, Codec::None, b"x");
        let ttl = std::time::Duration::from_secs(60);
        let signed = fixture.get(store).signed_url(&fragment, ttl).await.expect("a URL");
        assert_eq!(signed, format!("{expected}{}", fragment.content_name()));
    };
    check("file:///", "a/journal", "file:///a/journal/").await;
    check("file:///base/", "a/journal", "file:///base/a/journal/").await;
    check("file:///base/?find=a&replace=z", "a/journal", "file:///base/z/journal/").await;
    check("file:///", "a/100%25", "file:///a/100%2525/").await;
}
