//! Turns one by one: what they cost, what they refuse, what is left when they fail, and what they leave behind.

use super::*;
use crate::disk::memory::Crash;
use crate::disk::{Disk as _, Open};
use crate::spool::log::{Quarantined, Rolled};

fn log_on(disk: &MemoryDisk, layout: Layout) -> SpoolLog {
    SpoolLog::new(find(disk, layout).volume, 0)
}

fn open(log: &mut SpoolLog, journal: usize) -> SpoolId {
    let mut turn = log.turn();
    let spool = turn.open(opening(journal, 1, 0, Registers::default())).expect("opened");
    turn.write().expect("written");
    spool
}

/// Recovers the log's journals into a new log.
fn restart(
    disk: &MemoryDisk,
    layout: Layout,
) -> (SpoolLog, BTreeMap<JournalName, super::super::log::Adopted>) {
    let recovery = find(disk, layout);
    let mut log = SpoolLog::new(recovery.volume, 0);
    let adopted = recovery
        .journals
        .into_iter()
        .map(|journal| {
            assert_eq!(journal.damage, []);
            (journal.identity.journal.clone(), log.adopt(journal))
        })
        .collect();
    (log, adopted)
}

fn files(disk: &MemoryDisk) -> Vec<String> {
    let folder = folder();
    disk.paths()
        .iter()
        .map(|path| path.strip_prefix(&folder).expect("a spool file").display().to_string())
        .collect()
}

#[test]
fn an_idle_spool_is_small() {
    let heap = size_of::<Content>() + 2 * size_of::<usize>();
    let total = size_of::<Spool>() + heap;
    assert!(total < 1024, "an empty spool takes {total} bytes besides the name of its journal");
}

#[test]
fn a_turn_of_many_journals_is_one_write() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, Layout::default());
    let spools: Vec<_> = (0..64).map(|journal| open(&mut log, journal)).collect();
    let before = disk.writes();
    let mut turn = log.turn();
    for spool in &spools {
        stage(&mut turn, *spool, &content(spool.0, 100)).expect("staged");
        stage(&mut turn, *spool, &content(spool.0, 10_000)).expect("staged");
    }
    let written = turn.write().expect("written");
    assert_eq!(disk.writes(), before + 1);
    // What a commit costs besides its content.
    assert!(written.bytes < 64 * (10_100 + 2 * 200), "{} bytes", written.bytes);
    for spool in &spools {
        let spool = log.spool(*spool).expect("a spool");
        let expected = [content(spool.id().0, 100), content(spool.id().0, 10_000)].concat();
        assert!(read(spool.content()).expect("readable") == expected);
    }
}

#[test]
fn an_empty_turn_writes_nothing() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, Layout::default());
    assert_eq!(log.turn().write().expect("written").bytes, 0);
    let spool = open(&mut log, 0);
    let before = disk.writes();
    let mut turn = log.turn();
    let grown = stage(&mut turn, spool, b"").expect("staged");
    assert_eq!((grown.begin, grown.end), (at(0), at(0)));
    assert_eq!(turn.write().expect("written").bytes, 0);
    assert_eq!(disk.writes(), before);
    assert_eq!(log.spool(spool).expect("a spool").first_append(), None);
}

#[test]
fn refusals_leave_the_turn_as_it_was() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, small());
    let spool = open(&mut log, 0);
    commit(&mut log, spool, b"hello");
    let mut turn = log.turn();
    let unknown = SpoolId(999);
    stage(&mut turn, spool, b" world").expect("staged");
    let refused = |error: Error, text: &str| assert!(error.to_string().contains(text), "{error}");
    refused(stage(&mut turn, unknown, b"x").expect_err("unknown"), "there is no spool 00000000000003e7");
    refused(turn.release(unknown).expect_err("unknown"), "there is no spool");
    refused(turn.release(spool).expect_err("open"), "still open");
    let next = opening(0, 1, 10, Registers::default());
    refused(
        turn.roll(spool, next).expect_err("backwards"),
        "cannot go on at offset 10: it has committed up to 11",
    );
    refused(turn.cut(spool, at(3)).expect_err("staged"), "write the turn first");
    let rolled = turn.roll(spool, opening(0, 1, 11, Registers::default())).expect("rolled");
    assert_eq!(rolled.completed, Some(spool));
    refused(stage(&mut turn, spool, b"x").expect_err("complete"), "does not grow any more");
    refused(turn.forget(spool).expect_err("complete"), "does not grow any more");
    turn.write().expect("written");
    assert_eq!(read(log.spool(spool).expect("complete").content()).expect("readable"), b"hello world");
}

#[test]
fn offsets_end() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, small());
    let mut turn = log.turn();
    let last = i64::MAX as u64 - 3;
    let spool = turn.open(opening(0, 1, last, Registers::default())).expect("opened");
    let error = stage(&mut turn, spool, b"1234").expect_err("there is no such offset");
    assert!(matches!(error, Error::OffsetOverflow { length: 4, .. }), "{error}");
    stage(&mut turn, spool, b"123").expect("staged");
    turn.write().expect("written");
    drop(log);
    let (log, adopted) = restart(&disk, small());
    let spool = log.spool(adopted[&name(0)].open.expect("open")).expect("a spool");
    assert_eq!(spool.end(), Offset::MAX);
}

#[test]
fn a_full_disk_refuses_one_spool_and_not_its_neighbours() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, small());
    let (large, other) = (open(&mut log, 0), open(&mut log, 1));
    let mut turn = log.turn();
    stage(&mut turn, other, b"before").expect("staged");
    disk.fail_writes(0, 1, std::io::ErrorKind::StorageFull, true);
    let error = stage(&mut turn, large, &content(1, 5000)).expect_err("full");
    assert!(error.is_out_of_space(), "{error}");
    stage(&mut turn, large, b"small").expect("staged");
    stage(&mut turn, other, b" after").expect("staged");
    turn.write().expect("written");
    assert_eq!(read(log.spool(other).expect("a spool").content()).expect("readable"), b"before after");
    assert_eq!(read(log.spool(large).expect("a spool").content()).expect("readable"), b"small");
}

#[test]
fn a_spool_that_a_full_disk_kept_from_being_carried_is_carried_later() {
    let layout = Layout { segment_bytes: 64 << 10, inline_bytes: 1 << 20, inline_commits: 4096, ..small() };
    let layout = Layout { large_commit: 1 << 20, ..layout };
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, layout);
    let (idle, busy) = (open(&mut log, 0), open(&mut log, 1));
    commit(&mut log, idle, &content(1, 100_000));
    let mut step = 2;
    while !log.wants_turn() {
        commit(&mut log, busy, &content(step, 9_000));
        step += 1;
    }
    // It goes to a content file, for which there is no room; what the turn is for has room all the same.
    disk.fail_writes(0, 1, std::io::ErrorKind::StorageFull, true);
    commit(&mut log, busy, b"small");
    for step in 0..200 {
        commit(&mut log, busy, &content(step, 1_000));
        log.volume().sweep().expect("swept");
    }
    assert!(log.segments() <= layout.segments + 1, "{} segments", log.segments());
    assert!(read(log.spool(idle).expect("open").content()).expect("readable") == content(1, 100_000));
}

#[test]
fn while_a_failed_turn_cannot_be_cut_back_nothing_is_accepted() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, small());
    let spool = open(&mut log, 0);
    commit(&mut log, spool, b"first");
    disk.fail_writes(0, 1, std::io::ErrorKind::StorageFull, true);
    disk.fail_truncate(Some(std::io::ErrorKind::Other));
    let mut turn = log.turn();
    stage(&mut turn, spool, &content(3, 700)).expect("staged");
    assert!(turn.write().expect_err("full").is_out_of_space());
    for _ in 0..2 {
        let mut turn = log.turn();
        let error = stage(&mut turn, spool, b"second").expect_err("not before it is cut back");
        assert!(
            error.to_string().starts_with("cannot cut back /data/spools/0000000000000001.log"),
            "{error}"
        );
    }
    disk.heal();
    commit(&mut log, spool, b" second");
    assert_eq!(log.spool(spool).expect("a spool").end(), at(12));
    drop(log);
    let (log, adopted) = restart(&disk, small());
    let spool = log.spool(adopted[&name(0)].open.expect("open")).expect("a spool");
    assert_eq!(read(spool.content()).expect("readable"), b"first second");
}

#[test]
fn idle_journals_are_carried_forward_and_the_disk_stays_small() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, small());
    let idle: Vec<_> = (1..20).map(|journal| open(&mut log, journal)).collect();
    commit(&mut log, idle[0], b"a little");
    commit(&mut log, idle[1], &content(9, 1900));
    let mut turn = log.turn();
    let waiting = turn.roll(idle[1], opening(2, 1, 1900, registers(3))).expect("rolled");
    turn.write().expect("written");

    let busy = open(&mut log, 0);
    let mut longest = 0;
    let mut bytes = Vec::new();
    for step in 0..600u64 {
        let mut turn = log.turn();
        stage(&mut turn, busy, &content(step, 150)).expect("staged");
        longest = longest.max(turn.write().expect("written").bytes);
        bytes.extend(content(step, 150));
        log.volume().sweep().expect("swept");
        let segments = files(&disk).iter().filter(|name| name.ends_with(".log")).count();
        assert!(segments <= 4, "{:?}", files(&disk));
    }
    // A turn carries a bounded part.
    assert!(longest < 4 * 4096, "a turn of {longest} bytes");
    assert!(read(log.spool(busy).expect("busy").content()).expect("readable") == bytes);
    drop(log);

    let (log, adopted) = restart(&disk, small());
    assert_eq!(adopted.len(), 20);
    for journal in 1..20 {
        let spool = log.spool(adopted[&name(journal)].open.expect("open")).expect("a spool");
        let (length, begin) = match journal {
            1 => (8, 0),
            2 => (0, 1900),
            _ => (0, 0),
        };
        assert_eq!((spool.length(), spool.begin()), (length, at(begin)), "journal {journal}");
    }
    assert_eq!(adopted[&name(2)].complete, [waiting.completed.expect("complete")]);
    let complete = log.spool(adopted[&name(2)].complete[0]).expect("complete");
    assert!(read(complete.content()).expect("readable") == content(9, 1900));
    assert_eq!(complete.sum().0, sum(&content(9, 1900)));
}

#[test]
fn segments_of_earlier_processes_do_not_pile_up() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, small());
    for journal in 0..4 {
        open(&mut log, journal);
    }
    drop(log);
    for _ in 0..30 {
        let (mut log, adopted) = restart(&disk, small());
        let spool = adopted[&name(0)].open.expect("open");
        commit(&mut log, spool, b"x");
        while log.wants_turn() {
            log.turn().write().expect("written");
        }
        log.volume().sweep().expect("swept");
        assert!(files(&disk).len() <= 5, "{:?}", files(&disk));
    }
}

#[test]
fn files_are_open_while_they_are_used() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, small());
    let spools: Vec<_> = (0..10).map(|journal| open(&mut log, journal)).collect();
    for spool in &spools {
        commit(&mut log, *spool, &content(spool.0, 10_000));
        commit(&mut log, *spool, b"and a little");
    }
    for spool in &spools {
        read(log.spool(*spool).expect("a spool").content()).expect("readable");
    }
    assert!(disk.open_files() > 10);
    log.volume().rest();
    log.volume().rest();
    assert_eq!(disk.open_files(), 1, "the segment that is written to");
    for spool in &spools {
        read(log.spool(*spool).expect("a spool").content()).expect("readable");
        commit(&mut log, *spool, &content(spool.0, 3000));
    }
}

#[test]
fn segments_are_read_in_pieces() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, Layout::default());
    let spools: Vec<_> = (0..3).map(|journal| open(&mut log, journal)).collect();
    let mut expected = vec![Vec::new(); 3];
    for step in 0..120u64 {
        let mut turn = log.turn();
        for journal in 0..3 {
            let length = (step * 7919 + journal as u64 * 104_729) % 40_000;
            stage(&mut turn, spools[journal], &content(step, length as usize)).expect("staged");
            expected[journal].extend(content(step, length as usize));
        }
        turn.write().expect("written");
    }
    drop(log);
    let path = folder().join("0000000000000001.log");
    assert!(disk.bytes(&path).expect("a segment").len() > 6 << 20);
    let (log, adopted) = restart(&disk, Layout::default());
    for (journal, expected) in expected.iter().enumerate() {
        let spool = log.spool(adopted[&name(journal)].open.expect("open")).expect("a spool");
        assert!(read(spool.content()).expect("readable") == *expected);
        assert_eq!(spool.sum().0, sum(expected));
    }
    drop(log);

    // A hole of a window and a half costs what was in it, and is told.
    disk.damage(&path, |bytes| bytes[2 << 20..(7 << 20) / 2].fill(0));
    let recovery = find(&disk, Layout::default());
    assert!(!recovery.lost.is_empty());
    for journal in &recovery.journals {
        for spool in journal.complete.iter().chain(&journal.open) {
            read(spool.content()).expect("what was recovered checks");
        }
        assert!(journal.certain, "records behind the hole name their ends");
        assert_eq!(journal.head.get() as usize, expected[index_of(journal)].len());
    }
}

fn index_of(journal: &crate::spool::recover::RecoveredJournal) -> usize {
    (0..100).find(|index| name(*index) == journal.identity.journal).expect("a journal of the test")
}

#[test]
fn content_comes_out_of_a_file() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, small());
    let spool = open(&mut log, 0);
    commit(&mut log, spool, b"before ");
    let scratch = disk.open(&PathBuf::from("/data/scratch"), Open::Create).expect("made");
    let bytes = content(5, 200_000);
    scratch.write_all_at(&bytes, 0).expect("written");
    let from = |length| Commit::new(Source::File { file: &*scratch, length }, now());
    let mut turn = log.turn();
    let error = turn.commit(spool, from(200_001)).expect_err("too short");
    assert!(matches!(error, Error::ShortContent { have: 200_000, expected: 200_001 }), "{error}");
    turn.commit(spool, from(200_000)).expect("staged");
    turn.commit(spool, from(10)).expect("staged");
    stage(&mut turn, spool, b" inline").expect("staged");
    let error = turn.commit(spool, from(10)).expect_err("what is inline was not written yet");
    assert!(matches!(error, Error::Staged(_)), "{error}");
    turn.write().expect("written");
    let expected = [b"before ".as_slice(), &bytes, &bytes[..10], b" inline"].concat();
    drop(log);
    disk.remove(&PathBuf::from("/data/scratch")).expect("removed");
    let (log, adopted) = restart(&disk, small());
    let spool = log.spool(adopted[&name(0)].open.expect("open")).expect("a spool");
    assert!(read(spool.content()).expect("readable") == expected);
    assert_eq!(spool.sum().0, sum(&expected));
}

#[test]
fn durable_turns_survive_the_loss_of_power() {
    let layout = Layout { durable: true, ..small() };
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, layout);
    let (busy, idle) = (open(&mut log, 0), open(&mut log, 1));
    commit(&mut log, idle, b"idle");
    let mut bytes = Vec::new();
    for step in 0..300u64 {
        let more = content(step, if step % 50 == 49 { 5000 } else { 150 });
        commit(&mut log, busy, &more);
        bytes.extend(more);
        log.take_unsynced().sync().expect("synced");
        // A sweep removes segments; what they held must be durable elsewhere by then.
        log.volume().sweep().expect("swept");
        if step % 17 == 0 {
            let (after, adopted) = restart(&disk.crash(Crash::Power), layout);
            let spool = |journal| after.spool(adopted[&name(journal)].open.expect("open")).expect("a spool");
            assert!(read(spool(0).content()).expect("readable") == bytes, "after {step} turns");
            assert_eq!(read(spool(1).content()).expect("readable"), b"idle");
        }
    }
    disk.fail_syncs(Some(std::io::ErrorKind::Other));
    commit(&mut log, busy, b"x");
    log.take_unsynced().sync().expect_err("not synced");
}

#[test]
fn carried_forward_spools_survive_the_loss_of_power_without_durable_turns() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, small());
    let (busy, idle) = (open(&mut log, 0), open(&mut log, 1));
    commit(&mut log, idle, b"long on disk");
    let synced = |disk: &MemoryDisk| {
        for path in disk.paths() {
            disk.open(&path, Open::Read).expect("opened").sync_data().expect("synced");
        }
        disk.sync_dir(&folder()).expect("synced");
    };
    synced(&disk);
    for step in 0..300u64 {
        commit(&mut log, busy, &content(step, 150));
        log.volume().sweep().expect("swept");
        let (after, adopted) = restart(&disk.crash(Crash::Power), small());
        let spool = after.spool(adopted[&name(1)].open.expect("open")).expect("a spool");
        assert_eq!(read(spool.content()).expect("readable"), b"long on disk", "after {step} turns");
    }
}

#[test]
fn what_lies_past_an_epoch_is_cut_and_put_aside() {
    // Content of that length, in commits of those lengths, cut there.
    let check = |commits: &[usize], cut: u64, complete: bool| {
        let disk = MemoryDisk::new();
        let mut log = log_on(&disk, small());
        let mut turn = log.turn();
        let mut spool = turn.open(opening(0, 1, 1000, registers(1))).expect("opened");
        turn.write().expect("written");
        let mut bytes = Vec::new();
        for (index, length) in commits.iter().enumerate() {
            commit(&mut log, spool, &content(index as u64, *length));
            bytes.extend(content(index as u64, *length));
        }
        if complete {
            let mut turn = log.turn();
            let next = opening(0, 2, 1000 + bytes.len() as u64, registers(1));
            let Rolled { completed, .. } = turn.roll(spool, next).expect("rolled");
            spool = completed.expect("complete");
            turn.write().expect("written");
        }
        let (keep, lost) = bytes.split_at((cut as usize).saturating_sub(1000).min(bytes.len()));
        // A turn that is not written cuts nothing.
        log.turn().cut(spool, at(cut)).expect("staged");
        assert_eq!(log.spool(spool).expect("a spool").length(), bytes.len() as u64);

        let mut turn = log.turn();
        let quarantined = turn.cut(spool, at(cut)).expect("cut");
        turn.write().expect("written");
        let what = format!("{commits:?} cut at {cut}");
        match quarantined {
            None => assert!(lost.is_empty(), "{what}"),
            Some(Quarantined { identity, begin, end, path, .. }) => {
                assert_eq!(identity.journal, name(0));
                assert_eq!(
                    (begin, end),
                    (at(1000 + keep.len() as u64), at(1000 + bytes.len() as u64)),
                    "{what}"
                );
                assert!(disk.bytes(&path).expect("put aside") == lost, "{what}");
                let note = String::from_utf8(disk.bytes(&path.with_extension("about")).expect("a note"));
                assert!(
                    note.expect("text").contains("journal: test/journal-0\ncreate revision: 5\nepoch: 1\n")
                );
            }
        }
        let check = |log: &SpoolLog, id: Option<SpoolId>| match id.and_then(|id| log.spool(id)) {
            None => assert!(complete && keep.is_empty(), "{what}"),
            Some(spool) => {
                assert!(read(spool.content()).expect("readable") == keep, "{what}");
                assert_eq!((spool.sum().0, spool.is_complete()), (sum(keep), complete));
            }
        };
        check(&log, Some(spool));
        if !complete {
            commit(&mut log, spool, b"");
            commit(&mut log, spool, b"other bytes");
            let spool = log.spool(spool).expect("open");
            assert_eq!(read(spool.content()).expect("readable"), [keep, b"other bytes"].concat());
        }
        drop(log);
        let (log, adopted) = restart(&disk, small());
        let adopted = &adopted[&name(0)];
        if complete {
            check(&log, adopted.complete.first().copied());
        } else {
            let spool = log.spool(adopted.open.expect("open")).expect("a spool");
            assert_eq!(read(spool.content()).expect("readable"), [keep, b"other bytes"].concat());
        }
    };
    for complete in [false, true] {
        check(&[100, 50], 1150, complete);
        check(&[100, 50], 2000, complete);
        check(&[100, 50], 1100, complete);
        check(&[100, 50], 1070, complete);
        check(&[100, 50], 1000, complete);
        check(&[100, 50], 3, complete);
        check(&[100, 3000, 80], 1090, complete);
        check(&[100, 3000, 80], 1100 + 1500, complete);
        check(&[100, 3000, 80], 1100 + 3000, complete);
        check(&[100, 3000, 80], 1100 + 3000 + 7, complete);
        check(&[100_000, 100_000, 80], 1000 + 65536, complete);
        check(&[100_000, 100_000, 80], 1000 + 150_000, complete);
    }
}

#[test]
fn spools_of_another_cluster_are_put_aside_and_kept() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, small());
    let spool = open(&mut log, 0);
    commit(&mut log, spool, &content(1, 5000));
    commit(&mut log, spool, b"and more");
    drop(log);
    let before: Vec<_> = files(&disk).iter().map(|name| disk.bytes(&folder().join(name))).collect();
    let names = files(&disk);

    let recovery = recover(Arc::new(disk.clone()), &folder(), ClusterId(1), small()).expect("recovery");
    assert!(recovery.journals.is_empty());
    assert_eq!(recovery.quarantined.len(), 2);
    recovery.volume.sweep().expect("swept");
    for (name, bytes) in names.iter().zip(before) {
        assert_eq!(disk.bytes(&folder().join("quarantine").join(name)), bytes, "{name}");
    }
    // Numbers that lie aside are not given out again.
    let mut log = SpoolLog::new(recovery.volume, 0);
    let other = open(&mut log, 0);
    assert!(other > spool);
    assert!(files(&disk).contains(&"0000000000000002.log".to_owned()), "{:?}", files(&disk));
}

#[test]
fn what_was_not_stored_of_another_cluster_is_told_before_it_is_put_aside() {
    let disk = MemoryDisk::new();
    let mut log = log_on(&disk, small());
    let ends = |cluster| {
        let ends = ends_elsewhere(&disk, &folder(), cluster).expect("ends");
        ends.values().map(|(end, _)| end.get()).collect::<Vec<_>>()
    };
    let mut turn = log.turn();
    let spool = turn.open(opening(0, 1, 100, Registers::default())).expect("opened");
    turn.write().expect("written");
    assert_eq!(ends(ClusterId(1)), Vec::<i64>::new(), "a head holds no content");
    commit(&mut log, spool, &content(1, 5000));
    commit(&mut log, spool, b"and more");
    assert_eq!(ends(ClusterId(1)), [5108]);
    assert_eq!(ends(CLUSTER), Vec::<i64>::new(), "what is ours is recovered");
    // What a store has is nobody's loss.
    let mut turn = log.turn();
    let rolled = turn.roll(spool, opening(0, 1, 5108, Registers::default())).expect("rolled");
    turn.release(rolled.completed.expect("it had content")).expect("released");
    turn.write().expect("written");
    assert_eq!(ends(ClusterId(1)), Vec::<i64>::new());
}

#[test]
fn leftover_content_files_are_put_aside_unless_they_are_empty() {
    let disk = MemoryDisk::new();
    disk.open(&folder().join("00000000000000aa.content"), Open::Create).expect("made");
    let file = disk.open(&folder().join("00000000000000ab.content"), Open::Create).expect("made");
    file.write_all_at(b"whose?", 0).expect("written");
    disk.open(&folder().join("notes.txt"), Open::Create).expect("made");
    let recovery = find(&disk, small());
    assert_eq!(recovery.quarantined, [folder().join("quarantine/00000000000000ab.content")]);
    assert_eq!(files(&disk), ["notes.txt", "quarantine/00000000000000ab.content"]);
    let mut log = SpoolLog::new(recovery.volume, 0);
    assert_eq!(open(&mut log, 0), SpoolId(0xac));
}

#[test]
fn a_later_format_is_refused_with_a_way_out() {
    let disk = MemoryDisk::new();
    let path = folder().join("0000000000000001.log");
    let file = disk.open(&path, Open::Create).expect("made");
    let head = super::super::frame::Segment {
        version: 2,
        core: 0,
        cluster: CLUSTER.0,
        sequence: 1,
        salt: super::super::frame::Salt(1),
    };
    let record = super::super::frame::Record::Segment(head);
    let salt = super::super::frame::segment_salt(1);
    let mut bytes = Vec::new();
    super::super::frame::encode(&record, Default::default(), salt, 0, &mut bytes);
    bytes.resize(200, 0);
    file.write_all_at(&bytes, 0).expect("written");
    let error = recover(Arc::new(disk.clone()), &folder(), CLUSTER, small()).expect_err("refused");
    let text = error.to_string();
    assert!(text.contains("has format 2, and this program knows format 1; start the version"), "{text}");
    assert_eq!(disk.bytes(&path), Some(bytes));
}

#[test]
fn a_log_lives_on_the_local_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk: Arc<dyn crate::disk::Disk> = Arc::new(crate::disk::LocalDisk);
    let path = folder.path().join("spools");
    let find = || recover(Arc::clone(&disk), &path, CLUSTER, small()).expect("recovery");
    let mut bytes = Vec::new();
    for round in 0..3u64 {
        let mut recovery = find();
        let mut log = SpoolLog::new(recovery.volume, 0);
        let spool = match recovery.journals.pop() {
            Some(journal) => log.adopt(journal).open.expect("open"),
            None => open(&mut log, 0),
        };
        for step in 0..60 {
            let more = content(round * 100 + step, if step % 20 == 19 { 100_000 } else { 200 });
            commit(&mut log, spool, &more);
            bytes.extend(more);
        }
        log.volume().sweep().expect("swept");
        let spool = log.spool(spool).expect("a spool");
        assert!(read(spool.content()).expect("readable") == bytes);
        assert_eq!(spool.sum().0, sum(&bytes));
    }
}
