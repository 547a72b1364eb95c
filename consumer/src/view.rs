//! What a shard knows: keys and values, in the order of the keys.
//!
//! ```text
//!  open     what the transaction that consumes has changed         memory
//!  frozen   what the one before has changed, until it is committed  memory
//!  disk     what is committed                                      a redb file, which can be made again
//! ```
//!
//! A key is looked up from top to bottom. What lies on the disk is never ahead of the shard's journal.

mod disk;
mod scan;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub(crate) use self::disk::{Disk, Stored};
pub use self::scan::Scan;
use crate::Error;
use crate::changes::Changes;

/// Where the committed part of a view is kept.
#[derive(Clone, Debug)]
pub struct ViewFile(Disk);

impl ViewFile {
    /// In a file, which is made if it is not there. It speeds up the next start, and nothing depends on it: it may be removed between two runs.
    /// Blocks.
    ///
    /// # Errors
    /// When the file cannot be opened, is in use, or is none of ours.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Disk::in_file(path).map(Self)
    }

    /// In memory.
    ///
    /// # Errors
    /// None that is known of.
    pub fn in_memory() -> Result<Self, Error> {
        Disk::in_memory().map(Self)
    }

    pub(crate) fn into_disk(self) -> Disk {
        self.0
    }
}

/// The view of a shard, as an application sees it and changes it.
#[derive(Debug)]
pub struct View {
    open: Changes,
    frozen: Option<Arc<Changes>>,
    disk: Disk,
    table: disk::Reading,
}

impl View {
    pub(crate) fn new(disk: Disk) -> Result<Self, Error> {
        let table = disk.read()?;
        Ok(Self { open: Changes::default(), frozen: None, disk, table })
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let layers = std::iter::once(&self.open).chain(self.frozen.as_deref());
        for layer in layers {
            if let Some(change) = layer.get(key) {
                return Ok(change.cloned());
            }
        }
        self.table.get(key)
    }

    /// Gives a key a value.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.open.put(key.into(), Some(value.into()));
    }

    /// Removes a key.
    pub fn remove(&mut self, key: impl Into<Bytes>) {
        self.open.put(key.into(), None);
    }

    /// The keys that begin so, with their values.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn scan<'a>(&'a self, prefix: &'a [u8]) -> Result<Scan<'a>, Error> {
        let frozen = self.frozen.as_deref().map(|frozen| frozen.from(prefix));
        Ok(Scan::new(prefix, self.open.from(prefix), frozen, self.table.scan(prefix)?))
    }

    /// Bytes that the open transaction has changed.
    pub(crate) fn changed(&self) -> usize {
        self.open.bytes()
    }

    /// Ends the open transaction: what is changed from here on is of the next.
    ///
    /// # Panics
    /// When the one before was not committed.
    pub(crate) fn freeze(&mut self) {
        assert!(self.frozen.is_none(), "a transaction is finished before the one before is committed");
        self.frozen = Some(Arc::new(std::mem::take(&mut self.open)));
    }

    /// What the transaction that was ended has changed.
    ///
    /// # Panics
    /// When none was.
    pub(crate) fn frozen(&self) -> Arc<Changes> {
        self.frozen.clone().expect("a transaction is finished before it is committed")
    }

    /// What was frozen lies on the disk.
    pub(crate) fn thaw(&mut self) -> Result<(), Error> {
        self.table = self.disk.read()?;
        self.frozen = None;
        Ok(())
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u8),
        Remove(u8),
        Commit,
        Freeze,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..12_u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
            2 => (0..12_u8).prop_map(Step::Remove),
            1 => Just(Step::Commit),
            1 => Just(Step::Freeze),
        ];
        prop::collection::vec(step, 0..60)
    }

    fn key(key: u8) -> Bytes {
        Bytes::from(format!("{}/{key:02}", key % 3))
    }

    fn commit(view: &mut View) {
        if view.frozen.is_none() {
            view.freeze();
        }
        view.disk.apply(&view.frozen(), &Stored::default(), false).unwrap();
        view.thaw().unwrap();
    }

    proptest! {
        #[test]
        fn a_view_is_a_map_in_whatever_layer_its_entries_are(steps in steps()) {
            let mut view = View::new(Disk::in_memory().unwrap()).unwrap();
            let mut model = std::collections::BTreeMap::new();
            for step in steps {
                match step {
                    Step::Put(k, value) => {
                        view.put(key(k), vec![value]);
                        model.insert(key(k), Bytes::from(vec![value]));
                    }
                    Step::Remove(k) => {
                        view.remove(key(k));
                        model.remove(&key(k));
                    }
                    Step::Commit => commit(&mut view),
                    Step::Freeze if view.frozen.is_none() => view.freeze(),
                    Step::Freeze => {}
                }
                for k in 0..12 {
                    prop_assert_eq!(view.get(&key(k)).unwrap(), model.get(&key(k)).cloned());
                }
                for prefix in ["", "0/", "1/0", "3"] {
                    let found: Vec<_> = view.scan(prefix.as_bytes()).unwrap().collect::<Result<_, _>>().unwrap();
                    let expected: Vec<_> = model
                        .iter()
                        .filter(|(key, _)| key.starts_with(prefix.as_bytes()))
                        .map(|(key, value)| (key.clone(), value.clone()))
                        .collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
