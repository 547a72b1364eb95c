//! Reads: a journal as a stream of what its brokers say of it and of its bytes. Knows nothing of stores.

mod cursor;
mod reader;
mod stream;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use courant_proto::wire;

pub use self::reader::Reader;
pub use self::stream::ReadStream;
use crate::{Client, Error};

const CALL: &str = "Read";

/// What a read yields.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadEvent {
    /// Where the read is. Comes before content, and again with each fragment and each growth of one.
    Metadata(Box<Metadata>),
    /// Bytes of the journal.
    Content {
        /// Of the first of the bytes.
        offset: i64,
        /// Never empty.
        content: Bytes,
    },
}

/// Where a read is, as the broker that serves it says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Of the next byte.
    pub offset: i64,
    /// The end of the journal as that broker knows it.
    pub write_head: i64,
    /// The fragment that holds the next byte.
    pub fragment: Option<wire::Fragment>,
    /// Where the fragment can be fetched, for a minute; empty if it is only local.
    pub fragment_url: String,
    /// Who serves the read, with the journal's route. Only with the first metadata of a stream.
    pub header: Option<wire::Header>,
    /// The bytes before `offset` that were asked for and that are no more.
    pub gap: Option<Gap>,
}

/// Bytes of a journal that a read skipped: they were deleted, or are older than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First skipped offset.
    pub begin: i64,
    /// First offset after them.
    pub end: i64,
}

impl Client {
    /// Reads a journal from an offset on, across losses of connections and brokers.
    ///
    /// ```no_run
    /// # use courant_proto::wire;
    /// use courant_client::ReadEvent;
    /// use futures::StreamExt as _;
    ///
    /// # async fn example(client: courant_client::Client) {
    /// let request = wire::ReadRequest { journal: "examples/foobar".to_owned(), block: true, ..Default::default() };
    /// let mut reader = client.reader(request);
    /// while let Some(event) = reader.next().await {
    ///     match event {
    ///         Ok(ReadEvent::Content { offset, content }) => println!("{} bytes at {offset}", content.len()),
    ///         Ok(ReadEvent::Metadata(metadata)) => println!("the head is at {}", metadata.write_head),
    ///         // Polled again, the reader would try again.
    ///         Err(error) => {
    ///             println!("{error}");
    ///             break;
    ///         }
    ///     }
    /// }
    /// # }
    /// ```
    pub fn reader(&self, request: wire::ReadRequest) -> Reader {
        Reader::new(self.clone(), request)
    }

    /// Reads with one call, which ends when the broker ends it and fails when it fails.
    pub fn read(&self, request: wire::ReadRequest) -> ReadStream {
        ReadStream::open(self, request)
    }

    /// The end of a journal: the offset of the next append.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the status, and faults of the call.
    pub async fn head(&self, journal: &str) -> Result<i64, Error> {
        use futures::StreamExt as _;
        let request = wire::ReadRequest {
            journal: journal.to_owned(),
            offset: -1,
            metadata_only: true,
            ..Default::default()
        };
        let mut stream = self.read(request);
        match self.within(CALL, async { Ok(stream.next().await) }).await? {
            Some(Ok(ReadEvent::Metadata(metadata))) => Ok(metadata.write_head),
            // There is never a byte at the head, so this is how it is told.
            Some(Err(Error::Refused(refusal))) if refusal.status == wire::Status::OffsetNotYetAvailable => {
                Ok(refusal.write_head)
            }
            Some(Err(error)) => Err(error),
            Some(Ok(ReadEvent::Content { .. })) => Err(Error::malformed(CALL, "content before metadata")),
            None => Err(Error::malformed(CALL, "it ended before metadata")),
        }
    }
}
