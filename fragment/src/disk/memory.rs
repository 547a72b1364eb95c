//! A disk in memory that fails and crashes when it is told to.
//!
//! Every file keeps what was written and, apart from it, what was made durable; [`MemoryDisk::crash`] tells which
//! of the two a machine finds afterwards. Faults are set for the whole disk and apply to the calls that follow.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{Disk, DiskFile, Entry, Open};

/// What is left after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process died: everything that was written is there.
    Process,
    /// The power was cut at the worst moment: of each file what was synced last, and only names in synced folders.
    Power,
}

/// A file system in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    files: Mutex<Names>,
    faults: Mutex<Faults>,
    /// How often a file was written.
    writes: AtomicU64,
    /// How many files are open.
    open: AtomicU64,
}

#[derive(Debug, Default)]
struct Names {
    now: BTreeMap<PathBuf, Arc<Bytes>>,
    synced: BTreeMap<PathBuf, Arc<Bytes>>,
}

#[derive(Debug, Default)]
struct Bytes(Mutex<Written>);

#[derive(Clone, Debug, Default)]
struct Written {
    now: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug, Default)]
struct Faults {
    /// Bytes that may still be written before the disk is full.
    room: Option<u64>,
    /// Writes that still succeed, and then the error that the next ones get, and how many of them.
    writes: Option<(u64, io::ErrorKind, u64)>,
    /// Whether a failing write leaves a part of its bytes.
    torn: bool,
    /// The error of cutting a file.
    truncate: Option<io::ErrorKind>,
    /// The error of reading.
    read: Option<io::ErrorKind>,
    /// The error of making durable.
    sync: Option<io::ErrorKind>,
}

impl MemoryDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on so many bytes fit, and a write beyond them leaves what fits and fails as a full disk does.
    /// `None`: there is room for everything.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.shared.faults.lock().room = bytes;
    }

    /// Lets `after` writes succeed and the `count` ones behind them fail; `torn` ones leave half of their bytes.
    pub fn fail_writes(&self, after: u64, count: u64, kind: io::ErrorKind, torn: bool) {
        let mut faults = self.shared.faults.lock();
        faults.writes = Some((after, kind, count));
        faults.torn = torn;
    }

    /// Lets cutting files fail, or no longer.
    pub fn fail_truncate(&self, kind: Option<io::ErrorKind>) {
        self.shared.faults.lock().truncate = kind;
    }

    /// Lets reads fail, or no longer.
    pub fn fail_reads(&self, kind: Option<io::ErrorKind>) {
        self.shared.faults.lock().read = kind;
    }

    /// Lets syncs fail, or no longer.
    pub fn fail_syncs(&self, kind: Option<io::ErrorKind>) {
        self.shared.faults.lock().sync = kind;
    }

    /// Takes back every fault.
    pub fn heal(&self) {
        *self.shared.faults.lock() = Faults::default();
    }

    /// The disk that is found after a crash, without faults. This one is as it was, so one history can be crashed
    /// in many ways.
    pub fn crash(&self, crash: Crash) -> Self {
        let names = self.shared.files.lock();
        let kept = match crash {
            Crash::Process => &names.now,
            Crash::Power => &names.synced,
        };
        let files: BTreeMap<_, _> = kept
            .iter()
            .map(|(path, file)| {
                let written = file.0.lock();
                let bytes = match crash {
                    Crash::Process => written.now.clone(),
                    Crash::Power => written.synced.clone(),
                };
                let file = Written { now: bytes.clone(), synced: bytes };
                (path.clone(), Arc::new(Bytes(Mutex::new(file))))
            })
            .collect();
        let names = Names { now: files.clone(), synced: files };
        Self { shared: Arc::new(Shared { files: Mutex::new(names), ..Shared::default() }) }
    }

    /// How often files were written so far, whole or not.
    pub fn writes(&self) -> u64 {
        self.shared.writes.load(Ordering::Relaxed)
    }

    /// How many files are open.
    pub fn open_files(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// The paths of all files, in order.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.shared.files.lock().now.keys().cloned().collect()
    }

    /// What a file holds, if it is there.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        Some(self.shared.files.lock().now.get(path)?.0.lock().now.clone())
    }

    /// Changes what a file holds behind everybody's back, as a bad disk would. Without a file it does nothing.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(file) = self.shared.files.lock().now.get(path) {
            change(&mut file.0.lock().now);
        }
    }

    fn not_found(path: &Path) -> io::Error {
        io::Error::new(io::ErrorKind::NotFound, format!("there is no file {}", path.display()))
    }
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let names = self.shared.files.lock();
        let entries = names.now.iter().filter(|(file, _)| file.parent() == Some(path));
        Ok(entries
            .filter_map(|(file, bytes)| {
                let name = file.file_name()?.to_str()?.to_owned();
                Some(Entry { name, length: bytes.0.lock().now.len() as u64 })
            })
            .collect())
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut names = self.shared.files.lock();
        let bytes = match (names.now.get(path), how) {
            (Some(_), Open::Create) => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("{} exists", path.display()),
                ));
            }
            (Some(bytes), _) => Arc::clone(bytes),
            (None, Open::Read) => return Err(Self::not_found(path)),
            (None, _) => {
                let bytes = Arc::new(Bytes::default());
                names.now.insert(path.to_owned(), Arc::clone(&bytes));
                bytes
            }
        };
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(MemoryFile { bytes, writable: how != Open::Read, disk: Arc::clone(&self.shared) }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.shared.files.lock().now.remove(path) {
            Some(_) => Ok(()),
            None => Err(Self::not_found(path)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.shared.files.lock();
        let bytes = names.now.remove(from).ok_or_else(|| Self::not_found(from))?;
        names.now.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if let Some(kind) = self.shared.faults.lock().sync {
            return Err(kind.into());
        }
        let mut names = self.shared.files.lock();
        names.synced.retain(|file, _| file.parent() != Some(path));
        let here: Vec<_> = names
            .now
            .iter()
            .filter(|(file, _)| file.parent() == Some(path))
            .map(|(file, bytes)| (file.clone(), Arc::clone(bytes)))
            .collect();
        names.synced.extend(here);
        Ok(())
    }

    fn free_space(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.shared.faults.lock().room.unwrap_or(u64::MAX))
    }
}

#[derive(Debug)]
struct MemoryFile {
    bytes: Arc<Bytes>,
    writable: bool,
    disk: Arc<Shared>,
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        self.disk.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl MemoryFile {
    /// How many of `length` bytes a write may leave, and the error it then fails with.
    fn admit(&self, length: u64) -> (u64, Option<io::ErrorKind>) {
        let mut faults = self.disk.faults.lock();
        if let Some((after, kind, count)) = &mut faults.writes {
            if *after > 0 {
                *after -= 1;
            } else if *count > 0 {
                *count -= 1;
                let kind = *kind;
                return (if faults.torn { length / 2 } else { 0 }, Some(kind));
            }
        }
        if let Some(room) = &mut faults.room {
            if *room < length {
                return (std::mem::take(room), Some(io::ErrorKind::StorageFull));
            }
            *room -= length;
        }
        (length, None)
    }
}

impl DiskFile for MemoryFile {
    fn write_all_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        if !self.writable {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the file is open for reading alone",
            ));
        }
        self.disk.writes.fetch_add(1, Ordering::Relaxed);
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let (admitted, error) = self.admit(length as u64);
        let mut written = self.bytes.0.lock();
        let mut left = usize::try_from(admitted).map_err(io::Error::other)?;
        let mut at = usize::try_from(position).map_err(io::Error::other)?;
        for slice in slices {
            let part = &slice[..slice.len().min(left)];
            if part.is_empty() {
                continue;
            }
            if written.now.len() < at + part.len() {
                written.now.resize(at + part.len(), 0);
            }
            written.now[at..at + part.len()].copy_from_slice(part);
            at += part.len();
            left -= part.len();
        }
        error.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        if let Some(kind) = self.disk.faults.lock().read {
            return Err(kind.into());
        }
        let written = self.bytes.0.lock();
        let from = usize::try_from(position).map_err(io::Error::other)?.min(written.now.len());
        let length = buffer.len().min(written.now.len() - from);
        buffer[..length].copy_from_slice(&written.now[from..from + length]);
        Ok(length)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        if let Some(kind) = self.disk.faults.lock().truncate {
            return Err(kind.into());
        }
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.bytes.0.lock().now.resize(length, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if let Some(kind) = self.disk.faults.lock().sync {
            return Err(kind.into());
        }
        let mut written = self.bytes.0.lock();
        written.synced = written.now.clone();
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.0.lock().now.len() as u64)
    }
}
