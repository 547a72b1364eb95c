//! Pure: appends with conditions, on registers or on the offset, and what must come of them when they are done one at a time.

use courant_proto::wire;

use crate::linear::Model;

/// The register that conditions are on.
pub const REGISTER: &str = "owner";

/// An append with a condition, or a look at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
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
        let Op { ask, answer } = op;
        let matches = ask.expect.is_none() || state.register.is_none() || ask.expect == state.register;
        let placed = ask.offset.is_none_or(|offset| offset == state.head);
        let after = State { head: state.head + ask.length, register: ask.set.or(state.register) };
        match answer {
            Answer::Done { begin, register } => {
                let right = matches && placed && *begin == state.head && *register == after.register;
                right.then_some(after)
            }
            Answer::Unknown => (matches && placed).then_some(after),
            Answer::Mismatch { register } => {
                (!matches && *register == state.register).then(|| state.clone())
            }
            Answer::WrongOffset => (matches && !placed).then(|| state.clone()),
            Answer::Looked { head } => (*head == state.head).then(|| state.clone()),
        }
    }
}
