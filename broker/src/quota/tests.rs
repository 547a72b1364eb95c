//! How far a quota is used, and who is told.

use courant_proto::service::JournalService;
use courant_proto::wire;
use futures::{StreamExt as _, stream};
use tokio::time::{Duration, Instant, sleep, timeout};
use tonic::Code;

use super::*;
use crate::contract::cluster::{Cluster, PATIENCE, append, requests};
use crate::journal_space::fixture::{id, spec};

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

/// While one core tells peers that there is no room, another makes room: what peers hear last is what is so.
#[test]
fn the_last_word_of_two_cores_is_the_true_one() {
    let quota = Quota::new(id("zone-a/aaaa"), 1_000, 2);
    let told = Mutex::new(Vec::new());
    quota.hold_and_tell(0, 500, |_| panic!("there is room"));
    std::thread::scope(|scope| {
        quota.hold_and_tell(1, 500, |has_room| {
            if !has_room {
                let (done, is_done) = std::sync::mpsc::sync_channel(1);
                let (quota, told) = (&quota, &told);
                scope.spawn(move || {
                    quota.hold_and_tell(0, 0, |has_room| told.lock().push(has_room));
                    let _ = done.send(());
                });
                while quota.held() > 500 {
                    std::thread::yield_now();
                }
                // Time enough for a word that does not wait for its turn.
                let _ = is_done.recv_timeout(Duration::from_millis(50));
            }
            told.lock().push(has_room);
        });
    });
    assert_eq!(*told.lock(), [false, true]);
}

/// Two cores that fill it together, each with a half: one of them notices, whoever comes first.
#[test]
fn cores_that_fill_it_together_tell() {
    for _ in 0..500 {
        let quota = Quota::new(id("zone-a/aaaa"), 1_000, 2);
        let last = Mutex::new(None);
        let both = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for core in 0..2 {
                let (quota, last, both) = (&quota, &last, &both);
                scope.spawn(move || {
                    both.wait();
                    quota.hold_and_tell(core, 500, |has_room| *last.lock() = Some(has_room));
                });
            }
        });
        assert_eq!(*last.lock(), Some(false));
    }
}

/// A stream that sends nothing does not wait for ever for the word that its content is refused.
#[tokio::test]
async fn who_sends_nothing_to_a_broker_without_room_is_let_go() {
    let cluster = Cluster::start_with_quotas(&["zone-a/aaaa"], &[1_000]).await;
    cluster.create(&spec("a/journal")).await;
    let broker = &cluster.brokers[0];
    assert_eq!(append(broker, "a/journal", &[&[b'x'; 2_000]]).await.status(), wire::Status::Ok);
    let silent = || {
        let first = wire::AppendRequest { journal: "a/journal".to_owned(), ..Default::default() };
        let requests = stream::iter([Ok(first)]).chain(stream::pending()).boxed();
        broker.append(requests)
    };
    let waiting = silent();
    tokio::pin!(waiting);
    assert!(timeout(Duration::from_millis(100), &mut waiting).await.is_err());
    cluster.clock.advance(Duration::from_secs(2));
    let refused = timeout(PATIENCE, waiting).await.expect("an answer").expect_err("too slow");
    assert!(refused.message().contains("minimum append data rate"), "{refused}");
    // A broker that stops waits for nobody.
    let waiting = silent();
    tokio::pin!(waiting);
    assert!(timeout(Duration::from_millis(100), &mut waiting).await.is_err());
    broker.close_streams();
    let refused = timeout(PATIENCE, waiting).await.expect("an answer").expect_err("stopping");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    cluster.stop().await;
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
