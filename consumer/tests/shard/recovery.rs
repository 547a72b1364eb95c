//! What a successor reads of the shard's journal, and what it comes to.

use std::time::Duration;

use courant_consumer::{Error, JournalStore, ViewFile};
use courant_proto::{Offset, wire};
use tokio::time::sleep;

use crate::scene::{CHANGES, Scene};
use crate::stream_sum::{Chunker, Sum};

/// All that a store holds.
fn entries(store: &JournalStore) -> Vec<(bytes::Bytes, bytes::Bytes)> {
    store.scan(b"").expect("a view").collect::<Result<_, _>>().expect("a view")
}

#[tokio::test]
async fn a_bounded_tail_is_read_behind_a_snapshot() {
    let scene = Scene::start().await;
    let mut chunker = Chunker::new(6);
    let mut application = Sum::on(&scene).await;
    let file = ViewFile::in_memory().expect("a view");
    for round in 0..6 {
        chunker.publish(&scene, round * 10..round * 10 + 10, 20).await;
        let producer = scene.producer();
        let store = scene.open(&file, producer).await.expect("a store").with_snapshots_every(4_096);
        let stop = async {
            chunker.check(&scene).await;
            sleep(Duration::from_millis(100)).await;
        };
        let run = courant_consumer::run(&scene.shard, scene.ports(producer), store, &mut application, stop);
        run.await.expect("it stops");
    }
    // What is in the file is gone on from; what is in none, from the last snapshot.
    let kept = scene.open(&file, scene.producer()).await.expect("a store");
    let anew = ViewFile::in_memory().expect("a view");
    let made = scene.open(&anew, scene.producer()).await.expect("a store");
    let head = scene.client().head(CHANGES).await.expect("a head");
    assert!(made.recovered_from() > Offset::ZERO, "no snapshot was made of {head} bytes");
    assert!(kept.recovered_from() >= made.recovered_from());
    assert_eq!(entries(&made), entries(&kept));
    assert_eq!(entries(&made).len(), 60);
    assert_eq!(made.sequence(), kept.sequence());
    assert_eq!(made.owner().epoch, kept.owner().epoch + 1);
}

#[tokio::test]
async fn a_file_of_another_journal_is_made_anew() {
    let (scene, other) = (Scene::start().await, Scene::start().await);
    let file = ViewFile::in_memory().expect("a view");
    for (scene, streams) in [(&other, 0..30), (&scene, 0..7)] {
        let mut chunker = Chunker::new(7);
        chunker.publish(scene, streams, 10).await;
        let mut application = Sum::on(scene).await;
        let stop = chunker.check(scene);
        scene.run(&file, &mut application, stop).await.expect("it stops");
    }
    let store = scene.open(&file, scene.producer()).await.expect("a store");
    assert_eq!(entries(&store).len(), 7);
}

#[tokio::test]
async fn a_journal_with_foreign_content_is_refused() {
    let scene = Scene::start().await;
    let request = wire::AppendRequest { journal: CHANGES.to_owned(), ..Default::default() };
    scene.client().append(request, "a line\n").await.expect("appended");
    let file = ViewFile::in_memory().expect("a view");
    let error = scene.open(&file, scene.producer()).await.expect_err("it is no record");
    assert!(matches!(error, Error::Journal { offset: 0, .. }), "{error}");
    assert!(error.to_string().contains("shards/sums at offset 0: skipped 7 bytes"), "{error}");
}

#[tokio::test]
async fn two_that_open_at_once_fence_each_other_and_one_is_left() {
    let scene = Scene::start().await;
    let files: Vec<_> = (0..6).map(|_| ViewFile::in_memory().expect("a view")).collect();
    let opened = files.iter().map(|file| scene.open(file, scene.producer()));
    let opened = futures::future::join_all(opened).await;
    let mut epochs: Vec<_> = opened.iter().flatten().map(|store| store.owner().epoch).collect();
    epochs.sort_unstable();
    assert!(!epochs.is_empty());
    epochs.dedup();
    assert_eq!(epochs.len(), opened.iter().flatten().count(), "two of one epoch");
}
