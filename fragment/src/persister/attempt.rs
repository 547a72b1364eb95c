//! One attempt at persisting one spool.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use courant_proto::fragment::Fragment;
use courant_proto::spec::JournalSpec;
use courant_proto::store::StoreUrl;
use courant_proto::template::{Context, PathTemplate};
use courant_proto::time::Timestamp;

use super::{CompletedSpool, Journal};
use crate::ahead::Ahead;
use crate::store::{PutOutcome, Store, StoreError, Stores};

/// What an attempt needs.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) stores: Arc<Stores>,
    /// The spool's journal, as it is now.
    pub(super) journal: Option<Journal>,
    /// Where the spool may be encoded by now.
    pub(super) ahead: Option<Ahead>,
    /// It is another's to store: it is only looked whether that has happened.
    pub(super) only_looks: bool,
    /// While exiting, a store that refuses us is no reason to leave content behind: the next one is tried.
    pub(super) is_exiting: bool,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Outcome {
    Stored {
        fragment: Fragment,
        was_there: bool,
    },
    JournalGone,
    NoStores,
    /// Nobody has stored it yet.
    NotThere,
    Failed(String),
}

impl Attempt {
    pub(super) async fn run(self, spool: &CompletedSpool) -> Outcome {
        let Some(journal) = &self.journal else { return Outcome::JournalGone };
        let spec = &journal.spec;
        let fragment = match fragment(spool, spec) {
            Ok(fragment) => fragment,
            Err(reason) => return Outcome::Failed(reason),
        };
        if self.only_looks {
            return self.look(&fragment, spec).await;
        }
        let mut failure = None;
        for url in &spec.fragment.stores {
            let error = match self.put(url, &fragment, spool).await {
                Ok(outcome) => {
                    let was_there = matches!(outcome, PutOutcome::AlreadyThere { .. });
                    return Outcome::Stored { fragment: outcome.into_fragment(), was_there };
                }
                Err(error) => error,
            };
            let goes_on = self.is_exiting && error.is_authorization();
            failure = Some(error.to_string());
            if !goes_on {
                break;
            }
        }
        failure.map_or(Outcome::NoStores, Outcome::Failed)
    }

    /// Whether somebody has stored it in the first store.
    async fn look(&self, fragment: &Fragment, spec: &JournalSpec) -> Outcome {
        let Some(url) = spec.fragment.stores.first() else { return Outcome::NoStores };
        let found = match self.store(url).await {
            Ok(store) => store.find(fragment).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(Some(fragment)) => Outcome::Stored { fragment, was_there: true },
            Ok(None) => Outcome::NotThere,
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    async fn store(&self, url: &StoreUrl) -> Result<Arc<Store>, StoreError> {
        // Opening a store may ask the file system.
        let opened = {
            let (stores, url) = (Arc::clone(&self.stores), url.clone());
            tokio::task::spawn_blocking(move || stores.get(&url)).await
        };
        opened.map_err(|error| StoreError::Unusable { store: url.clone(), reason: error.to_string() })?
    }

    async fn put(
        &self,
        url: &StoreUrl,
        fragment: &Fragment,
        spool: &CompletedSpool,
    ) -> Result<PutOutcome, StoreError> {
        let store = self.store(url).await?;
        let put = self.put_into(&store, fragment, spool).await;
        // Content that is not what it should be is no fault of the store's.
        if matches!(&put, Err(error) if !matches!(error, StoreError::Content { .. })) {
            store.doubt();
        }
        put
    }

    async fn put_into(
        &self,
        store: &Arc<Store>,
        fragment: &Fragment,
        spool: &CompletedSpool,
    ) -> Result<PutOutcome, StoreError> {
        if let Some(ahead) = &self.ahead
            && let Some(encoded) = ahead.finish(spool.id, spool.length(), spool.sum, &spool.content).await
        {
            let length = encoded.length();
            let put = store
                .put_encoded(fragment, length, move |position, buffer| encoded.read_at(position, buffer))
                .await;
            // The scratch file is a copy. What it lost, the spool still has.
            let Err(error @ StoreError::Content { .. }) = &put else {
                if matches!(put, Ok(PutOutcome::Stored { .. })) {
                    ahead.counters().used.fetch_add(1, Ordering::Relaxed);
                }
                return put;
            };
            tracing::warn!(spool = %spool.id, %error, "what was encoded ahead cannot be read; the spool is encoded anew");
            ahead.counters().given_up.fetch_add(1, Ordering::Relaxed);
            ahead.forget(spool.id);
        }
        let content = Arc::clone(&spool.content);
        store.put(fragment, move |position, buffer| content(position, buffer)).await
    }
}

/// The fragment that a spool becomes under a spec.
fn fragment(spool: &CompletedSpool, spec: &JournalSpec) -> Result<Fragment, String> {
    let journal = &spool.identity.journal;
    let invalid = |error| format!("cannot evaluate the path postfix template of {journal}: {error}");
    let template = PathTemplate::parse(&spec.fragment.path_postfix_template).map_err(invalid)?;
    let postfix = template
        .evaluate(&Context {
            journal: journal.as_str(),
            begin: spool.begin.get(),
            end: spool.end.get(),
            compression_codec: spool.codec,
            first_append_time: spool.first_append.unwrap_or(Timestamp::UNIX_EPOCH),
            registers: spool.registers.labels(),
            labels: &spec.labels,
        })
        .map_err(invalid)?;
    Ok(Fragment {
        end: spool.end,
        sum: spool.sum,
        postfix: postfix.into(),
        ..Fragment::empty_at(journal.clone(), spool.begin, spool.codec)
    })
}
