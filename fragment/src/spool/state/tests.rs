//! What each record does to each state of a spool.

use courant_proto::label::LabelSet;
use proptest::prelude::*;
use sha1::Digest as _;

use super::*;

fn at(offset: i64) -> Offset {
    Offset::new(offset).expect("not negative")
}

fn registers(value: &str) -> Registers {
    Registers::new(LabelSet::from_pairs([("reg", value)]).expect("labels"))
}

fn sum(content: &str) -> ContentSum {
    ContentSum(sha1::Sha1::digest(content).into())
}

fn span(begin: i64, end: i64, content: &str) -> Proposal {
    let sum = if content.is_empty() { ContentSum::ZERO } else { sum(content) };
    Proposal { begin: at(begin), end: at(end), sum, codec: Codec::Snappy }
}

/// A spool `[100, 105)` of "hello", with registers `a` and perhaps content behind it.
fn hello(delta: &str) -> SpoolState {
    let mut spool = SpoolState::new(at(100), Codec::Snappy, registers("a"));
    spool.receive(b"hello", 0).expect("content");
    let decision = spool.apply(&span(100, 105, "hello"), &registers("a"));
    assert_eq!(decision, Decision { rolled: None, outcome: Outcome::Committed { length: 5 } });
    if !delta.is_empty() {
        spool.receive(delta.as_bytes(), 0).expect("content");
    }
    spool
}

fn agreed(dropped: u64) -> Outcome {
    Outcome::Agreed { dropped }
}

fn mismatch(have: Proposal, value: &str) -> Outcome {
    Outcome::Mismatch { have, registers: registers(value) }
}

fn rolled(completes: bool, to: i64, codec: Codec) -> Option<Roll> {
    let completed = completes.then(|| span(100, 105, "hello"));
    Some(Roll { completed, begins: Proposal::empty_at(at(to), codec) })
}

#[test]
fn proposals_to_a_spool_with_content() {
    // `delta` is received, then `proposal` comes with registers of that value.
    let check = |delta: &str, proposal: Proposal, value: &str, roll: Option<Roll>, outcome: Outcome| {
        let mut spool = hello(delta);
        let decision = spool.apply(&proposal, &registers(value));
        assert_eq!(decision, Decision { rolled: roll, outcome }, "{delta:?} then {proposal:?} with {value}");
    };
    let hello = span(100, 105, "hello");

    // What is committed, again: a sync, or a roll back.
    check("", hello, "a", None, agreed(0));
    check(" you", hello, "a", None, agreed(4));
    // With other registers it is neither.
    check("", hello, "b", None, mismatch(hello, "a"));
    check(" you", hello, "b", None, mismatch(hello, "a"));

    // What is committed and the content behind it.
    check(" you", span(100, 109, "hello you"), "b", None, Outcome::Committed { length: 4 });
    check(" you", span(100, 109, "hello me!"), "b", None, mismatch(hello, "a"));
    check(" you", span(100, 108, "hello yo"), "b", None, mismatch(hello, "a"));
    check(" you", span(101, 109, "hello you"), "b", None, mismatch(hello, "a"));
    let other_codec = Proposal { codec: Codec::Gzip, ..span(100, 109, "hello you") };
    check(" you", other_codec, "b", None, mismatch(hello, "a"));

    // Below the end nothing changes, whatever it is.
    check("", span(100, 104, "hell"), "a", None, mismatch(hello, "a"));
    check("", span(104, 104, ""), "a", None, mismatch(hello, "a"));
    check(" you", span(104, 105, "o"), "a", None, mismatch(hello, "a"));

    // Empty at the end: a roll. Its registers are not taken, as there was no content that changed them.
    check("", span(105, 105, ""), "a", rolled(true, 105, Codec::Snappy), agreed(0));
    check("", span(105, 105, ""), "b", rolled(true, 105, Codec::Snappy), mismatch(span(105, 105, ""), "a"));
    let gzip = Proposal { codec: Codec::Gzip, ..span(105, 105, "") };
    check("", gzip, "a", rolled(true, 105, Codec::Gzip), agreed(0));
    // It drops what was not committed with the spool that had it.
    check(" you", span(105, 105, ""), "a", rolled(true, 105, Codec::Snappy), agreed(0));

    // Within what was received, but no roll.
    check(" you", span(107, 107, ""), "b", None, mismatch(hello, "a"));
    check(" you", span(109, 109, ""), "b", None, mismatch(hello, "a"));

    // Beyond it: a roll that takes the registers, also where it does not match then.
    check("", span(106, 106, ""), "b", rolled(true, 106, Codec::Snappy), agreed(0));
    check(" you", span(110, 110, ""), "b", rolled(true, 110, Codec::Snappy), agreed(0));
    check(
        "",
        span(100, 106, "hello!"),
        "b",
        rolled(true, 106, Codec::Snappy),
        mismatch(span(106, 106, ""), "b"),
    );
}

#[test]
fn an_empty_spool_rolls_without_completing_anything() {
    let mut spool = SpoolState::new(Offset::ZERO, Codec::None, Registers::default());
    let to = Proposal::empty_at(at(50), Codec::None);
    let decision = spool.apply(&to, &registers("a"));
    let expected = Some(Roll { completed: None, begins: to });
    assert_eq!(decision, Decision { rolled: expected, outcome: agreed(0) });
    assert_eq!((spool.committed(), spool.registers()), (&to, &registers("a")));
    // Again, as it is what is committed now.
    assert_eq!(spool.apply(&to, &registers("a")).outcome, agreed(0));
}

#[test]
fn the_next_span_is_that_of_all_that_was_received() {
    let mut spool = SpoolState::new(at(7), Codec::Snappy, Registers::default());
    assert_eq!(spool.next(), span(7, 7, ""));
    spool.receive(b"some ", 0).expect("content");
    spool.receive(b"text", 5).expect("content");
    assert_eq!(spool.next(), span(7, 16, "some text"));
    assert_eq!(spool.committed(), &span(7, 7, ""));
    assert_eq!(hello("").next(), span(100, 105, "hello"));
    assert_eq!(hello("!").next(), span(100, 106, "hello!"));
}

#[test]
fn a_roll_back_restores_the_digest() {
    let mut spool = hello(" nobody");
    assert_eq!(spool.apply(&span(100, 105, "hello"), &registers("a")).outcome, agreed(7));
    spool.receive(b" world", 0).expect("content");
    let outcome = spool.apply(&span(100, 111, "hello world"), &registers("a")).outcome;
    assert_eq!(outcome, Outcome::Committed { length: 6 });
}

#[test]
fn content_follows_content() {
    let mut spool = hello("abc");
    for delta in [0, 2, 4, -1, i64::MIN, i64::MAX] {
        let refused = spool.receive(b"d", delta).expect_err("refused");
        assert_eq!(refused.to_string(), format!("invalid ContentDelta ({delta}; expected 3)"));
    }
    spool.receive(b"d", 3).expect("content");
    assert_eq!(spool.delta(), 4);

    let mut last = SpoolState::new(at(i64::MAX - 2), Codec::None, Registers::default());
    last.receive(b"ab", 0).expect("content");
    last.receive(b"c", 2).expect_err("there is no offset for it");
}

proptest! {
    /// Whatever is proposed, the spool never goes back, and is what was proposed if it says so.
    #[test]
    fn a_spool_only_goes_forward(
        proposals in prop::collection::vec((0..40i64, 0..20i64, any::<bool>(), 0..3u8, 0..2u8), 1..30),
    ) {
        let mut spool = hello("");
        for (begin, length, take_next, received, value) in proposals {
            if received > 0 {
                let delta = spool.delta() as i64;
                spool.receive(&vec![received; usize::from(received)], delta).expect("content");
            }
            let before = (*spool.committed(), spool.delta());
            let proposal = if take_next { spool.next() } else { span(90 + begin, 90 + begin + length, "x") };
            let registers = registers(if value == 0 { "a" } else { "b" });
            let decision = spool.apply(&proposal, &registers);
            prop_assert!(spool.committed().end >= before.0.end);
            prop_assert_eq!(
                decision.rolled.is_some(),
                proposal.end > before.0.end.plus(before.1).expect("an offset")
                    || (proposal.end == before.0.end && proposal.is_empty())
            );
            match decision.outcome {
                Outcome::Agreed { .. } | Outcome::Committed { .. } => {
                    prop_assert_eq!(spool.committed(), &proposal);
                    prop_assert_eq!(spool.registers(), &registers);
                    prop_assert_eq!(spool.delta(), 0);
                }
                Outcome::Mismatch { have, .. } => prop_assert_eq!(&have, spool.committed()),
            }
        }
    }
}
