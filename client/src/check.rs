//! Pure: holds brokers' answers against the protocol before anything is done with them.

use courant_proto::wire;

use crate::{Error, Refusal};

/// The status of an answer, where its number has a name.
pub(crate) fn known_status(call: &'static str, number: i32) -> Result<wire::Status, Error> {
    wire::Status::try_from(number)
        .map_err(|_| Error::malformed(call, format_args!("invalid status ({number})")))
}

/// Passes an answer whose status is OK and makes a refusal of any other.
pub(crate) fn status(call: &'static str, number: i32, header: Option<&wire::Header>) -> Result<(), Error> {
    match known_status(call, number)? {
        wire::Status::Ok => Ok(()),
        status => Err(Refusal::new(status, header.cloned()).into()),
    }
}

/// Holds an answer to a read that carries no content against the protocol.
pub(crate) fn read_metadata(status: wire::Status, response: &wire::ReadResponse) -> Result<(), Error> {
    let refuse = |reason: String| Err(Error::malformed("Read", reason));
    let (offset, head) = (response.offset, response.write_head);
    if head < 0 {
        return refuse(format!("invalid WriteHead ({head}; expected >= 0)"));
    }
    match &response.fragment {
        Some(fragment) => {
            let (begin, end) = (fragment.begin, fragment.end);
            if begin < 0 || offset < begin || offset >= end {
                return refuse(format!("invalid Offset ({offset}; expected {begin} <= Offset < {end})"));
            }
            if head < end {
                return refuse(format!("invalid WriteHead ({head}; expected >= {end})"));
            }
        }
        None if status == wire::Status::Ok && offset != 0 => {
            return refuse(format!("unexpected Offset without Fragment or Content ({offset})"));
        }
        None if !response.fragment_url.is_empty() => {
            return refuse("unexpected FragmentUrl without Fragment".to_owned());
        }
        None => {}
    }
    Ok(())
}

/// Holds an answer to a read that carries content against the protocol.
pub(crate) fn read_content(status: wire::Status, response: &wire::ReadResponse) -> Result<(), Error> {
    let unexpected = if status != wire::Status::Ok {
        "Status"
    } else if response.header.is_some() {
        "Header"
    } else if response.write_head != 0 {
        "WriteHead"
    } else if response.fragment.is_some() {
        "Fragment"
    } else if !response.fragment_url.is_empty() {
        "FragmentUrl"
    } else {
        return Ok(());
    };
    Err(Error::malformed("Read", format_args!("unexpected {unexpected} with Content")))
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
