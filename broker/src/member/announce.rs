//! Taking a place: a lease, and the key under it, asked for until they are ours or somebody else's for good.

use std::time::Duration;

use courant_keyspace::{Announced, Error as KeyspaceError, Lease, LeaseConfig, Revision, Witness};
use courant_proto::spec::BrokerSpec;
use etcd_client::Client;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, timeout};

use super::rival::Rival;
use super::{MemberError, Tenure};

/// How often a place that somebody else has is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// No answer of the registry within this time is a failure.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Waits between attempts grow from here…
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// …to here: a registry that is back is noticed within this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What is asked for.
pub(super) struct Bid<'a> {
    pub(super) etcd: &'a Client,
    pub(super) key: &'a [u8],
    pub(super) spec: &'a BrokerSpec,
    pub(super) config: &'a LeaseConfig,
    /// The registry in which it is asked for.
    pub(super) witness: &'a Witness,
    /// Failures are not tried again after this; without it they are for ever.
    pub(super) give_up: Option<Instant>,
}

impl Bid<'_> {
    /// Takes the place, under the lease `tenure` if there is one already.
    pub(super) async fn take(
        &self,
        mut tenure: Option<Tenure>,
        rng: &mut StdRng,
    ) -> Result<(Tenure, Revision), MemberError> {
        let mut adopt = self.config.adopt;
        let mut rival: Option<Rival> = None;
        let mut attempt = 0;
        let began = Instant::now();
        loop {
            let outcome = match &mut tenure {
                None => match self.lease(adopt).await {
                    Ok(found) => {
                        tenure = Some(found);
                        continue;
                    }
                    Err(error) => Err(error),
                },
                Some(held) => {
                    let lease = held.lease.id();
                    tokio::select! {
                        biased;
                        error = held.lost() => Err(error),
                        announced = self.announce(lease) => announced,
                    }
                }
            };
            let refused = match (outcome, tenure.take()) {
                (Ok(Announced::Created { revision } | Announced::Kept { revision, .. }), Some(held)) => {
                    return Ok((held, revision));
                }
                (Ok(Announced::Taken { lease, value, .. }), held) => {
                    tenure = held;
                    match self.wait_for(lease, &value, &mut rival, began).await {
                        Ok(()) => continue,
                        Err(refused) => refused,
                    }
                }
                (Err(error), held) => {
                    // A lease that may still live is gone on with: the key may be there under it, though no answer said so.
                    tenure = held.filter(|_| !error.is_lease_gone());
                    if error.is_lease_gone() {
                        adopt = None;
                    }
                    if !error.is_exchanged()
                        && self.give_up.is_none_or(|give_up| Instant::now() < give_up && may_pass(&error))
                    {
                        tracing::warn!(%error, "could not join the cluster yet");
                        sleep(pause(attempt, rng.random())).await;
                        attempt += 1;
                        continue;
                    }
                    error.into()
                }
                (Ok(_), None) => continue,
            };
            // A lease of ours that holds nothing is not left behind. If it cannot be revoked it runs out.
            if let Some(held) = tenure.filter(|held| !held.lease.is_adopted()) {
                let _ = timeout(ANSWER_WITHIN, held.lease.revoke()).await;
            }
            return Err(refused);
        }
    }

    async fn lease(&self, adopt: Option<i64>) -> Result<Tenure, KeyspaceError> {
        let config = LeaseConfig { adopt, ..self.config.clone() };
        let (lease, keeper) =
            within("establishing a lease", Lease::establish(self.etcd.clone(), config)).await?;
        Ok(Tenure::new(lease, keeper))
    }

    /// Puts the key, or makes it say what it shall.
    async fn announce(&self, lease: i64) -> Result<Announced, KeyspaceError> {
        let value = self.spec.encode();
        let asked =
            courant_keyspace::announce_before(self.etcd, Some(self.witness), self.key, value.clone(), lease);
        match within("announcing this member", asked).await? {
            // What was announced earlier: another endpoint, or whether we were exiting.
            Announced::Kept { revision, value: kept } if kept != value => {
                let asked = courant_keyspace::update(self.etcd, self.key, value.clone(), revision);
                let revision = within("announcing this member", asked).await?;
                Ok(Announced::Kept { revision, value })
            }
            announced => Ok(announced),
        }
    }

    /// Somebody else has the place: waits a little for that to end.
    async fn wait_for(
        &self,
        lease: i64,
        value: &[u8],
        rival: &mut Option<Rival>,
        began: Instant,
    ) -> Result<(), MemberError> {
        if lease == 0 && self.give_up.is_some() {
            let key = String::from_utf8_lossy(self.key).into_owned();
            return Err(MemberError::Orphaned { id: self.spec.id.clone(), key });
        }
        let endpoint = BrokerSpec::decode(value)
            .map_or_else(|_| "an unknown address".to_owned(), |spec| spec.endpoint.to_string());
        let rival = match rival {
            Some(rival) if rival.lease == lease => rival,
            _ => {
                tracing::warn!(
                    endpoint,
                    lease = format!("{lease:x}"),
                    "the place of this broker is taken; waiting for that lease to run out"
                );
                rival.insert(Rival::new(lease))
            }
        };
        // If it cannot be asked now, a later look will tell.
        let asked = timeout(ANSWER_WITHIN, self.etcd.lease_client().time_to_live(lease, None)).await;
        if let Ok(Ok(answer)) = asked
            && let Ok(left) = u64::try_from(answer.ttl())
            && rival.look(Duration::from_secs(left), began.elapsed())
        {
            return Err(MemberError::Taken { id: self.spec.id.clone(), endpoint, lease });
        }
        sleep(LOOK_EVERY).await;
        Ok(())
    }
}

async fn within<T>(
    action: &str,
    asked: impl Future<Output = Result<T, KeyspaceError>>,
) -> Result<T, KeyspaceError> {
    let late = |_| KeyspaceError::TimedOut { action: action.to_owned(), waited: ANSWER_WITHIN };
    timeout(ANSWER_WITHIN, Box::pin(asked)).await.map_err(late)?
}

/// A key that changed between two requests is looked at again.
fn may_pass(error: &KeyspaceError) -> bool {
    error.is_transient() || error.is_lease_gone() || matches!(error, KeyspaceError::Conflict { .. })
}

pub(crate) fn pause(attempt: u32, jitter: f64) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << attempt.min(8)).min(LONGEST_PAUSE);
    full.mul_f64(0.5 + 0.5 * jitter)
}
