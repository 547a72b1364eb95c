//! What a group decides, case by case.

use courant_proto::codec::Codec;
use courant_proto::label::LabelSet;
use courant_proto::name::JournalName;
use courant_proto::spec::{Flags, FragmentSpec, Suspend};
use courant_proto::store::StoreUrl;
use proptest::prelude::*;

use super::*;

/// A spec with fragments of 1024 bytes and a flush interval of a minute.
pub(crate) fn spec() -> JournalSpec {
    JournalSpec {
        name: JournalName::parse("a/journal").expect("a valid name"),
        replication: 1,
        labels: LabelSet::empty(),
        fragment: FragmentSpec {
            length: 1024,
            codec: Codec::None,
            stores: vec![StoreUrl::parse("file:///").expect("a valid store")],
            refresh_interval: Duration::from_secs(300),
            retention: Default::default(),
            flush_interval: Some(Duration::from_secs(60)),
            path_postfix_template: String::new(),
        },
        flags: Flags::default(),
        max_append_rate: None,
        suspend: None,
    }
}

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("a valid offset")
}

fn labels(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs.iter().copied()).expect("valid labels")
}

fn selector(text: &str) -> Option<LabelSelector> {
    Some(text.parse().expect("a valid selector"))
}

/// A journal whose spool is `[begin, end)`, in an epoch that has begun.
fn standing(begin: i64, end: i64) -> Standing {
    Standing {
        spool: OpenSpool {
            begin: offset(begin),
            end: offset(end),
            first_append: (end > begin).then(|| Timestamp::from_secs(1)),
        },
        registers: Registers::default(),
        agreed: true,
        floor: Offset::ZERO,
    }
}

/// An index from 0 to `end`, all of it listed.
fn known(end: i64) -> Known {
    Known { refreshed: true, begin: Offset::ZERO, end: offset(end), last_mod_time: 0 }
}

fn content(length: u64) -> Ask {
    Ask { length, ..Ask::default() }
}

fn decide(standing: &Standing, known: &Known, spec: &JournalSpec, asks: &[Ask]) -> Turn {
    turn(standing, known, spec, asks.iter(), Timestamp::from_secs(2))
}

fn verdicts(standing: &Standing, known: &Known, spec: &JournalSpec, asks: &[Ask]) -> Vec<Verdict> {
    match decide(standing, known, spec, asks) {
        Turn::Commit(group) => group.verdicts,
        other => panic!("expected a group, not {other:?}"),
    }
}

fn span(begin: i64, end: i64) -> Verdict {
    Verdict::Span { begin: offset(begin), end: offset(end) }
}

#[test]
fn nothing_waits_and_nothing_is_known() {
    assert_eq!(decide(&standing(0, 0), &known(0), &spec(), &[]), Turn::Rest);
    let unknown = Known { refreshed: false, ..known(0) };
    assert_eq!(decide(&standing(0, 0), &unknown, &spec(), &[content(1)]), Turn::Refresh);
}

#[test]
fn nothing_is_decided_before_an_epoch_has_begun() {
    let mut fresh = standing(0, 0);
    fresh.agreed = false;
    assert_eq!(
        decide(&fresh, &known(0), &spec(), &[content(1)]),
        Turn::Begin { begin: Offset::ZERO, accept_loss: false }
    );
    assert_eq!(
        decide(&fresh, &known(0), &spec(), &[content(0)]),
        Turn::Begin { begin: Offset::ZERO, accept_loss: false },
        "also of a barrier: it says where the journal ends"
    );
    let reset = Ask { offset: offset(512), ..content(0) };
    assert_eq!(
        decide(&fresh, &known(512), &spec(), &[reset]),
        Turn::Begin { begin: offset(512), accept_loss: true },
        "an explicit offset is an operator's word"
    );
    let mut there = standing(512, 512);
    there.agreed = false;
    let accepts =
        |ask| matches!(decide(&there, &known(512), &spec(), &[ask]), Turn::Begin { accept_loss: true, .. });
    assert!(accepts(Ask { offset: offset(512), ..content(0) }), "also where the spool is there already");
    assert!(
        !accepts(Ask { offset: offset(512), ..content(1) }),
        "a writer that expects an offset accepts nothing"
    );
    assert!(!accepts(content(0)));
}

#[test]
fn appends_of_a_group_adjoin_and_refusals_rest_on_their_predecessors() {
    let asks = [
        content(10),
        Ask { offset: offset(110), ..content(5) },
        Ask { offset: offset(110), ..content(5) },
        content(0),
        content(7),
    ];
    let Turn::Commit(group) = decide(&standing(50, 100), &known(100), &spec(), &asks) else {
        panic!("expected a group")
    };
    assert_eq!(
        group.verdicts,
        [
            span(100, 110),
            span(110, 115),
            Verdict::Refused(Status::WrongAppendOffset),
            span(115, 115),
            span(115, 122)
        ]
    );
    assert_eq!((group.begin, group.end, group.roll), (offset(100), offset(122), None));
}

#[test]
fn the_first_content_of_a_journal_is_closed_before_more_follows() {
    let Turn::Commit(group) = decide(&standing(0, 7), &known(7), &spec(), &[content(1)]) else {
        panic!("expected a group")
    };
    assert_eq!((group.roll, group.begin, group.end), (Some(offset(7)), offset(7), offset(8)));
}

#[test]
fn preconditions_in_their_order() {
    let mut read_only = spec();
    read_only.flags = Flags::from_raw(1).expect("O_RDONLY");
    let cases = [
        ("equal, non-zero ends", standing(50, 100), known(100), spec(), content(1), span(100, 101)),
        (
            "the store reaches further",
            standing(50, 100),
            known(1024),
            spec(),
            content(1),
            Verdict::Refused(Status::IndexHasGreaterOffset),
        ),
        (
            "the store reaches further, but nothing may be written",
            standing(50, 100),
            known(1024),
            read_only.clone(),
            content(0),
            span(100, 100),
        ),
        (
            "content for a journal that is read only",
            standing(50, 100),
            known(100),
            read_only,
            content(1),
            Verdict::Refused(Status::NotAllowed),
        ),
        (
            "an offset that is not the furthest",
            standing(50, 100),
            known(1024),
            spec(),
            Ask { offset: offset(100), ..content(1) },
            Verdict::Refused(Status::WrongAppendOffset),
        ),
        (
            "the furthest offset, ahead of the spool",
            standing(50, 100),
            known(1024),
            spec(),
            Ask { offset: offset(1024), ..content(3) },
            span(1024, 1027),
        ),
        (
            "registers without content",
            standing(50, 100),
            known(100),
            spec(),
            Ask { union: labels(&[("author", "me")]), ..content(0) },
            Verdict::Broken("append stream: register modification requires non-empty Append"),
        ),
        (
            "a selector where there are no registers",
            standing(50, 100),
            known(100),
            spec(),
            Ask { check: selector("author=me"), ..content(1) },
            span(100, 101),
        ),
    ];
    for (name, standing, known, spec, ask, expected) in cases {
        assert_eq!(verdicts(&standing, &known, &spec, &[ask]), [expected], "{name}");
    }
}

#[test]
fn an_epoch_known_of_a_lost_spool_is_a_floor() {
    let mut lost = standing(0, 0);
    lost.floor = offset(300);
    lost.agreed = false;
    let reset = Ask { offset: offset(300), ..content(0) };
    assert_eq!(
        decide(&lost, &known(0), &spec(), &[reset]),
        Turn::Begin { begin: offset(300), accept_loss: true }
    );
    lost.agreed = true;
    assert_eq!(
        verdicts(&lost, &known(0), &spec(), &[content(1)]),
        [Verdict::Refused(Status::IndexHasGreaterOffset)]
    );
}

#[test]
fn registers_follow_the_asks_of_a_group() {
    let ask = |check: &str, union: &[(&str, &str)], subtract: &[(&str, &str)]| Ask {
        check: selector(check),
        union: labels(union),
        subtract: labels(subtract),
        ..content(1)
    };
    let asks = [
        ask("", &[("AA", "11"), ("BB", "22")], &[]),
        ask("AA in (11), BB", &[("CC", "33")], &[("AA", "11"), ("BB", "XYZ")]),
        ask("!AA, CC", &[("AA", "44"), ("BB", "22")], &[("CC", "33")]),
        ask("AA = 55", &[], &[]),
    ];
    let Turn::Commit(group) = decide(&standing(50, 100), &known(100), &spec(), &asks) else {
        panic!("expected a group")
    };
    assert_eq!(group.verdicts[3], Verdict::Refused(Status::RegisterMismatch));
    let expected = Registers::new(labels(&[("AA", "44"), ("BB", "22")]));
    assert_eq!(group.registers.as_ref(), Some(&expected));
    assert_eq!(group.registers_at[1], Some(Registers::new(labels(&[("BB", "22"), ("CC", "33")]))));
    assert_eq!(group.registers_at[3].as_ref(), Some(&expected), "a refusal shows what it was refused on");
}

#[test]
fn suspension_of_every_level_and_ask() {
    use SuspendAsk::{IfFlushed, Keep, NoResume, Now, Resume};
    let resuspend = |level| Verdict::Resuspend { level, offset: offset(100) };
    let suspended = Verdict::Refused(Status::Suspended);
    let flushed = Known { last_mod_time: 1, ..known(100) };
    let pending = known(100);
    let pruned = Known { begin: offset(100), ..known(100) };
    let cases = [
        (SuspendLevel::None, NoResume, pending, span(100, 100)),
        (SuspendLevel::None, IfFlushed, pending, span(100, 100)),
        (SuspendLevel::None, IfFlushed, flushed, resuspend(SuspendLevel::Partial)),
        (SuspendLevel::None, IfFlushed, pruned, resuspend(SuspendLevel::Full)),
        (SuspendLevel::None, Now, pending, resuspend(SuspendLevel::Partial)),
        (SuspendLevel::None, Now, pruned, resuspend(SuspendLevel::Full)),
        (SuspendLevel::None, Keep, pending, span(100, 100)),
        (SuspendLevel::Partial, Resume, pending, resuspend(SuspendLevel::None)),
        (SuspendLevel::Partial, NoResume, pending, suspended.clone()),
        (SuspendLevel::Partial, IfFlushed, flushed, suspended.clone()),
        (SuspendLevel::Partial, Now, pruned, resuspend(SuspendLevel::Full)),
        (SuspendLevel::Partial, Keep, pending, span(100, 100)),
        (SuspendLevel::Full, Resume, pending, resuspend(SuspendLevel::None)),
        (SuspendLevel::Full, NoResume, pending, suspended.clone()),
        (SuspendLevel::Full, Keep, pending, suspended),
    ];
    for (level, suspend, known, expected) in cases {
        let mut spec = spec();
        spec.suspend = Some(Suspend { level, offset: offset(100) });
        let ask = Ask { suspend, ..content(0) };
        let decided =
            match turn(&standing(100, 100), &known, &spec, [ask].iter(), Timestamp::from_secs(1_000_000)) {
                Turn::Commit(group) => group.verdicts,
                other => panic!("{level:?} {suspend:?}: expected a group, not {other:?}"),
            };
        assert_eq!(decided, [expected], "{level:?} {suspend:?}");
    }
}

#[test]
fn content_goes_with_two_asks_of_suspension_only() {
    for (suspend, allowed) in [
        (SuspendAsk::Resume, true),
        (SuspendAsk::NoResume, true),
        (SuspendAsk::IfFlushed, false),
        (SuspendAsk::Keep, false),
    ] {
        let ask = Ask { suspend, ..content(1) };
        let expected = if allowed { span(100, 101) } else { Verdict::Refused(Status::NotAllowed) };
        assert_eq!(verdicts(&standing(50, 100), &known(100), &spec(), &[ask]), [expected], "{suspend:?}");
    }
}

#[test]
fn a_resumed_journal_goes_on_where_it_was_suspended() {
    let mut spec = spec();
    spec.suspend = Some(Suspend { level: SuspendLevel::None, offset: offset(900) });
    let Turn::Commit(group) = decide(&standing(0, 0), &known(0), &spec, &[content(1)]) else {
        panic!("expected a group")
    };
    assert_eq!((group.roll, group.begin, group.end), (Some(offset(900)), offset(900), offset(901)));
}

#[test]
fn offsets_never_wrap() {
    let full = standing(i64::MAX - 1, i64::MAX - 1);
    let known = Known { begin: offset(1), ..known(i64::MAX - 1) };
    assert_eq!(verdicts(&full, &known, &spec(), &[content(2)]), [Verdict::Refused(Status::NotAllowed)]);
}

proptest! {
    /// Whatever is asked: spans tile the group, and nothing is committed for a refusal.
    #[test]
    fn spans_tile_the_group(
        lengths in prop::collection::vec((0u64..3_000_000, prop::option::of(0i64..400)), 1..40),
        end in 100i64..200,
    ) {
        let asks: Vec<Ask> = lengths
            .iter()
            .map(|(length, at)| Ask { offset: offset(at.unwrap_or(0)), ..content(*length) })
            .collect();
        match decide(&standing(50, end), &known(end), &spec(), &asks) {
            Turn::Commit(group) => {
                let mut at = group.begin;
                for verdict in &group.verdicts {
                    if let Verdict::Span { begin, end } = verdict {
                        prop_assert_eq!(*begin, at);
                        prop_assert!(end >= begin);
                        at = *end;
                    }
                }
                prop_assert_eq!(at, group.end);
                prop_assert!(!group.verdicts.is_empty() && group.verdicts.len() <= asks.len());
                prop_assert_eq!(group.verdicts.len(), group.registers_at.len());
            }
            other => prop_assert!(false, "expected a group, not {:?}", other),
        }
    }
}
