//! Fragment stores: folders and buckets in which fragments lie as plain objects.
//!
//! ```text
//!   StoreUrl ──► Stores ──► Store ── list, open, put, sign, remove ──► Bucket ──► folder, cloud
//!                  │          └── health: looked at on a schedule
//!                  └── one Store per URL, for as long as somebody uses it
//! ```
//!
//! [`Stores`] is the process's set of them; [`Stores::run`] looks after their health. A [`Store`] adds to the
//! library's store what a broker must be able to rely on: deadlines and attempts for everything, names that
//! cannot lead anywhere else, listings that are whole or fail, content that is what its name promises, and
//! uploads that may be repeated by anybody.
//!
//! It does not know when a fragment is due, nor who reads one. Adapters are files below this module, one for
//! each scheme.

mod access;
mod answer;
mod arguments;
mod attempt;
mod azure;
mod bucket;
mod check;
mod counters;
mod environment;
mod error;
mod file;
mod gs;
mod health;
mod list;
mod pace;
mod page;
mod parts;
mod pause;
mod put;
mod read;
mod s3;
mod strays;
#[cfg(test)]
pub(crate) mod tests;
mod transport;
mod uploads;
mod vouch;
mod walk;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use courant_proto::store::{StoreScheme, StoreUrl};
use courant_proto::time::Clock;
use object_store::RetryConfig;
use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use access::Store;
pub use answer::Answer;
pub use arguments::object_key;
pub use attempt::Backoff;
pub use counters::{Histogram, Operation, OperationCounters, StoreCounters, StrayReason};
pub use environment::Environment;
pub use error::{Cause, StoreError};
pub use health::{Health, HealthStatus, next_check};
pub use put::PutOutcome;
pub use read::FragmentReader;
use transport::Transport;
pub use uploads::UploadCounters;
use uploads::Uploads;
pub use walk::Entry;

/// A store that nobody asked for between two sweeps, and nobody holds, is let go.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// Where stores lie and what they are given.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder below which `file://` stores lie. It must exist. None: there are no such stores.
    pub file_root: Option<PathBuf>,
    /// Where the credentials of stores in clouds are looked for.
    pub environment: Environment,
    /// Where connections to stores live. None: where they are first needed.
    pub connections: Option<Handle>,
    /// A small operation may take so long.
    pub operation_limit: Duration,
    /// A store may be silent for so long in the middle of a body or a listing.
    pub silence_limit: Duration,
    /// A whole listing may take so long.
    pub list_limit: Duration,
    /// An upload may take so long.
    pub put_limit: Duration,
    /// Attempts at an operation that fails in passing. Uploads are the persister's to repeat.
    pub attempts: u32,
    /// Delays between them.
    pub backoff: Backoff,
    /// Uploads to one store at a time.
    pub puts: usize,
    /// Listings of one store at a time.
    pub lists: usize,
    /// Bytes of uploads in memory, over all stores.
    pub upload_memory: u64,
    /// Requests of uploads in a second, to one store; zero is any number. A fifth of them may come at once.
    pub upload_requests: u32,
    /// Pieces encoded at a time, over all stores: codecs leave processors to others.
    pub encodes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file_root: None,
            environment: Environment::default(),
            connections: None,
            operation_limit: Duration::from_secs(60),
            silence_limit: Duration::from_secs(60),
            list_limit: Duration::from_secs(10 * 60),
            put_limit: Duration::from_secs(5 * 60),
            attempts: 3,
            backoff: Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(10) },
            puts: 32,
            lists: 8,
            upload_memory: 128 << 20,
            upload_requests: 1_500,
            encodes: 2,
        }
    }
}

/// What stores that are reached over HTTP need besides their URL.
#[derive(Debug)]
struct Cloud {
    environment: Environment,
    transport: Transport,
    clock: Arc<dyn Clock>,
}

/// The library's own way of trying again, switched off: attempts, delays and ends are ours.
fn once() -> RetryConfig {
    RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, ..RetryConfig::default() }
}

/// What all stores of a process share.
struct Shared {
    config: Config,
    cloud: Cloud,
    clock: Arc<dyn Clock>,
    rng: Mutex<StdRng>,
    encodes: Arc<Semaphore>,
    uploads: Uploads,
    /// Times of paces count from here.
    began: Instant,
}

impl Shared {
    /// Drawn evenly from 0 to 1.
    fn random(&self) -> f64 {
        self.rng.lock().random()
    }
}

/// The stores of a process, each once.
pub struct Stores {
    shared: Arc<Shared>,
    open: Mutex<Open>,
    /// Wakes [`Stores::run`] for a store that was opened.
    opened: Notify,
}

#[derive(Default)]
struct Open {
    stores: HashMap<StoreUrl, Arc<Store>>,
    /// Opened, and not yet looked after.
    unattended: Vec<Arc<Store>>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("open", &self.open.lock().stores.len()).finish_non_exhaustive()
    }
}

impl Stores {
    /// No store is open yet. `rng` draws jitter, and nothing that must be secret.
    #[must_use]
    pub fn new(config: Config, clock: Arc<dyn Clock>, rng: StdRng) -> Self {
        let encodes = Arc::new(Semaphore::new(config.encodes.max(1)));
        let (uploads, began) = (Uploads::new(config.upload_memory), Instant::now());
        let cloud = Cloud {
            environment: config.environment.clone(),
            transport: Transport::new(config.connections.clone(), Arc::clone(&clock), config.silence_limit),
            clock: Arc::clone(&clock),
        };
        Self {
            shared: Arc::new(Shared { config, cloud, clock, rng: Mutex::new(rng), encodes, uploads, began }),
            open: Mutex::default(),
            opened: Notify::new(),
        }
    }

    /// The store of a URL, which is opened if it is not. All who ask get the same one; that it cannot be
    /// opened is not remembered, and the next one who asks tries again. May block on the file system when it
    /// opens one.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub fn get(&self, url: &StoreUrl) -> Result<Arc<Store>, StoreError> {
        if let Some(store) = self.open.lock().stores.get(url) {
            store.mark_used();
            return Ok(Arc::clone(store));
        }
        // Without the lock, which every read of a stored fragment takes. Of two who open it, one was first.
        let bucket = match url.scheme() {
            StoreScheme::File => {
                file::open(url, self.shared.config.file_root.as_deref(), Arc::clone(&self.shared.clock))?
            }
            StoreScheme::S3 => s3::open(url, &self.shared.cloud)?,
            StoreScheme::Gs => gs::open(url, &self.shared.cloud)?,
            StoreScheme::Azure => azure::open(url, &self.shared.cloud)?,
            StoreScheme::AzureAd => azure::open_as_application(url, &self.shared.cloud)?,
        };
        let opened = Arc::new(Store::new(url.clone(), bucket, Arc::clone(&self.shared)));
        let mut open = self.open.lock();
        if let Some(store) = open.stores.get(url) {
            return Ok(Arc::clone(store));
        }
        open.stores.insert(url.clone(), Arc::clone(&opened));
        open.unattended.push(Arc::clone(&opened));
        drop(open);
        self.opened.notify_one();
        Ok(opened)
    }

    /// What is known of the health of a store that is open. It opens none, and never blocks.
    #[must_use]
    pub fn known_health(&self, url: &StoreUrl) -> Option<Health> {
        self.open.lock().stores.get(url).map(|store| store.health())
    }

    /// What uploads have in memory.
    #[must_use]
    pub fn uploads(&self) -> &Arc<UploadCounters> {
        self.shared.uploads.counters()
    }

    /// Waits until another piece may be encoded.
    pub async fn encode_permit(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed, so it always grants.
        Arc::clone(&self.shared.encodes).acquire_owned().await.ok()
    }

    /// The stores which are open (`gazette_store_active` is their number), for who exports their counters.
    #[must_use]
    pub fn open_stores(&self) -> Vec<Arc<Store>> {
        self.open.lock().stores.values().cloned().collect()
    }

    /// Looks after the health of every store until cancelled, and lets go of those that nobody uses.
    pub async fn run(&self, cancel: CancellationToken) {
        let mut checks = JoinSet::new();
        let mut sweep = tokio::time::interval_at(tokio::time::Instant::now() + SWEEP_EVERY, SWEEP_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            for store in std::mem::take(&mut self.open.lock().unattended) {
                let cancel = cancel.clone();
                checks.spawn(async move { store.check_for_ever(cancel).await });
            }
            tokio::select! {
                () = cancel.cancelled() => break,
                () = self.opened.notified() => {}
                Some(_) = checks.join_next() => {}
                _ = sweep.tick() => self.sweep(),
            }
        }
        // Each of them sees the same cancellation.
        while checks.join_next().await.is_some() {}
    }

    /// Lets go of stores that were not asked for since the last sweep and that nobody holds.
    fn sweep(&self) {
        let mut gone = Vec::new();
        self.open.lock().stores.retain(|_, store| {
            // One reference is ours and one is its checks'.
            let is_used = store.take_used() || Arc::strong_count(store) > 2;
            if !is_used {
                gone.push(Arc::clone(store));
            }
            is_used
        });
        for store in gone {
            tracing::info!(store = %store.url(), "fragment store is not used any more");
            store.stop_checks();
        }
    }
}
