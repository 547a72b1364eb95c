//! The task behind the handle: it begins epochs at once, and writes notes now and then.

use std::sync::Arc;
use std::time::Duration;

use courant_proto::name::JournalName;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::begin::{Pending, begin};
use super::keeper::{LineageKeeper, Message};
use super::known::Records;
use super::notes::{About, Notes};
use super::record::Lineage;
use crate::journal_space::Root;
use crate::transaction::commit::Registry;

/// Messages that may wait. Whoever wants an epoch waits beyond that; notes are dropped.
const WAITING: usize = 8_192;

/// How often notes are written.
const NOTE_EVERY: Duration = Duration::from_secs(2);

/// Where the record of a journal is told.
type Asked = oneshot::Sender<Result<Option<Lineage>, String>>;

/// Writes what [`LineageKeeper`] is told.
pub(crate) struct LineageTask {
    messages: mpsc::Receiver<Message>,
    records: Records,
    notes: Notes,
    rng: StdRng,
}

impl std::fmt::Debug for LineageTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineageTask").field("known", &self.records.len()).finish_non_exhaustive()
    }
}

impl LineageTask {
    /// The task, and the handle by which it is told what to do.
    pub(crate) fn new(registry: Registry, root: Arc<Root>, seed: u64) -> (LineageKeeper, Self) {
        let (sender, messages) = mpsc::channel(WAITING);
        let rng = StdRng::seed_from_u64(seed);
        let task = Self { messages, records: Records::new(registry, root), notes: Notes::default(), rng };
        (LineageKeeper::new(sender), task)
    }

    /// Works until cancelled, or until every handle is gone.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        cancel.run_until_cancelled(Box::pin(self.work())).await;
    }

    /// Reads records as they are now.
    async fn tell(&mut self, asked: Vec<(JournalName, Asked)>) {
        if asked.is_empty() {
            return;
        }
        let journals: Vec<JournalName> = asked.iter().map(|(journal, _)| journal.clone()).collect();
        let mut found = match self.records.read(&journals).await {
            Ok(found) => found.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => {
                vec![Err(format!("the registry does not tell the lineage: {error}")); journals.len()]
            }
        }
        .into_iter();
        for (journal, reply) in asked {
            let known = found.next().unwrap_or(Ok(None)).and_then(|found| {
                self.records.take(&journal, found.as_ref())?;
                Ok(self.records.get(&journal).and_then(|known| known.record))
            });
            // Who does not wait any more need not be told.
            let _ = reply.send(known);
        }
    }

    async fn work(&mut self) {
        let mut notes_due = interval(NOTE_EVERY);
        notes_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut messages = Vec::new();
        loop {
            tokio::select! {
                biased;
                received = self.messages.recv_many(&mut messages, WAITING) => if received == 0 {
                    self.notes.write(&mut self.records).await;
                    return;
                },
                _ = notes_due.tick(), if !self.notes.is_empty() => self.notes.write(&mut self.records).await,
            }
            let (mut asked, mut pending) = (Vec::new(), Vec::new());
            let mut flushes = Vec::new();
            for message in messages.drain(..) {
                match message {
                    Message::Begin { wish, reply } => {
                        pending.push(Pending::new(wish, reply, self.rng.random()));
                    }
                    Message::Record { journal, reply } => asked.push((journal, reply)),
                    Message::Rolled(rolled) => self.notes.note(rolled.journal.clone(), About::Rolled(rolled)),
                    Message::Forget { journal, create_revision } => {
                        self.notes.note(journal, About::Deleted { create_revision });
                    }
                    Message::Flush { done } => flushes.push(done),
                }
            }
            self.tell(asked).await;
            begin(&mut self.records, &mut self.rng, pending).await;
            if !flushes.is_empty() {
                self.notes.write(&mut self.records).await;
            }
            for done in flushes {
                // Who does not wait any more need not be told.
                let _ = done.send(());
            }
        }
    }
}
