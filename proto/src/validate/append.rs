//! Pure: rules of `Append`: of the first message with its parameters, and of those with content behind it.

use super::{Validate, expected, optional, refuse, required, status, unexpected};
use crate::invalid::{Context, Invalid};
use crate::name::check_request_name;
use crate::wire;
use crate::wire::Status;
use crate::wire::append_request::Suspend;

impl Validate for wire::AppendRequest {
    fn validate(&self) -> Result<(), Invalid> {
        if self.journal.is_empty() {
            return self.check_content();
        }
        optional(self.header.as_ref(), "Header")?;
        check_request_name(&self.journal).within("Journal")?;
        if self.offset < 0 {
            return refuse(format!("invalid Offset ({}; expected >= 0)", self.offset));
        }
        unexpected(!self.content.is_empty(), "Content")?;
        optional(self.check_registers.as_ref(), "CheckRegisters")?;
        optional(self.union_registers.as_ref(), "UnionRegisters")?;
        optional(self.subtract_registers.as_ref(), "SubtractRegisters")?;
        if Suspend::try_from(self.suspend).is_err() {
            return refuse(format!("invalid Suspend variant ({})", self.suspend)).within("Suspend");
        }
        Ok(())
    }
}

impl wire::AppendRequest {
    /// Behind the first message there is content alone; none of it is the intent to commit.
    fn check_content(&self) -> Result<(), Invalid> {
        unexpected(self.header.is_some(), "Header")?;
        unexpected(self.do_not_proxy, "DoNotProxy")?;
        unexpected(self.offset != 0, "Offset")?;
        unexpected(self.check_registers.is_some(), "CheckRegisters")?;
        unexpected(self.union_registers.is_some(), "UnionRegisters")?;
        unexpected(self.subtract_registers.is_some(), "SubtractRegisters")?;
        if self.suspend != Suspend::Resume as i32 {
            let name = Suspend::try_from(self.suspend)
                .map_or_else(|_| self.suspend.to_string(), |suspend| suspend.as_str_name().to_owned());
            // Gazette's text names the enumerator so.
            return refuse(format!("unexpected Suspend ({name}; expected SUSPEND_RESUMED)"));
        }
        Ok(())
    }
}

impl Validate for wire::AppendResponse {
    fn validate(&self) -> Result<(), Invalid> {
        let status = status(self.status)?;
        required(self.header.as_ref(), "Header")?;
        optional(self.commit.as_ref(), "Commit")?;
        optional(self.registers.as_ref(), "Registers")?;
        if status == Status::Ok {
            expected(self.commit.is_some(), "Commit")?;
        }
        if matches!(status, Status::Ok | Status::RegisterMismatch) {
            expected(self.registers.is_some(), "Registers")?;
        }
        Ok(())
    }
}
