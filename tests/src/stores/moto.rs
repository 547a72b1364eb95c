//! Moto's S3: another program that speaks the same protocol, with what the other one has not.

use super::child::Child;
use super::{Access, are_skipped, variables};

const BUCKET: &str = "courant-test";

/// A server of S3's API in a process of its own, with one bucket. It believes everybody.
#[derive(Debug)]
pub struct Moto(Child);

impl Moto {
    /// Starts it on an empty bucket. None if `COURANT_SKIP_STORES=1` says that there need not be one.
    pub async fn start() -> Option<Self> {
        if are_skipped() {
            return None;
        }
        let child = Child::start("venv/bin/moto_server", &["-H", "127.0.0.1", "-p", "PORT"]);
        let made = reqwest::Client::new().put(format!("{}/{BUCKET}", child.endpoint())).send().await;
        assert!(made.expect("it answers").status().is_success(), "the bucket is made");
        Some(Self(child))
    }

    /// How it is reached.
    pub fn access(&self) -> Access {
        let endpoint = self.0.endpoint();
        Access {
            store: format!("s3://{BUCKET}/?endpoint={endpoint}"),
            endpoint,
            environment: variables([
                ("AWS_ACCESS_KEY_ID", "anybody"),
                ("AWS_SECRET_ACCESS_KEY", "anything"),
                ("AWS_REGION", "us-east-1"),
            ]),
        }
    }
}
