//! Looking whether a store works, by using it.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use object_store::Attributes;
use object_store::path::Path;
use std::sync::atomic::Ordering;
use tokio_util::sync::CancellationToken;

use super::access::Store;
use super::counters::Operation;
use super::error::StoreError;
use super::health::{HealthStatus, next_check};

const CHECK_FOLDER: &str = ".test/";
const CHECK_NAME: &str = "health-check";
const CHECK_CONTENT: &[u8] = b"health-check\n";
const PROBE_NAME: &str = ".gazette-delete-probe";
const PROBE_CONTENT: &[u8] = b"gazette-delete-probe\n";
/// A check, or a probe, may take so long.
const LIMIT: Duration = Duration::from_secs(60);
/// The URL of a check is valid for so long.
const SIGNED_FOR: Duration = Duration::from_secs(5 * 60);
/// A store that is doubted is checked so long after the last time.
const DOUBTED: Duration = Duration::from_secs(3);
/// A check of a store that failed the one before may take so long: it is asked again soon.
const LIMIT_FAILING: Duration = Duration::from_secs(15);

impl Store {
    /// Checks now and on schedule, until cancelled or until nobody uses the store.
    pub(super) async fn check_for_ever(&self, cancel: CancellationToken) {
        loop {
            let check = tokio::select! {
                check = self.check_within(if self.health().failures > 1 { LIMIT_FAILING } else { LIMIT }) => check,
                () = self.unused.cancelled() => break,
                () = cancel.cancelled() => break,
            };
            let counter = if check.is_ok() { &self.counters.health_ok } else { &self.counters.health_error };
            counter.fetch_add(1, Ordering::Relaxed);
            let health = self.health().after(check);
            if let Some(error) = health.error() {
                tracing::warn!(store = %self.url, failures = health.failures, error, "fragment store is not healthy");
            }
            let delay = next_check(health.failures, self.shared.random());
            self.health.send_replace(health);
            // Doubts of a store that has just been checked wait a little: many uploads fail together.
            let doubted = async {
                tokio::time::sleep(DOUBTED).await;
                self.doubted.notified().await;
            };
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = doubted => {}
                () = self.unused.cancelled() => break,
                () = cancel.cancelled() => break,
            }
        }
        self.health.send_modify(|health| health.status = HealthStatus::Stopped);
    }

    /// Says that an upload has failed: the store is checked soon, however long ago it was found to work.
    pub(crate) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Writes an object, reads it back, lists it, and signs for it.
    ///
    /// # Errors
    /// The step that failed, and why, as operators know it from elsewhere.
    pub async fn check(&self) -> Result<(), String> {
        self.check_within(LIMIT).await
    }

    async fn check_within(&self, limit: Duration) -> Result<(), String> {
        match tokio::time::timeout(limit, self.check_steps()).await {
            Ok(result) => result,
            Err(_) => Err(format!("health check took longer than {limit:?}")),
        }
    }

    async fn check_steps(&self) -> Result<(), String> {
        let key = format!("{CHECK_FOLDER}{CHECK_NAME}");
        let location =
            self.bucket.locate(&key).map_err(|error| format!("health check PUT failed: {error}"))?;
        let (key, limit) = (location.as_ref(), LIMIT);

        let content = || Bytes::from_static(CHECK_CONTENT);
        self.attempt_once(
            Operation::Put,
            key,
            limit,
            self.bucket.put(&location, content(), &Attributes::new()),
        )
        .await
        .map_err(|error| format!("health check PUT failed: {error}"))?;

        let got = self
            .attempt_once(Operation::Get, key, limit, self.bucket.get(&location, None))
            .await
            .map_err(|error| format!("health check GET failed: {error}"))?;
        let got = got.bytes().await.map_err(|error| format!("health check read failed: {error}"))?;
        if got != CHECK_CONTENT {
            return Err(format!(
                "health check content mismatch: got {:?}, want {:?}",
                String::from_utf8_lossy(&got),
                String::from_utf8_lossy(CHECK_CONTENT)
            ));
        }

        let folder = self.bucket.key(CHECK_FOLDER);
        let entries = self
            .attempt_once(Operation::List, &folder, limit, self.entries(&folder))
            .await
            .map_err(|error| format!("health check LIST failed: {error}"))?;
        if !entries.iter().any(|entry| entry.key == key) {
            return Err("health check LIST did not find test file".to_owned());
        }

        let url = self
            .attempt_once(Operation::SignGet, key, limit, self.bucket.sign(&location, SIGNED_FOR))
            .await
            .map_err(|error| format!("health check SignGet failed: {error}"))?;
        if url.starts_with("http") { self.check_fetch(&url).await } else { Ok(()) }
    }

    /// Reads the object as others do who have its URL.
    async fn check_fetch(&self, url: &str) -> Result<(), String> {
        let fetched = self.shared.cloud.transport.fetch(url).await;
        let (status, got) = fetched.map_err(|error| format!("health check fetch failed: {error}"))?;
        if status != StatusCode::OK {
            return Err(format!("health check fetch returned status {}", status.as_u16()));
        }
        if got != CHECK_CONTENT {
            return Err(format!(
                "health check fetch content mismatch: got {:?}, want {:?}",
                String::from_utf8_lossy(&got),
                String::from_utf8_lossy(CHECK_CONTENT)
            ));
        }
        Ok(())
    }

    /// Probes whether objects below a prefix can be removed: writes one, and removes it. The prefix is empty
    /// or ends in `/`.
    ///
    /// # Errors
    /// The step that failed, and why.
    pub async fn check_delete(&self, prefix: &str) -> Result<(), String> {
        let probe = async {
            let location = self
                .bucket
                .locate(&format!("{prefix}{PROBE_NAME}"))
                .map_err(|error| format!("delete-probe PUT failed: {error}"))?;
            self.probe_delete(&location).await
        };
        match tokio::time::timeout(LIMIT, probe).await {
            Ok(result) => result,
            Err(_) => Err(format!("delete-probe took longer than {LIMIT:?}")),
        }
    }

    async fn probe_delete(&self, location: &Path) -> Result<(), String> {
        let key = location.as_ref();
        self.attempt_once(
            Operation::Put,
            key,
            LIMIT,
            self.bucket.put(location, Bytes::from_static(PROBE_CONTENT), &Attributes::new()),
        )
        .await
        .map_err(|error| format!("delete-probe PUT failed: {error}"))?;
        match self.attempt_once(Operation::Remove, key, LIMIT, self.bucket.remove(location)).await {
            // Another broker's probe was faster.
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(format!("delete-probe DELETE failed: {error}")),
        }
    }
}
