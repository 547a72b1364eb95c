//! Pure: what a message means that was just read, by what is known of its producer.

use std::fmt;

use super::partial::Partial;
use crate::clock::Clock;
use crate::uuid::Flags;

/// What a queued message means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A message outside of transactions that was acknowledged before. It is dropped.
    OutsideAlreadyAcked,
    /// A message outside of transactions, to be delivered.
    OutsideCommit,
    /// A message of a transaction that was acknowledged before. It is dropped.
    ContinueAlreadyAcked,
    /// A message of a transaction that is in its open span already. It is dropped.
    ContinueDuplicate,
    /// A message that begins a span.
    ContinueBegin,
    /// A message that goes on with a span.
    ContinueExtend,
    /// An acknowledgement that was seen before, or an earlier one: the open span is rolled back.
    AckRollback,
    /// An acknowledgement with nothing to acknowledge. It is delivered itself.
    AckEmpty,
    /// An acknowledgement of a span that the ring holds, to be delivered.
    AckCommitRing,
    /// An acknowledgement of a span that the ring does not hold whole, to be delivered with a replay.
    AckCommitReplay,
}

impl Outcome {
    /// Whether something is to be delivered: [`step`](super::Sequencer::step) is due.
    pub const fn commits(self) -> bool {
        matches!(self, Self::OutsideCommit | Self::AckEmpty | Self::AckCommitRing | Self::AckCommitReplay)
    }

    /// Gazette's name in its metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OutsideAlreadyAcked => "outsideAlreadyAcked",
            Self::OutsideCommit => "outsideCommit",
            Self::ContinueAlreadyAcked => "continueAlreadyAcked",
            Self::ContinueDuplicate => "continueRingClockLarger",
            Self::ContinueBegin => "continueBeginSpan",
            Self::ContinueExtend => "continueExtendSpan",
            Self::AckRollback => "ackRollback",
            Self::AckEmpty => "ackEmpty",
            Self::AckCommitRing => "ackCommitRing",
            Self::AckCommitReplay => "ackCommitReplay",
        }
    }
}

/// What should not happen, and is dealt with all the same. Worth a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The flags have no meaning; the message is taken as outside of transactions.
    UnknownFlags(Flags),
    /// A message outside of transactions came within an open span, which is rolled back.
    SpanRolledBack,
    /// An acknowledgement went back behind the last one: the producer's store has lost transactions, which are delivered again.
    AckBelowLast {
        /// That of the last one.
        last: Clock,
        /// That of this one.
        found: Clock,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFlags(flags) => {
                write!(f, "unexpected UUID flags: {flags} (expected OUTSIDE_TXN, CONTINUE_TXN or ACK_TXN)")
            }
            Self::SpanRolledBack => f.write_str(
                "unexpected OUTSIDE_TXN after CONTINUE_TXN, which is rolled back (does one producer publish both committed and uncommitted to a journal?)",
            ),
            Self::AckBelowLast { last, found } => write!(
                f,
                "unexpected ACK_TXN of clock {:x} below the last one of {:x}: messages in between are delivered again (was the producer's store restored from an older state?)",
                found.get(),
                last.get()
            ),
        }
    }
}

/// What [`queue`](super::Sequencer::queue) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// What the message means.
    pub outcome: Outcome,
    /// What should not have happened.
    pub notice: Option<Notice>,
}

/// Decides. `is_whole`: the ring holds the open span from its begin on.
pub(super) fn decide(partial: &Partial, clock: Clock, flags: Flags, is_whole: bool) -> Queued {
    let is_open = partial.begin.is_some();
    let (outcome, notice) = match flags {
        Flags::CONTINUE_TXN if clock <= partial.min => (Outcome::ContinueAlreadyAcked, None),
        Flags::CONTINUE_TXN if clock <= partial.max => (Outcome::ContinueDuplicate, None),
        Flags::CONTINUE_TXN if is_open => (Outcome::ContinueExtend, None),
        Flags::CONTINUE_TXN => (Outcome::ContinueBegin, None),
        Flags::ACK_TXN if clock < partial.min => {
            (Outcome::AckRollback, Some(Notice::AckBelowLast { last: partial.min, found: clock }))
        }
        Flags::ACK_TXN if clock == partial.min => (Outcome::AckRollback, None),
        Flags::ACK_TXN if !is_open => (Outcome::AckEmpty, None),
        Flags::ACK_TXN if is_whole => (Outcome::AckCommitRing, None),
        Flags::ACK_TXN => (Outcome::AckCommitReplay, None),
        flags => {
            let unknown = (flags != Flags::OUTSIDE_TXN).then_some(Notice::UnknownFlags(flags));
            if clock <= partial.min {
                (Outcome::OutsideAlreadyAcked, unknown)
            } else {
                (Outcome::OutsideCommit, unknown.or(is_open.then_some(Notice::SpanRolledBack)))
            }
        }
    };
    Queued { outcome, notice }
}
