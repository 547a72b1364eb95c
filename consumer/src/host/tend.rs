//! One shard that is assigned here: standby or primary, as it is told; tried again where that helps; and what is said of it.

use std::time::Duration;

use courant_keyspace::{Error as KeyspaceError, update};
use courant_proto::wire;
use prost::Message as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use wire::consumer::ReplicaStatus;
use wire::consumer::replica_status::Code;

use super::space::{Assigned, assignments};
use super::{Program, Shared};
use crate::run::Ports;
use crate::{Error, JournalStore, Standby, ViewFile, blocking, run};

/// Pauses between attempts: from this, doubled, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// An attempt that lasted so long was none in a row.
const LASTED: Duration = Duration::from_secs(30);

/// How long a status that could not be told is waited with, without news.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// Gazette's limit of the text of an error, in characters.
const LONGEST_ERROR: usize = 2048;

type Hears = watch::Receiver<Option<Assigned>>;

/// Tends a shard until it is no longer assigned here.
pub(super) async fn tend<P: Program>(shared: &Shared<P>, shard: &str, hears: Hears) {
    let status = watch::Sender::new(ReplicaStatus::default());
    let tells = status.subscribe();
    tokio::select! {
        () = work(shared, shard, hears, &status) => {}
        () = keep_told(shared, shard, tells) => {}
    }
}

async fn work<P: Program>(
    shared: &Shared<P>,
    shard: &str,
    mut hears: Hears,
    status: &watch::Sender<ReplicaStatus>,
) {
    // Shards that a broker's end stops together are not started again together.
    let of_shard = |seed: u64, byte| seed.rotate_left(8) ^ u64::from(byte);
    let mut rng = SmallRng::seed_from_u64(shard.bytes().fold(shared.ports.seed, of_shard));
    let mut file: Option<ViewFile> = None;
    let mut pause = SHORTEST;
    loop {
        let Some(assigned) = hears.borrow_and_update().clone() else { return };
        let begun = Instant::now();
        let worked = async {
            let file = match &file {
                Some(file) => file.clone(),
                None => file.insert(open_view(shared, shard).await?).clone(),
            };
            if assigned.is_primary {
                lead(shared, &assigned, file, hears.clone(), status).await
            } else {
                follow(shared, &assigned, file, hears.clone(), status).await
            }
        };
        let Err(error) = worked.await else {
            pause = SHORTEST;
            continue;
        };
        let is_primary = assigned.is_primary;
        if begun.elapsed() >= LASTED {
            pause = SHORTEST;
        }
        // One that was fenced is told so by the registry as well, a moment later.
        if error.is_transient() || matches!(error, Error::Fenced { .. }) {
            tracing::warn!(shard, is_primary, %error, "a shard is started again");
            let spread = pause.mul_f64(0.5 + rng.random::<f64>());
            let _ = timeout(spread, hears.changed()).await;
            pause = (pause * 2).min(LONGEST);
            continue;
        }
        tracing::error!(shard, is_primary, %error, "a shard has failed");
        let errors = vec![shortened(error.to_string())];
        status.send_replace(ReplicaStatus { code: Code::Failed.into(), errors });
        // It would fail again: it takes a change of its spec, or of who has it.
        if hears.changed().await.is_err() {
            return;
        }
    }
}

async fn open_view<P>(shared: &Shared<P>, shard: &str) -> Result<ViewFile, Error> {
    match &shared.membership.views {
        // No id has a percent sign.
        Some(folder) => {
            let path = folder.join(shard.replace('/', "%2F"));
            blocking(move || ViewFile::open(&path)).await
        }
        None => ViewFile::in_memory(),
    }
}

/// Follows the shard's journal, until it hears otherwise.
async fn follow<P: Program>(
    shared: &Shared<P>,
    assigned: &Assigned,
    file: ViewFile,
    mut hears: Hears,
    status: &watch::Sender<ReplicaStatus>,
) -> Result<(), Error> {
    let stands_by = async {
        let standby = Standby::open(&shared.ports.client, &assigned.spec.journal, file).await?;
        tell(status, Code::Standby);
        standby.follow().await.map(|never| match never {})
    };
    tokio::select! {
        ended = stands_by => ended,
        () = other_than(&mut hears, assigned) => Ok(()),
    }
}

/// Runs the shard, until it hears otherwise, and then to the end of its transaction.
async fn lead<P: Program>(
    shared: &Shared<P>,
    assigned: &Assigned,
    file: ViewFile,
    mut hears: Hears,
    status: &watch::Sender<ReplicaStatus>,
) -> Result<(), Error> {
    let client = &shared.ports.client;
    let producer = (shared.ports.producers)();
    let store = JournalStore::open(client, &assigned.spec.journal, file, producer).await?;
    let mut application = shared.program.start(&assigned.spec).await.map_err(Error::Application)?;
    let ports = Ports { client: client.clone(), clock: shared.ports.clock.clone(), producer };
    tell(status, Code::Primary);
    let stop = other_than(&mut hears, assigned);
    run(&assigned.spec.shard, ports, store, &mut application, stop).await
}

/// Ends when a shard is to be tended otherwise.
async fn other_than(hears: &mut Hears, assigned: &Assigned) {
    // Without the house there is nobody to tell, and this is dropped.
    let _ = hears.wait_for(|heard| heard.as_ref() != Some(assigned)).await;
}

fn tell(status: &watch::Sender<ReplicaStatus>, code: Code) {
    status.send_replace(ReplicaStatus { code: code.into(), errors: Vec::new() });
}

/// Sees to it that the assignment says how things stand, whatever happens to its key.
async fn keep_told<P>(shared: &Shared<P>, shard: &str, mut status: watch::Receiver<ReplicaStatus>) {
    let mut news = shared.mirror.subscribe();
    let super::Membership { root, id, .. } = &shared.membership;
    loop {
        let wanted = status.borrow_and_update().clone();
        let snapshot = std::sync::Arc::clone(&news.borrow_and_update());
        let mut is_told = true;
        if wanted.code() != Code::Idle {
            for (entry, told) in assignments(&snapshot, root, shard, id) {
                if *told == wanted {
                    continue;
                }
                let updated =
                    update(&shared.ports.etcd, &entry.key, wanted.encode_to_vec(), entry.mod_revision).await;
                match updated {
                    Ok(_) => {}
                    // There is news of it soon.
                    Err(KeyspaceError::Conflict { .. }) => is_told = false,
                    Err(error) => {
                        is_told = false;
                        tracing::warn!(shard, %error, "could not tell how a shard stands");
                    }
                }
            }
        }
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return },
            changed = news.changed() => if changed.is_err() { return },
            () = sleep(TELL_AGAIN), if !is_told => {}
        }
    }
}

fn shortened(error: String) -> String {
    match error.char_indices().nth(LONGEST_ERROR) {
        Some((at, _)) => format!("{} ...[truncated]", &error[..at]),
        None => error,
    }
}
