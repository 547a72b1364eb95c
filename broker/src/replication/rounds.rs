//! Pure: the rounds of a pipeline that its peers have not all answered.
//!
//! Peers answer in the order they were asked. A round is committed when every peer has answered it, and with it all before it.

use std::collections::VecDeque;

/// Rounds that may be on their way at once. What waits beyond that becomes one larger round.
const MOST_ROUNDS: usize = 24;

/// Bytes of content that may be on their way at once. A round that is larger goes alone.
const MOST_BYTES: u64 = 16 << 20;

/// Rounds on their way to a number of peers.
#[derive(Clone, Debug)]
pub(crate) struct Rounds<T> {
    waiting: VecDeque<(u64, T)>,
    bytes: u64,
    sent: u64,
    committed: u64,
    /// How many each peer has answered.
    answered: Vec<u64>,
}

/// A peer that answered more than it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unasked;

impl<T> Rounds<T> {
    /// None yet, with so many peers.
    pub(crate) fn new(peers: usize) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, sent: 0, committed: 0, answered: vec![0; peers] }
    }

    /// Whether another round may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < MOST_ROUNDS && self.bytes < MOST_BYTES
    }

    /// Whether none is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many were committed so far.
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    /// A round was sent to all peers.
    pub(crate) fn sent(&mut self, round: T, bytes: u64) {
        self.sent += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.waiting.push_back((bytes, round));
    }

    /// A peer has answered that many rounds more.
    pub(crate) fn answered(&mut self, peer: usize, rounds: u64) -> Result<(), Unasked> {
        let answered = self.answered.get_mut(peer).ok_or(Unasked)?;
        if answered.saturating_add(rounds) > self.sent {
            return Err(Unasked);
        }
        *answered += rounds;
        Ok(())
    }

    /// The next round that all peers have answered.
    pub(crate) fn next_committed(&mut self) -> Option<T> {
        let by_all = self.answered.iter().copied().min().unwrap_or(self.sent);
        if self.committed >= by_all {
            return None;
        }
        let (bytes, round) = self.waiting.pop_front()?;
        self.committed += 1;
        self.bytes -= bytes;
        Some(round)
    }

    /// What is left of a pipeline that has ended: whether it was committed is not known.
    pub(crate) fn into_unknown(self) -> impl Iterator<Item = T> {
        self.waiting.into_iter().map(|(_, round)| round)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_peers_a_round_is_committed_as_it_is_sent() {
        let mut rounds = Rounds::new(0);
        rounds.sent('a', 1);
        assert_eq!(rounds.next_committed(), Some('a'));
        assert_eq!(rounds.next_committed(), None);
        assert_eq!(rounds.answered(0, 1), Err(Unasked));
    }

    #[test]
    fn answers_that_nobody_asked_for_are_refused() {
        let mut rounds = Rounds::new(2);
        rounds.sent('a', 1);
        assert_eq!(rounds.answered(1, 2), Err(Unasked));
        assert_eq!(rounds.answered(2, 1), Err(Unasked));
        assert_eq!(rounds.answered(1, 1), Ok(()));
        assert_eq!(rounds.answered(1, 1), Err(Unasked));
        assert_eq!(rounds.next_committed(), None, "the other has not");
    }

    #[test]
    fn room_is_bounded_by_number_and_by_bytes() {
        let mut rounds = Rounds::new(1);
        rounds.sent(0, MOST_BYTES);
        assert!(!rounds.has_room());
        rounds.answered(0, 1).expect("an answer");
        assert_eq!(rounds.next_committed(), Some(0));
        for round in 0..MOST_ROUNDS {
            assert!(rounds.has_room());
            rounds.sent(round, 1);
        }
        assert!(!rounds.has_room());
    }

    proptest! {
        /// Whatever the order of answers, rounds commit in order, and none before every peer has answered it.
        #[test]
        fn no_round_commits_before_all_peers_have_it(
            peers in 1..4usize,
            steps in prop::collection::vec((0..5usize, 1..4u64), 1..200),
        ) {
            let mut rounds = Rounds::new(peers);
            let (mut sent, mut committed) = (0u64, 0u64);
            let mut answered = vec![0u64; peers];
            for (peer, count) in steps {
                if peer >= peers {
                    rounds.sent(sent, 10);
                    sent += 1;
                } else if rounds.answered(peer, count).is_ok() {
                    answered[peer] += count;
                } else {
                    prop_assert!(answered[peer] + count > sent);
                }
                while let Some(round) = rounds.next_committed() {
                    prop_assert_eq!(round, committed);
                    committed += 1;
                }
                prop_assert_eq!(Some(committed), answered.iter().copied().min());
            }
            prop_assert_eq!(rounds.into_unknown().collect::<Vec<_>>(), (committed..sent).collect::<Vec<_>>());
        }
    }
}
