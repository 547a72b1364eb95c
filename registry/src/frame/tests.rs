//! Batches read back whole, cut anywhere, and changed anywhere.

use proptest::prelude::*;

use super::*;
use crate::record::{Fact, Granted};

const WHO: Identity = Identity { cluster_id: 1, member_id: 2 };

fn batch(from: u64, count: u64) -> Vec<Record> {
    (from..from + count)
        .map(|n| Record::from(Fact::Granted(Granted { id: n.cast_signed(), ttl: 60 })))
        .collect()
}

/// Two batches, and where the second begins.
fn file() -> (Vec<u8>, usize) {
    let mut file = Vec::new();
    push_batch(&mut file, WHO, 1, &batch(1, 2));
    let second = file.len();
    push_batch(&mut file, WHO, 3, &batch(3, 1));
    (file, second)
}

#[test]
fn batches_read_back() {
    let (file, second) = file();
    assert_eq!(read_batch(&file, 0, WHO, 1), Batch::Whole { records: batch(1, 2), next: second });
    assert_eq!(read_batch(&file, second, WHO, 3), Batch::Whole { records: batch(3, 1), next: file.len() });
    assert_eq!(read_batch(&file, file.len(), WHO, 4), Batch::End);
    assert!(matches!(read_batch(&file, 0, WHO, 2), Batch::Foreign(_)), "a record out of place");
    let other = Identity { member_id: 3, ..WHO };
    assert_eq!(read_batch(&file, 0, other, 1), Batch::Torn, "another registry's batch");
}

#[test]
fn headers_read_back() {
    for kind in [Kind::Log, Kind::Snapshot] {
        let header = header(kind, WHO, 9);
        assert_eq!(header.len(), HEADER_LEN);
        assert_eq!(parse_header(kind, &header), Ok((WHO, 9)));
        for at in 0..HEADER_LEN {
            let mut changed = header.clone();
            changed[at] ^= 0x10;
            assert!(parse_header(kind, &changed).is_err(), "byte {at}");
        }
        assert!(parse_header(kind, &header[..HEADER_LEN - 1]).is_err());
    }
    assert!(parse_header(Kind::Log, &header(Kind::Snapshot, WHO, 9)).is_err());
}

proptest! {
    #[test]
    fn a_cut_file_is_torn_where_it_is_cut(cut in 0_usize..1000) {
        let (file, second) = file();
        let cut = cut % file.len();
        let (at, sequence) = if cut < second { (0, 1) } else { (second, 3) };
        let expected = if cut == at { Batch::End } else { Batch::Torn };
        prop_assert_eq!(read_batch(&file[..cut], at, WHO, sequence), expected);
    }

    #[test]
    fn a_changed_batch_with_a_sound_one_behind_it_is_damage(at in 0_usize..1000, flip in 1_u8..) {
        let (mut file, second) = file();
        file[at % second] ^= flip;
        prop_assert_eq!(read_batch(&file, 0, WHO, 1), Batch::Damaged { later: second });
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_batch(&bytes, 0, WHO, 1);
        let _ = parse_header(Kind::Log, &bytes);
    }
}
