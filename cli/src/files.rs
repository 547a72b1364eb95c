//! The disk port of the operator's verbs: the one place where they open files. It does not know what is in them.
#![expect(clippy::disallowed_methods, reason = "this is the seam that the verbs reach files through")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Standard input, or standard output, where a path is asked for.
pub(crate) const STANDARD: &str = "-";

/// Opens a file, or standard input, to read.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    if path == Path::new(STANDARD) {
        return Ok(Box::new(io::stdin()));
    }
    Ok(Box::new(open_file(path)?))
}

/// Opens a file, and not a folder, to read.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder (expected a file)"));
    }
    Ok(file)
}

/// Makes a file, or takes standard output, to write. What a file held is gone.
pub(crate) fn create(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    if path == Path::new(STANDARD) {
        return Ok(Box::new(io::stdout()));
    }
    Ok(Box::new(File::create(path)?))
}

/// Makes a file that was not there, among those that need not last, for its owner's eyes only.
pub(crate) fn create_draft(prefix: &str, content: &str) -> io::Result<PathBuf> {
    for attempt in 0..1_000 {
        let path = std::env::temp_dir().join(format!("{prefix}{}-{attempt}.yaml", std::process::id()));
        let mut file = match File::options().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        };
        return file.write_all(content.as_bytes()).map(|()| path);
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many drafts"))
}

/// Writes a file over what it holds.
pub(crate) fn overwrite(path: &Path, content: &str) -> io::Result<()> {
    File::create(path)?.write_all(content.as_bytes())
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// Reads a whole text of at most `most` bytes.
pub(crate) fn read_text(path: &Path, most: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("is larger than {most} bytes")));
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "is not text (expected UTF-8)"))
}

/// Sets a file aside under its name and `.previous`.
pub(crate) fn set_aside(path: &Path) -> io::Result<()> {
    fs::rename(path, beside(path, ".previous"))
}

/// Writes a file whole: as another one first, which then takes its place.
pub(crate) fn replace(path: &Path, content: &str) -> io::Result<()> {
    let draft = beside(path, ".temp");
    let mut file = File::create(&draft)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
