//! What the double answers with: objects as they are asked for, pages of listings, and refusals.

use std::io::Read as _;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, RANGE};
use http::{HeaderMap, StatusCode};

use super::bucket::{Object, Page};

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    BadRequest,
    BadDigest,
    EntityTooSmall,
    Unauthorized,
    WrongSignature,
    Expired,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    Precondition,
    Range,
}

/// A refusal as an answer.
pub(super) fn fault(refusal: Refusal) -> Response {
    let (status, code, message) = match refusal {
        Refusal::BadRequest => (400, "InvalidArgument", "Invalid argument."),
        Refusal::BadDigest => (400, "BadDigest", "The provided hash does not match the content."),
        Refusal::EntityTooSmall => {
            (400, "EntityTooSmall", "Your proposed upload is smaller than the minimum.")
        }
        Refusal::Unauthorized => (401, "AuthenticationRequired", "Authentication required."),
        Refusal::WrongSignature => (403, "SignatureDoesNotMatch", "Access denied."),
        Refusal::Expired => (400, "ExpiredToken", "The provided token has expired."),
        Refusal::NoSuchBucket => (404, "NoSuchBucket", "The specified bucket does not exist."),
        Refusal::NoSuchKey => (404, "NoSuchKey", "The specified key does not exist."),
        Refusal::NoSuchUpload => (404, "NoSuchUpload", "The requested upload was not found."),
        Refusal::Precondition => {
            (412, "PreconditionFailed", "At least one of the pre-conditions did not hold.")
        }
        Refusal::Range => (416, "InvalidRange", "The requested range cannot be satisfied."),
    };
    let body = format!(
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    answer(status, &[("content-type", "application/xml")], body.into())
}

/// An answer in XML.
pub(super) fn xml(body: &str) -> Response {
    let body = format!("<?xml version='1.0' encoding='UTF-8'?>{body}");
    answer(200, &[("content-type", "application/xml")], body.into())
}

/// An answer without a body.
pub(super) fn plain(status: u16, headers: &[(&str, &str)]) -> Response {
    answer(status, headers, Body::empty())
}

/// The same answer, without its body.
pub(super) fn without_body(response: Response) -> Response {
    Response::from_parts(response.into_parts().0, Body::empty())
}

/// A page of a listing.
pub(super) fn listed(bucket: &str, page: &Page) -> Response {
    let mut body =
        format!("<ListBucketResult><Name>{bucket}</Name><IsTruncated>{}</IsTruncated>", page.next.is_some());
    if let Some(next) = &page.next {
        body.push_str(&format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(next)));
    }
    for (key, object) in &page.objects {
        body.push_str(&format!(
            "<Contents><Key>{}</Key><Size>{}</Size><LastModified>{}</LastModified><ETag>{}</ETag></Contents>",
            escaped(key),
            object.content.len(),
            date(object.modified, "%Y-%m-%dT%H:%M:%S.000Z"),
            escaped(&object.tag()),
        ));
    }
    body.push_str("</ListBucketResult>");
    xml(&body)
}

/// An object, or the part of it that is asked for. One that is stored as gzip is unpacked on the way for those who do
/// not say that they take gzip; then there are no parts, and no length.
pub(super) fn object(object: &Object, request: &HeaderMap) -> Result<Response, Refusal> {
    let (modified, tag) = (date(object.modified, "%a, %d %b %Y %H:%M:%S GMT"), object.tag());
    let generation = object.generation.to_string();
    let mut headers: Vec<(&str, &str)> = vec![
        ("etag", &tag),
        ("last-modified", &modified),
        ("x-goog-generation", &generation),
        ("content-type", "application/octet-stream"),
    ];
    headers.extend(object.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let accepts = request.get(ACCEPT_ENCODING).and_then(|accepts| accepts.to_str().ok()).unwrap_or_default();
    if object.encoding.as_deref() == Some("gzip") && !accepts.contains("gzip") {
        let mut content = Vec::new();
        let unpacked = flate2::read::MultiGzDecoder::new(&object.content[..]).read_to_end(&mut content);
        unpacked.map_err(|_| Refusal::BadRequest)?;
        headers.push(("warning", "214 UploadServer gunzipped"));
        let pieces = futures::stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(content))]);
        return Ok(answer(200, &headers, Body::from_stream(pieces)));
    }
    if let Some(encoding) = &object.encoding {
        headers.push(("content-encoding", encoding));
    }
    let size = object.content.len();
    let range = request.get(RANGE).and_then(|range| range.to_str().ok());
    let Some(range) = range else {
        return Ok(sized(200, &headers, object.content.clone()));
    };
    let (begin, end) = part(range, size).ok_or(Refusal::Range)?;
    let shown = format!("bytes {begin}-{}/{size}", end - 1);
    headers.push(("content-range", &shown));
    Ok(sized(206, &headers, object.content.slice(begin..end)))
}

/// Begin and end of a range such as `bytes=4-7`.
fn part(range: &str, size: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (begin, end) = match (first, last) {
        ("", last) => (size.saturating_sub(last.parse().ok()?), size),
        (first, "") => (first.parse().ok()?, size),
        (first, last) => (first.parse().ok()?, last.parse::<usize>().ok()?.saturating_add(1).min(size)),
    };
    (begin < end).then_some((begin, end))
}

/// The digest that Google tells of what it took.
pub(super) fn hash(content: &[u8]) -> String {
    format!("crc32c={}", BASE64_STANDARD.encode(crc32c::crc32c(content).to_be_bytes()))
}

fn sized(status: u16, headers: &[(&str, &str)], body: Bytes) -> Response {
    let length = body.len();
    let mut response = answer(status, headers, body.into());
    // For an answer to HEAD, which loses its body.
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

fn answer(status: u16, headers: &[(&str, &str)], body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().expect("a header");
        response.headers_mut().append(name, value.parse().expect("a value"));
    }
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn date(at: SystemTime, format: &str) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let at = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(0)).expect("a time");
    at.strftime(format).to_string()
}
