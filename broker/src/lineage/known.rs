//! The lineage records that this process has written or read, as they were then.

use std::collections::HashMap;
use std::sync::Arc;

use courant_keyspace::Error;
use courant_proto::name::JournalName;
use etcd_client::KeyValue;
use prost::Message as _;

use super::record::Lineage;
use crate::journal_space::Root;
use crate::transaction::commit::{Registry, read};

/// A record, and when it was put; none and zero if there is none, or nobody has looked.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) mod_revision: i64,
    pub(super) record: Option<Lineage>,
}

/// The same, as it is kept: encoded, as most records are not looked at again for hours.
struct Kept {
    mod_revision: i64,
    record: Option<Box<[u8]>>,
}

/// What is known of records, and where they are kept. What is known may be wrong; transactions guard against that.
pub(super) struct Records {
    pub(super) registry: Registry,
    pub(super) root: Arc<Root>,
    by_journal: HashMap<JournalName, Kept>,
}

impl Records {
    pub(super) fn new(registry: Registry, root: Arc<Root>) -> Self {
        Self { registry, root, by_journal: HashMap::new() }
    }

    pub(super) fn get(&self, journal: &JournalName) -> Option<Known> {
        let Kept { mod_revision, record } = self.by_journal.get(journal)?;
        // What is kept was encoded here or has been read before: one that does not decode is as good as unknown.
        let record = record.as_deref().map(Lineage::read).transpose().ok()?;
        Some(Known { mod_revision: *mod_revision, record })
    }

    /// Whether anything is known of a record, be it that there is none.
    pub(super) fn has(&self, journal: &JournalName) -> bool {
        self.by_journal.contains_key(journal)
    }

    /// A record was put at a revision.
    pub(super) fn put(&mut self, journal: &JournalName, mod_revision: i64, record: &Lineage) {
        let record = Some(record.encode_to_vec().into());
        self.by_journal.insert(journal.clone(), Kept { mod_revision, record });
    }

    /// What is known of a record is not to be relied on.
    pub(super) fn forget(&mut self, journal: &JournalName) {
        self.by_journal.remove(journal);
    }

    /// Takes in a record as the registry has it. An error says why it cannot be read.
    pub(super) fn take(&mut self, journal: &JournalName, found: Option<&KeyValue>) -> Result<(), String> {
        let kept = match found {
            None => Kept { mod_revision: 0, record: None },
            Some(found) => {
                Lineage::read(found.value()).map_err(|error| {
                    format!(
                        "the lineage of journal {journal} at key {:?} cannot be read, so nobody knows which of its bytes \
                         count: {error}; restore the key, or delete it to accept what is here",
                        String::from_utf8_lossy(found.key())
                    )
                })?;
                Kept { mod_revision: found.mod_revision(), record: Some(found.value().into()) }
            }
        };
        self.by_journal.insert(journal.clone(), kept);
        Ok(())
    }

    /// Reads the records of journals as they are now, in order.
    pub(super) async fn read(&self, journals: &[JournalName]) -> Result<Vec<Option<KeyValue>>, Error> {
        let keys = journals.iter().map(|journal| self.root.lineage(journal)).collect();
        read(&self.registry, keys, || "reading the lineage of journals".to_owned()).await
    }

    pub(super) fn len(&self) -> usize {
        self.by_journal.len()
    }
}
