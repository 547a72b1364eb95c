//! Looking at everything that lies in a store, whosever it is.

use courant_proto::name::JournalName;
use futures::stream::{BoxStream, StreamExt as _};

use super::access::Store;
use super::counters::Operation;
use super::error::StoreError;

/// An object of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key, or its path below the folder of all such stores.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
}

impl Store {
    /// Where a journal's fragments lie: what their keys begin with, up to a slash.
    #[must_use]
    pub fn folder(&self, journal: &JournalName) -> String {
        self.bucket.key(&format!("{journal}/"))
    }

    /// Every object below the store's own place, as the store lists them. A cloud's is held a page at a time.
    ///
    /// # Errors
    /// The listing cannot begin. An item is an error where it breaks off, and the last then.
    pub async fn walk(&self) -> Result<BoxStream<'_, Result<Entry, StoreError>>, StoreError> {
        let prefix = self.bucket.prefix.clone();
        let limit = self.shared.config.list_limit;
        let pages = self.attempt(Operation::List, &prefix, limit, || self.bucket.list(&prefix)).await?;
        let silence = self.shared.config.silence_limit;
        let walk = futures::stream::try_unfold(pages, move |mut pages| {
            let prefix = prefix.clone();
            async move {
                let next = self.attempt_once(Operation::List, &prefix, silence, async {
                    pages.next().await.transpose()
                });
                let entry = next.await?.map(|entry| Entry { key: entry.key, size: entry.size });
                Ok(entry.map(|entry| (entry, pages)))
            }
        });
        Ok(walk.boxed())
    }
}
