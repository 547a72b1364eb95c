//! What every store has to do.

use std::time::Duration;

use bytes::Bytes;
use courant_fragment::store::{PutOutcome, StoreError};
use courant_proto::codec::Codec;
use courant_proto::fragment::Fragment;
use courant_proto::offset::Offset;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use crate::site::{Kind, Site, fragment, name, noise, put, read, reader, text, url};

/// A signed URL is valid for so long where that is waited for.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(300);

pub(crate) async fn content_comes_back_from_every_offset(site: Site) {
    let store = site.store();
    let content = text(700_000);
    for (n, codec) in (0..).zip(site.codecs()) {
        let begin = 1000 + n;
        let fragment = fragment("a/journal", begin, codec, &content);
        let outcome = put(&store, &fragment, &content).await;
        let PutOutcome::Stored { fragment: stored, size } = outcome else { panic!("{outcome:?}") };
        assert_eq!(stored.store.as_ref(), Some(store.url()));
        assert!(stored.mod_time > 1_500_000_000);
        assert_eq!(size, site.bytes(&fragment.content_path()).await.len() as u64, "{codec}");
        for from in [0, 1, 262_144, 262_145, 699_999, 700_000] {
            let read = read(&store, &stored, begin + from).await.expect("content");
            assert!(read == content[usize::try_from(from).expect("small")..], "{codec} from {from}");
        }
    }
}

pub(crate) async fn large_content_goes_in_parts(site: Site) {
    let store = site.store();
    let content = noise(11 << 20);
    for codec in [Codec::None, Codec::Gzip] {
        let fragment = fragment("a/journal", 0, codec, &content);
        put(&store, &fragment, &content).await;
        assert!(read(&store, &fragment, 0).await.expect("content") == content, "{codec}");
        assert!(read(&store, &fragment, (10 << 20) + 1).await.expect("content") == content[(10 << 20) + 1..]);
        let outcome = put(&store, &fragment, &content).await;
        assert!(matches!(outcome, PutOutcome::AlreadyThere { .. }), "{codec}: {outcome:?}");
    }
}

pub(crate) async fn what_is_there_is_not_written_again(site: Site) {
    let store = site.store();
    let content = text(50_000);
    for codec in site.codecs() {
        let fragment = fragment("a/journal", 0, codec, &content);
        let stored = put(&store, &fragment, &content).await.into_fragment();
        let outcome = store.put(&fragment, |_, _| panic!("nobody needs the content")).await.expect("there");
        assert_eq!(outcome, PutOutcome::AlreadyThere { fragment: stored });
    }
}

/// Wrong by its size, by its digest with the right size, or not of its codec at all.
pub(crate) async fn what_is_there_and_wrong_is_written_over(site: Site) {
    let store = site.store();
    let content = text(50_000);
    for codec in site.codecs() {
        let fragment = fragment("a/journal", 0, codec, &content);
        let path = fragment.content_path();
        put(&store, &fragment, &content).await;
        let whole = site.bytes(&path).await.to_vec();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0x10;
        let foreign = {
            let other: Vec<u8> = content.iter().rev().copied().collect();
            let fragment = self::fragment("another/journal", 0, codec, &other);
            put(&store, &fragment, &other).await;
            site.bytes(&fragment.content_path()).await.to_vec()
        };
        let encoding = (codec == Codec::GzipOffload).then_some("gzip");
        let cut = whole[..whole.len() - 1].to_vec();
        for damaged in [cut, Vec::new(), flipped, b"something else".to_vec(), foreign] {
            site.plant(&path, damaged, encoding).await;
            let outcome = put(&store, &fragment, &content).await;
            assert!(matches!(outcome, PutOutcome::Stored { .. }), "{codec}");
            assert!(read(&store, &fragment, 0).await.expect("content") == content, "{codec}");
        }
        // Whole, and not of us: it is read once to see that it is right.
        site.plant(&path, whole, encoding).await;
        let outcome = put(&store, &fragment, &content).await;
        assert!(matches!(outcome, PutOutcome::AlreadyThere { .. }), "{codec}: {outcome:?}");
    }
}

pub(crate) async fn content_that_is_not_the_fragments_is_not_stored(site: Site) {
    let store = site.store();
    for length in [50_000, 9 << 20] {
        let content = noise(length);
        let fragment = fragment("a/journal", 0, Codec::None, &content);
        let mut flipped = content.clone();
        flipped[length - 1] ^= 1;
        for wrong in [flipped, content[..length - 1].to_vec(), noise(length + 1)] {
            let error = store.put(&fragment, reader(wrong)).await.expect_err("wrong content");
            assert!(matches!(error, StoreError::Content { .. }), "{error}");
        }
    }
    assert_eq!(store.list(&name("a/journal"), &[]).await.expect("a listing"), []);
}

pub(crate) async fn many_may_put_the_same(site: Site) {
    let store = site.store();
    for content in [text(50_000), noise(9 << 20)] {
        let fragment = fragment("a/journal", 0, Codec::Gzip, &content);
        let puts = (0..4).map(|_| store.put(&fragment, reader(content.clone())));
        for outcome in futures::future::join_all(puts).await {
            outcome.expect("stored");
        }
        assert!(read(&store, &fragment, 0).await.expect("content") == content);
    }
    assert_eq!(store.list(&name("a/journal"), &[]).await.expect("a listing").len(), 2);
}

pub(crate) async fn a_listing_has_all_pages(site: Site) {
    // Pages have a thousand entries, and Azure's five thousand.
    let count = match site.kind {
        Kind::File => 50,
        Kind::S3 | Kind::Moto | Kind::Gcs => 1_005,
        Kind::Azure => 5_005,
    };
    let raw = site.raw();
    let fragments: Vec<_> = (0..count).map(|begin| fragment("a/journal", begin, Codec::None, b"x")).collect();
    let plants = fragments.iter().map(|fragment| {
        let key = Path::parse(format!("{}{}", site.prefix, fragment.content_path())).expect("a path");
        let raw = &raw;
        async move { raw.put(&key, "x".into()).await.map(drop) }
    });
    futures::stream::iter(plants).buffer_unordered(16).try_collect::<()>().await.expect("planted");
    let store = site.store();
    let mut listed = store.list(&name("a/journal"), &[]).await.expect("a listing");
    listed.sort_by_key(|fragment| fragment.begin);
    assert_eq!(listed.len(), fragments.len());
    for (listed, planted) in listed.iter().zip(&fragments) {
        assert_eq!((listed.begin, listed.end, listed.sum), (planted.begin, planted.end, planted.sum));
        assert!(listed.mod_time > 1_500_000_000);
    }
}

pub(crate) async fn a_listing_is_of_one_journal(site: Site) {
    let store = site.store();
    let content = text(100);
    for (journal, begin, postfix) in [
        ("a/journal", 0, ""),
        ("a/journal", 100, "day=1"),
        ("a/journal-2", 0, ""),
        ("a/journal/nested", 0, ""),
    ] {
        let fragment =
            Fragment { postfix: postfix.into(), ..fragment(journal, begin, Codec::Zstandard, &content) };
        put(&store, &fragment, &content).await;
    }
    site.plant("a/journal/notes.txt", "hello", None).await;
    let nested = [name("a/journal/nested")];
    let mut listed = store.list(&name("a/journal"), &nested).await.expect("a listing");
    listed.sort_by_key(|fragment| fragment.begin);
    let shown: Vec<_> = listed.iter().map(|fragment| (fragment.begin.get(), &*fragment.postfix)).collect();
    assert_eq!(shown, [(0, ""), (100, "day=1")]);
    for fragment in &listed {
        assert_eq!(fragment.store.as_ref(), Some(store.url()));
        assert_eq!(read(&store, fragment, fragment.begin.get()).await.expect("content"), content);
    }
    assert_eq!(store.list(&name("a/jour"), &[]).await.expect("not a beginning of names"), []);
    assert_eq!(store.list(&name("nobody/was/here"), &[]).await.expect("nothing"), []);
}

pub(crate) async fn what_is_removed_is_gone(site: Site) {
    let store = site.store();
    let content = text(1000);
    let fragment = fragment("a/journal", 0, Codec::Gzip, &content);
    put(&store, &fragment, &content).await;
    store.remove(&fragment).await.expect("removed");
    store.remove(&fragment).await.expect("gone is as good");
    let error = store.open(&fragment, fragment.begin).await.expect_err("gone");
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    assert!(!error.is_authorization() && !error.is_transient());
    assert_eq!(store.list(&name("a/journal"), &[]).await.expect("a listing"), []);
}

pub(crate) async fn a_signed_url_reads_the_object(site: Site) {
    let store = site.store();
    let content = text(1000);
    for codec in site.codecs() {
        let fragment = fragment("a/journal", 0, codec, &content);
        put(&store, &fragment, &content).await;
        let signed = store.signed_url(&fragment, LONG).await.expect("a URL");
        if site.kind == Kind::File {
            assert_eq!(signed, format!("file:///{}{}", site.prefix, fragment.content_path()));
            continue;
        }
        let (status, got) = fetch(&signed).await;
        assert_eq!(status, 200);
        // One store takes the codec off for those who do not ask for it.
        let is_plain = codec == Codec::None || (codec == Codec::GzipOffload && site.kind == Kind::Gcs);
        let expected =
            if is_plain { content.clone().into() } else { site.bytes(&fragment.content_path()).await };
        assert!(got == expected, "{codec}");
        // It is a key to this object alone, and not for ever.
        let other = signed.replace("a/journal/00", "a/journal/01");
        assert_ne!(other, signed);
        if site.kind != Kind::Moto {
            assert_eq!(fetch(&other).await.0, 403);
        }
    }
    if !matches!(site.kind, Kind::File | Kind::Moto) {
        let fragment = fragment("a/journal", 0, Codec::None, &content);
        let signed = store.signed_url(&fragment, SHORT).await.expect("a URL");
        for _ in 0..200 {
            if fetch(&signed).await.0 != 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the URL is still valid");
    }
}

async fn fetch(url: &str) -> (u16, Bytes) {
    let answer = reqwest::get(url).await.expect("an answer");
    (answer.status().as_u16(), answer.bytes().await.expect("a body"))
}

pub(crate) async fn checks_pass(site: Site) {
    let store = site.store();
    store.check().await.expect("healthy");
    store.check_delete("").await.expect("may delete");
    store.check_delete("some/where/").await.expect("may delete");
}

pub(crate) async fn paths_are_rewritten(site: Site) {
    let store = site.get(&site.access.with(&site.prefix, "Find=a/&REPLACE=b/c/"));
    let content = text(100);
    let fragment = Fragment { postfix: "x=1".into(), ..fragment("a/a/journal", 0, Codec::None, &content) };
    put(&store, &fragment, &content).await;
    let path = fragment.content_path();
    let rewritten = format!("b/c/{}", path.strip_prefix("a/").expect("its beginning"));
    assert_eq!(site.bytes(&rewritten).await, content);
    let listed = store.list(&name("a/a/journal"), &[]).await.expect("a listing");
    assert_eq!(listed.iter().map(|listed| listed.content_path()).collect::<Vec<_>>(), [path]);
    let signed = store.signed_url(&fragment, LONG).await.expect("a URL");
    assert!(signed.contains("/b/c/a/journal/x"), "{signed}");
    store.remove(&fragment).await.expect("removed");
    assert_eq!(store.list(&name("a/a/journal"), &[]).await.expect("a listing"), []);
    let unknown = site.access.with(&site.prefix, "Sheep=1");
    let error = site.stores.get(&url(&unknown)).expect_err("refused").to_string();
    assert_eq!(error, "parsing store URL arguments: schema: invalid path \"Sheep\"");
}

pub(crate) async fn names_may_hold_what_urls_escape(site: Site) {
    let store = site.store();
    let content = text(100);
    for journal in ["odd%2Fname/über=1", "a+b/c.d_e-f", "100%25/x"] {
        let fragment =
            Fragment { postfix: "at=1+1%20".into(), ..fragment(journal, 0, Codec::None, &content) };
        put(&store, &fragment, &content).await;
        assert_eq!(site.bytes(&fragment.content_path()).await, content, "{journal}");
        assert_eq!(read(&store, &fragment, 0).await.expect("content"), content);
        let listed = store.list(&name(journal), &[]).await.expect("a listing");
        assert_eq!(listed.iter().map(|listed| &listed.postfix).collect::<Vec<_>>(), [&fragment.postfix]);
        if site.kind != Kind::File {
            let signed = store.signed_url(&fragment, LONG).await.expect("a URL");
            assert_eq!(fetch(&signed).await, (200, content.clone().into()), "{journal}");
        }
        store.remove(&fragment).await.expect("removed");
        assert_eq!(store.list(&name(journal), &[]).await.expect("a listing"), []);
    }
}

pub(crate) async fn gzip_may_have_several_members(site: Site) {
    let store = site.store();
    let content = text(100_000);
    let members: Vec<u8> = content.chunks(30_000).flat_map(gzip).collect();
    for codec in site.codecs() {
        let (bytes, encodings) = match codec {
            Codec::Gzip => (members.clone(), vec![None]),
            Codec::GzipOffload => (members.clone(), vec![Some("gzip"), None]),
            _ => continue,
        };
        let fragment = fragment("a/journal", 0, codec, &content);
        for encoding in encodings {
            site.plant(&fragment.content_path(), bytes.clone(), encoding).await;
            for from in [0, 1, 30_000, 99_999] {
                let read = read(&store, &fragment, from).await.expect("content");
                assert!(
                    read == content[usize::try_from(from).expect("small")..],
                    "{codec} {encoding:?} {from}"
                );
            }
        }
    }
    if site.kind != Kind::File {
        // Somebody copied it and lost the header, or a store took the codec off for good.
        let fragment = fragment("a/plain", 0, Codec::GzipOffload, &content);
        site.plant(&fragment.content_path(), content.clone(), None).await;
        assert!(read(&store, &fragment, 5).await.expect("content") == content[5..]);
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

pub(crate) async fn damage_is_found(site: Site) {
    let store = site.store();
    let content = text(100_000);
    for codec in site.codecs() {
        let fragment = fragment("a/journal", 0, codec, &content);
        put(&store, &fragment, &content).await;
        let whole = site.bytes(&fragment.content_path()).await.to_vec();
        let mut flipped = whole.clone();
        flipped[whole.len() - 20] ^= 0x10;
        for damaged in [flipped, whole[..whole.len() - 1].to_vec()] {
            // Without the header: a store that unpacks on the way would fail by itself.
            site.plant(&fragment.content_path(), damaged, None).await;
            let error = read(&store, &fragment, 0).await.expect_err("damaged");
            assert!(matches!(error, StoreError::DataLoss { .. }), "{codec}: {error}");
            assert!(error.to_string().contains(&fragment.content_name()), "{error}");
        }
    }
}

pub(crate) async fn a_missing_bucket_is_no_missing_object(site: Site) {
    if site.kind == Kind::File {
        let store = site.get("file:///base/");
        remove_folder(&site.root().join("base"));
        store.list(&name("a/journal"), &[]).await.expect_err("no base");
        return;
    }
    if site.kind == Kind::S3 {
        // It makes buckets of whatever is put; moto does not.
        return;
    }
    let store = site.get(&site.access.store.replace("courant-test", "courant-missing"));
    let content = text(100);
    let fragment = fragment("a/journal", 0, Codec::None, &content);
    let missing = |error: StoreError| {
        assert!(matches!(error, StoreError::NoBucket { .. }), "{error}");
        assert!(error.is_authorization() && !error.is_transient(), "{error}");
    };
    missing(store.put(&fragment, reader(content)).await.expect_err("no bucket"));
    missing(store.open(&fragment, Offset::ZERO).await.expect_err("no bucket"));
    missing(store.list(&name("a/journal"), &[]).await.expect_err("no bucket"));
    missing(store.remove(&fragment).await.expect_err("no bucket"));
    let error = store.check().await.expect_err("no bucket");
    assert!(error.starts_with("health check PUT failed: the bucket of "), "{error}");
}

fn remove_folder(folder: &std::path::Path) {
    std::fs::remove_dir(folder).expect("an empty folder");
}

/// What somebody else put there, under keys that the library takes for no paths.
pub(crate) async fn keys_that_are_no_paths_end_no_listing(site: Site) {
    let store = site.store();
    let content = text(100);
    let fragment = fragment("a/journal", 0, Codec::None, &content);
    put(&store, &fragment, &content).await;
    crate::hostile::plant(&site, &["a/journal//x", "a/journal/./y", "a/journal/z/", "a/journal/tab\tend"])
        .await;
    let listed = store.list(&name("a/journal"), &[]).await.expect("a listing");
    assert_eq!(listed.iter().map(|listed| &listed.sum).collect::<Vec<_>>(), [&fragment.sum]);
}
