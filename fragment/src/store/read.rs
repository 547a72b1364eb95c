//! Reading a fragment's content out of its object: decoded, from any offset on, and checked.
//!
//! What a reader gets has the length that the fragment's name promises. If it was read from the fragment's
//! begin, or had to be decoded from there, it also has the digest, and the last of it is not handed out
//! before that is known. Reading, decoding and digesting happen on threads that may block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf, Bytes, BytesMut};
use courant_proto::codec::Codec;
use courant_proto::fragment::{ContentSum, Fragment};
use courant_proto::offset::Offset;
use futures::StreamExt;
use futures::stream::{BoxStream, Stream};
use object_store::path::Path;
use object_store::{GetRange, GetResult, GetResultPayload};

use super::access::Store;
use super::counters::Operation;
use super::error::StoreError;
use crate::codec::{DecodeError, Decoded, Decoder};
use crate::spool::digest::Digest;

/// Bytes handed out at a time, at most, and read from a file at a time.
const CHUNK_SIZE: usize = 256 << 10;
/// A body that breaks off, or holds something else, is asked for once more: what lies between us and a store
/// also fails.
const RETRIES: u32 = 1;

/// Content of a fragment, in order. Made by [`Store::open`].
#[derive(Debug)]
pub struct FragmentReader {
    store: Arc<Store>,
    fragment: Fragment,
    location: Path,
    /// Offset of the next byte to hand out.
    offset: Offset,
    /// Whether all of the content is read, so that its digest can be checked.
    is_whole: bool,
    body: Option<Body>,
    retries: u32,
}

/// An open object.
struct Body {
    work: Box<Work>,
    stream: Option<BoxStream<'static, object_store::Result<Bytes>>>,
}

/// What goes to a thread that may block, and comes back.
struct Work {
    /// A file, and the position to read at. Others get their input pushed.
    file: Option<(File, u64)>,
    decoder: Decoder,
    /// Content before the offset of the reader.
    skip: u64,
    check: Option<(Digest, ContentSum)>,
    /// The last content, until it is known that it is the last and all of it is right.
    last: Option<Bytes>,
}

/// What some work came to.
enum Step {
    Content(Bytes),
    NeedsInput,
    Done,
}

/// Why some work failed.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("its SHA-1 is {found}")]
    Sum { found: ContentSum },
    #[error("the object has {found} bytes, expected {expected}")]
    Size { found: u64, expected: u64 },
    #[error("cannot read the object: {0}")]
    Read(#[from] io::Error),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("decoder", &self.work.decoder).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a fragment's content from an offset on, to its end.
    ///
    /// # Errors
    /// The object is not there, or the store fails.
    pub async fn open(
        self: &Arc<Self>,
        fragment: &Fragment,
        from: Offset,
    ) -> Result<FragmentReader, StoreError> {
        let offset = from.clamp(fragment.begin, fragment.end);
        let mut reader = FragmentReader {
            store: Arc::clone(self),
            location: self.locate(fragment)?,
            fragment: fragment.clone(),
            offset,
            is_whole: offset == fragment.begin || fragment.codec != Codec::None,
            body: None,
            retries: RETRIES,
        };
        if offset < fragment.end {
            reader.body = Some(reader.fetch().await.inspect_err(|error| self.note_loss(error))?);
        }
        Ok(reader)
    }

    fn note_loss(&self, error: &StoreError) {
        if matches!(error, StoreError::DataLoss { .. }) {
            self.counters.data_loss.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "a stored fragment is damaged");
        }
    }
}

impl FragmentReader {
    /// Offset of the next content.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The next content; none at the fragment's end. Not to be called again after it was dropped half way, or
    /// failed.
    ///
    /// # Errors
    /// The store fails, or the object does not hold what its name promises: [`StoreError::DataLoss`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        while self.offset < self.fragment.end {
            let error = match self.step().await {
                Ok(content) => {
                    self.offset = self.offset.plus(content.len() as u64).unwrap_or(Offset::MAX);
                    return Ok(Some(content));
                }
                Err(error) => error,
            };
            self.body = None;
            let is_final = self.retries == 0
                || matches!(error, StoreError::Cancelled { .. } | StoreError::NotFound { .. });
            if is_final {
                self.store.note_loss(&error);
                return Err(error);
            }
            self.retries -= 1;
            tracing::warn!(%error, offset = %self.offset, "reading a stored fragment again");
        }
        Ok(None)
    }

    /// The rest of the content as a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, StoreError>> + Send {
        futures::stream::try_unfold(self, |mut reader| async move {
            Ok(reader.next().await?.map(|content| (content, reader)))
        })
    }

    async fn step(&mut self) -> Result<Bytes, StoreError> {
        let mut body = match self.body.take() {
            Some(body) => body,
            None => self.fetch().await?,
        };
        let key = self.location.as_ref();
        let silence = self.store.shared.config.silence_limit;
        let timed_out = || StoreError::TimedOut {
            operation: Operation::Get,
            object: self.store.object(key),
            limit: silence,
        };
        loop {
            let mut work = body.work;
            let blocking = tokio::task::spawn_blocking(move || {
                let step = work.step();
                (work, step)
            });
            let (work, step) = tokio::time::timeout(silence, blocking)
                .await
                .map_err(|_| timed_out())?
                .map_err(|error| self.store.fault(Operation::Get, key, error.into()))?;
            body.work = work;
            match step.map_err(|fault| self.classify(fault))? {
                Step::Content(content) => {
                    self.body = Some(body);
                    return Ok(content);
                }
                Step::NeedsInput => {
                    let next = match &mut body.stream {
                        Some(stream) => {
                            tokio::time::timeout(silence, stream.next()).await.map_err(|_| timed_out())?
                        }
                        None => None,
                    };
                    match next {
                        Some(Ok(piece)) => body.work.decoder.push(piece),
                        Some(Err(error)) => return Err(self.store.fault(Operation::Get, key, error)),
                        None => body.work.decoder.end(),
                    }
                }
                // Content of the promised length was handed out before, and then nobody asks.
                Step::Done => {
                    return Err(self.classify(Fault::Size {
                        found: self.offset.distance_from(self.fragment.begin).unwrap_or_default(),
                        expected: self.fragment.length(),
                    }));
                }
            }
        }
    }

    /// Asks the store for the object, from as far on as can be.
    async fn fetch(&mut self) -> Result<Body, StoreError> {
        let fragment = &self.fragment;
        let begin = if self.is_whole { fragment.begin } else { self.offset };
        let position = begin.distance_from(fragment.begin).unwrap_or_default();
        let range = (position > 0).then_some(GetRange::Offset(position));
        let (store, location) = (&self.store, &self.location);
        let limit = store.shared.config.operation_limit;
        let got = store
            .attempt(Operation::Get, location.as_ref(), limit, || store.bucket.get(location, range.clone()))
            .await?;
        // The object's own size is known whatever part of it was asked for.
        if fragment.codec == Codec::None && got.meta.size != fragment.length() {
            return Err(self.classify(Fault::Size { found: got.meta.size, expected: fragment.length() }));
        }
        let length = fragment.end.distance_from(begin).unwrap_or_default();
        let decoder = Decoder::new(fragment.codec, length).map_err(|error| self.classify(error.into()))?;
        let work = Work {
            file: None,
            decoder,
            skip: self.offset.distance_from(begin).unwrap_or_default(),
            check: self.is_whole.then(|| (Digest::new(), fragment.sum)),
            last: None,
        };
        Ok(Body::new(work, got, position))
    }

    fn classify(&self, fault: Fault) -> StoreError {
        let object = self.store.object(self.location.as_ref());
        match fault {
            Fault::Read(error) => StoreError::Failed {
                operation: Operation::Get,
                object,
                source: object_store::Error::Generic { store: "file", source: error.into() }.into(),
            },
            fault => StoreError::DataLoss { object, reason: fault.into() },
        }
    }
}

impl Body {
    fn new(mut work: Work, got: GetResult, position: u64) -> Self {
        match got.payload {
            // Read by us, in larger pieces than the library's, on the thread that decodes.
            GetResultPayload::File(file, _) => {
                work.file = Some((file, position));
                Self { work: Box::new(work), stream: None }
            }
            GetResultPayload::Stream(stream) => Self { work: Box::new(work), stream: Some(stream) },
        }
    }
}

impl Work {
    /// Works until there is content to hand out, or no input. Blocks.
    fn step(&mut self) -> Result<Step, Fault> {
        loop {
            match self.decoder.pull(CHUNK_SIZE)? {
                Decoded::Content(mut content) => {
                    if let Some((digest, _)) = &mut self.check {
                        digest.update(&content);
                    }
                    let skipped = self.skip.min(content.len() as u64);
                    self.skip -= skipped;
                    // Not more than its length, so it fits a usize.
                    content.advance(skipped as usize);
                    if self.decoder.remaining() == 0 {
                        self.last = Some(content);
                    } else if !content.is_empty() {
                        return Ok(Step::Content(content));
                    }
                }
                Decoded::NeedsInput => match &mut self.file {
                    Some((file, position)) => {
                        let mut piece = BytesMut::zeroed(CHUNK_SIZE);
                        let count = file.read_at(&mut piece, *position)?;
                        piece.truncate(count);
                        *position += count as u64;
                        if count == 0 {
                            self.decoder.end();
                        } else {
                            self.decoder.push(piece.freeze());
                        }
                    }
                    None => return Ok(Step::NeedsInput),
                },
                Decoded::Done => {
                    if let Some((digest, expected)) = self.check.take() {
                        let found = digest.sum();
                        if found != expected {
                            return Err(Fault::Sum { found });
                        }
                    }
                    return Ok(match self.last.take() {
                        Some(content) if !content.is_empty() => Step::Content(content),
                        _ => Step::Done,
                    });
                }
            }
        }
    }
}
