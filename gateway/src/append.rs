//! PUT: a body becomes one append.

mod body;

use axum::body::Body;
use axum::response::Response;
use courant_client::{Content, Error};
use courant_proto::validate::Validate as _;
use courant_proto::wire;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use self::body::{BodyError, Received};
use crate::error::Failure;
use crate::read::NoBody;
use crate::{Gateway, headers, query};

/// Appends a request's body to a journal.
pub(crate) async fn append(
    gateway: &Gateway,
    journal: &str,
    parts: &Parts,
    body: Body,
) -> Result<Response, Failure> {
    let uri = &parts.uri;
    query::none(uri.query()).map_err(Failure::bad_request)?;
    let append = wire::AppendRequest { journal: journal.to_owned(), ..Default::default() };
    check_append(&append)?;
    check_headers(&parts.headers, gateway.config.max_body_bytes)?;

    let content = match body::receive(body, &gateway.config).await.map_err(broken_body)? {
        Received::Whole(content) => content.into(),
        Received::Larger(parts) => Content::stream(parts),
    };
    let appended = match gateway.client.append(append, content).await {
        Ok(appended) => appended,
        Err(Error::Content(cause)) => {
            return Err(match cause.downcast::<BodyError>() {
                Ok(broken) => broken_body(broken),
                Err(cause) => Failure::of(&Error::Content(cause), uri.path()),
            });
        }
        Err(error) => return Err(Failure::of(&error, uri.path())),
    };
    let length = appended.commit.end.saturating_sub(appended.commit.begin);
    gateway.config.metrics.appended(without_meta(journal).to_owned(), u64::try_from(length).unwrap_or(0));

    let mut response = Response::new(Body::new(NoBody));
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = headers::of_append(&appended, uri.path());
    Ok(response)
}

/// Refuses what no broker would take. A message without a journal is one of content, which this is not.
fn check_append(append: &wire::AppendRequest) -> Result<(), Failure> {
    if append.journal.is_empty() {
        let read = wire::ReadRequest::default();
        return read.validate().map_err(Failure::bad_request);
    }
    append.validate().map_err(Failure::bad_request)
}

/// A journal's name without what a request hangs on it.
pub(crate) fn without_meta(journal: &str) -> &str {
    journal.split_once(';').map_or(journal, |(name, _)| name)
}

fn check_headers(headers: &HeaderMap, limit: u64) -> Result<(), Failure> {
    let encodings = headers.get_all(CONTENT_ENCODING);
    if encodings.iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a Content-Encoding is not accepted: a journal holds the bytes it is given",
            "send the content as it is; the journal's spec says how it is compressed in the store",
        ));
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > limit) {
        return Err(Failure::body_too_large(limit));
    }
    Ok(())
}

fn broken_body(error: BodyError) -> Failure {
    match error {
        BodyError::TooLarge { limit } => Failure::body_too_large(limit),
        BodyError::Idle { .. } => {
            Failure::new(StatusCode::REQUEST_TIMEOUT, error.to_string(), "send it again, whole")
        }
        BodyError::Broken(_) => {
            Failure::new(StatusCode::BAD_REQUEST, error.to_string(), "send it again, whole")
        }
    }
}
