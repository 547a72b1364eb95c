//! What stores and the way to them do wrong, each with what has to come of it. The names are those of the catalogue of
//! faults that this system is held to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courant_fragment::store::{Backoff, Config, Operation, PutOutcome, Store, StoreError};
use courant_proto::codec::Codec;
use courant_proto::fragment::Fragment;
use courant_proto::offset::Offset;
use courant_tests::stores::{Fault, Gcs, Proxy, Rule, S3};
use http::Method;
use tokio::time::Instant;

use crate::site::{Kind, Site, fragment, name, noise, put, read, reader, text};

/// A store behind a proxy, with little patience.
struct Scene {
    site: Site,
    proxy: Proxy,
    store: Arc<Store>,
    _server: S3,
}

fn impatient() -> Config {
    Config {
        operation_limit: Duration::from_secs(3),
        silence_limit: Duration::from_secs(3),
        list_limit: Duration::from_secs(10),
        put_limit: Duration::from_secs(5),
        backoff: Backoff { first: Duration::from_millis(5), longest: Duration::from_millis(50) },
        ..Config::default()
    }
}

impl Scene {
    fn new() -> Self {
        Self::with(impatient())
    }

    fn with(config: Config) -> Self {
        let server = S3::start();
        let proxy = Proxy::before(&server.access().endpoint);
        let site = Site::at(Kind::S3, server.access().at(&proxy.endpoint()), config);
        let store = site.store();
        Self { site, proxy, store, _server: server }
    }

    fn fault(&self, method: Method, fault: Fault, times: usize) {
        self.proxy.rule(Rule::new(fault).on(method).times(times));
    }

    /// A fragment, and its content, which are not stored yet.
    fn content(&self) -> (Fragment, Vec<u8>) {
        let content = text(100_000);
        (fragment("a/journal", 0, Codec::None, &content), content)
    }

    async fn stored(&self, codec: Codec) -> (Fragment, Vec<u8>) {
        let content = text(100_000);
        let fragment = fragment("a/journal", 0, codec, &content);
        put(&self.store, &fragment, &content).await;
        self.proxy.seen();
        (fragment, content)
    }

    async fn put(&self, fragment: &Fragment, content: &[u8]) -> Result<PutOutcome, StoreError> {
        self.store.put(fragment, reader(content.to_vec())).await
    }

    #[track_caller]
    fn all_met(&self) {
        assert_eq!(self.proxy.clear(), 0, "faults that nothing met");
    }
}

#[tokio::test]
async fn f24_a_store_that_is_busy_is_tried_again_and_then_an_error_that_passes() {
    let scene = Scene::new();
    let (fragment, content) = scene.stored(Codec::None).await;
    for (status, code) in [(500, "InternalError"), (503, "SlowDown"), (429, "TooManyRequests")] {
        for method in [Method::GET, Method::HEAD] {
            scene.fault(method, Fault::Refuse(status, code, None), 2);
        }
        assert_eq!(read(&scene.store, &fragment, 0).await.expect("the third time"), content);
        assert!(matches!(scene.put(&fragment, &content).await, Ok(PutOutcome::AlreadyThere { .. })));
        scene.all_met();
        scene.fault(Method::GET, Fault::Refuse(status, code, None), 3);
        let error = scene.store.open(&fragment, Offset::ZERO).await.expect_err("three times");
        assert!(error.is_transient() && !error.is_authorization(), "{error}");
        assert!(error.to_string().contains(code), "{error}");
        scene.all_met();
    }
    // An upload is its owner's to repeat, and that succeeds.
    let (_, content) = scene.content();
    let other = self::fragment("a/journal", 1, Codec::None, &content);
    scene.fault(Method::PUT, Fault::Refuse(503, "SlowDown", None), 1);
    let error = scene.put(&other, &content).await.expect_err("busy");
    assert!(error.is_transient(), "{error}");
    assert!(matches!(scene.put(&other, &content).await, Ok(PutOutcome::Stored { .. })));
}

#[tokio::test]
async fn f24_a_store_that_asks_for_time_is_given_it() {
    let scene = Scene::new();
    let (fragment, content) = scene.stored(Codec::None).await;
    scene.fault(Method::GET, Fault::Refuse(503, "SlowDown", Some(2)), 1);
    let began = Instant::now();
    assert_eq!(read(&scene.store, &fragment, 0).await.expect("the second time"), content);
    // A second is what such a header counts in.
    assert!(began.elapsed() >= Duration::from_millis(1_900), "{:?}", began.elapsed());
    scene.fault(Method::GET, Fault::Refuse(429, "SlowDown", Some(1)), 1);
    let began = Instant::now();
    scene.store.list(&name("a/journal"), &[]).await.expect("the second time");
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}

#[tokio::test]
async fn f25_a_store_that_does_not_answer_is_waited_for_within_bounds() {
    let scene = Scene::new();
    let (fragment, content) = scene.stored(Codec::None).await;
    scene.fault(Method::GET, Fault::Hang, 1);
    assert_eq!(read(&scene.store, &fragment, 0).await.expect("the second time"), content);
    scene.fault(Method::HEAD, Fault::Hang, 3);
    let error = scene.put(&fragment, &content).await.expect_err("three times");
    assert!(matches!(error, StoreError::TimedOut { operation: Operation::Exists, .. }), "{error}");
    let other = self::fragment("a/journal", 1, Codec::None, &content);
    scene.fault(Method::PUT, Fault::Hang, 1);
    let error = scene.put(&other, &content).await.expect_err("a hung upload");
    assert!(matches!(error, StoreError::TimedOut { operation: Operation::Put, .. }), "{error}");
    assert!(error.is_transient());
    scene.all_met();
}

#[tokio::test]
async fn f25_a_body_that_trickles_is_given_up() {
    let scene = Scene::new();
    let (fragment, content) = scene.stored(Codec::None).await;
    scene.fault(Method::GET, Fault::Trickle, 1);
    assert_eq!(read(&scene.store, &fragment, 0).await.expect("the second time"), content);
    scene.fault(Method::GET, Fault::Trickle, 2);
    let error = read(&scene.store, &fragment, 0).await.expect_err("twice");
    assert!(error.is_transient(), "{error}");
    scene.fault(Method::GET, Fault::Trickle, 1);
    assert_eq!(scene.store.list(&name("a/journal"), &[]).await.expect("the second time").len(), 1);
    scene.all_met();
}

#[tokio::test]
async fn f25_a_body_that_is_slow_and_steady_is_read_to_its_end() {
    let scene = Scene::new();
    let content = noise(4 << 20);
    let fragment = fragment("a/journal", 0, Codec::None, &content);
    put(&scene.store, &fragment, &content).await;
    let mut reader = scene.store.open(&fragment, Offset::ZERO).await.expect("open");
    let mut read = Vec::new();
    // Longer than any limit on a call, and than the silence that is borne: it is we who are slow.
    while let Some(piece) = reader.next().await.expect("content") {
        read.extend_from_slice(&piece);
        if read.len() % (1 << 20) < piece.len() {
            tokio::time::sleep(Duration::from_millis(1_200)).await;
        }
    }
    assert!(read == content);
}

#[tokio::test]
async fn f26_an_upload_whose_reply_is_lost_is_found() {
    let scene = Scene::new();
    let (fragment, content) = scene.content();
    scene.fault(Method::PUT, Fault::LoseReply, 1);
    let outcome = scene.put(&fragment, &content).await.expect("found");
    assert!(matches!(outcome, PutOutcome::AlreadyThere { .. }), "{outcome:?}");
    let slow = self::fragment("a/journal", 1, Codec::Gzip, &content);
    scene.fault(Method::PUT, Fault::CarryOutAndHang, 1);
    let outcome = scene.put(&slow, &content).await.expect("found");
    assert!(matches!(outcome, PutOutcome::AlreadyThere { .. }), "{outcome:?}");
    scene.all_met();
    for fragment in [fragment, slow] {
        assert_eq!(read(&scene.store, &fragment, 0).await.expect("content"), content);
    }
}

#[tokio::test]
async fn f26_a_large_upload_whose_last_reply_is_lost_is_found() {
    let scene = Scene::with(Config::default());
    let content = noise(9 << 20);
    let fragment = fragment("a/journal", 0, Codec::None, &content);
    scene.proxy.rule(Rule::new(Fault::LoseReply).on(Method::POST).containing("uploadId="));
    let outcome = scene.put(&fragment, &content).await.expect("found");
    assert!(matches!(outcome, PutOutcome::AlreadyThere { .. }), "{outcome:?}");
    scene.all_met();
    // And one whose part fails leaves nothing that looks like it.
    let other = self::fragment("a/journal", 1, Codec::None, &content);
    scene.proxy.rule(
        Rule::new(Fault::Refuse(500, "InternalError", None)).on(Method::PUT).containing("partNumber=2"),
    );
    let error = scene.put(&other, &content).await.expect_err("a part failed");
    assert!(error.is_transient(), "{error}");
    let aborted = scene.proxy.seen();
    assert!(aborted.iter().any(|(method, target)| *method == Method::DELETE && target.contains("uploadId=")));
    assert_eq!(scene.store.list(&name("a/journal"), &[]).await.expect("a listing").len(), 1);
}

#[tokio::test]
async fn f26_a_conflict_is_looked_into() {
    let scene = Scene::new();
    let (fragment, content) = scene.content();
    // Somebody else is just putting it, and has not.
    scene.fault(Method::PUT, Fault::Refuse(409, "OperationAborted", None), 1);
    let error = scene.put(&fragment, &content).await.expect_err("a conflict");
    assert!(error.is_transient(), "{error}");
    assert!(matches!(scene.put(&fragment, &content).await, Ok(PutOutcome::Stored { .. })));
    scene.all_met();
}

#[tokio::test]
async fn f27_a_listing_is_whole_or_an_error() {
    let scene = Scene::new();
    for begin in 0..1_005 {
        let fragment = fragment("a/journal", begin, Codec::None, b"x");
        scene.site.plant(&fragment.content_path(), "x", None).await;
    }
    let journal = name("a/journal");
    let list = || scene.store.list(&journal, &[]);
    assert_eq!(list().await.expect("a listing").len(), 1_005);
    let pages = scene.proxy.seen().iter().filter(|(_, target)| target.contains("list-type=2")).count();
    assert_eq!(pages, 2);
    let first_page = Rule::new(Fault::Cut).containing("list-type=2");
    let second_page = |fault: Fault| Rule::new(fault).containing("continuation-token=");
    let more = "<IsTruncated>true</IsTruncated>";
    let faults = [
        first_page,
        second_page(Fault::Refuse(500, "InternalError", None)),
        second_page(Fault::Cut),
        second_page(Fault::Halve),
        second_page(Fault::Hang),
        // There is more, and no way to it.
        Rule::new(Fault::Replace("NextContinuationToken>", "Nothing>")).containing("list-type=2"),
        // Back to where it came from.
        second_page(Fault::Replace("<IsTruncated>false</IsTruncated>", more)),
    ];
    for rule in faults {
        scene.proxy.rule(rule.clone());
        assert_eq!(list().await.expect("the second time").len(), 1_005, "{rule:?}");
        scene.proxy.rule(rule.clone().times(3));
        list().await.expect_err("three times");
        scene.proxy.clear();
    }
}

#[tokio::test]
async fn f27_a_listing_that_says_things_twice_is_as_good() {
    let scene = Scene::new();
    let (fragment, _) = scene.stored(Codec::Zstandard).await;
    let listed = scene.store.list(&name("a/journal"), &[]).await.expect("a listing");
    assert_eq!(listed.len(), 1);
    // A page is repeated under another token, so entries come twice; whoever takes them in goes by their spans.
    let key = format!("<Key>{}{}</Key>", scene.site.prefix, fragment.content_path());
    let entry = format!(
        "<Contents>{key}<Size>100</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
    );
    let page = format!("<ListBucketResult>{entry}{entry}</ListBucketResult>");
    scene.proxy.rule(Rule::new(Fault::Replay(Bytes::from(page))).containing("list-type=2"));
    let twice = scene.store.list(&name("a/journal"), &[]).await.expect("a listing");
    assert_eq!(twice.len(), 2);
    assert!(twice.iter().all(|fragment| fragment.end == listed[0].end));
}

#[tokio::test]
async fn f28_a_body_that_is_not_the_object_is_read_again_once_and_then_an_error() {
    for codec in [Codec::None, Codec::Gzip, Codec::Zstandard, Codec::Snappy, Codec::GzipOffload] {
        let scene = Scene::new();
        // So small that none of it is handed out before all of it is known to be right.
        let content = text(1_000);
        let fragment = fragment("a/journal", 0, codec, &content);
        put(&scene.store, &fragment, &content).await;
        for fault in [Fault::Halve, Fault::Cut, Fault::Garble] {
            // What is no gzip any more is taken for content that a store has unpacked.
            if codec == Codec::GzipOffload && fault == Fault::Garble {
                continue;
            }
            scene.fault(Method::GET, fault.clone(), 1);
            match read(&scene.store, &fragment, 0).await {
                Ok(recovered) => assert!(recovered == content, "{codec}: {fault:?}"),
                // An object that says it is shorter is believed.
                Err(error) => {
                    assert_eq!((codec, &fault), (Codec::None, &Fault::Halve), "{error}");
                    assert!(matches!(error, StoreError::DataLoss { .. }), "{error}");
                }
            }
            scene.fault(Method::GET, fault.clone(), 2);
            let error = read(&scene.store, &fragment, 0).await.expect_err("twice");
            assert_eq!(matches!(error, StoreError::DataLoss { .. }), fault != Fault::Cut, "{codec}: {error}");
            scene.proxy.clear();
        }
    }
}

#[tokio::test]
async fn f28_a_part_that_is_another_is_read_again_once_and_then_an_error() {
    let scene = Scene::with(Config::default());
    // Of what is small all is read.
    let content = noise(6 << 20);
    let fragment = fragment("a/journal", 0, Codec::None, &content);
    put(&scene.store, &fragment, &content).await;
    let from = content.len() - 10_000;
    let part = async || read(&scene.store, &fragment, i64::try_from(from).expect("small")).await;
    for fault in [Fault::Shift, Fault::Whole] {
        scene.fault(Method::GET, fault.clone(), 1);
        assert!(part().await.expect("the second time") == content[from..], "{fault:?}");
        scene.all_met();
        scene.fault(Method::GET, fault.clone(), usize::MAX);
        part().await.expect_err("again and again");
        scene.proxy.clear();
    }
}

#[tokio::test]
async fn f28_gzip_that_is_taken_off_on_the_way_is_plain_content_or_an_error() {
    let scene = Scene::new();
    let (offload, content) = scene.stored(Codec::GzipOffload).await;
    scene.fault(Method::GET, Fault::Gunzip, 1);
    assert!(read(&scene.store, &offload, 7).await.expect("plain content") == content[7..]);
    scene.all_met();
    let (gzip, content) = scene.stored(Codec::Gzip).await;
    scene.fault(Method::GET, Fault::Gunzip, 1);
    assert!(read(&scene.store, &gzip, 0).await.expect("the second time") == content);
    scene.fault(Method::GET, Fault::Gunzip, 2);
    let error = read(&scene.store, &gzip, 0).await.expect_err("twice");
    assert!(matches!(error, StoreError::DataLoss { .. }), "{error}");
}

#[tokio::test]
async fn f29_refusals_are_told_from_outages() {
    let scene = Scene::new();
    let (fragment, content) = scene.stored(Codec::None).await;
    let other = self::fragment("a/journal", 1, Codec::None, &content);
    // Whether another store may be tried, by the rules of exits.
    let cases = [
        (403, "AccessDenied", true),
        (403, "ExpiredToken", true),
        (403, "InvalidAccessKeyId", false),
        (404, "NoSuchBucket", true),
        (401, "Unauthorized", false),
        (400, "ExpiredToken", false),
    ];
    for (status, code, is_authorization) in cases {
        scene.proxy.rule(Rule::new(Fault::Refuse(status, code, None)).on(Method::GET));
        scene.proxy.rule(Rule::new(Fault::Refuse(status, code, None)).on(Method::PUT));
        let got = scene.store.open(&fragment, Offset::ZERO).await.expect_err("refused");
        let put = scene.put(&other, &content).await.expect_err("refused");
        for error in [got, put] {
            assert_eq!(error.is_authorization(), is_authorization, "{code}: {error}");
            assert!(!error.is_transient(), "{code}: {error}");
            assert!(error.to_string().contains(code), "{error}");
        }
        scene.all_met();
        scene.proxy.rule(Rule::new(Fault::Refuse(status, code, None)).containing("list-type=2"));
        let listed = scene.store.list(&name("a/journal"), &[]).await.expect_err("refused");
        assert_eq!(listed.is_authorization(), is_authorization, "{code}: {listed}");
        scene.all_met();
    }
    // Health turns red, and green again when it has passed.
    scene.fault(Method::PUT, Fault::Refuse(403, "AccessDenied", None), 1);
    let error = scene.store.check().await.expect_err("refused");
    assert!(error.starts_with("health check PUT failed: ") && error.contains("AccessDenied"), "{error}");
    scene.store.check().await.expect("healthy");
}

#[tokio::test]
async fn f29_a_check_reads_as_readers_do() {
    let scene = Scene::new();
    let fetch = |fault: Fault| Rule::new(fault).on(Method::GET).containing("X-Amz-Signature");
    scene.proxy.rule(fetch(Fault::Refuse(403, "AccessDenied", None)));
    assert_eq!(scene.store.check().await.expect_err("refused"), "health check fetch returned status 403");
    scene.proxy.rule(fetch(Fault::Garble));
    let error = scene.store.check().await.expect_err("another content");
    assert!(error.starts_with("health check fetch content mismatch: got "), "{error}");
    scene.proxy.rule(fetch(Fault::LoseReply));
    let error = scene.store.check().await.expect_err("no answer");
    assert!(error.starts_with("health check fetch failed: ") && !error.contains("X-Amz"), "{error}");
}

#[tokio::test]
async fn what_is_damaged_on_the_way_to_a_store_is_refused_by_it() {
    // S3 checks the digest that is part of the signature, Google the one that is told it. A request's body is
    // damaged here by damaging what its header says.
    let server = Gcs::start();
    let proxy = Proxy::before(&server.access().endpoint);
    let site = Site::at(Kind::Gcs, server.access().at(&proxy.endpoint()), impatient());
    let store = site.store();
    let content = text(1000);
    let fragment = fragment("a/journal", 0, Codec::None, &content);
    proxy.rule(Rule::new(Fault::GarbleRequest).on(Method::PUT));
    let error = store.put(&fragment, reader(content.clone())).await.expect_err("damaged");
    assert!(error.to_string().contains("BadDigest"), "{error}");
    put(&store, &fragment, &content).await;

    let scene = Scene::new();
    scene.fault(Method::PUT, Fault::GarbleRequest, 1);
    scene.put(&fragment, &content).await.expect_err("damaged");
    assert!(matches!(scene.put(&fragment, &content).await, Ok(PutOutcome::Stored { .. })));
}

/// What `docs/adr/0007-stores.md` says that a fragment costs.
#[tokio::test]
async fn an_upload_costs_what_the_record_says() {
    let scene = Scene::with(Config::default());
    let cost = async |fragment: &Fragment, content: &[u8]| {
        scene.proxy.seen();
        scene.put(fragment, content).await.expect("stored");
        scene.proxy.seen().into_iter().map(|(method, _)| method.to_string()).collect::<Vec<_>>().join(" ")
    };
    let (small, content) = scene.content();
    assert_eq!(cost(&small, &content).await, "HEAD PUT HEAD");
    assert_eq!(cost(&small, &content).await, "HEAD");
    let large = noise(17 << 20);
    let whole = fragment("a/journal", 1, Codec::None, &large);
    assert_eq!(cost(&whole, &large).await, "HEAD POST PUT PUT PUT POST HEAD");
    // Put by somebody who says nothing of himself.
    let foreign = fragment("a/journal", 2, Codec::None, &content);
    scene.site.plant(&foreign.content_path(), content.clone(), None).await;
    assert_eq!(cost(&foreign, &content).await, "HEAD GET");
}
