//! Requests that are sent from another runtime, and bodies that come from there: connections outlive whoever first
//! needed one, and go on while a thread of ours is busy.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use object_store::client::{
    HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Pieces of a body that wait for their reader.
const PIECES_WAITING: usize = 4;
/// A body that is waited for brings so many bytes a second, or is given up.
const LEAST_RATE: u64 = 1024;

/// Why a body was given up.
#[derive(Debug, thiserror::Error)]
enum Stalled {
    #[error("the body brought nothing in {0:?}")]
    Silent(Duration),
    #[error("the body brought {brought} bytes in {waited:?}")]
    Slow { brought: u64, waited: Duration },
    #[error("the body is longer than {0} bytes")]
    Long(usize),
}

impl From<Stalled> for HttpError {
    fn from(stalled: Stalled) -> Self {
        Self::new(HttpErrorKind::Timeout, stalled)
    }
}

/// Sends a request from `runtime`. Its body has to go on coming: something within each `silence`, and not too little.
pub(in crate::store) async fn call_on(
    runtime: &Handle,
    client: reqwest::Client,
    request: HttpRequest,
    silence: Duration,
) -> Result<HttpResponse, HttpError> {
    let (answer, answered) = oneshot::channel();
    let (pieces, waiting) = mpsc::channel(PIECES_WAITING);
    let task = runtime.spawn(async move {
        let (parts, body) = match client.call(request).await {
            Ok(response) => response.into_parts(),
            Err(error) => {
                let _ = answer.send(Err(error));
                return;
            }
        };
        if answer.send(Ok(parts)).is_ok() {
            pump(body, &pieces, silence).await;
        }
    });
    let task = AbortOnDrop(task.abort_handle());
    let parts = answered.await.map_err(|gone| HttpError::new(HttpErrorKind::Interrupted, gone))??;
    Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(Pieces { waiting, _task: task })))
}

/// Hands a body on as it comes. Only what it takes to come counts, not what it takes to be read.
async fn pump(
    mut body: HttpResponseBody,
    pieces: &mpsc::Sender<Result<Frame<Bytes>, HttpError>>,
    silence: Duration,
) {
    let (mut brought, mut waited) = (0, Duration::ZERO);
    loop {
        let began = Instant::now();
        let piece = match tokio::time::timeout(silence, body.frame()).await {
            Ok(Some(piece)) => piece,
            Ok(None) => return,
            Err(_) => Err(Stalled::Silent(silence).into()),
        };
        waited += began.elapsed();
        brought += piece.as_ref().ok().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        let piece = if waited >= silence && piece.is_ok() {
            let is_slow = (brought as f64) < waited.as_secs_f64() * LEAST_RATE as f64;
            let piece = if is_slow { Err(Stalled::Slow { brought, waited }.into()) } else { piece };
            (brought, waited) = (0, Duration::ZERO);
            piece
        } else {
            piece
        };
        let is_last = piece.is_err();
        if pieces.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

/// A whole body, if it is no longer than `most`.
pub(in crate::store) async fn collect(mut body: HttpResponseBody, most: usize) -> Result<Bytes, HttpError> {
    let mut collected = BytesMut::new();
    while let Some(piece) = body.frame().await {
        if let Ok(data) = piece?.into_data() {
            if collected.len() + data.len() > most {
                return Err(Stalled::Long(most).into());
            }
            collected.extend_from_slice(&data);
        }
    }
    Ok(collected.freeze())
}

/// What a request's body is made of.
pub(in crate::store) async fn pieces(body: &HttpRequestBody) -> Result<Vec<Bytes>, HttpError> {
    let (mut body, mut pieces) = (body.clone(), Vec::new());
    while let Some(piece) = body.frame().await {
        pieces.extend(piece?.into_data());
    }
    Ok(pieces)
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
