//! S3's API over a folder.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::error_handling::HandleError;
use http::StatusCode;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;

use super::serving::Serving;
use super::{Access, variables};

const BUCKET: &str = "courant-test";
const KEY: &str = "courant-key-id";
const SECRET: &str = "courant-secret-which-nobody-may-see";

/// A server of S3's API in this process, with one bucket. It checks signatures, and keeps objects as files.
#[derive(Debug)]
pub struct S3 {
    folder: TempDir,
    serving: Serving,
}

impl S3 {
    /// Starts it on an empty bucket.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        make(&folder.path().join(BUCKET));
        let files = FileSystem::new(folder.path()).expect("a folder");
        let serving = Serving::start("s3", move |_| {
            let mut service = S3ServiceBuilder::new(files);
            service.set_auth(SimpleAuth::from_single(KEY, SECRET));
            let fault = |error| async move { (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")) };
            Router::new().fallback_service(HandleError::new(service.build(), fault))
        });
        Self { folder, serving }
    }

    /// How it is reached.
    pub fn access(&self) -> Access {
        let endpoint = self.serving.endpoint();
        Access {
            store: format!("s3://{BUCKET}/?endpoint={endpoint}"),
            endpoint,
            environment: variables([
                ("AWS_ACCESS_KEY_ID", KEY),
                ("AWS_SECRET_ACCESS_KEY", SECRET),
                ("AWS_REGION", "us-east-1"),
            ]),
        }
    }

    /// The folder in which the bucket's objects lie as files, to look at and to damage.
    pub fn objects(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }
}

#[expect(clippy::disallowed_methods, reason = "the seam at which tests make a store's folder")]
fn make(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
}
