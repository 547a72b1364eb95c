//! The file of a segment, and files that are open only while they are used.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::volume::{Name, Rest, Volume};
use crate::disk::{DiskFile, Open};
use crate::error::Error;

/// A segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) sequence: u64,
    /// Spools whose newest `open` lies here. While there are any, it is not removed, nor is one that is younger.
    pins: AtomicUsize,
    /// Whether something in it did not check, so that it is kept as evidence.
    damaged: AtomicBool,
    handle: Handle,
}

impl Segment {
    pub(crate) fn new(sequence: u64) -> Self {
        Self {
            sequence,
            pins: AtomicUsize::new(0),
            damaged: AtomicBool::new(false),
            handle: Handle::default(),
        }
    }

    /// A segment whose writer has it open.
    pub(crate) fn with_file(sequence: u64, file: Arc<dyn DiskFile>) -> Self {
        let segment = Self::new(sequence);
        segment.handle.hold(file);
        segment
    }

    pub(crate) fn pin(&self) {
        self.pins.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unpin(&self) {
        self.pins.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pins.load(Ordering::Relaxed) > 0
    }

    /// Keeps the file open for who still reads, as it loses its name.
    pub(crate) fn keep_open(&self, volume: &Volume) -> io::Result<()> {
        self.handle.keep(volume, Name::Segment(self.sequence))
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    pub(crate) fn mark_damaged(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// The file, opened for reading if it is not.
    pub(crate) fn file(self: &Arc<Self>, volume: &Volume) -> Result<Arc<dyn DiskFile>, Error> {
        let name = Name::Segment(self.sequence);
        let file = self.handle.get(volume, name, Open::Read);
        let file = file.map_err(|error| Error::disk("open", volume.path(name))(error))?;
        self.list(volume);
        Ok(file)
    }

    /// Its writer has left: from now on it is open only while it is read.
    pub(crate) fn let_rest(self: &Arc<Self>, volume: &Volume) {
        self.handle.let_go();
        self.list(volume);
    }

    fn list(self: &Arc<Self>, volume: &Volume) {
        if self.handle.list() {
            let this: Weak<Self> = Arc::downgrade(self);
            volume.opened(this);
        }
    }
}

impl Rest for Segment {
    fn rest(&self) -> bool {
        self.handle.rest()
    }
}

/// A file that is opened when it is used, and closed when it rests.
#[derive(Debug, Default)]
pub(crate) struct Handle(Mutex<HandleState>);

#[derive(Debug, Default)]
struct HandleState {
    file: Option<Arc<dyn DiskFile>>,
    /// Opened for writing as well.
    writable: bool,
    /// Used since the last rest.
    used: bool,
    /// Not to be closed: it has a writer, or lost its name.
    kept: bool,
    /// Whether the volume knows of it.
    listed: bool,
}

impl Handle {
    /// The file, opened if it is not, or not for that.
    pub(crate) fn get(&self, volume: &Volume, name: Name, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.used = true;
        let writable = how != Open::Read;
        if let Some(file) = &state.file
            && (state.writable || !writable)
        {
            return Ok(Arc::clone(file));
        }
        let file = volume.disk().open(&volume.path(name), how)?;
        state.file = Some(Arc::clone(&file));
        state.writable = writable;
        Ok(file)
    }

    /// Keeps the file open until its last user is gone, as its name will be.
    pub(crate) fn keep(&self, volume: &Volume, name: Name) -> io::Result<()> {
        self.get(volume, name, Open::Read)?;
        self.0.lock().kept = true;
        Ok(())
    }

    /// Whether the volume has to be told that this is open.
    pub(crate) fn list(&self) -> bool {
        !std::mem::replace(&mut self.0.lock().listed, true)
    }

    /// Closes the file if nobody used it since the last call. True if it is closed.
    pub(crate) fn rest(&self) -> bool {
        let mut state = self.0.lock();
        if !state.kept && !std::mem::take(&mut state.used) {
            state.file = None;
            state.listed = false;
        }
        state.file.is_none()
    }

    fn hold(&self, file: Arc<dyn DiskFile>) {
        let mut state = self.0.lock();
        state.file = Some(file);
        state.writable = true;
        state.kept = true;
    }

    fn let_go(&self) {
        self.0.lock().kept = false;
    }
}
