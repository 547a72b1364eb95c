//! The feed of a mirror: has the prefix loaded and watched, batches what comes, publishes.
//!
//! It decides nothing about events (`apply` does), only what to do when etcd is away, has compacted what we
//! need, or contradicts itself: wait, read the prefix again, or give up because another store answers.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::WatchStream;
use futures::future::{BoxFuture, OptionFuture};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::apply::{Oddity, Response, Trouble, apply};
use crate::backoff;
use crate::decode::Decoder;
use crate::error::Error;
use crate::etcd::{self, Message, printable};
use crate::mirror::Publisher;
use crate::revision::Revision;
use crate::source::{Probed, Source, Verified};

/// A watch that was followed for so long ended by a new trouble, not by the last one.
const STEADY: Duration = Duration::from_secs(10);
/// A probe that finds us behind, while the watch stays silent for this long, ends the watch.
const SILENCE_LIMIT: Duration = Duration::from_secs(2);
/// A comparison with the store that failed is made again after this, and each time it fails again after twice as long.
const VERIFY_AGAIN: Duration = Duration::from_secs(5);
/// After a watch that broke off a comparison is made within this: an etcd that has just come back is not asked by everybody at once.
const VERIFY_SPREAD: Duration = Duration::from_secs(5);
/// Of what is odd at one time, so much is logged in full.
pub(crate) const ODDITIES_LOGGED: usize = 5;

/// Keeps a [`crate::Mirror`] current for as long as it runs.
pub struct Feed<D: Decoder> {
    source: Source<D>,
    publisher: Publisher<D::Value>,
    rng: StdRng,
    /// Attempts since etcd last told us something.
    attempt: u32,
    /// When the watch was created that is followed now.
    created: Option<Instant>,
    must_reload: bool,
    /// What is held was compared with the store, or read from it, at this revision.
    verified: Revision,
    /// When it is compared again, and how often that failed since it last did not.
    next_comparison: Instant,
    failed_comparisons: u32,
}

impl<D: Decoder> std::fmt::Debug for Feed<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("prefix", &printable(&self.source.prefix)).finish_non_exhaustive()
    }
}

/// Why following has to begin anew.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    /// Watch again from where we are.
    #[error("{0}")]
    Watch(String),
    /// Read the prefix again first.
    #[error("{0}")]
    Reload(String),
    /// There is no going on.
    #[error("{0}")]
    Fatal(Trouble),
}

impl From<Trouble> for Interrupted {
    fn from(trouble: Trouble) -> Self {
        if trouble.is_fatal() { Self::Fatal(trouble) } else { Self::Reload(trouble.to_string()) }
    }
}

impl<D: Decoder> Feed<D> {
    pub(crate) fn new(source: Source<D>, publisher: Publisher<D::Value>) -> Self {
        let rng = StdRng::seed_from_u64(source.config.seed);
        let verified = publisher.current().read_through();
        let mut feed = Self {
            source,
            publisher,
            rng,
            attempt: 0,
            created: None,
            must_reload: false,
            verified,
            next_comparison: Instant::now(),
            failed_comparisons: 0,
        };
        feed.next_comparison = feed.after_a_comparison();
        feed
    }

    /// Follows the prefix until `cancel`. Outages of etcd are waited out, however long.
    ///
    /// # Errors
    ///
    /// [`Error::Mirror`] if another cluster answers, or the store went back in time.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<(), Error> {
        let prefix = printable(&self.source.prefix);
        cancel
            .run_until_cancelled(async {
                loop {
                    let trouble = match self.follow().await {
                        Interrupted::Fatal(trouble) => {
                            return Err(Error::Mirror { prefix: prefix.clone(), trouble });
                        }
                        Interrupted::Reload(reason) => {
                            self.must_reload = true;
                            reason
                        }
                        Interrupted::Watch(reason) => reason,
                    };
                    self.publisher.interrupted(&trouble);
                    if self.created.take().is_some_and(|created| created.elapsed() > STEADY) {
                        self.attempt = 0;
                    }
                    let delay = backoff::delay(self.attempt, self.rng.random());
                    info!(
                        prefix,
                        attempt = self.attempt,
                        ?delay,
                        reason = trouble,
                        reload = self.must_reload,
                        "watch interrupted"
                    );
                    self.attempt = self.attempt.saturating_add(1);
                    sleep(delay).await;
                }
            })
            .await
            .unwrap_or(Ok(()))
    }

    /// Loads if it must, watches, and publishes until something is in the way.
    async fn follow(&mut self) -> Interrupted {
        match self.try_follow().await {
            Ok(never) => match never {},
            Err(interrupted) => interrupted,
        }
    }

    async fn try_follow(&mut self) -> Result<std::convert::Infallible, Interrupted> {
        if self.must_reload {
            self.reload().await?;
        }
        let from = self.publisher.current().resume_at();
        let mut stream =
            self.source.watch(from).await.map_err(|error| Interrupted::Watch(error.to_string()))?;
        // Asked of a store that was there when the watch was: nothing of another one's is ever applied.
        self.see_witness().await?;
        self.created = Some(Instant::now());
        let shared = Arc::clone(&self.publisher.shared);
        let mut probe: OptionFuture<BoxFuture<'static, Result<Probed, Error>>> = None.into();
        let mut probing = false;
        let mut next_probe = Instant::now();
        let mut behind_since: Option<(Revision, Instant)> = None;
        let mut comparison: OptionFuture<BoxFuture<'static, Result<Verified, Error>>> = None.into();
        let mut comparing = false;
        // What a watch that broke off had on its way may have been left out.
        let soon = Instant::now() + VERIFY_SPREAD.mul_f64(self.rng.random());
        self.next_comparison = self.next_comparison.min(soon);
        loop {
            tokio::select! {
                message = stream.message() => {
                    let first = next(message)?;
                    self.gather(first, &mut stream).await?;
                }
                () = wait_until_asked(&shared.asked.notify, next_probe), if !probing => {
                    let current = self.publisher.current();
                    if shared.asked.revision() > current.read_through() {
                        probe = Some(self.source.probe(&current)).into();
                        probing = true;
                    }
                }
                Some(probed) = &mut probe, if probing => {
                    probe = None.into();
                    probing = false;
                    next_probe = Instant::now() + self.source.config.probe_after;
                    self.probed(probed, &mut behind_since)?;
                }
                () = sleep_until(self.next_comparison), if !comparing => {
                    let current = self.publisher.current();
                    if current.read_through() > self.verified {
                        comparison = Some(self.source.verify(current)).into();
                        comparing = true;
                    } else {
                        self.next_comparison = self.after_a_comparison();
                    }
                }
                Some(compared) = &mut comparison, if comparing => {
                    comparison = None.into();
                    comparing = false;
                    let failed = self.compared(compared)?;
                    self.failed_comparisons = if failed { self.failed_comparisons.saturating_add(1) } else { 0 };
                    self.next_comparison = self.after_a_comparison();
                    if failed {
                        let again = verify_again(self.failed_comparisons, self.rng.random());
                        self.next_comparison = self.next_comparison.min(Instant::now() + again);
                    }
                }
            }
        }
    }

    /// Members of a cluster do not all compare at the same time.
    fn after_a_comparison(&mut self) -> Instant {
        Instant::now() + self.source.config.verify_every.mul_f64(0.5 + self.rng.random::<f64>())
    }

    /// What a comparison with the store came to; whether it has to be made again soon.
    fn compared(&mut self, compared: Result<Verified, Error>) -> Result<bool, Interrupted> {
        match compared {
            Ok(Verified { revision, is_same: true }) => self.verified = self.verified.max(revision),
            // The second half of the newest revision may be on its way; reading again does no harm.
            Ok(Verified { revision, is_same: false }) => {
                return Err(Interrupted::Reload(format!(
                    "what was told up to revision {revision} is not what the store held"
                )));
            }
            Err(Error::Etcd { source, .. }) if etcd::is_compacted(&source) => {
                return Err(Interrupted::Reload("compacted before it could be compared".to_owned()));
            }
            Err(error) => {
                debug!(%error, "could not compare what is held with the store");
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn see_witness(&self) -> Result<(), Interrupted> {
        match self.source.is_the_one().await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Interrupted::Fatal(Trouble::WitnessMissing)),
            Err(error) => Err(Interrupted::Watch(error.to_string())),
        }
    }

    async fn reload(&mut self) -> Result<(), Interrupted> {
        let previous = self.publisher.current();
        let loaded = match self.source.load(Some(&previous)).await {
            Ok(loaded) => loaded,
            Err(Error::Etcd { source, .. }) if etcd::is_compacted(&source) => {
                return Err(Interrupted::Reload("compacted while loading".to_owned()));
            }
            Err(error) => return Err(Interrupted::Watch(error.to_string())),
        };
        let (was, is) = (previous.header(), loaded.header());
        if was.cluster_id != is.cluster_id {
            let trouble = Trouble::ClusterMismatch { expected: was.cluster_id, got: is.cluster_id };
            return Err(Interrupted::Fatal(trouble));
        }
        // The read was agreed upon by the whole cluster, so this is no laggard: the store has gone back.
        if is.revision < previous.read_through() {
            let expected = previous.read_through();
            let trouble = Trouble::RevisionMismatch { expected, got: is.revision };
            return Err(Interrupted::Fatal(trouble));
        }
        if let Some((held, got)) = loaded.key_before(&previous) {
            return Err(Interrupted::Fatal(Trouble::KeyWentBack { held, got }));
        }
        // A store that was exchanged before the read still is.
        self.see_witness().await?;
        info!(prefix = printable(&self.source.prefix), revision = %is.revision, keys = loaded.len(), "prefix read again");
        self.must_reload = false;
        self.verified = is.revision;
        self.failed_comparisons = 0;
        self.publisher.publish(loaded);
        Ok(())
    }

    /// Applies a message together with those that follow it closely.
    async fn gather(&mut self, first: Message, stream: &mut WatchStream) -> Result<(), Interrupted> {
        let config = &self.source.config;
        let limit = Instant::now() + config.batch_limit;
        let mut responses = Vec::new();
        let mut message = first;
        // What was gathered is applied even if the stream then breaks.
        let ended = loop {
            match message {
                Message::Response(response) => responses.push(response),
                Message::Cancelled { reason, compacted: true } => break Some(Interrupted::Reload(reason)),
                Message::Cancelled { reason, compacted: false } => break Some(Interrupted::Watch(reason)),
            }
            // Progress and the watch's creation have nothing to wait for.
            if responses.iter().all(|response| response.events.is_empty()) {
                break None;
            }
            let quiet = (Instant::now() + config.batch_quiet).min(limit);
            match timeout_at(quiet, stream.message()).await {
                Ok(received) => match next(received) {
                    Ok(received) => message = received,
                    Err(interrupted) => break Some(interrupted),
                },
                Err(_) => break None,
            }
        };
        self.apply(responses)?;
        ended.map_or(Ok(()), Err)
    }

    fn apply(&mut self, responses: Vec<Response>) -> Result<(), Interrupted> {
        if responses.is_empty() {
            return Ok(());
        }
        let news = responses.iter().any(|response| !response.events.is_empty() || !response.created);
        let current = self.publisher.current();
        let applied = apply(&current, &self.source.decoder, responses)?;
        let (was, is) = (current.header(), applied.snapshot.header());
        if (was.member_id, was.raft_term) != (is.member_id, is.raft_term) {
            info!(member_id = is.member_id, raft_term = is.raft_term, "etcd member or raft term changed");
        }
        log(&applied.oddities);
        self.publisher.follows();
        let gap = applied.oddities.iter().any(Oddity::is_gap);
        if news {
            self.attempt = 0;
            self.publisher.publish(applied.snapshot);
        }
        if gap {
            return Err(Interrupted::Reload("the watch has left out an event".to_owned()));
        }
        Ok(())
    }

    fn probed(
        &mut self,
        probed: Result<Probed, Error>,
        behind_since: &mut Option<(Revision, Instant)>,
    ) -> Result<(), Interrupted> {
        let current = self.publisher.current();
        match probed {
            Err(error) => debug!(%error, "could not ask for progress"),
            Ok(Probed::Unchanged { snapshot, now }) => {
                *behind_since = None;
                // Events that came meanwhile tell the same, and more.
                if snapshot == current.revision() {
                    self.publisher.publish(current.proven_at(now));
                }
            }
            Ok(Probed::Behind { snapshot }) if snapshot == current.revision() => {
                let (revision, since) = *behind_since.get_or_insert((snapshot, Instant::now()));
                if revision != snapshot {
                    *behind_since = Some((snapshot, Instant::now()));
                } else if since.elapsed() > SILENCE_LIMIT {
                    return Err(Interrupted::Watch("the watch is silent while keys change".to_owned()));
                }
            }
            Ok(Probed::Behind { .. }) => *behind_since = None,
        }
        Ok(())
    }
}

/// How long after comparisons that failed, so many in a row, the next is made. With `jitter` in `[0, 1)`.
fn verify_again(failures: u32, jitter: f64) -> Duration {
    let full = VERIFY_AGAIN.saturating_mul(1 << failures.saturating_sub(1).min(8));
    full.mul_f64(0.5 + 0.5 * jitter)
}

async fn wait_until_asked(notify: &tokio::sync::Notify, earliest: Instant) {
    sleep_until(earliest).await;
    notify.notified().await;
}

fn next(
    message: Result<Option<etcd_client::WatchResponse>, etcd_client::Error>,
) -> Result<Message, Interrupted> {
    match message {
        Ok(Some(message)) => etcd::message(message).map_err(|error| Interrupted::Watch(error.to_string())),
        Ok(None) => Err(Interrupted::Watch("the watch stream has ended".to_owned())),
        Err(error) => Err(Interrupted::Watch(error.to_string())),
    }
}

fn log(oddities: &[Oddity]) {
    for oddity in oddities.iter().take(ODDITIES_LOGGED) {
        match oddity {
            Oddity::Repeated { key, mod_revision } => {
                debug!(key = printable(key), %mod_revision, "event repeated");
            }
            Oddity::UnknownDelete { key, mod_revision } => {
                warn!(key = printable(key), %mod_revision, "unexpected deletion of unknown key");
            }
            Oddity::MissedCreation { key, version, mod_revision } => {
                warn!(key = printable(key), version, %mod_revision, "unknown key was not just created");
            }
            Oddity::MissedUpdate { key, expected, version, mod_revision } => {
                warn!(key = printable(key), expected, version, %mod_revision, "update does not follow on the last one");
            }
            Oddity::Undecodable { key, reason, mod_revision } => {
                warn!(key = printable(key), reason, %mod_revision, "entry set aside: its value could not be decoded");
            }
        }
    }
    if let Some(more) = oddities.len().checked_sub(ODDITIES_LOGGED).filter(|more| *more > 0) {
        warn!(more, "further events were odd");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_that_fail_are_made_ever_more_seldom_and_not_by_all_at_once() {
        assert!(verify_again(1, 0.0) < verify_again(1, 0.9));
        assert!(verify_again(1, 0.99) <= VERIFY_AGAIN);
        assert!((1..12).all(|failures| verify_again(failures, 0.5) <= verify_again(failures + 1, 0.5)));
        assert_eq!(verify_again(3, 0.5), VERIFY_AGAIN.mul_f64(3.0));
    }
}
