//! Writers, readers, and a process that is killed in the middle: nothing that was acknowledged is lost, nothing is
//! torn, and what lies in the store in the end is the journal.

mod scene;

use std::time::Duration;

use courant_proto::wire::CompressionCodec as Codec;
use courant_tests::{checker, journal, payload, store};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use scene::Scene;
use tokio::time::sleep;

/// How often the process is killed.
const KILLS: usize = 4;

/// Content that is written at least, so that fragments roll and several lie in the store.
const CONTENT: usize = 2 << 20;

/// The journal's fragments: so short that there are many of them.
const FRAGMENT: i64 = 192 << 10;

/// `COURANT_TEST_SEED`, or another one each time.
#[expect(clippy::print_stderr, reason = "who wants to see a failure again needs its seed")]
fn seed() -> u64 {
    let given = std::env::var("COURANT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("COURANT_TEST_SEED={seed} chooses the same moments again");
    seed
}

async fn killed_in_the_middle(codec: Codec) {
    let mut rng = StdRng::seed_from_u64(seed());
    let name = "logs/access";
    let mut scene = Scene::open(name, journal::spec(name, codec, FRAGMENT)).await;
    let tail = scene.tail();
    let writers = scene.writers();

    for _ in 0..KILLS {
        sleep(Duration::from_millis(rng.random_range(50..700))).await;
        scene.kill();
        // What was acknowledged until now must be there at once, whoever writes meanwhile.
        let acknowledged = scene.history();
        scene.restart().await;
        let content = scene.read().await;
        assert_eq!(checker::check_acknowledged(&acknowledged, &content), []);
        scene.see(0, &content);
    }
    scene.until_content(CONTENT).await;
    let history = writers.finish().await;
    let content = scene.read().await;
    scene.see(0, &content);
    tail.until(content.len()).await;
    scene.check(&history, &content);
    let pieces = payload::pieces(&content).expect("checked");
    assert!(pieces.len() >= CONTENT / (16 << 10), "{} pieces", pieces.len());

    // Told to stop, it leaves the whole journal in the store, as files that other programs read.
    let status = scene.node.terminate().await;
    assert_eq!(status.code(), Some(0), "{}", scene.node.log());
    let stored = store::concatenated(&scene.node.fragments(), name);
    assert_eq!(stored.len(), content.len());
    assert!(stored == content, "the store holds other bytes than the journal");
    assert!(store::fragments(&scene.node.fragments(), name).len() > KILLS, "fragments rolled");

    // From the store alone, the next process serves the same.
    scene.restart().await;
    assert!(scene.read().await == content, "what is read from the store differs");
}

#[tokio::test]
async fn killed_in_the_middle_uncompressed() {
    killed_in_the_middle(Codec::None).await;
}

#[tokio::test]
async fn killed_in_the_middle_gzip() {
    killed_in_the_middle(Codec::Gzip).await;
}

#[tokio::test]
async fn killed_in_the_middle_zstandard() {
    killed_in_the_middle(Codec::Zstandard).await;
}

#[tokio::test]
async fn killed_in_the_middle_snappy() {
    killed_in_the_middle(Codec::Snappy).await;
}
