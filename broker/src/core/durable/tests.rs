//! Brokers whose disks refuse to make durable what they took.

use std::io::ErrorKind;

use courant_fragment::disk::memory::Crash;
use courant_proto::service::JournalService;
use courant_proto::spec::JournalSpec;
use courant_proto::wire;
use tokio::time::timeout;
use tonic::Code;

use crate::contract::cluster::{Cluster, PATIENCE, append, read, requests};
use crate::journal_space::fixture::{labelled, spec};

#[tokio::test]
async fn a_sync_that_failed_is_the_last_of_journals_that_wait_for_it() {
    let cluster = Cluster::start(&["zone-a/aaaa", "zone-b/bbbb"]).await;
    let synced = labelled("a/synced", &[("courant.dev/durability", "fsync")]);
    cluster.create(&JournalSpec { replication: 2, ..synced }).await;
    cluster.create(&JournalSpec { replication: 2, ..spec("a/replicated") }).await;
    let broker = &cluster.brokers[0];
    for journal in ["a/synced", "a/replicated"] {
        assert_eq!(append(broker, journal, &[b"before"]).await.status(), wire::Status::Ok);
    }
    let refused = |text: &'static str| async move {
        let answer = timeout(PATIENCE, broker.append(requests("a/synced", &[text.as_bytes()]))).await;
        answer.expect("an answer in time").expect_err("nothing of it is durable")
    };
    for disk in &cluster.disks {
        disk.fail_syncs(Some(ErrorKind::Other));
    }
    let first = refused("first").await;
    assert!(first.message().contains("is not known"), "{first}");
    // Disks that seem to work again say nothing of what they were given before.
    cluster.disks.iter().for_each(|disk| disk.heal());
    let second = refused("second").await;
    assert_eq!(second.code(), Code::ResourceExhausted, "{second}");
    assert!(second.message().contains("until it is started again"), "{second}");
    assert_eq!(append(broker, "a/replicated", &[b" and behind"]).await.status(), wire::Status::Ok);
    assert_eq!(read(broker, "a/synced", 6).await, b"before");
    cluster.stop().await;
}

#[tokio::test]
async fn appends_wait_for_the_disks_of_all() {
    let cluster = Cluster::start(&["zone-a/aaaa", "zone-b/bbbb"]).await;
    let synced = labelled("a/synced", &[("courant.dev/durability", "fsync")]);
    cluster.create(&JournalSpec { replication: 2, ..synced }).await;
    for (number, content) in
        ["first piece", "second piece", "third piece", "fourth piece"].into_iter().enumerate()
    {
        let answer = append(&cluster.brokers[number % 2], "a/synced", &[content.as_bytes()]).await;
        assert_eq!(answer.status(), wire::Status::Ok);
        // Whatever of the log was not synced is gone with the power.
        for disk in &cluster.disks {
            let kept = disk.crash(Crash::Power);
            let has_it = kept
                .paths()
                .iter()
                .filter_map(|path| kept.bytes(path))
                .any(|bytes| bytes.windows(content.len()).any(|window| window == content.as_bytes()));
            assert!(has_it, "{content} is acknowledged and not on a disk");
        }
    }
    cluster.stop().await;
}
