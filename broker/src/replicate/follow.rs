//! Pure: what the messages of a primary's stream come to, given the spool that this broker has.
//!
//! ```text
//!  content ─► kept until a proposal asks for it      watermark ─► what may be shown
//!  proposal ─► a step (none, extend, begin the next) and an answer, if one is wanted
//! ```
//!
//! The stream is read ahead of the disk: each message is decided on what the ones before it will have left. It does not write, and
//! it does not know whether its stream is still the one that counts.

use bytes::Bytes;
use courant_fragment::spool::digest::Digest;
use courant_fragment::spool::state::{Decision, Outcome, Proposal, SpoolState, WrongDelta};
use courant_proto::codec::Codec;
use courant_proto::fragment::{ContentSum, Fragment};
use courant_proto::invalid::Invalid;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::status::Status;
use courant_proto::validate::Validate;
use courant_proto::wire;
use courant_proto::wire::courant::Attach;

use crate::replication::local::OpenHead;

/// A spool, as the stream of a primary sees it.
#[derive(Debug)]
pub(crate) struct Follow {
    journal: JournalName,
    state: SpoolState,
    /// The epoch of the open spool; none where the log has none.
    epoch: Option<u64>,
    /// The watermark, as it was told last.
    committed: Offset,
    /// The primary tells watermarks: it is Courant's, and has attached.
    tells: bool,
}

/// What a message comes to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub(crate) enum Taken {
    /// Content, to be kept until a proposal.
    Content(Bytes),
    /// Something for the core, or an answer to be sent in its turn.
    Proposed(Proposed),
    /// Nothing that was not known.
    Nothing,
}

/// What a proposal, or a watermark, comes to.
#[derive(Debug)]
pub(crate) struct Proposed {
    pub(crate) step: Decided,
    /// Everything below is on all members; zero tells nothing.
    pub(crate) committed: Offset,
    /// To be sent when the step is done, without its header.
    pub(crate) answer: Option<wire::ReplicateResponse>,
    /// Content that was kept stays; otherwise the step takes it, or it is dropped.
    pub(crate) keeps: bool,
}

/// What is to be done to the spool. Its content is with whoever keeps it.
#[derive(Debug)]
pub(crate) enum Decided {
    /// Nothing at all, not even to ask whether the stream still counts.
    Skip,
    Nothing,
    Commit {
        at: Offset,
        length: u64,
        digest: Digest,
        registers: Option<Registers>,
    },
    Roll {
        cut: Option<Offset>,
        begin: Offset,
        codec: Codec,
        registers: Registers,
        epoch: Option<u64>,
    },
}

/// Content that this log lacks, and that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lacking {
    pub(crate) epoch: u64,
    pub(crate) from: Offset,
    pub(crate) to: Offset,
    /// Where the primary's open spool begins, if that is behind ours: what is fetched is to be cut there as well.
    pub(crate) split: Option<Offset>,
    pub(crate) codec: Codec,
    /// The registers behind it.
    pub(crate) registers: Registers,
}

/// The stream broke a rule. The text is the protocol's where it is another make's rule as well.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("expected first ReplicateRequest to have Header")]
    NoHeader,
    #[error(transparent)]
    Delta(#[from] WrongDelta),
    #[error(
        "no ack requested but status != OK: status:PROPOSAL_MISMATCH fragment:[{begin}, {end}) registers:{registers}"
    )]
    Unanswered { begin: Offset, end: Offset, registers: Registers },
    #[error("proposal of journal {proposed} in a stream of journal {journal}")]
    Journal { proposed: String, journal: JournalName },
    #[error("unexpected Attach in the middle of a stream")]
    Attach,
    #[error("Attach of epoch {epoch} after {prior} at {base} with a proposal of [{begin}, {end})")]
    Joint { epoch: u64, prior: u64, base: i64, begin: Offset, end: Offset },
}

/// Checks what the first message of a stream has to have: a proposal with a header.
pub(crate) fn check_first(request: &wire::ReplicateRequest) -> Result<(), Broken> {
    request.validate()?;
    if request.header.is_none() { Err(Broken::NoHeader) } else { Ok(()) }
}

impl Follow {
    /// Follows on from the open spool; from a journal's beginning where the log has none.
    pub(crate) fn new(journal: JournalName, open: Option<OpenHead>) -> Self {
        let (state, epoch) = match open {
            Some(open) => {
                let epoch = open.epoch;
                (state_of(open), Some(epoch))
            }
            None => (SpoolState::new(Offset::ZERO, Codec::None, Registers::default()), None),
        };
        Self { journal, state, epoch, committed: Offset::ZERO, tells: false }
    }

    /// What has to be fetched before the first message of a stream, which attaches, can be taken.
    pub(crate) fn lacking(
        &self,
        attach: &Attach,
        request: &wire::ReplicateRequest,
    ) -> Result<Option<Lacking>, Broken> {
        let asked = self.asked(request)?;
        check_joint(attach, &asked.proposal)?;
        let from = self.state.committed().end;
        // Of the epoch that is here everything counts up to where the next one began, however many came to nothing since.
        let counts = Offset::new(attach.counts).unwrap_or(Offset::ZERO);
        let (epoch, to) = match self.epoch {
            Some(epoch) if epoch == attach.epoch => (epoch, asked.proposal.end),
            Some(epoch) if epoch > 0 => (epoch, counts.min(asked.proposal.end)),
            _ => return Ok(None),
        };
        if from >= to {
            return Ok(None);
        }
        let Asked { proposal: Proposal { begin, codec, .. }, registers, .. } = asked;
        let split = Some(begin).filter(|begin| from <= *begin && *begin < to && !self.begins_at(*begin));
        Ok(Some(Lacking { epoch, from, to, split, codec, registers }))
    }

    /// The spool is this now: content that was fetched is in it.
    pub(crate) fn filled(&mut self, open: OpenHead) {
        self.epoch = Some(open.epoch);
        self.state = state_of(open);
    }

    /// Takes the first message of a stream that attaches.
    pub(crate) fn attach(
        &mut self,
        attach: &Attach,
        request: &wire::ReplicateRequest,
    ) -> Result<Proposed, Broken> {
        self.tells = true;
        let asked = self.asked(request)?;
        check_joint(attach, &asked.proposal)?;
        let goes_on = attach.epoch == attach.prior && self.epoch == Some(attach.epoch);
        if goes_on {
            return self.propose(request, asked);
        }
        // What is here belongs to the epochs before. Nothing of it counts from there on, and nothing is there yet.
        let begin = asked.proposal.end;
        let Proposal { codec, .. } = asked.proposal;
        let registers = asked.registers.clone();
        self.state = SpoolState::new(begin, codec, registers.clone());
        self.epoch = Some(attach.epoch);
        let proposed = self.propose(request, asked)?;
        // Where the journal went on without us, what we hold counts up to the begin of the epoch after ours.
        let cut = Some(Offset::new(attach.counts).unwrap_or(begin).min(begin));
        let step = Decided::Roll { cut, begin, codec, registers, epoch: Some(attach.epoch) };
        Ok(Proposed { step, ..proposed })
    }

    /// Takes a message.
    pub(crate) fn take(&mut self, request: wire::ReplicateRequest) -> Result<Taken, Broken> {
        request.validate()?;
        if request.attach.is_some() {
            return Err(Broken::Attach);
        }
        if request.proposal.is_some() {
            let asked = self.asked(&request)?;
            return self.propose(&request, asked).map(Taken::Proposed);
        }
        if !request.content.is_empty() {
            self.state.receive(&request.content, request.content_delta)?;
            return Ok(Taken::Content(request.content));
        }
        let committed = self.watermark(&request);
        if committed == Offset::ZERO {
            return Ok(Taken::Nothing);
        }
        Ok(Taken::Proposed(Proposed { step: Decided::Nothing, committed, answer: None, keeps: true }))
    }

    /// Answers a proposal.
    fn propose(&mut self, request: &wire::ReplicateRequest, asked: Asked) -> Result<Proposed, Broken> {
        let committed = self.watermark(request);
        let before = *self.state.committed();
        let registers_before = self.state.registers().clone();
        let Decision { rolled, outcome } = if asked.is_spool {
            self.state.apply(&asked.proposal, &asked.registers)
        } else {
            let outcome = Outcome::Mismatch { have: before, registers: registers_before.clone() };
            Decision { rolled: None, outcome }
        };
        let began = rolled.filter(|rolled| {
            let same = self.epoch.is_some()
                && rolled.begins == before
                && *self.state.registers() == registers_before;
            !same
        });
        let (answer, length) = match outcome {
            Outcome::Agreed { .. } => (ok(), None),
            Outcome::Committed { length } => (ok(), Some(length)),
            Outcome::Mismatch { have, registers } => (mismatch(&self.journal, &have, &registers), None),
        };
        if answer.status != Status::Ok as i32 && !request.acknowledge {
            let Proposal { begin, end, .. } = *self.state.committed();
            let registers = self.state.registers().clone();
            return Err(Broken::Unanswered { begin, end, registers });
        }
        let step = match (length, began) {
            (Some(length), _) => Decided::Commit {
                at: before.end,
                length,
                digest: self.state.digest().clone(),
                registers: Some(self.state.registers().clone()).filter(|now| *now != registers_before),
            },
            (None, Some(rolled)) => {
                // A log that had nothing of the journal has a spool from here on, of no epoch that anybody recorded.
                self.epoch.get_or_insert(0);
                Decided::Roll {
                    cut: None,
                    begin: rolled.begins.begin,
                    codec: rolled.begins.codec,
                    registers: self.state.registers().clone(),
                    epoch: None,
                }
            }
            (None, None) if answer.status == Status::Ok as i32 || committed > Offset::ZERO => {
                Decided::Nothing
            }
            (None, None) => Decided::Skip,
        };
        let keeps = self.state.delta() > 0;
        // A primary that tells nothing of what all members have shows what it commits at once, and so do its followers.
        let committed = if !self.tells && answer.status == Status::Ok as i32 {
            committed.max(self.state.committed().end)
        } else {
            committed
        };
        Ok(Proposed { step, committed, answer: request.acknowledge.then_some(answer), keeps })
    }

    /// The proposal of a message, which has one.
    fn asked(&self, request: &wire::ReplicateRequest) -> Result<Asked, Broken> {
        let fragment = Fragment::try_from(request.proposal.clone().unwrap_or_default())?;
        if fragment.journal != self.journal {
            let proposed = fragment.journal.as_str().to_owned();
            return Err(Broken::Journal { proposed, journal: self.journal.clone() });
        }
        let registers = request.registers.clone().map(Registers::try_from).transpose()?.unwrap_or_default();
        let Fragment { begin, end, sum, codec, .. } = fragment;
        // What is stored is no spool, and matches none.
        let is_spool = fragment.store.is_none() && fragment.mod_time == 0 && fragment.postfix.is_empty();
        Ok(Asked { proposal: Proposal { begin, end, sum, codec }, registers, is_spool })
    }

    /// The watermark of a message, if it is news.
    fn watermark(&mut self, request: &wire::ReplicateRequest) -> Offset {
        match Offset::new(request.committed).filter(|committed| *committed > self.committed) {
            Some(committed) => {
                self.committed = committed;
                committed
            }
            None => Offset::ZERO,
        }
    }

    fn begins_at(&self, offset: Offset) -> bool {
        self.state.committed().begin == offset
    }
}

/// A proposal, as it was asked for.
struct Asked {
    proposal: Proposal,
    registers: Registers,
    is_spool: bool,
}

/// An epoch begins with an empty spool at its base, and goes on with one that ends there.
fn check_joint(attach: &Attach, proposal: &Proposal) -> Result<(), Broken> {
    let Attach { epoch, prior, base, .. } = *attach;
    let begins = epoch != prior;
    let fits = epoch >= prior && epoch > 0 && proposal.end.get() == base && (!begins || proposal.is_empty());
    let Proposal { begin, end, .. } = *proposal;
    if fits { Ok(()) } else { Err(Broken::Joint { epoch, prior, base, begin, end }) }
}

fn state_of(open: OpenHead) -> SpoolState {
    let OpenHead { committed, digest, registers, .. } = open;
    // The sum of nothing is none, as the wire has it.
    let sum = if committed.is_empty() { ContentSum::ZERO } else { committed.sum };
    SpoolState::resumed(Proposal { sum, ..committed }, digest, registers)
}

fn ok() -> wire::ReplicateResponse {
    wire::ReplicateResponse { status: Status::Ok as i32, ..Default::default() }
}

fn mismatch(journal: &JournalName, have: &Proposal, registers: &Registers) -> wire::ReplicateResponse {
    wire::ReplicateResponse {
        status: Status::ProposalMismatch as i32,
        fragment: Some(wire::Fragment {
            journal: journal.as_str().to_owned(),
            begin: have.begin.get(),
            end: have.end.get(),
            sum: Some(have.sum.into()),
            compression_codec: have.codec.to_wire() as i32,
            ..Default::default()
        }),
        registers: Some(registers.into()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
