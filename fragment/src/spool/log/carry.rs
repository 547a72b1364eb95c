//! Carrying forward: what lives in the oldest segment is written anew, so that the segment can go.
//!
//! It costs each turn a bounded part of what the turn itself writes, and at least one spool, so the oldest segment is
//! empty long before the newest is full.

use super::stage::Body;
use super::turn::position;
use super::{Change, Extent, SpoolLog};
use crate::error::Error;
use crate::spool::frame::{self, Record};
use crate::spool::{Phase, SpoolId, registers};

/// Inline content that is written anew in the segment; more goes to the content file.
const INLINE: u64 = 64 << 10;
/// What a turn carries whatever it writes, in bytes.
const LEAST_BUDGET: u64 = 4 << 10;
/// What it carries for each byte that the last one wrote. A segment is emptied while a fourth of one is written.
const BUDGET_FACTOR: u64 = 4;
/// What a record costs besides its content, for the budget.
const RECORD_COST: u64 = 512;

impl SpoolLog {
    /// Stages the heads that recovery made up, as far as the disk lets it; the next turn tries what is left.
    pub(super) fn write_heads(&mut self) {
        while let Some(id) = self.unwritten.last().copied() {
            if let Err(error) = self.segment() {
                tracing::warn!(spool = %id, %error, "a head is not written yet");
                return;
            }
            self.unwritten.pop();
            self.heads.push(id);
            self.write_open(id);
        }
    }

    /// Stages spools of the oldest segment anew, as far as the budget goes.
    pub(super) fn carry_some(&mut self) {
        let budget = LEAST_BUDGET + BUDGET_FACTOR.saturating_mul(self.last_turn_bytes);
        let mut spent = 0;
        while spent < budget
            && let Some(sequence) = self.carry_target()
        {
            let Some(id) = self.next_to_carry(sequence) else { return };
            match self.carry(id, sequence) {
                Ok(cost) => spent += cost,
                Err(error @ Error::Damaged { .. }) => {
                    tracing::error!(spool = %id, %error, "a spool stays in its segment");
                    if let Some(spool) = self.spools.get_mut(&id) {
                        spool.stuck = true;
                    }
                }
                Err(error) => {
                    tracing::warn!(spool = %id, %error, "carrying forward waits for the disk");
                    // The turn may be written all the same, and this spool is still to be carried then.
                    if let Some((sequence, id)) = self.carried.pop()
                        && let Some(list) = self.list(sequence)
                    {
                        list.push(id);
                    }
                    return;
                }
            }
        }
    }

    /// The segment to empty, if there are too many.
    pub(super) fn carry_target(&self) -> Option<u64> {
        let many = self.segments() > self.volume.layout().segments;
        let recovered = self.recovered.iter().map(|(sequence, spools)| (*sequence, spools));
        let own = self.segments.iter().take(self.segments.len().saturating_sub(1));
        let own = own.map(|own| (own.segment.sequence, &own.opened));
        // An empty list is a segment that others hold. Where all of a list was carried already, it is soon empty.
        let has_some = |(_, spools): &(u64, &Vec<SpoolId>)| !spools.is_empty();
        let target = if many {
            recovered.chain(own).find(has_some)
        } else if self.volume.empties_recovered() {
            recovered.into_iter().find(has_some)
        } else {
            None
        };
        target.map(|(sequence, _)| sequence)
    }

    fn list(&mut self, sequence: u64) -> Option<&mut Vec<SpoolId>> {
        match self.recovered.binary_search_by_key(&sequence, |(sequence, _)| *sequence) {
            Ok(index) => Some(&mut self.recovered[index].1),
            Err(_) => {
                let own = self.segments.iter_mut().find(|own| own.segment.sequence == sequence);
                own.map(|own| &mut own.opened)
            }
        }
    }

    fn next_to_carry(&mut self, sequence: u64) -> Option<SpoolId> {
        let id = self.list(sequence)?.pop()?;
        self.carried.push((sequence, id));
        Some(id)
    }

    /// Puts back what this turn took to be carried, as it was not written.
    pub(super) fn requeue(&mut self) {
        while let Some((sequence, id)) = self.carried.pop() {
            if let Some(list) = self.list(sequence) {
                list.push(id);
            }
        }
        self.unwritten.append(&mut self.heads);
    }

    /// Stages a spool anew if it still lies in that segment, and tells what it cost.
    fn carry(&mut self, id: SpoolId, sequence: u64) -> Result<u64, Error> {
        let Some(spool) = self.spools.get(&id) else { return Ok(0) };
        if spool.pin.as_ref().is_none_or(|pin| pin.sequence != sequence) || spool.stuck {
            return Ok(0);
        }
        self.segment()?;
        self.write_anew(id)
    }

    /// Stages a spool as one record, with its content inline if it is small.
    fn write_anew(&mut self, id: SpoolId) -> Result<u64, Error> {
        let spool = self.spools.get(&id).ok_or(Error::UnknownSpool(id))?;
        let inline = spool.length() - spool.state.file.length;
        let moved = if inline > INLINE { self.copy_inline(id)? } else { None };

        let spool = self.spools.get(&id).ok_or(Error::UnknownSpool(id))?;
        let mut checks = spool.content.layout().blocks.clone();
        let (file, in_file) = match moved {
            Some((blocks, change, _)) => {
                checks.truncate(change.first);
                checks.extend_from_slice(&change.checks);
                (Some((blocks, change)), blocks.length)
            }
            None => (None, spool.state.file.length),
        };
        let mut content = vec![0; if file.is_some() { 0 } else { inline as usize }];
        let read = spool.content.read_at(in_file, &mut content)?;
        if read < content.len() {
            return Err(Error::ShortContent { have: in_file + read as u64, expected: spool.length() });
        }
        let blocks: Vec<u8> = checks.iter().flat_map(|check| check.to_le_bytes()).collect();
        if blocks.len() > frame::MAX_FIELDS_LENGTH / 2 {
            return Err(Error::TooLong(id));
        }
        let mut encoded = Vec::new();
        registers::encode(&spool.state.registers, &mut encoded);
        let state = match &spool.state.phase {
            Phase::Open(digest) => digest.state(),
            Phase::Complete(sum) => sum.0,
        };
        let record = Record::Open(spool.open_record(state, in_file, &blocks, &encoded));
        let check = crc32c::crc32c(&content);
        let head = frame::Content { length: position(content.len() as u64), check };
        let at = self.staging.frame(&record, head, Body::Slice(&content));

        let spool = self.touch(id)?;
        let file = file.map(|(blocks, change)| {
            spool.state.file = blocks;
            change
        });
        let length = content.len() as u64;
        let extent = (length > 0).then_some(Extent { at: position(at), check, length });
        self.changes.push((id, Change::Carried { file, extent }));
        Ok(RECORD_COST + blocks.len() as u64 + inline)
    }
}
