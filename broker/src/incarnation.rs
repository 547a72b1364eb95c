//! Which registry this is: a number that is drawn when the first broker comes to one, and that another one, or the same one after it
//! was wiped, does not have.
//!
//! ```text
//!  /courant-x<root>/incarnation    16 hexadecimal digits
//! ```
//!
//! A broker that finds another incarnation than it came to is **estranged**: it gives up its place for good, takes no appends, and believes
//! what it knew last until it ends. That nothing is in the registry then does not mean that journals were deleted, so it lets go of
//! none of them; [`crate::Broker::estranged`] tells who runs it, who has it persist what it holds and opens another one in its place.

use courant_fragment::spool::ClusterId;
use courant_keyspace::{Error as KeyspaceError, Witness};
use etcd_client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::journal_space::Root;
use crate::member::{ANSWER_WITHIN, REGISTRY_WITHIN, pause};
use crate::transaction::commit::Registry;

/// Finds the incarnation of a registry, or draws it. With it comes what spools know the registry by.
pub(crate) async fn establish(
    etcd: &Client,
    root: &Root,
    seed: u64,
) -> Result<(Witness, ClusterId), KeyspaceError> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (key, give_up) = (root.incarnation(), Instant::now() + REGISTRY_WITHIN);
    let mut attempt = 0;
    loop {
        let fresh = format!("{:016x}", rng.random::<u64>());
        let asked = Witness::establish(etcd, key.clone(), fresh);
        let error = match timeout(ANSWER_WITHIN, Box::pin(asked)).await {
            Ok(Ok((witness, cluster_id))) => {
                let cluster = cluster_of(cluster_id, &witness);
                return Ok((witness, cluster));
            }
            Ok(Err(error)) => error,
            Err(_) => KeyspaceError::TimedOut {
                action: "asking which incarnation of the registry this is".to_owned(),
                waited: ANSWER_WITHIN,
            },
        };
        if !error.is_transient() || Instant::now() >= give_up {
            return Err(error);
        }
        tracing::warn!(%error, "could not join the cluster yet");
        sleep(pause(attempt, rng.random())).await;
        attempt += 1;
    }
}

/// What spools know their registry by: the cluster's id alone is the same after a wipe.
fn cluster_of(cluster_id: u64, witness: &Witness) -> ClusterId {
    let text = std::str::from_utf8(&witness.value).ok();
    let incarnation = text.and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or_default();
    ClusterId(cluster_id ^ incarnation)
}

/// Whether the registry that answers is the one that was come to, as all of it agrees upon. It is asked until it answers.
pub(crate) async fn is_the_one(registry: &Registry, rng: &mut StdRng) -> bool {
    let Some(witness) = &registry.witness else { return true };
    let mut attempt = 0;
    loop {
        match witness.is_there(&registry.etcd, ANSWER_WITHIN).await {
            Ok(is_there) => return is_there,
            Err(error) => {
                tracing::warn!(%error, "cannot ask whether the registry is still the one that it was")
            }
        }
        sleep(pause(attempt, rng.random())).await;
        attempt += 1;
    }
}

/// Runs a part of the broker that follows the registry. If that was exchanged, the broker is estranged, and nothing has failed.
pub(crate) async fn heed<E>(
    part: impl Future<Output = Result<(), E>>,
    is_exchange: impl FnOnce(&E) -> bool,
    estrange: impl FnOnce(&E),
    cancel: CancellationToken,
) -> Result<(), E> {
    match part.await {
        Err(error) if is_exchange(&error) => {
            estrange(&error);
            cancel.cancelled().await;
            Ok(())
        }
        ended => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spools_of_another_incarnation_are_of_another_cluster() {
        let witness = |value: &str| Witness { key: Vec::new(), value: value.into() };
        let (one, other) = (witness("00000000000000ff"), witness("0000000000000f00"));
        assert_eq!(cluster_of(0xf0, &one), ClusterId(0x0f));
        assert_ne!(cluster_of(7, &one), cluster_of(7, &other));
        // What somebody else put there is no number, and the cluster's id is what is left.
        assert_eq!(cluster_of(7, &witness("no number")), ClusterId(7));
    }
}
