//! A registry that is not what it was: what was lost with an earlier one, keys that are all deleted, and brokers that have not noticed yet.

use std::sync::Arc;

use bytes::Bytes;
use courant_proto::offset::Offset;
use courant_proto::service::JournalService;
use courant_proto::spec::JournalSpec;
use courant_proto::wire;
use courant_proto::wire::courant;
use futures::{StreamExt, stream};
use tokio::time::timeout;

use super::cluster::{Cluster, PATIENCE, append, requests};
use crate::broker::Broker;
use crate::journal_space::fixture::{name, root, spec};
use crate::lost_ends::LostEndsFile;

const A: &str = "zone-a/aaaa";
const B: &str = "zone-b/bbbb";

/// Appends nothing at an offset, as who accepts a loss does.
async fn at(broker: &Broker, journal: &str, offset: i64) -> wire::AppendResponse {
    let opening = wire::AppendRequest { journal: journal.to_owned(), offset, ..Default::default() };
    let messages = stream::iter([opening, wire::AppendRequest::default()]).map(Ok).boxed();
    timeout(PATIENCE, broker.append(messages)).await.expect("in time").expect("an answer")
}

/// What no store took when the registry was lost is not there any more, and its offsets are not given out again: also by one who never
/// had any of it, and has nobody who had among the members of the journal.
#[tokio::test]
async fn a_journal_goes_on_behind_what_another_broker_lost_with_another_registry() {
    let lost_end = Offset::new(500).expect("not negative");
    let lost = ("the/one", lost_end);
    let (cluster, _leader) = Cluster::led_after("zone-z/lead", &[A, B], lost).await;
    cluster.create_at(&JournalSpec { replication: 1, ..spec("the/one") }, &[B]).await;
    cluster.create_at(&JournalSpec { replication: 1, ..spec("the/other") }, &[B]).await;
    let broker = &cluster.brokers[1];
    append(broker, "the/other", &[b"not concerned"]).await;
    let refused = append(broker, "the/one", &[b"too early"]).await;
    assert_eq!(refused.status(), wire::Status::IndexHasGreaterOffset);
    assert_ne!(at(broker, "the/one", 499).await.status(), wire::Status::Ok);
    assert_eq!(at(broker, "the/one", 500).await.status(), wire::Status::Ok);
    let behind = append(broker, "the/one", &[b"and on"]).await;
    assert_eq!(behind.commit.map(|commit| commit.begin), Some(500));
    // The next primary goes on there, and nothing is left to remember.
    cluster.assign(&name("the/one"), &[(B, 1), (A, 0)]).await;
    let next = append(&cluster.brokers[0], "the/one", &[b"!"]).await;
    assert_eq!(next.commit.map(|commit| commit.begin), Some(506));
    let registry = &cluster.brokers[0].shared.registry;
    let records = crate::lineage::load(registry, &root(), [name("the/one")]).await.expect("an answer");
    assert_eq!(records[&name("the/one")].lost_end(), Offset::ZERO);
    cluster.stop().await;
}

/// The registry was exchanged while a round was on its way: what was acknowledged before it lies in the same spool, and is not kept from its
/// store by it. What became of the round nobody will tell.
#[tokio::test]
async fn a_round_on_its_way_keeps_nothing_that_counts_from_its_store() {
    const PEER: &str = "zone-z/lead";
    let (cluster, mut peer) = Cluster::led_by(PEER, &[A]).await;
    cluster.create_at(&JournalSpec { replication: 2, ..spec("the/one") }, &[A, PEER]).await;
    let broker = &cluster.brokers[0];
    let mut stream = peer.replicate().await;
    stream.round().await;
    stream.agree().await;
    // The first content of a journal gets a spool of its own.
    let contents: [[&'static [u8]; 1]; 2] = [[b"first"], [b"count"]];
    for content in contents {
        let agreed = async {
            stream.round().await;
            stream.agree().await;
        };
        let (counts, ()) = futures::join!(append(broker, "the/one", &content), agreed);
        assert_eq!(counts.status(), wire::Status::Ok);
    }
    let mut unanswered = Box::pin(broker.append(requests("the/one", &[b"tail"])));
    tokio::select! {
        answer = &mut unanswered => panic!("{answer:?}"),
        _ = stream.round() => {}
    }
    broker.shared.member.estrange(&"a test says so");
    let left = broker.drain(PATIENCE).await;
    let spans: Vec<_> = left.iter().map(|left| (left.begin.get(), left.end.get())).collect();
    assert_eq!(spans, [(0, 5), (5, 10)], "what counts is the store's, if the journal had one");
    assert!(unanswered.await.is_err());
    let lost = LostEndsFile::new(Arc::new(cluster.disks[0].clone()), "spools").read().expect("kept");
    // It was the primary, and has acknowledged nothing of it: no gap is left for it.
    assert_eq!(lost.ends.get(&name("the/one")).map(|lost| lost.end().get()), Some(10));
    let paths = cluster.disks[0].paths();
    let is_aside = |path: &&std::path::PathBuf| {
        path.starts_with("spools/quarantine") && path.extension().is_some_and(|end| end == "content")
    };
    let [aside] = paths.iter().filter(is_aside).collect::<Vec<_>>()[..] else { panic!("{paths:?}") };
    assert_eq!(cluster.disks[0].bytes(aside).as_deref(), Some(&b"tail"[..]));
    cluster.stop().await;
}

/// Content that no store has is let go of with a deleted journal, so not every deletion of its key is taken for one.
#[tokio::test]
async fn keys_that_are_all_deleted_are_no_deletion_of_journals() {
    // All of etcd, and the cluster's own folder, in which there is no witness.
    for prefix in ["", root().folder()] {
        let cluster = Cluster::start(&[A]).await;
        let broker = &cluster.brokers[0];
        for journal in ["is/kept", "is/deleted"] {
            cluster.create(&JournalSpec { replication: 1, ..spec(journal) }).await;
            append(broker, journal, &[b"content"]).await;
        }
        assert_eq!(broker.journals(), 2);
        // One journal is deleted as ever.
        cluster.delete(root().item(&name("is/deleted"))).await;
        cluster.until("the end of the journal", || broker.journals() == 1).await;
        assert!(timeout(std::time::Duration::ZERO, broker.estranged()).await.is_err());

        cluster.delete_all(prefix).await;
        timeout(PATIENCE, broker.estranged()).await.expect("it notices");
        assert_eq!(broker.journals(), 1, "what it held it holds ({prefix:?})");
        assert!(!broker.is_ready());
        cluster.stop().await;
    }
}

/// Who has come to another registry is not told that there is nothing of a journal; and has this broker look at its own.
#[tokio::test]
async fn heads_are_told_within_one_incarnation_alone() {
    let cluster = Cluster::start(&[A, B]).await;
    let spec = JournalSpec { replication: 2, ..spec("the/one") };
    cluster.create(&spec).await;
    append(&cluster.brokers[0], "the/one", &[b"content"]).await;
    let (primary, follower) = (cluster.of(&spec.name, true), cluster.of(&spec.name, false));
    let created = cluster.brokers[0].shared.space().item(&spec.name).expect("the journal").create_revision;
    let asked = courant::HeadsRequest {
        header: Some((&cluster.header(follower, &spec.name)).into()),
        caller: Some((&cluster.brokers[primary].shared.config.id).into()),
        journals: vec![courant::heads_request::Journal { name: "the/one".into(), create_revision: created }],
        incarnation: Bytes::from_static(b"another"),
    };
    let id = cluster.brokers[follower].shared.config.id.clone();
    let endpoint = cluster.endpoint(follower);
    let ask = || cluster.peers.heads(&id, &endpoint, asked.clone());
    let refused = ask().await.expect_err("of another registry");
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    assert!(refused.message().contains("has come to another registry"), "{refused}");
    assert!(cluster.brokers[follower].shared.member.is_held(), "its own is as it was");
    cluster.delete(root().incarnation()).await;
    ask().await.expect_err("of another registry");
    assert!(!cluster.brokers[follower].shared.member.is_held(), "it has looked");
    cluster.stop().await;
}
