//! A lease of ours: granted or taken up again, kept alive, and believed only for as long as our own clock allows.
//!
//! etcd counts a lease's time from when it *handled* a renewal, we count it from when we *sent* it, which is earlier. So
//! whoever stops at [`Lease::deadline`] has stopped before etcd gives the leased keys to somebody else. A renewal that
//! comes late, while etcd still holds the lease, moves the deadline on: nothing was given away.
//!
//! The clock is the runtime's and stands still while the machine is suspended; after that, the first renewal tells.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, LeaseKeepAliveStream, LeaseKeeper as Renewals};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::Error;
use crate::fence::Fence;

/// Attempts to renew within one time to live.
const RENEWALS_PER_TTL: u32 = 3;

/// The pause after a renewal that failed. Time runs then, and an etcd that is back shall be found soon.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// No answer to a renewal within this time is a failure.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How a lease is had and kept.
#[derive(Clone)]
pub struct LeaseConfig {
    /// For how long etcd keeps the lease without a renewal; whole seconds, at least one.
    pub ttl: Duration,
    /// A lease of an earlier process to go on with, if it still lives.
    pub adopt: Option<i64>,
    /// Asked before every renewal: a process that is not well lets its lease run out instead of holding on to what it
    /// cannot serve.
    pub gate: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
    /// Is told of every confirmed renewal, and of the loss.
    pub fence: Option<Fence>,
    /// Seed of the spread in the delays between attempts.
    pub seed: u64,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(20), adopt: None, gate: None, fence: None, seed: 0 }
    }
}

impl std::fmt::Debug for LeaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaseConfig")
            .field("ttl", &self.ttl)
            .field("adopt", &self.adopt)
            .field("gate", &self.gate.is_some())
            .finish_non_exhaustive()
    }
}

/// What is known of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// etcd holds it at least until then.
    Held {
        /// By our clock.
        until: Instant,
    },
    /// etcd has said that it is gone.
    Lost,
}

/// A handle on a lease. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lease {
    id: i64,
    ttl: Duration,
    adopted: bool,
    client: ClientHandle,
    state: watch::Receiver<LeaseState>,
}

/// Keeps a [`Lease`] alive for as long as it runs.
#[derive(Debug)]
pub struct LeaseKeeper {
    id: i64,
    /// As granted, which for an adopted lease need not be as configured.
    ttl: Duration,
    config: LeaseConfig,
    client: ClientHandle,
    state: watch::Sender<LeaseState>,
}

/// A client, which has no `Debug` of its own.
#[derive(Clone)]
struct ClientHandle(Client);

impl std::fmt::Debug for ClientHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Lease {
    /// Takes up the lease `config.adopt` again if it lives, or is granted a new one. The [`LeaseKeeper`] must run to keep it.
    ///
    /// # Errors
    ///
    /// What etcd answered; nothing is retried here.
    pub async fn establish(client: Client, config: LeaseConfig) -> Result<(Self, LeaseKeeper), Error> {
        let handle = ClientHandle(client);
        if let Some(id) = config.adopt {
            let sent = Instant::now();
            if let Some((_, _, ttl)) = Box::pin(open(&handle.0, id)).await? {
                info!(lease = format!("{id:x}"), ?ttl, "took up the lease again");
                return Ok(Self::assemble(handle, config, id, true, ttl, sent));
            }
        }
        let sent = Instant::now();
        let seconds = i64::try_from(config.ttl.as_secs()).unwrap_or(i64::MAX).max(1);
        let granted = handle
            .0
            .lease_client()
            .grant(seconds, None)
            .await
            .map_err(|source| Error::etcd("establishing a lease", source))?;
        let (id, ttl) = (granted.id(), seconds_of(granted.ttl()));
        info!(lease = format!("{id:x}"), ?ttl, "lease granted");
        Ok(Self::assemble(handle, config, id, false, ttl, sent))
    }

    fn assemble(
        client: ClientHandle,
        config: LeaseConfig,
        id: i64,
        adopted: bool,
        ttl: Duration,
        sent: Instant,
    ) -> (Self, LeaseKeeper) {
        let (sender, state) = watch::channel(LeaseState::Held { until: sent + ttl });
        if let Some(fence) = &config.fence {
            fence.renewed(sent, ttl);
        }
        let keeper = LeaseKeeper { id, ttl, config, client: client.clone(), state: sender };
        (Self { id, ttl, adopted, client, state }, keeper)
    }

    /// The id that keys are put under.
    #[must_use]
    pub const fn id(&self) -> i64 {
        self.id
    }

    /// The time to live that etcd granted.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Whether it is the lease of an earlier process.
    #[must_use]
    pub const fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// Until when nobody else can have been given what is ours: the last confirmed renewal's sending, plus the time
    /// to live. `None` once the lease is lost.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match *self.state.borrow() {
            LeaseState::Held { until } => Some(until),
            LeaseState::Lost => None,
        }
    }

    /// Whether what is under the lease is certainly still ours.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.deadline().is_some_and(|deadline| Instant::now() < deadline)
    }

    /// News of every renewal, and of the loss. It closes when the keeper ends.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<LeaseState> {
        self.state.clone()
    }

    /// Gives the lease up, which deletes every key under it. For an orderly exit, after the keeper was cancelled.
    ///
    /// # Errors
    ///
    /// What etcd answered. A lease that is gone already is none.
    pub async fn revoke(&self) -> Result<(), Error> {
        revoke(&self.client.0, self.id).await
    }
}

/// Gives a lease up by its id; see [`Lease::revoke`].
///
/// # Errors
///
/// What etcd answered. A lease that is gone already is none.
pub async fn revoke(client: &Client, id: i64) -> Result<(), Error> {
    match client.lease_client().revoke(id).await {
        Ok(_) => Ok(()),
        Err(source) => {
            let error = Error::etcd(format!("revoking lease {id:x}"), source);
            if error.is_lease_gone() { Ok(()) } else { Err(error) }
        }
    }
}

type Stream = (Renewals, LeaseKeepAliveStream);

impl LeaseKeeper {
    /// Renews the lease until `cancel`; while etcd is away it goes on trying, also past the deadline.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`] when etcd says that the lease is gone.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        cancel.run_until_cancelled(Box::pin(self.keep())).await.unwrap_or(Ok(()))
    }

    async fn keep(self) -> Result<(), Error> {
        let mut rng = StdRng::seed_from_u64(self.config.seed);
        let interval = self.ttl.max(Duration::from_secs(1)) / RENEWALS_PER_TTL;
        let patience = interval.min(ANSWER_WITHIN);
        let mut stream: Option<Stream> = None;
        let mut pause = interval;
        loop {
            // Early by up to a quarter, so that many leases do not renew in step.
            sleep(pause.mul_f64(0.75 + 0.25 * rng.random::<f64>())).await;
            pause = interval;
            if self.config.gate.as_ref().is_some_and(|gate| !gate()) {
                warn!(lease = format!("{:x}", self.id), "not renewing: this process is not well");
                continue;
            }
            let sent = Instant::now();
            match timeout(patience, self.renew(&mut stream)).await {
                Ok(Ok(Some(ttl))) => {
                    if let Some(fence) = &self.config.fence {
                        fence.renewed(sent, ttl);
                    }
                    self.state.send_replace(LeaseState::Held { until: sent + ttl });
                }
                Ok(Ok(None)) => {
                    if let Some(fence) = &self.config.fence {
                        fence.lost();
                    }
                    self.state.send_replace(LeaseState::Lost);
                    return Err(Error::LeaseLost { id: self.id });
                }
                // An answer to this request may still come, and would be taken for one to the next: begin a new stream.
                Ok(Err(error)) => {
                    stream = None;
                    pause = interval.min(RETRY_AFTER);
                    warn!(%error, "could not renew the lease");
                }
                Err(_) => {
                    stream = None;
                    pause = interval.min(RETRY_AFTER);
                    warn!(lease = format!("{:x}", self.id), waited = ?patience, "no answer to a lease renewal");
                }
            }
        }
    }

    /// Renews once, on the stream there is or on a new one. `None`: there is no such lease.
    async fn renew(&self, stream: &mut Option<Stream>) -> Result<Option<Duration>, Error> {
        if let Some((renewals, answers)) = stream {
            let action = || format!("renewing lease {:x}", self.id);
            renewals.keep_alive().await.map_err(|source| Error::etcd(action(), source))?;
            let answer = answers.message().await.map_err(|source| Error::etcd(action(), source))?;
            let answer = answer.ok_or_else(|| Error::Malformed { action: action(), missing: "message" })?;
            return Ok((answer.ttl() > 0).then(|| seconds_of(answer.ttl())));
        }
        let Some((renewals, answers, ttl)) = Box::pin(open(&self.client.0, self.id)).await? else {
            return Ok(None);
        };
        *stream = Some((renewals, answers));
        Ok(Some(ttl))
    }
}

/// Opens a stream of renewals with a first one. `None`: there is no such lease.
async fn open(client: &Client, id: i64) -> Result<Option<(Renewals, LeaseKeepAliveStream, Duration)>, Error> {
    let action = || format!("renewing lease {id:x}");
    let mut leases = client.lease_client();
    let opened = leases.keep_alive(id).await;
    // The client does not tell the time that was granted, nor "no such lease" from other failures: ask.
    let asked = leases.time_to_live(id, None).await.map_err(|source| Error::etcd(action(), source))?;
    if asked.ttl() <= 0 {
        return Ok(None);
    }
    let (renewals, answers) = opened.map_err(|source| Error::etcd(action(), source))?;
    Ok(Some((renewals, answers, seconds_of(asked.granted_ttl()))))
}

fn seconds_of(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}
