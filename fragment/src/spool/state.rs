//! Pure: how a spool answers a proposal, by which all members of a route come to hold the same bytes.
//!
//! A primary proposes to every member, itself included, what its spool shall be. There is one message for five
//! intentions, and each member tells from its own state which one it is:
//!
//! | proposal | with nothing uncommitted | with uncommitted content |
//! |---|---|---|
//! | what is committed | sync: agreed | roll back: the content is dropped |
//! | what is committed, and the content | | commit |
//! | empty, at the end | roll: complete, begin anew | the same, and the content is dropped |
//! | beyond the end | roll up to there, and take its registers | the same |
//! | anything else | mismatch | mismatch, and the content stays |
//!
//! A proposal beyond the end rolls the spool even if it does not match afterwards. The rules are those of Gazette,
//! whose brokers may be members of the same route.
//!
//! It holds no content: its caller does, and applies what is decided here.

use courant_proto::codec::Codec;
use courant_proto::fragment::ContentSum;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;

use super::digest::Digest;

/// The span of a journal that a spool holds, or shall hold. The journal is known to who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The offset of its first byte.
    pub begin: Offset,
    /// The offset behind its last.
    pub end: Offset,
    /// The SHA-1 of its content; zero without any.
    pub sum: ContentSum,
    /// How it will be compressed.
    pub codec: Codec,
}

impl Proposal {
    /// The span without content, at an offset.
    pub const fn empty_at(offset: Offset, codec: Codec) -> Self {
        Self { begin: offset, end: offset, sum: ContentSum::ZERO, codec }
    }

    /// Whether it has no content.
    pub fn is_empty(&self) -> bool {
        self.begin == self.end
    }
}

/// A spool, as far as these rules look at it.
#[derive(Clone, Debug)]
pub struct SpoolState {
    committed: Proposal,
    registers: Registers,
    /// Content that was received and is not committed.
    delta: u64,
    /// The digest with it.
    received: Digest,
    /// The digest of what is committed.
    digest: Digest,
}

/// A spool that makes place for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roll {
    /// What is complete now, unless it is empty.
    pub completed: Option<Proposal>,
    /// What begins.
    pub begins: Proposal,
}

/// What a proposal comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The spool rolled, whatever the outcome.
    pub rolled: Option<Roll>,
    /// The outcome.
    pub outcome: Outcome,
}

/// The outcome of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The spool is what was proposed. Uncommitted content, of that many bytes, was dropped.
    Agreed {
        /// Bytes dropped.
        dropped: u64,
    },
    /// The spool grew by its uncommitted content.
    Committed {
        /// Bytes committed.
        length: u64,
    },
    /// The spool is not what was proposed, and is not made so. It is this instead.
    Mismatch {
        /// What is committed.
        have: Proposal,
        /// The registers.
        registers: Registers,
    },
}

/// Content that does not follow what came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid ContentDelta ({delta}; expected {expected})")]
pub struct WrongDelta {
    /// Where the content says that it begins, counted from what is committed.
    pub delta: i64,
    /// Where it had to.
    pub expected: u64,
}

impl SpoolState {
    /// A spool without content, as it begins.
    pub fn new(begin: Offset, codec: Codec, registers: Registers) -> Self {
        Self::resumed(Proposal::empty_at(begin, codec), Digest::new(), registers)
    }

    /// A spool as it was committed; its digest is that of its content.
    pub fn resumed(committed: Proposal, digest: Digest, registers: Registers) -> Self {
        Self { committed, registers, delta: 0, received: digest.clone(), digest }
    }

    /// What is committed.
    pub const fn committed(&self) -> &Proposal {
        &self.committed
    }

    /// The digest of what is committed.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The registers.
    pub const fn registers(&self) -> &Registers {
        &self.registers
    }

    /// How many bytes are received and not committed.
    pub const fn delta(&self) -> u64 {
        self.delta
    }

    /// What would be committed if all that was received were.
    pub fn next(&self) -> Proposal {
        if self.delta == 0 {
            return self.committed;
        }
        // `receive` has seen to it that there is such an offset.
        let end = self.committed.end.plus(self.delta).unwrap_or(Offset::MAX);
        Proposal { end, sum: self.received.sum(), ..self.committed }
    }

    /// Receives content that begins `delta` bytes behind what is committed.
    ///
    /// # Errors
    /// When that is not where the last content ended, or offsets end before it does.
    pub fn receive(&mut self, content: &[u8], delta: i64) -> Result<(), WrongDelta> {
        let wrong = WrongDelta { delta, expected: self.delta };
        let total = self.delta.checked_add(content.len() as u64).ok_or(wrong)?;
        if u64::try_from(delta) != Ok(self.delta) || self.committed.end.plus(total).is_none() {
            return Err(wrong);
        }
        self.received.update(content);
        self.delta = total;
        Ok(())
    }

    /// Answers a proposal.
    pub fn apply(&mut self, proposal: &Proposal, registers: &Registers) -> Decision {
        let end = self.committed.end;
        let reached = end.plus(self.delta).unwrap_or(Offset::MAX);
        let rolls = proposal.end > reached || (proposal.end == end && proposal.is_empty());
        let rolled = rolls.then(|| self.roll(proposal, registers));

        let outcome = if *proposal == self.committed && *registers == self.registers {
            let dropped = std::mem::take(&mut self.delta);
            self.received = self.digest.clone();
            Outcome::Agreed { dropped }
        } else if self.delta > 0 && *proposal == self.next() {
            let length = std::mem::take(&mut self.delta);
            self.committed = *proposal;
            self.digest = self.received.clone();
            self.registers = registers.clone();
            Outcome::Committed { length }
        } else {
            Outcome::Mismatch { have: self.committed, registers: self.registers.clone() }
        };
        Decision { rolled, outcome }
    }

    fn roll(&mut self, proposal: &Proposal, registers: &Registers) -> Roll {
        let completed = Some(self.committed).filter(|committed| !committed.is_empty());
        if proposal.end > self.committed.end {
            // They were set by content that this spool never saw.
            self.registers = registers.clone();
        }
        self.committed = Proposal::empty_at(proposal.end, proposal.codec);
        self.digest = Digest::new();
        self.received = Digest::new();
        self.delta = 0;
        Roll { completed, begins: self.committed }
    }
}

#[cfg(test)]
mod tests;
