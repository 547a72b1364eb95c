//! The folder of spools, and what the logs of all cores share of it: numbers, files, and what is to be removed.
//!
//! Segments are removed oldest first and never out of turn. A record that takes something back, as `release` does,
//! is younger than what it takes back; removed in this order, it outlives it.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::content::Content;
use super::segment::Segment;
use super::{ClusterId, SpoolId};
use crate::disk::{Disk, Open};
use crate::error::Error;

/// Folder below the spools' in which lies what counts for nothing and is not ours to delete.
pub const QUARANTINE: &str = "quarantine";

/// A turn begins no further on in a segment: positions in it have 32 bits, and a turn takes part of them.
const MAX_SEGMENT_BYTES: u64 = 1 << 31;

/// How a log is laid out. The defaults are for production; tests make everything small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// A segment takes no further turn once it is this long; 2 GiB at most.
    pub segment_bytes: u64,
    /// A core with more segments than this carries what lives in its oldest forward.
    pub segments: usize,
    /// Inline content beyond which a spool moves it into its content file.
    pub inline_bytes: u64,
    /// Inline commits beyond which a spool moves them into its content file.
    pub inline_commits: usize,
    /// A commit of this size goes to the content file at once.
    pub large_commit: u64,
    /// What the salts of segments are made of: random, and new for each process. Nobody who writes content may know
    /// it.
    pub seed: u64,
    /// Whether all commits are durable; otherwise those are that [say so](super::log::Commit::durable).
    pub durable: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            segments: 4,
            inline_bytes: 1 << 20,
            inline_commits: 4096,
            large_commit: 256 << 10,
            seed: 0,
            durable: false,
        }
    }
}

/// The folder of spools.
#[derive(Debug)]
pub struct Volume {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    cluster: ClusterId,
    layout: Layout,
    next_segment: AtomicU64,
    next_spool: AtomicU64,
    /// Segments of earlier processes, oldest first.
    recovered: Mutex<VecDeque<Arc<Segment>>>,
    recovered_count: AtomicUsize,
    /// Whether they hold up the segments of a log, so that all logs shall empty them.
    empty_recovered: AtomicBool,
    trash: Mutex<VecDeque<Trash>>,
    /// One sweep at a time, so that what is removed is removed in order.
    sweeping: Mutex<()>,
    /// Whether durable commits were written: then no content goes before its release is synced.
    durable: AtomicBool,
    /// Files written since the last sweep that removed a segment.
    unsynced: Mutex<BTreeSet<Name>>,
    /// Files that were opened, and are to be closed when they rest.
    opened: Mutex<Vec<Weak<dyn Rest>>>,
}

/// What can be closed when it rests.
pub(crate) trait Rest: std::fmt::Debug + Send + Sync {
    /// Closes the file if nobody used it since the last call. True if it is closed.
    fn rest(&self) -> bool;
}

/// A file of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Segment(u64),
    Content(SpoolId),
}

impl Name {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Segment(sequence) => format!("{sequence:016x}.log"),
            Self::Content(spool) => format!("{:016x}.content", spool.0),
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (digits, extension) = name.split_once('.')?;
        if digits.len() != 16 || digits.bytes().any(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let number = u64::from_str_radix(digits, 16).ok()?;
        match extension {
            "log" => Some(Self::Segment(number)),
            "content" => Some(Self::Content(SpoolId(number))),
            _ => None,
        }
    }
}

#[derive(Debug)]
enum Trash {
    Segment(Arc<Segment>),
    /// A content file, and its readers.
    Content(SpoolId, Arc<Content>),
}

impl Volume {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        cluster: ClusterId,
        layout: Layout,
        next_segment: u64,
        next_spool: u64,
    ) -> Arc<Self> {
        let layout = Layout { segment_bytes: layout.segment_bytes.min(MAX_SEGMENT_BYTES), ..layout };
        Arc::new(Self {
            disk,
            folder,
            cluster,
            layout,
            next_segment: AtomicU64::new(next_segment),
            next_spool: AtomicU64::new(next_spool),
            recovered: Mutex::default(),
            recovered_count: AtomicUsize::new(0),
            empty_recovered: AtomicBool::new(false),
            trash: Mutex::default(),
            sweeping: Mutex::default(),
            durable: AtomicBool::new(layout.durable),
            unsynced: Mutex::default(),
            opened: Mutex::default(),
        })
    }

    /// The cluster whose journals these are.
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// How its logs are laid out.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Bytes that may still be written.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn free_space(&self) -> Result<u64, Error> {
        self.disk.free_space(&self.folder).map_err(Error::disk("tell the free space of", &self.folder))
    }

    /// Removes the files that nothing needs any more, and closes those that readers have left. It blocks, also on
    /// syncs, and so is for a thread that may; it has to be called now and then, or space is never given back.
    ///
    /// Before a segment goes, what replaced its records is made durable: also a loss of power finds one of the two.
    ///
    /// # Errors
    /// When a file could not be synced, removed or put aside. What was not removed is tried again by the next call.
    pub fn sweep(&self) -> Result<(), Error> {
        let _one = self.sweeping.lock();
        self.rest();
        loop {
            let Some(trash) = self.trash.lock().pop_front() else { return Ok(()) };
            if let Err(error) = self.remove(&trash) {
                self.trash.lock().push_front(trash);
                return Err(error);
            }
        }
    }

    /// Whether a sweep has something to remove.
    pub fn has_trash(&self) -> bool {
        !self.trash.lock().is_empty()
    }

    /// How many segments of earlier processes are left.
    pub fn recovered_segments(&self) -> usize {
        self.recovered_count.load(Ordering::Relaxed)
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.folder.join(QUARANTINE)
    }

    pub(crate) fn path(&self, name: Name) -> PathBuf {
        self.folder.join(name.text())
    }

    pub(crate) fn next_segment(&self) -> u64 {
        self.next_segment.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn next_spool(&self) -> SpoolId {
        SpoolId(self.next_spool.fetch_add(1, Ordering::Relaxed))
    }

    /// Notes that a file was written and not synced.
    pub(crate) fn written(&self, name: Name) {
        self.unsynced.lock().insert(name);
    }

    /// Notes that there are commits which are to survive a loss of power.
    pub(crate) fn has_durable(&self) {
        self.durable.store(true, Ordering::Relaxed);
    }

    /// Segments of earlier processes, oldest first. Nobody may have synced them.
    pub(crate) fn recovered(&self) -> Vec<Arc<Segment>> {
        self.recovered.lock().iter().cloned().collect()
    }

    /// Takes over the segments that recovery found, oldest first.
    pub(crate) fn recover(&self, segments: impl IntoIterator<Item = Arc<Segment>>) {
        self.recovered.lock().extend(segments);
        self.drain_recovered();
    }

    /// Gives up recovered segments that nothing pins, as far as they are the oldest. True if none is left.
    pub(crate) fn drain_recovered(&self) -> bool {
        let mut recovered = self.recovered.lock();
        while recovered.front().is_some_and(|segment| !segment.is_pinned()) {
            if let Some(segment) = recovered.pop_front() {
                self.trash.lock().push_back(Trash::Segment(segment));
            }
        }
        self.recovered_count.store(recovered.len(), Ordering::Relaxed);
        recovered.is_empty()
    }

    /// Asks all logs to carry forward what they have in recovered segments.
    pub(crate) fn empty_recovered(&self) {
        self.empty_recovered.store(true, Ordering::Relaxed);
    }

    pub(crate) fn empties_recovered(&self) -> bool {
        self.empty_recovered.load(Ordering::Relaxed)
    }

    pub(crate) fn discard_segment(&self, segment: Arc<Segment>) {
        self.trash.lock().push_back(Trash::Segment(segment));
    }

    pub(crate) fn discard_content(&self, spool: SpoolId, content: Arc<Content>) {
        self.trash.lock().push_back(Trash::Content(spool, content));
    }

    /// Closes files that nobody used since the last call. [`Volume::sweep`] does so too.
    pub fn rest(&self) {
        self.opened.lock().retain(|file| file.upgrade().is_some_and(|file| !file.rest()));
    }

    /// Closes a file when it rests.
    pub(crate) fn opened(&self, file: Weak<dyn Rest>) {
        self.opened.lock().push(file);
    }

    fn remove(&self, trash: &Trash) -> Result<(), Error> {
        match trash {
            Trash::Segment(segment) => {
                self.sync()?;
                // Readers that still hold extents here would not find the file again: they keep it open.
                if Arc::strong_count(segment) > 1 {
                    match segment.keep_open(self) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(Error::disk("open", self.path(Name::Segment(segment.sequence)))(
                                error,
                            ));
                        }
                        _ => {}
                    }
                }
                self.remove_file(Name::Segment(segment.sequence), segment.is_damaged())
            }
            Trash::Content(spool, content) => {
                // A spool whose release was lost with the power would be found without its content.
                if self.durable.load(Ordering::Relaxed) {
                    self.sync()?;
                }
                if Arc::strong_count(content) > 1 {
                    content.keep_open()?;
                }
                self.remove_file(Name::Content(*spool), content.is_damaged())
            }
        }
    }

    /// Removes a file, or puts it aside if it is evidence.
    fn remove_file(&self, name: Name, damaged: bool) -> Result<(), Error> {
        let path = self.path(name);
        if damaged {
            return self.set_aside(name);
        }
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::disk("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// Moves a file into the quarantine.
    pub(crate) fn set_aside(&self, name: Name) -> Result<(), Error> {
        let folder = self.quarantine();
        self.disk.create_dir_all(&folder).map_err(Error::disk("create", &folder))?;
        let path = self.path(name);
        match self.disk.rename(&path, &folder.join(name.text())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::disk("set aside", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Makes durable what was written since it was last called.
    fn sync(&self) -> Result<(), Error> {
        let names = std::mem::take(&mut *self.unsynced.lock());
        if names.is_empty() {
            return Ok(());
        }
        for name in &names {
            let path = self.path(*name);
            let synced = match self.disk.open(&path, Open::Read) {
                Ok(file) => file.sync_data(),
                // Removed since, as nothing needed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = synced {
                self.unsynced.lock().extend(names);
                return Err(Error::disk("sync", path)(error));
            }
        }
        self.disk.sync_dir(&self.folder).map_err(Error::disk("sync", &self.folder))
    }
}
