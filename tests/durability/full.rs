//! A disk fills up: appends are refused at once, nothing is torn, and when there is room again they are taken again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::disk::Disk;
use crate::scene::{Acknowledged, PATIENCE, Scene, append, lacking, tell};

/// An append is refused within so long, and a machine that is busy otherwise has it easy.
const REFUSED: Duration = Duration::from_secs(2);

/// The broker whose disk is small.
const SMALL: usize = 1;

/// So much content goes to the log of the broker, and so much to a file of its own.
const SMALL_PIECE: usize = 8 << 10;
const LARGE_PIECE: usize = 1 << 20;

/// Appends until it is refused for want of room, which is to take no longer than it may. What was acknowledged meanwhile.
async fn until_refused(
    scene: &Scene,
    node: usize,
    journal: &str,
    piece: &[u8],
    acknowledged: &mut Acknowledged,
) {
    let deadline = Instant::now() + PATIENCE;
    let mut in_a_row = 0;
    while in_a_row < 3 {
        let began = Instant::now();
        let answer = tell(scene.nodes[node].address(), &format!("/{journal}"), piece).await;
        let took = began.elapsed();
        match answer {
            Some((204, begin, _)) => {
                acknowledged.insert(begin, piece.to_vec());
                in_a_row = 0;
            }
            Some((503, _, why)) => {
                assert!(took < REFUSED, "refused after {took:?}");
                // Of what was on its way when the disk of another filled up it is not known whether it counts.
                in_a_row = if why.contains("when the disk has room") { in_a_row + 1 } else { 0 };
            }
            other => panic!("{other:?} after {took:?}"),
        }
        assert!(Instant::now() < deadline, "a full disk takes appends");
    }
}

async fn until_taken(
    scene: &Scene,
    node: usize,
    journal: &str,
    piece: &[u8],
    acknowledged: &mut Acknowledged,
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some((204, begin)) = append(scene.nodes[node].address(), &format!("/{journal}"), piece).await {
            acknowledged.insert(begin, piece.to_vec());
            return;
        }
        assert!(Instant::now() < deadline, "a disk with room takes no appends:\n{}", scene.nodes[node].log());
        sleep(Duration::from_millis(50)).await;
    }
}

/// A cluster in which one broker has a small disk, and two journals that all hold: one has its primary there, one has it elsewhere.
async fn open() -> Option<(Scene, [String; 2])> {
    let disk = |index, at: &std::path::Path| match index {
        SMALL => Disk::in_memory(at, 48 << 10, 500).map(Some),
        _ => Ok(None),
    };
    let scene = Scene::open(3, disk).await?;
    let (mut there, mut elsewhere) = (None, None);
    for number in 0.. {
        let name = format!("full/journal-{number}");
        scene.create(&[(&name, "replicated")]).await;
        until_taken(&scene, 0, &name, b"begun", &mut Acknowledged::new()).await;
        let found = if scene.primary(&name).await == SMALL { &mut there } else { &mut elsewhere };
        found.get_or_insert(name);
        if let (Some(there), Some(elsewhere)) = (&there, &elsewhere) {
            let journals = [there.clone(), elsewhere.clone()];
            return Some((scene, journals));
        }
        assert!(number < 20, "the brokers do not share the journals");
    }
    None
}

/// Fills the small disk, and gives the room back.
async fn fills(fill: fn(&Disk), length: usize) {
    let piece = vec![b'x'; length];
    let Some((scene, journals)) = open().await else { return };
    for journal in journals {
        let mut acknowledged = Acknowledged::new();
        for node in [SMALL, 0] {
            until_taken(&scene, node, &journal, &piece, &mut acknowledged).await;
            fill(&scene.disks[0]);
            until_refused(&scene, node, &journal, &piece, &mut acknowledged).await;
            scene.disks[0].clear();
            until_taken(&scene, node, &journal, &piece, &mut acknowledged).await;
        }
        for reader in 0..scene.nodes.len() {
            let content = scene.read(reader, &journal).await;
            assert_eq!(
                lacking(&acknowledged, &content),
                Vec::<String>::new(),
                "{journal} of broker {reader}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_appends_at_once_and_recovers() {
    fills(Disk::fill, SMALL_PIECE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_room_for_files_refuses_appends_at_once_and_recovers() {
    fills(Disk::fill_files, LARGE_PIECE).await;
}
