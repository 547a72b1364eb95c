//! What a bad disk does: flipped bits, lost sectors, missing files. No byte that is not what was committed is ever
//! given out, and who is concerned is told.

use proptest::prelude::*;

use super::*;
use crate::disk::{Disk as _, Open};

const JOURNALS: usize = 4;

/// What a journal has: its bytes from offset zero, and the spans of its spools.
type Past = (Vec<u8>, Vec<(u64, u64)>);

/// A disk with the history of a few journals on it, in several segments and content files, and what each has.
fn history(seed: u64) -> (MemoryDisk, Vec<Past>) {
    let disk = MemoryDisk::new();
    let layout = Layout { segment_bytes: 3 << 10, segments: 100, seed, ..small() };
    let mut log = SpoolLog::new(find(&disk, layout).volume, 0);
    let mut journals: Vec<Past> = vec![(Vec::new(), vec![(0, 0)]); JOURNALS];
    let mut open: Vec<SpoolId> = Vec::new();
    let mut turn = log.turn();
    for journal in 0..JOURNALS {
        open.push(turn.open(opening(journal, 1, 0, Registers::default())).expect("opened"));
    }
    turn.write().expect("written");
    for step in 0..24u64 {
        let mut turn = log.turn();
        for journal in 0..JOURNALS {
            let draw = content(seed * 1000 + step * 10 + journal as u64, 4);
            let (bytes, spans) = &mut journals[journal];
            match draw[0] % 8 {
                0 => {
                    let begin = bytes.len() as u64;
                    let next = opening(journal, 1, begin, Registers::default());
                    let rolled = turn.roll(open[journal], next).expect("rolled");
                    open[journal] = rolled.opened;
                    if rolled.completed.is_none() {
                        spans.pop();
                    }
                    spans.push((begin, begin));
                }
                1..=2 => {}
                kind => {
                    let length = if kind == 7 { 2500 } else { 30 + usize::from(draw[1]) };
                    let more = content(seed + step * 7 + journal as u64, length);
                    stage(&mut turn, open[journal], &more).expect("staged");
                    bytes.extend(more);
                    spans.last_mut().expect("a span").1 = bytes.len() as u64;
                }
            }
        }
        turn.write().expect("written");
    }
    (disk, journals)
}

/// What recovery says of the journals, compared with what they were. Panics if a byte is wrong, or missing and
/// nobody says so. Returns how many are damaged, and how many uncertain.
fn compare(recovery: &Recovery, journals: &[Past]) -> (usize, usize) {
    let (mut damaged, mut uncertain) = (0, 0);
    for (index, (bytes, spans)) in journals.iter().enumerate() {
        let Some(journal) = recovery.journals.iter().find(|journal| journal.identity.journal == name(index))
        else {
            assert!(
                !recovery.lost.is_empty() || !recovery.torn.is_empty(),
                "journal {index} is not there, and nothing is said to be lost"
            );
            uncertain += 1;
            continue;
        };
        let spools: Vec<&Spool> = journal.complete.iter().chain(&journal.open).collect();
        let mut seen = Vec::new();
        for spool in &spools {
            let span = spool.begin().get() as usize..spool.end().get() as usize;
            assert!(span.end <= bytes.len(), "journal {index} has bytes that it never had");
            assert!(read(spool.content()).expect("what was recovered checks") == bytes[span.clone()]);
            assert_eq!(spool.sum().0, sum(&bytes[span.clone()]));
            if !span.is_empty() {
                seen.push((span.start as u64, span.end as u64));
            }
        }
        let expected: Vec<_> = spans.iter().copied().filter(|(begin, end)| begin < end).collect();
        // A spool that was rolled long ago may be lost with all its records; its journal is certain of its head still.
        // And what is lost at the very end of a log looks like a turn that was not written whole, but for its bytes.
        assert!(recovery.torn.iter().all(|torn| !torn.clean));
        let told = !recovery.lost.is_empty() || !recovery.torn.is_empty();
        if journal.damage.is_empty() && !told {
            assert_eq!(seen, expected, "journal {index}");
        }
        if journal.certain && recovery.torn.is_empty() {
            assert_eq!(journal.head, at(bytes.len() as u64), "no offset is given to other bytes");
            let open = journal.open.as_ref().expect("journals that are held have an open spool");
            assert_eq!(open.end(), journal.head);
        }
        // What is missing is said to be, exactly.
        for (begin, end) in &expected {
            let have: u64 = seen.iter().map(|(b, e)| e.min(end).saturating_sub(*b.max(begin))).sum();
            let missing: u64 = journal
                .damage
                .iter()
                .map(|damage| {
                    let (b, e) = (damage.begin.get().cast_unsigned(), damage.end.get().cast_unsigned());
                    e.min(*end).saturating_sub(b.max(*begin))
                })
                .sum();
            if !told {
                assert_eq!(have + missing, end - begin, "journal {index} at {begin}..{end}");
            }
        }
        damaged += usize::from(!journal.damage.is_empty());
        uncertain += usize::from(!journal.certain);
    }
    (damaged, uncertain)
}

fn spool_files(disk: &MemoryDisk) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| path.parent() == Some(&folder())).collect()
}

/// A place in some file: which byte, out of all of them.
fn locate(disk: &MemoryDisk, place: usize) -> (PathBuf, usize) {
    let files = spool_files(disk);
    let lengths: Vec<usize> = files.iter().map(|path| disk.bytes(path).expect("a file").len()).collect();
    let mut place = place % lengths.iter().sum::<usize>();
    for (path, length) in files.into_iter().zip(lengths) {
        if place < length {
            return (path, place);
        }
        place -= length;
    }
    unreachable!("it is below the sum")
}

#[test]
fn an_intact_history_is_found_whole() {
    for seed in 0..20 {
        let (disk, journals) = history(seed);
        let recovery = find(&disk, small());
        assert_eq!(compare(&recovery, &journals), (0, 0));
        assert!(recovery.torn.is_empty() && recovery.lost.is_empty() && recovery.quarantined.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// One flipped bit costs one journal at most, and is found out.
    #[test]
    fn a_flipped_bit_costs_its_journal_alone(seed in 0..20u64, place in any::<usize>(), bit in 0..8u8) {
        let (disk, journals) = history(seed);
        let (path, place) = locate(&disk, place);
        disk.damage(&path, |bytes| bytes[place] ^= 1 << bit);
        let recovery = find(&disk, small());
        let (damaged, uncertain) = compare(&recovery, &journals);
        prop_assert!(damaged <= 1, "{damaged} journals are damaged");
        prop_assert_eq!(uncertain, 0);
        prop_assert!(recovery.lost.is_empty(), "{:?}", recovery.lost);
        prop_assert!(recovery.quarantined.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    /// Whatever is overwritten, nothing wrong is given out, and the next process finds what this one left.
    #[test]
    fn a_lost_sector_is_told(seed in 0..20u64, place in any::<usize>(), length in 1..1500usize, fill in any::<u8>()) {
        let (disk, journals) = history(seed);
        let (path, place) = locate(&disk, place);
        let mut changed = false;
        disk.damage(&path, |bytes| {
            let end = bytes.len().min(place + length);
            changed = bytes[place..end].iter().any(|byte| *byte != fill);
            bytes[place..end].fill(fill);
        });
        let mut recovery = find(&disk, small());
        compare(&recovery, &journals);
        let heads: Vec<_> =
            recovery.journals.iter().map(|journal| (journal.identity.clone(), journal.head)).collect();
        // It goes on: heads are written anew, and segments with damage are put aside when they are done with.
        let mut log = SpoolLog::new(Arc::clone(&recovery.volume), 0);
        let adopted: Vec<_> = recovery.journals.drain(..).map(|journal| log.adopt(journal)).collect();
        for adopted in &adopted {
            if let Some(open) = adopted.open {
                commit(&mut log, open, b"x");
            }
        }
        drop(log);
        let again = find(&disk, small());
        for (identity, head) in heads {
            let journal = again.journals.iter().find(|journal| journal.identity.journal == identity.journal);
            prop_assert_eq!(journal.expect("still there").head, head.plus(1).expect("an offset"));
        }
    }
}

#[test]
fn a_bit_that_flips_while_running_is_not_given_out() {
    for seed in 0..20 {
        let (disk, journals) = history(seed);
        let recovery = find(&disk, small());
        for path in spool_files(&disk) {
            disk.damage(&path, |bytes| bytes.iter_mut().skip(150).step_by(97).for_each(|byte| *byte ^= 4));
        }
        let mut refused = 0;
        for journal in &recovery.journals {
            let index = (0..JOURNALS).find(|index| name(*index) == journal.identity.journal).expect("known");
            for spool in journal.complete.iter().chain(&journal.open) {
                let mut piece = [0; 333];
                for position in (0..spool.length()).step_by(100) {
                    match spool.content().read_at(position, &mut piece) {
                        Ok(length) => {
                            let from = (spool.begin().get().cast_unsigned() + position) as usize;
                            assert_eq!(piece[..length], journals[index].0[from..from + length]);
                        }
                        Err(Error::Damaged { journal, .. }) => {
                            assert_eq!(journal, name(index));
                            refused += 1;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
        assert!(refused > 0);
    }
}

#[test]
fn a_segment_without_its_heads_is_put_aside_and_told() {
    let (disk, journals) = history(3);
    let path = spool_files(&disk).into_iter().rfind(|path| path.extension() == Some("log".as_ref()));
    let path = path.expect("a segment");
    let before = disk.bytes(&path).expect("a file");
    disk.damage(&path, |bytes| bytes[..112].fill(0));
    let recovery = find(&disk, small());
    let aside = folder().join("quarantine").join(path.file_name().expect("a name"));
    assert_eq!(recovery.quarantined, std::slice::from_ref(&aside));
    assert_eq!(recovery.lost, [crate::spool::recover::Lost { path: aside.clone(), position: 0 }]);
    assert_eq!(disk.bytes(&aside).expect("kept")[112..], before[112..]);
    let (_, uncertain) = compare(&recovery, &journals);
    assert_eq!(uncertain, JOURNALS, "any journal may have had its last records there");
}

#[test]
fn a_missing_or_shortened_content_file_is_damage_of_its_spool() {
    for keep in [None, Some(0), Some(1000), Some(2499)] {
        let disk = MemoryDisk::new();
        let mut log = SpoolLog::new(find(&disk, small()).volume, 0);
        let mut turn = log.turn();
        let spool = turn.open(opening(0, 1, 10, registers(1))).expect("opened");
        let other = turn.open(opening(1, 1, 0, registers(1))).expect("opened");
        turn.write().expect("written");
        commit(&mut log, spool, &content(1, 2500));
        commit(&mut log, spool, b"inline");
        commit(&mut log, other, b"unharmed");
        drop(log);
        let path = folder().join(format!("{spool}.content"));
        match keep {
            None => disk.remove(&path).expect("removed"),
            Some(keep) => disk.open(&path, Open::Write).expect("opened").truncate(keep).expect("cut"),
        }
        let recovery = find(&disk, small());
        let [first, second] = &recovery.journals[..] else { panic!("{:?}", recovery.journals) };
        assert_eq!(first.head, at(10 + 2506));
        let [damage] = first.damage[..] else { panic!("{:?}", first.damage) };
        assert_eq!((damage.begin, damage.end), (at(10), at(10 + 2506)));
        assert!(first.complete.is_empty());
        let open = first.open.as_ref().expect("the next spool");
        assert_eq!((open.begin(), open.registers()), (first.head, &registers(1)));
        assert_eq!(second.damage, []);
        assert_eq!(read(second.open.as_ref().expect("open").content()).expect("readable"), b"unharmed");
    }
}

#[test]
fn a_damaged_spool_is_not_carried_forward_and_its_segment_is_kept() {
    let disk = MemoryDisk::new();
    let mut log = SpoolLog::new(find(&disk, small()).volume, 0);
    let mut turn = log.turn();
    let idle = turn.open(opening(1, 1, 0, registers(1))).expect("opened");
    let busy = turn.open(opening(0, 1, 0, registers(1))).expect("opened");
    turn.write().expect("written");
    commit(&mut log, idle, b"precious bytes");
    let segment = folder().join("0000000000000001.log");
    disk.damage(&segment, |bytes| {
        let place = bytes.windows(8).position(|window| window == b"precious").expect("inline");
        bytes[place] ^= 1;
    });
    for step in 0..200 {
        commit(&mut log, busy, &content(step, 150));
    }
    log.volume().sweep().expect("swept");
    assert_eq!(log.damaged().collect::<Vec<_>>(), [idle]);
    assert!(disk.bytes(&segment).is_some());

    // Once its journal has gone on without it, the segment is put aside as evidence.
    let mut turn = log.turn();
    turn.roll(idle, opening(1, 2, 14, registers(1))).expect("rolled");
    turn.release(idle).expect("released");
    turn.write().expect("written");
    for step in 0..100 {
        commit(&mut log, busy, &content(step, 150));
    }
    log.volume().sweep().expect("swept");
    assert!(disk.bytes(&segment).is_none());
    assert!(disk.bytes(&folder().join("quarantine/0000000000000001.log")).is_some());
}
