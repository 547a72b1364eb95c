//! Listing a journal's fragments: all of them, or an error.

use courant_proto::fragment::Fragment;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use futures::StreamExt;

use super::access::{Attempted, Store};
use super::counters::{Operation, StrayReason};
use super::error::StoreError;
use super::strays::{Listed, Stray, read_entry};

impl Store {
    /// The fragments of a journal, in the store's order. Objects that are no fragments of it are counted and
    /// left out; of each, a warning is logged once an hour.
    ///
    /// `nested` are the journals that are known to lie below this one in name; their fragments look like ours
    /// in folders, and are left out as well.
    ///
    /// # Errors
    /// The store fails, at whichever page: part of a listing is never returned.
    pub async fn list(
        &self,
        journal: &JournalName,
        nested: &[JournalName],
    ) -> Result<Vec<Fragment>, StoreError> {
        let (fragments, strays) = self.list_all(journal, nested).await?;
        for (key, stray) in strays {
            self.counters.stray(stray.reason);
            if self.warned.lock().is_due(&key, self.shared.clock.now()) {
                tracing::warn!(
                    store = %self.url, %journal, ?key, reason = %stray.detail,
                    "skipping an object that is no fragment of its journal"
                );
            }
        }
        Ok(fragments)
    }

    /// Counts a listed fragment that a broker does not believe in, as it ends above the journal's head, and warns of it once an
    /// hour.
    pub fn set_aside(&self, fragment: &Fragment, head: Offset) {
        self.counters.stray(StrayReason::Head);
        let path = fragment.content_path();
        if self.warned.lock().is_due(&path, self.shared.clock.now()) {
            tracing::warn!(
                store = %self.url, journal = %fragment.journal, path, %head,
                "setting aside an object that ends above the head of its journal; remove it, or, if it is content that was lost here, \
                 let the journal go on behind it with `courant journals reset-head`"
            );
        }
    }

    /// The fragments of a journal as [`Store::list`] has them, and beside them the objects in its folder that are none: what they are
    /// called, and why they are none. Those of `nested` journals are in neither.
    ///
    /// # Errors
    /// As for [`Store::list`].
    pub async fn list_with_strays(
        &self,
        journal: &JournalName,
        nested: &[JournalName],
    ) -> Result<(Vec<Fragment>, Vec<(String, String)>), StoreError> {
        let (fragments, strays) = self.list_all(journal, nested).await?;
        let strays = strays.into_iter().filter(|(_, stray)| stray.reason != StrayReason::Nested);
        Ok((fragments, strays.map(|(key, stray)| (key, stray.detail)).collect()))
    }

    async fn list_all(
        &self,
        journal: &JournalName,
        nested: &[JournalName],
    ) -> Result<(Vec<Fragment>, Vec<(String, Stray)>), StoreError> {
        let prefix = self.bucket.key(&format!("{journal}/"));
        // Never closed, so it always grants.
        let _permit = self.lists.acquire().await;
        let limit = self.shared.config.list_limit;
        let entries = self.attempt(Operation::List, &prefix, limit, || self.entries(&prefix)).await?;
        self.counters.listed(entries.len());
        self.counters.strays_in_pages(self.bucket.heard.take_strays());
        let mut fragments = Vec::with_capacity(entries.len());
        let mut strays = Vec::new();
        for entry in entries {
            match read_entry(journal, &self.url, &prefix, nested, &entry) {
                Ok(fragment) => fragments.push(fragment),
                Err(stray) => strays.push((entry.key, stray)),
            }
        }
        Ok((fragments, strays))
    }

    /// Every object below a key.
    pub(super) async fn entries(&self, prefix: &str) -> Attempted<Vec<Listed>> {
        let silence = self.shared.config.silence_limit;
        let mut pages = self.bucket.list(prefix).await?;
        let mut entries = Vec::new();
        loop {
            match tokio::time::timeout(silence, pages.next()).await {
                Ok(Some(entry)) => entries.push(entry?),
                Ok(None) => return Ok(entries),
                Err(elapsed) => {
                    return Err(object_store::Error::Generic { store: "listing", source: elapsed.into() });
                }
            }
        }
    }
}
