//! Pure: puts a listing together from the messages it comes in.

use courant_proto::wire;

use super::{CALL, Listing};
use crate::{Error, check};

/// A listing in the making.
#[derive(Debug, Default)]
pub(super) struct Assembly(Option<Listing>);

impl Assembly {
    /// Takes one message. Gives the listing when the message was the mark of its end, which only watches send.
    pub(super) fn accept(&mut self, message: wire::ListResponse) -> Result<Option<Listing>, Error> {
        check::status(CALL, message.status, message.header.as_ref())?;
        check::journals(&message.journals)?;
        match &mut self.0 {
            None => {
                let header = message.header.unwrap_or_default();
                let listing = Listing { header, journals: message.journals };
                if listing.revision() <= 0 {
                    return Err(Error::malformed(CALL, "it begins without a Header that names a revision"));
                }
                self.0 = Some(listing);
                Ok(None)
            }
            Some(_) if message.journals.is_empty() => Ok(self.0.take()),
            Some(listing) => {
                listing.journals.extend(message.journals);
                Ok(None)
            }
        }
    }

    /// The listing, when the messages ended instead.
    pub(super) fn finish(self) -> Result<Listing, Error> {
        self.0.ok_or_else(|| Error::malformed(CALL, "it ended before the first message"))
    }
}
