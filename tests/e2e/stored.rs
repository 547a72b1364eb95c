//! Content that lies in a store alone: damaged, gone, made up, or read past the brokers.

#![expect(clippy::disallowed_methods, reason = "the tests look at, and damage, what lies in the store")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use courant_client::{Client, Direct, Error, ReadEvent};
use courant_proto::wire::{self, CompressionCodec as Codec};
use courant_tests::journal::{apply, seconds, spec};
use courant_tests::process::Node;
use courant_tests::store::{self, Stored};
use futures::StreamExt as _;
use sha1::{Digest as _, Sha1};

use crate::put;

const JOURNAL: &str = "acme/cold";

/// Content of a fragment. No two bytes of what a codec makes of it could be others.
fn text(letter: char) -> String {
    let mut state = u64::from(letter);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((state >> 33) % 90).expect("small"))
    };
    (0..2000).map(|_| next()).collect()
}

/// Three fragments, none of which is held anywhere but in the store.
async fn cold(codec: Codec) -> (Node, Vec<Stored>) {
    let mut node = Node::start(&[]).await;
    let mut journal = spec(JOURNAL, codec, 1024);
    journal.fragment.as_mut().expect("fragments").refresh_interval = Some(seconds(1));
    apply(&node.client(), [journal]).await;
    for letter in ['a', 'b', 'c'] {
        put(&node, JOURNAL, &text(letter)).await;
    }
    assert_eq!(node.terminate().await.code(), Some(0), "{}", node.log());
    node.restart().await;
    let stored = store::fragments(&node.fragments(), JOURNAL);
    assert_eq!(stored.len(), 3, "{stored:?}");
    (node, stored)
}

fn flip(path: &Path) {
    let mut object = std::fs::read(path).expect("an object");
    let at = object.len() / 2;
    object[at] ^= 0x20;
    std::fs::write(path, object).expect("written");
}

/// Puts an object into the journal's folder, named for its content.
fn plant(node: &Node, begin: i64, content: &[u8]) -> PathBuf {
    let sum: String = Sha1::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    let end = begin + i64::try_from(content.len()).expect("a length");
    let path = node.fragments().join(JOURNAL).join(format!("{begin:016x}-{end:016x}-{sum}.raw"));
    std::fs::write(&path, content).expect("written");
    path
}

async fn read(client: &Client, offset: i64, direct: Option<&Direct>) -> (String, Result<(), Error>) {
    let request = wire::ReadRequest { journal: JOURNAL.to_owned(), offset, ..Default::default() };
    let mut reader = client.reader(request);
    if let Some(direct) = direct {
        reader = reader.direct(direct);
    }
    let mut content = Vec::new();
    let outcome = loop {
        match reader.next().await.expect("it goes on") {
            Ok(ReadEvent::Content { content: more, .. }) => content.extend_from_slice(&more),
            Ok(ReadEvent::Metadata(_)) => {}
            Err(error) if error.status() == Some(wire::Status::OffsetNotYetAvailable) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    (String::from_utf8(content).expect("text"), outcome)
}

async fn metric(node: &Node, line: &str) -> u64 {
    let metrics = node.http("GET", "/metrics", b"").await.text();
    let line = metrics.lines().find_map(|found| found.strip_prefix(line));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{metrics}"))
}

#[tokio::test]
async fn a_damaged_fragment_is_told_and_never_served() {
    for codec in [Codec::None, Codec::Gzip, Codec::Zstandard, Codec::Snappy] {
        let (node, stored) = cold(codec).await;
        let client = node.client();
        flip(&stored[1].path);
        let (content, outcome) = read(&client, 0, None).await;
        assert_eq!(content, text('a'), "{codec:?}");
        let error = outcome.expect_err("damage").to_string();
        let name = stored[1].path.file_name().expect("a name").to_string_lossy();
        assert!(error.contains("data loss") && error.contains(&*name), "{error}");
        assert_eq!(read(&client, 4000, None).await.0, text('c'), "others are served");
        // A part of it is no better than all of it.
        assert!(read(&client, 2500, None).await.1.is_err());
        assert_eq!(metric(&node, "courant_read_gaps_total").await, 0);
    }
}

#[tokio::test]
async fn what_covers_the_same_offsets_stands_in() {
    let (node, stored) = cold(Codec::Gzip).await;
    flip(&stored[1].path);
    plant(&node, 2000, &text('b').as_bytes()[..900]);
    plant(&node, 2900, &text('b').as_bytes()[900..]);
    let whole = ['a', 'b', 'c'].map(text).concat();
    let (content, outcome) = read(&node.client(), 0, None).await;
    outcome.expect("a reader hears nothing of it");
    assert_eq!(content, whole);
    // Replaced by what its name promises, it counts again; cut short, it does not.
    std::fs::remove_file(&stored[2].path).expect("removed");
    plant(&node, 4000, text('c').as_bytes());
    let (content, outcome) = read(&node.client(), 0, None).await;
    outcome.expect("a deleted object is noticed");
    assert_eq!(content, whole);
}

#[tokio::test]
async fn a_deleted_fragment_is_a_gap_and_not_silence() {
    let (node, stored) = cold(Codec::None).await;
    std::fs::remove_file(&stored[0].path).expect("removed");
    let client = node.client();
    let request = wire::ReadRequest { journal: JOURNAL.to_owned(), ..Default::default() };
    let mut reader = client.reader(request);
    let event = reader.next().await.expect("it goes on").expect("no failure");
    let ReadEvent::Metadata(metadata) = event else { panic!("{event:?}") };
    let gap = metadata.gap.expect("a gap");
    assert_eq!((gap.begin, gap.end), (0, 2000));
    assert_eq!(metric(&node, "courant_read_gap_bytes_total").await, 2000);
    let select = format!("name={JOURNAL}");
    let ran = node.verb(&["journals", "read", "-l", &select, "--fail-on-gap"], b"").await;
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("0 to 2000"), "{}", ran.stderr);
    assert_eq!(ran.stdout.len(), 4000);
}

#[tokio::test]
async fn names_that_anybody_made_up_wedge_nothing() {
    let (mut node, _) = cold(Codec::Gzip).await;
    let far = 1_i64 << 59;
    let folder = node.fragments().join(JOURNAL);
    plant(&node, far, b"far away");
    let sum = "0".repeat(40);
    let raw = |begin: &str, end: &str| format!("{begin}-{end}-{sum}.raw");
    for (name, size) in [
        (raw("7ffffffffffffff0", "7fffffffffffffff"), 15),
        (raw("0000000000000010", "0000000000000010"), 0),
        (raw("0000000000000020", "0000000000000010"), 16),
        (raw("8000000000000000", "8000000000000010"), 16),
        (raw("-000000000000010", "0000000000000010"), 16),
        ("%2e%2e%2fpasswd".to_owned(), 3),
        ("..\n\u{1b}[31m".to_owned(), 3),
    ] {
        std::fs::write(folder.join(name), vec![b'x'; size]).expect("written");
    }
    let deep = folder.join("d/".repeat(100));
    std::fs::create_dir_all(&deep).expect("folders");
    std::fs::write(deep.join(raw("0000000000000000", "0000000000000010")), [b'x'; 16]).expect("written");
    node.kill();
    node.restart().await;
    let client = node.client();
    assert_eq!(put(&node, JOURNAL, "d").await, (6000, 6001), "appends go on where the journal ends");
    assert_eq!(client.head(JOURNAL).await.expect("a head"), 6001);
    let aside = "courant_store_strays_total{store=\"file:///\",reason=\"head\"}";
    let before = metric(&node, aside).await;
    assert!(before > 0);
    // One that turns up later is found by the next listing, and moves nothing either.
    plant(&node, 6001, b"the next bytes, says who?");
    let began = tokio::time::Instant::now();
    while !node.log().contains("0000000000001771-") {
        client.head(JOURNAL).await.expect("a head");
        assert!(began.elapsed() < Duration::from_secs(60), "{}", node.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(client.head(JOURNAL).await.expect("a head"), 6001);
    assert_eq!(put(&node, JOURNAL, "e").await, (6001, 6002));
    let (content, outcome) = read(&client, 4000, None).await;
    outcome.expect("content");
    assert_eq!(content, format!("{}de", text('c')));
}

#[tokio::test]
async fn bombs_do_not_go_off() {
    let (node, stored) = cold(Codec::Gzip).await;
    let zeros = vec![0; 64 << 20];
    let bombs = [
        (".zst", zstd::encode_all(&zeros[..], 3).expect("encoded")),
        (".gz", gzip(&zeros)),
        (".gz", gzip(b"").repeat(40_000)),
    ];
    let before = resident(&node);
    for (extension, bomb) in bombs {
        let _ = std::fs::remove_file(&stored[1].path);
        let name = format!("{:016x}-{:016x}-{}{extension}", 2000, 3_000_000, "1".repeat(40));
        let path = node.fragments().join(JOURNAL).join(name);
        std::fs::write(&path, bomb).expect("written");
        let began = tokio::time::Instant::now();
        loop {
            let (content, outcome) = read(&node.client(), 2000, None).await;
            assert!(content.len() < 2_998_000, "the end of it was handed out");
            match outcome {
                Err(error) if error.to_string().contains("data loss") => break,
                outcome => assert!(began.elapsed() < Duration::from_secs(30), "{outcome:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        std::fs::remove_file(path).expect("removed");
    }
    let grown = resident(&node).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
}

fn gzip(content: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).expect("written");
    encoder.finish().expect("encoded")
}

/// The most memory that the process ever held.
fn resident(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

#[tokio::test]
async fn readers_fetch_from_the_store_themselves() {
    for codec in [Codec::None, Codec::Gzip, Codec::Zstandard, Codec::Snappy] {
        let (node, stored) = cold(codec).await;
        let client = node.client();
        put(&node, JOURNAL, "local").await;
        let whole = format!("{}local", ['a', 'b', 'c'].map(text).concat());
        // From the folder; without it, or without the file, through the broker.
        let there = Direct::new().with_file_root(node.fragments());
        let elsewhere = Direct::new().with_file_root(node.folder());
        for direct in [&there, &elsewhere, &Direct::new()] {
            for offset in [0, 1999, 2500, 6001] {
                let (content, outcome) = read(&client, offset, Some(direct)).await;
                outcome.expect("content");
                assert_eq!(content, whole[usize::try_from(offset).expect("small")..], "{codec:?} {offset}");
            }
        }
        let gets = "gazette_store_operation_total{store=\"file:///\",operation=\"get\",status=\"success\"}";
        let before = metric(&node, gets).await;
        read(&client, 0, Some(&there)).await.1.expect("content");
        assert_eq!(metric(&node, gets).await, before, "the broker read nothing");
        flip(&stored[1].path);
        let (content, outcome) = read(&client, 0, Some(&there)).await;
        assert!(outcome.is_err());
        assert_eq!(content, text('a'));
        let select = format!("name={JOURNAL}");
        let root = node.fragments();
        let root = root.to_string_lossy();
        let ran =
            node.verb(&["journals", "read", "-l", &select, "--direct", "--file-root", &root], b"").await;
        assert_eq!((ran.code, ran.stdout.len()), (1, 2000), "{}", ran.stderr);
    }
}
