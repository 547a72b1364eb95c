//! What a read gets, for each offset and each cover.

use courant_proto::offset::{Offset, ReadFrom};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Local(i64, i64);

/// Begin, end, time of storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Remote(i64, i64, i64);

fn at(offset: i64) -> Offset {
    Offset::new(offset).expect("not negative")
}

impl Span for Local {
    fn begin(&self) -> Offset {
        at(self.0)
    }
    fn end(&self) -> Offset {
        at(self.1)
    }
}

impl Span for Remote {
    fn begin(&self) -> Offset {
        at(self.0)
    }
    fn end(&self) -> Offset {
        at(self.1)
    }
}

impl Stored for Remote {
    fn mod_time(&self) -> i64 {
        self.2
    }
}

/// The offset answered, what was found as (begin, end), and the gap.
type Shown = (i64, Option<(i64, i64)>, Option<(i64, i64)>);

struct Journal {
    local: CoverSet<Local>,
    remote: CoverSet<Remote>,
    doubted: Vec<Remote>,
    now: i64,
}

impl Journal {
    fn new(local: &[(i64, i64)], remote: &[(i64, i64, i64)], now: i64) -> Self {
        Self {
            local: local.iter().map(|(begin, end)| Local(*begin, *end)).collect(),
            remote: remote.iter().map(|(begin, end, time)| Remote(*begin, *end, *time)).collect(),
            doubted: Vec::new(),
            now,
        }
    }

    fn doubting(mut self, doubted: &[(i64, i64, i64)]) -> Self {
        self.doubted = doubted.iter().map(|(begin, end, time)| Remote(*begin, *end, *time)).collect();
        self
    }

    fn resolve(&self, query: &Query) -> Resolution<&Local, &Remote> {
        let head = end_of(&self.local, &self.remote).unwrap_or_default();
        let held = Held { local: &self.local, remote: &self.remote, doubted: &self.doubted };
        resolve(&held, head, query, Timestamp::from_secs(self.now))
    }

    /// A read at `offset` (-1: head).
    #[track_caller]
    fn check(&self, offset: i64, expected: Shown) {
        let from = ReadFrom::try_from(offset).expect("an offset or -1");
        let resolution = self.resolve(&Query { from, begin_mod_time: 0 });
        let found = resolution.found.map(|found| (found.begin().get(), found.end().get()));
        let gap = resolution.gap.map(|gap| (gap.begin.get(), gap.end.get()));
        assert_eq!((resolution.offset.get(), found, gap), expected, "at {offset}");
    }
}

const HOUR: i64 = 3600;
const NOW: i64 = 1_000_000;

#[test]
fn an_empty_journal_has_nothing_yet() {
    let journal = Journal::new(&[], &[], NOW);
    journal.check(-1, (0, None, None));
    journal.check(0, (0, None, None));
    journal.check(77, (77, None, None));
}

#[test]
fn content_and_the_head() {
    let journal = Journal::new(&[(150, 200)], &[(100, 150, NOW)], NOW);
    journal.check(110, (110, Some((100, 150)), None));
    journal.check(160, (160, Some((150, 200)), None));
    journal.check(-1, (200, None, None));
    journal.check(200, (200, None, None));
    journal.check(999, (999, None, None));
}

#[test]
fn what_reaches_furthest_answers() {
    let journal = Journal::new(&[(100, 180)], &[(100, 150, NOW), (140, 200, NOW)], NOW);
    journal.check(120, (120, Some((100, 180)), None));
    journal.check(180, (180, Some((140, 200)), None));
    Journal::new(&[], &[(100, 150, NOW), (140, 200, NOW)], NOW).check(145, (145, Some((140, 200)), None));
    // Before all of them the one at hand: what the others hold is not verified.
    journal.check(150, (150, Some((100, 180)), None));
    let twice = Journal::new(&[(100, 150)], &[(100, 150, NOW)], NOW);
    assert_eq!(twice.resolve(&Query::at(at(120))).found, Some(Found::Local(&Local(100, 150))));
}

#[test]
fn the_missing_beginning_is_jumped_once_it_is_known_to_be_pruned() {
    Journal::new(&[(100, 200)], &[], NOW).check(0, (0, None, None));
    // The first fragment is young, and still nothing can be before it.
    Journal::new(&[(150, 200)], &[(100, 150, NOW)], NOW).check(0, (100, Some((100, 150)), Some((0, 100))));
    // Something unstored is before the stored fragment.
    Journal::new(&[(50, 80)], &[(100, 150, NOW)], NOW).check(0, (0, None, None));
}

#[test]
fn a_hole_is_jumped_when_it_is_old() {
    let journal = |age| Journal::new(&[], &[(0, 100, 5), (200, 300, NOW - age)], NOW);
    journal(HOUR).check(100, (100, None, None));
    journal(6 * HOUR).check(150, (150, None, None));
    journal(6 * HOUR + 1).check(150, (200, Some((200, 300)), Some((150, 200))));
    // A spool that fills it, or stands in it, is not jumped over.
    Journal::new(&[(100, 150)], &[(0, 100, 5), (200, 300, 5)], NOW).check(100, (100, Some((100, 150)), None));
    Journal::new(&[(150, 160)], &[(0, 100, 5), (200, 300, 5)], NOW).check(100, (100, None, None));
    // Nor is one that begins where the stored fragment does, and reaches further.
    Journal::new(&[(200, 310)], &[(0, 100, 5), (200, 300, 5)], NOW).check(100, (100, None, None));
}

#[test]
fn old_fragments_are_passed_over_and_unstored_ones_are_not() {
    let journal = Journal::new(&[(300, 400)], &[(0, 100, 10), (100, 200, 20), (200, 300, 30)], NOW);
    let check = |offset: i64, begin_mod_time, expected: (i64, Option<(i64, i64)>)| {
        let resolution = journal.resolve(&Query { from: ReadFrom::At(at(offset)), begin_mod_time });
        let found = resolution.found.map(|found| (found.begin().get(), found.end().get()));
        assert_eq!((resolution.offset.get(), found), expected);
        assert_eq!(resolution.gap, None, "what the reader asked for is no gap");
    };
    check(50, 10, (50, Some((0, 100))));
    check(50, 11, (100, Some((100, 200))));
    check(150, 21, (200, Some((200, 300))));
    check(0, 31, (300, Some((300, 400))));
    check(350, 99, (350, Some((300, 400))));
    check(400, 99, (400, None));
}

#[test]
fn passing_over_and_jumping_combine() {
    let journal = Journal::new(&[], &[(10, 20, 10), (40, 50, 20)], NOW);
    let resolution = journal.resolve(&Query { from: ReadFrom::At(at(0)), begin_mod_time: 15 });
    assert_eq!(resolution.offset, at(40));
    assert_eq!(resolution.gap, Some(Gap { begin: at(0), end: at(40) }));
}

proptest! {
    /// The answer never goes back, never lies, and names every byte that it moves over.
    #[test]
    fn answers_are_honest(
        local in prop::collection::vec((0..60i64, 1..20i64), 0..4),
        remote in prop::collection::vec((0..60i64, 1..20i64, 1..40_000i64), 0..8),
        offset in -1..90i64,
        begin_mod_time in 0..40_000i64,
    ) {
        let local: Vec<_> = local.into_iter().map(|(begin, length)| (begin, begin + length)).collect();
        let remote: Vec<_> =
            remote.into_iter().map(|(begin, length, time)| (begin, begin + length, time)).collect();
        let journal = Journal::new(&local, &remote, 40_000);
        let head = end_of(&journal.local, &journal.remote).unwrap_or_default();
        let from = ReadFrom::try_from(offset).expect("an offset or -1");
        let asked = match from {
            ReadFrom::At(offset) => offset,
            ReadFrom::WriteHead => head,
        };
        let answer = journal.resolve(&Query { from, begin_mod_time });
        prop_assert!(answer.offset >= asked);
        let covering = |byte: Offset| {
            let local = journal.local.as_slice().iter().map(Found::Local);
            let remote = journal.remote.as_slice().iter().map(Found::Remote);
            let over = |span: &Found<&Local, &Remote>| span.contains(byte);
            local.filter(over).max_by_key(Span::end).or_else(|| remote.filter(over).max_by_key(Span::end))
        };
        match &answer.found {
            Some(found) => {
                prop_assert!(found.contains(answer.offset));
                prop_assert_eq!(covering(answer.offset).map(|best| best.end()), Some(found.end()));
                if let Found::Remote(fragment) = found {
                    prop_assert!(fragment.2 >= begin_mod_time);
                }
            }
            None => prop_assert_eq!(covering(answer.offset), None),
        }
        // Each byte passed without being read is in a gap, or in a stored fragment older than asked for.
        for byte in asked.get()..answer.offset.get() {
            let in_gap = answer.gap.is_some_and(|gap| gap.begin <= at(byte) && at(byte) < gap.end);
            let passed = journal.remote.as_slice().iter()
                .any(|span| span.contains(at(byte)) && span.2 < begin_mod_time);
            prop_assert!(passed || (in_gap && covering(at(byte)).is_none()), "byte {byte}");
        }
    }
}

#[test]
fn what_is_damaged_is_no_hole() {
    let old = NOW - 7 * HOUR;
    // Others over the same offsets come first, though they do not reach as far.
    let journal = Journal::new(&[], &[(0, 100, old), (200, 300, old)], NOW).doubting(&[(50, 200, old)]);
    journal.check(60, (60, Some((0, 100)), None));
    journal.check(100, (100, Some((50, 200)), None));
    journal.check(200, (200, Some((200, 300)), None));
    // A jump ends at it, and does not pass over it.
    let journal = Journal::new(&[], &[(0, 100, old), (300, 400, old)], NOW).doubting(&[(150, 250, old)]);
    journal.check(100, (150, Some((150, 250)), Some((100, 150))));
    journal.check(250, (300, Some((300, 400)), Some((250, 300))));
    // What was pruned is told from what is damaged.
    let journal = Journal::new(&[], &[(300, 400, NOW)], NOW).doubting(&[(150, 300, NOW)]);
    journal.check(0, (150, Some((150, 300)), Some((0, 150))));
    let journal = Journal::new(&[], &[(300, 400, NOW)], NOW).doubting(&[(150, 250, NOW)]);
    journal.check(250, (250, None, None));
    // Content that lies only here is as good.
    let journal = Journal::new(&[(100, 200)], &[(0, 100, old)], NOW).doubting(&[(100, 200, old)]);
    journal.check(100, (100, Some((100, 200)), None));
    assert_eq!(journal.resolve(&Query::at(at(100))).found, Some(Found::Local(&Local(100, 200))));
}
