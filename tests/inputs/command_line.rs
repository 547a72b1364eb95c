//! On the command line, in YAML, in selectors and in flags.

use courant_tests::process;

use crate::{node, unchanged};

const FINE: &str = "name: fine/one\nreplication: 1\nfragment:\n  length: 1048576\n  compression_codec: NONE\n  stores: [\"file:///\"]\n  refresh_interval: 5m\n";

#[tokio::test]
async fn specs_in_yaml() {
    let spoilt = |from: &str, to: &str| FINE.replace(from, to);
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nname: *e\n";
    let rows: [(&str, Vec<u8>, i32, &str); 12] = [
        ("unknown field", spoilt("replication: 1", "replicaton: 1").into(), 2, "replication"),
        ("field twice", format!("{FINE}replication: 2\n").into(), 2, "replication"),
        ("not YAML", b"name: [".to_vec(), 2, "bad.yaml"),
        (
            "tabs",
            b"name: fine/one\n\treplication: 1\n".to_vec(),
            2,
            "bad.yaml:1:7: while scanning a plain scalar, found a tab",
        ),
        ("binary", b"\x00\xff\xfe\x01".to_vec(), 2, "UTF-8"),
        ("bomb", bomb.into(), 2, "bad.yaml"),
        ("bad duration", spoilt("5m", "5").into(), 2, "5"),
        ("spaced duration", spoilt("5m", "5 min").into(), 2, "5 min"),
        ("unknown codec", spoilt("NONE", "LZMA").into(), 2, "LZMA"),
        ("bad store", spoilt("file:///", "ftp://x/").into(), 2, "ftp"),
        ("wrong type", spoilt("replication: 1", "replication: many").into(), 2, "expected a whole number"),
        ("stale revision", format!("{FINE}revision: 77\n").into(), 1, "fine/one"),
    ];
    let node = node().await;
    for (row, content, code, text) in rows {
        node.file("bad.yaml", content);
        let ran = node.verb(&["journals", "apply", "--specs", "bad.yaml"], b"").await;
        assert_eq!(ran.code, code, "{row}: {ran:?}");
        assert!(ran.stderr.contains(text), "{row}: {ran:?}");
        assert!(!ran.stderr.contains("panicked"), "{row}: {ran:?}");
        unchanged(&node, row).await;
    }
    for (row, path) in [("missing", "none.yaml"), ("folder", "data")] {
        let ran = node.verb(&["journals", "apply", "--specs", path], b"").await;
        assert_eq!(ran.code, 2, "{row}: {ran:?}");
        assert!(ran.stderr.contains(path), "{row}: {ran:?}");
    }
}

#[tokio::test]
async fn selectors() {
    let long = format!("{}=x", "a".repeat(10_000));
    let rows = [
        "=b",
        "a=b,",
        "a in ()",
        "a in (b",
        "a notin",
        "!",
        "!!a",
        "a==b==c",
        "a='b'",
        "prefix=no-slash",
        "a in (b,,c)",
        &long,
    ];
    let node = node().await;
    for selector in rows {
        let shown: String = selector.chars().take(40).collect();
        for verb in ["list", "read", "fragments", "suspend"] {
            let ran = node.verb(&["journals", verb, "-l", selector], b"").await;
            assert_eq!(ran.code, 2, "{verb} {shown}: {ran:?}");
            assert!(
                ran.stderr.contains("invalid value") || ran.stderr.contains("error:"),
                "{verb} {shown}: {ran:?}"
            );
        }
    }
    // Matching nothing is no selector's fault, but it is not success where something was to be done.
    for verb in ["append", "suspend", "reset-head"] {
        let ran = node.verb(&["journals", verb, "-l", "name=no/such"], b"x").await;
        assert_eq!(ran.code, 1, "{verb}: {ran:?}");
    }
    unchanged(&node, "selectors").await;
}

#[tokio::test]
async fn flags_of_serve() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut taken = courant_tests::process::Node::start(&[]).await;
    let in_use = taken.address().to_string();
    let rows: [(&[&str], i32, &str); 14] = [
        (&["--lisen", "x"], 2, "--listen"),
        (&["--listen", "nowhere"], 2, "HOST:PORT"),
        (&["--listen", "127.0.0.1:70000"], 2, "HOST:PORT"),
        (&["--listen", &in_use], 1, "--listen"),
        (&["--listen", ""], 2, "is empty"),
        (&["--lease-ttl", "1s"], 2, "at least 2s"),
        (&["--lease-ttl", "5"], 2, "5"),
        (&["--limit=-1"], 2, "--limit"),
        (&["--limit", "131073"], 2, "131072"),
        (&["--zone", "a b"], 2, "--zone"),
        (&["--auto-create", "maybe"], 2, "true or false"),
        (&["--etcd", "not a url"], 2, "--etcd"),
        (&["--default-spec", "none.yaml"], 2, "none.yaml"),
        (&["--file-root", "none"], 2, "is not a folder"),
    ];
    for (flags, code, text) in rows {
        let args = [&["serve"][..], flags].concat();
        let ran = process::run(&args, folder.path(), &[]).await;
        assert_eq!(ran.code, code, "{flags:?}: {ran:?}");
        assert!(ran.stderr.contains(text), "{flags:?}: {ran:?}");
        assert!(!ran.stderr.contains("panicked"), "{flags:?}: {ran:?}");
    }
    // All problems at once, wherever they come from, one line each; and nothing was made.
    let flags = ["serve", "--limit", "many", "--zone", "a b"];
    let ran =
        process::run(&flags, folder.path(), &[("COURANT_LEASE_TTL", "1s"), ("COURANT_DATA_DIR", "made")])
            .await;
    assert_eq!(ran.code, 2);
    for named in ["--limit", "--zone", "COURANT_LEASE_TTL"] {
        assert!(ran.stderr.contains(named), "{ran:?}");
    }
    assert!(!folder.path().join("made").exists());
    assert!(taken.terminate().await.success());
}
