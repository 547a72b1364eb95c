//! The way to stores that are reached over HTTP: one client and one pool of connections for all of them.
//!
//! It sends what the library asks for, hears what a store says beside its answer, and repeats nothing.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use courant_proto::time::Clock;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::error::Cause;
use super::pause::{Pause, retry_after};

/// A connection is made in so much time, or it is not.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Connections that nobody uses are closed after so long; stores close theirs a little later.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Pieces of a body that wait for their reader.
const PIECES_WAITING: usize = 4;

/// Makes connections to stores. Cheap to clone; all clones share them.
#[derive(Clone)]
pub(super) struct Transport {
    client: Arc<OnceLock<reqwest::Client>>,
    runtime: Option<Handle>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// Something that a store wants of a request, after the library has made it.
#[async_trait]
pub(super) trait Finish: fmt::Debug + Send + Sync + 'static {
    /// Changes a request before it is sent.
    async fn finish(&self, request: &mut HttpRequest) -> Result<(), Cause>;
}

impl Transport {
    /// Connections live on `runtime`, or else on that of whoever needs one first.
    pub(super) fn new(runtime: Option<Handle>, clock: Arc<dyn Clock>) -> Self {
        Self { client: Arc::default(), runtime, clock }
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

    /// A connector for the library's stores. What they say of waiting is noted in `pause`.
    pub(super) fn connector(&self, pause: &Arc<Pause>, finish: Option<Arc<dyn Finish>>) -> Connector {
        Connector { transport: self.clone(), pause: Arc::clone(pause), finish }
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
    pause: Arc<Pause>,
    finish: Option<Arc<dyn Finish>>,
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
            runtime: self.transport.runtime.clone(),
            clock: Arc::clone(&self.transport.clock),
            pause: Arc::clone(&self.pause),
            finish: self.finish.clone(),
        }))
    }
}

struct Service {
    client: reqwest::Client,
    runtime: Option<Handle>,
    clock: Arc<dyn Clock>,
    pause: Arc<Pause>,
    finish: Option<Arc<dyn Finish>>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(finish) = &self.finish {
            let finished = finish.finish(&mut request).await;
            finished.map_err(|error| HttpError::new_boxed(HttpErrorKind::Unknown, error))?;
        }
        let response = match &self.runtime {
            Some(runtime) => call_on(runtime, self.client.clone(), request).await?,
            None => self.client.call(request).await?,
        };
        self.note_wait(response.status(), response.headers());
        Ok(response)
    }
}

impl Service {
    fn note_wait(&self, status: StatusCode, headers: &HeaderMap) {
        if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return;
        }
        let header = headers.get(RETRY_AFTER).and_then(|header| header.to_str().ok());
        if let Some(wait) = header.and_then(|header| retry_after(header, self.clock.now().secs())) {
            self.pause.note(wait);
        }
    }
}

/// Sends a request from another runtime: connections outlive whoever first needed one, and go on while a
/// thread of ours is busy.
async fn call_on(
    runtime: &Handle,
    client: reqwest::Client,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (answer, answered) = oneshot::channel();
    let (pieces, waiting) = mpsc::channel(PIECES_WAITING);
    let task = runtime.spawn(async move {
        let (parts, mut body) = match client.call(request).await {
            Ok(response) => response.into_parts(),
            Err(error) => {
                let _ = answer.send(Err(error));
                return;
            }
        };
        if answer.send(Ok(parts)).is_err() {
            return;
        }
        while let Some(piece) = body.frame().await {
            if pieces.send(piece).await.is_err() {
                return;
            }
        }
    });
    let task = AbortOnDrop(task.abort_handle());
    let parts = answered.await.map_err(|gone| HttpError::new(HttpErrorKind::Interrupted, gone))??;
    Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(Pieces { waiting, _task: task })))
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A body that another runtime reads for us.
struct Pieces {
    waiting: mpsc::Receiver<Result<Frame<Bytes>, HttpError>>,
    _task: AbortOnDrop,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        self.waiting.poll_recv(context)
    }
}
