//! A real folder, locked for as long as it is held.
//!
//! The one file of this crate that touches the operating system's files.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{Disk, File};
use crate::error::Error;

const LOCK: &str = "lock";

/// A folder on a real disk.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Held, never read: closing it gives the lock back.
    _lock: fs::File,
}

impl Folder {
    /// Makes the folder if needed, and locks it against every other process.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let fault = |action: &'static str| {
            move |source: io::Error| Error::Disk { path: path.display().to_string(), action, source }
        };
        let missing = !path.exists();
        create_dir_all(path).map_err(fault("create the folder"))?;
        if missing && let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(parent).map_err(fault("sync the parent of the folder"))?;
        }
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = open(&options, &path.join(LOCK)).map_err(fault("open the lock file"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Only for the message: a lock without a readable number is held all the same.
                let _ = (&lock).take(32).read_to_string(&mut pid);
                let pid = pid.trim();
                let holder = if pid.is_empty() { String::new() } else { format!(" (pid {pid})") };
                return Err(Error::Locked { folder: path.display().to_string(), holder });
            }
            Err(fs::TryLockError::Error(source)) => return Err(fault("lock the folder")(source)),
        }
        lock.set_len(0).map_err(fault("write the lock file"))?;
        writeln!(lock, "{}", std::process::id()).map_err(fault("write the lock file"))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }
}

impl Disk for Folder {
    #[expect(clippy::disallowed_methods, reason = "this file is the disk port")]
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not text is none of ours.
            if let Ok(name) = entry?.file_name().into_string()
                && name != LOCK
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    #[expect(clippy::disallowed_methods, reason = "this file is the disk port")]
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }

    #[expect(clippy::disallowed_methods, reason = "this file is the disk port")]
    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Appended(fs::File::create(self.path.join(name))?)))
    }

    fn open(&self, name: &str, len: u64) -> io::Result<Box<dyn File>> {
        let path = self.path.join(name);
        open(fs::OpenOptions::new().write(true), &path)?.set_len(len)?;
        Ok(Box::new(Appended(open(fs::OpenOptions::new().append(true), &path)?)))
    }

    #[expect(clippy::disallowed_methods, reason = "this file is the disk port")]
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    #[expect(clippy::disallowed_methods, reason = "this file is the disk port")]
    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        sync_dir(&self.path)
    }

    fn path(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

#[derive(Debug)]
struct Appended(fs::File);

impl File for Appended {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[expect(clippy::disallowed_methods, reason = "this file is the disk port")]
fn open(options: &fs::OpenOptions, path: &Path) -> io::Result<fs::File> {
    options.open(path)
}

#[expect(clippy::disallowed_methods, reason = "this file is the disk port")]
fn create_dir_all(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[expect(clippy::disallowed_methods, reason = "this file is the disk port")]
fn sync_dir(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}
