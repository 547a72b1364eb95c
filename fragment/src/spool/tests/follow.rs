//! What a follower asks of a log: digests that are known, cuts under readers and before a roll, single durable commits.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::disk::memory::Crash;
use crate::spool::digest::Digest;
use crate::spool::log::Rolled;

fn digest_of(bytes: &[u8]) -> Digest {
    let mut digest = Digest::new();
    digest.update(bytes);
    digest
}

fn log_on(disk: &MemoryDisk) -> SpoolLog {
    SpoolLog::new(find(disk, small()).volume, 0)
}

fn open(log: &mut SpoolLog, journal: usize) -> SpoolId {
    let mut turn = log.turn();
    let id = turn.open(opening(journal, 1, 0, Registers::default())).expect("opened");
    turn.write().expect("written");
    id
}

#[test]
fn a_digest_that_is_known_is_taken_as_it_is() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk);
    let spool = open(&mut log, 0);
    let mut bytes = Vec::new();
    // Inline, in the content file, inline again, and of a file.
    for (step, length) in [100, 9_000, 64, 700_000].into_iter().enumerate() {
        let more = content(step as u64, length);
        bytes.extend_from_slice(&more);
        let chunks = [Bytes::from(more)];
        let mut turn = log.turn();
        let commit =
            Commit { digest: Some(digest_of(&bytes)), ..Commit::new(Source::Memory(&chunks), now()) };
        turn.commit(spool, commit).expect("staged");
        turn.write().expect("written");
        assert_eq!(log.spool(spool).expect("open").sum().0, sum(&bytes));
    }
    // It is not computed: one that is wrong is kept.
    let mut turn = log.turn();
    bytes.push(b'x');
    let chunks = [Bytes::from_static(b"x")];
    let wrong = Commit {
        digest: Some(digest_of(&vec![0; bytes.len()])),
        ..Commit::new(Source::Memory(&chunks), now())
    };
    turn.commit(spool, wrong).expect("staged");
    turn.write().expect("written");
    assert_eq!(log.spool(spool).expect("open").sum().0, sum(&vec![0; bytes.len()]));
}

#[test]
fn a_spool_is_cut_and_rolled_in_one_turn() {
    let check = |commits: &[usize], cut: u64| {
        let disk = MemoryDisk::new();
        let mut log = log_on(&disk);
        let spool = open(&mut log, 0);
        let mut bytes = Vec::new();
        for (step, length) in commits.iter().enumerate() {
            commit(&mut log, spool, &content(step as u64, *length));
            bytes.extend(content(step as u64, *length));
        }
        let reader = Arc::clone(log.spool(spool).expect("open").content());
        let keep = &bytes[..cut as usize];
        let mut turn = log.turn();
        turn.cut(spool, at(cut)).expect("cut").expect("something");
        let grows = stage(&mut turn, spool, b"x").expect_err("what it kept is not written yet");
        assert!(matches!(grows, Error::Staged(_)), "{grows}");
        let Rolled { completed, opened } =
            turn.roll(spool, opening(0, 2, cut, registers(4))).expect("rolled");
        stage(&mut turn, opened, b"of the next epoch").expect("staged");
        turn.write().expect("written");
        assert_eq!(completed, (cut > 0).then_some(spool), "{commits:?} cut at {cut}");
        let mut seen = vec![0; keep.len()];
        assert_eq!(reader.read_at(0, &mut seen).expect("readable"), keep.len());
        assert!(seen == keep, "who read it reads what is left");

        drop(log);
        let mut recovery = find(&disk, small());
        let journal = recovery.journals.pop().expect("a journal");
        assert!(journal.certain && journal.damage.is_empty() && recovery.lost.is_empty());
        assert_eq!((journal.identity.epoch, journal.head), (2, at(cut + 17)));
        let spans: Vec<_> = journal.complete.iter().map(|spool| (spool.begin(), spool.end())).collect();
        assert_eq!(spans, Vec::from_iter((cut > 0).then_some((at(0), at(cut)))));
        if let Some(complete) = journal.complete.first() {
            assert!(read(complete.content()).expect("readable") == keep);
            assert_eq!(complete.sum().0, sum(keep));
        }
    };
    check(&[100, 50], 120);
    check(&[100, 50], 100);
    check(&[100, 50], 0);
    check(&[100, 3000, 80], 90);
    check(&[100_000, 100_000, 80], 150_000);
    check(&[100_000, 100_000, 80], 200_010);
}

#[test]
fn a_spool_that_its_turn_carries_forward_is_cut_all_the_same() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk);
    let (idle, busy) = (open(&mut log, 0), open(&mut log, 1));
    commit(&mut log, idle, &content(1, 700));
    // Until the idle spool's segment is to be emptied: then each turn begins by carrying.
    let mut step = 2;
    while !log.wants_turn() {
        commit(&mut log, busy, &content(step, 500));
        step += 1;
    }
    let mut turn = log.turn();
    let aside = turn.cut(idle, at(300)).expect("cut").expect("something");
    assert_eq!((aside.begin, aside.end), (at(300), at(700)));
    turn.write().expect("written");
    assert!(read(log.spool(idle).expect("open").content()).expect("readable") == content(1, 700)[..300]);
    drop(log);
    let recovery = find(&disk, small());
    let journal =
        recovery.journals.iter().find(|journal| journal.identity.journal == name(0)).expect("found");
    assert_eq!(journal.open.as_ref().map(Spool::end), Some(at(300)));
    assert!(journal.damage.is_empty());
}

/// A block is cut and written over while someone reads it: what is below the cut is given out, and nothing is called damaged.
#[test]
fn readers_go_on_below_a_cut_while_the_spool_grows_anew() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk);
    let spool = open(&mut log, 0);
    commit(&mut log, spool, &content(1, 100_000));
    let reader = Arc::clone(log.spool(spool).expect("open").content());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let expected = content(1, 70_000);
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) || reads == 0 {
                let mut seen = vec![0; 70_000];
                assert_eq!(reader.read_at(0, &mut seen).expect("readable"), 70_000);
                assert!(seen == expected);
                reads += 1;
            }
        });
        for round in 0..200u64 {
            let mut turn = log.turn();
            turn.cut(spool, at(70_000)).expect("cut");
            turn.write().expect("written");
            commit(&mut log, spool, &content(round, 30_000));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(!reader.is_damaged());
}

#[test]
fn one_durable_commit_keeps_all_of_its_spool_from_a_loss_of_power() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk);
    let (durable, other) = (open(&mut log, 0), open(&mut log, 1));
    let mut bytes = Vec::new();
    for step in 0..200u64 {
        let more = content(step, if step % 23 == 22 { 5000 } else { 150 });
        let asks = step % 7 == 6;
        commit(&mut log, other, &content(step, 90));
        let mut turn = log.turn();
        let chunks = [Bytes::from(more.clone())];
        turn.commit(durable, Commit { durable: asks, ..Commit::new(Source::Memory(&chunks), now()) })
            .expect("staged");
        turn.write().expect("written");
        bytes.extend(more);
        let unsynced = log.take_unsynced();
        assert_eq!(unsynced.is_empty(), !asks, "after {step} turns");
        unsynced.sync().expect("synced");
        log.volume().sweep().expect("swept");
        if asks {
            let mut recovery = find(&disk.crash(Crash::Power), small());
            recovery.journals.retain(|journal| journal.identity.journal == name(0));
            let spool = recovery.journals.pop().and_then(|journal| journal.open).expect("found");
            assert!(read(spool.content()).expect("readable") == bytes, "after {step} turns");
        }
    }
}

#[test]
fn a_durable_commit_to_a_recovered_spool_rests_on_nothing_that_was_not_synced() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk);
    let spool = open(&mut log, 0);
    commit(&mut log, spool, &content(1, 5000));
    commit(&mut log, spool, &content(2, 100));
    drop(log);
    let mut recovery = find(&disk, small());
    let mut log = SpoolLog::new(recovery.volume, 0);
    let spool = log.adopt(recovery.journals.pop().expect("a journal")).open.expect("open");
    let mut turn = log.turn();
    let chunks = [Bytes::from_static(b"durable")];
    turn.commit(spool, Commit { durable: true, ..Commit::new(Source::Memory(&chunks), now()) })
        .expect("staged");
    turn.write().expect("written");
    log.take_unsynced().sync().expect("synced");
    let mut recovery = find(&disk.crash(Crash::Power), small());
    let journal = recovery.journals.pop().expect("a journal");
    assert_eq!(journal.open.map(|spool| spool.end()), Some(at(5107)));
}
