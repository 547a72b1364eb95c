//! Durability as clients see it: what a crash, a slow disk, a broken disk and a stalled process do to them.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Error as ClientError, EventType, PutOptions, WatchOptions};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::disk::faulty::Faulty;
use crate::{Config, Error, Registry};

fn open(disk: &Faulty) -> Registry {
    open_with(disk, Config::default())
}

fn open_with(disk: &Faulty, config: Config) -> Registry {
    Registry::open_on(Arc::new(disk.clone()), config).expect("a sound folder")
}

/// Runs `work` with a client while the registry runs.
async fn with<T>(registry: &Registry, work: impl AsyncFnOnce(Client) -> T) -> T {
    let cancel = CancellationToken::new();
    let client = registry.client().await.expect("a client");
    let (outcome, answer) = tokio::join!(registry.run(cancel.clone()), async {
        let answer = Box::pin(work(client)).await;
        cancel.cancel();
        answer
    });
    outcome.expect("a clean end");
    answer
}

#[track_caller]
fn unavailable<T: std::fmt::Debug>(outcome: Result<T, ClientError>) {
    match outcome {
        Err(ClientError::GRpcStatus(status)) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        other => panic!("expected unavailable, got {other:?}"),
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash() {
    let disk = Faulty::default();
    let registry = open_with(&disk, Config { seed: 3, ..Config::default() });
    let cluster_id = registry.cluster_id();
    let (lease, revision) = with(&registry, async |mut client| {
        let lease = client.lease_grant(60, None).await.expect("a lease").id();
        client.put("leased", "v", Some(PutOptions::new().with_lease(lease))).await.expect("a put");
        client.put("plain", "1", None).await.expect("a put");
        let put = client.put("plain", "2", None).await.expect("a put");
        (lease, put.header().expect("a header").revision())
    })
    .await;
    // Another seed: the folder's name stays.
    let again = open_with(&disk.crashed(0), Config { seed: 4, ..Config::default() });
    assert_eq!((again.cluster_id(), again.revision()), (cluster_id, revision));
    with(&again, async |mut client| {
        let got = client.get("plain", None).await.expect("a get");
        assert_eq!((got.kvs()[0].value(), got.kvs()[0].version()), (&b"2"[..], 2));
        let left = client.lease_time_to_live(lease, None).await.expect("a time to live");
        assert!(left.ttl() >= 59, "a restart gives the full time: {left:?}");
        let term = left.header().expect("a header").raft_term();
        assert_eq!(term, 2, "terms count starts");
        // A watcher can go on where it was before the restart.
        let options = WatchOptions::new().with_start_revision(revision);
        let mut stream = client.watch("plain", Some(options)).await.expect("a watch");
        stream.message().await.expect("a response");
        let response = stream.message().await.expect("a response").expect("an open stream");
        assert_eq!(response.events()[0].kv().expect("a key").mod_revision(), revision);
        client.lease_revoke(lease).await.expect("a revocation");
        assert_eq!(client.get("leased", None).await.expect("a get").count(), 0);
    })
    .await;
}

#[tokio::test]
async fn writers_share_a_sync() {
    let disk = Faulty::default();
    let registry = open(&disk);
    let before = disk.syncs();
    with(&registry, async |client| {
        let puts = (0..200).map(|n| {
            let mut client = client.clone();
            async move { client.put(format!("{n}"), "v", None).await.expect("a put") }
        });
        futures::future::join_all(puts).await;
    })
    .await;
    let syncs = disk.syncs() - before;
    assert!(syncs <= 20, "200 writers caused {syncs} syncs");
}

#[tokio::test]
async fn nobody_sees_what_is_not_durable() {
    let disk = Faulty::default();
    let registry = open(&disk);
    with(&registry, async |client| {
        let (mut writer, mut reader, mut keeper) = (client.clone(), client.clone(), client.clone());
        let lease = keeper.lease_grant(60, None).await.expect("a lease").id();
        let mut stream = reader.watch("k", None).await.expect("a watch");
        stream.message().await.expect("a response");
        disk.hold();
        let moment = Duration::from_millis(100);
        let put = writer.put("k", "v", None);
        tokio::pin!(put);
        assert!(tokio::time::timeout(moment, &mut put).await.is_err(), "a put waits for the disk");
        let get = reader.get("k", None);
        tokio::pin!(get);
        assert!(tokio::time::timeout(moment, &mut get).await.is_err(), "so does who would see it");
        assert!(tokio::time::timeout(moment, stream.message()).await.is_err(), "and who watches it");
        assert_eq!(registry.revision(), 1);
        // A slow disk costs nobody a lease.
        let (_, mut renewals) = keeper.lease_keep_alive(lease).await.expect("a renewal");
        let _ = tokio::time::timeout(moment, renewals.message()).await;
        disk.release();
        put.await.expect("a put");
        assert_eq!(get.await.expect("a get").count(), 1);
        let response = stream.message().await.expect("a response").expect("an open stream");
        assert_eq!(response.events()[0].event_type(), EventType::Put);
    })
    .await;
}

#[tokio::test]
async fn a_failed_sync_is_final() {
    let disk = Faulty::default();
    let registry = open(&disk);
    let mut client = registry.client().await.expect("a client");
    let cancel = CancellationToken::new();
    let (outcome, ()) = tokio::join!(registry.run(cancel.clone()), async {
        client.put("before", "v", None).await.expect("a put");
        disk.break_after(1);
        unavailable(client.put("after", "v", None).await);
        unavailable(client.get("before", None).await);
        unavailable(client.put("again", "v", None).await);
    });
    assert!(matches!(outcome, Err(Error::Disk { .. })), "{outcome:?}");
    assert!(
        matches!(registry.run(cancel).await, Err(Error::Writer(_))),
        "only a new start knows what is there"
    );
    let again = open(&disk.crashed(0));
    with(&again, async |mut client| {
        assert_eq!(client.get("before", None).await.expect("a get").count(), 1);
        assert_eq!(client.get("after", None).await.expect("a get").count(), 0);
    })
    .await;
}

#[tokio::test]
async fn snapshots_come_and_the_log_goes() {
    let disk = Faulty::default();
    let registry = open_with(&disk, Config { log_bytes: 10_000, history_revisions: 50, ..Config::default() });
    with(&registry, async |mut client| {
        for n in 0..600 {
            client.put(format!("k{}", n % 7), vec![b'x'; 100], None).await.expect("a put");
        }
    })
    .await;
    let names = disk.names();
    assert!(names.len() <= 3 && names.iter().any(|name| name.ends_with(".snapshot")), "{names:?}");
    let again = open(&disk.crashed(0));
    assert_eq!(again.revision(), 601);
    with(&again, async |mut client| {
        let options = etcd_client::GetOptions::new().with_prefix();
        assert_eq!(client.get("k", Some(options)).await.expect("a get").count(), 7);
    })
    .await;
}

#[tokio::test]
async fn a_run_can_end_and_begin_again() {
    for registry in [open(&Faulty::default()), Registry::in_memory(Config::default())] {
        let mut kept = registry.client().await.expect("a client");
        with(&registry, async |mut client| {
            client.put("k", "v", None).await.expect("a put");
        })
        .await;
        unavailable(kept.get("k", None).await);
        with(&registry, async |mut client| {
            assert_eq!(client.get("k", None).await.expect("a get").count(), 1);
            let twice = registry.run(CancellationToken::new()).await;
            assert!(matches!(twice, Err(Error::AlreadyRunning)), "{twice:?}");
            client.put("k", "w", None).await.expect("a put");
        })
        .await;
    }
}

#[tokio::test]
async fn the_end_ends_every_stream() {
    let registry = Registry::in_memory(Config::default());
    let mut client = registry.client().await.expect("a client");
    let cancel = CancellationToken::new();
    let (outcome, ()) = tokio::join!(registry.run(cancel.clone()), async {
        let mut stream = client.watch("k", None).await.expect("a watch");
        stream.message().await.expect("a response");
        cancel.cancel();
        let end = tokio::time::timeout(Duration::from_secs(10), stream.message()).await;
        unavailable(end.expect("no stream outlives its registry"));
    });
    outcome.expect("a clean end");
}

/// The clock jumps as it does for a process that was stopped: nobody ran in between.
#[tokio::test(start_paused = true)]
async fn a_stalled_process_loses_no_lease() {
    let registry = Registry::in_memory(Config::default());
    with(&registry, async |mut client| {
        let lease = client.lease_grant(10, None).await.expect("a lease").id();
        client.put("k", "v", Some(PutOptions::new().with_lease(lease))).await.expect("a put");
        tokio::time::sleep(Duration::from_secs(5)).await;
        tokio::time::advance(Duration::from_secs(3600)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(client.get("k", None).await.expect("a get").count(), 1, "the hour does not count");
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(client.get("k", None).await.expect("a get").count(), 0, "the seconds do");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn quiet_watches_tell_progress() {
    let registry = Registry::in_memory(Config::default());
    with(&registry, async |mut client| {
        let options = WatchOptions::new().with_progress_notify();
        let mut stream = client.watch("k", Some(options)).await.expect("a watch");
        let id = stream.message().await.expect("a response").expect("an open stream").watch_id();
        client.put("other", "v", None).await.expect("a put");
        let progress = stream.message().await.expect("a response").expect("an open stream");
        assert_eq!((progress.watch_id(), progress.events().len()), (id, 0));
        assert_eq!(progress.header().expect("a header").revision(), 2);
    })
    .await;
}

#[test]
fn two_registries_cannot_share_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Registry::open(folder.path(), Config::default()).expect("an empty folder");
    match Registry::open(folder.path(), Config::default()) {
        Err(error @ Error::Locked { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
        }
        other => panic!("expected a locked folder, got {other:?}"),
    }
    drop(first);
    Registry::open(folder.path(), Config::default()).expect("the lock went with the handle");
}
