//! The power of disks is cut under load: what was acknowledged is there afterwards, as far as the journal's durability promises it.

use std::time::Duration;

use courant_tests::store;
use tokio::time::{Instant, sleep};

use crate::disk::Disk;
use crate::scene::{Acknowledged, PATIENCE, Scene, append, below, lacking};

/// The journals of a cycle, with their durability. One that lost bytes may refuse more, so that each cycle has another of that kind.
fn journals(cycle: u32) -> [(String, &'static str); 3] {
    let of_cycle = format!("power/replicated-{cycle}");
    [
        ("power/fsync".to_owned(), "fsync"),
        ("power/persisted".to_owned(), "persisted"),
        (of_cycle, "replicated"),
    ]
}

/// Room for each broker, in mebibytes.
const ROOM: u64 = 96;

/// How often the power is cut.
fn cycles() -> u32 {
    if std::env::var_os("COURANT_LONG").is_some() { 50 } else { 2 }
}

/// Waits until a journal takes appends.
async fn takes_appends(scene: &Scene, journal: &str) -> bool {
    let deadline = Instant::now() + PATIENCE / 2;
    while Instant::now() < deadline {
        let answer = append(scene.nodes[0].address(), &format!("/{journal}"), b"").await;
        if answer.is_some_and(|(status, _)| status == 204) {
            return true;
        }
        sleep(Duration::from_millis(100)).await;
    }
    false
}

/// Creates what is missing of the journals of a cycle, and waits until they take appends.
async fn prepared(scene: &Scene, cycle: u32) -> [(String, &'static str); 3] {
    let journals = journals(cycle);
    let missing = if cycle == 0 { &journals[..] } else { &journals[2..] };
    scene.create(missing).await;
    for (name, _) in &journals {
        assert!(takes_appends(scene, name).await, "cycle {cycle}: {name} takes no appends");
    }
    journals
}

/// Writes journals for a while, and cuts the power of these disks in the middle. What was acknowledged, by journal.
async fn cut(
    scene: &mut Scene,
    cycle: u32,
    journals: &[(String, &str)],
    which: &[usize],
) -> Vec<Acknowledged> {
    let loads: Vec<_> = journals.iter().map(|(name, _)| scene.write(name, cycle * 1000)).collect();
    sleep(Duration::from_millis(1500 + u64::from(cycle % 7) * 130)).await;
    for index in which {
        scene.disks[*index].cut();
    }
    for index in which {
        scene.nodes[*index].kill();
    }
    let mut acknowledged = Vec::new();
    for (load, (name, _)) in loads.into_iter().zip(journals) {
        let of_journal = load.finish().await;
        assert!(of_journal.len() > 3, "cycle {cycle}: {} appends of {name}", of_journal.len());
        acknowledged.push(of_journal);
    }
    for index in which {
        scene.disks[*index].power_on();
    }
    scene.start().await;
    acknowledged
}

/// The content of pieces up to the first hole between them.
fn first_of(pieces: Vec<(u64, Vec<u8>)>) -> Acknowledged {
    let mut content = Vec::new();
    for (begin, piece) in pieces {
        let Some(at) = content.len().checked_sub(usize::try_from(begin).expect("short")) else { break };
        content.extend(piece.get(at..).unwrap_or_default());
    }
    Acknowledged::from([(0, content)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_power_of_all_cut_what_was_promised_is_there() {
    let disk = |_, at: &std::path::Path| Disk::with_power(at, ROOM).map(Some);
    let Some(mut scene) = Scene::open(3, disk).await else { return };
    let (mut synced, mut persisted) = (Acknowledged::new(), Acknowledged::new());
    for cycle in 0..cycles() {
        let journals = prepared(&scene, cycle).await;
        let [of_synced, of_persisted, replicated] =
            cut(&mut scene, cycle, &journals, &[0, 1, 2]).await.try_into().expect("three journals");
        synced.extend(of_synced);
        persisted.extend(of_persisted);
        // In the store already, whatever became of the brokers. Spools are stored in any order, so that there may be more above a hole;
        // of that nothing was acknowledged.
        let stored = first_of(store::stored(scene.store.path(), &journals[1].0));
        assert_eq!(lacking(&persisted, &stored), Vec::<String>::new(), "cycle {cycle}: in the store");
        for ((name, _), acknowledged) in journals.iter().zip([&synced, &persisted]) {
            assert!(takes_appends(&scene, name).await, "cycle {cycle}: {name} takes no appends");
            for node in 0..scene.nodes.len() {
                let content = scene.read(node, name).await;
                assert_eq!(
                    lacking(acknowledged, &content),
                    Vec::<String>::new(),
                    "cycle {cycle}: {name} of {node}"
                );
            }
        }
        // Of this one the end may be missing, and what is there is what was written there.
        let (name, _) = &journals[2];
        for node in 0..scene.nodes.len() {
            let content = scene.read(node, name).await;
            let end = content.iter().next_back().map_or(0, |(begin, bytes)| begin + bytes.len() as i64);
            let kept = below(&replicated, end);
            assert_eq!(lacking(&kept, &content), Vec::<String>::new(), "cycle {cycle}: {name} of {node}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_power_of_one_cut_nothing_is_lost() {
    let disk = |_, at: &std::path::Path| Disk::with_power(at, ROOM).map(Some);
    let Some(mut scene) = Scene::open(3, disk).await else { return };
    let mut all = vec![Acknowledged::new(); 2];
    for cycle in 0..cycles() {
        let which = cycle as usize % scene.disks.len();
        let journals = prepared(&scene, cycle).await;
        let acknowledged = cut(&mut scene, cycle, &journals, &[which]).await;
        all.truncate(2);
        all.push(Acknowledged::new());
        for ((name, _), (all, acknowledged)) in journals.iter().zip(all.iter_mut().zip(acknowledged)) {
            all.extend(acknowledged);
            assert!(takes_appends(&scene, name).await, "cycle {cycle}: {name} takes no appends");
            let content = scene.read(0, name).await;
            assert_eq!(lacking(all, &content), Vec::<String>::new(), "cycle {cycle}: {name}");
        }
    }
}
