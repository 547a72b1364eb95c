//! The data folder: one lock, the broker's id, its last lease, and where everything else lies.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A data folder that this process alone uses, for as long as this value lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    _lock: File,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the data folder is the one place where the process itself opens files"
)]
impl DataDir {
    /// Makes the folder if it is missing, and locks it.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root)
            .with_context(|| format!("cannot make the data folder {}", root.display()))?;
        let path = root.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => bail!(
                "the data folder {} is in use by another process; stop that one, or give this one a --data-dir of its own",
                root.display()
            ),
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// A folder below the root, made if it is missing.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(path)
    }

    /// A small value kept in a file of its own, if it is there.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>> {
        let path = self.root.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Keeps a small value, replacing the file whole.
    pub(crate) fn write(&self, name: &str, value: &str) -> Result<()> {
        let path = self.root.join(name);
        let draft = self.root.join(format!(".{name}.draft"));
        let keep = || -> std::io::Result<()> {
            let mut file = File::create(&draft)?;
            writeln!(file, "{value}")?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            File::open(&self.root)?.sync_all()
        };
        keep().with_context(|| format!("cannot write {}", path.display()))
    }
}
