//! One store: its parts, and how each operation is attempted, bounded, counted, and named in errors.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use courant_proto::fragment::Fragment;
use courant_proto::store::StoreUrl;
use object_store::path::Path;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::answer::Answer;
use super::bucket::Bucket;
use super::counters::{Operation, StoreCounters};
use super::error::StoreError;
use super::health::{Health, HealthStatus};
use super::pace::Pace;
use super::strays::Warned;

/// A fragment store. See the [module](super).
pub struct Store {
    pub(super) url: StoreUrl,
    pub(super) bucket: Bucket,
    pub(super) shared: Arc<Shared>,
    pub(super) counters: StoreCounters,
    pub(super) warned: Mutex<Warned>,
    pub(super) puts: Semaphore,
    pub(super) lists: Semaphore,
    /// Its part of the memory that uploads share.
    pub(super) memory: Arc<Semaphore>,
    pub(super) pace: Mutex<Pace>,
    pub(super) health: watch::Sender<Health>,
    /// Wakes its checks.
    pub(super) doubted: Notify,
    /// Ends the checks of this store alone.
    pub(super) unused: CancellationToken,
    used: AtomicBool,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What a single attempt came to.
pub(super) type Attempted<T> = object_store::Result<T>;

impl Store {
    pub(super) fn new(url: StoreUrl, bucket: Bucket, shared: Arc<Shared>) -> Self {
        Self {
            url,
            bucket,
            counters: StoreCounters::default(),
            warned: Mutex::default(),
            puts: Semaphore::new(shared.config.puts.max(1)),
            lists: Semaphore::new(shared.config.lists.max(1)),
            memory: shared.uploads.of_a_store(),
            pace: Mutex::new(Pace::new(shared.config.upload_requests, shared.config.upload_requests / 5)),
            health: watch::Sender::new(Health::unchecked()),
            doubted: Notify::new(),
            unused: CancellationToken::new(),
            used: AtomicBool::new(true),
            shared,
        }
    }

    /// The URL, as specs have it.
    #[must_use]
    pub fn url(&self) -> &StoreUrl {
        &self.url
    }

    /// Counters of everything it was asked.
    #[must_use]
    pub fn counters(&self) -> &StoreCounters {
        &self.counters
    }

    /// What is known of its health.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Waits for the first check, and says what is known then. Somebody has to run
    /// [`Stores::run`](super::Stores::run).
    pub async fn checked(&self) -> Health {
        let mut health = self.health.subscribe();
        match health.wait_for(|health| health.status != HealthStatus::Unchecked).await {
            Ok(health) => health.clone(),
            // The sender is ours, so it is there for as long as we are.
            Err(_) => self.health(),
        }
    }

    /// A URL by which others read a fragment's object, for so long; a week is the longest. For `file://` that is
    /// its path below the folder of all such stores, for ever. Who has a URL of another store can read the
    /// object: it belongs into no log.
    ///
    /// # Errors
    /// The fragment's path is none that a store should be asked for, or there are no credentials to sign with.
    pub async fn signed_url(&self, fragment: &Fragment, ttl: Duration) -> Result<String, StoreError> {
        let location = self.locate(fragment)?;
        let limit = self.shared.config.operation_limit;
        let sign = || self.bucket.sign(&location, ttl);
        self.attempt(Operation::SignGet, location.as_ref(), limit, sign).await
    }

    /// Removes a fragment's object. That it is not there is no error.
    ///
    /// # Errors
    /// The store refuses or fails.
    pub async fn remove(&self, fragment: &Fragment) -> Result<(), StoreError> {
        let location = self.locate(fragment)?;
        let limit = self.shared.config.operation_limit;
        match self
            .attempt(Operation::Remove, location.as_ref(), limit, || self.bucket.remove(&location))
            .await
        {
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    pub(super) fn locate(&self, fragment: &Fragment) -> Result<Path, StoreError> {
        self.bucket.locate(&fragment.content_path())
    }

    /// Store and path, for errors.
    pub(super) fn object(&self, key: &str) -> String {
        format!("{key} in {}", self.url)
    }

    /// Attempts an operation until it succeeds, fails for good, or has failed often enough.
    pub(super) async fn attempt<T, F>(
        &self,
        operation: Operation,
        key: &str,
        limit: Duration,
        mut call: impl FnMut() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Attempted<T>>,
    {
        let mut failures = 0;
        loop {
            let error = match self.attempt_once(operation, key, limit, call()).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            failures += 1;
            if failures >= self.shared.config.attempts || !error.is_transient() {
                return Err(error);
            }
            tracing::debug!(store = %self.url, %operation, key, failures, %error, "trying again");
            tokio::time::sleep(self.shared.config.backoff.delay(failures, self.shared.random())).await;
        }
    }

    /// Attempts an operation once, and counts it.
    pub(super) async fn attempt_once<T>(
        &self,
        operation: Operation,
        key: &str,
        limit: Duration,
        call: impl Future<Output = Attempted<T>>,
    ) -> Result<T, StoreError> {
        self.bucket.heard.pause.wait().await;
        let began = Instant::now();
        let result = tokio::time::timeout(limit, call).await;
        // That an object is not there is an answer.
        let is_answer = matches!(&result, Ok(Ok(_) | Err(object_store::Error::NotFound { .. })));
        self.counters.attempted(operation, began.elapsed(), is_answer);
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.fault(operation, key, error)),
            Err(_) => Err(StoreError::TimedOut { operation, object: self.object(key), limit }),
        }
    }

    pub(super) fn fault(&self, operation: Operation, key: &str, error: object_store::Error) -> StoreError {
        let object = self.object(key);
        if let object_store::Error::JoinError { .. } = error {
            return StoreError::Cancelled { operation, object };
        }
        let source = Answer::from(error);
        if source.is_no_bucket() {
            StoreError::NoBucket { store: self.url.clone(), source }
        } else if source.is_not_found() {
            StoreError::NotFound { object, source }
        } else {
            StoreError::Failed { operation, object, source }
        }
    }

    pub(super) fn mark_used(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked for since the last call.
    pub(super) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    pub(super) fn stop_checks(&self) {
        self.unused.cancel();
    }
}
