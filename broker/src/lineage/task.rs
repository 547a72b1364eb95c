//! Writes lineage records: epochs at once and together, what was stored now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use courant_keyspace::Error;
use courant_proto::name::JournalName;
use etcd_client::{Client, KeyValue};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::judge::{Begin, Wish, may_begin};
use super::keeper::{BeginEpoch, EpochOutcome, LineageKeeper, Message, Rolled};
use super::record::{Epoch, Lineage, Sealed};
use crate::journal_space::Root;
use crate::transaction::commit::{commit, read};
use crate::transaction::{Guard, MOST_OPERATIONS, PutLease, Transaction, Write};

/// Messages that may wait. Whoever wants an epoch waits beyond that; notes are dropped.
const WAITING: usize = 8_192;

/// Epochs in one transaction: each guards, and reads if that fails, its record and its journal.
const TOGETHER: usize = MOST_OPERATIONS / 2;

/// How often notes are written.
const NOTE_EVERY: Duration = Duration::from_secs(2);

/// How often an epoch is decided anew because its record changed under it, and how often a note is.
const MOST_TRIES: u32 = 8;

/// How long a registry that does not answer is asked again for the same epochs.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// The first and the longest pause between such attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Writes what [`LineageKeeper`] is told.
pub(crate) struct LineageTask {
    etcd: Client,
    root: Arc<Root>,
    messages: mpsc::Receiver<Message>,
    /// Records as they were when this task wrote or read them last.
    known: HashMap<JournalName, Known>,
    /// The newest note of each journal.
    notes: HashMap<JournalName, Note>,
    rng: StdRng,
}

impl std::fmt::Debug for LineageTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineageTask").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

/// A record, and when it was put; zero and none if there is none, or nobody has looked.
#[derive(Clone, Debug, Default)]
struct Known {
    mod_revision: i64,
    record: Option<Lineage>,
}

/// An epoch that is asked for.
struct Pending {
    wish: Box<BeginEpoch>,
    reply: oneshot::Sender<EpochOutcome>,
    /// Tells the epoch that we put from anybody else's.
    attempt: u64,
    tries: u32,
}

#[derive(Clone, Debug)]
struct Note {
    about: About,
    tries: u32,
}

#[derive(Clone, Debug)]
enum About {
    Rolled(Rolled),
    Deleted { create_revision: i64 },
}

/// What is to be written for one epoch.
struct Step {
    record: Lineage,
    outcome: EpochOutcome,
}

impl LineageTask {
    /// The task, and the handle by which it is told what to do.
    pub(crate) fn new(etcd: Client, root: Arc<Root>, seed: u64) -> (LineageKeeper, Self) {
        let (sender, messages) = mpsc::channel(WAITING);
        let task = Self {
            etcd,
            root,
            messages,
            known: HashMap::new(),
            notes: HashMap::new(),
            rng: StdRng::seed_from_u64(seed),
        };
        (LineageKeeper::new(sender), task)
    }

    /// Works until cancelled, or until every handle is gone.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        cancel.run_until_cancelled(Box::pin(self.work())).await;
    }

    async fn work(&mut self) {
        let mut notes_due = interval(NOTE_EVERY);
        notes_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut messages = Vec::new();
        loop {
            tokio::select! {
                biased;
                received = self.messages.recv_many(&mut messages, WAITING) => if received == 0 {
                    self.write_notes().await;
                    return;
                },
                _ = notes_due.tick() => self.write_notes().await,
            }
            let mut pending = Vec::new();
            let mut flushes = Vec::new();
            for message in messages.drain(..) {
                match message {
                    Message::Begin { wish, reply } => {
                        pending.push(Pending { wish, reply, attempt: self.rng.random(), tries: 0 });
                    }
                    Message::Rolled(rolled) => self.note(rolled.journal.clone(), About::Rolled(rolled)),
                    Message::Forget { journal, create_revision } => {
                        self.note(journal, About::Deleted { create_revision });
                    }
                    Message::Flush { done } => flushes.push(done),
                }
            }
            self.begin(pending).await;
            if !flushes.is_empty() {
                self.write_notes().await;
            }
            for done in flushes {
                // Who does not wait any more need not be told.
                let _ = done.send(());
            }
        }
    }

    /// Begins epochs, until each has begun, was refused, or the registry has been away for too long.
    async fn begin(&mut self, mut pending: Vec<Pending>) {
        let give_up = Instant::now() + ANSWERED_WITHIN;
        let mut pause = PAUSES.0;
        while !pending.is_empty() {
            let rest = pending.split_off(pending.len().min(TOGETHER));
            match self.attempt(pending).await {
                Ok(again) => {
                    pending = again;
                    pause = PAUSES.0;
                }
                Err((error, unanswered)) if Instant::now() >= give_up => {
                    let why = format!("the registry cannot record the beginning of an epoch: {error}");
                    for pending in unanswered.into_iter().chain(rest) {
                        pending.answer(EpochOutcome::Unavailable(why.clone()));
                    }
                    return;
                }
                Err((error, unanswered)) => {
                    tracing::warn!(%error, "could not begin epochs yet");
                    pending = unanswered;
                    sleep(pause.mul_f64(0.5 + 0.5 * self.rng.random::<f64>())).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
            pending.extend(rest);
        }
    }

    /// One transaction for some epochs. Returns those that have to be decided anew; with an error, those that it leaves open.
    async fn attempt(&mut self, pending: Vec<Pending>) -> Result<Vec<Pending>, (Error, Vec<Pending>)> {
        let (mut undecided, mut later, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let mut transaction = Transaction::default();
        let mut steps: Vec<(Pending, Step)> = Vec::new();
        for pending in pending {
            let known = self.known.get(&pending.wish.journal).cloned().unwrap_or_default();
            match pending.decide(known.record.as_ref()) {
                Decided::Done(outcome) => pending.answer(outcome),
                // A refusal is an operator's business: it rests on what the registry has, not on what it had.
                Decided::Refused { .. } if pending.tries == 0 => refused.push(pending),
                Decided::Refused { floor } => pending.answer(EpochOutcome::Refused { floor }),
                // Two epochs of one journal cannot begin in one transaction.
                Decided::Step(_)
                    if steps.iter().any(|(other, _)| other.wish.journal == pending.wish.journal) =>
                {
                    later.push(pending);
                }
                Decided::Step(step) => {
                    self.add(&mut transaction, &pending.wish, known.mod_revision, &step);
                    steps.push((pending, step));
                }
            }
        }
        let outcome = if steps.is_empty() {
            Ok(None)
        } else {
            commit(&self.etcd, transaction, || "beginning epochs of journals".to_owned()).await.map(Some)
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                // It may have been carried out all the same. What is there now tells, so nothing is known until it is read.
                let open: Vec<Pending> =
                    steps.into_iter().map(|(pending, _)| pending).chain(later).chain(refused).collect();
                for pending in &open {
                    self.known.remove(&pending.wish.journal);
                }
                return Err((error, open));
            }
        };
        match outcome {
            None => {}
            Some(outcome) if outcome.succeeded => {
                for (pending, Step { record, outcome: begun }) in steps {
                    let known = Known { mod_revision: outcome.revision, record: Some(record) };
                    self.known.insert(pending.wish.journal.clone(), known);
                    pending.answer(begun);
                }
            }
            Some(outcome) => {
                let mut found = outcome.found.into_iter();
                for (mut pending, _) in steps {
                    let (record, item) = (found.next().flatten(), found.next().flatten());
                    pending.tries += 1;
                    match self.learn(&pending.wish, record.as_ref(), item.as_ref(), pending.tries) {
                        Ok(()) => undecided.push(pending),
                        Err(why) => pending.answer(EpochOutcome::Unavailable(why)),
                    }
                }
            }
        }
        // After those that they came behind.
        undecided.extend(later);
        match self.look_again(refused).await {
            Ok(looked) => undecided.extend(looked),
            Err((error, open)) => {
                undecided.extend(open);
                return Err((error, undecided));
            }
        }
        Ok(undecided)
    }

    fn add(&self, transaction: &mut Transaction, wish: &BeginEpoch, mod_revision: i64, step: &Step) {
        let (record, item) = (self.root.lineage(&wish.journal), self.root.item(&wish.journal));
        transaction.guards.push(Guard::Unchanged { key: record.clone(), mod_revision });
        // A journal that was deleted begins nothing any more.
        transaction.guards.push(Guard::SameLife { key: item.clone(), create_revision: wish.create_revision });
        transaction.writes.push(Write::Put {
            key: record.clone(),
            value: step.record.encode_to_vec(),
            lease: PutLease::None,
        });
        transaction.otherwise.push(record);
        transaction.otherwise.push(item);
    }

    /// Takes in what the registry has of a journal whose guards did not all hold, or had company in one that did not.
    fn learn(
        &mut self,
        wish: &BeginEpoch,
        record: Option<&KeyValue>,
        item: Option<&KeyValue>,
        tries: u32,
    ) -> Result<(), String> {
        let journal = &wish.journal;
        if item.map(KeyValue::create_revision) != Some(wish.create_revision) {
            self.known.remove(journal);
            return Err(format!("journal {journal} was deleted"));
        }
        if tries >= MOST_TRIES {
            return Err(format!(
                "the lineage of journal {journal} keeps changing; is another process using this broker's id?"
            ));
        }
        self.take(journal, record)
    }

    /// Takes in a record as the registry has it.
    fn take(&mut self, journal: &JournalName, found: Option<&KeyValue>) -> Result<(), String> {
        let known = match found {
            None => Known::default(),
            Some(found) => Known {
                mod_revision: found.mod_revision(),
                record: Some(Lineage::read(found.value()).map_err(|error| {
                    format!(
                        "the lineage of journal {journal} at key {:?} cannot be read, so nobody knows which of its bytes \
                         count: {error}; restore the key, or delete it to accept what is here",
                        String::from_utf8_lossy(found.key())
                    )
                })?),
            },
        };
        self.known.insert(journal.clone(), known);
        Ok(())
    }

    /// Reads the records of epochs that would be refused.
    async fn look_again(&mut self, refused: Vec<Pending>) -> Result<Vec<Pending>, (Error, Vec<Pending>)> {
        let journals: Vec<JournalName> = refused.iter().map(|pending| pending.wish.journal.clone()).collect();
        let found = match self.read(&journals).await {
            Ok(found) => found,
            Err(error) => return Err((error, refused)),
        };
        let mut again = Vec::with_capacity(refused.len());
        for (mut pending, found) in refused.into_iter().zip(found) {
            pending.tries += 1;
            match self.take(&pending.wish.journal, found.as_ref()) {
                Ok(()) => again.push(pending),
                Err(why) => pending.answer(EpochOutcome::Unavailable(why)),
            }
        }
        Ok(again)
    }

    async fn read(&self, journals: &[JournalName]) -> Result<Vec<Option<KeyValue>>, Error> {
        let keys = journals.iter().map(|journal| self.root.lineage(journal)).collect();
        read(&self.etcd, keys, || "reading the lineage of journals".to_owned()).await
    }

    fn note(&mut self, journal: JournalName, about: About) {
        let about = match (self.notes.remove(&journal).map(|note| note.about), about) {
            // The end of an epoch outweighs what was stored in it.
            (Some(About::Rolled(old)), About::Rolled(new))
                if old.create_revision == new.create_revision
                    && old.sealed.is_some()
                    && new.sealed.is_none() =>
            {
                About::Rolled(old)
            }
            (_, about) => about,
        };
        self.notes.insert(journal, Note { about, tries: 0 });
    }

    /// Writes all notes, once. What cannot be written now stays noted, a few times.
    async fn write_notes(&mut self) {
        let mut notes: Vec<(JournalName, Note)> = self.notes.drain().collect();
        while !notes.is_empty() {
            let rest = notes.split_off(notes.len().min(MOST_OPERATIONS));
            let tried = self.write_some_notes(&notes).await;
            if !matches!(tried, Ok(true)) {
                for (journal, mut note) in notes {
                    self.known.remove(&journal);
                    note.tries += 1;
                    if note.tries < MOST_TRIES {
                        self.notes.insert(journal, note);
                    }
                }
            }
            notes = rest;
            if let Err(error) = tried {
                tracing::debug!(%error, "could not note what is stored");
                self.notes.extend(notes);
                return;
            }
        }
    }

    /// One transaction for some notes. False: a record changed under it.
    async fn write_some_notes(&mut self, notes: &[(JournalName, Note)]) -> Result<bool, Error> {
        let unknown: Vec<JournalName> = notes
            .iter()
            .map(|(journal, _)| journal)
            .filter(|journal| !self.known.contains_key(*journal))
            .cloned()
            .collect();
        for (journal, found) in unknown.iter().zip(self.read(&unknown).await?) {
            if let Err(why) = self.take(journal, found.as_ref()) {
                tracing::warn!("{why}");
            }
        }
        let mut transaction = Transaction::default();
        let mut after = Vec::new();
        for (journal, note) in notes {
            let Some(known) = self.known.get(journal) else { continue };
            let key = self.root.lineage(journal);
            let Some(record) = &known.record else { continue };
            let next = match &note.about {
                About::Rolled(rolled) => match rolled_record(record, rolled) {
                    Some(next) => Some(next),
                    None => continue,
                },
                About::Deleted { create_revision } if record.create_revision == *create_revision => None,
                About::Deleted { .. } => continue,
            };
            transaction.guards.push(Guard::Unchanged { key: key.clone(), mod_revision: known.mod_revision });
            transaction.writes.push(match &next {
                Some(next) => Write::Put { key, value: next.encode_to_vec(), lease: PutLease::None },
                None => Write::Delete { key },
            });
            after.push((journal.clone(), next));
        }
        if after.is_empty() {
            return Ok(true);
        }
        let outcome =
            commit(&self.etcd, transaction, || "noting what journals have stored".to_owned()).await?;
        if outcome.succeeded {
            for (journal, record) in after {
                match record {
                    Some(record) => {
                        let known = Known { mod_revision: outcome.revision, record: Some(record) };
                        self.known.insert(journal, known);
                    }
                    None => {
                        self.known.remove(&journal);
                    }
                }
            }
        }
        Ok(outcome.succeeded)
    }
}

/// What came of looking at a wish.
enum Decided {
    Done(EpochOutcome),
    Refused { floor: courant_proto::offset::Offset },
    Step(Step),
}

impl Pending {
    /// What is to be written so that the epoch begins, or what has come of it already.
    fn decide(&self, record: Option<&Lineage>) -> Decided {
        let wish = &*self.wish;
        let record = record.filter(|record| record.create_revision == wish.create_revision);
        if let Some(own) = record.and_then(Lineage::newest).filter(|newest| newest.attempt == self.attempt) {
            return Decided::Done(EpochOutcome::Began {
                epoch: own.number,
                begin: own.begin(),
                registers: own.registers(),
            });
        }
        let asked = Wish {
            create_revision: wish.create_revision,
            members: &wish.members,
            contributed: wish.contributed,
            begin: wish.begin,
            accept_loss: wish.accept_loss,
            store_end: wish.store_end,
            registers: &wish.registers,
            unknown_to_log: wish.unknown_to_log,
        };
        match may_begin(record, &asked) {
            Begin::Refuse { floor } => Decided::Refused { floor },
            Begin::At { epoch, begin, registers } => {
                let next = Epoch {
                    number: epoch,
                    members: wish.members.iter().map(Into::into).collect(),
                    begin: begin.get(),
                    registers: Some((&registers).into()),
                    attempt: self.attempt,
                    sealed: None,
                    unknown_to_log: wish.unknown_to_log.filter(|_| wish.members.len() == 1).unwrap_or(0),
                };
                let base = record.cloned().unwrap_or_else(|| Lineage {
                    create_revision: wish.create_revision,
                    ..Lineage::default()
                });
                Decided::Step(Step {
                    record: base.followed_by(next),
                    outcome: EpochOutcome::Began { epoch, begin, registers },
                })
            }
        }
    }

    fn answer(self, outcome: EpochOutcome) {
        // Who does not wait any more asks again, and begins the epoch after this one.
        let _ = self.reply.send(outcome);
    }
}

/// The record with a note taken in, if that makes a difference.
fn rolled_record(record: &Lineage, rolled: &Rolled) -> Option<Lineage> {
    if record.create_revision != rolled.create_revision {
        return None;
    }
    let present = record.newest().map(|newest| newest.number);
    let sealed = rolled
        .sealed
        .as_ref()
        .filter(|sealing| Some(sealing.epoch) == present)
        .map(|sealing| Sealed { end: rolled.stored.get(), registers: Some((&sealing.registers).into()) });
    let next = record.rolled(rolled.stored, sealed);
    (next != *record).then_some(next)
}

#[cfg(test)]
mod tests {
    use courant_proto::offset::Offset;

    use super::*;
    use crate::journal_space::fixture::{me, name};

    fn pending(attempt: u64) -> Pending {
        let (reply, _) = oneshot::channel();
        let wish = Box::new(BeginEpoch {
            journal: name("the/one"),
            create_revision: 3,
            contributed: Some(Offset::ZERO),
            begin: Offset::ZERO,
            accept_loss: false,
            store_end: Offset::ZERO,
            registers: Default::default(),
            members: vec![me()],
            unknown_to_log: None,
        });
        Pending { wish, reply, attempt, tries: 0 }
    }

    #[test]
    fn an_epoch_whose_answer_was_lost_is_known_again_and_begins_once() {
        let Decided::Step(step) = pending(7).decide(None) else { panic!("it may begin") };
        let Decided::Done(outcome) = pending(7).decide(Some(&step.record)) else { panic!("it has begun") };
        assert_eq!(outcome, step.outcome);
        // To anybody else it is an epoch to follow.
        let Decided::Step(next) = pending(8).decide(Some(&step.record)) else { panic!("it may begin") };
        assert_eq!(next.record.newest().map(|epoch| epoch.number), Some(2));
    }
}
