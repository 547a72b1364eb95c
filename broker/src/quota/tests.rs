//! How far a quota is used, and who is told.

use courant_proto::service::JournalService;
use courant_proto::wire;
use tokio::time::{Duration, Instant, sleep};
use tonic::Code;

use super::*;
use crate::contract::cluster::{Cluster, PATIENCE, append, requests};
use crate::journal_space::fixture::spec;

#[test]
fn the_last_eighth_is_kept_for_journals_whose_stores_work() {
    for (held, limit, expected) in [
        (0, 800, Use::Free),
        (699, 800, Use::Free),
        (700, 800, Use::Nearly),
        (799, 800, Use::Nearly),
        (800, 800, Use::Spent),
        (u64::MAX, 800, Use::Spent),
        (0, 1, Use::Free),
        (1, 1, Use::Spent),
        (u64::MAX, 0, Use::Free),
    ] {
        assert_eq!(used(held, limit), expected, "{held} of {limit}");
    }
}

/// Whichever of the two is the primary: what both would have to hold is refused, and what asks for no room is not.
#[tokio::test]
async fn a_member_without_room_is_spared_by_all() {
    let cluster = Cluster::start_with_quotas(&["zone-a/aaaa", "zone-b/bbbb"], &[0, 1_000]).await;
    for journal in ["a/one", "a/two", "a/three", "a/four"] {
        cluster.create(&JournalSpec { replication: 2, ..spec(journal) }).await;
    }
    let broker = &cluster.brokers[0];
    assert_eq!(append(broker, "a/one", &[&[b'x'; 2_000]]).await.status(), wire::Status::Ok);
    for journal in ["a/one", "a/two", "a/three", "a/four"] {
        let until = Instant::now() + PATIENCE;
        let refused = loop {
            match broker.append(requests(journal, &[b"more"])).await {
                Err(refused) => break refused,
                // It was on its way when the quota was used up, or the others do not know it yet.
                Ok(answer) => assert_eq!(answer.status(), wire::Status::Ok),
            }
            assert!(Instant::now() < until, "{journal} takes more");
            sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().contains("of broker zone-b#bbbb hold"), "{refused}");
        assert!(refused.message().contains("--spool-quota"), "{refused}");
        assert_eq!(append(broker, journal, &[]).await.status(), wire::Status::Ok);
    }
    assert!(cluster.brokers.iter().map(|broker| broker.shared.quota.refused()).sum::<u64>() > 0);
    cluster.stop().await;
}
