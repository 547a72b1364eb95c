//! Pure: rules of `Read`.

use super::{Validate, optional, refuse, status, unexpected, url};
use crate::invalid::{Context, Invalid};
use crate::name::check_request_name;
use crate::offset::ReadFrom;
use crate::wire;
use crate::wire::Status;

impl Validate for wire::ReadRequest {
    fn validate(&self) -> Result<(), Invalid> {
        optional(self.header.as_ref(), "Header")?;
        check_request_name(&self.journal).within("Journal")?;
        ReadFrom::try_from(self.offset)?;
        if self.end_offset != 0 && (self.end_offset < 0 || self.end_offset < self.offset) {
            return refuse(format!(
                "invalid EndOffset ({}; expected 0 or Offset <= EndOffset)",
                self.end_offset
            ));
        }
        Ok(())
    }
}

impl Validate for wire::ReadResponse {
    fn validate(&self) -> Result<(), Invalid> {
        let status = status(self.status)?;
        optional(self.header.as_ref(), "Header")?;
        if self.offset < 0 {
            return refuse(format!("invalid Offset ({}; expected >= 0)", self.offset));
        }
        if !self.content.is_empty() {
            return self.check_chunk(status);
        }
        if self.write_head < 0 {
            return refuse(format!("invalid WriteHead ({}; expected >= 0)", self.write_head));
        }
        let Some(fragment) = &self.fragment else {
            if status == Status::Ok && self.offset != 0 {
                return refuse(format!("unexpected Offset without Fragment or Content ({})", self.offset));
            }
            let url = &self.fragment_url;
            return unexpected(!url.is_empty(), format_args!("FragmentUrl without Fragment ({url})"));
        };
        fragment.validate().within("Fragment")?;
        let (begin, end) = (fragment.begin, fragment.end);
        if !(begin..end).contains(&self.offset) {
            return refuse(format!("invalid Offset ({}; expected {begin} <= offset < {end})", self.offset));
        }
        if self.write_head < end {
            return refuse(format!("invalid WriteHead ({}; expected >= {end})", self.write_head));
        }
        url(&self.fragment_url, "FragmentUrl")
    }
}

impl wire::ReadResponse {
    /// A message with content has nothing else.
    fn check_chunk(&self, status: Status) -> Result<(), Invalid> {
        unexpected(status != Status::Ok, format_args!("Status with Content ({})", status.name()))?;
        unexpected(self.header.is_some(), format_args!("Header with Content ({:?})", self.header))?;
        unexpected(self.write_head != 0, format_args!("WriteHead with Content ({})", self.write_head))?;
        unexpected(self.fragment.is_some(), format_args!("Fragment with Content ({:?})", self.fragment))?;
        let url = &self.fragment_url;
        unexpected(!url.is_empty(), format_args!("FragmentUrl with Content ({url})"))
    }
}
