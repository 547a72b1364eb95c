//! Pure: the header values that tell of a read or an append.

use bytes::{BufMut as _, Bytes, BytesMut};
use courant_client::{Appended, Metadata};
use courant_proto::fragment::{ContentSum, Fragment};
use courant_proto::wire;
use http::HeaderMap;
use http::header::{CONTENT_RANGE, HeaderName, HeaderValue, LOCATION};

pub(crate) const CLOSE_ERROR: HeaderName = HeaderName::from_static("x-close-error");
const COMMIT_BEGIN: HeaderName = HeaderName::from_static("x-commit-begin");
const COMMIT_END: HeaderName = HeaderName::from_static("x-commit-end");
const COMMIT_SHA1_SUM: HeaderName = HeaderName::from_static("x-commit-sha1-sum");
const FRAGMENT_LAST_MODIFIED: HeaderName = HeaderName::from_static("x-fragment-last-modified");
const FRAGMENT_LOCATION: HeaderName = HeaderName::from_static("x-fragment-location");
const FRAGMENT_NAME: HeaderName = HeaderName::from_static("x-fragment-name");
const ROUTE_TOKEN: HeaderName = HeaderName::from_static("x-route-token");
const WRITE_HEAD: HeaderName = HeaderName::from_static("x-write-head");

/// The headers of a committed append, for a request with this path.
pub(crate) fn of_append(appended: &Appended, path: &str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(COMMIT_BEGIN, appended.commit.begin.into());
    let end = HeaderValue::from(appended.commit.end);
    headers.insert(COMMIT_END, end.clone());
    headers.insert(WRITE_HEAD, end);
    let sum = appended.commit.sum.map_or(ContentSum::ZERO, ContentSum::from);
    insert(&mut headers, COMMIT_SHA1_SUM, hex(&sum));
    put_route(&mut headers, Some(&appended.header), path);
    headers
}

/// The headers of a read whose first fragment is known.
pub(crate) fn of_read(metadata: &Metadata, path: &str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(10);
    if let Some(fragment) = &metadata.fragment {
        let range = format!("bytes {}-{max}/{max}", metadata.offset, max = i64::MAX);
        insert(&mut headers, CONTENT_RANGE, range.into());
        if let Ok(fragment) = Fragment::try_from(fragment.clone()) {
            insert(&mut headers, FRAGMENT_NAME, fragment.content_name().into());
        }
        if let Some(date) = http_date(fragment.mod_time) {
            insert(&mut headers, FRAGMENT_LAST_MODIFIED, date.into());
        }
    }
    if !metadata.fragment_url.is_empty() {
        insert(&mut headers, FRAGMENT_LOCATION, metadata.fragment_url.clone().into());
    }
    put_write_head(&mut headers, metadata.write_head);
    put_route(&mut headers, metadata.header.as_ref(), path);
    headers
}

/// The headers of a refusal: the write head where it is known, and the route.
pub(crate) fn of_refusal(refusal: &courant_client::Refusal, path: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    put_write_head(&mut headers, refusal.write_head);
    put_route(&mut headers, refusal.header.as_ref(), path);
    headers
}

fn put_write_head(headers: &mut HeaderMap, write_head: i64) {
    if write_head != 0 {
        headers.insert(WRITE_HEAD, write_head.into());
    }
}

/// The route as a token, and where its primary is.
fn put_route(headers: &mut HeaderMap, header: Option<&wire::Header>, path: &str) {
    let Some(route) = header.and_then(|header| header.route.as_ref()) else {
        return;
    };
    if !route.members.is_empty() {
        insert(headers, ROUTE_TOKEN, route.to_token().into());
    }
    let primary = usize::try_from(route.primary).ok().and_then(|primary| route.endpoints.get(primary));
    if let Some(endpoint) = primary.filter(|endpoint| !endpoint.is_empty()) {
        let mut location = BytesMut::with_capacity(endpoint.len() + path.len());
        location.put_slice(endpoint.strip_suffix('/').unwrap_or(endpoint).as_bytes());
        location.put_slice(path.as_bytes());
        insert(headers, LOCATION, location.freeze());
    }
}

/// Leaves out a value that cannot be a header's: what brokers say is not trusted to be printable.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: Bytes) {
    if let Ok(value) = HeaderValue::from_maybe_shared(value) {
        headers.insert(name, value);
    }
}

/// A digest as it is printed, without the formatting machinery: every append has one.
fn hex(sum: &ContentSum) -> Bytes {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    sum.as_bytes().iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).collect()
}

/// Unix seconds as a date of HTTP. None for zero, which stands for content that is not stored.
fn http_date(seconds: i64) -> Option<String> {
    if seconds == 0 {
        return None;
    }
    let at = jiff::Timestamp::from_second(seconds).ok()?;
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok()
}

/// A text as a header value: what a header cannot hold is shown as question marks.
pub(crate) fn printable(text: &str) -> HeaderValue {
    let bytes: Vec<u8> = text.bytes().map(|b| if (b' '..=b'~').contains(&b) { b } else { b'?' }).collect();
    HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("error"))
}
