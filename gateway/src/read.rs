//! GET and HEAD: a journal as a body that may never end.

mod body;

use axum::body::Body;
use axum::response::Response;
use courant_client::ReadEvent;
use courant_proto::validate::Validate as _;
use courant_proto::wire;
use futures::StreamExt as _;
use http::header::{TE, TRAILER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

pub(crate) use self::body::NoBody;
use self::body::ReadBody;
use crate::append::without_meta;
use crate::error::Failure;
use crate::{Gateway, headers, query};

/// Reads a journal. The answer begins as soon as the broker says where the read is.
pub(crate) async fn read(gateway: &Gateway, journal: &str, parts: &Parts) -> Result<Response, Failure> {
    let uri = &parts.uri;
    let params = query::read(uri.query()).map_err(Failure::bad_request)?;
    let metadata_only = parts.method == Method::HEAD;
    let read = wire::ReadRequest {
        journal: journal.to_owned(),
        offset: params.offset,
        block: params.block,
        metadata_only,
        ..Default::default()
    };
    read.validate().map_err(Failure::bad_request)?;
    let mut stream = gateway.client.read(read);
    let metadata = match stream.next().await {
        Some(Ok(ReadEvent::Metadata(metadata))) => metadata,
        Some(Err(error)) => return Err(Failure::of(&error, uri.path())),
        Some(Ok(ReadEvent::Content { .. })) | None => {
            let ended = tonic::Status::unavailable("the broker ended the read before it began");
            return Err(Failure::of(&ended.into(), uri.path()));
        }
    };
    let mut answer = headers::of_read(&metadata, uri.path());
    let body = if metadata_only {
        Body::new(NoBody)
    } else {
        answer.insert(TRAILER, HeaderValue::from_static("X-Close-Error"));
        let counter = gateway.config.metrics.reading(without_meta(journal).to_owned());
        let takes_trailers = takes_trailers(parts.version, &parts.headers);
        Body::new(ReadBody::new(stream, counter, takes_trailers))
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    *response.headers_mut() = answer;
    Ok(response)
}

/// Whether trailers reach the client. Over HTTP/1 they are sent to those who ask for them.
fn takes_trailers(version: Version, headers: &HeaderMap) -> bool {
    version >= Version::HTTP_2
        || headers.get_all(TE).iter().any(|te| {
            te.to_str().is_ok_and(|te| te.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers")))
        })
}
