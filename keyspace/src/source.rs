//! What a mirror asks of etcd: the prefix at one revision, a watch from there on, and whether it missed anything,
//! and whether the store is still the same one.
//!
//! It asks once and says how that went; when to ask again is the feed's business.

use std::sync::Arc;

use etcd_client::{Client, GetOptions, WatchOptions, WatchStream};
use futures::future::{BoxFuture, FutureExt};
use tokio::time::timeout;
use tracing::warn;

use crate::decode::Decoder;
use crate::entries::prefix_end;
use crate::error::Error;
use crate::etcd::{self, MAX_MESSAGE_BYTES, printable};
use crate::feed::ODDITIES_LOGGED;
use crate::mirror::Config;
use crate::revision::{Revision, StoreHeader};
use crate::snapshot::Snapshot;

/// Where a mirror's content comes from.
pub(crate) struct Source<D> {
    client: Client,
    pub(crate) prefix: Vec<u8>,
    /// The first key that does not begin with the prefix; a zero byte, in etcd's words, if there is none.
    end: Vec<u8>,
    pub(crate) decoder: D,
    pub(crate) config: Config,
}

/// What a probe of the prefix found.
#[derive(Debug)]
pub(crate) enum Probed {
    /// The prefix at this revision is what it was at the snapshot's.
    Unchanged { snapshot: Revision, now: Revision },
    /// Something under the prefix is newer than the snapshot with this revision.
    Behind { snapshot: Revision },
}

/// What a comparison with the store came to.
#[derive(Debug)]
pub(crate) struct Verified {
    /// The revision that was compared.
    pub(crate) revision: Revision,
    pub(crate) is_same: bool,
}

impl<D: Decoder> Source<D> {
    pub(crate) fn new(client: Client, prefix: Vec<u8>, decoder: D, config: Config) -> Self {
        let end = prefix_end(&prefix).unwrap_or_else(|| vec![0]);
        // etcd has no empty key; the lowest there can be stands for "all keys".
        let prefix = if prefix.is_empty() { vec![0] } else { prefix };
        Self { client, prefix, end, decoder, config }
    }

    /// Reads the whole prefix at one revision, page by page.
    pub(crate) async fn load(
        &self,
        previous: Option<&Snapshot<D::Value>>,
    ) -> Result<Snapshot<D::Value>, Error> {
        let action = format!("loading {:?}", printable(&self.prefix));
        let mut kv = self.client.kv_client().max_decoding_message_size(MAX_MESSAGE_BYTES);
        // A past revision is where the first load begins; a reload wants the present.
        let mut at = self.config.load_at.filter(|_| previous.is_none()).unwrap_or(Revision::ZERO);
        let (mut from, mut loaded, mut first_header) = (self.prefix.clone(), Vec::new(), None);
        loop {
            let limit = self.config.page_size.max(1);
            // The client's futures are large; those who load should not have to carry them.
            let request = Box::pin(kv.get(from, Some(etcd::page(&self.end, limit, at))));
            let mut page = self
                .in_time(&action, request)
                .await?
                .map_err(|source| Error::etcd(action.as_str(), source))?;
            let header: &mut StoreHeader = match &mut first_header {
                Some(header) => header,
                none => none.insert(etcd::header(&action, page.header())?),
            };
            if at == Revision::ZERO {
                at = header.revision;
            }
            loaded.extend(page.take_kvs().into_iter().map(etcd::key_value));
            match loaded.last() {
                Some(last) if page.more() => {
                    // The next key there can be.
                    from = [last.key.as_slice(), &[0]].concat();
                }
                _ => {
                    let header = StoreHeader { revision: at, ..*header };
                    let snapshot = Snapshot::reloaded(header, loaded, &self.decoder, previous);
                    log_set_aside(&snapshot);
                    return Ok(snapshot);
                }
            }
        }
    }

    async fn in_time<F: Future>(&self, action: &str, request: F) -> Result<F::Output, Error> {
        let waited = self.config.request_timeout;
        timeout(waited, request).await.map_err(|_| Error::TimedOut { action: action.to_owned(), waited })
    }

    /// Watches the prefix from a revision on.
    pub(crate) async fn watch(&self, from: Revision) -> Result<WatchStream, Error> {
        let action = format!("watching {:?} from revision {from}", printable(&self.prefix));
        let options = WatchOptions::new()
            .with_range(self.end.clone())
            .with_start_revision(from.get())
            .with_progress_notify();
        let mut watches = self.client.watch_client().max_decoding_message_size(MAX_MESSAGE_BYTES);
        let opening = Box::pin(watches.watch(self.prefix.clone(), Some(options)));
        self.in_time(&action, opening).await?.map_err(|source| Error::etcd(action, source))
    }

    /// Whether the store that answers is the one that is followed, as far as that can be told.
    pub(crate) async fn is_the_one(&self) -> Result<bool, Error> {
        match &self.config.witness {
            Some(witness) => witness.is_there(&self.client, self.config.request_timeout).await,
            None => Ok(true),
        }
    }

    /// Whether a snapshot is what the store held at its revision, key by key. Values are not asked for.
    pub(crate) fn verify(
        &self,
        snapshot: Arc<Snapshot<D::Value>>,
    ) -> BoxFuture<'static, Result<Verified, Error>> {
        let (mut from, end) = (self.prefix.clone(), self.end.clone());
        let (limit, waited) = (self.config.page_size.max(1), self.config.request_timeout);
        let mut kv = self.client.kv_client().max_decoding_message_size(MAX_MESSAGE_BYTES);
        async move {
            // As far as it is known to be told: the revision of the newest change may be compacted by now.
            let at = snapshot.read_through();
            let action = format!("comparing {:?} with revision {at}", printable(&from));
            let mut held = 0;
            loop {
                let options = etcd::page(&end, limit, at).with_keys_only();
                let page = timeout(waited, Box::pin(kv.get(from, Some(options))))
                    .await
                    .map_err(|_| Error::TimedOut { action: action.clone(), waited })?
                    .map_err(|source| Error::etcd(action.as_str(), source))?;
                let same = |kv: &etcd_client::KeyValue| {
                    let seen = snapshot.seen(kv.key());
                    seen.is_some_and(|seen| seen.mod_revision.get() == kv.mod_revision())
                };
                if !page.kvs().iter().all(same) {
                    return Ok(Verified { revision: at, is_same: false });
                }
                held += page.kvs().len();
                match page.kvs().last() {
                    Some(last) if page.more() => from = [last.key(), &[0]].concat(),
                    _ => return Ok(Verified { revision: at, is_same: held == snapshot.key_count() }),
                }
            }
        }
        .boxed()
    }

    /// Asks whether anything under the prefix happened after `snapshot`.
    ///
    /// etcd tells of deletions by a watch alone, but if every key it holds is one we hold, unchanged, and it holds as
    /// many, then nothing was deleted either.
    pub(crate) fn probe(&self, snapshot: &Snapshot<D::Value>) -> BoxFuture<'static, Result<Probed, Error>> {
        let (revision, keys) = (snapshot.revision(), snapshot.key_count());
        let (prefix, waited) = (self.prefix.clone(), self.config.request_timeout);
        let mut kv = self.client.kv_client();
        let options = GetOptions::new()
            .with_range(self.end.clone())
            .with_min_mod_revision(revision.next().get())
            .with_keys_only()
            .with_limit(1);
        async move {
            let action = "asking for progress";
            let page = timeout(waited, kv.get(prefix, Some(options)))
                .await
                .map_err(|_| Error::TimedOut { action: action.to_owned(), waited })?
                .map_err(|source| Error::etcd(action, source))?;
            let header = etcd::header(action, page.header())?;
            let same_count = u64::try_from(page.count()).is_ok_and(|count| count == keys as u64);
            Ok(if page.kvs().is_empty() && same_count {
                Probed::Unchanged { snapshot: revision, now: header.revision }
            } else {
                Probed::Behind { snapshot: revision }
            })
        }
        .boxed()
    }
}

fn log_set_aside<V>(snapshot: &Snapshot<V>) {
    for refused in snapshot.set_aside().take(ODDITIES_LOGGED) {
        let (key, revision) = (printable(&refused.key), refused.mod_revision);
        warn!(key, %revision, reason = refused.reason, "entry set aside: its value could not be decoded");
    }
    let all = snapshot.set_aside().len();
    if all > ODDITIES_LOGGED {
        warn!(all, "further entries were set aside");
    }
}
