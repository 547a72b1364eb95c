//! Pure: rules of `Apply`.

use super::{Validate, refuse, required, status};
use crate::invalid::{Context, Invalid};
use crate::name::{check_name, check_request_name};
use crate::wire;

impl Validate for wire::ApplyRequest {
    fn validate(&self) -> Result<(), Invalid> {
        for (index, change) in self.changes.iter().enumerate() {
            change.validate().at("Changes", index)?;
        }
        Ok(())
    }
}

impl Validate for wire::apply_request::Change {
    fn validate(&self) -> Result<(), Invalid> {
        let revision = self.expect_mod_revision;
        match (&self.upsert, &*self.delete) {
            (None, "") => refuse("neither Upsert nor Delete are set (expected exactly one)"),
            (Some(spec), "") => {
                spec.validate().within("Upsert")?;
                if revision < -1 {
                    return refuse(format!("invalid ExpectModRevision ({revision}; expected >= 0 or -1)"));
                }
                Ok(())
            }
            (Some(_), _) => refuse("both Upsert and Delete are set (expected exactly one)"),
            (None, name) => {
                check_deleted_name(name)?;
                if revision != -1 && revision <= 0 {
                    return refuse(format!("invalid ExpectModRevision ({revision}; expected > 0 or -1)"));
                }
                Ok(())
            }
        }
    }
}

/// Gazette lets metadata pass here, and its process ends on the key that it then makes of the name.
fn check_deleted_name(name: &str) -> Result<(), Invalid> {
    check_request_name(name).within("Delete")?;
    match name.find(';') {
        Some(meta) => refuse(format!(
            "Delete cannot have a metadata path segment ({}; expected no segment)",
            &name[meta..]
        )),
        None => check_name(name).within("Delete"),
    }
}

impl Validate for wire::ApplyResponse {
    fn validate(&self) -> Result<(), Invalid> {
        status(self.status)?;
        required(self.header.as_ref(), "Header")
    }
}
