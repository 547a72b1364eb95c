//! Pure: whether a history of operations that overlap in time could have come of one after the other. Searches, as Wing and
//! Gong do, and remembers what it has tried, as Lowe does; so it is for histories of some hundreds of operations.

use std::collections::HashSet;
use std::hash::Hash;
use std::time::Duration;

/// What operations do, one at a time.
pub trait Model {
    /// What they leave behind for each other.
    type State: Clone + Eq + Hash;
    /// An operation, with what came of it.
    type Op;

    /// Before the first of them.
    fn start(&self) -> Self::State;

    /// The state after an operation, if what came of it is right in this state. An operation whose outcome is unknown is
    /// asked for what it does if it happens.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;
}

/// An operation in time.
#[derive(Clone, Debug)]
pub struct Timed<Op> {
    /// When it was asked for.
    pub sent: Duration,
    /// When its outcome was known. None: it never was, so it may happen at any time after, or not at all.
    pub settled: Option<Duration>,
    /// What it is.
    pub op: Op,
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linear,
    /// There is none. As many operations as that, by their places in the history, can be ordered at most.
    Torn {
        /// A longest beginning of an order.
        longest: Vec<usize>,
    },
    /// The search was given up.
    Undecided,
}

/// Searches for an order, with so many steps at most.
pub fn check<M: Model>(model: &M, history: &[Timed<M::Op>], steps: usize) -> Verdict {
    let mut search = Search {
        model,
        history,
        by_sent: by_sent(history),
        tried: HashSet::new(),
        done: vec![0; history.len().div_ceil(64)],
        order: Vec::new(),
        longest: Vec::new(),
        steps,
    };
    match search.run() {
        Some(true) => Verdict::Linear,
        Some(false) => Verdict::Torn { longest: search.longest },
        None => Verdict::Undecided,
    }
}

fn by_sent<Op>(history: &[Timed<Op>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..history.len()).collect();
    order.sort_by_key(|index| history[*index].sent);
    order
}

struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [Timed<M::Op>],
    by_sent: Vec<usize>,
    /// Sets of operations that were done, with the state after them, from which there is no way on.
    tried: HashSet<(Vec<u64>, M::State)>,
    done: Vec<u64>,
    order: Vec<usize>,
    longest: Vec<usize>,
    steps: usize,
}

/// A place of the search: the state, and where in `by_sent` to go on when what was tried has failed.
struct Place<S> {
    state: S,
    next: usize,
}

impl<M: Model> Search<'_, M> {
    /// Whether there is an order; None if it takes too long to tell.
    fn run(&mut self) -> Option<bool> {
        let mut places = vec![Place { state: self.model.start(), next: 0 }];
        while let Some(place) = places.last_mut() {
            if self.is_complete() {
                return Some(true);
            }
            self.steps = self.steps.checked_sub(1)?;
            let deadline = self.deadline();
            let found = (place.next..self.by_sent.len()).find_map(|at| {
                let index = self.by_sent[at];
                let timed = &self.history[index];
                // What was sent after another one was settled cannot stand before it.
                if self.is_done(index) || deadline.is_some_and(|deadline| timed.sent > deadline) {
                    return None;
                }
                let state = self.model.step(&place.state, &timed.op)?;
                Some((at, index, state))
            });
            match found {
                Some((at, index, state)) => {
                    place.next = at + 1;
                    self.flip(index);
                    if self.tried.insert((self.done.clone(), state.clone())) {
                        self.order.push(index);
                        if self.order.len() > self.longest.len() {
                            self.longest.clone_from(&self.order);
                        }
                        places.push(Place { state, next: 0 });
                    } else {
                        self.flip(index);
                    }
                }
                None => {
                    places.pop();
                    if let Some(index) = self.order.pop() {
                        self.flip(index);
                    }
                }
            }
        }
        Some(false)
    }

    /// The first time at which something that is not done yet was settled.
    fn deadline(&self) -> Option<Duration> {
        let open = self.history.iter().enumerate().filter(|(index, _)| !self.is_done(*index));
        open.filter_map(|(_, timed)| timed.settled).min()
    }

    /// Whether everything with a known outcome is in the order.
    fn is_complete(&self) -> bool {
        self.deadline().is_none()
    }

    fn is_done(&self, index: usize) -> bool {
        self.done[index / 64] & (1 << (index % 64)) != 0
    }

    fn flip(&mut self, index: usize) {
        self.done[index / 64] ^= 1 << (index % 64);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A register of one number.
    struct Register;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Read(u8),
        Write(u8),
        Swap(u8, u8),
    }

    impl Model for Register {
        type State = u8;
        type Op = Op;

        fn start(&self) -> u8 {
            0
        }

        fn step(&self, state: &u8, op: &Op) -> Option<u8> {
            match op {
                Op::Read(seen) => (seen == state).then_some(*state),
                Op::Write(value) => Some(*value),
                Op::Swap(old, new) => (old == state).then_some(*new),
            }
        }
    }

    fn timed(sent: u64, settled: Option<u64>, op: Op) -> Timed<Op> {
        Timed { sent: Duration::from_millis(sent), settled: settled.map(Duration::from_millis), op }
    }

    #[track_caller]
    fn check(history: &[(u64, Option<u64>, Op)], linear: bool) {
        let history: Vec<_> = history.iter().map(|(sent, settled, op)| timed(*sent, *settled, *op)).collect();
        let verdict = super::check(&Register, &history, 100_000);
        assert_eq!(verdict == Verdict::Linear, linear, "{verdict:?}");
    }

    #[test]
    fn known_histories() {
        check(&[], true);
        check(&[(0, Some(1), Op::Write(1)), (2, Some(3), Op::Read(1))], true);
        check(&[(0, Some(1), Op::Write(1)), (2, Some(3), Op::Read(0))], false);
        // They overlap.
        check(&[(0, Some(3), Op::Write(1)), (2, Some(4), Op::Read(0))], true);
        // Two swaps of the same value.
        check(&[(0, Some(9), Op::Swap(0, 1)), (0, Some(9), Op::Swap(0, 2))], false);
        check(&[(0, Some(9), Op::Swap(0, 1)), (0, Some(9), Op::Swap(1, 2))], true);
        // One of unknown outcome may happen late, or never.
        check(&[(0, None, Op::Write(1)), (5, Some(6), Op::Read(0)), (7, Some(8), Op::Read(1))], true);
        check(&[(0, None, Op::Write(1)), (5, Some(6), Op::Read(1)), (7, Some(8), Op::Read(0))], false);
        check(&[(5, None, Op::Write(1)), (0, Some(1), Op::Read(1))], false);
        check(&[(0, None, Op::Swap(7, 8)), (5, Some(6), Op::Read(0))], true);
    }

    #[test]
    fn a_search_that_takes_too_long_is_given_up() {
        let history: Vec<_> = (0..40).map(|value| timed(0, Some(9), Op::Write(value))).collect();
        assert_eq!(super::check(&Register, &history, 10), Verdict::Undecided);
    }

    proptest! {
        /// What is run one after the other is in order however wide the times are drawn; a read of a value that nobody
        /// wrote is not.
        #[test]
        fn widened_histories_stay_linear(
            ops in prop::collection::vec((0..3_u8, 0..4_u8, 0..30_u64, 0..30_u64, any::<bool>()), 1..30),
            wrong in any::<bool>(),
        ) {
            let mut state = 0;
            let mut history = Vec::new();
            for (at, (kind, value, before, after, lost)) in (0_u64..).zip(ops) {
                let op = match kind {
                    0 => Op::Read(state),
                    1 => Op::Write(value),
                    _ => Op::Swap(state, value),
                };
                state = Register.step(&state, &op).expect("right");
                let point = 100 + 10 * at;
                let lost = lost && !matches!(op, Op::Read(_));
                history.push(timed(point - before, (!lost).then_some(point + after), op));
            }
            if wrong {
                history.push(timed(0, Some(10_000), Op::Read(99)));
            }
            let verdict = super::check(&Register, &history, 1_000_000);
            prop_assert_eq!(verdict == Verdict::Linear, !wrong, "{:?}", verdict);
        }
    }
}
