//! The seam to the file system: the one place where files and folders are touched.
#![expect(clippy::disallowed_methods, reason = "this is the seam that the benches reach files through")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};

/// Reads a text.
pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file whole.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// Makes an empty file, which a process then writes to.
pub(crate) fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Opens a file to read it.
pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// The next piece of a file, at most so long; none at its end.
pub(crate) fn piece(file: &mut File, length: usize) -> Result<Option<Bytes>> {
    let mut piece = BytesMut::zeroed(length);
    let count = file.read(&mut piece).context("cannot read a file")?;
    piece.truncate(count);
    Ok((count > 0).then(|| piece.freeze()))
}

/// Makes a folder and those above it.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create the folder {}", path.display()))
}

/// Removes a file of ours.
pub(crate) fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}

/// How many entries a folder has.
pub(crate) fn count(path: &Path) -> Result<usize> {
    let entries = fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
    Ok(entries.count())
}

/// Bytes of all files below a folder. What vanishes meanwhile is not counted.
pub(crate) fn size_below(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let metadata = entry.metadata().ok()?;
            Some(if metadata.is_dir() { size_below(&entry.path()) } else { metadata.len() })
        })
        .sum()
}

/// Copies so many blocks out of `source`, again and again, and writes each to a file, which is removed in the end.
/// Returns the bytes that were written.
pub(crate) fn copy_and_write(path: &Path, source: &[u8], block: usize, blocks: usize) -> Result<u64> {
    let file = create(path)?;
    let mut buffer = vec![0; block];
    let mut written = 0_u64;
    for part in source.chunks_exact(block).cycle().take(blocks) {
        buffer.copy_from_slice(part);
        file.write_all_at(&buffer, written).with_context(|| format!("cannot write to {}", path.display()))?;
        written += u64::try_from(block).unwrap_or(0);
    }
    drop(file);
    remove(path)?;
    Ok(written)
}

/// Writes a text to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to standard output")
}

/// Tells on standard error how far a run is.
pub(crate) fn tell(text: &str) {
    // Whether somebody reads it does not matter to the run.
    let _ = writeln!(std::io::stderr(), "{text}");
}
