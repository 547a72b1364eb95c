//! What can be wrong with a store, and with what it holds.

use std::error::Error as StdError;
use std::time::Duration;

use courant_proto::store::StoreUrl;

use super::answer::Answer;
use super::counters::Operation;

/// A cause, as a store's library or a reader of content gives it.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// A fault of a store. Each names the store or the object.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An argument of the URL that its scheme does not know.
    #[error("parsing store URL arguments: schema: invalid path {argument:?}")]
    UnknownArgument {
        /// Its name.
        argument: String,
    },
    /// The folder of a `file://` store cannot be used.
    #[error("invalid file store directory {folder}: {source}")]
    Folder {
        /// The folder.
        folder: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store cannot be set up.
    #[error("fragment store {store} cannot be used: {reason}")]
    Unusable {
        /// The store.
        store: StoreUrl,
        /// What is missing or wrong.
        reason: String,
    },
    /// The environment, or an argument of the URL, lacks something or says what cannot be.
    #[error("{text}")]
    Setup {
        /// What is missing or wrong, as operators know it from elsewhere.
        text: String,
    },
    /// An object's path which no store should be asked for.
    #[error("{path:?} is no path of an object in {store}: {reason}")]
    Path {
        /// The store.
        store: StoreUrl,
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such object.
    #[error("{object} is not in its store")]
    NotFound {
        /// Store and path.
        object: String,
        /// What the store said.
        source: Answer,
    },
    /// The bucket, or the container, is not there. That says nothing of what was in it.
    #[error("the bucket of {store} is not there: {source}")]
    NoBucket {
        /// The store.
        store: StoreUrl,
        /// What the store said.
        source: Answer,
    },
    /// The store refused or failed.
    #[error("{operation} of {object}: {source}")]
    Failed {
        /// What was tried.
        operation: Operation,
        /// Store and path.
        object: String,
        /// What the store said.
        source: Answer,
    },
    /// The store did not answer in time.
    #[error("{operation} of {object} took longer than {limit:?}")]
    TimedOut {
        /// What was tried.
        operation: Operation,
        /// Store and path.
        object: String,
        /// How long it may take.
        limit: Duration,
    },
    /// The object is there, and does not hold what its name says. Read the journal elsewhere, or remove the
    /// object.
    #[error("data loss: {object} does not hold the content that its name promises: {reason}")]
    DataLoss {
        /// Store and path.
        object: String,
        /// How that was found.
        reason: Cause,
    },
    /// What should have been stored is not what it should be. Nothing was stored.
    #[error("content of {object} cannot be stored: {reason}")]
    Content {
        /// Store and path.
        object: String,
        /// What is wrong with it.
        reason: Cause,
    },
    /// A task of ours was cancelled, because the process ends.
    #[error("{operation} of {object} was cancelled")]
    Cancelled {
        /// What was being done.
        operation: Operation,
        /// Store and path.
        object: String,
    },
}

impl StoreError {
    /// Whether another attempt may do better with nothing changed by an operator.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Failed { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// Whether the store is there and we may not use it, or its bucket or base folder is not there. A broker
    /// that exits may then try the journal's next store.
    #[must_use]
    pub fn is_authorization(&self) -> bool {
        match self {
            Self::Folder { source, .. } => {
                matches!(source.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::NotFound)
            }
            Self::NoBucket { .. } => true,
            Self::Failed { source, .. } => source.is_denied(),
            _ => false,
        }
    }
}
