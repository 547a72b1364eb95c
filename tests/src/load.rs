//! Load on the journals of a cluster: writers, readers that follow, and users of registers and offsets, through all brokers
//! at random, whatever happens to these. Keeps what was asked, what came of it and what was seen; judges none of it.

mod readers;
mod stage;
mod writers;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

pub use self::stage::{Kind, Stage};
use crate::cluster::Addresses;

/// Nothing here takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of it there is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many write to each journal.
    pub writers: u32,
    /// How many follow each journal.
    pub readers: u32,
    /// Longest pause of a writer between two pieces.
    pub pause: Duration,
    /// How long an append waits for its answer.
    pub patience: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self { writers: 2, readers: 1, pause: Duration::from_millis(250), patience: Duration::from_secs(5) }
    }
}

/// Users at work, until they are told to stop.
#[derive(Debug)]
pub struct Load {
    stages: Vec<Arc<Stage>>,
    writing: JoinSet<()>,
    reading: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Load {
    /// Begins on these journals, whose kinds say how they are used.
    pub fn start(
        addresses: &Addresses,
        journals: impl IntoIterator<Item = (String, Kind)>,
        plan: Plan,
        seed: u64,
    ) -> Self {
        let began = Instant::now();
        let stages: Vec<_> =
            journals.into_iter().map(|(name, kind)| Arc::new(Stage::new(name, kind, began))).collect();
        let (stop, stopped) = watch::channel(false);
        let (mut writing, mut reading) = (JoinSet::new(), JoinSet::new());
        let mut seeds = seed..;
        let mut seed = || seeds.next().unwrap_or(seed);
        for stage in &stages {
            for writer in 0..plan.writers {
                let user = writers::Writer::new(stage, addresses, writer, seed(), plan);
                writing.spawn(user.run(stopped.clone()));
            }
            for reader in 0..plan.readers {
                reading.spawn(readers::follow(Arc::clone(stage), Arc::clone(addresses), reader, seed()));
            }
        }
        Self { stages, writing, reading, stop }
    }

    /// The journals with what is known of them so far.
    pub fn stages(&self) -> &[Arc<Stage>] {
        &self.stages
    }

    /// Lets writers settle what they have under way; readers go on until they have seen it, or for a while.
    ///
    /// # Errors
    /// Who hangs.
    pub async fn finish(mut self) -> Result<Vec<Arc<Stage>>, String> {
        self.stop.send_replace(true);
        let joined = timeout(PATIENCE, async { while self.writing.join_next().await.is_some() {} }).await;
        if joined.is_err() {
            return Err("J21: writers hang".to_owned());
        }
        let seen = async {
            for stage in &self.stages {
                while stage.followed() < stage.acknowledged() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        if timeout(PATIENCE, seen).await.is_err() {
            let late = self.stages.iter().find(|stage| stage.followed() < stage.acknowledged());
            let late = late.map(|stage| (stage.name(), stage.followed(), stage.acknowledged()));
            return Err(format!("J21: a reader hangs: {late:?}"));
        }
        self.reading.shutdown().await;
        Ok(self.stages)
    }
}
