//! Spools on a file system that is really full, of bytes or of inodes. It takes a mount, and so root.

#![expect(clippy::disallowed_methods, reason = "the ballast on the disk is not the log's")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use courant_fragment::disk::LocalDisk;
use courant_fragment::error::Error;
use courant_fragment::spool::log::{Commit, Opening, Source, SpoolLog};
use courant_fragment::spool::recover::recover;
use courant_fragment::spool::volume::Layout;
use courant_fragment::spool::{ClusterId, Identity, SpoolId};
use courant_proto::codec::Codec;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::time::Timestamp;

const SIZE: usize = 1 << 20;

/// A small file system of its own, until it is dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    /// None, and why on standard error, where this user may not mount.
    fn new(inodes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={SIZE},nr_inodes={inodes}"), "tmpfs"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            Ok(output) => {
                eprintln!("skipped: cannot mount: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                eprintln!("skipped: cannot mount: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves about so many bytes free.
    fn fill_up_to(&self, free: usize) {
        let ballast = self.path().join("ballast");
        let mut bytes = vec![1; SIZE];
        while fs::write(&ballast, &bytes).is_err() {
            bytes.truncate(bytes.len() - 4096);
        }
        bytes.truncate(bytes.len().saturating_sub(free));
        fs::write(&ballast, &bytes).expect("room");
    }

    /// Leaves no inode.
    fn use_up_inodes(&self) {
        let mut number = 0;
        while fs::write(self.path().join(format!("inode-{number}")), b"").is_ok() {
            number += 1;
        }
    }

    fn free(&self) {
        for entry in fs::read_dir(self.path()).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                fs::remove_file(path).expect("removed");
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A folder that stays mounted cannot be removed, and is seen.
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

/// A journal in a log on that disk, and what was acknowledged of it.
struct Journal<'a> {
    mount: &'a Mount,
    log: SpoolLog,
    open: SpoolId,
    bytes: Vec<u8>,
    begin: u64,
}

fn layout() -> Layout {
    Layout {
        segment_bytes: 64 << 10,
        segments: 2,
        inline_bytes: 32 << 10,
        large_commit: 48 << 10,
        seed: 5,
        ..Layout::default()
    }
}

fn opening(begin: u64) -> Opening {
    let journal = JournalName::parse("a/journal").expect("a name");
    Opening {
        identity: Identity { journal, create_revision: 3, epoch: 1 },
        begin: Offset::new(begin.cast_signed()).expect("an offset"),
        codec: Codec::None,
        registers: Registers::default(),
    }
}

impl<'a> Journal<'a> {
    fn new(mount: &'a Mount) -> Self {
        let recovery = recover(Arc::new(LocalDisk), &mount.path().join("spools"), ClusterId(1), layout());
        let mut log = SpoolLog::new(recovery.expect("recovery").volume, 0);
        let mut turn = log.turn();
        let open = turn.open(opening(0)).expect("opened");
        turn.write().expect("written");
        Self { mount, log, open, bytes: Vec::new(), begin: 0 }
    }

    fn commit(&mut self, length: usize) -> Result<(), Error> {
        let seed = self.bytes.len();
        let more: Vec<u8> = (seed..seed + length).map(|n| (n * 7 + n / 251) as u8).collect();
        let chunks = [Bytes::from(more)];
        let mut turn = self.log.turn();
        turn.commit(self.open, Commit::new(Source::Memory(&chunks), Timestamp::from_secs(9)))?;
        turn.write()?;
        self.bytes.extend_from_slice(&chunks[0]);
        Ok(())
    }

    fn roll(&mut self) -> Result<(), Error> {
        let end = self.bytes.len() as u64;
        let mut turn = self.log.turn();
        let rolled = turn.roll(self.open, opening(end))?;
        turn.write()?;
        self.open = rolled.opened;
        self.begin = end;
        Ok(())
    }

    /// It is what was acknowledged, goes on when there is room, and is found again.
    fn goes_on(mut self) {
        self.check();
        self.mount.free();
        self.log.volume().sweep().expect("swept");
        for length in [100, 60_000, 100] {
            self.commit(length).expect("there is room");
        }
        self.roll().expect("there is room");
        self.commit(10).expect("there is room");
        self.check();
        let Self { mount, log, bytes, .. } = self;
        drop(log);
        let recovery = recover(Arc::new(LocalDisk), &mount.path().join("spools"), ClusterId(1), layout());
        let mut recovery = recovery.expect("recovery");
        assert!(recovery.lost.is_empty(), "{:?}", recovery.lost);
        let journal = recovery.journals.pop().expect("a journal");
        assert!(journal.certain && journal.damage.is_empty(), "{:?}", journal.damage);
        let mut found = Vec::new();
        for spool in journal.complete.iter().chain(&journal.open) {
            let mut content = vec![0; spool.length() as usize];
            assert_eq!(spool.content().read_at(0, &mut content).expect("readable"), content.len());
            found.extend(content);
        }
        assert!(found == bytes, "{} bytes were acknowledged, and {} found", bytes.len(), found.len());
    }

    fn check(&self) {
        let spool = self.log.spool(self.open).expect("open");
        assert_eq!(spool.end().get().cast_unsigned(), self.bytes.len() as u64);
        let mut content = vec![0; spool.length() as usize];
        assert_eq!(spool.content().read_at(0, &mut content).expect("readable"), content.len());
        assert!(content == self.bytes[self.begin as usize..]);
    }
}

fn refused(result: Result<(), Error>) {
    let error = result.expect_err("there is no room");
    assert!(error.is_out_of_space(), "{error}");
}

#[test]
fn a_commit_that_finds_no_room_in_the_segment() {
    let Some(mount) = Mount::new(100) else { return };
    let mut journal = Journal::new(&mount);
    journal.commit(5_000).expect("there is room");
    mount.fill_up_to(4096);
    refused(journal.commit(30_000));
    refused(journal.commit(30_000));
    // What is small enough still goes in.
    journal.commit(100).expect("there is room");
    journal.goes_on();
}

#[test]
fn a_commit_that_finds_no_room_in_the_content_file() {
    let Some(mount) = Mount::new(100) else { return };
    let mut journal = Journal::new(&mount);
    journal.commit(5_000).expect("there is room");
    mount.fill_up_to(24 << 10);
    refused(journal.commit(100_000));
    // The room that a part of it took is given back.
    journal.commit(6_000).expect("there is room");
    journal.goes_on();
}

#[test]
fn a_roll_without_any_room() {
    let Some(mount) = Mount::new(100) else { return };
    let mut journal = Journal::new(&mount);
    journal.commit(5_000).expect("there is room");
    mount.fill_up_to(0);
    // The last page of the segment may have room for some.
    let full = (0..100).map(|_| journal.commit(1).and_then(|()| journal.roll())).find_map(Result::err);
    assert!(full.expect("there is no room").is_out_of_space());
    journal.goes_on();
}

#[test]
fn a_segment_that_cannot_begin_for_want_of_bytes_or_inodes() {
    let check = |fills: &dyn Fn(&Mount)| {
        let Some(mount) = Mount::new(12) else { return };
        let mut journal = Journal::new(&mount);
        while journal.log.segments() < 2 {
            journal.commit(9_000).expect("there is room");
        }
        fills(&mount);
        // Up to the end of what this one has, or may still have.
        let error = (0..20).map(|_| journal.commit(9_000)).find_map(Result::err).expect("no room");
        assert!(error.is_out_of_space(), "{error}");
        refused(journal.commit(9_000));
        journal.goes_on();
    };
    check(&|mount| mount.fill_up_to(0));
    check(&Mount::use_up_inodes);
}

#[test]
fn a_content_file_that_cannot_begin_for_want_of_inodes() {
    let Some(mount) = Mount::new(8) else { return };
    let mut journal = Journal::new(&mount);
    journal.commit(5_000).expect("there is room");
    mount.use_up_inodes();
    refused(journal.commit(60_000));
    journal.commit(100).expect("a small one needs no file");
    journal.goes_on();
}
