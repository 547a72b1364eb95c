//! One append of what a shard publishes.

use std::time::Duration;

use bytes::Bytes;
use courant_client::{Client, Options};
use courant_proto::wire;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::engine::Journal;

/// Pauses between attempts that were refused for now: from this, doubled, up to [`LONGEST`], and up to half of each left out.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Appends to a journal. Where it must land `once`, an attempt is only followed by another one if it was refused, which says that it has not landed. Its
/// pauses are drawn from a seed, as many shards may be refused at the same time.
pub(crate) async fn append(
    client: Client,
    journal: Journal,
    content: Bytes,
    once: bool,
    seed: u64,
) -> Result<Journal, Error> {
    let request = || wire::AppendRequest { journal: journal.to_string(), ..Default::default() };
    if !once {
        return match client.append(request(), content).await {
            Ok(_) => Ok(journal),
            Err(error) if error.status() == Some(wire::Status::JournalNotFound) => {
                tracing::warn!(
                    journal = &*journal,
                    "what was published to it is not acknowledged, as it is gone"
                );
                Ok(journal)
            }
            Err(error) => Err(Error::of_client("could not append to", &journal)(error)),
        };
    }
    let patience = client.options();
    let client = client.with_options(Options { retry_for: Duration::ZERO, ..patience });
    let deadline = Instant::now() + patience.retry_for;
    let (mut pause, mut rng) = (SHORTEST, SmallRng::seed_from_u64(seed));
    loop {
        let error = match client.append(request(), content.clone()).await {
            Ok(_) => return Ok(journal),
            Err(error) => error,
        };
        match error.refusal() {
            Some(_) if error.is_transient() && Instant::now() + pause < deadline => {
                tracing::debug!(journal = &*journal, %error, "an append is tried again");
                sleep(pause.mul_f64(0.5 + 0.5 * rng.random::<f64>())).await;
                pause = (pause * 2).min(LONGEST);
            }
            Some(_) => return Err(Error::of_client("could not append to", &journal)(error)),
            None => return Err(Error::Uncertain { journal: journal.to_string(), source: error }),
        }
    }
}
