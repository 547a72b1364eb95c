//! Pure: holds brokers' answers against the protocol before anything is done with them.

use courant_proto::wire;

use crate::{Error, Refusal};

/// The status of an answer, where its number has a name.
pub(crate) fn known_status(call: &'static str, number: i32) -> Result<wire::Status, Error> {
    wire::Status::from_wire(number).map_err(|invalid| Error::malformed(call, invalid.within("Status")))
}

/// Passes an answer whose status is OK and makes a refusal of any other.
pub(crate) fn status(call: &'static str, number: i32, header: Option<&wire::Header>) -> Result<(), Error> {
    match known_status(call, number)? {
        wire::Status::Ok => Ok(()),
        status => Err(Refusal::new(status, header.cloned()).into()),
    }
}

/// Holds the journals of a listing against the protocol.
pub(crate) fn journals(journals: &[wire::list_response::Journal]) -> Result<(), Error> {
    for (index, journal) in journals.iter().enumerate() {
        let at = |reason: String| Err(Error::malformed("List", format_args!("Journals[{index}]: {reason}")));
        if journal.spec.as_ref().is_none_or(|spec| spec.name.is_empty()) {
            return at("expected Spec.Name".to_owned());
        }
        if journal.mod_revision <= 0 {
            return at(format!("invalid ModRevision ({}; expected > 0)", journal.mod_revision));
        }
    }
    Ok(())
}
