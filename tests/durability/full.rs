//! A disk fills up: appends are refused at once, nothing is torn, and when there is room again they are taken again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::disk::Disk;
use crate::scene::{Acknowledged, PATIENCE, Scene, append, lacking};

/// An append is refused within so long, and a machine that is busy otherwise has it easy.
const REFUSED: Duration = Duration::from_secs(2);

const NAME: &str = "full/journal";

const PIECE: [u8; 8 << 10] = [b'x'; 8 << 10];

/// Appends until it is refused for want of room, which is to take no longer than it may. What was acknowledged meanwhile.
async fn until_refused(scene: &Scene, node: usize, acknowledged: &mut Acknowledged) {
    let deadline = Instant::now() + PATIENCE;
    let mut in_a_row = 0;
    while in_a_row < 3 {
        let began = Instant::now();
        let answer = append(scene.nodes[node].address(), &format!("/{NAME}"), &PIECE).await;
        let took = began.elapsed();
        match answer {
            Some((204, begin)) => {
                acknowledged.insert(begin, PIECE.to_vec());
                in_a_row = 0;
            }
            Some((503, _)) => {
                assert!(took < REFUSED, "refused after {took:?}");
                in_a_row += 1;
            }
            other => panic!("{other:?} after {took:?}"),
        }
        assert!(Instant::now() < deadline, "a full disk takes appends");
    }
}

async fn until_taken(scene: &Scene, node: usize, acknowledged: &mut Acknowledged) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some((204, begin)) = append(scene.nodes[node].address(), &format!("/{NAME}"), &PIECE).await {
            acknowledged.insert(begin, PIECE.to_vec());
            return;
        }
        assert!(Instant::now() < deadline, "a disk with room takes no appends:\n{}", scene.nodes[node].log());
        sleep(Duration::from_millis(50)).await;
    }
}

/// A cluster in which the disk of one broker is small, with a journal that all hold.
async fn open(files: u64) -> Option<Scene> {
    let disk = |index, at: &std::path::Path| match index {
        1 => Disk::in_memory(at, 16 << 10, files).map(Some),
        _ => Ok(None),
    };
    let scene = Scene::open(3, disk).await?;
    scene.create(&[(NAME, "replicated")]).await;
    Some(scene)
}

/// Fills the small disk, and gives the room back. The journal is written through the broker that has it, and through another.
async fn fills(scene: &Scene, fill: fn(&Disk)) {
    let mut acknowledged = Acknowledged::new();
    for node in 0..3 {
        until_taken(scene, node, &mut acknowledged).await;
        fill(&scene.disks[0]);
        until_refused(scene, node, &mut acknowledged).await;
        scene.disks[0].clear();
        until_taken(scene, node, &mut acknowledged).await;
        for reader in 0..3 {
            let content = scene.read(reader, NAME).await;
            assert_eq!(lacking(&acknowledged, &content), Vec::<String>::new(), "of broker {reader}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_appends_at_once_and_recovers() {
    let Some(scene) = open(10_000).await else { return };
    fills(&scene, Disk::fill).await;
}
