//! Pure: the transactions of one shard. What was read and what became of earlier actions goes in; what is to be done next comes out.
//!
//! A transaction reads committed messages, changes a view and publishes; then it is closed, and takes three steps, each after the one before has
//! succeeded:
//!
//! ```text
//!  consume … ─► finalize ─► append what it published ─► commit changes and checkpoint ─► append acknowledgements
//!                 closed      readers hold it back         now it has happened            readers see it
//! ```
//!
//! A crash before the commit leaves messages that are never acknowledged. A crash after it leaves acknowledgements in the checkpoint, which whoever
//! goes on appends again, and of which readers take one. So all of it has an effect once, or none.
//!
//! While a transaction is on its way, the next one consumes; it is closed when the one before has committed, and the acknowledgements of the
//! one and the messages of the other are appended together. So there is never more than one on its way, one that consumes, and two round trips for each.
//! No timer is needed for messages to share a transaction: whatever has come while the one before was on its way is in the next one.
//!
//! It knows no clock, no journal and no view. Its driver asks for the [`next`](Engine::next) action, carries it out, and tells what came of it.

mod checkpoint;
mod lanes;
mod options;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use courant_message::publisher::PushError;
use courant_message::sequencer::{ReplayError, ReplayRange, Replayed};
use courant_message::{
    AckIntent, Acknowledgement, Clock, Flags, Message, Outbox, Producer, Publisher, Sequencer, Step, Uuid,
};
use courant_proto::{Offset, Timestamp};

pub use self::checkpoint::{Checkpoint, InvalidCheckpoint};
use self::lanes::{Due, Lanes};
pub use self::options::Options;

/// The name of a journal.
pub type Journal = Arc<str>;

/// What is to be done next.
#[derive(Debug)]
pub enum Action<P> {
    /// Give this message to the application; then tell [`Engine::consumed`], or [`Engine::deferred`].
    Consume(Message<Journal, P>),
    /// Let the application finish its transaction; then tell [`Engine::finalized`].
    Finalize,
    /// Append this; when it was committed, tell [`Engine::appended`]. What has failed for certain is attempted again.
    Append {
        /// The journal.
        journal: Journal,
        /// Framed messages and acknowledgements.
        content: Bytes,
        /// Whether anything in it is of this producer. Then it must not be repeated when it is not known whether it has landed, and the engine is to be
        /// dropped: an attempt that lands late would take readers back behind what they have read since, or have them drop what they hold. Whoever goes on
        /// is another producer, so that what this one has not committed never counts. Acknowledgements of earlier producers may be repeated at will.
        once: bool,
    },
    /// Commit this, with what was changed up to the [`Finalize`](Self::Finalize) before it; when that has happened, tell [`Engine::committed`].
    Commit(Checkpoint),
    /// Read this range again, from its begin, and tell [`Engine::replay`] and [`Engine::replay_ended`]. It takes the place of one that was
    /// asked for before.
    Replay(ReplayRange<Journal>),
    /// Wait until something can be told.
    Wait(Wait),
    /// There is nothing left to be done after [`Engine::stop`].
    Done,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Ask again by then, though nothing has happened.
    pub until: Option<Timestamp>,
    /// Whether [`Engine::read`] is wanted. Otherwise enough is at hand.
    pub reads: bool,
    /// Whether more of the range that is read again is wanted.
    pub replays: bool,
}

/// Decides on the transactions of one shard. `P` is what a message says, in any form.
#[derive(Debug)]
pub struct Engine<P> {
    options: Options,
    sequencer: Sequencer<Journal, P>,
    publisher: Publisher<Journal>,
    /// What was read, and not looked at yet.
    input: VecDeque<Message<Journal, P>>,
    /// The committed message that is consumed next.
    held: Option<Message<Journal, P>>,
    replay: Option<Replay<P>>,
    open: Option<Open>,
    underway: Option<Underway>,
    lanes: Lanes,
    /// Messages that were read since the last checkpoint and that nobody consumes.
    unrecorded: usize,
    /// Whose answer is owed.
    owed: Option<Owed>,
    is_stopping: bool,
}

/// The transaction that consumes.
#[derive(Debug)]
struct Open {
    began: Timestamp,
    /// It has consumed a message.
    has_consumed: bool,
    /// What it has published.
    staged: BTreeMap<Journal, Outbox>,
    published: usize,
    /// It consumes no more.
    is_full: bool,
}

/// The transaction before it, until it is committed.
#[derive(Debug)]
enum Underway {
    /// Its messages are appended.
    Published(Checkpoint),
    /// It is being committed. What is kept of it is to be appended then.
    Committing(Vec<AckIntent<Journal>>),
}

#[derive(Debug)]
struct Replay<P> {
    range: ReplayRange<Journal>,
    is_asked_for: bool,
    read: VecDeque<Message<Journal, P>>,
    has_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    Consumed,
    Finalized,
}

impl<P> Engine<P> {
    /// An engine that goes on from the checkpoint that was committed last, if one was. `producer` is one that nobody else has, and had.
    ///
    /// # Errors
    /// When the checkpoint is none.
    pub fn restore(
        options: Options,
        producer: Producer,
        checkpoint: Option<&[u8]>,
    ) -> Result<Self, InvalidCheckpoint> {
        let (sources, intents) = match checkpoint {
            Some(bytes) => Checkpoint::decode(bytes)?.into_parts(),
            None => Default::default(),
        };
        let mut lanes = Lanes::default();
        for intent in intents {
            lanes.push_recovered(&intent.journal, &intent.bytes);
        }
        Ok(Self {
            sequencer: Sequencer::restore(&sources, options.ring),
            publisher: Publisher::new(producer),
            input: VecDeque::new(),
            held: None,
            replay: None,
            open: None,
            underway: None,
            lanes,
            unrecorded: 0,
            owed: None,
            is_stopping: false,
            options,
        })
    }

    /// Where a source is to be read on from, if it ever was read.
    pub fn read_from(&self, source: &Journal) -> Option<Offset> {
        self.sequencer.offset(source)
    }

    /// What is to be done next.
    ///
    /// # Errors
    /// When what was read again is not what was asked for.
    ///
    /// # Panics
    /// While it is owed what came of a [`Consume`](Action::Consume) or a [`Finalize`](Action::Finalize).
    pub fn next(&mut self, now: Timestamp) -> Result<Action<P>, ReplayError> {
        assert_eq!(self.owed, None, "the application has not answered");
        self.advance()?;
        if self.unrecorded >= self.options.unrecorded {
            self.begin(now);
        }
        if self.open.as_ref().is_some_and(|open| now.since(open.began) >= self.options.max) {
            self.fill();
        }
        if self.is_to_close(now) {
            self.owed = Some(Owed::Finalized);
            return Ok(Action::Finalize);
        }
        if let Some(Due { journal, content, holds_own }) = self.lanes.next_append() {
            return Ok(Action::Append { journal, content, once: holds_own });
        }
        if self.lanes.is_empty()
            && let Some(Underway::Published(checkpoint)) = self.underway.take_if(|of| of.is_published())
        {
            self.underway = Some(Underway::Committing(checkpoint.intents().to_vec()));
            return Ok(Action::Commit(checkpoint));
        }
        let consumes = self.consumes();
        if let Some(replay) = self.replay.as_mut().filter(|replay| consumes && !replay.is_asked_for) {
            replay.is_asked_for = true;
            return Ok(Action::Replay(replay.range.clone()));
        }
        if let Some(message) = self.held.take_if(|_| consumes) {
            self.begin(now);
            self.owed = Some(Owed::Consumed);
            return Ok(Action::Consume(message));
        }
        if self.is_stopping && self.open.is_none() && self.underway.is_none() && self.lanes.is_empty() {
            return Ok(Action::Done);
        }
        Ok(Action::Wait(Wait {
            until: self.until(now),
            reads: consumes && self.held.is_none() && self.replay.is_none(),
            replays: consumes && self.held.is_none() && self.replay.is_some(),
        }))
    }

    /// Takes what was read. Messages of a source come in the order of their offsets, each once.
    pub fn read(&mut self, messages: impl IntoIterator<Item = Message<Journal, P>>) {
        self.input.extend(messages);
    }

    /// Takes what was read again.
    pub fn replay(&mut self, messages: impl IntoIterator<Item = Message<Journal, P>>) {
        if let Some(replay) = &mut self.replay {
            replay.read.extend(messages);
        }
    }

    /// All of the range was read again.
    pub fn replay_ended(&mut self) {
        if let Some(replay) = &mut self.replay {
            replay.has_ended = true;
        }
    }

    /// The application has consumed the message.
    ///
    /// # Panics
    /// When none was to be consumed.
    pub fn consumed(&mut self) {
        assert_eq!(self.owed.take(), Some(Owed::Consumed), "nothing was to be consumed");
        if let Some(open) = &mut self.open {
            open.has_consumed = true;
        }
    }

    /// The application wants the message, which is given back, in the next transaction: the one that is open consumes no more.
    ///
    /// # Errors
    /// When it is the first one of its transaction.
    ///
    /// # Panics
    /// When none was to be consumed.
    pub fn deferred(&mut self, message: Message<Journal, P>) -> Result<(), FirstDeferred> {
        assert_eq!(self.owed.take(), Some(Owed::Consumed), "nothing was to be consumed");
        let open = self.open.as_mut().filter(|open| open.has_consumed).ok_or(FirstDeferred)?;
        open.is_full = true;
        self.held = Some(message);
        Ok(())
    }

    /// Publishes a message of the open transaction, into a journal whose acknowledgements look so. `encode` appends it, framed.
    ///
    /// # Errors
    /// When the transaction has published too much, or the message cannot be encoded.
    ///
    /// # Panics
    /// Outside of what the application does for a [`Consume`](Action::Consume) or a [`Finalize`](Action::Finalize).
    pub fn publish<E>(
        &mut self,
        journal: &Journal,
        acknowledgement: Acknowledgement,
        encode: impl FnOnce(Uuid, &mut BytesMut) -> Result<(), E>,
    ) -> Result<Uuid, PushError<E>> {
        assert!(self.owed.is_some(), "something is published outside of a transaction");
        let open = self.open.as_mut().expect("what is consumed has opened a transaction");
        let limit = self.options.published.saturating_mul(Options::SLACK);
        if !open.staged.contains_key(journal) {
            open.staged.insert(journal.clone(), Outbox::new(limit));
        }
        let staged = open.staged.get_mut(journal).expect("it was inserted");
        let before = staged.waiting();
        let published = self.publisher.publish_uncommitted(journal, acknowledgement, staged, encode)?;
        open.published += staged.waiting() - before;
        if open.published >= self.options.published {
            open.is_full = true;
        }
        Ok(published.uuid)
    }

    /// The open transaction consumes no more, because it has changed as much as one should.
    pub fn fill(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_full = true;
        }
    }

    /// The application has finished the open transaction.
    pub fn finalized(&mut self) {
        assert_eq!(self.owed.take(), Some(Owed::Finalized), "nothing was to be finished");
        let open = self.open.take().expect("an open transaction is finished");
        if self.held.is_none() && self.replay.is_some() {
            // The message before was processed, which the sequencer is told by a step: it then asks for the rest.
            let Step::Replay(range) = self.sequencer.step() else { unreachable!("a replay has not ended") };
            self.replay = Some(Replay::of(range));
        }
        let sources = self.sequencer.checkpoint(Some(self.options.horizon));
        let intents = self.publisher.build_ack_intents();
        for (journal, mut staged) in open.staged {
            if let Some(content) = staged.next_append() {
                self.lanes.push(&journal, &content);
            }
        }
        self.unrecorded = 0;
        self.underway = Some(Underway::Published(Checkpoint::new(sources, intents)));
    }

    /// An append has been committed.
    pub fn appended(&mut self, journal: &Journal) {
        self.lanes.appended(journal);
    }

    /// The checkpoint has been committed.
    ///
    /// # Panics
    /// When none was to be.
    pub fn committed(&mut self) {
        let Some(Underway::Committing(intents)) = self.underway.take() else {
            panic!("a commit that nobody asked for")
        };
        for intent in intents {
            self.lanes.push(&intent.journal, &intent.bytes);
        }
    }

    /// Consumes no more: what is open is finished, and then there is nothing left to be done.
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Moves on to the next message that is to be consumed, as far as what was read goes.
    fn advance(&mut self) -> Result<(), ReplayError> {
        while self.held.is_none() {
            let message = if let Some(replay) = &mut self.replay {
                match replay.read.pop_front() {
                    Some(message) => match self.sequencer.replayed(message)? {
                        Replayed::Deliver(message) => message,
                        Replayed::Skip => continue,
                    },
                    None if replay.has_ended => {
                        self.sequencer.end_replay();
                        self.replay = None;
                        continue;
                    }
                    None => return Ok(()),
                }
            } else if self.sequencer.is_delivering() {
                match self.sequencer.step() {
                    Step::Deliver(message) => message,
                    Step::Replay(range) => {
                        self.replay = Some(Replay::of(range));
                        continue;
                    }
                    Step::Drained => continue,
                }
            } else if let Some(message) = self.input.pop_front() {
                let journal = message.journal.clone();
                let (begin, uuid) = (message.begin, message.uuid);
                let queued = self.sequencer.queue(message);
                if let Some(notice) = queued.notice {
                    tracing::warn!(journal = &*journal, offset = begin.get(), %uuid, "{notice}");
                }
                self.unrecorded += usize::from(!queued.outcome.commits());
                continue;
            } else {
                return Ok(());
            };
            if message.uuid.flags() == Flags::ACK_TXN && message.uuid.clock() != Clock::ZERO {
                // It says nothing to an application.
                self.unrecorded += 1;
            } else {
                self.held = Some(message);
            }
        }
        Ok(())
    }

    fn begin(&mut self, now: Timestamp) {
        if self.open.is_none() {
            self.publisher.advance(now);
            let staged = BTreeMap::new();
            self.open = Some(Open { began: now, has_consumed: false, staged, published: 0, is_full: false });
        }
    }

    /// Whether a message may be consumed.
    fn consumes(&self) -> bool {
        !self.is_stopping && self.open.as_ref().is_none_or(|open| !open.is_full)
    }

    fn is_to_close(&self, now: Timestamp) -> bool {
        let Some(open) = self.open.as_ref().filter(|_| self.underway.is_none()) else { return false };
        if open.is_full || self.is_stopping {
            return true;
        }
        let is_drained = self.held.is_none() && self.replay.is_none();
        let waits_for_more = self.options.wait_for_ack && self.sequencer.has_pending();
        is_drained && !waits_for_more && now.since(open.began) >= self.options.min
    }

    /// When the open transaction is to be looked at again.
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let open = self.open.as_ref().filter(|open| !open.is_full)?;
        let (min, max) = (open.began.plus(self.options.min), open.began.plus(self.options.max));
        Some(if now < min { min } else { max })
    }
}

/// An application that deferred the first message of a transaction, which would go on for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the application deferred the first message of a transaction (expected that it consumes at least one)"
)]
pub struct FirstDeferred;

impl Underway {
    fn is_published(&self) -> bool {
        matches!(self, Self::Published(_))
    }
}

impl<P> Replay<P> {
    fn of(range: ReplayRange<Journal>) -> Self {
        Self { range, is_asked_for: false, read: VecDeque::new(), has_ended: false }
    }
}
