//! The streaming verbs as JSON: a request in the body, one object per line in the answer, each as it comes.

use std::convert::Infallible;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use courant_proto::json::{Message, Naming};
use courant_proto::validate::Validate;
use courant_proto::{json, wire};
use futures::future;
use futures::stream::{BoxStream, StreamExt as _};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tonic::Status;

use crate::error::{self, Failure};
use crate::{Gateway, query};

/// A request says what to list or read, which takes little.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Lists journals, and with `watch` goes on.
pub(crate) async fn list(gateway: &Gateway, parts: &Parts, body: Body) -> Result<Response, Failure> {
    let request: wire::ListRequest = receive(gateway, parts, body).await?;
    rows(gateway.client.list_responses(request)).await
}

/// Reads a journal, content included as base64.
pub(crate) async fn read(gateway: &Gateway, parts: &Parts, body: Body) -> Result<Response, Failure> {
    let request: wire::ReadRequest = receive(gateway, parts, body).await?;
    rows(gateway.client.read_responses(request)).await
}

/// Reads a request from a body. No body is a request of nothing but zeros.
async fn receive<M: Message + Validate>(gateway: &Gateway, parts: &Parts, body: Body) -> Result<M, Failure> {
    query::none(parts.uri.query()).map_err(Failure::bad_request)?;
    let idle = gateway.config.body_idle_timeout;
    let body = Limited::new(body, MAX_REQUEST_BYTES).collect();
    let body = match tokio::time::timeout(idle, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let reason = format!("the request is over the limit of {MAX_REQUEST_BYTES} bytes");
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, reason, ""));
        }
        Ok(Err(error)) => return Err(Failure::bad_request(format_args!("the body broke off: {error}"))),
        Err(_) => {
            let reason = format!("the body was not complete after {idle:?}");
            return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, reason, "send it again, whole"));
        }
    };
    let request: M = json::from_slice(&body).map_err(Failure::bad_request)?;
    request.validate().map_err(Failure::bad_request)?;
    Ok(request)
}

/// The answers as lines. The first is waited for, since a call that fails at once has a status of its own.
async fn rows<M: Message + Send + 'static>(
    mut answers: BoxStream<'static, Result<M, Status>>,
) -> Result<Response, Failure> {
    let first = match answers.next().await {
        Some(Err(status)) => return Err(Failure::of(&status.into(), "")),
        first => first,
    };
    let mut failed = false;
    let lines = futures::stream::iter(first)
        .chain(answers)
        .take_while(move |answer| {
            let over = failed;
            failed = answer.is_err();
            future::ready(!over)
        })
        .map(|answer| Ok::<_, Infallible>(line(&answer)));
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn line<M: Message>(answer: &Result<M, Status>) -> Bytes {
    let mut row = match answer {
        Ok(result) => format!(r#"{{"result":{}}}"#, json::to_string(result, Naming::LowerCamel)),
        Err(status) => {
            let code = error::meaning_of_code(status.code()).0;
            serde_json::json!({ "error": {
                "grpc_code": i32::from(status.code()),
                "http_code": code.as_u16(),
                "message": status.message(),
                "http_status": code.canonical_reason().unwrap_or_default(),
            } })
            .to_string()
        }
    };
    row.push('\n');
    row.into()
}
