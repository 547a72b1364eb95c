//! A bucket or folder as this crate uses it: the library's store, with the guard of a folder before it, and
//! the store's own place within it.
//!
//! Calls are single attempts, without deadline. [`Store`](super::Store) adds both.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courant_proto::store::StoreUrl;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::Method;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    Attributes, GetOptions, GetRange, GetResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload,
};

use super::arguments::Rewrite;
use super::error::StoreError;
use super::file::Folder;
use super::strays::Listed;
use super::transport::Heard;

/// A signed URL is valid for no longer: S3 and Google refuse to read by one that was made for more.
const SIGNED_LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How a URL is made by which others read an object.
pub(super) enum Signing {
    /// `file://` and the path: who has the folder can read it.
    File,
    /// A URL that is a key to the object.
    Url(Arc<dyn Signer>),
    /// The same, of a library's store that takes paths for URLs and does not escape them.
    EscapedUrl(Arc<dyn Signer>),
}

/// A place in a bucket or folder. An adapter makes one from a URL.
pub(super) struct Bucket {
    /// The URL, for errors.
    pub(super) name: StoreUrl,
    pub(super) objects: Arc<dyn ObjectStore>,
    /// Checks and prepares the ways of a folder.
    pub(super) folder: Option<Arc<Folder>>,
    pub(super) signing: Signing,
    /// Stands before every path: empty, or ends in `/`.
    pub(super) prefix: String,
    pub(super) rewrite: Rewrite,
    /// What every object is given besides its content. None: the store keeps nothing of the kind.
    pub(super) attributes: Option<Attributes>,
    /// Bytes to upload at a time.
    pub(super) piece_size: usize,
    /// What is heard of the store beside its answers.
    pub(super) heard: Arc<Heard>,
}

// The library shows keys of some stores.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Bucket {
    /// Where an object of this path lies.
    pub(super) fn locate(&self, path: &str) -> Result<Path, StoreError> {
        let key = self.key(path);
        Path::parse(&key).map_err(|error| StoreError::Path {
            store: self.name.clone(),
            path: key,
            reason: error.to_string(),
        })
    }

    /// The key of a path, or of a path's beginning.
    pub(super) fn key(&self, path: &str) -> String {
        format!("{}{}", self.prefix, self.rewrite.apply(path))
    }

    /// What is known of an object besides its content.
    pub(super) async fn head(&self, location: &Path) -> object_store::Result<(ObjectMeta, Attributes)> {
        self.check(location).await?;
        let options = GetOptions { head: true, ..GetOptions::default() };
        let got = self.objects.get_opts(location, options).await?;
        Ok((got.meta, got.attributes))
    }

    pub(super) async fn get(
        &self,
        location: &Path,
        range: Option<GetRange>,
    ) -> object_store::Result<GetResult> {
        self.check(location).await?;
        self.objects.get_opts(location, GetOptions { range, ..GetOptions::default() }).await
    }

    /// Puts an object, with some attributes beside those that all objects get.
    pub(super) async fn put(
        &self,
        location: &Path,
        content: Bytes,
        attributes: &Attributes,
    ) -> object_store::Result<()> {
        self.prepare(location).await?;
        let options = PutOptions::from(self.attributes(attributes));
        self.objects.put_opts(location, PutPayload::from(content), options).await.map(drop)
    }

    pub(super) async fn put_multipart(
        &self,
        location: &Path,
        attributes: &Attributes,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.prepare(location).await?;
        let options = PutMultipartOptions::from(self.attributes(attributes));
        self.objects.put_multipart_opts(location, options).await
    }

    fn attributes(&self, more: &Attributes) -> Attributes {
        let Some(attributes) = &self.attributes else { return Attributes::new() };
        let pairs = attributes.iter().chain(more.iter());
        pairs.map(|(attribute, value)| (attribute.clone(), value.clone())).collect()
    }

    pub(super) async fn remove(&self, location: &Path) -> object_store::Result<()> {
        self.check(location).await?;
        self.objects.delete(location).await
    }

    /// The objects below a key that ends in `/`.
    pub(super) async fn list(
        &self,
        prefix: &str,
    ) -> object_store::Result<BoxStream<'static, object_store::Result<Listed>>> {
        if let Some(folder) = &self.folder {
            let (folder, base, prefix) = (Arc::clone(folder), self.prefix.clone(), prefix.to_owned());
            let key = prefix.clone();
            let files = blocking(key, move || folder.list(&base, &prefix)).await?;
            return Ok(futures::stream::iter(files.into_iter().map(Ok)).boxed());
        }
        let location = Path::parse(prefix)?;
        let listed = |meta: ObjectMeta| Listed {
            key: meta.location.to_string(),
            size: meta.size,
            modified: meta.last_modified.timestamp(),
        };
        let objects = self.objects.list((!location.is_root()).then_some(&location));
        Ok(objects.map(move |meta| meta.map(listed)).boxed())
    }

    /// A URL by which others read an object, for so long where the store's way of signing limits it.
    pub(super) async fn sign(&self, location: &Path, ttl: Duration) -> object_store::Result<String> {
        match &self.signing {
            // A percent sign is legal in names, and would be taken for an escape.
            Signing::File => Ok(format!("file:///{}", location.as_ref().replace('%', "%25"))),
            Signing::Url(signer) => signed(signer, location, ttl).await,
            Signing::EscapedUrl(signer) => {
                let escaped = location.as_ref().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
                signed(signer, &Path::parse(escaped)?, ttl).await
            }
        }
    }

    async fn check(&self, location: &Path) -> object_store::Result<()> {
        match &self.folder {
            Some(folder) => {
                let (folder, key) = (Arc::clone(folder), location.to_string());
                blocking(key.clone(), move || folder.check(&key)).await
            }
            None => Ok(()),
        }
    }

    /// Removes what killed uploads of an object left beside it. It is there all the same if that fails.
    pub(super) async fn tidy(&self, location: &Path) {
        if let Some(folder) = &self.folder {
            let (folder, key) = (Arc::clone(folder), location.to_string());
            if let Err(error) = blocking(key.clone(), move || folder.tidy(&key)).await {
                tracing::warn!(store = %self.name, key = %location, %error, "an upload's remains stay beside its object");
            }
        }
    }

    async fn prepare(&self, location: &Path) -> object_store::Result<()> {
        match &self.folder {
            Some(folder) => {
                let (folder, key) = (Arc::clone(folder), location.to_string());
                blocking(key.clone(), move || folder.prepare(&key)).await
            }
            None => Ok(()),
        }
    }
}

async fn signed(signer: &Arc<dyn Signer>, location: &Path, ttl: Duration) -> object_store::Result<String> {
    let ttl = ttl.clamp(Duration::from_secs(1), SIGNED_LONGEST);
    signer.signed_url(Method::GET, location, ttl).await.map(String::from)
}

/// Does what blocks where that is allowed.
async fn blocking<T: Send + 'static>(
    path: String,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> object_store::Result<T> {
    let done = tokio::task::spawn_blocking(work).await?;
    done.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => object_store::Error::NotFound { path, source: error.into() },
        io::ErrorKind::PermissionDenied => {
            object_store::Error::PermissionDenied { path, source: error.into() }
        }
        _ => object_store::Error::Generic { store: "file", source: error.into() },
    })
}
