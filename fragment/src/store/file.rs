//! `file://` stores: a folder below the one that the operator gave.
//!
//! Objects are written by the library's local store, through a file beside the target that is synced,
//! renamed, and made durable by a sync of its folder. What that library does not do is done by [`folder`]: it
//! makes folders ourselves, for our eyes, and never follows a link out of the root.

mod folder;

use std::path::Path;
use std::sync::Arc;

use courant_proto::store::StoreUrl;
use courant_proto::time::Clock;
use object_store::local::LocalFileSystem;

use super::arguments::Rewrite;
use super::bucket::{Bucket, Signing};
use super::error::StoreError;
pub(super) use folder::Folder;

/// Bytes handed to the file system at a time.
const PIECE_SIZE: usize = 1 << 20;

/// Opens `<root><path of the URL>`, which is made if it is missing; the root itself must exist.
pub(super) fn open(url: &StoreUrl, root: Option<&Path>, clock: Arc<dyn Clock>) -> Result<Bucket, StoreError> {
    let rewrite = Rewrite::of(url, |_, _| false)?;
    let Some(root) = root else {
        return Err(StoreError::Unusable {
            store: url.clone(),
            reason: "file:// stores need a folder to lie under, and none was given (--file-root)".to_owned(),
        });
    };
    let invalid =
        |source| StoreError::Folder { folder: root.join(url.prefix()).display().to_string(), source };
    let folder = Folder::open(root, clock).map_err(invalid)?;
    folder.create(url.prefix()).map_err(invalid)?;
    let objects = LocalFileSystem::new_with_prefix(folder.root())
        .map_err(|error| invalid(std::io::Error::other(error)))?
        .with_fsync(true);
    Ok(Bucket {
        name: url.clone(),
        objects: Arc::new(objects),
        folder: Some(Arc::new(folder)),
        signing: Signing::File,
        prefix: url.prefix().to_owned(),
        rewrite,
        // Files hold content and nothing else.
        attributes: None,
        piece_size: PIECE_SIZE,
        heard: Arc::default(),
    })
}
