//! Servers of the stores that fragments may lie in, for tests and benches: started on a free port of loopback with
//! an empty bucket, and gone when they are dropped, however the test ends.
//!
//! | server | what it is |
//! |---|---|
//! | [`S3`] | S3's API over a folder, in this process; checks signatures |
//! | [`Moto`] | S3's API in a process of its own; knows more of it, and checks no signature |
//! | [`Gcs`] | a double of the XML form of Google's API, in this process: there is no server of it to be had |
//! | [`Azure`] | Azurite, Microsoft's own, in a process of its own; checks signatures |
//! | [`Proxy`] | stands between a store and whoever uses it, and does it harm |
//!
//! Brokers and stores are told of a server as users tell them: by a store's URL, and by variables.

mod azure;
mod child;
mod gcs;
mod moto;
mod proxy;
mod s3;
mod serving;

pub use azure::Azure;
pub use gcs::Gcs;
pub use moto::Moto;
pub use proxy::{Fault, Proxy, Rule};
pub use s3::S3;

/// How a server is reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// The URL of a store in its bucket, without a prefix: ends in `/`, or in arguments.
    pub store: String,
    /// What has to be in the environment of whoever uses the store.
    pub environment: Vec<(String, String)>,
}

impl Access {
    /// The URL of a store below a prefix, which ends in `/`.
    pub fn below(&self, prefix: &str) -> String {
        match self.store.split_once('?') {
            Some((url, arguments)) => format!("{url}{prefix}?{arguments}"),
            None => format!("{}{prefix}", self.store),
        }
    }

    /// The same, with arguments such as `find=a&replace=b` added.
    pub fn with(&self, prefix: &str, arguments: &str) -> String {
        let url = self.below(prefix);
        let joint = if url.contains('?') { '&' } else { '?' };
        format!("{url}{joint}{arguments}")
    }

    /// The same server as it is reached at another address, such as that of a [`Proxy`].
    pub fn at(&self, endpoint: &str) -> Self {
        let moved = |text: &str| text.replace(&self.endpoint, endpoint);
        Self {
            endpoint: endpoint.to_owned(),
            store: moved(&self.store),
            environment: self.environment.iter().map(|(name, value)| (name.clone(), moved(value))).collect(),
        }
    }
}

/// Whether tests do without servers that have to be installed: `COURANT_SKIP_STORES=1`.
pub fn are_skipped() -> bool {
    std::env::var_os("COURANT_SKIP_STORES").is_some_and(|skip| skip == "1")
}

fn variables<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}
