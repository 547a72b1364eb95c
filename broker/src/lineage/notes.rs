//! What journals have in their stores, and which of them were deleted: written now and then, together, best effort.

use std::collections::HashMap;
use std::mem;

use courant_keyspace::Error;
use courant_proto::name::JournalName;
use prost::Message as _;

use super::keeper::Rolled;
use super::known::Records;
use super::record::{Lineage, Sealed};
use crate::transaction::commit::commit;
use crate::transaction::{Guard, MOST_WITNESSED, PutLease, Transaction, Write};

/// How often a note is tried before it is dropped.
const MOST_TRIES: u32 = 8;

/// The newest note of each journal.
#[derive(Debug, Default)]
pub(super) struct Notes {
    by_journal: HashMap<JournalName, Note>,
}

#[derive(Clone, Debug)]
struct Note {
    about: About,
    tries: u32,
}

/// What a note is about.
#[derive(Clone, Debug)]
pub(super) enum About {
    Rolled(Rolled),
    Deleted { create_revision: i64 },
}

impl Notes {
    pub(super) fn is_empty(&self) -> bool {
        self.by_journal.is_empty()
    }

    /// Keeps a note, in place of an earlier one of its journal.
    pub(super) fn note(&mut self, journal: JournalName, about: About) {
        let about = match (self.by_journal.remove(&journal).map(|note| note.about), about) {
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
        self.by_journal.insert(journal, Note { about, tries: 0 });
    }

    /// Writes all notes, once. What cannot be written now stays noted, a few times.
    pub(super) async fn write(&mut self, records: &mut Records) {
        // Taken with its room: most of the time there is nothing to note.
        let mut notes: Vec<(JournalName, Note)> = mem::take(&mut self.by_journal).into_iter().collect();
        while !notes.is_empty() {
            let rest = notes.split_off(notes.len().min(MOST_WITNESSED));
            let tried = write_some(records, &notes).await;
            if !matches!(tried, Ok(true)) {
                for (journal, mut note) in notes {
                    records.forget(&journal);
                    note.tries += 1;
                    if note.tries < MOST_TRIES {
                        self.by_journal.insert(journal, note);
                    }
                }
            }
            notes = rest;
            if let Err(error) = tried {
                tracing::debug!(%error, "could not note what is stored");
                self.by_journal.extend(notes);
                return;
            }
        }
    }
}

/// One transaction for some notes. False: a record changed under it.
async fn write_some(records: &mut Records, notes: &[(JournalName, Note)]) -> Result<bool, Error> {
    let unknown: Vec<JournalName> =
        notes.iter().map(|(journal, _)| journal).filter(|journal| !records.has(journal)).cloned().collect();
    for (journal, found) in unknown.iter().zip(records.read(&unknown).await?) {
        if let Err(why) = records.take(journal, found.as_ref()) {
            tracing::warn!("{why}");
        }
    }
    let mut transaction = Transaction::default();
    let mut after = Vec::new();
    for (journal, note) in notes {
        let Some(known) = records.get(journal) else { continue };
        let key = records.root.lineage(journal);
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
        commit(&records.registry, transaction, || "noting what journals have stored".to_owned()).await?;
    if outcome.succeeded {
        for (journal, record) in after {
            match record {
                Some(record) => records.put(&journal, outcome.revision, &record),
                None => records.forget(&journal),
            }
        }
    }
    Ok(outcome.succeeded)
}

/// The record with a note taken in, if that makes a difference.
fn rolled_record(record: &Lineage, rolled: &Rolled) -> Option<Lineage> {
    if record.create_revision != rolled.create_revision {
        return None;
    }
    // What others held below it may not be stored yet, unless nobody else ever held anything.
    if rolled.from > record.stored() && !record.is_of_one() {
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
    use courant_proto::wire::process_spec::Id;

    use super::*;
    use crate::lineage::record::Epoch;

    #[test]
    fn what_a_member_that_came_later_has_stored_tells_nothing_of_what_lies_before_it() {
        let at = |offset| Offset::new(offset).expect("an offset");
        let member = |suffix: &str| Id { zone: "zone".to_owned(), suffix: suffix.to_owned() };
        let check = |members: [&[&str]; 2], from, expected: Option<i64>| {
            let epoch = |number, begin, members: &[&str]| Epoch {
                number,
                begin,
                members: members.iter().map(|suffix| member(suffix)).collect(),
                ..Epoch::default()
            };
            let epochs = vec![epoch(1, 455, members[0]), epoch(2, 42_526, members[1])];
            let record = Lineage { create_revision: 7, stored: 455, epochs, lost: None };
            let rolled = Rolled {
                journal: JournalName::parse("the/one").expect("a name"),
                create_revision: 7,
                from: at(from),
                stored: at(48_257),
                sealed: None,
            };
            assert_eq!(rolled_record(&record, &rolled).map(|next| next.stored), expected);
        };
        check([&["a", "b"], &["b", "c"]], 42_526, None);
        check([&["a", "b"], &["b", "c"]], 455, Some(48_257));
        check([&["a", "b"], &["b", "c"]], 0, Some(48_257));
        check([&["a"], &["b"]], 42_526, None);
        // Who was always alone had everything, also where the store has a hole.
        check([&["a"], &["a"]], 42_526, Some(48_257));
    }
}
