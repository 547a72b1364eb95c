//! Pure: what one producer has for one journal: one append in flight, and what waits behind it.

use bytes::{Bytes, BytesMut};

/// The place of a message in an outbox: the number of the append that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What is known of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketState {
    /// It waits, or is in flight.
    Open,
    /// It was appended.
    Appended,
    /// It was not, or is not known to have been, and will not be tried again.
    Failed,
}

/// How an append ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was committed.
    Committed,
    /// It failed, or may have: it is not known, and worth another try. The same bytes are due again before any other. Readers drop what they get twice, if
    /// each message is committed by itself. Of a transaction only what has failed for certain may be tried again: an attempt that lands late, behind
    /// what came after it, takes its readers back. Otherwise give up, and make the transaction again with another producer.
    TryAgain,
    /// It is given up. Nothing is appended behind it: readers would not see that something is missing.
    GiveUp,
}

/// Appends of one producer to one journal, one after the other. Messages that come while one is in flight become the next one together.
#[derive(Debug)]
pub struct Outbox {
    /// Bytes that may wait.
    limit: usize,
    waiting: BytesMut,
    /// The number of the append that what waits will be.
    number: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    InFlight(Bytes),
    /// Came back, and is due again.
    Due(Bytes),
    Closed,
}

impl Outbox {
    /// An empty one. Messages wait in it until they are more than `limit` bytes; then it takes no more.
    pub fn new(limit: usize) -> Self {
        Self { limit, waiting: BytesMut::new(), number: 0, state: State::Idle }
    }

    /// Takes a message. What `encode` appended goes when it fails.
    ///
    /// # Errors
    /// When too much waits already, an append was given up, or `encode` fails.
    pub fn push<E>(
        &mut self,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), E>,
    ) -> Result<Ticket, PushError<E>> {
        match self.state {
            State::Closed => return Err(PushError::Closed),
            _ if self.waiting.len() > self.limit => {
                return Err(PushError::Full { waiting: self.waiting.len(), limit: self.limit });
            }
            _ => {}
        }
        let begin = self.waiting.len();
        match encode(&mut self.waiting) {
            Ok(()) => Ok(Ticket(self.number)),
            Err(error) => {
                self.waiting.truncate(begin);
                Err(PushError::Unencodable(error))
            }
        }
    }

    /// Takes bytes that are framed already, such as an [`AckIntent`](super::AckIntent)'s.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Result<Ticket, PushError<std::convert::Infallible>> {
        self.push(|out| {
            out.extend_from_slice(bytes);
            Ok(())
        })
    }

    /// The append that is due. From then on it is in flight, until it is [`answered`](Self::answered). None while one is, or nothing waits.
    pub fn next_append(&mut self) -> Option<Bytes> {
        let bytes = match std::mem::replace(&mut self.state, State::Idle) {
            State::Due(bytes) => bytes,
            State::Idle if !self.waiting.is_empty() => {
                self.number += 1;
                self.waiting.split().freeze()
            }
            state => {
                self.state = state;
                return None;
            }
        };
        self.state = State::InFlight(bytes.clone());
        Some(bytes)
    }

    /// Tells how the append in flight ended.
    ///
    /// # Panics
    /// When none is.
    pub fn answered(&mut self, answer: Answer) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        let State::InFlight(bytes) = state else {
            panic!("an answer while no append is in flight: {state:?}")
        };
        self.state = match answer {
            Answer::Committed => State::Idle,
            Answer::TryAgain => State::Due(bytes),
            Answer::GiveUp => {
                self.waiting = BytesMut::new();
                State::Closed
            }
        };
    }

    /// What became of a message.
    pub fn state(&self, Ticket(number): Ticket) -> TicketState {
        // The append that was taken last has the number before that of what waits.
        let is_last = number + 1 == self.number;
        match self.state {
            State::Idle if number < self.number => TicketState::Appended,
            _ if number < self.number && !is_last => TicketState::Appended,
            State::Closed => TicketState::Failed,
            _ => TicketState::Open,
        }
    }

    /// Bytes that wait; those in flight are not among them.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits and nothing is in flight: all that was taken was appended.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && matches!(self.state, State::Idle)
    }
}

/// A message that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError<E> {
    /// Too much waits.
    #[error(
        "{waiting} bytes wait to be appended (expected at most {limit}; try again when the append in flight was answered)"
    )]
    Full {
        /// Bytes that wait.
        waiting: usize,
        /// The most at which messages are taken.
        limit: usize,
    },
    /// An append was given up, and nothing may follow it.
    #[error(
        "an append was given up, and nothing is appended behind it (expected a new publisher, with another producer)"
    )]
    Closed,
    /// The message could not be encoded.
    #[error(transparent)]
    Unencodable(E),
}
