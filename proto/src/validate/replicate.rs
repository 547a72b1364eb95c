//! Pure: rules of `Replicate`.

use super::{Validate, expected, optional, refuse, status, unexpected};
use crate::invalid::{Context, Invalid};
use crate::wire;
use crate::wire::Status;

impl Validate for wire::ReplicateRequest {
    /// Registers that a proposal lacks count as empty ones, and are not missed here.
    fn validate(&self) -> Result<(), Invalid> {
        if self.committed < 0 {
            return refuse(format!("invalid Committed ({}; expected >= 0)", self.committed));
        }
        unexpected(self.attach.is_some() && self.header.is_none(), "Attach without Header")?;
        let Some(proposal) = &self.proposal else {
            return self.check_content();
        };
        optional(self.header.as_ref(), "Header")?;
        proposal.validate().within("Proposal")?;
        if !self.deprecated_journal.is_empty() && self.deprecated_journal != proposal.journal {
            return refuse(format!(
                "DeprecatedJournal and Proposal.Journal mismatch ({} vs {})",
                self.deprecated_journal, proposal.journal
            ));
        }
        optional(self.registers.as_ref(), "Registers")?;
        expected(self.header.is_none() || self.acknowledge, "Acknowledge with Header")?;
        unexpected(
            !self.content.is_empty(),
            format_args!("Content with Proposal (len {})", self.content.len()),
        )?;
        unexpected(
            self.content_delta != 0,
            format_args!("ContentDelta with Proposal ({})", self.content_delta),
        )
    }
}

impl wire::ReplicateRequest {
    /// Content for the proposal that will follow it.
    fn check_content(&self) -> Result<(), Invalid> {
        // Between brokers of ours the watermark may come alone.
        expected(!self.content.is_empty() || self.committed > 0, "Content or Proposal")?;
        unexpected(
            self.content.is_empty() && self.content_delta != 0,
            format_args!("ContentDelta without Content ({})", self.content_delta),
        )?;
        if self.content_delta < 0 {
            return refuse(format!("invalid ContentDelta ({}; expected >= 0)", self.content_delta));
        }
        unexpected(self.header.is_some(), "Header without Proposal")?;
        unexpected(self.registers.is_some(), "Registers without Proposal")?;
        unexpected(self.acknowledge, "Acknowledge without Proposal")?;
        unexpected(!self.deprecated_journal.is_empty(), "DeprecatedJournal without Proposal")
    }
}

impl Validate for wire::ReplicateResponse {
    /// Brokers put a header into the first response of a stream, so that one is let pass beside `OK`.
    fn validate(&self) -> Result<(), Invalid> {
        let status = status(self.status)?;
        let name = status.name();
        optional(self.header.as_ref(), "Header")?;
        optional(self.fragment.as_ref(), "Fragment")?;
        optional(self.registers.as_ref(), "Registers")?;
        match status {
            Status::WrongRoute => expected(self.header.is_some(), format_args!("Header with {name}"))?,
            Status::Ok => {}
            _ => unexpected(self.header.is_some(), format_args!("Header with {name}"))?,
        }
        for (present, what) in
            [(self.fragment.is_some(), "Fragment"), (self.registers.is_some(), "Registers")]
        {
            let what = format!("{what} with {name}");
            if status == Status::ProposalMismatch {
                expected(present, &what)
            } else {
                unexpected(present, &what)
            }?;
        }
        Ok(())
    }
}
