//! What is answered of stores that work, fail, and were never tried.

use std::path::PathBuf;
use std::sync::Arc;

use courant_fragment::store::Config;
use courant_proto::header::Etcd;
use courant_proto::status::Status;
use courant_proto::time::{ManualClock, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::{NamedTempFile, TempDir};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;

/// Stores below a folder, looked after by a task.
fn stores(file_root: Option<PathBuf>) -> (Arc<Stores>, JoinSet<()>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000)));
    let stores = Stores::new(Config { file_root, ..Config::default() }, clock, StdRng::seed_from_u64(1));
    let stores = Arc::new(stores);
    let mut tasks = JoinSet::new();
    let run = Arc::clone(&stores);
    tasks.spawn(async move { run.run(CancellationToken::new()).await });
    (stores, tasks)
}

/// A file where a folder would have to be.
fn in_the_way(folder: &TempDir, name: &str) -> NamedTempFile {
    tempfile::Builder::new().prefix(name).rand_bytes(0).tempfile_in(folder).expect("a file")
}

async fn asked(
    stores: &Stores,
    store: &str,
    delete: Option<&str>,
) -> Result<(Status, String), tonic::Status> {
    let header = Header::unrouted(None, Etcd { cluster_id: 1, member_id: 1, revision: 1, raft_term: 1 });
    let request = wire::FragmentStoreHealthRequest {
        fragment_store: store.to_owned(),
        check_delete: delete.is_some(),
        check_delete_prefix: delete.unwrap_or_default().to_owned(),
    };
    let response = respond(stores, &header, &request).await?;
    assert!(response.header.is_some());
    Ok((Status::from_wire(response.status).expect("a status"), response.store_health_error))
}

#[tokio::test]
async fn a_store_that_works_is_ok_once_it_was_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let (stores, _tasks) = stores(Some(folder.path().to_owned()));
    assert_eq!(asked(&stores, "file:///", None).await.expect("an answer"), (Status::Ok, String::new()));
    assert_eq!(asked(&stores, "file:///", None).await.expect("an answer"), (Status::Ok, String::new()));
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_unhealthy_and_says_why() {
    let (stores, _tasks) = stores(None);
    let (status, error) = asked(&stores, "file:///", None).await.expect("an answer");
    assert_eq!(status, Status::FragmentStoreUnhealthy);
    assert!(!error.is_empty());
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_unhealthy() {
    let folder = tempfile::tempdir().expect("a folder");
    // What the check puts into a folder of this name meets a file.
    let _file = in_the_way(&folder, ".test");
    let (stores, _tasks) = stores(Some(folder.path().to_owned()));
    let (status, error) = asked(&stores, "file:///", None).await.expect("an answer");
    assert_eq!(status, Status::FragmentStoreUnhealthy);
    assert!(error.starts_with("health check PUT failed"), "{error}");
    // No probe follows a check that failed.
    let (_, error) = asked(&stores, "file:///", Some("")).await.expect("an answer");
    assert!(error.starts_with("health check PUT failed"), "{error}");
}

#[tokio::test]
async fn deletion_is_probed_only_if_that_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let _file = in_the_way(&folder, "blocked");
    let (stores, _tasks) = stores(Some(folder.path().to_owned()));
    for prefix in ["", "some/where/"] {
        let (status, error) = asked(&stores, "file:///", Some(prefix)).await.expect("an answer");
        assert_eq!((status, &*error), (Status::Ok, ""), "{prefix:?}");
    }
    let (status, error) = asked(&stores, "file:///", Some("blocked/")).await.expect("an answer");
    assert_eq!(status, Status::FragmentStoreUnhealthy);
    assert!(error.starts_with("delete-probe PUT failed"), "{error}");
    assert_eq!(asked(&stores, "file:///", None).await.expect("an answer").0, Status::Ok);
}

#[tokio::test]
async fn refuses_requests_that_break_a_rule() {
    let (stores, _tasks) = stores(None);
    let check = async |store: &str, delete: Option<&str>, expected: &str| {
        let refusal = asked(&stores, store, delete).await.expect_err(expected);
        assert_eq!(refusal.message(), expected);
    };
    check("", None, "FragmentStore: not absolute ()").await;
    check("ftp://host/", None, "FragmentStore: invalid scheme (ftp)").await;
    check("file:///", Some("../up/"), "CheckDeletePrefix: cannot traverse outside the store (../up/)").await;
    check("file:///", Some("no-slash"), "CheckDeletePrefix: must end in '/' (no-slash)").await;
}
