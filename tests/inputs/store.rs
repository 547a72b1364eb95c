//! Files in a store's folder that no broker wrote.

use courant_tests::store;

use crate::{CONTENT, JOURNAL, node, unchanged};

/// Whatever is dropped into the folder, the journal reads as before, and goes on where it was.
#[tokio::test]
async fn strays_in_the_folder() {
    let sum = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    let fine = |begin: &str, end: &str, extension: &str| format!("{begin}-{end}-{sum}{extension}");
    let rows = [
        ("two parts", "0000000000000000-0000000000000010.raw".to_owned()),
        ("four parts", format!("0000000000000000-0000000000000010-{sum}-x.raw")),
        ("begin after end", fine("0000000000000010", "0000000000000001", ".raw")),
        ("signs", fine("-000000000000001", "0000000000000010", ".raw")),
        ("prefixed numbers", fine("0x00000000000001", "0000000000000010", ".raw")),
        ("overflow", fine("0000000000000000", "ffffffffffffffff", ".raw")),
        ("near the end of offsets", fine("000000000000000d", "7ffffffffffffffe", ".zst")),
        ("short digest", format!("0000000000000000-0000000000000010-{}.raw", &sum[2..])),
        ("long digest", format!("0000000000000000-0000000000000010-{sum}00.raw")),
        ("unknown extension", fine("000000000000000d", "0000000000000020", ".lzma")),
        ("size that does not fit", fine("000000000000000d", "0000000000001000", ".raw")),
        ("empty", fine("000000000000000d", "0000000000001000", ".gz")),
        ("upload under way", fine("000000000000000d", "0000000000000020", ".zst#1")),
        ("no fragment at all", "README.txt".to_owned()),
    ];
    for (row, name) in rows {
        let mut node = node().await;
        assert!(node.terminate().await.success());
        let empty = ["empty", "upload under way"].contains(&row);
        node.file(&format!("data/fragments/{JOURNAL}/{name}"), if empty { &b""[..] } else { b"stray" });
        node.restart().await;
        unchanged(&node, row).await;
        let appended = node.http("PUT", &format!("/{JOURNAL}"), b"more\n").await;
        assert_eq!(
            (appended.status, appended.number("x-commit-begin")),
            (204, Some(13)),
            "{row}: {}",
            appended.text()
        );
        assert_eq!(
            node.http("GET", &format!("/{JOURNAL}"), b"").await.text(),
            format!("{CONTENT}more\n"),
            "{row}"
        );
    }
}

/// A fragment whose bytes are not what its name says is an error, and nothing else is affected.
#[tokio::test]
async fn damaged_fragments() {
    type Damage = fn(&[u8]) -> Vec<u8>;
    let rows: [(&str, Damage); 4] = [
        ("emptied", |_| Vec::new()),
        ("cut", |bytes| bytes[..bytes.len() / 2].to_vec()),
        ("junk", |bytes| vec![0x55; bytes.len()]),
        ("another ending", |bytes| [bytes, b"trailing junk"].concat()),
    ];
    for (row, damage) in rows {
        let mut node = node().await;
        assert!(node.terminate().await.success());
        let stored = store::fragments(&node.fragments(), JOURNAL);
        assert_eq!(stored.len(), 1);
        let path = stored[0].path.strip_prefix(node.folder()).expect("in the folder").to_owned();
        let bytes = store::bytes(&stored[0]);
        node.file(path.to_str().expect("text"), damage(&bytes));
        node.restart().await;
        // What is read of it is a beginning of the content, and its end is told apart from the journal's.
        let mut connection =
            courant_tests::http::Connection::open(node.address()).await.expect("a connection");
        let sent = connection.request("GET", &format!("/{JOURNAL}"), &[("te", "trailers")], b"").await;
        if let Ok(answer) = sent {
            assert!(CONTENT.starts_with(&answer.text()) || answer.status != 206, "{row}: {answer:?}");
            let whole = answer.status == 206 && answer.trailer("x-close-error").is_none();
            assert!(!whole, "{row}: {answer:?}");
        }
        let other = node.http("PUT", "/other/journal", b"fine\n").await;
        assert_eq!(other.status, 204, "{row}: {}", other.text());
        assert_eq!(node.http("GET", "/other/journal", b"").await.text(), "fine\n", "{row}");
    }
}
