//! Reading a fragment's content out of its object: decoded, from any offset on, and checked.
//!
//! What a reader gets has the length that the fragment's name promises. If all of it was read, it also has the
//! digest, and the last of it, or all of what is small, is not handed out before that is known. Only of an object that is large, not
//! encoded, and wanted in part, that part alone is fetched: then nothing can be said of its digest.
//! Reading, decoding and digesting happen on threads that may block.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use courant_proto::codec::Codec;
use courant_proto::fragment::{ContentSum, Fragment};
use courant_proto::offset::Offset;
use futures::stream::{BoxStream, Stream};
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{GetRange, GetResult, GetResultPayload};

use super::access::Store;
use super::counters::Operation;
use super::error::StoreError;
use crate::codec::{CheckError, Checked, CheckedDecoder, SMALL};

/// Bytes handed out at a time, at most, and read from a file at a time.
const CHUNK_SIZE: usize = 256 << 10;
/// A body that breaks off, or holds something else, is asked for once more: what lies between us and a store
/// also fails. What was handed out of the first has to be what the second holds.
const RETRIES: u32 = 1;
/// Content of a fragment, in order. Made by [`Store::open`].
#[derive(Debug)]
pub struct FragmentReader {
    store: Arc<Store>,
    fragment: Fragment,
    location: Path,
    /// Offset of the next byte to hand out.
    offset: Offset,
    /// Where the reader ends; at most where the fragment does.
    until: Offset,
    /// Whether all of the content is read, so that its digest can be checked.
    is_whole: bool,
    body: Option<Body>,
    /// What may be handed out.
    ready: VecDeque<Bytes>,
    retries: u32,
    /// Digest of all content below the offset, where content was handed out before its own was known to be right.
    handed_out: Option<ContentSum>,
}

/// An open object.
struct Body {
    work: Box<Work>,
    stream: Option<BoxStream<'static, object_store::Result<Bytes>>>,
}

/// What goes to a thread that may block, and comes back.
struct Work {
    /// A file. Others get their input pushed.
    file: Option<Piecemeal>,
    decoder: CheckedDecoder,
}

/// A part of a file.
struct Piecemeal {
    file: File,
    /// Where to read next.
    position: u64,
    /// Where to stop, though the file may go on; none where it may not.
    until: Option<u64>,
}

/// Why some work failed.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error("the object has {found} bytes, expected {expected}")]
    Size { found: u64, expected: u64 },
    #[error("the store answered with bytes {found:?} of it, and was asked for {expected:?}")]
    Range { found: Range<u64>, expected: Range<u64> },
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
        self.open_until(fragment, from, fragment.end).await
    }

    /// Opens a fragment's content from an offset on, up to another.
    ///
    /// # Errors
    /// The object is not there, or the store fails.
    pub async fn open_until(
        self: &Arc<Self>,
        fragment: &Fragment,
        from: Offset,
        until: Offset,
    ) -> Result<FragmentReader, StoreError> {
        let offset = from.clamp(fragment.begin, fragment.end);
        let until = until.clamp(offset, fragment.end);
        let all = offset == fragment.begin && until == fragment.end;
        let mut reader = FragmentReader {
            store: Arc::clone(self),
            location: self.locate(fragment)?,
            fragment: fragment.clone(),
            offset,
            until,
            is_whole: all || fragment.codec != Codec::None || fragment.length() <= SMALL,
            body: None,
            ready: VecDeque::new(),
            retries: RETRIES,
            handed_out: None,
        };
        if offset < until {
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

    /// Where it ends.
    #[must_use]
    pub fn until(&self) -> Offset {
        self.until
    }

    /// What it reads.
    #[must_use]
    pub fn fragment(&self) -> &Fragment {
        &self.fragment
    }

    /// The next content; none where the reader ends. Not to be called again after it was dropped half way, or
    /// failed.
    ///
    /// # Errors
    /// The store fails, or the object does not hold what its name promises: [`StoreError::DataLoss`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        while self.offset < self.until {
            if let Some(mut content) = self.ready.pop_front() {
                let wanted = self.until.distance_from(self.offset).unwrap_or_default();
                // Cut to less than its own length, so it fits a usize.
                content.truncate(wanted.min(content.len() as u64) as usize);
                self.offset = self.offset.plus(content.len() as u64).unwrap_or(Offset::MAX);
                return Ok(Some(content));
            }
            let error = match self.step().await {
                Ok(content) => {
                    self.ready = content;
                    continue;
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

    async fn step(&mut self) -> Result<VecDeque<Bytes>, StoreError> {
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
                Checked::Content(content) => {
                    self.handed_out = body.work.decoder.handed_out();
                    self.body = Some(body);
                    return Ok(content);
                }
                Checked::NeedsInput => {
                    let next = match &mut body.stream {
                        Some(stream) => {
                            tokio::time::timeout(silence, stream.next()).await.map_err(|_| timed_out())?
                        }
                        None => None,
                    };
                    let mut next = next;
                    let mut gathered = 0;
                    // Pieces are as small as the network cut them. What has come by now goes along at once.
                    loop {
                        match next {
                            Some(Ok(piece)) => {
                                gathered += piece.len();
                                body.work.decoder.push(piece);
                            }
                            Some(Err(error)) => return Err(self.store.fault(Operation::Get, key, error)),
                            None => {
                                body.work.decoder.end();
                                break;
                            }
                        }
                        if gathered >= CHUNK_SIZE {
                            break;
                        }
                        match body.stream.as_mut().and_then(|stream| stream.next().now_or_never()) {
                            Some(more) => next = more,
                            None => break,
                        }
                    }
                }
                // Content of the promised length was handed out before, and then nobody asks.
                Checked::Done => {
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
        let (begin, end) =
            if self.is_whole { (fragment.begin, fragment.end) } else { (self.offset, self.until) };
        let position = begin.distance_from(fragment.begin).unwrap_or_default();
        let length = end.distance_from(begin).unwrap_or_default();
        let wanted = position..position + length;
        let range = (!self.is_whole).then(|| GetRange::Bounded(wanted.clone()));
        let (store, location) = (&self.store, &self.location);
        let limit = store.shared.config.operation_limit;
        let got = store
            .attempt(Operation::Get, location.as_ref(), limit, || store.bucket.get(location, range.clone()))
            .await?;
        // The object's own size is known whatever part of it was asked for.
        if fragment.codec == Codec::None && got.meta.size != fragment.length() {
            return Err(self.classify(Fault::Size { found: got.meta.size, expected: fragment.length() }));
        }
        if !self.is_whole && got.range != wanted {
            return Err(self.classify(Fault::Range { found: got.range, expected: wanted }));
        }
        let skip = self.offset.distance_from(begin).unwrap_or_default();
        let sum = self.is_whole.then_some(fragment.sum);
        let decoder = CheckedDecoder::new(fragment.codec, length, skip, sum)
            .map_err(|error| self.classify(Fault::Check(error.into())))?
            .following(self.handed_out);
        let work = Work { file: None, decoder };
        Ok(Body::new(work, got, position, (!self.is_whole).then_some(wanted.end)))
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
    fn new(mut work: Work, got: GetResult, position: u64, until: Option<u64>) -> Self {
        match got.payload {
            // Read by us, in larger pieces than the library's, on the thread that decodes.
            GetResultPayload::File(file, _) => {
                work.file = Some(Piecemeal { file, position, until });
                Self { work: Box::new(work), stream: None }
            }
            GetResultPayload::Stream(stream) => Self { work: Box::new(work), stream: Some(stream) },
        }
    }
}

impl Work {
    /// Works until there is content to hand out, or no input. Blocks.
    fn step(&mut self) -> Result<Checked, Fault> {
        loop {
            match (self.decoder.pull(CHUNK_SIZE)?, &mut self.file) {
                (Checked::NeedsInput, Some(file)) => match file.next()? {
                    Some(piece) => self.decoder.push(piece),
                    None => self.decoder.end(),
                },
                (checked, _) => return Ok(checked),
            }
        }
    }
}

impl Piecemeal {
    /// The next piece; none at the end.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let left = self.until.map_or(u64::MAX, |until| until.saturating_sub(self.position));
        let mut piece = BytesMut::zeroed(usize::try_from(left).unwrap_or(CHUNK_SIZE).min(CHUNK_SIZE));
        let count = self.file.read_at(&mut piece, self.position)?;
        piece.truncate(count);
        self.position += count as u64;
        Ok((count > 0).then(|| piece.freeze()))
    }
}
