//! The machine's own file system: the one place of this crate that calls it.
//!
//! Files are readable by their owner alone (0600, folders 0700), as what lies in them may be anybody's data.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use super::{Disk, DiskFile, Entry, Open};

/// The most slices one call of the kernel takes: `IOV_MAX` of Linux and the BSDs.
const MAX_SLICES: usize = 1024;

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDisk;

#[derive(Debug)]
struct LocalFile(File);

impl Disk for LocalDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk port")]
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                entries.push(Entry { name, length: metadata.len() });
            }
        }
        entries.sort();
        Ok(entries)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk port")]
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match how {
            Open::Read => {}
            Open::Write => {
                options.write(true).create(true).truncate(false);
            }
            Open::Create => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(LocalFile(options.open(path)?)))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk port")]
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk port")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk port")]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let statistics = rustix::fs::statvfs(path)?;
        Ok(statistics.f_bavail.saturating_mul(statistics.f_frsize))
    }
}

impl DiskFile for LocalFile {
    fn write_all_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut rest = slices;
        let mut position = position;
        while !rest.is_empty() {
            let batch = &rest[..rest.len().min(MAX_SLICES)];
            let mut written = match rustix::io::pwritev(&self.0, batch, position) {
                Ok(0) if batch.iter().any(|slice| !slice.is_empty()) => {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                Ok(written) => written,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            position += written as u64;
            let mut whole = 0;
            while let Some(slice) = batch.get(whole)
                && slice.len() <= written
            {
                written -= slice.len();
                whole += 1;
            }
            rest = &rest[whole..];
            // The kernel may stop anywhere, as before a full disk; the slice it stopped in is finished alone.
            if written > 0
                && let Some((slice, behind)) = rest.split_first()
            {
                self.0.write_all_at(&slice[written..], position)?;
                position += (slice.len() - written) as u64;
                rest = behind;
            }
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
