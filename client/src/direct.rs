//! Stored fragments fetched from their stores, past the brokers: by signed URL, or from a folder that this machine shares.
//!
//! ```text
//!  Read, do_not_proxy ─► metadata and URL, end ─► place (pure): where is that? ─► fetch: get, decode, check ─► content
//! ```
//!
//! It knows no journal and no broker: what cannot be fetched here is for its caller to ask a broker for.

mod fetch;
mod place;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

pub(crate) use self::fetch::{Fault, Fetch, Wanted};
use self::place::Place;

/// A store that could not be reached is not tried again for so long.
const SHUNNED_FOR: Duration = Duration::from_secs(60);

/// Connecting to a store may take so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A store may be silent for so long.
const SILENCE: Duration = Duration::from_secs(30);

/// Connections to one store that are kept while nobody uses them.
const IDLE_CONNECTIONS: usize = 16;

/// A way to stores past brokers, for readers. Clones share connections, and what is known of stores that cannot be reached.
///
/// ```no_run
/// # use courant_proto::wire;
/// # fn example(client: courant_client::Client) {
/// let direct = courant_client::Direct::new().with_file_root("/mnt/fragments");
/// let request = wire::ReadRequest { journal: "examples/foobar".to_owned(), ..Default::default() };
/// let reader = client.reader(request).direct(&direct);
/// # }
/// ```
#[derive(Clone)]
pub struct Direct(Arc<Shared>);

struct Shared {
    file_root: Option<PathBuf>,
    /// None if there can be none.
    http: Option<reqwest::Client>,
    /// Stores that could not be reached, and since when.
    shunned: Mutex<HashMap<String, Instant>>,
}

impl Default for Direct {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").field("file_root", &self.0.file_root).finish_non_exhaustive()
    }
}

impl Direct {
    /// Fetches what has an `http://` or `https://` URL.
    #[must_use]
    pub fn new() -> Self {
        Self::with(None)
    }

    /// The same, and what has a `file://` URL from below this folder: the `--file-root` of the brokers, as it is seen here.
    #[must_use]
    pub fn with_file_root(self, root: impl Into<PathBuf>) -> Self {
        Self::with(Some(root.into()))
    }

    fn with(file_root: Option<PathBuf>) -> Self {
        // Machines that lack certificates have those that browsers trust; without any a client cannot be made.
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .filter_map(|root| reqwest::Certificate::from_der(root).ok());
        let http = reqwest::Client::builder()
            .user_agent(concat!("courant/", env!("CARGO_PKG_VERSION")))
            .tls_certs_merge(roots)
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .redirect(reqwest::redirect::Policy::none())
            // What the store sends is decoded, and checked, by us.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .build();
        let http =
            http.inspect_err(|error| tracing::warn!(%error, "URLs of fragments cannot be fetched")).ok();
        Self(Arc::new(Shared { file_root, http, shunned: Mutex::default() }))
    }

    /// Where a URL leads, if this is a way there, and nothing is known against it.
    pub(crate) fn place(&self, url: &str) -> Option<Place> {
        let place = match Place::of(url, self.0.file_root.as_deref()) {
            Ok(place) => place,
            Err(reason) => {
                self.shun("", &reason);
                return None;
            }
        };
        let shunned = self.0.shunned.lock();
        let is_shunned = shunned.get(place.store()).is_some_and(|since| since.elapsed() < SHUNNED_FOR);
        (!is_shunned).then_some(place)
    }

    /// A store could not be reached: brokers are asked for what it holds, for a while. That is told, each time anew.
    pub(crate) fn shun(&self, store: &str, reason: &dyn fmt::Display) {
        let now = Instant::now();
        let before = self.0.shunned.lock().insert(store.to_owned(), now);
        if before.is_none_or(|since| now.duration_since(since) >= SHUNNED_FOR) {
            tracing::warn!(
                store,
                %reason,
                "fragments cannot be fetched from their store, and are read through brokers"
            );
        }
    }
}
