//! Putting a fragment into a store, so that any number of brokers may do it at the same time and any number
//! of times.
//!
//! The name of an object holds the digest of its content, so writing it again is harmless: no condition is put on
//! it, as there are stores that ignore conditions. What is found under the name is not believed for its name. Content is encoded and uploaded a piece at a time;
//! its digest is taken on the way, and an upload whose content is not what the fragment says is given up
//! before it becomes an object.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use courant_proto::codec::Codec;
use courant_proto::fragment::{ContentSum, Fragment};
use object_store::path::Path;
use object_store::{Attributes, MultipartUpload, ObjectMeta, UploadPart};
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::access::Store;
use super::counters::Operation;
use super::error::{Cause, StoreError};
use super::parts::Parts;
use super::strays::may_hold;
use super::vouch::{attributes, is_vouched_for, vouch_for_size};
use crate::codec::{EncodeError, EncodingReader};
use crate::spool::digest::Digest;

/// An upload that is given up has so long to be cleared away.
const ABORT_LIMIT: Duration = Duration::from_secs(10);

/// What came of an upload. The fragment has the store and the time at which it got the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutOutcome {
    /// It was uploaded.
    Stored {
        /// The fragment, as it is stored.
        fragment: Fragment,
        /// Size of its object in bytes.
        size: u64,
    },
    /// Somebody had uploaded it before.
    AlreadyThere {
        /// The fragment, as it is stored.
        fragment: Fragment,
    },
}

impl PutOutcome {
    /// The fragment, as it is stored.
    #[must_use]
    pub fn into_fragment(self) -> Fragment {
        match self {
            Self::Stored { fragment, .. } | Self::AlreadyThere { fragment } => fragment,
        }
    }
}

/// Where the bytes of an object come from.
struct Source<R> {
    /// How what is read has still to be encoded.
    codec: Codec,
    length: u64,
    /// The digest of what is read, unless that was checked before.
    sum: Option<ContentSum>,
    attributes: Attributes,
    read: R,
}

/// Encodes and digests at once.
struct Encoding<R> {
    reader: R,
    digest: Arc<Mutex<Digest>>,
}

impl Store {
    /// Puts a fragment, under the name that its offsets, digest, codec and path postfix make, unless it is
    /// there. `read` yields its content: it is called on a thread that may block, with a position and a
    /// buffer, and tells how much it has read.
    ///
    /// An object that is there counts only if it is right; otherwise it is written over.
    ///
    /// # Errors
    /// The store fails, or the content is not the fragment's.
    pub async fn put<R>(self: &Arc<Self>, fragment: &Fragment, read: R) -> Result<PutOutcome, StoreError>
    where
        R: FnMut(u64, &mut [u8]) -> Result<usize, Cause> + Send + 'static,
    {
        let object = Source {
            codec: fragment.codec,
            length: fragment.length(),
            sum: Some(fragment.sum),
            attributes: attributes(fragment),
            read,
        };
        self.put_from(fragment, object).await
    }

    /// Puts a fragment whose object was encoded before, with its content's digest checked. `read` yields the object's bytes.
    ///
    /// # Errors
    /// The store fails, or the object cannot be read.
    pub async fn put_encoded<R>(
        self: &Arc<Self>,
        fragment: &Fragment,
        length: u64,
        read: R,
    ) -> Result<PutOutcome, StoreError>
    where
        R: FnMut(u64, &mut [u8]) -> Result<usize, Cause> + Send + 'static,
    {
        let attributes = attributes(fragment);
        let object = Source { codec: Codec::None, length, sum: None, attributes, read };
        self.put_from(fragment, object).await
    }

    /// A fragment as it is stored, if its object is there and is what it should be.
    ///
    /// # Errors
    /// The store fails.
    pub async fn find(self: &Arc<Self>, fragment: &Fragment) -> Result<Option<Fragment>, StoreError> {
        let location = self.locate(fragment)?;
        self.paced(1).await;
        let found = self.find_whole(fragment, &location).await?;
        Ok(found.map(|meta| self.stored(fragment, &meta)))
    }

    async fn put_from<R>(
        self: &Arc<Self>,
        fragment: &Fragment,
        object: Source<R>,
    ) -> Result<PutOutcome, StoreError>
    where
        R: FnMut(u64, &mut [u8]) -> Result<usize, Cause> + Send + 'static,
    {
        let location = self.locate(fragment)?;
        // Never closed, so it always grants.
        let _permit = self.puts.acquire().await;
        // One piece is sent while the next one is encoded.
        let pieces = 2 * self.bucket.piece_size as u64;
        let _share = self.shared.uploads.share(&self.memory, object.length.min(pieces)).await;
        // Whether it is there, the object, what became of it.
        self.paced(3).await;
        self.bucket.heard.pause.wait().await;
        let deadline = Instant::now() + self.shared.config.put_limit;
        if let Some(meta) = self.find_whole(fragment, &location).await? {
            self.bucket.tidy(&location).await;
            return Ok(PutOutcome::AlreadyThere { fragment: self.stored(fragment, &meta) });
        }
        let size = match self.upload(&location, object, deadline).await {
            Ok(size) => size,
            // Whoever was first clears away what lies beside the object, another's upload of the same bytes included.
            Err(error) => match self.find_whole(fragment, &location).await {
                Ok(Some(meta)) => {
                    return Ok(PutOutcome::AlreadyThere { fragment: self.stored(fragment, &meta) });
                }
                Ok(None) | Err(_) => return Err(error),
            },
        };
        let counted = match fragment.codec {
            Codec::GzipOffload => &self.counters.put_bytes_gzip,
            Codec::None | Codec::Gzip | Codec::Zstandard | Codec::Snappy => &self.counters.put_bytes,
        };
        counted.fetch_add(size, Ordering::Relaxed);
        let limit = self.shared.config.operation_limit;
        let (meta, _) =
            self.attempt(Operation::Exists, location.as_ref(), limit, || self.bucket.head(&location)).await?;
        if meta.size != size {
            let reason = format!("{size} bytes were uploaded, and it has {}", meta.size);
            return Err(StoreError::DataLoss {
                object: self.object(location.as_ref()),
                reason: reason.into(),
            });
        }
        self.bucket.tidy(&location).await;
        Ok(PutOutcome::Stored { fragment: self.stored(fragment, &meta), size })
    }

    /// The fragment's object, if it is there and is what it should be.
    ///
    /// What one of us has put there is known to be right: its content was digested before it became an object, its
    /// bytes were digested on the way, and it tells so, and its size. What others put there is read, and so is what was encoded while it was
    /// uploaded in parts, whose size nobody knew when it had to be told.
    async fn find_whole(
        self: &Arc<Self>,
        fragment: &Fragment,
        location: &Path,
    ) -> Result<Option<ObjectMeta>, StoreError> {
        let limit = self.shared.config.operation_limit;
        let key = location.as_ref();
        let head = self.attempt(Operation::Exists, key, limit, || self.bucket.head(location)).await;
        let (meta, attributes) = match head {
            Ok(found) => found,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let fault = if !may_hold(fragment.codec, meta.size, fragment.length()) {
            Some(format!("{} bytes cannot hold its content", meta.size))
        } else if is_vouched_for(&attributes, fragment, meta.size) {
            None
        } else {
            self.read_through(fragment).await?
        };
        match fault {
            None => Ok(Some(meta)),
            Some(fault) => {
                tracing::error!(store = %self.url, key, fault, "a damaged object has a fragment's name; writing over it");
                Ok(None)
            }
        }
    }

    /// Reads all of a fragment, and says what is wrong with it.
    async fn read_through(self: &Arc<Self>, fragment: &Fragment) -> Result<Option<String>, StoreError> {
        let read = async {
            let mut reader = self.open(fragment, fragment.begin).await?;
            while reader.next().await?.is_some() {}
            Ok(())
        };
        let limit = self.shared.config.put_limit;
        let read = tokio::time::timeout(limit, read).await.unwrap_or_else(|_| {
            let object = self.object(&fragment.content_path());
            Err(StoreError::TimedOut { operation: Operation::Get, object, limit })
        });
        match read {
            Ok(()) => Ok(None),
            Err(StoreError::DataLoss { reason, .. }) => Ok(Some(reason.to_string())),
            Err(StoreError::NotFound { .. }) => Ok(Some("it vanished".to_owned())),
            Err(error) => Err(error),
        }
    }

    /// Uploads, and tells the size of the object.
    async fn upload<R>(
        &self,
        location: &Path,
        object: Source<R>,
        deadline: Instant,
    ) -> Result<u64, StoreError>
    where
        R: FnMut(u64, &mut [u8]) -> Result<usize, Cause> + Send + 'static,
    {
        let key = location.as_ref();
        let began = Instant::now();
        let uploaded = self.upload_pieces(location, object, deadline).await;
        self.counters.attempted(Operation::Put, began.elapsed(), uploaded.is_ok());
        uploaded.map_err(|fault| match fault {
            UploadFault::Store(error) => self.fault(Operation::Put, key, error),
            UploadFault::Content(reason) => StoreError::Content { object: self.object(key), reason },
            UploadFault::TimedOut => StoreError::TimedOut {
                operation: Operation::Put,
                object: self.object(key),
                limit: self.shared.config.put_limit,
            },
        })
    }

    async fn upload_pieces<R>(
        &self,
        location: &Path,
        object: Source<R>,
        deadline: Instant,
    ) -> Result<u64, UploadFault>
    where
        R: FnMut(u64, &mut [u8]) -> Result<usize, Cause> + Send + 'static,
    {
        let digest = Arc::new(Mutex::new(Digest::new()));
        let digesting = Arc::clone(&digest);
        let Source { codec, length, sum, mut attributes, mut read } = object;
        let reader = EncodingReader::new(codec, length, move |position, buffer: &mut [u8]| {
            let count = read(position, buffer)?;
            digesting.lock().update(&buffer[..count]);
            Ok::<_, Cause>(count)
        })?;
        let mut encoding = Encoding { reader, digest };

        let size = self.bucket.piece_size;
        let (next, first) = within(deadline, self.encode(encoding, size)).await??;
        encoding = next;
        let first = first.unwrap_or_default();
        if first.len() < size {
            // A short piece is the last one.
            encoding.check(sum)?;
            let length = first.len() as u64;
            vouch_for_size(&mut attributes, length);
            within(deadline, self.bucket.put(location, first, &attributes)).await??;
            return Ok(length);
        }
        if codec == Codec::None {
            vouch_for_size(&mut attributes, length);
        }
        let mut upload = within(deadline, self.bucket.put_multipart(location, &attributes)).await??;
        let parts = self.upload_parts(encoding, first, sum, &mut *upload);
        match within(deadline, parts).await.and_then(|uploaded| uploaded) {
            Ok(length) => Ok(length),
            Err(fault) => {
                // The fault is what is reported; a store clears away what this does not reach.
                let _ = tokio::time::timeout(ABORT_LIMIT, upload.abort()).await;
                Err(fault)
            }
        }
    }

    /// Uploads a part while the next one is encoded.
    async fn upload_parts<R>(
        &self,
        mut encoding: Encoding<EncodingReader<R>>,
        first: Bytes,
        sum: Option<ContentSum>,
        upload: &mut dyn MultipartUpload,
    ) -> Result<u64, UploadFault>
    where
        R: FnMut(u64, &mut [u8]) -> Result<usize, Cause> + Send + 'static,
    {
        let size = self.bucket.piece_size;
        let mut length = first.len() as u64;
        let mut parts = Parts::new(first);
        let mut sending: UploadPart = upload.put_part(parts.cut(size));
        loop {
            let (encoded, sent) = futures::join!(self.encode(encoding, parts.lacks(size)), sending);
            sent?;
            let (next, piece) = encoded?;
            encoding = next;
            let is_last = piece.is_none();
            let piece = piece.unwrap_or_default();
            length += piece.len() as u64;
            parts.push(piece);
            if !is_last && parts.lacks(size) == 0 {
                sending = upload.put_part(parts.cut(size));
                continue;
            }
            // The content has ended. What is left makes a part, or two.
            while !parts.is_empty() {
                upload.put_part(parts.cut(size)).await?;
            }
            encoding.check(sum)?;
            upload.complete().await?;
            return Ok(length);
        }
    }

    /// Encodes the next piece, of `size` bytes or a little more, on a thread that may block.
    async fn encode<R>(
        &self,
        mut encoding: Encoding<EncodingReader<R>>,
        size: usize,
    ) -> Result<(Encoding<EncodingReader<R>>, Option<Bytes>), UploadFault>
    where
        R: FnMut(u64, &mut [u8]) -> Result<usize, Cause> + Send + 'static,
    {
        let permit = Arc::clone(&self.shared.encodes).acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let piece = encoding.reader.next_piece(size);
            (encoding, piece)
        });
        let (encoding, piece) = done.await.map_err(object_store::Error::from)?;
        Ok((encoding, piece?))
    }

    fn stored(&self, fragment: &Fragment, meta: &ObjectMeta) -> Fragment {
        Fragment {
            store: Some(self.url.clone()),
            // Zero would mean that it is not stored.
            mod_time: meta.last_modified.timestamp().max(1),
            ..fragment.clone()
        }
    }
}

impl<R> Encoding<R> {
    /// Checks that what was encoded is what the fragment says. Every byte was read by now.
    fn check(&self, expected: Option<ContentSum>) -> Result<(), UploadFault> {
        let Some(expected) = expected else { return Ok(()) };
        let found = self.digest.lock().sum();
        if found == expected {
            return Ok(());
        }
        Err(UploadFault::Content(format!("its SHA-1 is {found}, expected {expected}").into()))
    }
}

/// Why an upload failed.
enum UploadFault {
    Store(object_store::Error),
    Content(Cause),
    TimedOut,
}

impl From<object_store::Error> for UploadFault {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<EncodeError> for UploadFault {
    fn from(error: EncodeError) -> Self {
        Self::Content(error.into())
    }
}

async fn within<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, UploadFault> {
    tokio::time::timeout_at(deadline, work).await.map_err(|_| UploadFault::TimedOut)
}
