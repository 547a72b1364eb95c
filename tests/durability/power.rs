//! The power of disks is cut under load: what was acknowledged is there afterwards, as far as the journal's durability promises it.

use std::time::Duration;

use courant_tests::store;
use tokio::time::{Instant, sleep};

use crate::disk::Disk;
use crate::scene::{Acknowledged, PATIENCE, Scene, append, lacking};

const JOURNALS: [(&str, &str); 3] =
    [("power/fsync", "fsync"), ("power/persisted", "persisted"), ("power/replicated", "replicated")];

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

/// Writes all journals for a while, and cuts the power of these disks in the middle. What was acknowledged, by journal.
async fn cut(scene: &mut Scene, cycle: u32, which: &[usize]) -> Vec<Acknowledged> {
    let loads: Vec<_> = JOURNALS.iter().map(|(name, _)| scene.write(name, cycle * 1000)).collect();
    sleep(Duration::from_millis(1500 + u64::from(cycle % 7) * 130)).await;
    for index in which {
        scene.disks[*index].cut();
    }
    for index in which {
        scene.nodes[*index].kill();
    }
    let mut acknowledged = Vec::new();
    for load in loads {
        acknowledged.push(load.finish().await);
    }
    for index in which {
        scene.disks[*index].power_on();
    }
    scene.start().await;
    acknowledged
}

fn check_written(acknowledged: &[Acknowledged], cycle: u32) {
    for ((name, _), acknowledged) in JOURNALS.iter().zip(acknowledged) {
        assert!(acknowledged.len() > 3, "cycle {cycle}: {} appends of {name}", acknowledged.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_power_of_all_cut_what_was_promised_is_there() {
    let disk = |_, at: &std::path::Path| Disk::with_power(at, ROOM).map(Some);
    let Some(mut scene) = Scene::open(3, disk).await else { return };
    scene.create(&JOURNALS).await;
    let mut all: Vec<Acknowledged> = vec![Acknowledged::new(); JOURNALS.len()];
    for (name, _) in JOURNALS {
        assert!(takes_appends(&scene, name).await, "{name} takes no appends");
    }
    for cycle in 0..cycles() {
        let acknowledged = cut(&mut scene, cycle, &[0, 1, 2]).await;
        check_written(&acknowledged, cycle);
        for (all, acknowledged) in all.iter_mut().zip(acknowledged) {
            all.extend(acknowledged);
        }
        // In the store already, whatever became of the brokers.
        let stored = store::concatenated(scene.store.path(), JOURNALS[1].0);
        let stored = Acknowledged::from([(0, stored)]);
        assert_eq!(lacking(&all[1], &stored), Vec::<String>::new(), "cycle {cycle}: in the store");
        for (index, (name, level)) in JOURNALS.iter().enumerate() {
            let takes = takes_appends(&scene, name).await;
            if *level == "replicated" && !takes {
                // It says that bytes may be missing, and waits for an operator: nothing more can be written to it.
                continue;
            }
            assert!(takes, "cycle {cycle}: {name} takes no appends");
            for node in 0..scene.nodes.len() {
                let content = scene.read(node, name).await;
                let mut lacking = lacking(&all[index], &content);
                if *level == "replicated" {
                    lacking.retain(|lacking| !lacking.contains("missing"));
                }
                assert_eq!(lacking, Vec::<String>::new(), "cycle {cycle}: {name} of broker {node}");
            }
        }
        if !takes_appends(&scene, JOURNALS[2].0).await {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_power_of_one_cut_nothing_is_lost() {
    let disk = |_, at: &std::path::Path| Disk::with_power(at, ROOM).map(Some);
    let Some(mut scene) = Scene::open(3, disk).await else { return };
    scene.create(&JOURNALS).await;
    let mut all: Vec<Acknowledged> = vec![Acknowledged::new(); JOURNALS.len()];
    for (name, _) in JOURNALS {
        assert!(takes_appends(&scene, name).await, "{name} takes no appends");
    }
    for cycle in 0..cycles() {
        let which = cycle as usize % scene.disks.len();
        let acknowledged = cut(&mut scene, cycle, &[which]).await;
        check_written(&acknowledged, cycle);
        for (index, (name, _)) in JOURNALS.iter().enumerate() {
            all[index].extend(acknowledged[index].clone());
            assert!(takes_appends(&scene, name).await, "cycle {cycle}: {name} takes no appends");
            let content = scene.read(0, name).await;
            assert_eq!(lacking(&all[index], &content), Vec::<String>::new(), "cycle {cycle}: {name}");
        }
    }
}
