//! Pure: appends with conditions, on registers or on the offset, and what must come of them when they are done one at a time.

use std::collections::HashMap;
use std::time::Duration;

use courant_proto::wire;

use crate::linear::{self, Model, Timed, Verdict};
use crate::payload::{Found, Id};

/// The register that conditions are on.
pub const REGISTER: &str = "owner";

/// An append with a condition, or a look at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Which piece it appends.
    pub id: Id,
    /// What is asked for.
    pub ask: Ask,
    /// What came of it.
    pub answer: Answer,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Bytes of the append.
    pub length: i64,
    /// Where it must begin, if that matters.
    pub offset: Option<i64>,
    /// What the register must be, if that matters.
    pub expect: Option<u32>,
    /// What the register becomes, if it changes.
    pub set: Option<u32>,
}

/// What came of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is there.
    Done {
        /// Of its first byte.
        begin: i64,
        /// The register after it.
        register: Option<u32>,
    },
    /// The register was this instead.
    Mismatch {
        /// As the refusal says.
        register: Option<u32>,
    },
    /// The journal's end was another one.
    WrongOffset,
    /// Nobody knows.
    Unknown,
    /// Nobody was told, but it is there.
    Landed {
        /// Of its first byte.
        begin: i64,
    },
    /// Nothing was appended: somebody looked where the journal ends.
    Looked {
        /// The end.
        head: i64,
    },
}

/// The value of the register among a journal's registers.
pub fn register_of(registers: &wire::LabelSet) -> Option<u32> {
    registers.labels.iter().find(|label| label.name == REGISTER)?.value.parse().ok()
}

/// A journal as far as conditions see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// Its end.
    pub head: i64,
    /// Its register. None is there before the first append that sets it, and satisfies every condition.
    pub register: Option<u32>,
}

/// A journal that nobody else writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Journal;

impl Model for Journal {
    type State = State;
    type Op = Op;

    fn start(&self) -> State {
        State::default()
    }

    fn step(&self, state: &State, op: &Op) -> Option<State> {
        let Op { ask, answer, .. } = op;
        let matches = ask.expect.is_none() || state.register.is_none() || ask.expect == state.register;
        let placed = ask.offset.is_none_or(|offset| offset == state.head);
        let after = State { head: state.head + ask.length, register: ask.set.or(state.register) };
        match answer {
            Answer::Done { begin, register } => {
                let right = matches && placed && *begin == state.head && *register == after.register;
                right.then_some(after)
            }
            Answer::Unknown => (matches && placed).then_some(after),
            Answer::Landed { begin } => (matches && placed && *begin == state.head).then_some(after),
            Answer::Mismatch { register } => (!matches && *register == state.register).then(|| state.clone()),
            Answer::WrongOffset => (matches && !placed).then(|| state.clone()),
            Answer::Looked { head } => (*head == state.head).then(|| state.clone()),
        }
    }
}

/// Whether appends to a journal that now holds these pieces, up to its head, could have come one after the other. What the
/// journal holds says what became of the unknown ones, so that hardly anything is left to search.
pub fn check(ops: &[Timed<Op>], found: &[Found], head: usize, steps: usize) -> Verdict {
    let begins: HashMap<Id, usize> = found.iter().map(|found| (found.id, found.begin)).collect();
    let offset = |at: usize| i64::try_from(at).unwrap_or(i64::MAX);
    let mut known: Vec<Timed<Op>> = Vec::with_capacity(ops.len() + 1);
    for timed in ops {
        let mut timed = timed.clone();
        if timed.op.answer == Answer::Unknown {
            let Some(begin) = begins.get(&timed.op.id) else { continue };
            timed.op.answer = Answer::Landed { begin: offset(*begin) };
            timed.settled = Some(END);
        }
        known.push(timed);
    }
    let op = Op { id: Id::default(), ask: Ask::default(), answer: Answer::Looked { head: offset(head) } };
    known.push(Timed { sent: END, settled: Some(END), op });
    linear::check(&Journal, &known, steps)
}

/// After everything.
const END: Duration = Duration::from_secs(1 << 40);

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(sequence: u32, at: u64, ask: Ask, answer: Answer) -> Timed<Op> {
        let id = Id { sequence, ..Id::default() };
        let (sent, settled) = (Duration::from_secs(at), Duration::from_secs(at + 10));
        let settled = (answer != Answer::Unknown).then_some(settled);
        Timed { sent, settled, op: Op { id, ask, answer } }
    }

    fn swap(expect: Option<u32>, set: u32) -> Ask {
        Ask { length: 10, expect, set: Some(set), ..Ask::default() }
    }

    #[track_caller]
    fn check(ops: &[Timed<Op>], landed: &[u32], linear: bool) {
        let found: Vec<Found> = (0..)
            .zip(landed)
            .map(|(at, sequence)| {
                let id = Id { sequence: *sequence, ..Id::default() };
                Found { id, begin: 10 * at, end: 10 * at + 10 }
            })
            .collect();
        let verdict = super::check(ops, &found, 10 * landed.len(), 10_000);
        assert_eq!(verdict == Verdict::Linear, linear, "{verdict:?}");
    }

    #[test]
    fn a_register_has_one_winner() {
        let first = timed(0, 0, swap(None, 1), Answer::Done { begin: 0, register: Some(1) });
        let won = timed(1, 20, swap(Some(1), 2), Answer::Done { begin: 10, register: Some(2) });
        let too = timed(2, 20, swap(Some(1), 3), Answer::Done { begin: 20, register: Some(3) });
        let lost = timed(2, 20, swap(Some(1), 3), Answer::Mismatch { register: Some(2) });
        let lied = timed(2, 20, swap(Some(1), 3), Answer::Mismatch { register: Some(1) });
        check(&[first.clone(), won.clone(), lost], &[0, 1], true);
        check(&[first.clone(), won.clone(), too], &[0, 1, 2], false);
        check(&[first.clone(), won.clone(), lied], &[0, 1], false);
        // Whose outcome is unknown may have won, or not.
        let unknown = timed(2, 20, swap(Some(1), 3), Answer::Unknown);
        check(&[first.clone(), won.clone(), unknown.clone()], &[0, 1], true);
        check(&[first.clone(), unknown.clone()], &[0, 2], true);
        check(&[first, won, unknown], &[0, 1, 2], false);
    }

    #[test]
    fn an_offset_is_given_once() {
        let at = |offset| Ask { length: 10, offset: Some(offset), ..Ask::default() };
        let first =
            timed(0, 0, Ask { length: 10, ..Ask::default() }, Answer::Done { begin: 0, register: None });
        let second = timed(1, 20, at(10), Answer::Done { begin: 10, register: None });
        let refused = timed(2, 25, at(10), Answer::WrongOffset);
        let wrongly = timed(2, 40, at(20), Answer::WrongOffset);
        check(&[first.clone(), second.clone(), refused], &[0, 1], true);
        check(&[first.clone(), second.clone(), wrongly], &[0, 1], false);
        // What was acknowledged is gone.
        check(&[first, second], &[0], false);
    }
}
