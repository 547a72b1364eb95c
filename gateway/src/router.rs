//! From a request to what answers it. The table of paths is [`crate::target`]'s.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use courant_client::{Client, Options};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};

use crate::config::{Config, Readiness};
use crate::error::Failure;
use crate::target::{self, Target};
use crate::{append, listing, read, rows};

/// The longest path and query that is looked at.
const MAX_URI_BYTES: usize = 16 << 10;
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Journals over HTTP. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateway {
    pub(crate) client: Client,
    pub(crate) config: Arc<Config>,
}

impl Gateway {
    /// A gateway to the broker of a client. How long appends are tried again is the configuration's to say.
    pub fn new(client: Client, config: Config) -> Self {
        let options = Options { retry_for: config.retry_for, ..client.options() };
        let client = client.with_options(options);
        Self { client, config: Arc::new(config) }
    }

    /// The routes, as the fallback of a router: any path may name a journal.
    ///
    /// A router has one fallback, so what is merged with this one must have none; that of tonic's routes is
    /// taken away by `Router::reset_fallback`, and unknown gRPC methods are answered here as it would.
    pub fn router(&self) -> Router {
        Router::new().fallback(handle).with_state(Arc::new(self.clone()))
    }
}

async fn handle(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let method = request.method().clone();
    let response = answer(&gateway, request).await;
    gateway.config.metrics.answered(&method, response.status());
    response
}

async fn answer(gateway: &Gateway, request: Request) -> Response {
    if is_grpc(&request) {
        return unknown_rpc();
    }
    let (parts, body) = request.into_parts();
    let uri = &parts.uri;
    if uri.path_and_query().map_or(0, |uri| uri.as_str().len()) > MAX_URI_BYTES {
        let reason = format!("the path and query are longer than {MAX_URI_BYTES} bytes");
        return Failure::new(StatusCode::URI_TOO_LONG, reason, "").into_response(false);
    }
    let target = match target::parse(uri.path()) {
        Ok(target) => target,
        Err(bad) => return Failure::bad_request(bad).into_response(uri.path().starts_with("/v1/")),
    };
    let versioned = target.is_versioned();
    let answer = dispatch(gateway, target, &parts, body).await;
    // The body of an answer to HEAD is taken away by axum, once its length was told.
    answer.unwrap_or_else(|failure| {
        if failure.code.is_server_error() && failure.code != StatusCode::SERVICE_UNAVAILABLE {
            tracing::warn!(method = %parts.method, path = uri.path(), code = failure.code.as_u16(), reason = %failure.reason, "request failed");
        }
        failure.into_response(versioned)
    })
}

async fn dispatch(
    gateway: &Gateway,
    target: Target<'_>,
    parts: &Parts,
    body: Body,
) -> Result<Response, Failure> {
    let (method, uri) = (&parts.method, &parts.uri);
    match target {
        Target::Journal { name, versioned } => match *method {
            Method::GET | Method::HEAD => read::read(gateway, &name, parts).await,
            Method::PUT => append::append(gateway, &name, parts, body).await,
            Method::POST if versioned && name == "list" => rows::list(gateway, parts, body).await,
            Method::POST if versioned && name == "read" => rows::read(gateway, parts, body).await,
            _ => Err(Failure::method_not_allowed(method, "GET, HEAD, PUT")),
        },
        Target::Journals if is_get(method) => listing::journals(gateway, uri.query()).await,
        Target::Spec { name } if is_get(method) => listing::spec(gateway, &name, uri.query()).await,
        Target::Fragments { name } if is_get(method) => listing::fragments(gateway, &name, uri).await,
        Target::Live if is_get(method) => Ok(text("text/plain; charset=utf-8", "ok\n".to_owned())),
        Target::Ready if is_get(method) => match (gateway.config.ready)() {
            Readiness::Ready => Ok(text("text/plain; charset=utf-8", "ready\n".to_owned())),
            Readiness::NotReady(reason) => {
                Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}"), ""))
            }
        },
        Target::Metrics if is_get(method) => Ok(text(OPENMETRICS, (gateway.config.metrics_text)())),
        Target::Reserved { name } => Err(Failure::new(
            StatusCode::NOT_FOUND,
            format!("nothing is at /{name}, whose first segment is reserved"),
            format!("a journal of this name is reached as /v1/journals/{name}"),
        )),
        Target::Unknown => {
            Err(Failure::new(StatusCode::NOT_FOUND, "nothing is at this path", "see /v1/journals"))
        }
        Target::UnknownVerb { verb } => Err(Failure::new(
            StatusCode::NOT_FOUND,
            format!("a journal has no {verb:?}"),
            "it has :spec and :fragments",
        )),
        Target::Journals
        | Target::Spec { .. }
        | Target::Fragments { .. }
        | Target::Live
        | Target::Ready
        | Target::Metrics => Err(Failure::method_not_allowed(method, "GET, HEAD")),
    }
}

fn is_get(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

pub(crate) fn text(content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn is_grpc(request: &Request) -> bool {
    request.method() == Method::POST
        && request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// What a gRPC client is told of a method that nobody serves.
fn unknown_rpc() -> Response {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert("grpc-status", HeaderValue::from(i32::from(tonic::Code::Unimplemented)));
    response
}
