//! Pure: rules of `List`.

use super::{Validate, refuse, required, status};
use crate::invalid::{Context, Invalid};
use crate::selector::PREFIX_LABEL;
use crate::wire;

impl Validate for wire::ListRequest {
    /// Of the header to resume from, only the revision is of use, and the rest may be anything.
    fn validate(&self) -> Result<(), Invalid> {
        let Some(selector) = &self.selector else { return Ok(()) };
        selector.validate().within("Selector")?;
        for (set, side) in [(&selector.include, "Include"), (&selector.exclude, "Exclude")] {
            let labels = set.iter().flat_map(|set| &set.labels);
            let bad =
                labels.filter(|label| label.name == PREFIX_LABEL).find(|label| !label.value.ends_with('/'));
            if let Some(label) = bad {
                return refuse(format!("expected trailing '/' ({})", label.value))
                    .within(&format!("Labels[\"{PREFIX_LABEL}\"]"))
                    .within(side)
                    .within("Selector");
            }
        }
        Ok(())
    }
}

impl Validate for wire::ListResponse {
    /// Every message of a snapshot but its first has an empty header, which is let pass.
    fn validate(&self) -> Result<(), Invalid> {
        status(self.status)?;
        if let Some(header) = self.header.as_ref().filter(|header| !is_empty(header)) {
            header.validate().within("Header")?;
        }
        for (index, journal) in self.journals.iter().enumerate() {
            journal.validate().at("Journals", index)?;
        }
        Ok(())
    }
}

/// Whether a header says nothing; the messages in it may be present and empty.
fn is_empty(header: &wire::Header) -> bool {
    header.process_id.as_ref().is_none_or(|id| *id == Default::default())
        && header.route.as_ref().is_none_or(|route| *route == Default::default())
        && header.etcd.as_ref().is_none_or(|etcd| *etcd == Default::default())
}

impl Validate for wire::list_response::Journal {
    fn validate(&self) -> Result<(), Invalid> {
        required(self.spec.as_ref(), "Spec")?;
        if self.mod_revision <= 0 {
            return refuse(format!("invalid ModRevision ({}; expected > 0)", self.mod_revision));
        }
        required(self.route.as_ref(), "Route")
    }
}
