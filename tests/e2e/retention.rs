//! Fragments that have outlived their journal's retention go: by the broker where a label says so, and by hand. The newest stays.

use std::time::Duration;

use courant_proto::wire;
use courant_tests::process::{Node, Ran};
use courant_tests::{journal, store};
use tokio::time::{Instant, sleep};

/// Nothing here takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A journal whose fragments are closed by every other append, and are old a second after they were stored.
fn spec(name: &str, label: Option<&str>) -> wire::JournalSpec {
    let mut spec = journal::spec(name, wire::CompressionCodec::None, 1024);
    let fragment = spec.fragment.get_or_insert_default();
    fragment.retention = Some(journal::seconds(1));
    fragment.refresh_interval = Some(journal::seconds(1));
    let labels = label.map(|value| wire::Label {
        name: "courant.dev/retention".to_owned(),
        value: value.to_owned(),
        ..Default::default()
    });
    spec.labels = Some(wire::LabelSet { labels: labels.into_iter().collect() });
    spec
}

/// Appends until so many fragments are stored, and waits until they are old.
async fn written(node: &Node, name: &str) -> Vec<(u64, u64)> {
    for _ in 0..5 {
        let answer = node.http("PUT", &format!("/{name}"), &[b'x'; 2000]).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stored: Vec<_> = store::spans(&node.fragments(), name).into_iter().collect();
        if stored.len() >= 4 {
            sleep(Duration::from_millis(2_500)).await;
            return stored;
        }
        assert!(Instant::now() < deadline, "{name}: {stored:?} are stored:\n{}", node.log());
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_label_has_the_broker_remove_what_is_old() {
    let node = Node::start(&[]).await;
    journal::apply(&node.client(), [spec("kept/journal", None), spec("gone/journal", Some("enforce"))]).await;
    let kept = written(&node, "kept/journal").await;
    for _ in 0..5 {
        assert_eq!(node.http("PUT", "/gone/journal", &[b'x'; 2000]).await.status, 204);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stored = store::spans(&node.fragments(), "gone/journal");
        // The newest that is stored ends where the open one begins.
        if stored.len() == 1 && stored.first().is_some_and(|(begin, _)| *begin >= 4_000) {
            break;
        }
        assert!(Instant::now() < deadline, "{stored:?} are stored:\n{}", node.log());
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(store::spans(&node.fragments(), "kept/journal").into_iter().collect::<Vec<_>>(), kept);
    // Readers go on with what is there.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = node.http("GET", "/gone/journal?offset=0", b"").await;
        if answer.status == 206 && !answer.body.is_empty() && answer.body.len() < 10_000 {
            break;
        }
        assert!(Instant::now() < deadline, "{} {}", answer.status, answer.text());
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_label_that_cannot_be_kept_is_refused() {
    let node = Node::start(&[]).await;
    let refused = |spec: wire::JournalSpec| async {
        let changes = vec![journal::create(spec)];
        let client = node.client();
        let refused = client.apply(wire::ApplyRequest { changes }).await.expect_err("it is refused");
        refused.to_string()
    };
    assert!(refused(spec("a/journal", Some("keep"))).await.contains("expected enforce"));
    let mut endless = spec("a/journal", Some("enforce"));
    endless.fragment.get_or_insert_default().retention = None;
    assert!(refused(endless).await.contains("expected a duration above zero"));
}

async fn prune(node: &Node, args: &[&str]) -> Ran {
    let root = node.fragments();
    let root = root.to_str().expect("a path of text");
    node.verb(&[&["journals", "prune", "-l", "prefix=logs/", "--file-root", root], args].concat(), b"").await
}

#[tokio::test]
async fn prune_plans_asks_and_removes() {
    let node = Node::start(&[]).await;
    let mut endless = spec("logs/endless", None);
    endless.fragment.get_or_insert_default().retention = None;
    journal::apply(&node.client(), [spec("logs/old", None), endless]).await;
    let stored = written(&node, "logs/old").await;
    let kept = written(&node, "logs/endless").await;
    let nobody = prune(&node, &[]).await;
    assert_eq!(nobody.code, 2, "{nobody:?}");
    assert!(nobody.stderr.contains("--dry-run"), "{}", nobody.stderr);
    let planned = prune(&node, &["--dry-run"]).await;
    assert_eq!(planned.code, 0, "{planned:?}");
    let goes = format!("{} fragments of 2 journals", stored.len() - 1);
    assert!(
        planned.stdout.contains(&goes) && planned.stdout.contains("would be removed"),
        "{}",
        planned.stdout
    );
    assert_eq!(store::spans(&node.fragments(), "logs/old").len(), stored.len());

    // Those of a suspended journal, which no broker holds, are found as well.
    let suspended = node.verb(&["journals", "suspend", "-l", "name=logs/old", "--force"], b"").await;
    assert_eq!(suspended.code, 0, "{suspended:?}");
    let pruned = prune(&node, &["--yes", "-o", "json"]).await;
    assert_eq!(pruned.code, 0, "{pruned:?}");
    let report: serde_json::Value = serde_json::from_str(&pruned.stdout).expect("JSON");
    assert!(report["fragments"].as_u64() >= Some(stored.len() as u64 - 1), "{report}");
    assert_eq!((&report["dry_run"], &report["failures"]), (&false.into(), &0.into()));
    let left = store::spans(&node.fragments(), "logs/old");
    let newest = left.iter().map(|(_, end)| *end).max();
    assert!(newest >= stored.iter().map(|(_, end)| *end).max(), "{left:?}");
    assert!(left.len() <= 2, "{left:?}");
    assert_eq!(store::spans(&node.fragments(), "logs/endless").into_iter().collect::<Vec<_>>(), kept);
}
