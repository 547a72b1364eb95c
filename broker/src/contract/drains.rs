//! What a broker that stops hands to its persister: everything that counts. The journals have no store, so a drain names all of it.

use std::time::Duration;

use courant_proto::service::JournalService;
use courant_proto::spec::JournalSpec;
use courant_proto::wire;
use futures::StreamExt;
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::cluster::{Cluster, PATIENCE, append, requests};
use crate::broker::Broker;
use crate::core::command::Command;
use crate::journal_space::fixture::{name, spec};

const JOURNAL: &str = "a/journal";
const A: &str = "zone-a/aaaa";
const B: &str = "zone-b/bbbb";
const C: &str = "zone-c/cccc";

/// Three brokers, of which the first two hold a journal, and show what was appended to it.
async fn settled() -> (Cluster, super::scripted::Scripted) {
    let (cluster, leader) = Cluster::led_by("zone-z/lead", &[A, B, C]).await;
    cluster.create_at(&JournalSpec { replication: 2, ..spec(JOURNAL) }, &[A, B]).await;
    append(&cluster.brokers[0], JOURNAL, &[b"content"]).await;
    for broker in &cluster.brokers[..2] {
        let request = wire::ReadRequest {
            journal: JOURNAL.into(),
            block: true,
            end_offset: 7,
            do_not_proxy: true,
            ..Default::default()
        };
        let shown = async {
            let shown: Vec<_> = broker.read(request).collect().await;
            shown.into_iter().flat_map(|response| response.expect("a response").content.to_vec()).collect()
        };
        let shown: Vec<u8> = timeout(PATIENCE, shown).await.expect("in time");
        assert_eq!(shown, b"content");
    }
    (cluster, leader)
}

/// The epoch that a follower's log is in.
async fn epoch(cluster: &Cluster, broker: &Broker) -> Option<u64> {
    let journal = name(JOURNAL);
    let create_revision =
        cluster.brokers[0].shared.space().item(&journal).expect("it is there").create_revision;
    let (reply, head) = tokio::sync::oneshot::channel();
    let command = Command::Head { journal: journal.clone(), create_revision, reply };
    broker.shared.cores.send(&journal, command).await.expect("a core");
    head.await.expect("an answer").open.map(|open| open.epoch)
}

/// What a drain leaves, as nothing can take it.
async fn left(broker: &Broker) -> Vec<(i64, i64)> {
    let left = timeout(PATIENCE, broker.drain(Duration::from_secs(10))).await.expect("an end");
    left.iter().map(|left| (left.begin.get(), left.end.get())).collect()
}

#[tokio::test]
async fn what_a_new_epoch_closed_on_a_follower_is_persisted_without_another_append() {
    let (cluster, _leader) = settled().await;
    let [a, b, c] = &cluster.brokers[..] else { panic!("three") };
    cluster.assign(&name(JOURNAL), &[(A, 0), (B, 1), (C, 2)]).await;
    let joined = async {
        while epoch(&cluster, c).await.is_none() || epoch(&cluster, b).await != epoch(&cluster, c).await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, joined).await.expect("all in the next epoch");
    assert_eq!(left(b).await, [(0, 7)], "of a follower");
    assert_eq!(left(a).await, [(0, 7)], "of the primary");
    assert_eq!(left(c).await, [], "it came later");
    cluster.stop().await;
}

#[tokio::test]
async fn what_an_epoch_closed_that_nobody_came_to_is_persisted_all_the_same() {
    let (cluster, _leader) = settled().await;
    let a = &cluster.brokers[0];
    // The follower's disk takes nothing more: it tells its head, and cannot begin an epoch.
    cluster.disks[1].set_room(Some(0));
    cluster.assign(&name(JOURNAL), &[(A, 0), (B, 1), (C, 2)]).await;
    let refused = async {
        loop {
            match a.append(requests(JOURNAL, &[])).await {
                Err(fault) if fault.code() == Code::ResourceExhausted => break,
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(PATIENCE, refused).await.expect("an agreement that fails");
    assert_eq!(left(a).await, [(0, 7)]);
    cluster.stop().await;
}
