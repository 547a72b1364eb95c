//! What comes of a shard, whatever happens to its owners; and transactions, step by step.

use proptest::prelude::*;

use super::simulation::{Bug, run};
use super::*;

proptest! {
    /// Whatever crashes, freezes, lands late or twice: the outcome is that of one run without any of it.
    #[test]
    fn every_history_comes_to_what_one_run_comes_to(seed: u64) {
        prop_assert_eq!(run(seed, Bug::None), Ok(()));
    }
}

#[test]
fn planted_bugs_are_found() {
    for bug in [
        Bug::CommitBeforePublish,
        Bug::AcknowledgeBeforeCommit,
        Bug::CheckpointBehindStore,
        Bug::FenceSkipped,
        Bug::StandbyAhead,
        Bug::DuplicateNotDropped,
        Bug::RepeatUncertain,
    ] {
        let found = (0..300).find(|seed| run(*seed, bug).is_err());
        assert!(found.is_some(), "{bug:?} goes unnoticed");
    }
}

/// A shard by hand: what is to be done is written down, and done when the test says so.
struct Shard {
    engine: Engine<String>,
    now: Timestamp,
    offset: i64,
    clock: Clock,
}

impl Shard {
    fn new(options: Options) -> Self {
        Self::of(options, None)
    }

    fn of(options: Options, checkpoint: Option<&[u8]>) -> Self {
        let producer = Producer::new([1, 0, 0, 0, 0, 1 + u8::from(checkpoint.is_some())]);
        let now = Timestamp::from_secs(1_700_000_000);
        let engine = Engine::restore(options, producer, checkpoint).unwrap();
        Self { engine, now, offset: 0, clock: Clock::at(now) }
    }

    /// Reads messages: `a.` outside of a transaction, `a` in one, `a!` an acknowledgement.
    fn read(&mut self, tokens: &str) {
        for token in tokens.split(' ') {
            let flags = match token.as_bytes()[1..] {
                [] => Flags::CONTINUE_TXN,
                [b'.'] => Flags::OUTSIDE_TXN,
                _ => Flags::ACK_TXN,
            };
            let uuid = Uuid::new(Producer::new([9; 6]), self.clock.tick(), flags);
            let begin = Offset::new(self.offset).unwrap();
            self.offset += 10;
            let end = Offset::new(self.offset).unwrap();
            let payload = token.to_owned();
            self.engine.read([Message { journal: Arc::from("source"), uuid, begin, end, payload }]);
        }
    }

    fn later(&mut self, millis: u64) {
        self.now = self.now.plus(std::time::Duration::from_millis(millis));
    }

    /// Does what is to be done, up to what only others can do, and says what it was. Messages that begin with `p` publish themselves; `d` is deferred
    /// once it is not the first.
    fn go(&mut self) -> String {
        let (mut done, mut consumed) = (Vec::new(), 0);
        loop {
            match self.engine.next(self.now).unwrap() {
                Action::Consume(message) if message.payload.starts_with('d') && consumed > 0 => {
                    self.engine.deferred(message).unwrap();
                    done.push("defer".to_owned());
                }
                Action::Consume(message) => {
                    consumed += 1;
                    if message.payload.starts_with('p') {
                        publish(&mut self.engine, &message.payload);
                    }
                    self.engine.consumed();
                    done.push(message.payload);
                }
                Action::Finalize => {
                    self.engine.finalized();
                    consumed = 0;
                    done.push("finalize".to_owned());
                }
                Action::Append { journal, content, once } => {
                    let lines = content.iter().filter(|byte| **byte == b'\n').count();
                    done.push(format!("{journal}+{lines}{}", if once { "" } else { "?" }));
                }
                Action::Commit(checkpoint) => {
                    let through = checkpoint.read_through("source").map_or(-1, Offset::get);
                    done.push(format!("commit@{through}"));
                }
                Action::Replay(range) => {
                    done.push(format!("replay[{}, {})", range.begin, range.end));
                }
                Action::Wait(wait) => {
                    done.push(if wait.reads { "read" } else { "wait" }.to_owned());
                    return done.join(" ");
                }
                Action::Done => return format!("{} done", done.join(" ")),
            }
        }
    }

    fn appended(&mut self) -> String {
        self.engine.appended(&Arc::from("out"));
        self.go()
    }

    fn committed(&mut self) -> String {
        self.engine.committed();
        self.go()
    }
}

fn publish(engine: &mut Engine<String>, text: &str) {
    let body = text.as_bytes().to_vec();
    let encode = |uuid, out: &mut BytesMut| {
        courant_message::envelope::append(
            courant_message::Framing::Lines,
            &courant_message::Meta::of(uuid),
            &body,
            out,
        )
    };
    engine.publish(&Arc::from("out"), Acknowledgement::Line, encode).unwrap();
}

fn options(min: u64, max: u64) -> Options {
    let millis = std::time::Duration::from_millis;
    Options { min: millis(min), max: millis(max), ..Options::default() }
}

#[test]
fn a_transaction_publishes_commits_and_acknowledges_in_this_order() {
    let mut shard = Shard::new(options(0, 1_000));
    assert_eq!(shard.go(), "read");
    shard.read("a. p. b.");
    assert_eq!(shard.go(), "a. p. b. finalize out+1 read");
    assert_eq!(shard.appended(), "commit@30 read");
    assert_eq!(shard.committed(), "out+1 read");
    assert_eq!(shard.appended(), "read");
    shard.engine.stop();
    assert_eq!(shard.go(), " done");
}

#[test]
fn the_next_one_consumes_while_one_is_on_its_way_and_shares_its_appends() {
    let mut shard = Shard::new(options(0, 1_000));
    shard.read("p.");
    assert_eq!(shard.go(), "p. finalize out+1 read");
    shard.read("p. a.");
    assert_eq!(shard.go(), "p. a. read");
    assert_eq!(shard.appended(), "commit@10 read");
    shard.read("b.");
    assert_eq!(shard.go(), "b. read");
    // Its messages follow the acknowledgement, and are appended with it.
    assert_eq!(shard.committed(), "finalize out+2 read");
    assert_eq!(shard.appended(), "commit@40 read");
    assert_eq!(shard.committed(), "out+1 read");
}

#[test]
fn a_transaction_stays_open_for_its_minimum() {
    let mut shard = Shard::new(options(100, 1_000));
    shard.read("a.");
    assert_eq!(shard.go(), "a. read");
    shard.later(99);
    shard.read("b.");
    assert_eq!(shard.go(), "b. read");
    shard.later(1);
    assert_eq!(shard.go(), "finalize commit@20 read");
    // The one before is on its way for longer than the minimum of the next.
    shard.read("c.");
    assert_eq!(shard.go(), "c. read");
    shard.later(500);
    assert_eq!(shard.go(), "read");
    assert_eq!(shard.committed(), "finalize commit@30 read");
}

#[test]
fn a_transaction_consumes_no_more_after_its_maximum() {
    let mut shard = Shard::new(options(0, 1_000));
    shard.read("a.");
    assert_eq!(shard.go(), "a. finalize commit@10 read");
    shard.read("b.");
    assert_eq!(shard.go(), "b. read");
    shard.later(1_000);
    // It stalls: the one before is still on its way.
    shard.read("c.");
    assert_eq!(shard.go(), "wait");
    assert_eq!(shard.committed(), "finalize commit@20 c. read");
}

#[test]
fn the_maximum_cuts_what_was_published_as_one() {
    let mut shard = Shard::new(options(0, 1_000));
    shard.read("a b c d!");
    let Action::Consume(message) = shard.engine.next(shard.now).unwrap() else {
        panic!("nothing to consume")
    };
    assert_eq!(message.payload, "a");
    shard.engine.consumed();
    shard.later(1_000);
    // Nothing of it counts as read before all of it was consumed.
    assert_eq!(shard.go(), "finalize commit@30 b c read");
    assert_eq!(shard.committed(), "finalize commit@40 read");
}

#[test]
fn a_transaction_waits_for_acknowledgements_as_far_as_it_may() {
    let mut shard = Shard::new(options(0, 1_000));
    shard.read("a. b");
    assert_eq!(shard.go(), "a. read");
    shard.read("c!");
    assert_eq!(shard.go(), "b finalize commit@30 read");
    shard.committed();
    shard.read("a. b");
    assert_eq!(shard.go(), "a. read");
    shard.later(1_000);
    assert_eq!(shard.go(), "finalize commit@50 read");
    // Where it is not asked to, it does not.
    let mut shard = Shard::new(Options { wait_for_ack: false, ..options(0, 1_000) });
    shard.read("a. b");
    assert_eq!(shard.go(), "a. finalize commit@20 read");
}

#[test]
fn what_is_deferred_comes_first_in_the_next_one() {
    let mut shard = Shard::new(options(0, 1_000));
    shard.read("a. d. b.");
    assert_eq!(shard.go(), "a. defer finalize commit@10 d. b. read");
    assert_eq!(shard.committed(), "finalize commit@30 read");
    // One that defers everything would go on for ever.
    shard.committed();
    shard.read("e.");
    let Action::Consume(message) = shard.engine.next(shard.now).unwrap() else {
        panic!("nothing to consume")
    };
    assert_eq!(shard.engine.deferred(message), Err(FirstDeferred));
}

#[test]
fn what_was_not_acknowledged_is_acknowledged_by_a_successor() {
    let mut shard = Shard::new(options(0, 1_000));
    shard.read("p.");
    shard.go();
    shard.engine.appended(&Arc::from("out"));
    let Action::Commit(checkpoint) = shard.engine.next(shard.now).unwrap() else {
        panic!("nothing to commit")
    };
    let mut successor = Shard::of(options(0, 1_000), Some(&checkpoint.encode()));
    assert_eq!(successor.engine.read_from(&Arc::from("source")), Offset::new(10));
    // It may be repeated, unlike what is the successor's own.
    assert_eq!(successor.go(), "out+1? read");
    successor.offset = 10;
    successor.clock = shard.clock;
    successor.read("a.");
    assert_eq!(successor.go(), "a. finalize read");
    assert_eq!(successor.appended(), "commit@20 read");
}

#[test]
fn what_does_not_fit_the_ring_is_read_again() {
    let mut shard = Shard::new(Options { ring: 1, ..options(0, 1_000) });
    shard.read("a b c!");
    assert_eq!(shard.go(), "replay[0, 20) wait");
    let again = |payload: &str, clock: Clock, begin| Message {
        journal: Arc::from("source"),
        uuid: Uuid::new(Producer::new([9; 6]), clock, Flags::CONTINUE_TXN),
        begin: Offset::new(begin).unwrap(),
        end: Offset::new(begin + 10).unwrap(),
        payload: payload.to_owned(),
    };
    let mut clock = Clock::at(shard.now);
    let (first, second) = (again("a", clock.tick(), 0), again("b", clock.tick(), 10));
    shard.engine.replay([first]);
    assert_eq!(shard.go(), "a wait");
    // Cut in the middle, the rest is asked for anew.
    shard.later(1_000);
    assert_eq!(shard.go(), "finalize commit@20 replay[0, 20) wait");
    shard
        .engine
        .replay([again("a", Clock::at(shard.now.minus(std::time::Duration::from_secs(1))), 0), second]);
    shard.engine.replay_ended();
    assert_eq!(shard.go(), "b read");
    assert_eq!(shard.committed(), "finalize commit@30 read");
}

#[test]
fn messages_that_say_nothing_are_recorded_now_and_then() {
    let mut shard = Shard::new(Options { unrecorded: 3, wait_for_ack: false, ..options(0, 1_000) });
    shard.read("a! b!");
    assert_eq!(shard.go(), "read");
    shard.read("c!");
    assert_eq!(shard.go(), "finalize commit@30 read");
}

#[test]
fn a_transaction_that_published_enough_consumes_no_more() {
    let mut shard = Shard::new(Options { published: 1, ..options(500, 1_000) });
    shard.read("p. a.");
    assert_eq!(shard.go(), "p. finalize out+1 a. read");
    let mut shard = Shard::new(options(500, 1_000));
    shard.read("a. b.");
    let Action::Consume(_) = shard.engine.next(shard.now).unwrap() else { panic!("nothing to consume") };
    shard.engine.fill();
    shard.engine.consumed();
    assert_eq!(shard.go(), "finalize commit@10 b. read");
}
