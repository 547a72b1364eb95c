//! The log against a disk that fails at every single operation, and against files that someone changed.

use std::sync::Arc;

use super::*;
use crate::disk::faulty::Faulty;
use crate::record::Granted;

const WHO: Identity = Identity { cluster_id: 7, member_id: 8 };

fn fact(n: u64) -> Fact {
    Fact::Granted(Granted { id: n.cast_signed(), ttl: 60 })
}

fn recovered(disk: &Faulty) -> Result<Recovered, Error> {
    recover(Arc::new(disk.clone()), WHO)
}

/// Writes batches of one to three facts, with a snapshot after every fourth, until the disk breaks. Returns how many
/// facts were acknowledged.
fn work(disk: &Faulty, batches: u64) -> u64 {
    let Ok(Recovered { facts, mut log, .. }) = recovered(disk) else { return 0 };
    let mut all = facts;
    let mut acknowledged = all.len() as u64;
    for batch in 0..batches {
        let next: Vec<Fact> = (1..=batch % 3 + 1).map(|n| fact(all.len() as u64 + n)).collect();
        let records: Vec<Record> = next.iter().cloned().map(Record::from).collect();
        all.extend(next);
        if log.append(&records).is_err() {
            assert!(log.append(&records).is_err(), "a failed log takes no more");
            break;
        }
        acknowledged = all.len() as u64;
        if batch % 4 == 3 {
            let Ok(snapshotter) = log.roll() else { break };
            // Commits go on while the snapshot is being written.
            let next = fact(all.len() as u64 + 1);
            let facts = all.clone();
            if log.append(&[Record::from(next.clone())]).is_err() {
                break;
            }
            all.push(next);
            acknowledged = all.len() as u64;
            if snapshotter.write(facts).is_err() {
                break;
            }
        }
    }
    acknowledged
}

#[test]
fn no_crash_loses_what_was_acknowledged() {
    let whole = Faulty::default();
    work(&whole, 14);
    for breaks_at in 1..=whole.operations() + 1 {
        for chance in [0, 1, 3, 128, 129, 200, 254, 255] {
            let disk = Faulty::default();
            disk.break_after(breaks_at);
            let acknowledged = work(&disk, 14);
            let disk = disk.crashed(chance);
            let context = format!("break at {breaks_at}, chance {chance}, {:?}", disk.names());
            let found = recovered(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
            let count = found.facts.len() as u64;
            assert!(count >= acknowledged, "{context}: {count} of {acknowledged}");
            assert_eq!(found.facts, (1..=count).map(fact).collect::<Vec<_>>(), "{context}");
            if count > 0 {
                assert_eq!(found.identity, WHO);
            }
            drop(found);
            // And it can go on from there.
            assert!(work(&disk, 5) > count, "{context}");
            let after = recovered(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!(after.facts.len() as u64 > count, "{context}");
        }
    }
}

#[test]
fn snapshots_replace_the_log_before_them() {
    let disk = Faulty::default();
    work(&disk, 40);
    let names = disk.names();
    assert_eq!(names.len(), 2, "one snapshot and one log: {names:?}");
}

#[test]
fn a_torn_tail_is_cut_and_counted() {
    let disk = Faulty::default();
    let acknowledged = work(&disk, 3);
    let name = log_name(1);
    disk.corrupt(&name, |bytes| bytes.extend_from_slice(&[5, 0, 0, 0, 1, 2, 3]));
    let found = recovered(&disk).expect("a torn tail is no damage");
    assert_eq!((found.facts.len() as u64, found.cut), (acknowledged, 7));
    drop(found);
    assert_eq!(recovered(&disk).expect("a clean log").cut, 0);
}

#[test]
fn damage_is_named_and_nothing_is_touched() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut Vec<u8>), offset: u64, what: &str) {
        let disk = Faulty::default();
        work(&disk, 3);
        disk.corrupt(&log_name(1), change);
        let before = disk.read(&log_name(1)).expect("the log");
        match recovered(&disk) {
            Err(Error::Damaged { path, offset: at, what: found }) => {
                assert_eq!((path.as_str(), at), ("faulty/0000000000000001.log", offset));
                assert!(found.contains(what), "{found}");
            }
            other => panic!("expected damage, got {other:?}"),
        }
        assert_eq!(disk.read(&log_name(1)).expect("the log"), before);
    }
    let header = HEADER_LEN as u64;
    check(|bytes| bytes[HEADER_LEN + 17] ^= 1, header, "a sound one follows at byte");
    check(|bytes| bytes[HEADER_LEN] = 0xff, header, "a sound one follows at byte");
    check(|bytes| bytes[HEADER_LEN + 9] ^= 1, header, "a sound one follows at byte");
    check(|bytes| bytes[3] ^= 1, 0, "checksum");
}

#[test]
fn a_missing_file_is_named() {
    let disk = Faulty::default();
    work(&disk, 6);
    let snapshot = disk.names().into_iter().find(|name| name.ends_with(".snapshot")).expect("a snapshot");
    let log = disk.names().into_iter().find(|name| name.ends_with(".log")).expect("a log");
    disk.remove(&snapshot).expect("a removal");
    match recovered(&disk) {
        Err(Error::Missing { path, .. }) => assert_eq!(path, "faulty/0000000000000001.log"),
        other => panic!("expected a missing file, got {other:?}"),
    }
    let disk = Faulty::default();
    work(&disk, 6);
    disk.remove(&log).expect("a removal");
    match recovered(&disk) {
        Err(Error::Missing { path, .. }) => assert_eq!(path, format!("faulty/{log}")),
        other => panic!("expected a missing file, got {other:?}"),
    }
}

#[test]
fn a_damaged_snapshot_is_named() {
    let disk = Faulty::default();
    work(&disk, 6);
    let snapshot = disk.names().into_iter().find(|name| name.ends_with(".snapshot")).expect("a snapshot");
    disk.corrupt(&snapshot, |bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    });
    match recovered(&disk) {
        Err(Error::Damaged { path, .. }) => assert_eq!(path, format!("faulty/{snapshot}")),
        other => panic!("expected damage, got {other:?}"),
    }
}

#[test]
fn another_registrys_log_is_refused() {
    let (ours, theirs) = (Faulty::default(), Faulty::default());
    work(&ours, 3);
    drop(
        recover(Arc::new(theirs.clone()), Identity { cluster_id: 9, member_id: 9 })
            .expect("a fresh registry"),
    );
    let foreign = theirs.read(&log_name(1)).expect("the log");
    ours.corrupt(&log_name(1), |bytes| bytes[..HEADER_LEN].copy_from_slice(&foreign[..HEADER_LEN]));
    let found = recovered(&ours).expect("what is not under the other's checksum counts as torn");
    assert!(found.facts.is_empty(), "none of these batches is the other registry's");
}
