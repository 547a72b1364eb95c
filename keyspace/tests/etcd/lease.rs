//! Leases and announced keys, with a registry that is slow, away, or of another opinion.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Line, Server, in_time, put_all};
use courant_keyspace::{Announced, Error, Lease, LeaseConfig, LeaseKeeper, LeaseState, announce, update};
use courant_registry::Config as RegistryConfig;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const TTL: Duration = Duration::from_secs(10);

fn config() -> LeaseConfig {
    LeaseConfig { ttl: TTL, ..LeaseConfig::default() }
}

fn run(keeper: LeaseKeeper) -> (JoinSet<Result<(), Error>>, CancellationToken) {
    let (mut running, cancel) = (JoinSet::new(), CancellationToken::new());
    running.spawn(keeper.run(cancel.clone()));
    (running, cancel)
}

async fn exists(server: &Server, key: &str) -> bool {
    !server.client().await.get(key, None).await.expect("a read").kvs().is_empty()
}

#[tokio::test(start_paused = true)]
async fn a_kept_lease_outlives_its_time_and_an_unkept_one_does_not() {
    let server = Server::start(RegistryConfig::default());
    let client = server.client().await;
    let (kept, keeper) = Lease::establish(client.clone(), config()).await.unwrap();
    let (unkept, _) = Lease::establish(client.clone(), config()).await.unwrap();
    announce(&client, "/kept", "1", kept.id()).await.unwrap();
    announce(&client, "/unkept", "1", unkept.id()).await.unwrap();
    assert_ne!(kept.id(), unkept.id());
    assert_eq!((kept.ttl(), kept.is_adopted()), (TTL, false));

    let (mut running, cancel) = run(keeper);
    sleep(10 * TTL).await;
    assert!(kept.is_held() && !unkept.is_held());
    assert!(exists(&server, "/kept").await && !exists(&server, "/unkept").await);
    assert!(kept.deadline().unwrap() > Instant::now() + TTL / 2);

    cancel.cancel();
    in_time("the keeper's end", running.join_next()).await.unwrap().unwrap().unwrap();
    kept.revoke().await.unwrap();
    assert!(!exists(&server, "/kept").await);
    kept.revoke().await.expect("what is gone already is no failure");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_counts_from_when_the_renewal_was_sent() {
    let server = Server::start(RegistryConfig::default());
    let line = Line::to(&server);
    line.delay(Duration::from_secs(2));
    let asked = Instant::now();
    let (lease, keeper) = Lease::establish(line.client().await, config()).await.unwrap();
    assert!(asked.elapsed() >= Duration::from_secs(2));
    assert_eq!(lease.deadline(), Some(asked + TTL));

    line.delay(Duration::from_millis(500));
    let mut news = lease.subscribe();
    let (_running, _cancel) = run(keeper);
    for _ in 0..5 {
        let before = Instant::now();
        in_time("a renewal", news.changed()).await.unwrap();
        let LeaseState::Held { until } = *news.borrow_and_update() else { panic!("lost") };
        // Sent after the last one was answered, and before this one was.
        assert!(before + TTL <= until && until <= Instant::now() + TTL, "until {until:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_revoked_by_somebody_is_reported() {
    let server = Server::start(RegistryConfig::default());
    let client = server.client().await;
    let (lease, keeper) = Lease::establish(client.clone(), config()).await.unwrap();
    let (mut running, _cancel) = run(keeper);
    sleep(TTL).await;
    client.lease_client().revoke(lease.id()).await.unwrap();
    let error = in_time("the loss", running.join_next()).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, Error::LeaseLost { id } if id == lease.id()), "{error}");
    assert!(error.to_string().contains("unable to keep member lease alive"), "{error}");
    assert_eq!((lease.deadline(), lease.is_held()), (None, false));
    assert_eq!(*lease.subscribe().borrow(), LeaseState::Lost);
}

#[tokio::test(start_paused = true)]
async fn an_outage_passes_the_deadline_and_ends_in_a_renewal_or_a_loss() {
    let mut server = Server::start(RegistryConfig::default());
    let line = Line::to(&server);
    let (lease, keeper) = Lease::establish(line.client().await, config()).await.unwrap();
    let (mut running, _cancel) = run(keeper);
    sleep(TTL).await;

    // All of the registry is away: nobody's lease runs out.
    server.stop().await;
    sleep(2 * TTL).await;
    assert!(!lease.is_held() && lease.deadline().is_some(), "not lost, but not to be relied on");
    server.resume().await;
    sleep(TTL).await;
    assert!(lease.is_held(), "renewed after the outage");

    // Only we are away: ours does.
    line.cut(true);
    server.stop().await;
    sleep(TTL / 2).await;
    server.resume().await;
    sleep(4 * TTL).await;
    assert!(!lease.is_held());
    line.cut(false);
    let error = in_time("the loss", running.join_next()).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, Error::LeaseLost { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_not_well_lets_its_lease_run_out() {
    let server = Server::start(RegistryConfig::default());
    let client = server.client().await;
    let well = Arc::new(AtomicBool::new(true));
    let gate = Arc::clone(&well);
    let config = LeaseConfig { gate: Some(Arc::new(move || gate.load(Ordering::Relaxed))), ..config() };
    let (lease, keeper) = Lease::establish(client.clone(), config).await.unwrap();
    announce(&client, "/member", "1", lease.id()).await.unwrap();
    let (mut running, _cancel) = run(keeper);
    sleep(3 * TTL).await;
    assert!(exists(&server, "/member").await);
    well.store(false, Ordering::Relaxed);
    sleep(3 * TTL).await;
    assert!(!exists(&server, "/member").await && !lease.is_held());
    well.store(true, Ordering::Relaxed);
    in_time("the loss", running.join_next()).await.unwrap().unwrap().unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_restarted_process_takes_up_its_lease_while_it_lives() {
    let server = Server::start(RegistryConfig::default());
    let client = server.client().await;
    let (first, _) = Lease::establish(client.clone(), config()).await.unwrap();
    let adopting = || LeaseConfig { adopt: Some(first.id()), ttl: 2 * TTL, ..config() };

    sleep(TTL / 2).await;
    let (second, keeper) = Lease::establish(client.clone(), adopting()).await.unwrap();
    assert_eq!((second.id(), second.is_adopted(), second.ttl()), (first.id(), true, TTL));
    assert_eq!(second.deadline(), Some(Instant::now() + TTL));
    let (running, _cancel) = run(keeper);
    sleep(3 * TTL).await;
    assert!(second.is_held());
    drop(running);

    sleep(3 * TTL).await;
    let (third, _) = Lease::establish(client, adopting()).await.unwrap();
    assert!(third.id() != first.id() && !third.is_adopted());
    assert_eq!(third.ttl(), 2 * TTL);
}

#[tokio::test(start_paused = true)]
async fn announcing_survives_a_lost_reply_and_never_takes_what_belongs_to_another() {
    let server = Server::start(RegistryConfig::default());
    let client = server.client().await;
    let (ours, _) = Lease::establish(client.clone(), config()).await.unwrap();
    let (theirs, _) = Lease::establish(client.clone(), config()).await.unwrap();

    let Announced::Created { revision } = announce(&client, "/m", "first", ours.id()).await.unwrap() else {
        panic!("not created");
    };
    let again = announce(&client, "/m", "second", ours.id()).await.unwrap();
    assert_eq!(again, Announced::Kept { revision, value: b"first".to_vec() });
    let taken = announce(&client, "/m", "third", theirs.id()).await.unwrap();
    assert_eq!(taken, Announced::Taken { lease: ours.id(), revision, value: b"first".to_vec() });
    put_all(&client, [("/unleased", "1")]).await;
    assert!(matches!(
        announce(&client, "/unleased", "2", ours.id()).await,
        Ok(Announced::Taken { lease: 0, .. })
    ));

    let updated = update(&client, "/m", "second", revision).await.unwrap();
    let kv = client.kv_client().get("/m", None).await.unwrap().take_kvs().remove(0);
    assert_eq!((kv.value(), kv.lease(), kv.mod_revision()), (&b"second"[..], ours.id(), updated.get()));
    let conflict = update(&client, "/m", "late", revision).await.unwrap_err();
    assert_eq!(
        conflict.to_string(),
        format!("key modified or deleted externally (expected revision {revision}): \"/m\"")
    );
    let gone = announce(&client, "/other", "1", 12345).await.unwrap_err();
    assert!(gone.to_string().starts_with("announcing \"/other\": "), "{gone}");
}
