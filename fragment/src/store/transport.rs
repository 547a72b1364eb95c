//! The way to stores that are reached over HTTP: one client and one pool of connections for all of them.
//!
//! It sends what the library asks for, hears what a store says beside its answer, gives up a body that does not
//! come, and repeats nothing.

pub(super) mod body;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use courant_proto::time::Clock;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use tokio::runtime::Handle;

use super::error::Cause;
use super::page::Form;
use super::pause::{Pause, retry_after};

/// A connection is made in so much time, or it is not.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Connections that nobody uses are closed after so long; stores close theirs a little later.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// A page of a listing is no longer, in bytes. The longest names in the largest pages are a tenth of it.
const PAGE_MAX: usize = 64 << 20;

/// Makes connections to stores. Cheap to clone; all clones share them.
#[derive(Clone)]
pub(super) struct Transport {
    client: Arc<OnceLock<reqwest::Client>>,
    runtime: Option<Handle>,
    clock: Arc<dyn Clock>,
    silence: Duration,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// What is particular to a kind of store.
#[async_trait]
pub(super) trait Manner: fmt::Debug + Send + Sync + 'static {
    /// How it writes pages of listings.
    fn pages(&self) -> Form;

    /// Changes a request that the library made, before it is sent.
    async fn finish(&self, request: &mut HttpRequest) -> Result<(), Cause>;
}

/// What is heard of a store beside its answers.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// For how long it wants to be left alone.
    pub(super) pause: Pause,
    /// Entries of listings whose keys are no paths.
    strays: AtomicU64,
}

impl Heard {
    /// How many entries were left out of listings since this was last asked.
    pub(super) fn take_strays(&self) -> u64 {
        self.strays.swap(0, Ordering::Relaxed)
    }
}

impl Transport {
    /// Connections live on `runtime`, or else on that of whoever needs one first. A body has to bring something
    /// within `silence`.
    pub(super) fn new(runtime: Option<Handle>, clock: Arc<dyn Clock>, silence: Duration) -> Self {
        Self { client: Arc::default(), runtime, clock, silence }
    }

    /// The client, which is made when it is first needed.
    fn client(&self) -> Result<reqwest::Client, reqwest::Error> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        // A machine without certificates of its own still has the public ones, and one with its own keeps them.
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .map(|root| reqwest::Certificate::from_der(root))
            .collect::<Result<Vec<_>, _>>()?;
        let client = reqwest::Client::builder()
            .user_agent(concat!("courant/", env!("CARGO_PKG_VERSION")))
            .tls_certs_merge(roots)
            .http1_only()
            .connect_timeout(CONNECT_LIMIT)
            .pool_idle_timeout(IDLE_LIMIT)
            // A body must be the object's bytes, and its length the object's size.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .build()?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    /// A connector for the library's stores. What is heard of them is noted in `heard`.
    pub(super) fn connector(&self, heard: &Arc<Heard>, manner: &Arc<dyn Manner>) -> Connector {
        Connector { transport: self.clone(), heard: Arc::clone(heard), manner: Arc::clone(manner) }
    }

    /// Fetches what a URL names, as its readers will: status and content.
    pub(super) async fn fetch(&self, url: &str) -> Result<(StatusCode, Bytes), Cause> {
        // The URL is a key to the object, and must not get into logs.
        let response = self.client()?.get(url).send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status();
        Ok((status, response.bytes().await.map_err(reqwest::Error::without_url)?))
    }
}

/// The library's way to this transport.
#[derive(Debug)]
pub(super) struct Connector {
    transport: Transport,
    heard: Arc<Heard>,
    manner: Arc<dyn Manner>,
}

impl HttpConnector for Connector {
    // Times and certificates are ours, and whether a URL may be one of `http://` the adapter has decided.
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = self
            .transport
            .client()
            .map_err(|error| object_store::Error::Generic { store: "HTTP client", source: error.into() })?;
        Ok(HttpClient::new(Service {
            client,
            transport: self.transport.clone(),
            heard: Arc::clone(&self.heard),
            manner: Arc::clone(&self.manner),
        }))
    }
}

#[derive(Debug)]
struct Service {
    client: reqwest::Client,
    transport: Transport,
    heard: Arc<Heard>,
    manner: Arc<dyn Manner>,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let finished = self.manner.finish(&mut request).await;
        finished.map_err(|error| HttpError::new_boxed(HttpErrorKind::Unknown, error))?;
        let query = request.uri().query().unwrap_or_default().to_owned();
        let is_page = request.method() == Method::GET && self.manner.pages().is_asked_for(&query);
        let runtime = self.transport.runtime.clone().unwrap_or_else(Handle::current);
        let response = body::call_on(&runtime, self.client.clone(), request, self.transport.silence).await?;
        self.note_wait(response.status(), response.headers());
        if is_page && response.status() == StatusCode::OK {
            return self.look_through(response, &query).await;
        }
        Ok(response)
    }
}

impl Service {
    fn note_wait(&self, status: StatusCode, headers: &HeaderMap) {
        if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return;
        }
        let header = headers.get(RETRY_AFTER).and_then(|header| header.to_str().ok());
        let now = self.transport.clock.now().secs();
        if let Some(wait) = header.and_then(|header| retry_after(header, now)) {
            self.heard.pause.note(wait);
        }
    }

    /// A page of a listing as the library can read it.
    async fn look_through(&self, response: HttpResponse, query: &str) -> Result<HttpResponse, HttpError> {
        let unread =
            |reason: &str| HttpError::new_boxed(HttpErrorKind::Decode, Cause::from(reason.to_owned()));
        let (mut parts, body) = response.into_parts();
        let page = body::collect(body, PAGE_MAX).await?;
        let page = std::str::from_utf8(&page).map_err(|_| unread("a page of the listing is no text"))?;
        let (page, strays) = self.manner.pages().readable(page, query).map_err(unread)?;
        self.heard.strays.fetch_add(strays, Ordering::Relaxed);
        parts.headers.insert(CONTENT_LENGTH, page.len().into());
        Ok(HttpResponse::from_parts(parts, page.into()))
    }
}
