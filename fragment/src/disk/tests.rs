//! What the disk in memory promises after a crash.

use super::memory::Crash;
use super::*;

/// What every disk does.
fn conforms(disk: &dyn Disk, root: &Path) {
    let folder = root.join("a/b");
    disk.create_dir_all(&folder).expect("made");
    disk.create_dir_all(&folder).expect("is there");
    let path = folder.join("file");
    assert_eq!(disk.open(&path, Open::Read).expect_err("is not there").kind(), io::ErrorKind::NotFound);
    let file = disk.open(&path, Open::Create).expect("made");
    assert_eq!(disk.open(&path, Open::Create).expect_err("is there").kind(), io::ErrorKind::AlreadyExists);

    let slices: Vec<Vec<u8>> = (0..3000usize).map(|n| vec![n as u8; n % 7]).collect();
    let whole: Vec<u8> = slices.concat();
    let vectors: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
    file.write_all_vectored_at(&vectors, 5).expect("written");
    file.write_all_at(b"front", 0).expect("written");
    assert_eq!(file.length().expect("length"), whole.len() as u64 + 5);

    let reader = disk.open(&path, Open::Read).expect("opened");
    let mut buffer = vec![0; whole.len() + 100];
    assert_eq!(reader.read_at(&mut buffer, 5).expect("read"), whole.len());
    assert!(buffer[..whole.len()] == whole[..]);
    assert_eq!(reader.read_at(&mut buffer, 1 << 40).expect("read"), 0);
    assert_eq!(reader.read_exact_at(&mut buffer, 5).expect_err("short").kind(), io::ErrorKind::UnexpectedEof);
    reader.write_all_at(b"x", 0).expect_err("open for reading alone");

    file.truncate(3).expect("cut");
    file.sync_data().expect("synced");
    disk.sync_dir(&folder).expect("synced");
    let written = disk.open(&path, Open::Write).expect("opened");
    assert_eq!(written.length().expect("length"), 3);

    let other = folder.join("another");
    disk.open(&other, Open::Write).expect("made");
    disk.rename(&path, &other).expect("replaced");
    assert_eq!(disk.list(&folder).expect("listed"), [Entry { name: "another".into(), length: 3 }]);
    disk.remove(&other).expect("removed");
    assert_eq!(disk.remove(&other).expect_err("is gone").kind(), io::ErrorKind::NotFound);
    assert_eq!(reader.read_at(&mut buffer, 0).expect("who has it keeps it"), 3);
    assert!(disk.list(&folder).expect("listed").is_empty());
    assert!(disk.free_space(&folder).expect("told") > 0);
}

#[test]
fn the_local_disk_conforms_and_keeps_files_to_their_owner() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    conforms(&LocalDisk, folder.path());
    let mode = |path: &Path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("a/b")), 0o700);
    LocalDisk.open(&folder.path().join("a/private"), Open::Create).expect("made");
    assert_eq!(mode(&folder.path().join("a/private")), 0o600);
}

#[test]
fn the_disk_in_memory_conforms() {
    conforms(&MemoryDisk::new(), Path::new("/data"));
}

#[test]
fn a_full_disk_takes_what_fits() {
    let disk = MemoryDisk::new();
    let path = Path::new("/data/file");
    let file = disk.open(path, Open::Create).expect("made");
    disk.set_room(Some(7));
    file.write_all_at(b"12345", 0).expect("fits");
    assert_eq!(file.write_all_at(b"6789", 5).expect_err("full").kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.bytes(path).as_deref(), Some(&b"1234567"[..]));
    disk.set_room(None);
    file.write_all_at(b"89", 7).expect("fits");
}

#[test]
fn a_crash_leaves_what_was_synced_or_what_was_written() {
    let disk = MemoryDisk::new();
    let (synced, unsynced) = (Path::new("/data/synced"), Path::new("/data/unsynced"));
    let file = disk.open(synced, Open::Create).expect("made");
    file.write_all_at(b"first", 0).expect("written");
    file.sync_data().expect("synced");
    disk.sync_dir(Path::new("/data")).expect("synced");
    file.write_all_at(b" second", 5).expect("written");
    disk.open(unsynced, Open::Create).expect("made");

    let killed = disk.crash(Crash::Process);
    assert_eq!(killed.bytes(synced).as_deref(), Some(&b"first second"[..]));
    assert_eq!(killed.paths(), [synced, unsynced]);
    let cut = disk.crash(Crash::Power);
    assert_eq!(cut.bytes(synced).as_deref(), Some(&b"first"[..]));
    assert_eq!(cut.paths(), [synced]);
}

#[test]
fn faults_come_when_they_were_ordered() {
    let disk = MemoryDisk::new();
    let file = disk.open(Path::new("/data/file"), Open::Create).expect("made");
    disk.fail_writes(1, 1, io::ErrorKind::Other, true);
    file.write_all_at(b"ok", 0).expect("written");
    file.write_all_at(b"half", 2).expect_err("fails");
    assert_eq!(disk.bytes(Path::new("/data/file")).as_deref(), Some(&b"okha"[..]));
    file.write_all_at(b"ok", 2).expect("written");
    disk.fail_reads(Some(io::ErrorKind::Other));
    file.read_at(&mut [0], 0).expect_err("fails");
    disk.fail_syncs(Some(io::ErrorKind::Other));
    file.sync_data().expect_err("fails");
    disk.heal();
    file.sync_data().expect("synced");
    assert_eq!((disk.writes(), disk.open_files()), (3, 1));
}
