//! Gazette's cases, as tables. `a1` is a message of a transaction of producer a with clock 1, `a2!` an acknowledgement, `a3.` a message outside of
//! transactions, `a4?` one with flags that have no meaning, and `z` one without a UUID. Against a model: [`model`].

mod model;

use std::time::Duration;

use super::*;
use crate::uuid::Producer;

type Log = Vec<Message<&'static str, String>>;

const JOURNAL: &str = "test/journal";

/// The message of a token, behind the others of a journal. Between messages are two bytes that are none.
fn message(token: &str, log: &Log) -> Message<&'static str, String> {
    let begin = Offset::new(log.len() as i64 * 102).unwrap();
    let uuid = if token == "z" {
        Uuid::NIL
    } else {
        let digits = token[1..].trim_end_matches(['!', '.', '?']);
        let flags = match token.chars().last() {
            Some('!') => Flags::ACK_TXN,
            Some('.') => Flags::OUTSIDE_TXN,
            Some('?') => Flags::new(0x100).unwrap(),
            _ => Flags::CONTINUE_TXN,
        };
        let producer = Producer::from_bytes([token.as_bytes()[0], 0, 0, 0, 0, 1]);
        Uuid::new(producer, Clock::from_u64(digits.parse().unwrap()), flags)
    };
    Message { journal: JOURNAL, uuid, begin, end: begin.plus(100).unwrap(), payload: token.to_owned() }
}

/// A reader, and all that it has read.
struct Reader {
    sequencer: Sequencer<&'static str, String>,
    log: Log,
}

impl Reader {
    fn new(ring: usize) -> Self {
        Self { sequencer: Sequencer::new(ring), log: Vec::new() }
    }

    /// Another one that goes on from a checkpoint of this one, as it was persisted.
    fn successor(&mut self, ring: usize) -> Self {
        let checkpoint = self.sequencer.checkpoint(None);
        let mut successor = Sequencer::<_, String>::restore(&checkpoint, ring);
        assert_eq!(successor.checkpoint(None), checkpoint);
        Self { sequencer: successor, log: self.log.clone() }
    }

    fn queue(&mut self, token: &str) -> Queued {
        let message = message(token, &self.log);
        self.log.push(message.clone());
        self.sequencer.queue(message)
    }

    /// Delivers, with a replay if that is asked for, which is told as the tokens of what is read again.
    fn deliver(&mut self) -> (Vec<String>, Option<String>) {
        let (mut delivered, mut replay) = (Vec::new(), None);
        loop {
            match self.sequencer.step() {
                Step::Deliver(message) => delivered.push(message.payload),
                Step::Drained => return (delivered, replay),
                Step::Replay(range) => {
                    assert_eq!(range.journal, JOURNAL);
                    let within = |m: &&Message<_, _>| m.begin >= range.begin && m.end <= range.end;
                    let read: Vec<_> = self.log.iter().filter(within).cloned().collect();
                    replay = Some(read.iter().map(|message| &*message.payload).collect::<Vec<_>>().join(" "));
                    for message in read {
                        if let Replayed::Deliver(message) = self.sequencer.replayed(message).unwrap() {
                            delivered.push(message.payload);
                        }
                    }
                    self.sequencer.end_replay();
                }
            }
        }
    }

    /// Reads tokens; asserts what each means, what is delivered at the end, and what is read again for it.
    #[track_caller]
    fn check(&mut self, tokens: &str, outcomes: &[Outcome], delivered: &str, replay: Option<&str>) {
        let found: Vec<Outcome> = tokens.split(' ').map(|token| self.queue(token).outcome).collect();
        assert_eq!(found, outcomes, "{tokens}");
        let (found, replayed) = self.deliver();
        assert_eq!((&*found.join(" "), replayed.as_deref()), (delivered, replay), "{tokens}");
        assert_eq!(self.sequencer.offset(&JOURNAL), self.log.last().map(|message| message.end));
    }
}

use Outcome::{
    AckCommitReplay as AckReplay, AckCommitRing as AckRing, AckEmpty, AckRollback as Rollback,
    ContinueAlreadyAcked as Acked, ContinueBegin as Begin, ContinueDuplicate as Duplicate,
    ContinueExtend as Extend, OutsideAlreadyAcked, OutsideCommit,
};

#[test]
fn transactions() {
    let mut reader = Reader::new(3);
    reader.check("a1 a2 a1 a2 a3!", &[Begin, Extend, Duplicate, Duplicate, AckRing], "a1 a2 a3!", None);
    assert!(!reader.sequencer.has_pending());
    reader.check("a4!", &[AckEmpty], "a4!", None);
    // Only what the acknowledgement's clock reaches is committed.
    reader.check("a5 a7 a6!", &[Begin, Extend, AckRing], "a5 a6!", None);
    reader.check("a7 b1 a7 a8 b2 a6!", &[Begin, Begin, Duplicate, Extend, Extend, Rollback], "", None);
    assert!(reader.sequencer.has_pending());
    reader.check("b3!", &[AckReplay], "b1 b2 b3!", Some("b1 a7 a8"));
    reader.check(
        "b4 b1 b4 b5 b6 b2 b7 b8!",
        &[Begin, Acked, Duplicate, Extend, Extend, Acked, Extend, AckReplay],
        "b4 b5 b6 b7 b8!",
        Some("b4 b1 b4 b5"),
    );
    // All that the ring holds lies beyond the acknowledgement.
    reader.check(
        "b9 b11 b12 b13 b10!",
        &[Begin, Extend, Extend, Extend, AckReplay],
        "b9 b10!",
        Some("b9 b11"),
    );
    reader.check("b11 a7 a8 b12 a9!", &[Begin, Begin, Extend, Extend, AckReplay], "a7 a8 a9!", Some("a7"));
    assert!(reader.sequencer.has_pending());
    reader.check("b13!", &[AckReplay], "b11 b12 b13!", Some("b11 a7 a8"));
    assert!(!reader.sequencer.has_pending());
    // Back to an earlier acknowledgement: clocks are used again.
    reader.check("b8! b9 b10!", &[Rollback, Begin, AckRing], "b9 b10!", None);
    reader.check("b8! b9!", &[Rollback, AckEmpty], "b9!", None);
}

#[test]
fn a_ring_of_one_replays_everything() {
    let mut reader = Reader::new(0);
    reader.check(
        "a1 a2 b1 a1 a2 a3!",
        &[Begin, Extend, Begin, Duplicate, Duplicate, AckReplay],
        "a1 a2 a3!",
        Some("a1 a2 b1 a1 a2"),
    );
    reader.check("b2 b3!", &[Extend, AckReplay], "b1 b2 b3!", Some("b1 a1 a2 a3! b2"));
}

#[test]
fn a_span_that_left_the_ring_is_known_to_have_begun() {
    let mut reader = Reader::new(5);
    let outcomes =
        [Begin, Begin, Extend, Extend, Extend, Extend, Extend, Extend, Extend, Extend, Extend, AckReplay];
    reader.check(
        "a100 b200 a300 a400 b500 b600 b700 b800 b900 b1000 b1100 a401!",
        &outcomes,
        "a100 a300 a400 a401!",
        Some("a100 b200 a300 a400 b500 b600 b700 b800 b900 b1000 b1100"),
    );
    reader.check(
        "b1101!",
        &[AckReplay],
        "b200 b500 b600 b700 b800 b900 b1000 b1100 b1101!",
        Some("b200 a300 a400 b500 b600 b700 b800"),
    );
}

#[test]
fn the_ring_is_bounded_in_bytes_as_well() {
    let mut reader = Reader::new(100);
    reader.sequencer = reader.sequencer.with_ring_bytes(250);
    for token in ["a1", "b1", "a2", "a3"] {
        reader.queue(token);
        assert!(reader.sequencer.ring.bytes() <= 250, "{token}");
    }
    // Two of a hundred bytes are held, and one gives way to the next.
    reader.check("a4!", &[AckReplay], "a1 a2 a3 a4!", Some("a1 b1 a2"));
    reader.check("b2!", &[AckReplay], "b1 b2!", Some("b1 a2 a3 a4!"));
    assert_eq!(reader.sequencer.ring.bytes(), 0);
    // What was rolled back makes room, and one message is held however long it is.
    reader.check("a5 a4!", &[Begin, Rollback], "", None);
    assert_eq!(reader.sequencer.ring.bytes(), 0);
    reader.sequencer = reader.sequencer.with_ring_bytes(50);
    reader.check("a5 a6!", &[Begin, AckReplay], "a5 a6!", Some("a5"));
}

#[test]
fn messages_outside_of_transactions() {
    let mut reader = Reader::new(0);
    reader.check("a1.", &[OutsideCommit], "a1.", None);
    reader.check("a2.", &[OutsideCommit], "a2.", None);
    reader.check("a1. a2.", &[OutsideAlreadyAcked, OutsideAlreadyAcked], "", None);
    reader.check("a3 a4 a5.", &[Begin, Extend, OutsideCommit], "a5.", None);
    assert!(!reader.sequencer.has_pending());
    reader.check("a6 a7?", &[Begin, OutsideCommit], "a7?", None);
    reader.check("a7?", &[OutsideAlreadyAcked], "", None);
    reader.check("z", &[OutsideCommit], "z", None);
    reader.check("z", &[OutsideCommit], "z", None);
    let state = &reader.sequencer.checkpoint(None).journals[JOURNAL];
    let known: Vec<_> = state
        .producers
        .iter()
        .map(|(producer, state)| (producer.as_bytes()[0], state.last_ack.get()))
        .collect();
    assert_eq!(known, [(b'a', 7)]);
}

#[test]
fn what_should_not_happen_is_told() {
    let mut reader = Reader::new(8);
    let flags = Flags::new(0x100).unwrap();
    let clock = Clock::from_u64;
    for (token, notice) in [
        ("a1?", Some(Notice::UnknownFlags(flags))),
        ("a1?", Some(Notice::UnknownFlags(flags))),
        ("a2", None),
        ("a3.", Some(Notice::SpanRolledBack)),
        ("a3!", None),
        ("a1!", Some(Notice::AckBelowLast { last: clock(3), found: clock(1) })),
        ("z", None),
    ] {
        let found = reader.queue(token).notice;
        assert_eq!(found, notice, "{token}");
        assert!(found.is_none_or(|notice| notice.to_string().starts_with("unexpected ")));
        reader.deliver();
    }
}

#[test]
fn a_successor_goes_on_where_the_checkpoint_was_taken() {
    let mut reader = Reader::new(12);
    reader.check("a1 a2 b1 b2 c1!", &[Begin, Extend, Begin, Extend, AckEmpty], "c1!", None);
    reader.check("z", &[OutsideCommit], "z", None);
    assert!(reader.sequencer.has_pending());
    let mut successor = reader.successor(12);
    // What was open already does not count as pending: nothing has to wait for it.
    assert!(!reader.sequencer.has_pending() && !successor.sequencer.has_pending());
    let state = &reader.sequencer.checkpoint(None).journals[JOURNAL];
    assert_eq!(state.read_through, reader.log[5].end);
    let producers: Vec<_> =
        state.producers.values().map(|state| (state.last_ack.get(), state.begin.map(Offset::get))).collect();
    assert_eq!(producers, [(0, Some(0)), (0, Some(204)), (1, None)]);
    reader.check("b3!", &[AckRing], "b1 b2 b3!", None);
    successor.check("b3!", &[AckReplay], "b1 b2 b3!", Some("b1 b2 c1! z"));
    for reader in [&mut reader, &mut successor] {
        reader.check("c2 c1!", &[Begin, Rollback], "", None);
    }
    reader.check("a3!", &[AckRing], "a1 a2 a3!", None);
    successor.check("a3!", &[AckReplay], "a1 a2 a3!", Some("a1 a2 b1 b2 c1! z b3! c2 c1!"));
}

#[test]
fn a_successor_of_the_middle_of_a_delivery_goes_on_with_what_was_at_hand() {
    let mut reader = Reader::new(12);
    ["a1", "a2", "a3!"].iter().for_each(|token| _ = reader.queue(token));
    // Before anything was delivered, and with the first message at hand: all of it is delivered again.
    for _ in 0..2 {
        let mut successor = reader.successor(12);
        let state = successor.sequencer.checkpoint(None).journals[JOURNAL].clone();
        assert_eq!(state.read_through, reader.log[1].end);
        successor.log.pop();
        successor.check("a3!", &[AckReplay], "a1 a2 a3!", Some("a1 a2"));
        assert!(matches!(reader.sequencer.step(), Step::Deliver(_)));
    }
    assert!(reader.sequencer.is_delivering());
    // With the second one at hand the first was processed.
    let mut successor = reader.successor(12);
    successor.log.pop();
    successor.check("a3!", &[AckReplay], "a2 a3!", Some("a2"));
    assert_eq!(reader.deliver().0, ["a3!"]);
    // Of a message that commits itself alone.
    for (token, outcome) in [("a4!", AckReplay), ("a5.", OutsideCommit), ("z", OutsideCommit)] {
        reader.queue(token);
        let mut successor = reader.successor(12);
        successor.log.pop();
        successor.check(token, &[outcome], token, None);
        reader.deliver();
    }
}

#[test]
fn what_was_dropped_from_a_span_does_not_come_back_with_a_replay() {
    // The first a2 is rolled back. The second is dropped, as it comes after a3, and a2! commits neither.
    for (ring, outcome, replay) in [(8, AckRing, None), (1, AckReplay, Some("a3 a2"))] {
        let mut reader = Reader::new(ring);
        reader.check("a2 a1! a3 a2 a2!", &[Begin, Rollback, Begin, Duplicate, outcome], "a2!", replay);
    }
}

#[test]
fn old_producers_are_pruned() {
    let mut reader = Reader::new(12);
    // In units of 100 ns, with 4 bits of a counter below.
    reader.check("a160 b304 b320!", &[Begin, Begin, AckRing], "b304 b320!", None);
    reader.check("c480", &[Begin], "", None);
    let mut known = |horizon: Option<Duration>| {
        let state = &reader.sequencer.checkpoint(horizon).journals[JOURNAL];
        state
            .producers
            .iter()
            .map(|(producer, state)| (char::from(producer.as_bytes()[0]), state.last_ack.get()))
            .collect::<Vec<_>>()
    };
    let all = [('a', 159), ('b', 320), ('c', 479)];
    assert_eq!(known(None), all);
    assert_eq!(known(Some(Duration::ZERO)), all);
    assert_eq!(known(Some(Duration::MAX)), all);
    assert_eq!(known(Some(Duration::from_nanos(2_000))), all);
    assert_eq!(known(Some(Duration::from_nanos(1_900))), all[1..]);
    assert_eq!(known(Some(Duration::from_nanos(1))), all[2..]);
    // The open span of one that was pruned is forgotten: its acknowledgement delivers itself alone.
    reader.check("a170!", &[AckEmpty], "a170!", None);
    // The number of a pruned producer is another's now, and the ring does not mix them up.
    reader.check("d500 d501 d502!", &[Begin, Extend, AckRing], "d500 d501 d502!", None);
    let filling = (503..520).map(|clock| format!("d{clock}")).collect::<Vec<_>>();
    filling.iter().for_each(|token| _ = reader.queue(token));
    reader.check(
        "c481!",
        &[AckReplay],
        "c480 c481!",
        Some(&format!("c480 a170! d500 d501 d502! {}", filling.join(" "))),
    );
}

#[test]
fn a_producer_that_is_being_delivered_is_not_pruned() {
    let mut reader = Reader::new(12);
    reader.check("b1000000.", &[OutsideCommit], "b1000000.", None);
    ["a1", "a2", "a3!"].iter().for_each(|token| _ = reader.queue(token));
    assert!(matches!(reader.sequencer.step(), Step::Deliver(_)));
    let checkpoint = reader.sequencer.checkpoint(Some(Duration::from_nanos(100)));
    assert_eq!(checkpoint.journals[JOURNAL].producers.len(), 2);
    assert_eq!(reader.deliver().0, ["a2", "a3!"]);
}

#[test]
fn journals_are_kept_apart() {
    let mut sequencer = Sequencer::new(8);
    let log = Log::new();
    let of = |journal, token: &str| Message { journal, ..message(token, &log) };
    assert_eq!(sequencer.queue(of("one", "a1")).outcome, Begin);
    assert_eq!(sequencer.queue(of("one;two", "a1!")).outcome, AckEmpty);
    assert!(matches!(sequencer.step(), Step::Deliver(_)));
    assert!(matches!(sequencer.step(), Step::Drained));
    let checkpoint = sequencer.checkpoint(None);
    assert_eq!(checkpoint.journals.keys().copied().collect::<Vec<_>>(), ["one", "one;two"]);
    assert_eq!((sequencer.offset(&"one"), sequencer.offset(&"three")), (Offset::new(100), None));
}

#[test]
fn replays_are_held_to_their_range() {
    let mut reader = Reader::new(0);
    ["b1", "a2", "a3!"].iter().for_each(|token| _ = reader.queue(token));
    let right = reader.log[1].clone();
    let Step::Replay(range) = reader.sequencer.step() else { panic!("no replay") };
    assert_eq!((range.begin, range.end), (right.begin, reader.log[2].begin));
    let mut check = |message: Message<&'static str, String>, text: &str| {
        assert_eq!(reader.sequencer.replayed(message).unwrap_err().to_string(), text);
    };
    check(Message { journal: "wrong/journal", ..right.clone() }, "replay of wrong journal");
    let before = Offset::new(101).unwrap();
    check(Message { begin: before, ..right.clone() }, "replay has wrong Begin (101; expected >= 102)");
    let behind = Offset::new(302).unwrap();
    check(Message { end: behind, ..right.clone() }, "replay has wrong End (302; expected <= 204)");
    // It may begin again, in the middle too: what was delivered is not delivered twice.
    assert!(matches!(reader.sequencer.replayed(right.clone()), Ok(Replayed::Deliver(_))));
    assert!(matches!(reader.sequencer.step(), Step::Replay(again) if again == range));
    assert!(matches!(reader.sequencer.replayed(right), Ok(Replayed::Skip)));
    reader.sequencer.end_replay();
    assert_eq!(reader.deliver(), (vec!["a3!".to_owned()], None));
}

#[test]
#[should_panic(expected = "a message is queued while others are delivered")]
fn queueing_within_a_delivery_is_a_mistake() {
    let mut reader = Reader::new(8);
    reader.queue("a1.");
    reader.queue("a2.");
}

#[test]
#[should_panic(expected = "a replay that was not asked for")]
fn replaying_what_was_not_asked_for_is_a_mistake() {
    let mut reader = Reader::new(8);
    reader.queue("a1.");
    reader.sequencer.end_replay();
}
