//! Disks of their own for the data of a broker: a file system in an image, whose power can be cut, or a small one in memory, which fills.
//! Only who may mount can have one.
#![expect(clippy::disallowed_methods, reason = "the seam at which tests make images and fill disks")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Ends a file system as a loss of power would: what was not synced is gone. The number is Linux's for ext4, and the flag says that the
/// file system's own journal is not written either.
const CUT: &str = "import fcntl, os, struct, sys\n\
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// A file system at a folder. It is gone when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    at: PathBuf,
    /// Where an image lies; none of one in memory.
    image: Option<TempDir>,
    /// What takes up its room.
    ballast: PathBuf,
}

impl Disk {
    /// An ext4 of that many mebibytes at a folder, which is made.
    ///
    /// # Errors
    /// Why this machine has none for us.
    pub(crate) fn with_power(at: &Path, mebibytes: u64) -> Result<Self, String> {
        let image = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = image.path().join("image");
        let made = File::create(&path).and_then(|file| file.set_len(mebibytes << 20));
        made.map_err(|error| error.to_string())?;
        run("python3", &["-c", "import fcntl"])?;
        run("mkfs.ext4", &["-q", "-F", path_of(&path)])?;
        let disk = Self::at(at, Some(image))?;
        disk.mount()?;
        Ok(disk)
    }

    /// A file system in memory with so much room: bytes, and files.
    ///
    /// # Errors
    /// Why this machine has none for us.
    pub(crate) fn in_memory(at: &Path, kibibytes: u64, files: u64) -> Result<Self, String> {
        let disk = Self::at(at, None)?;
        let options = format!("size={kibibytes}k,nr_inodes={files}");
        run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", path_of(at)])?;
        Ok(disk)
    }

    fn at(at: &Path, image: Option<TempDir>) -> Result<Self, String> {
        fs::create_dir_all(at).map_err(|error| error.to_string())?;
        Ok(Self { at: at.to_owned(), image, ballast: at.join("ballast") })
    }

    fn mount(&self) -> Result<(), String> {
        let Some(image) = &self.image else { return Ok(()) };
        let image = image.path().join("image");
        run("mount", &["-o", "loop", path_of(&image), path_of(&self.at)])
    }

    /// Cuts the power. Whoever has files open there finds that none of them works.
    pub(crate) fn cut(&self) {
        run("python3", &["-c", CUT, path_of(&self.at)]).expect("the power can be cut");
    }

    /// Gives the power back. Nobody may have files open there.
    pub(crate) fn power_on(&self) {
        run("umount", &[path_of(&self.at)]).expect("nobody uses it");
        self.mount().expect("it was mounted before");
    }

    /// Takes up all room.
    pub(crate) fn fill(&self) {
        // Ever smaller pieces, until not a byte more fits.
        let script = "for size in 1M 64k 4k 512 1; do dd if=/dev/zero bs=$size oflag=append conv=notrunc of=\"$0\" 2>/dev/null; done; true";
        run("sh", &["-c", script, path_of(&self.ballast)]).expect("a shell");
    }

    /// Takes up all files there can be.
    pub(crate) fn fill_files(&self) {
        fs::create_dir_all(&self.ballast).expect("one more");
        for number in 0.. {
            if File::create(self.ballast.join(format!("{number}"))).is_err() {
                return;
            }
        }
    }

    /// Gives the room back.
    pub(crate) fn clear(&self) {
        let cleared = if self.ballast.is_dir() {
            fs::remove_dir_all(&self.ballast)
        } else {
            fs::remove_file(&self.ballast)
        };
        cleared.expect("what takes up the room is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A process that is still there keeps it until it ends.
        let _ = run("umount", &["-l", path_of(&self.at)]);
    }
}

fn path_of(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let ran = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if ran.status.success() {
        return Ok(());
    }
    Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&ran.stderr).trim()))
}
