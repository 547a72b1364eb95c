//! What a user writes: a program that consumes messages, one after the other.

use courant_message::publisher::PushError;
use courant_message::{Acknowledgement, Framing, Meta, Uuid, envelope};

use crate::content::Incoming;
use crate::engine::Engine;
use crate::store::Store;
use crate::{BoxError, Content, PublishError, Topic};

/// A program that consumes messages. What it changes and publishes takes effect once for each message, whatever crashes.
///
/// It must keep nothing between transactions that it cannot do without: after a crash, and on another machine, it goes on with what its store says. What
/// it caches for a transaction it writes to the store in [`finalize`](Self::finalize).
///
/// ```
/// use courant_consumer::{Application, BoxError, Flow, Incoming, JournalStore, Transaction};
///
/// /// Counts the messages of each key.
/// struct Count;
///
/// impl Application for Count {
///     type Store = JournalStore;
///
///     async fn consume(
///         &mut self,
///         transaction: &mut Transaction<'_, JournalStore>,
///         message: &Incoming,
///     ) -> Result<Flow, BoxError> {
///         let key = message.payload.decode()?.meta.key.into_owned();
///         let count = match transaction.store.get(key.as_bytes())? {
///             Some(count) => u64::from_be_bytes(count[..].try_into()?),
///             None => 0,
///         };
///         transaction.store.put(key, (count + 1).to_be_bytes().to_vec());
///         Ok(Flow::Next)
///     }
/// }
/// ```
pub trait Application: Send {
    /// What it keeps its state in.
    type Store: Store;

    /// Consumes a message. What it awaits holds up the shard.
    ///
    /// # Errors
    /// Whatever they are, the shard stops, and nothing of the transaction has happened.
    fn consume(
        &mut self,
        transaction: &mut Transaction<'_, Self::Store>,
        message: &Incoming,
    ) -> impl Future<Output = Result<Flow, BoxError>> + Send;

    /// Finishes a transaction: what was cached for it is stored, and published.
    ///
    /// # Errors
    /// As of [`consume`](Self::consume).
    fn finalize(
        &mut self,
        transaction: &mut Transaction<'_, Self::Store>,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = transaction;
        std::future::ready(Ok(()))
    }
}

/// How an application goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// With the next message.
    Next,
    /// With this message, in the next transaction; which changes nothing of what has been done for it. Not for the first message of one.
    Defer,
}

/// A transaction while it consumes.
#[derive(Debug)]
pub struct Transaction<'a, S> {
    /// What is known, and may be changed.
    pub store: &'a mut S,
    pub(crate) engine: &'a mut Engine<Content>,
}

impl<S> Transaction<'_, S> {
    /// Publishes a message to the journal of its key. Readers see it when the transaction is committed, with all others of it, once. The UUID is given.
    ///
    /// # Errors
    /// When it is too long, or the transaction has published too much.
    pub fn publish(&mut self, topic: &Topic, meta: &Meta<'_>, body: &[u8]) -> Result<Uuid, PublishError> {
        let framed = topic.of_key(meta.key.as_bytes());
        let acknowledgement = match framed.framing {
            Framing::Lines => Acknowledgement::Line,
            Framing::Fixed => Acknowledgement::Fixed,
            Framing::Csv => Acknowledgement::Row { fields: 1 },
        };
        let published = self.engine.publish(&framed.journal, acknowledgement, |uuid, out| {
            envelope::append(framed.framing, &Meta { uuid, ..meta.clone() }, body, out)
        });
        published.map_err(|error: PushError<_>| PublishError {
            journal: framed.journal.to_string(),
            reason: error.to_string(),
        })
    }
}
