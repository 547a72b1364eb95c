//! Beginning epochs: many in one transaction, each decided on its record, and decided anew where that has changed.
//!
//! A registry that does not answer may have carried out what it was sent. Every epoch therefore bears a number that was drawn for
//! it, by which it is known again when the record is read.

use std::time::Duration;

use courant_keyspace::Error;
use courant_proto::name::JournalName;
use etcd_client::KeyValue;
use prost::Message as _;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::keeper::{BeginEpoch, EpochOutcome};
use super::known::Records;
use super::record::{Epoch, Lineage};
use crate::transaction::commit::commit;
use crate::transaction::{Guard, MOST_WITNESSED, PutLease, Transaction, Write};

/// Epochs in one transaction: each guards, and reads if that fails, its record and its journal.
const TOGETHER: usize = MOST_WITNESSED / 2;

/// How often an epoch is decided anew because its record changed under it.
const MOST_TRIES: u32 = 8;

/// How long a registry that does not answer is asked again for the same epochs.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// The first and the longest pause between such attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// An epoch that is asked for.
pub(super) struct Pending {
    wish: Box<BeginEpoch>,
    reply: oneshot::Sender<EpochOutcome>,
    /// Tells the epoch that we put from anybody else's.
    attempt: u64,
    /// How often what is known of the record was read anew for it.
    tries: u32,
}

/// What is to be written for one epoch.
struct Step {
    record: Lineage,
    outcome: EpochOutcome,
}

/// What came of looking at a wish.
enum Decided {
    Done(EpochOutcome),
    /// The newest epoch is not the one that was agreed upon.
    Changed,
    Step(Step),
}

impl Pending {
    /// `attempt` is drawn for it alone.
    pub(super) fn new(wish: Box<BeginEpoch>, reply: oneshot::Sender<EpochOutcome>, attempt: u64) -> Self {
        Self { wish, reply, attempt, tries: 0 }
    }

    /// What is to be written so that the epoch begins, or what has come of it already.
    fn decide(&self, record: Option<&Lineage>) -> Decided {
        let wish = &*self.wish;
        let record = record.cloned().and_then(|record| record.of(wish.create_revision));
        let record = record.as_ref();
        if let Some(own) = record.and_then(Lineage::newest).filter(|newest| newest.attempt == self.attempt) {
            return Decided::Done(EpochOutcome::Began {
                epoch: own.number,
                begin: own.begin(),
                registers: own.registers(),
            });
        }
        let newest = record.and_then(Lineage::newest);
        if newest.map_or(0, |newest| newest.number) != wish.after {
            return Decided::Changed;
        }
        let epoch = wish.after.saturating_add(1);
        // Epochs begin in order, or their record could not be read.
        let begin = newest.map_or(wish.begin, |newest| wish.begin.max(newest.begin()));
        let registers = wish.registers.clone();
        let next = Epoch {
            number: epoch,
            members: wish.members.iter().map(Into::into).collect(),
            begin: begin.get(),
            registers: Some((&registers).into()),
            attempt: self.attempt,
            sealed: None,
            logs: wish.logs.clone(),
        };
        let base = record
            .cloned()
            .unwrap_or_else(|| Lineage { create_revision: wish.create_revision, ..Lineage::default() });
        let outcome = EpochOutcome::Began { epoch, begin, registers };
        Decided::Step(Step { record: base.followed_by(next), outcome })
    }

    fn answer(self, outcome: EpochOutcome) {
        // Who does not wait any more asks again, and begins the epoch after this one.
        let _ = self.reply.send(outcome);
    }
}

/// Begins epochs, until each has begun, was refused, or the registry has been away for too long.
pub(super) async fn begin(records: &mut Records, rng: &mut StdRng, mut pending: Vec<Pending>) {
    let give_up = Instant::now() + ANSWERED_WITHIN;
    let mut pause = PAUSES.0;
    while !pending.is_empty() {
        let rest = pending.split_off(pending.len().min(TOGETHER));
        match attempt(records, pending).await {
            Ok(again) => {
                pending = again;
                pause = PAUSES.0;
            }
            Err((error, unanswered)) if error.is_exchanged() || Instant::now() >= give_up => {
                let why = format!("the registry cannot record the beginning of an epoch: {error}");
                for pending in unanswered.into_iter().chain(rest) {
                    pending.answer(EpochOutcome::Unavailable(why.clone()));
                }
                return;
            }
            Err((error, unanswered)) => {
                tracing::warn!(%error, "could not begin epochs yet");
                pending = unanswered;
                sleep(pause.mul_f64(0.5 + 0.5 * rng.random::<f64>())).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
        pending.extend(rest);
    }
}

/// One transaction for some epochs. Returns those that have to be decided anew; with an error, those that it leaves open.
async fn attempt(
    records: &mut Records,
    pending: Vec<Pending>,
) -> Result<Vec<Pending>, (Error, Vec<Pending>)> {
    let (mut undecided, mut later, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    let mut transaction = Transaction::default();
    let mut steps: Vec<(Pending, Step)> = Vec::new();
    for pending in pending {
        let known = records.get(&pending.wish.journal);
        let is_known = known.is_some();
        let known = known.unwrap_or_default();
        match pending.decide(known.record.as_ref()) {
            Decided::Done(outcome) => pending.answer(outcome),
            // It is agreed anew on what the registry has, not on what it had.
            Decided::Changed if pending.tries == 0 || !is_known => changed.push(pending),
            Decided::Changed => pending.answer(EpochOutcome::Changed),
            // Two epochs of one journal cannot begin in one transaction.
            Decided::Step(_) if steps.iter().any(|(other, _)| other.wish.journal == pending.wish.journal) => {
                later.push(pending);
            }
            Decided::Step(step) => {
                add(records, &mut transaction, &pending.wish, known.mod_revision, &step);
                steps.push((pending, step));
            }
        }
    }
    let outcome = if steps.is_empty() {
        Ok(None)
    } else {
        commit(&records.registry, transaction, || "beginning epochs of journals".to_owned()).await.map(Some)
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            // It may have been carried out all the same. What is there now tells, so nothing is known until it is read.
            let open: Vec<Pending> =
                steps.into_iter().map(|(pending, _)| pending).chain(later).chain(changed).collect();
            for pending in &open {
                records.forget(&pending.wish.journal);
            }
            return Err((error, open));
        }
    };
    match outcome {
        None => {}
        Some(outcome) if outcome.succeeded => {
            for (pending, Step { record, outcome: begun }) in steps {
                records.put(&pending.wish.journal, outcome.revision, &record);
                pending.answer(begun);
            }
        }
        Some(outcome) => {
            let mut found = outcome.found.into_iter();
            for (mut pending, _) in steps {
                let (record, item) = (found.next().flatten(), found.next().flatten());
                pending.tries += 1;
                match learn(records, &pending.wish, record.as_ref(), item.as_ref(), pending.tries) {
                    Ok(()) => undecided.push(pending),
                    Err(why) => pending.answer(EpochOutcome::Unavailable(why)),
                }
            }
        }
    }
    // After those that they came behind.
    undecided.extend(later);
    match look_again(records, changed).await {
        Ok(looked) => undecided.extend(looked),
        Err((error, open)) => {
            undecided.extend(open);
            return Err((error, undecided));
        }
    }
    Ok(undecided)
}

fn add(records: &Records, transaction: &mut Transaction, wish: &BeginEpoch, mod_revision: i64, step: &Step) {
    let (record, item) = (records.root.lineage(&wish.journal), records.root.item(&wish.journal));
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
    records: &mut Records,
    wish: &BeginEpoch,
    record: Option<&KeyValue>,
    item: Option<&KeyValue>,
    tries: u32,
) -> Result<(), String> {
    let journal = &wish.journal;
    if item.map(KeyValue::create_revision) != Some(wish.create_revision) {
        records.forget(journal);
        return Err(format!("journal {journal} was deleted"));
    }
    if tries >= MOST_TRIES {
        return Err(format!(
            "the lineage of journal {journal} keeps changing; is another process using this broker's id?"
        ));
    }
    records.take(journal, record)
}

/// Reads the records of epochs that were not agreed upon what is known of them.
async fn look_again(
    records: &mut Records,
    changed: Vec<Pending>,
) -> Result<Vec<Pending>, (Error, Vec<Pending>)> {
    let journals: Vec<JournalName> = changed.iter().map(|pending| pending.wish.journal.clone()).collect();
    let found = match records.read(&journals).await {
        Ok(found) => found,
        Err(error) => return Err((error, changed)),
    };
    let mut again = Vec::with_capacity(changed.len());
    for (mut pending, found) in changed.into_iter().zip(found) {
        pending.tries += 1;
        match records.take(&pending.wish.journal, found.as_ref()) {
            Ok(()) => again.push(pending),
            Err(why) => pending.answer(EpochOutcome::Unavailable(why)),
        }
    }
    Ok(again)
}

#[cfg(test)]
mod tests {
    use courant_proto::offset::Offset;

    use super::*;
    use crate::journal_space::fixture::{me, name};

    fn pending(after: u64, attempt: u64) -> Pending {
        let (reply, _) = oneshot::channel();
        let wish = Box::new(BeginEpoch {
            journal: name("the/one"),
            create_revision: 3,
            after,
            members: vec![me()],
            logs: vec![0x11],
            begin: Offset::ZERO,
            registers: Default::default(),
        });
        Pending::new(wish, reply, attempt)
    }

    #[test]
    fn an_epoch_whose_answer_was_lost_is_known_again_and_begins_once() {
        let Decided::Step(step) = pending(0, 7).decide(None) else { panic!("it may begin") };
        let Decided::Done(outcome) = pending(0, 7).decide(Some(&step.record)) else { panic!("it has begun") };
        assert_eq!(outcome, step.outcome);
        // To anybody else it is an epoch that has come between, or one to follow.
        assert!(matches!(pending(0, 8).decide(Some(&step.record)), Decided::Changed));
        let Decided::Step(next) = pending(1, 8).decide(Some(&step.record)) else { panic!("it may begin") };
        assert_eq!(next.record.newest().map(|epoch| epoch.number), Some(2));
        assert!(matches!(pending(2, 8).decide(Some(&step.record)), Decided::Changed));
    }
}
