//! Fragments go in and come out, whole, from any offset, or not at all.

use std::fs;

use super::*;

/// Larger than a piece, so that it is uploaded in several.
const LARGE: usize = 5 << 20;

#[tokio::test]
async fn content_comes_back_from_every_offset() {
    let fixture = Fixture::new();
    let store = fixture.get("file:///");
    let content = text(700_000);
    for (n, codec) in [Codec::None, Codec::Gzip, Codec::Zstandard, Codec::Snappy].into_iter().enumerate() {
        let begin = 1000 + n as i64;
        let fragment = fragment("a/journal", begin, codec, &content);
        let outcome = put(&store, &fragment, &content).await;
        let PutOutcome::Stored { fragment: stored, size } = outcome else { panic!("{outcome:?}") };
        assert_eq!(stored.store.as_ref(), Some(store.url()));
        assert!(stored.mod_time > 1_500_000_000);
        let on_disk = fs::metadata(fixture.root.path().join(fragment.content_path())).expect("a file").len();
        assert_eq!(size, on_disk);
        for from in [0, 1, 262_144, 262_145, 699_999, 700_000] {
            let read = read(&store, &stored, begin + from).await.expect("content");
            assert!(read == content[from as usize..], "{codec} from {from}");
        }
        // Outside of the fragment is its begin, or its end.
        assert_eq!(read(&store, &stored, 0).await.expect("content").len(), content.len());
        assert_eq!(read(&store, &stored, i64::MAX).await.expect("nothing").len(), 0);
    }
}

#[tokio::test]
async fn large_content_goes_in_pieces() {
    let fixture = Fixture::new();
    let store = fixture.get("file:///");
    // Does not compress, so that its compressed form is large as well.
    let mut state = 1u64;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(LARGE)
    .collect();
    for codec in [Codec::None, Codec::Zstandard] {
        let fragment = fragment("a/journal", 0, codec, &content);
        put(&store, &fragment, &content).await;
        assert!(read(&store, &fragment, 0).await.expect("content") == content, "{codec}");
        assert!(read(&store, &fragment, LARGE as i64 - 10).await.expect("content") == content[LARGE - 10..]);
    }
    assert_eq!(fixture.files().len(), 2);
}

#[tokio::test]
async fn what_is_there_is_not_written_again() {
    let fixture = Fixture::new();
    let store = fixture.get("file:///");
    let content = text(50_000);
    for codec in [Codec::None, Codec::Gzip] {
        let fragment = fragment("a/journal", 0, codec, &content);
        let stored = put(&store, &fragment, &content).await.into_fragment();
        let outcome = store.put(&fragment, |_, _| panic!("nobody needs the content")).await.expect("there");
        assert_eq!(outcome, PutOutcome::AlreadyThere { fragment: stored });
    }
}

#[tokio::test]
async fn what_is_there_and_wrong_is_written_over() {
    let fixture = Fixture::new();
    let store = fixture.get("file:///");
    let content = text(50_000);
    for codec in [Codec::None, Codec::Gzip, Codec::Zstandard, Codec::Snappy] {
        let fragment = fragment("a/journal", 0, codec, &content);
        put(&store, &fragment, &content).await;
        let path = fixture.root.path().join(fragment.content_path());
        let whole = fs::read(&path).expect("an object");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0x10;
        let longer = [&whole[..], b"more"].concat();
        // Another journal's, whole by itself, and as long.
        let foreign = {
            let other: Vec<u8> = content.iter().rev().copied().collect();
            let fragment = self::fragment("another/journal", 0, codec, &other);
            put(&store, &fragment, &other).await;
            fs::read(fixture.root.path().join(fragment.content_path())).expect("an object")
        };
        for damaged in [&whole[..whole.len() - 1], &[][..], &flipped, b"something else", &longer, &foreign] {
            fs::write(&path, damaged).expect("written");
            let outcome = put(&store, &fragment, &content).await;
            assert!(matches!(outcome, PutOutcome::Stored { .. }), "{codec}");
            assert!(read(&store, &fragment, 0).await.expect("content") == content);
        }
    }
}

#[tokio::test]
async fn content_that_is_not_the_fragments_is_not_stored() {
    let fixture = Fixture::new();
    let store = fixture.get("file:///");
    for length in [50_000, LARGE] {
        let content = text(length);
        let fragment = fragment("a/journal", 0, Codec::None, &content);
        let mut flipped = content.clone();
        flipped[length - 1] ^= 1;
        for wrong in [flipped, content[..length - 1].to_vec(), text(length + 1)] {
            let error = store.put(&fragment, reader(wrong)).await.expect_err("wrong content");
            assert!(matches!(error, StoreError::Content { .. }), "{error}");
        }
        let failing = |_: u64, _: &mut [u8]| Err("the disk is gone".into());
        let error = store.put(&fragment, failing).await.expect_err("no content");
        assert!(error.to_string().contains("a/journal"), "{error}");
    }
    // Files of uploads are removed in the background.
    for _ in 0..100 {
        if fixture.files().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("left behind: {:?}", fixture.files());
}

#[tokio::test]
async fn many_may_put_the_same() {
    let fixture = Fixture::new();
    let store = fixture.get("file:///");
    let content = text(LARGE);
    let fragment = fragment("a/journal", 0, Codec::None, &content);
    let puts = (0..8).map(|_| store.put(&fragment, reader(content.clone())));
    for outcome in futures::future::join_all(puts).await {
        outcome.expect("stored");
    }
    assert!(read(&store, &fragment, 0).await.expect("content") == content);
    assert_eq!(fixture.files(), [fragment.content_path()]);
}

#[tokio::test]
async fn a_damaged_object_is_data_loss_and_names_itself() {
    let fixture = Fixture::new();
    let store = fixture.get("file:///");
    let content = text(400_000);
    let mut losses = 0;
    for codec in [Codec::None, Codec::Gzip, Codec::Zstandard, Codec::Snappy] {
        let fragment = fragment("a/journal", 0, codec, &content);
        put(&store, &fragment, &content).await;
        let path = fixture.root.path().join(fragment.content_path());
        let whole = fs::read(&path).expect("an object");
        let mut flipped = whole.clone();
        flipped[whole.len() - 20] ^= 0x10;
        let longer = [&whole[..], b"x"].concat();
        for damaged in [&flipped, &whole[..whole.len() - 1], &whole[..10], &[], &longer] {
            fs::write(&path, damaged).expect("written");
            losses += 1;
            let mut reader = match store.open(&fragment, fragment.begin).await {
                Ok(reader) => reader,
                Err(error) => {
                    assert!(matches!(error, StoreError::DataLoss { .. }), "{error}");
                    continue;
                }
            };
            let mut handed_out = Vec::new();
            let error = loop {
                match reader.next().await {
                    Ok(Some(piece)) => handed_out.extend_from_slice(&piece),
                    Ok(None) => panic!("{codec}: damage went unnoticed"),
                    Err(error) => break error,
                }
            };
            assert!(handed_out.len() < content.len(), "the last of it is held back");
            assert!(matches!(error, StoreError::DataLoss { .. }), "{error}");
            assert!(error.to_string().contains(&fragment.content_name()), "{error}");
        }
        fs::remove_file(&path).expect("removed");
        let error = store.open(&fragment, fragment.begin).await.expect_err("gone");
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    }
    assert_eq!(store.counters().data_loss.load(std::sync::atomic::Ordering::Relaxed), losses);
}

#[tokio::test]
async fn an_open_reader_is_not_disturbed() {
    let fixture = Fixture::new();
    let store = fixture.get("file:///");
    let content = text(600_000);
    let fragment = fragment("a/journal", 0, Codec::None, &content);
    put(&store, &fragment, &content).await;
    let mut reader = store.open(&fragment, fragment.begin).await.expect("open");
    let mut read = reader.next().await.expect("content").expect("some").to_vec();
    store.remove(&fragment).await.expect("removed");
    store.remove(&fragment).await.expect("gone is as good");
    while let Some(piece) = reader.next().await.expect("content") {
        read.extend_from_slice(&piece);
    }
    assert!(read == content);
}

#[tokio::test]
async fn a_stream_of_it() {
    use futures::TryStreamExt;
    let fixture = Fixture::new();
    let store = fixture.get("file:///");
    let content = text(600_000);
    let fragment = fragment("a/journal", 0, Codec::Gzip, &content);
    put(&store, &fragment, &content).await;
    let reader = store.open(&fragment, fragment.begin).await.expect("open");
    let pieces: Vec<Bytes> = reader.into_stream().try_collect().await.expect("content");
    assert!(pieces.concat() == content);
}
