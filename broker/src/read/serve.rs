//! Content of one fragment as chunks: out of memory, out of a spool's files, or out of a store.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use courant_fragment::index::{Doubt, Source};
use courant_fragment::spool::content::Content;
use courant_fragment::store::{FragmentReader, StoreError};
use courant_proto::offset::Offset;
use courant_proto::time::Timestamp;
use tonic::Status;

use super::ahead::{Ahead, ReadAhead, Wanted};

/// Bytes read from a spool's files at a time.
const READ: usize = 256 << 10;

/// The content of one fragment from an offset on.
pub(crate) struct Serve {
    from: From,
    /// Whether anything was handed out.
    has_begun: bool,
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
    Spool {
        content: Arc<Content>,
        position: u64,
    },
    Store(Box<FragmentReader>),
    Ahead(Box<Ahead>),
    /// Between two of the others, and after a fault.
    Nothing,
}

/// Why content cannot be served.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The stored object is at fault, or its store.
    Stored(StoreError),
    /// The object was found damaged before.
    Known(Status),
    /// Anything else, as the reader is told of it.
    Here(Status),
}

impl Fault {
    /// What is wrong with the object, where that is at fault and not its store.
    pub(crate) fn doubt(&self) -> Option<Doubt> {
        match self {
            Self::Stored(StoreError::DataLoss { .. }) => Some(Doubt::Damaged),
            Self::Stored(StoreError::NotFound { .. }) => Some(Doubt::Missing),
            _ => None,
        }
    }

    /// What a reader is told. Data is lost where an object does not hold what it should. One that was not there may have been removed
    /// under the reader, by retention or by a rule of its bucket: it is worth another try, unless a listing that began since, at
    /// `listed_at`, still shows it. `missing_since` is when it was found missing first.
    pub(crate) fn status(self, missing_since: Option<Timestamp>, listed_at: Option<Timestamp>) -> Status {
        match self {
            Self::Here(status) | Self::Known(status) => status,
            Self::Stored(error @ StoreError::DataLoss { .. }) => Status::data_loss(error.to_string()),
            Self::Stored(error @ StoreError::NotFound { .. }) => {
                if missing_since.is_some_and(|since| listed_at.is_some_and(|listed| listed >= since)) {
                    Status::data_loss(format!("data loss: {error}, though its listing shows it"))
                } else {
                    Status::unavailable(format!(
                        "{error}: it was removed, or is not to be seen yet; try again"
                    ))
                }
            }
            Self::Stored(error) => Status::unavailable(error.to_string()),
        }
    }
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
            Source::Remote | Source::Damaged => return None,
        };
        Some(Self::new(from, offset, remaining, largest))
    }

    fn new(from: From, offset: Offset, remaining: u64, largest: usize) -> Self {
        Self { from, has_begun: false, offset, remaining, ready: Bytes::new(), largest }
    }

    /// Content of a stored fragment, decoded.
    pub(crate) async fn stored(wanted: &Wanted, largest: usize) -> Result<Self, Fault> {
        let Wanted { store, fragment, from, until } = wanted;
        let reader = store.open_until(fragment, *from, *until).await.map_err(Fault::Stored)?;
        let remaining = until.distance_from(*from).unwrap_or_default();
        Ok(Self::new(From::Store(Box::new(reader)), *from, remaining, largest))
    }

    /// Content of a stored fragment that was fetched ahead.
    pub(crate) fn fetched(ahead: Ahead, offset: Offset, largest: usize) -> Self {
        let remaining = ahead.length();
        Self::new(From::Ahead(Box::new(ahead)), offset, remaining, largest)
    }

    /// Whether its content comes out of a store.
    pub(crate) fn is_stored(&self) -> bool {
        matches!(self.from, From::Store(_) | From::Ahead(_))
    }

    /// Whether anything of it was handed out.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Bytes that are still to be served.
    pub(crate) fn remaining(&self) -> u64 {
        self.remaining
    }

    /// From here on its content is fetched before it is asked for, if there is room in the budget.
    pub(crate) fn hurry(&mut self, budget: &ReadAhead) {
        self.from = match mem::replace(&mut self.from, From::Nothing) {
            From::Store(reader) => match Ahead::go_on(budget, reader, self.remaining) {
                Ok(ahead) => From::Ahead(Box::new(ahead)),
                Err(reader) => From::Store(reader),
            },
            other => other,
        };
    }

    /// The next chunk and its offset; none when everything was served.
    pub(crate) async fn next(&mut self) -> Result<Option<(Offset, Bytes)>, Fault> {
        if self.remaining == 0 {
            return Ok(None);
        }
        while self.ready.is_empty() {
            match self.fill().await? {
                Some(more) => self.ready = more,
                None => {
                    return Err(Fault::Here(Status::data_loss(format!(
                        "content ends at offset {}, {} bytes before the end of its fragment",
                        self.offset, self.remaining
                    ))));
                }
            }
        }
        let length =
            self.ready.len().min(self.largest).min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        let chunk = self.ready.split_to(length);
        let at = self.offset;
        self.has_begun = true;
        self.remaining -= length as u64;
        self.offset = at.plus(length as u64).unwrap_or(Offset::MAX);
        Ok(Some((at, chunk)))
    }

    async fn fill(&mut self) -> Result<Option<Bytes>, Fault> {
        match &mut self.from {
            From::Memory(chunks) => Ok(chunks.pop_front()),
            From::Store(reader) => reader.next().await.map_err(Fault::Stored),
            From::Ahead(ahead) => ahead.next().await.map_err(Fault::Stored),
            From::Nothing => Ok(None),
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
                    .map_err(|_| Fault::Here(Status::internal("reading a spool was interrupted")))?
                    .map_err(|error| Fault::Here(Status::data_loss(error.to_string())))?;
                *position += chunk.len() as u64;
                Ok((!chunk.is_empty()).then_some(chunk))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use courant_fragment::store::{Config, Stores};
    use courant_proto::codec::Codec;
    use courant_proto::fragment::Fragment;
    use courant_proto::store::StoreUrl;
    use courant_proto::time::ManualClock;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use tonic::Code;

    use super::*;
    use crate::journal_space::fixture::name;

    #[tokio::test]
    async fn an_object_is_lost_when_a_later_listing_still_shows_it() {
        let folder = tempfile::tempdir().expect("a folder");
        tokio::fs::create_dir(folder.path().join("root")).await.expect("a folder");
        let config = Config { file_root: Some(folder.path().to_owned()), ..Config::default() };
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(10)));
        let stores = Stores::new(config, clock, StdRng::seed_from_u64(1));
        let store = stores.get(&StoreUrl::parse("file:///root/").expect("a store")).expect("it opens");
        let (from, until) = (Offset::ZERO, Offset::new(10).expect("an offset"));
        let fragment = Fragment { end: until, ..Fragment::empty_at(name("a/journal"), from, Codec::None) };
        let wanted = Wanted { store, fragment, from, until };
        let at = |secs: Option<i64>| secs.map(Timestamp::from_secs);
        for (missing_since, listed_at, expected) in [
            // It was there when the stores were listed, and not a moment later.
            (None, None, Code::Unavailable),
            (None, Some(10), Code::Unavailable),
            (Some(10), None, Code::Unavailable),
            (Some(10), Some(9), Code::Unavailable),
            (Some(10), Some(10), Code::DataLoss),
            (Some(10), Some(11), Code::DataLoss),
        ] {
            let fault = Serve::stored(&wanted, 1000).await.expect_err("it is not there");
            assert_eq!(fault.doubt(), Some(Doubt::Missing));
            let status = fault.status(at(missing_since), at(listed_at));
            assert_eq!(status.code(), expected, "{missing_since:?} {listed_at:?}: {status}");
        }
        let reason = "its digest is another".into();
        let damaged = Fault::Stored(StoreError::DataLoss { object: "an object".to_owned(), reason });
        assert_eq!(damaged.status(None, None).code(), Code::DataLoss);
    }
}
