//! Pure: follows one read through its answers. Advances the offset, finds gaps, cuts at the end that was asked
//! for, and refuses answers that break the protocol.

use bytes::Bytes;
use courant_proto::validate::Validate as _;
use courant_proto::wire;

use super::{CALL, Gap, Metadata, ReadEvent};
use crate::{Error, Refusal, check};

/// The place of a read in its journal.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// Of the next byte; -1 while it is the head and was not resolved.
    offset: i64,
    /// Zero is without end.
    end_offset: i64,
    /// Whether metadata came, which content must follow.
    placed: bool,
}

impl Cursor {
    pub(crate) fn new(request: &wire::ReadRequest) -> Self {
        Self { offset: request.offset, end_offset: request.end_offset, placed: false }
    }

    /// A read that stands where metadata said.
    pub(crate) fn placed(request: &wire::ReadRequest) -> Self {
        Self { placed: true, ..Self::new(request) }
    }

    pub(crate) fn offset(&self) -> i64 {
        self.offset
    }

    /// Takes content that came from elsewhere: the next, as far as it is wanted.
    pub(crate) fn take(&mut self, content: Bytes) -> Result<Option<ReadEvent>, Error> {
        let response = wire::ReadResponse { offset: self.offset, content, ..Default::default() };
        self.accept_content(response)
    }

    /// Takes one answer. None if there is nothing in it to hand out.
    pub(crate) fn accept(&mut self, response: wire::ReadResponse) -> Result<Option<ReadEvent>, Error> {
        if is_plain_content(&response) {
            return self.accept_content(response);
        }
        response.validate().map_err(|invalid| Error::malformed(CALL, invalid))?;
        let status = check::known_status(CALL, response.status)?;
        if status != wire::Status::Ok {
            let mut refusal = Refusal::new(status, response.header);
            refusal.offset = response.offset;
            refusal.write_head = response.write_head;
            return Err(refusal.into());
        }
        let Some(fragment) = response.fragment else {
            return Ok(None);
        };
        if response.offset < self.offset {
            return Err(self.misplaced(response.offset));
        }
        let gap = (self.offset >= 0 && response.offset > self.offset)
            .then_some(Gap { begin: self.offset, end: response.offset });
        self.offset = response.offset;
        self.placed = true;
        Ok(Some(ReadEvent::Metadata(Box::new(Metadata {
            offset: response.offset,
            write_head: response.write_head,
            fragment: Some(fragment),
            fragment_url: response.fragment_url,
            header: response.header,
            gap,
        }))))
    }

    fn accept_content(&mut self, response: wire::ReadResponse) -> Result<Option<ReadEvent>, Error> {
        if !self.placed {
            return Err(Error::malformed(CALL, "content before metadata"));
        }
        if response.offset != self.offset {
            return Err(self.misplaced(response.offset));
        }
        let mut content = response.content;
        if self.end_offset != 0 {
            let wanted = usize::try_from(self.end_offset.saturating_sub(self.offset)).unwrap_or(0);
            content.truncate(wanted);
            if content.is_empty() {
                return Ok(None);
            }
        }
        let offset = self.offset;
        self.offset =
            i64::try_from(content.len()).ok().and_then(|length| offset.checked_add(length)).ok_or_else(
                || Error::malformed(CALL, format_args!("content at {offset} passes the greatest offset")),
            )?;
        Ok(Some(ReadEvent::Content { offset, content }))
    }

    fn misplaced(&self, offset: i64) -> Error {
        Error::malformed(CALL, format_args!("it is at offset {offset}, expected {}", self.offset))
    }
}

/// Whether an answer is content and nothing else, as all that carry content must be. Most answers are, so this
/// is the short way around the rules, which refuse content with anything beside it.
fn is_plain_content(response: &wire::ReadResponse) -> bool {
    !response.content.is_empty()
        && response.status == i32::from(wire::Status::Ok)
        && response.header.is_none()
        && response.write_head == 0
        && response.fragment.is_none()
        && response.fragment_url.is_empty()
}
