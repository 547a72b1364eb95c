//! A broker whose journals lie in buckets: what a user sees of it.

use std::time::Duration;

use courant_proto::wire;
use courant_tests::journal::{apply, seconds, spec};
use courant_tests::process::Node;
use courant_tests::stores::{Fault, Gcs, Proxy, Rule, S3};
use http::Method;
use tokio::time::Instant;
use wire::CompressionCodec as Codec;

/// Stores are waited for at most so long, on a machine that is busy otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

fn in_stores(name: &str, codec: Codec, stores: &[String]) -> wire::JournalSpec {
    let mut spec = spec(name, codec, 1 << 20);
    if let Some(fragment) = &mut spec.fragment {
        fragment.stores = stores.to_vec();
        fragment.refresh_interval = Some(seconds(1));
    }
    spec
}

async fn append(node: &Node, journal: &str, content: &str) {
    let request = wire::AppendRequest { journal: journal.to_owned(), ..Default::default() };
    node.client().append(request, content.to_owned()).await.expect("appended");
}

/// Closes the journal's open fragment, which is stored then.
async fn flush(node: &Node, journal: &str) {
    let suspend = wire::append_request::Suspend::Now;
    let request =
        wire::AppendRequest { journal: journal.to_owned(), suspend: suspend.into(), ..Default::default() };
    // That it is suspended is a status of its own.
    let _ = node.client().append(request, "").await;
}

/// Waits until all content of a journal, so many bytes of it, is in stores, and tells in which, by their offsets.
async fn stored(node: &Node, journal: &str, bytes: i64) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = wire::FragmentsRequest {
            journal: journal.to_owned(),
            signature_ttl: Some(seconds(60)),
            ..Default::default()
        };
        let listed = node.grpc().await.list_fragments(request).await.expect("listed").into_inner();
        let fragments: Vec<_> = listed.fragments.into_iter().collect();
        let specs: Vec<_> = fragments.iter().filter_map(|fragment| fragment.spec.clone()).collect();
        let is_stored = specs.iter().all(|spec| !spec.backing_store.is_empty());
        if is_stored && specs.last().is_some_and(|spec| spec.end == bytes) {
            assert!(
                fragments.iter().all(|fragment| fragment.signed_url.starts_with("http")),
                "{fragments:?}"
            );
            return specs.into_iter().map(|spec| spec.backing_store).collect();
        }
        assert!(Instant::now() < deadline, "not stored: {specs:?}\n{}", node.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn content(node: &Node, journal: &str) -> String {
    let answer = node.http("GET", &format!("/{journal}"), b"").await;
    assert_eq!(answer.status, 206, "{}", answer.text());
    answer.text()
}

#[tokio::test]
async fn several_stores_hold_one_journal() {
    let (s3, gcs) = (S3::start(), Gcs::start());
    let mut node = Node::prepared(&[]);
    node.set_environment(s3.access().environment);
    node.set_environment(gcs.access().environment);
    node.restart().await;
    let (first, second) = (s3.access().below("one/"), gcs.access().below("two/"));
    let journal = "in/buckets";
    apply(&node.client(), [in_stores(journal, Codec::Gzip, std::slice::from_ref(&first))]).await;
    append(&node, journal, "one\n").await;
    append(&node, journal, "two\n").await;
    flush(&node, journal).await;
    let stores = stored(&node, journal, 8).await;
    assert!(stores.iter().all(|store| *store == first), "{stores:?}");

    // New content goes to the store that is first now; what is in the other is read from there.
    let listing = node.client().list(wire::LabelSelector::default()).await.expect("a listing");
    let change = wire::apply_request::Change {
        expect_mod_revision: listing.journals[0].mod_revision,
        upsert: Some(in_stores(journal, Codec::GzipOffloadDecompression, &[second.clone(), first.clone()])),
        ..Default::default()
    };
    node.client().apply(wire::ApplyRequest { changes: vec![change] }).await.expect("applied");
    append(&node, journal, "three\n").await;
    append(&node, journal, "four\n").await;
    flush(&node, journal).await;
    let stores = stored(&node, journal, 19).await;
    assert!(
        stores.starts_with(std::slice::from_ref(&first)) && stores.ends_with(std::slice::from_ref(&second)),
        "{stores:?}"
    );

    // A process that has nothing of it but what the stores have.
    assert_eq!(node.terminate().await.code(), Some(0), "{}", node.log());
    node.restart().await;
    assert_eq!(content(&node, journal).await, "one\ntwo\nthree\nfour\n");
    assert!(!node.log().contains("courant-secret"), "no secret is logged");
}

#[tokio::test]
async fn a_store_that_is_away_for_a_while_costs_no_append() {
    let s3 = S3::start();
    let proxy = Proxy::before(&s3.access().endpoint);
    let access = s3.access().at(&proxy.endpoint());
    let mut node = Node::prepared(&[]);
    node.set_environment(access.environment.clone());
    node.restart().await;
    let journal = "in/trouble";
    apply(&node.client(), [in_stores(journal, Codec::Zstandard, &[access.below("p/")])]).await;
    append(&node, journal, "before\n").await;
    flush(&node, journal).await;
    stored(&node, journal, 7).await;
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::POST] {
        proxy.rule(Rule::new(Fault::Refuse(503, "SlowDown", None)).on(method).times(usize::MAX));
    }
    for _ in 0..20 {
        append(&node, journal, "during\n").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    proxy.clear();
    append(&node, journal, "after\n").await;
    flush(&node, journal).await;
    let whole = format!("before\n{}after\n", "during\n".repeat(20));
    stored(&node, journal, i64::try_from(whole.len()).expect("short")).await;
    assert_eq!(content(&node, journal).await, whole);
}
