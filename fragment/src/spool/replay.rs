//! Pure: what the records of a log, in order, say of its spools and journals.
//!
//! It looks at no file: whether content checked is told to it, and what lies in content files is for its caller to
//! look at. Records of a spool must follow one another without a gap; where they do not, the spool is cut, and the
//! highest end that any record names stays the head of its journal, so that no offset is given to other bytes.

use std::collections::{BTreeMap, BTreeSet};

use courant_proto::name::JournalName;
use courant_proto::registers::Registers;

use super::digest::DigestState;
use super::frame::{CommitRecord, Content, Frame, OpenRecord, Record};
use super::{SpoolId, SpoolMap, registers};

/// Where a record stands: the segment, by its place among those that are read, and the position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) segment: usize,
    pub(crate) position: u64,
}

/// A spool as its records tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replayed {
    pub(crate) journal: usize,
    pub(crate) epoch: u64,
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) codec: u8,
    pub(crate) registers: Registers,
    pub(crate) first_append: Option<i64>,
    /// The digest's state at the end.
    pub(crate) state: DigestState,
    /// The sum, if a record says that it is complete.
    pub(crate) complete: Option<[u8; 20]>,
    pub(crate) in_file: u64,
    /// Of these, as the last `open` had it.
    pub(crate) opened_in_file: u64,
    /// Checks of the blocks of the content file, as the last `open` had it.
    pub(crate) blocks: Vec<u32>,
    /// Checks of what was added to the content file since.
    pub(crate) ranges: Vec<Range>,
    /// Content in segments, behind `in_file`.
    pub(crate) extents: Vec<Extent>,
    /// Where it was cut, as what follows is missing or does not check; and the highest end that a record named.
    pub(crate) damage: Option<u64>,
    pub(crate) named_end: u64,
    /// The segment of its newest `open`.
    pub(crate) pin: usize,
}

/// A stretch of a content file with its check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) to: u64,
    pub(crate) check: u32,
}

/// Content in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) segment: usize,
    pub(crate) at: u64,
    pub(crate) length: u64,
    pub(crate) check: u32,
}

/// A journal as the records of its spools tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Journal {
    pub(crate) name: JournalName,
    pub(crate) create_revision: i64,
    pub(crate) epoch: u64,
    /// The spool that is, or was last, its head; none once it was forgotten.
    pub(crate) newest: Option<SpoolId>,
    /// The highest end that a record names.
    pub(crate) head: u64,
    pub(crate) registers: Registers,
    /// Its last record.
    pub(crate) last: At,
}

/// The state of a log, record by record.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) spools: SpoolMap<Replayed>,
    pub(crate) journals: Vec<Journal>,
    by_name: BTreeMap<(JournalName, i64), usize>,
    /// Spools that a record released: what is left of them may be removed.
    pub(crate) released: BTreeSet<SpoolId>,
    /// Spools that are spoken of before their `open`, which may come yet: then they were carried forward.
    unknown: SpoolMap<At>,
    /// Places where records of unknown journals are missing.
    pub(crate) lost: Vec<At>,
    /// The highest number of a spool.
    pub(crate) highest: u64,
}

impl Replay {
    /// Takes a record in. `content_at` is where its content begins, and `checks` whether all of that checked.
    pub(crate) fn apply(&mut self, at: At, frame: &Frame<'_>, content_at: u64, checks: bool) {
        match frame.record {
            Record::Open(open) => self.open(at, &open, frame.content, content_at, checks),
            Record::Commit(commit) => {
                let extent = Extent {
                    segment: at.segment,
                    at: content_at,
                    length: commit.length,
                    check: frame.content.check,
                };
                self.with(commit.spool, at, |spool| spool.commit(&commit, extent, checks));
                if let Some(bytes) = commit.registers {
                    self.set_registers(at, commit.spool, bytes);
                }
            }
            Record::Moved { spool, length } => {
                let range = Range { to: length, check: frame.content.check };
                self.with(spool, at, |spool| spool.moved(range));
            }
            Record::Complete { spool, end, sum } => self.with(spool, at, |spool| spool.finish(end, sum)),
            Record::Release { spool } => {
                self.note(spool);
                self.with(spool, at, |_| ());
                self.spools.remove(&spool);
                self.unknown.remove(&spool);
                self.released.insert(spool);
            }
            Record::Forget { journal, create_revision } => {
                if let Some(index) = self.journal(journal, create_revision, at) {
                    let journal = &mut self.journals[index];
                    journal.newest = None;
                    journal.last = at;
                }
            }
            Record::Segment(_) | Record::Turn(_) => {}
        }
    }

    /// Notes that records are missing, and nobody knows whose.
    pub(crate) fn lose(&mut self, at: At) {
        self.lost.push(at);
    }

    /// No record follows.
    pub(crate) fn finish(&mut self) {
        // Their `open` is lost, and with it the name of their journal.
        self.lost.extend(self.unknown.drain().map(|(_, at)| at));
    }

    /// Whether a journal's last record may be among those that are missing.
    pub(crate) fn is_certain(&self, journal: &Journal) -> bool {
        self.lost.iter().all(|lost| *lost < journal.last)
    }

    fn open(&mut self, at: At, open: &OpenRecord<'_>, content: Content, content_at: u64, checks: bool) {
        self.note(open.spool);
        self.unknown.remove(&open.spool);
        let Some(registers) = registers::decode(open.registers) else { return self.lose(at) };
        let Some(index) = self.journal(open.journal, open.create_revision, at) else { return };
        let blocks: Vec<u32> =
            open.blocks.as_chunks::<4>().0.iter().map(|check| u32::from_le_bytes(*check)).collect();
        let extent = Extent {
            segment: at.segment,
            at: content_at,
            length: u64::from(content.length),
            check: content.check,
        };
        let mut spool = Replayed {
            journal: index,
            epoch: open.epoch,
            begin: open.begin,
            end: open.end,
            codec: open.codec,
            registers,
            first_append: open.first_append,
            state: open.state,
            complete: open.complete.then_some(open.state),
            in_file: open.in_file,
            opened_in_file: open.in_file,
            blocks,
            ranges: Vec::new(),
            extents: Vec::new(),
            damage: None,
            named_end: open.end,
            pin: at.segment,
        };
        if extent.length > 0 {
            if checks {
                spool.extents.push(extent);
            } else {
                spool.end = spool.begin + spool.in_file;
                spool.damage = Some(spool.end);
            }
        }
        let journal = &mut self.journals[index];
        journal.last = at;
        // One that is complete is carried forward behind the one that came after it.
        if !open.complete && journal.newest.is_none_or(|newest| newest <= open.spool) {
            journal.newest = Some(open.spool);
            journal.epoch = open.epoch;
            journal.head = open.end;
            journal.registers = spool.registers.clone();
        }
        self.spools.insert(open.spool, spool);
    }

    /// Applies a record to its spool, and notes what it says of the journal.
    fn with(&mut self, id: SpoolId, at: At, apply: impl FnOnce(&mut Replayed)) {
        self.note(id);
        let Some(spool) = self.spools.get_mut(&id) else {
            if !self.released.contains(&id) {
                self.unknown.entry(id).or_insert(at);
            }
            return;
        };
        apply(spool);
        let named_end = spool.named_end;
        let journal = &mut self.journals[spool.journal];
        journal.last = at;
        if journal.newest == Some(id) {
            journal.head = journal.head.max(named_end);
        }
    }

    fn set_registers(&mut self, at: At, id: SpoolId, bytes: &[u8]) {
        let Some(registers) = registers::decode(bytes) else { return self.lose(at) };
        let Some(spool) = self.spools.get_mut(&id) else { return };
        let journal = &mut self.journals[spool.journal];
        if journal.newest == Some(id) {
            journal.registers = registers.clone();
        }
        spool.registers = registers;
    }

    fn journal(&mut self, name: &str, create_revision: i64, at: At) -> Option<usize> {
        let Ok(name) = JournalName::parse(name) else {
            self.lose(at);
            return None;
        };
        let next = self.journals.len();
        let index = *self.by_name.entry((name.clone(), create_revision)).or_insert(next);
        if index == next {
            self.journals.push(Journal {
                name,
                create_revision,
                epoch: 0,
                newest: None,
                head: 0,
                registers: Registers::default(),
                last: at,
            });
        }
        Some(index)
    }

    fn note(&mut self, spool: SpoolId) {
        self.highest = self.highest.max(spool.0);
    }
}

impl Replayed {
    /// How much of its content is there.
    pub(crate) const fn length(&self) -> u64 {
        self.end - self.begin
    }

    /// Cuts it: from an offset on, its content is missing or does not check.
    pub(crate) fn cut(&mut self, at: u64) {
        self.damage = Some(self.damage.map_or(at, |before| before.min(at)));
        self.end = self.end.min(at);
        let length = self.length();
        self.in_file = self.in_file.min(length);
        let mut behind = length - self.in_file;
        let mut kept = 0;
        for extent in &self.extents {
            if extent.length > behind {
                break;
            }
            behind -= extent.length;
            kept += 1;
        }
        self.extents.truncate(kept);
    }

    fn commit(&mut self, commit: &CommitRecord<'_>, extent: Extent, checks: bool) {
        // The record was checked not to run beyond the last offset.
        let end = commit.end_before + commit.length;
        self.named_end = self.named_end.max(end);
        if self.damage.is_some() {
            return;
        }
        let from_file = !commit.in_file || commit.end_before - self.begin == self.in_file;
        if commit.end_before != self.end || self.complete.is_some() || !checks || !from_file {
            return self.cut(self.end);
        }
        if commit.in_file {
            self.in_file += commit.length;
            self.ranges.push(Range { to: self.in_file, check: extent.check });
        } else if commit.length > 0 {
            self.extents.push(extent);
        }
        self.end = end;
        self.state = commit.state;
        if commit.length > 0 {
            self.first_append.get_or_insert(commit.time);
        }
    }

    fn moved(&mut self, range: Range) {
        if self.damage.is_some() {
            return;
        }
        if range.to != self.length() || range.to < self.in_file {
            return self.cut(self.end);
        }
        self.in_file = range.to;
        self.ranges.push(range);
        self.extents.clear();
    }

    fn finish(&mut self, end: u64, sum: [u8; 20]) {
        self.named_end = self.named_end.max(end);
        self.complete = Some(sum);
        if end != self.end && self.damage.is_none() {
            self.cut(self.end);
        }
    }
}
