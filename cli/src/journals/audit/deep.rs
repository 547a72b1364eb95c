//! `--deep`: every object of every store, so that what belongs to no journal is found as well. What lies in a journal's folder is looked
//! at with the journal.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use courant_fragment::store::{Entry, Store, Stores, object_key};
use courant_proto::fragment::Fragment;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::store::StoreUrl;
use futures::StreamExt as _;
use indicatif::ProgressBar;
use serde::Serialize;

use super::estate::{Owner, owner};
use super::judge::{Finding, Kind};
use crate::output;
use crate::session::count;

/// Findings that are told one by one of each store. Whoever may write to a bucket may put anything there.
const MOST_TOLD: usize = 1_000;
/// Orphaned objects that are read at a time.
const READ_AT_ONCE: usize = 4;

/// What lies in a store.
#[derive(Debug, Default, Serialize)]
pub(super) struct Walked {
    pub(super) store: String,
    pub(super) objects: u64,
    /// As they lie there, compressed.
    pub(super) bytes: u64,
    pub(super) findings: Vec<Finding>,
    /// Findings that are not told one by one.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) untold: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Objects of a journal that is not there.
#[derive(Debug, Default)]
struct Orphans {
    objects: usize,
    bytes: u64,
}

/// Looks at everything in a store. `journals` are all that there are, and `content` says whether orphans are read.
pub(super) async fn walk(
    stores: &Stores,
    url: &str,
    journals: &BTreeSet<JournalName>,
    content: bool,
    progress: &ProgressBar,
) -> Walked {
    let mut walked = Walked { store: url.to_owned(), ..Walked::default() };
    let opened = StoreUrl::parse(url).map_err(|error| error.to_string());
    let opened = opened.and_then(|url| stores.get(&url).map_err(|error| error.to_string()));
    let outcome = match opened {
        Ok(store) => look(&store, journals, content, progress, &mut walked).await,
        Err(reason) => Err(reason),
    };
    if let Err(reason) = outcome {
        walked.find(Kind::Unknown, None, format!("the store cannot be looked at: {reason}"));
    }
    walked
}

async fn look(
    store: &Arc<Store>,
    journals: &BTreeSet<JournalName>,
    content: bool,
    progress: &ProgressBar,
    walked: &mut Walked,
) -> Result<(), String> {
    let folders: HashSet<String> = journals.iter().map(|journal| store.folder(journal)).collect();
    let mut orphans: BTreeMap<String, Orphans> = BTreeMap::new();
    let entries = store.walk().await.map_err(|error| error.to_string())?;
    // Reading goes on while the listing does, and holds it up where it is slower.
    let mut looked = entries
        .map(|entry| {
            let folders = &folders;
            async move {
                let entry = entry.map_err(|error| error.to_string())?;
                let owner = owner(store.url(), &entry.key, folders);
                let fault = match &owner {
                    Owner::Nobody { fragment, .. } if content => read(store, fragment, &entry).await,
                    _ => None,
                };
                Ok::<_, String>((entry, owner, fault))
            }
        })
        .buffered(READ_AT_ONCE);
    while let Some(next) = looked.next().await {
        let (Entry { key, size }, owner, fault) = next?;
        walked.objects += 1;
        walked.bytes = walked.bytes.saturating_add(size);
        progress.set_message(format!("{}: {} objects", store.url(), walked.objects));
        match owner {
            Owner::Journal | Owner::Check => {}
            Owner::Nobody { journal, fragment } => {
                let orphans = orphans.entry(journal).or_default();
                orphans.objects += 1;
                orphans.bytes = orphans.bytes.saturating_add(size);
                if let Some((kind, reason)) = fault {
                    let span = Some((fragment.begin.get(), fragment.end.get()));
                    walked.find(kind, span, format!("{key}: {reason}"));
                }
            }
            Owner::Stranger(reason) => {
                walked.find(Kind::Stray, None, format!("{key} is no fragment of any journal: {reason}"));
            }
        }
    }
    for (journal, Orphans { objects, bytes }) in orphans {
        let (objects, bytes) = (count(objects, "object"), output::bytes(bytes));
        walked.find(
            Kind::Orphan,
            None,
            format!("{objects}, {bytes}, of {journal}, and there is no such journal"),
        );
    }
    Ok(())
}

impl Walked {
    fn find(&mut self, kind: Kind, span: Option<(i64, i64)>, detail: String) {
        if self.findings.len() < MOST_TOLD {
            self.findings.push(Finding { kind, span, detail });
        } else {
            self.untold += 1;
        }
    }
}

/// Reads an object against its name; what is wrong with it, if something is.
async fn read(store: &Arc<Store>, fragment: &Fragment, entry: &Entry) -> Option<(Kind, String)> {
    // A key that was rewritten leads back to no name.
    if object_key(store.url(), fragment) != entry.key {
        return None;
    }
    let read = async {
        let mut reader = store.open(fragment, Offset::ZERO).await?;
        while reader.next().await?.is_some() {}
        Ok::<_, courant_fragment::store::StoreError>(())
    };
    match read.await {
        Ok(()) => None,
        Err(error @ courant_fragment::store::StoreError::DataLoss { .. }) => {
            Some((Kind::Digest, error.to_string()))
        }
        Err(error) => Some((Kind::Unreadable, error.to_string())),
    }
}
