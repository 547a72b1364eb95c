//! The set of stores: one per URL, opened when asked for, let go when unused.

use std::fs;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::*;

#[test]
fn a_url_has_one_store() {
    let fixture = Fixture::new();
    let one = fixture.get("file:///one/");
    assert!(Arc::ptr_eq(&one, &fixture.get("file:///one/")));
    assert!(!Arc::ptr_eq(&one, &fixture.get("file:///one/?find=a&replace=b")));
    assert!(!Arc::ptr_eq(&one, &fixture.get("file:///two/")));
    assert_eq!(fixture.stores.open_stores().len(), 3);
}

#[test]
fn those_who_ask_first_at_the_same_time_get_the_same() {
    let fixture = Fixture::new();
    let stores = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| fixture.get("file:///"))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert!(stores.iter().all(|store| Arc::ptr_eq(store, &stores[0])));
}

#[test]
fn a_store_that_cannot_be_opened_is_tried_again() {
    let fixture = Fixture::new();
    fs::write(fixture.root.path().join("taken"), "a file").expect("written");
    let get = || fixture.stores.get(&url("file:///taken/"));
    let error = get().expect_err("not a folder").to_string();
    assert!(error.starts_with("invalid file store directory ") && error.contains("taken"), "{error}");
    fs::remove_file(fixture.root.path().join("taken")).expect("removed");
    get().expect("a folder now");
}

#[test]
fn what_cannot_be_opened_says_why() {
    let check = |stores: &Stores, text: &str, expected: &str| {
        let error = stores.get(&url(text)).expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}, expected {expected}");
    };
    let fixture = Fixture::new();
    check(&fixture.stores, "s3://bucket/prefix/", "missing AWS region configuration for profile \"\"");
    check(
        &fixture.stores,
        "azure-ad://tenant/account/container/",
        "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET must be set for azure-ad:// URLs",
    );
    check(
        &fixture.stores,
        "file:///a/?profile=x",
        "parsing store URL arguments: schema: invalid path \"profile\"",
    );
    let rootless = Stores::new(Config::default(), clock(), StdRng::seed_from_u64(1));
    check(&rootless, "file:///", "--file-root");
    let gone = Config { file_root: Some("/no/such/folder".into()), ..Config::default() };
    let gone = Stores::new(gone, clock(), StdRng::seed_from_u64(1));
    check(&gone, "file:///", "invalid file store directory /no/such/folder/");
    assert!(gone.get(&url("file:///")).expect_err("missing").is_authorization());
    assert_eq!(fixture.stores.open_stores().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn stores_that_nobody_uses_are_let_go() {
    let fixture = Fixture::new();
    let cancel = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    let (stores, token) = (Arc::clone(&fixture.stores), cancel.clone());
    tasks.spawn(async move { stores.run(token).await });

    let held = fixture.get("file:///held/");
    let asked = Arc::downgrade(&fixture.get("file:///asked/"));
    let idle = fixture.get("file:///idle/");
    assert_eq!(idle.health().error(), Some("first health check hasn't completed yet"));
    assert_eq!(idle.checked().await.error(), None);
    let mut health = idle.health.subscribe();
    drop(idle);

    // The first sweep clears the marks; before the second one, only some are asked for again.
    tokio::time::sleep(SWEEP_EVERY + Duration::from_secs(60)).await;
    assert_eq!(fixture.stores.open_stores().len(), 3);
    fixture.get("file:///asked/");
    tokio::time::sleep(SWEEP_EVERY).await;
    let open: Vec<_> = fixture.stores.open_stores().iter().map(|store| store.url().to_string()).collect();
    assert_eq!(open.len(), 2, "{open:?}");
    assert!(asked.upgrade().is_some());
    assert!(Arc::ptr_eq(&held, &fixture.get("file:///held/")));
    assert_eq!(held.health().error(), None);
    let stopped =
        health.wait_for(|health| health.status == HealthStatus::Stopped).await.expect("stopped").clone();
    assert_eq!(stopped.error(), Some("health checks have stopped"));

    let again = fixture.get("file:///idle/");
    assert_eq!(again.checked().await.error(), None);
    cancel.cancel();
    tasks.join_all().await;
    assert_eq!(again.health().error(), Some("health checks have stopped"));
    // An answer of any kind is known now, so nobody waits for a first check for ever.
    assert_eq!(again.checked().await.status, HealthStatus::Stopped);
}
