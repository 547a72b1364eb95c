//! Frames there and back, cut, and damaged at every byte.

use proptest::prelude::*;

use super::*;

const SALT: Salt = Salt(0x5eed);

fn encoded(record: &Record<'_>, content: Content, position: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(record, content, SALT, position, &mut bytes);
    bytes
}

fn parsed(bytes: &[u8], position: u64) -> Frame<'_> {
    match parse(bytes, SALT, position) {
        Parsed::Frame(frame) => frame,
        other => panic!("no frame, but {other:?}"),
    }
}

/// A record of each kind, with its content.
fn samples() -> Vec<(Record<'static>, Content)> {
    let spool = SpoolId(77);
    let none = Content::default();
    let open = OpenRecord {
        spool,
        journal: "examples/foobar",
        create_revision: -3,
        epoch: 9,
        begin: 1000,
        end: 1500,
        in_file: 400,
        blocks: &[1, 2, 3, 4],
        codec: 4,
        first_append: Some(-12),
        complete: false,
        state: [7; 20],
        registers: b"registers",
    };
    let commit = CommitRecord {
        spool,
        end_before: i64::MAX as u64 - 10,
        length: 10,
        in_file: false,
        state: [9; 20],
        time: 5,
        registers: None,
    };
    vec![
        (Record::Segment(Segment { version: 1, core: 2, cluster: 3, sequence: 4, salt: Salt(5) }), none),
        (Record::Open(open), Content { length: 100, check: 6 }),
        (
            Record::Open(OpenRecord { first_append: None, complete: true, ..open }),
            Content { length: 100, check: 6 },
        ),
        (Record::Commit(commit), Content { length: 10, check: 8 }),
        (Record::Commit(CommitRecord { registers: Some(b""), ..commit }), Content { length: 10, check: 8 }),
        (
            Record::Commit(CommitRecord { in_file: true, registers: Some(b"r"), ..commit }),
            Content { length: 0, check: 8 },
        ),
        (Record::Moved { spool, length: 12 }, Content { length: 0, check: 8 }),
        (Record::Complete { spool, end: 13, sum: [3; 20] }, none),
        (Record::Release { spool }, none),
        (Record::Forget { journal: "examples/foobar", create_revision: 4 }, none),
        (Record::Turn(&[1, 2, 3]), none),
    ]
}

#[test]
fn every_record_comes_back() {
    for (record, content) in samples() {
        let bytes = encoded(&record, content, 4096);
        let frame = parsed(&bytes, 4096);
        assert_eq!(frame, Frame { record, content, prefix_length: bytes.len() });
        assert_eq!(frame.length() % ALIGNMENT, 0);
        assert!(frame.length() >= bytes.len() as u64 + u64::from(content.length));
    }
}

#[test]
fn a_frame_elsewhere_or_of_another_segment_is_none() {
    for (record, content) in samples() {
        let bytes = encoded(&record, content, 4096);
        assert_eq!(parse(&bytes, SALT, 4104), Parsed::Nothing);
        assert_eq!(parse(&bytes, Salt(1), 4096), Parsed::Nothing);
    }
}

#[test]
fn a_flipped_bit_is_seen_anywhere() {
    for (record, content) in samples() {
        let bytes = encoded(&record, content, 8);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // A longer frame may be announced, whose end is not there.
            assert!(!matches!(parse(&damaged, SALT, 8), Parsed::Frame(_)), "bit {bit} of {record:?}");
        }
    }
}

#[test]
fn a_part_asks_for_more() {
    for (record, content) in samples() {
        let bytes = encoded(&record, content, 8);
        for length in 0..bytes.len() {
            let expected = if length < HEAD_LENGTH { HEAD_LENGTH } else { bytes.len() };
            assert_eq!(parse(&bytes[..length], SALT, 8), Parsed::More(expected), "{length} bytes");
        }
    }
}

#[test]
fn impossible_fields_are_no_frame() {
    let spool = SpoolId(1);
    let commit = CommitRecord {
        spool,
        end_before: i64::MAX as u64,
        length: 1,
        in_file: true,
        state: [0; 20],
        time: 0,
        registers: None,
    };
    let open = OpenRecord {
        spool,
        journal: "a/b",
        create_revision: 0,
        epoch: 0,
        begin: 10,
        end: 9,
        in_file: 0,
        blocks: &[],
        codec: 0,
        first_append: None,
        complete: false,
        state: [0; 20],
        registers: &[],
    };
    let none = Content::default();
    let one = Content { length: 1, check: 0 };
    for (record, content, why) in [
        (Record::Commit(commit), none, "beyond the last offset"),
        (Record::Commit(CommitRecord { end_before: u64::MAX, ..commit }), none, "overflow"),
        (Record::Commit(CommitRecord { end_before: 0, in_file: false, ..commit }), none, "no content"),
        (Record::Commit(CommitRecord { end_before: 0, ..commit }), one, "content in two places"),
        (Record::Open(open), none, "ends before it begins"),
        (Record::Open(OpenRecord { end: 12, in_file: 3, ..open }), none, "more in the file than there is"),
        (Record::Open(OpenRecord { end: 12, in_file: 1, ..open }), none, "less content than there is"),
    ] {
        assert_eq!(parse(&encoded(&record, content, 0), SALT, 0), Parsed::Nothing, "{why}");
    }
}

#[test]
fn a_turn_repeats_its_frames() {
    let mut fields = Vec::new();
    let mut position = 64;
    let mut expected = Vec::new();
    for (record, content) in samples() {
        let bytes = encoded(&record, content, position);
        push_entry(position, &bytes, &mut fields);
        expected.push((position, record, content));
        position += aligned(bytes.len() as u64 + u64::from(content.length));
    }
    let entries: Vec<_> =
        entries(&fields, SALT).map(|(position, frame)| (position, frame.record, frame.content)).collect();
    assert_eq!(entries, expected);
}

#[test]
fn candidates_are_aligned_and_begin_like_the_magic() {
    let check = |window: &[u8], expected| assert_eq!(next_candidate(window), expected, "in {window:?}");
    check(b"", 0);
    check(b"CSPLxxxx", 0);
    check(b"xxxxxxxxCSPL", 8);
    check(b"xxxxCSPLxxxx", 8);
    check(b"xxxxxxxxxxxxxxxx", 16);
    check(b"xxxxxxxxCSxxxxxx", 16);
    check(b"xxxxxxxxCS", 8);
}

proptest! {
    #[test]
    fn anything_parses_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
        let mut bytes = bytes;
        if magic && bytes.len() > 24 {
            bytes[..4].copy_from_slice(b"CSPL");
            bytes[10..12].fill(0);
            bytes[12..16].copy_from_slice(&40u32.to_le_bytes());
            let covered = bytes.len().min(64);
            let sealed = check(SALT, 0, &bytes[8..covered]);
            bytes[4..8].copy_from_slice(&sealed.to_le_bytes());
        }
        let _ = parse(&bytes, SALT, 0);
        let _ = entries(&bytes, SALT).count();
    }

    #[test]
    fn commits_come_back(
        spool in any::<u64>(), end_before in 0..u64::from(u32::MAX), length in 0..u32::MAX, in_file in any::<bool>(),
        time in any::<i64>(), registers in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        position in any::<u64>(), check in any::<u32>(),
    ) {
        let record = Record::Commit(CommitRecord {
            spool: SpoolId(spool), end_before, length: u64::from(length), in_file, state: [1; 20], time,
            registers: registers.as_deref(),
        });
        let content = Content { length: if in_file { 0 } else { length }, check };
        let bytes = encoded(&record, content, position);
        prop_assert_eq!(parsed(&bytes, position).record, record);
    }
}
