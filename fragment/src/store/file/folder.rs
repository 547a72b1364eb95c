//! A folder that is never left: paths are walked component by component from its descriptor, and a link ends
//! the walk.
//!
//! This is the crate's second way to the file system, beside its disk port: a store is another place than the
//! spools, and has other rules.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use courant_proto::time::Clock;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::store::strays::Listed;

/// Folders are ours, and readable by our group: batch jobs read fragments with no broker in between.
const FOLDER_MODE: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP);
/// Folders below a journal, at most.
const DEPTH_MAX: usize = 64;
/// A file that an upload left beside its target is removed after so long. No upload takes as much time.
const ABANDONED_AFTER: Duration = Duration::from_secs(30 * 60);
/// The library stages an upload of "name" in "name#1", or the next number that is free. So many are looked for.
const STAGED_MAX: usize = 8;

/// A root, and ways below it.
#[derive(Debug)]
pub(in crate::store) struct Folder {
    root: PathBuf,
    descriptor: OwnedFd,
    clock: Arc<dyn Clock>,
}

impl Folder {
    /// Opens a root. The way to it is the operator's and may hold links; below it there are none.
    pub(super) fn open(root: &Path, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(root, flags, Mode::empty())?;
        Ok(Self { root: root.to_owned(), descriptor, clock })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a folder and those above it, each durable before the next.
    pub(super) fn create(&self, path: &str) -> io::Result<OwnedFd> {
        let mut folder = self.descriptor.try_clone()?;
        for component in components(path)? {
            folder = match enter(&folder, component) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match rustix::fs::mkdirat(&folder, component, FOLDER_MODE) {
                        // Somebody else made it at the same time.
                        Ok(()) | Err(Errno::EXIST) => rustix::fs::fsync(&folder)?,
                        Err(error) => return Err(error.into()),
                    }
                    enter(&folder, component)?
                }
                entered => entered?,
            };
        }
        Ok(folder)
    }

    /// Checks the way to an object that is to be read: no component of it is a link.
    pub(in crate::store) fn check(&self, key: &str) -> io::Result<()> {
        let (parent, name) = split(key);
        let mut folder = self.descriptor.try_clone()?;
        for component in components(parent)? {
            folder = enter(&folder, component)?;
        }
        let stat = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(()),
            other => Err(refuse(format!("{key} is not a file but {other:?}"))),
        }
    }

    /// Makes the folders for an object that is to be written, and removes what abandoned uploads of it left.
    pub(in crate::store) fn prepare(&self, key: &str) -> io::Result<()> {
        let (parent, name) = split(key);
        let folder = self.create(parent)?;
        match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            // A rename replaces the link and not what it points to; still, nobody should have put one here.
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                return Err(refuse(format!("{key} is there, and is not a file")));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        for staged in staged(name) {
            match rustix::fs::statat(&folder, staged.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if self.is_abandoned(stat.st_mtime) => {
                    rustix::fs::unlinkat(&folder, staged.as_str(), AtFlags::empty())?;
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Removes what uploads of an object left that were killed. For an object that is there and whole: who reads
    /// the folder takes every file for a fragment, and an upload that is under way elsewhere fails, is tried
    /// again, and finds the object.
    pub(in crate::store) fn tidy(&self, key: &str) -> io::Result<()> {
        let (parent, name) = split(key);
        let mut folder = self.descriptor.try_clone()?;
        for component in components(parent)? {
            folder = enter(&folder, component)?;
        }
        for staged in staged(name) {
            match rustix::fs::unlinkat(&folder, staged.as_str(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn is_abandoned(&self, modified_secs: i64) -> bool {
        modified_secs < self.clock.now().minus(ABANDONED_AFTER).secs()
    }

    /// All files below a folder. If it is missing there are none, as long as `base`, the store's own folder,
    /// is there.
    pub(in crate::store) fn list(&self, base: &str, prefix: &str) -> io::Result<Vec<Listed>> {
        let mut folder = self.descriptor.try_clone()?;
        for component in components(base)? {
            folder = enter(&folder, component)?;
        }
        let mut files = Vec::new();
        for component in components(prefix.strip_prefix(base).unwrap_or(prefix))? {
            folder = match enter(&folder, component) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
                entered => entered?,
            };
        }
        let mut path = prefix.trim_end_matches('/').to_owned();
        walk(&folder, &mut path, DEPTH_MAX, &mut files)?;
        Ok(files)
    }
}

/// Collects files in depth. What vanishes meanwhile was not there; links and special files never were.
fn walk(folder: &OwnedFd, path: &mut String, depth: usize, files: &mut Vec<Listed>) -> io::Result<()> {
    let mut folders = Vec::new();
    let length = path.len();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if matches!(name, "." | "..") {
            continue;
        }
        let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => folders.push(name.to_owned()),
            // Uploads of the library, and of brokers of other makes, which have not ended.
            FileType::RegularFile if name.contains('#') || name.starts_with(".partial-") => {}
            FileType::RegularFile => {
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(name);
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                files.push(Listed { key: path.clone(), size, modified: stat.st_mtime });
                path.truncate(length);
            }
            _ => {}
        }
    }
    for name in folders {
        if depth == 0 {
            break;
        }
        match enter(folder, &name) {
            Ok(inner) => {
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(&name);
                walk(&inner, path, depth - 1, files)?;
                path.truncate(length);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Opens a folder within a folder, unless it is a link.
fn enter(folder: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, OsStr::from_bytes(name.as_bytes()), flags, Mode::empty()) {
        Ok(folder) => Ok(folder),
        Err(Errno::LOOP) => Err(refuse(format!("{name} is a link"))),
        // Linux says so of a link when a folder was asked for.
        Err(Errno::NOTDIR) => Err(refuse(format!("{name} is a link, or not a folder"))),
        Err(error) => Err(error.into()),
    }
}

/// The names that uploads of a name may stage it in.
fn staged(name: &str) -> impl Iterator<Item = String> {
    (1..=STAGED_MAX).map(move |number| format!("{name}#{number}"))
}

fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or(("", key))
}

/// The components of a path, none of which leads up.
fn components(path: &str) -> io::Result<Vec<&str>> {
    let components: Vec<&str> = path.split('/').filter(|component| !component.is_empty()).collect();
    match components.iter().find(|component| matches!(**component, "." | "..")) {
        Some(component) => Err(refuse(format!("{path} has a component {component:?}"))),
        None => Ok(components),
    }
}

/// A way that is not gone. Not a lack of permission, which would count as the store's refusal.
fn refuse(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}
