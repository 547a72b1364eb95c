//! Cover sets against a plain list of spans.

use courant_proto::offset::Offset;
use proptest::prelude::*;

use super::*;

/// Begin, end, and a mark that tells two of equal extent apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece(i64, i64, u32);

fn at(offset: i64) -> Offset {
    Offset::new(offset).expect("not negative")
}

impl Span for Piece {
    fn begin(&self) -> Offset {
        at(self.0)
    }

    fn end(&self) -> Offset {
        at(self.1)
    }
}

fn set(pieces: &[(i64, i64)]) -> CoverSet<Piece> {
    let mut set = CoverSet::new();
    for (begin, end) in pieces {
        set.add(Piece(*begin, *end, 0));
    }
    set
}

fn extents(set: &CoverSet<Piece>) -> Vec<(i64, i64)> {
    set.as_slice().iter().map(|piece| (piece.0, piece.1)).collect()
}

#[test]
fn adding_keeps_what_no_other_covers() {
    let check = |before: &[(i64, i64)], (begin, end): (i64, i64), added: bool, after: &[(i64, i64)]| {
        let mut set = set(before);
        assert_eq!(set.add(Piece(begin, end, 1)), added, "{before:?} + {begin}..{end}");
        assert_eq!(extents(&set), after, "{before:?} + {begin}..{end}");
    };
    let three = &[(100, 150), (150, 200), (300, 400)];
    // At the end, in the middle (touching and not), at the beginning.
    check(&[], (5, 9), true, &[(5, 9)]);
    check(three, (400, 450), true, &[(100, 150), (150, 200), (300, 400), (400, 450)]);
    check(three, (200, 300), true, &[(100, 150), (150, 200), (200, 300), (300, 400)]);
    check(three, (220, 280), true, &[(100, 150), (150, 200), (220, 280), (300, 400)]);
    check(three, (50, 100), true, &[(50, 100), (100, 150), (150, 200), (300, 400)]);
    check(three, (0, 10), true, &[(0, 10), (100, 150), (150, 200), (300, 400)]);
    // Replacing one or several: at the end, in the middle, at the beginning.
    check(three, (300, 500), true, &[(100, 150), (150, 200), (300, 500)]);
    check(three, (150, 500), true, &[(100, 150), (150, 500)]);
    check(three, (150, 210), true, &[(100, 150), (150, 210), (300, 400)]);
    check(three, (90, 200), true, &[(90, 200), (300, 400)]);
    check(three, (100, 160), true, &[(100, 160), (150, 200), (300, 400)]);
    check(three, (0, 1000), true, &[(0, 1000)]);
    // A larger end leaves none of the earlier ones behind that it covers.
    check(&[(100, 150), (150, 200)], (100, 250), true, &[(100, 250)]);
    // Covered by one: refused. Covered only by several together: kept.
    check(three, (310, 400), false, three);
    check(three, (300, 390), false, three);
    check(three, (320, 330), false, three);
    check(three, (120, 180), true, &[(100, 150), (120, 180), (150, 200), (300, 400)]);
    // Empty ones are nothing.
    check(three, (500, 500), false, three);
    check(three, (500, 400), false, three);
}

#[test]
fn of_equal_extents_the_later_stays() {
    let mut set = set(&[(0, 10), (10, 20), (20, 30)]);
    assert!(set.add(Piece(10, 20, 7)));
    assert_eq!(set.as_slice(), [Piece(0, 10, 0), Piece(10, 20, 7), Piece(20, 30, 0)]);

    let collected: CoverSet<Piece> =
        [Piece(10, 20, 1), Piece(0, 10, 2), Piece(10, 20, 3), Piece(12, 20, 4)].into_iter().collect();
    assert_eq!(collected.as_slice(), [Piece(0, 10, 2), Piece(10, 20, 3)]);
}

#[test]
fn begin_and_end() {
    assert_eq!(set(&[]).first(), None);
    let set = set(&[(5, 9), (20, 30), (25, 40)]);
    assert_eq!(set.first().map(Span::begin), Some(at(5)));
    assert_eq!(set.last().map(Span::end), Some(at(40)));
}

#[test]
fn the_span_that_reaches_furthest() {
    let set = set(&[(100, 150), (149, 200), (200, 250), (300, 400), (350, 420), (500, 501)]);
    let cases = [
        (0, Err(0)),
        (99, Err(0)),
        (100, Ok(0)),
        (148, Ok(0)),
        (149, Ok(1)),
        (150, Ok(1)),
        (199, Ok(1)),
        (200, Ok(2)),
        (249, Ok(2)),
        (250, Err(3)),
        (299, Err(3)),
        (300, Ok(3)),
        (350, Ok(4)),
        (419, Ok(4)),
        (420, Err(5)),
        (500, Ok(5)),
        (501, Err(6)),
    ];
    for (offset, expected) in cases {
        assert_eq!(set.longest_overlap(at(offset)), expected, "at {offset}");
    }
}

#[test]
fn difference_follows_chains() {
    let check = |these: &[(i64, i64)], those: &[(i64, i64)], left: &[(i64, i64)]| {
        let mut these = set(these);
        these.retain(|piece| !set(those).covers(piece));
        assert_eq!(extents(&these), left);
    };
    check(&[(10, 30)], &[(0, 20), (20, 40)], &[]);
    check(&[(10, 30)], &[(0, 20), (21, 40)], &[(10, 30)]);
    check(&[(10, 30)], &[(10, 20), (15, 30)], &[]);
    check(&[(10, 30)], &[(11, 40)], &[(10, 30)]);
    check(&[(10, 30)], &[(0, 29)], &[(10, 30)]);
    check(&[(0, 5), (5, 9), (20, 30)], &[(0, 10)], &[(20, 30)]);
    check(&[(0, 5)], &[], &[(0, 5)]);
}

#[test]
fn amending_keeps_the_extent() {
    let mut set = set(&[(0, 10), (10, 20)]);
    assert!(set.amend(|piece| piece.0 == 10, |piece| piece.2 = 9));
    assert!(!set.amend(|piece| piece.0 == 11, |piece| piece.2 = 9));
    assert_eq!(set.as_slice(), [Piece(0, 10, 0), Piece(10, 20, 9)]);
}

#[test]
fn a_listing_with_leftovers_of_other_brokers() {
    // Three brokers rolled at different offsets; one listing shows what each of them uploaded.
    let listing = [
        (0x0000, 0x1a40),
        (0x1a40, 0x2f00),
        (0x0000, 0x2f00),
        (0x2f00, 0x3000),
        (0x2f00, 0x5120),
        (0x4000, 0x5120),
        (0x4000, 0x6000),
    ];
    let collected: CoverSet<Piece> = listing.into_iter().map(|(begin, end)| Piece(begin, end, 0)).collect();
    assert_eq!(extents(&collected), [(0x0000, 0x2f00), (0x2f00, 0x5120), (0x4000, 0x6000)]);
}

/// The definition, with no order and no search: keep whatever is not inside another.
fn naive(pieces: &[Piece]) -> Vec<Piece> {
    let mut kept: Vec<Piece> = Vec::new();
    for new in pieces.iter().filter(|new| new.0 < new.1) {
        let inside = |inner: &Piece, outer: &Piece| outer.0 <= inner.0 && inner.1 <= outer.1;
        if kept.iter().any(|old| inside(new, old) && (old.0, old.1) != (new.0, new.1)) {
            continue;
        }
        kept.retain(|old| !inside(old, new));
        kept.push(*new);
    }
    kept.sort_by_key(|piece| piece.0);
    kept
}

fn pieces(most: usize) -> impl Strategy<Value = Vec<Piece>> {
    prop::collection::vec((0..40i64, 0..12i64, any::<u32>()), 0..most).prop_map(|raw| {
        raw.into_iter().map(|(begin, length, mark)| Piece(begin, begin + length, mark)).collect()
    })
}

proptest! {
    #[test]
    fn agrees_with_the_definition(pieces in pieces(30)) {
        let mut set = CoverSet::new();
        for piece in &pieces {
            set.add(*piece);
        }
        prop_assert_eq!(set.as_slice(), naive(&pieces));
        for pair in set.as_slice().windows(2) {
            prop_assert!(pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        }
        for offset in 0..60 {
            let best = set.as_slice().iter().enumerate()
                .filter(|(_, piece)| piece.0 <= offset && offset < piece.1)
                .max_by_key(|(_, piece)| piece.1);
            let next = set.as_slice().iter().position(|piece| piece.0 > offset).unwrap_or(set.len());
            prop_assert_eq!(set.longest_overlap(at(offset)), best.map(|(index, _)| index).ok_or(next));
        }
    }

    #[test]
    fn collecting_is_adding_in_any_order(pieces in pieces(30)) {
        let mut added = CoverSet::new();
        for piece in &pieces {
            added.add(*piece);
        }
        let collected: CoverSet<Piece> = pieces.into_iter().collect();
        prop_assert_eq!(extents(&added), extents(&collected));
    }
}
