//! Content of one fragment as chunks: out of memory, out of a spool's files, or out of a store.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use courant_fragment::index::Source;
use courant_fragment::spool::content::Content;
use courant_fragment::store::{FragmentReader, Store, StoreError};
use courant_proto::fragment::Fragment;
use courant_proto::offset::Offset;
use tonic::Status;

/// Bytes read from a spool's files at a time.
const READ: usize = 256 << 10;

/// The content of one fragment from an offset on.
pub(crate) struct Serve {
    from: From,
    /// Where the next chunk begins.
    offset: Offset,
    /// Bytes that are still to be served.
    remaining: u64,
    /// What was read and not handed out yet.
    ready: Bytes,
    largest: usize,
}

enum From {
    Memory(VecDeque<Bytes>),
    Spool { content: Arc<Content>, position: u64 },
    Store(Box<FragmentReader>),
}

impl std::fmt::Debug for Serve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serve")
            .field("offset", &self.offset)
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

impl Serve {
    /// Content that lies here: in memory, or in a spool.
    pub(crate) fn local(source: Source, offset: Offset, remaining: u64, largest: usize) -> Option<Self> {
        let from = match source {
            Source::Memory(chunks) => From::Memory(chunks.into()),
            Source::Local(content, position) => From::Spool { content, position },
            Source::Remote => return None,
        };
        Some(Self { from, offset, remaining, ready: Bytes::new(), largest })
    }

    /// Content of a stored fragment, decoded.
    pub(crate) async fn stored(
        store: Arc<Store>,
        fragment: &Fragment,
        offset: Offset,
        remaining: u64,
        largest: usize,
    ) -> Result<Self, Status> {
        let reader = store.open(fragment, offset).await.map_err(|error| unreadable(&error))?;
        Ok(Self { from: From::Store(Box::new(reader)), offset, remaining, ready: Bytes::new(), largest })
    }

    /// The next chunk and its offset; none when everything was served.
    pub(crate) async fn next(&mut self) -> Result<Option<(Offset, Bytes)>, Status> {
        if self.remaining == 0 {
            return Ok(None);
        }
        while self.ready.is_empty() {
            match self.fill().await? {
                Some(more) => self.ready = more,
                None => {
                    return Err(Status::data_loss(format!(
                        "content ends at offset {}, {} bytes before the end of its fragment",
                        self.offset, self.remaining
                    )));
                }
            }
        }
        let length =
            self.ready.len().min(self.largest).min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        let chunk = self.ready.split_to(length);
        let at = self.offset;
        self.remaining -= length as u64;
        self.offset = at.plus(length as u64).unwrap_or(Offset::MAX);
        Ok(Some((at, chunk)))
    }

    async fn fill(&mut self) -> Result<Option<Bytes>, Status> {
        match &mut self.from {
            From::Memory(chunks) => Ok(chunks.pop_front()),
            From::Store(reader) => reader.next().await.map_err(|error| unreadable(&error)),
            From::Spool { content, position } => {
                let length = READ.min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
                let (content, at) = (Arc::clone(content), *position);
                // Cold files block, and a core must not: this runs on the runtime's pool for files.
                let read = tokio::task::spawn_blocking(move || {
                    let mut buffer = BytesMut::zeroed(length);
                    content.read_at(at, &mut buffer).map(|read| {
                        buffer.truncate(read);
                        buffer.freeze()
                    })
                });
                let chunk = read
                    .await
                    .map_err(|_| Status::internal("reading a spool was interrupted"))?
                    .map_err(|error| Status::data_loss(error.to_string()))?;
                *position += chunk.len() as u64;
                Ok((!chunk.is_empty()).then_some(chunk))
            }
        }
    }
}

/// What a reader is told of a store that does not give what it should: try again, or data is lost and which object it is.
pub(super) fn unreadable(error: &StoreError) -> Status {
    if error.is_transient() {
        Status::unavailable(error.to_string())
    } else {
        Status::data_loss(error.to_string())
    }
}
