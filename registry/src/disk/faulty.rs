//! A folder in memory that forgets what was not synced, tears what was being written, and fails when told to.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::{Disk, File};

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    /// Bytes that survive a crash.
    synced: usize,
}

type Inode = Arc<Mutex<Content>>;

#[derive(Debug, Default)]
struct Inner {
    names: BTreeMap<String, Inode>,
    /// The names that survive a crash.
    synced_names: BTreeMap<String, Inode>,
    operations: u64,
    /// The number of the operation at which the disk breaks; all that follow fail too.
    breaks_at: Option<u64>,
    syncs: u64,
    held: bool,
}

/// A disk of clones that share one folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faulty {
    inner: Arc<Mutex<Inner>>,
    released: Arc<Condvar>,
}

impl Faulty {
    /// Breaks at the n-th operation from now on.
    pub(crate) fn break_after(&self, operations: u64) {
        let mut inner = self.inner.lock();
        inner.breaks_at = Some(inner.operations + operations);
    }

    /// Operations that changed something so far.
    pub(crate) fn operations(&self) -> u64 {
        self.inner.lock().operations
    }

    /// Syncs of files so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.inner.lock().syncs
    }

    /// Makes syncs wait.
    pub(crate) fn hold(&self) {
        self.inner.lock().held = true;
    }

    /// Lets waiting syncs go on.
    pub(crate) fn release(&self) {
        self.inner.lock().held = false;
        self.released.notify_all();
    }

    /// The folder after a crash: what was not synced is there in part, as `chance` (0 to 255) has it, and what of it
    /// is there may have holes.
    pub(crate) fn crashed(&self, chance: u8) -> Self {
        let inner = self.inner.lock();
        let names = if chance.is_multiple_of(2) { &inner.synced_names } else { &inner.names };
        let mut left = BTreeMap::new();
        for (name, inode) in names {
            let content = inode.lock();
            let unsynced = content.bytes.len() - content.synced;
            let kept = content.synced + unsynced * usize::from(chance) / 255;
            let mut bytes = content.bytes[..kept].to_vec();
            if chance.is_multiple_of(3) {
                let middle = content.synced + (kept - content.synced) / 2;
                bytes[content.synced..middle].fill(0);
            }
            let synced = bytes.len();
            left.insert(name.clone(), Arc::new(Mutex::new(Content { bytes, synced })));
        }
        let inner = Inner { synced_names: left.clone(), names: left, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)), ..Self::default() }
    }

    /// Changes a file behind everyone's back.
    pub(crate) fn corrupt(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let inode = Arc::clone(self.inner.lock().names.get(name).expect("the file"));
        let mut content = inode.lock();
        change(&mut content.bytes);
        content.synced = content.bytes.len();
    }

    /// Names of the files, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        self.inner.lock().names.keys().cloned().collect()
    }

    fn operate(&self) -> io::Result<parking_lot::MutexGuard<'_, Inner>> {
        let mut inner = self.inner.lock();
        inner.operations += 1;
        if inner.breaks_at.is_some_and(|at| inner.operations >= at) {
            return Err(io::Error::other("the disk is broken"));
        }
        Ok(inner)
    }
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Disk for Faulty {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(self.inner.lock().names.get(name).ok_or_else(missing)?.lock().bytes.clone())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let inode = Inode::default();
        self.operate()?.names.insert(name.to_owned(), Arc::clone(&inode));
        Ok(Box::new(Open { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str, len: u64) -> io::Result<Box<dyn File>> {
        let inode = Arc::clone(self.operate()?.names.get(name).ok_or_else(missing)?);
        {
            let mut content = inode.lock();
            content.bytes.truncate(usize::try_from(len).expect("a small file"));
            content.synced = content.synced.min(content.bytes.len());
        }
        Ok(Box::new(Open { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.operate()?;
        let inode = inner.names.remove(from).ok_or_else(missing)?;
        inner.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.operate()?.names.remove(name).map(drop).ok_or_else(missing)
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut inner = self.operate()?;
        inner.synced_names = inner.names.clone();
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        format!("faulty/{name}")
    }
}

#[derive(Debug)]
struct Open {
    disk: Faulty,
    inode: Inode,
}

impl File for Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // A write that fails may have happened all the same: the worst case for whoever must forget it.
        self.inode.lock().bytes.extend_from_slice(bytes);
        self.disk.operate().map(drop)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.disk.operate()?;
        inner.syncs += 1;
        while inner.held {
            self.disk.released.wait(&mut inner);
        }
        let mut content = self.inode.lock();
        content.synced = content.bytes.len();
        Ok(())
    }
}
