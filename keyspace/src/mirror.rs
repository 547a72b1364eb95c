//! A mirror's handle: the newest snapshot, news of it, and waiting for a revision.
//!
//! It only reads what its [`Feed`] publishes; it never speaks to etcd itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use etcd_client::Client;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::decode::Decoder;
use crate::error::Error;
use crate::etcd::printable;
use crate::feed::Feed;
use crate::revision::Revision;
use crate::snapshot::Snapshot;
use crate::source::Source;
use crate::witness::Witness;

/// How a mirror loads and follows its prefix.
#[derive(Debug, Clone)]
pub struct Config {
    /// Load the prefix as it was at this revision, and let the watch bring the rest. Default: as it is.
    pub load_at: Option<Revision>,
    /// Keys asked for per request while loading.
    pub page_size: i64,
    /// Responses that follow each other within this time are applied as one change.
    pub batch_quiet: Duration,
    /// A change is published at the latest this long after its first response.
    pub batch_limit: Duration,
    /// How long a wait for a revision sleeps before the feed asks etcd whether that revision touched the prefix at all.
    pub probe_after: Duration,
    /// What is held is compared with the store after each watch that broke off, and so often besides. A watch that has left something
    /// out is found out by that at the latest.
    pub verify_every: Duration,
    /// What the store must carry to be the one that is followed. Without it a store that was wiped, and has come further since than the
    /// one before, is taken for it.
    pub witness: Option<Witness>,
    /// No answer to a request, or to the creation of a watch, within this time is a failure.
    pub request_timeout: Duration,
    /// Seed of the spread in the delays between attempts.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            load_at: None,
            page_size: 1000,
            batch_quiet: Duration::from_millis(2),
            batch_limit: Duration::from_millis(30),
            probe_after: Duration::from_millis(100),
            verify_every: Duration::from_secs(300),
            witness: None,
            request_timeout: Duration::from_secs(10),
            seed: 0,
        }
    }
}

/// A handle on the picture of a prefix. Cheap to clone.
#[derive(Debug)]
pub struct Mirror<V> {
    shared: Arc<Shared<V>>,
    news: watch::Receiver<Arc<Snapshot<V>>>,
}

impl<V> Clone for Mirror<V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), news: self.news.clone() }
    }
}

/// Why, and since when, the picture is not being followed.
#[derive(Debug, Clone)]
pub struct Interruption {
    /// When it was first noticed.
    pub since: Instant,
    /// What was in the way at the last attempt.
    pub reason: String,
}

/// What handles and feed have in common.
#[derive(Debug)]
pub(crate) struct Shared<V> {
    snapshot: ArcSwap<Snapshot<V>>,
    interruption: ArcSwapOption<Interruption>,
    pub(crate) asked: Asked,
    probe_after: Duration,
}

/// The greatest revision that somebody has waited for in vain for a while.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    revision: AtomicI64,
    pub(crate) notify: Notify,
}

impl Asked {
    fn ask(&self, revision: Revision) {
        self.revision.fetch_max(revision.get(), Ordering::Relaxed);
        self.notify.notify_one();
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision::new(self.revision.load(Ordering::Relaxed))
    }
}

/// The feed's end: it alone publishes.
#[derive(Debug)]
pub(crate) struct Publisher<V> {
    pub(crate) shared: Arc<Shared<V>>,
    news: watch::Sender<Arc<Snapshot<V>>>,
}

impl<V> Publisher<V> {
    pub(crate) fn current(&self) -> Arc<Snapshot<V>> {
        self.shared.snapshot.load_full()
    }

    pub(crate) fn publish(&self, snapshot: Snapshot<V>) {
        let snapshot = Arc::new(snapshot);
        // First the snapshot, then the news: whoever is woken finds it.
        self.shared.snapshot.store(Arc::clone(&snapshot));
        self.news.send_replace(snapshot);
    }

    /// Notes that the picture is not followed, for as long as nothing else is noted.
    pub(crate) fn interrupted(&self, reason: &str) {
        let interruption = &self.shared.interruption;
        let since = interruption.load().as_ref().map_or_else(Instant::now, |earlier| earlier.since);
        interruption.store(Some(Arc::new(Interruption { since, reason: reason.to_owned() })));
    }

    pub(crate) fn follows(&self) {
        // Every response comes by here, and nearly none ends an interruption.
        if self.shared.interruption.load().is_some() {
            self.shared.interruption.store(None);
        }
    }
}

impl<V: Send + Sync + 'static> Mirror<V> {
    /// Reads the prefix and returns the mirror with the [`Feed`] that must run to keep it current.
    ///
    /// The prefix is taken byte for byte, so a folder of keys is given with its trailing slash; without it the
    /// keys of `/root2/…` would be fetched for `/root`. The client should require a leader
    /// (`ConnectOptions::with_require_leader`): a watch at a member that lost its cluster would show a standing picture.
    ///
    /// # Errors
    ///
    /// What etcd answered, or [`Error::Exchanged`] if it does not carry the witness. Nothing is retried here: at the start, the caller knows
    /// how long it wants to try.
    pub async fn load<D: Decoder<Value = V>>(
        client: Client,
        prefix: impl Into<Vec<u8>>,
        decoder: D,
        config: Config,
    ) -> Result<(Self, Feed<D>), Error> {
        let source = Source::new(client, prefix.into(), decoder, config);
        let snapshot = source.load(None).await?;
        // Asked after it was read: a store that was exchanged before that still is.
        if let Some(witness) = source.config.witness.as_ref()
            && !source.is_the_one().await?
        {
            let action = format!("loading {:?}", printable(&source.prefix));
            return Err(Error::Exchanged { action, key: printable(&witness.key) });
        }
        let (mirror, publisher) = Self::with_publisher(snapshot, source.config.probe_after);
        Ok((mirror, Feed::new(source, publisher)))
    }

    /// A mirror that never changes, for tests of those who read one.
    #[must_use]
    pub fn fixed(snapshot: Snapshot<V>) -> Self {
        Self::with_publisher(snapshot, Duration::ZERO).0
    }

    fn with_publisher(snapshot: Snapshot<V>, probe_after: Duration) -> (Self, Publisher<V>) {
        let snapshot = Arc::new(snapshot);
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::new(Arc::clone(&snapshot)),
            interruption: ArcSwapOption::empty(),
            asked: Asked::default(),
            probe_after,
        });
        let (sender, news) = watch::channel(snapshot);
        (Self { shared: Arc::clone(&shared), news }, Publisher { shared, news: sender })
    }

    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot<V>> {
        self.shared.snapshot.load_full()
    }

    /// Why the picture is not followed at the moment, if it is not. For health checks: a short interruption is
    /// nothing, and a long one means that others may see what we do not.
    #[must_use]
    pub fn interruption(&self) -> Option<Arc<Interruption>> {
        self.shared.interruption.load_full()
    }

    /// News of each snapshot from now on; who is slow sees only the newest. It closes when the feed ends.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot<V>>> {
        let mut news = self.news.clone();
        news.mark_unchanged();
        news
    }

    /// The first snapshot that is known to reflect `revision`; at once if there is one already.
    ///
    /// A revision that touched nothing under the prefix is waited for no longer than it takes to ask etcd.
    /// It waits for as long as etcd is out of reach: a limit, and whether a caller that has gone is still
    /// answered, is the caller's to decide.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] if the feed ended before that.
    pub async fn at_least(&self, revision: impl Into<Revision>) -> Result<Arc<Snapshot<V>>, Error> {
        let revision = revision.into();
        let mut news = self.news.clone();
        loop {
            let snapshot = Arc::clone(&news.borrow_and_update());
            if snapshot.read_through() >= revision {
                return Ok(snapshot);
            }
            match timeout(self.shared.probe_after, news.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    return Err(Error::Stopped { wanted: revision, reached: snapshot.read_through() });
                }
                Err(_) => self.shared.asked.ask(revision),
            }
        }
    }
}
