//! A double of the XML form of Google's storage API: as much of it as a store uses, and no more.
//!
//! It is here because no server of that API can be had. What it does is what Google's documentation says; where it
//! refuses something, Google does too.

mod answer;
mod bucket;
mod signature;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use tempfile::TempDir;

use self::answer::{Refusal, fault, listed, object, plain, xml};
use self::bucket::{Bucket, Object};
use self::signature::Account;
use super::serving::Serving;
use super::{Access, variables};

const BUCKET: &str = "courant-test";
/// Bodies of tests fit into memory.
const BODY_MAX: usize = 256 << 20;

/// A double of Google's storage in this process, with one bucket. It believes every token, and checks the signatures
/// of URLs.
#[derive(Debug)]
pub struct Gcs {
    folder: TempDir,
    shared: Arc<Shared>,
    serving: Serving,
}

#[derive(Debug)]
struct Shared {
    account: Account,
    bucket: Mutex<Bucket>,
}

impl Gcs {
    /// Starts it on an empty bucket.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let account = Account::new();
        write(&folder.path().join("key.json"), &account.key_file());
        let shared = Arc::new(Shared { account, bucket: Mutex::default() });
        let state = Arc::clone(&shared);
        let serving = Serving::start("gcs", move |_| Router::new().fallback(respond).with_state(state));
        Self { folder, shared, serving }
    }

    /// How it is reached.
    pub fn access(&self) -> Access {
        let endpoint = self.serving.endpoint();
        let key = self.folder.path().join("key.json").display().to_string();
        Access {
            store: format!("gs://{BUCKET}/"),
            environment: variables([
                ("STORAGE_EMULATOR_HOST", &endpoint),
                ("GOOGLE_APPLICATION_CREDENTIALS", &key),
            ]),
            endpoint,
        }
    }

    /// Changes the content of an object, and nothing else of it.
    pub fn damage(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        self.shared.bucket.lock().damage(key, change);
    }
}

#[expect(clippy::disallowed_methods, reason = "the seam at which tests write a key for a store")]
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file");
}

async fn respond(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let is_head = request.method() == Method::HEAD;
    let response = match carry_out(&shared, request).await {
        Ok(response) => response,
        Err(refusal) => fault(refusal),
    };
    if is_head { answer::without_body(response) } else { response }
}

async fn carry_out(shared: &Shared, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let (bucket, key) = place(parts.uri.path()).ok_or(Refusal::BadRequest)?;
    let query = arguments(parts.uri.query().unwrap_or_default());
    let is_signed = query.contains_key("X-Goog-Signature");
    if is_signed {
        shared.account.check(&parts.method, &parts.uri)?;
    } else if !parts.headers.contains_key(AUTHORIZATION) {
        return Err(Refusal::Unauthorized);
    }
    if bucket != BUCKET {
        return Err(Refusal::NoSuchBucket);
    }
    let body = to_bytes(body, BODY_MAX).await.map_err(|_| Refusal::BadRequest)?;
    let mut bucket = shared.bucket.lock();
    let argument = |name: &str| query.get(name).map(String::as_str);
    match (&parts.method, key.as_str()) {
        (&Method::GET, "") => {
            let page = bucket.list(
                argument("prefix").unwrap_or_default(),
                argument("continuation-token").or_else(|| argument("start-after")),
                argument("max-keys").and_then(|most| most.parse().ok()).unwrap_or(1000),
            );
            Ok(listed(BUCKET, &page))
        }
        (_, "") => Err(Refusal::BadRequest),
        (&Method::GET | &Method::HEAD, key) => object(bucket.get(key)?, &parts.headers),
        (&Method::DELETE, key) => {
            match argument("uploadId") {
                Some(upload) => bucket.abort(upload)?,
                None => bucket.remove(key)?,
            }
            Ok(plain(204, &[]))
        }
        (&Method::PUT, key) => put(&mut bucket, key, &query, &parts.headers, body),
        (&Method::POST, key) => match argument("uploadId") {
            None if query.contains_key("uploads") => {
                let upload = bucket.begin(key, described(&parts.headers));
                Ok(xml(&format!(
                    "<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
                )))
            }
            None => Err(Refusal::BadRequest),
            Some(upload) => {
                let tag = bucket.complete(upload, &numbers(&body))?;
                Ok(xml(&format!(
                    "<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"
                )))
            }
        },
        _ => Err(Refusal::BadRequest),
    }
}

fn put(
    bucket: &mut Bucket,
    key: &str,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let hash = answer::hash(&body);
    if headers.get("x-goog-hash").is_some_and(|told| told.as_bytes() != hash.as_bytes()) {
        return Err(Refusal::BadDigest);
    }
    let tag = match (query.get("uploadId"), query.get("partNumber").and_then(|number| number.parse().ok())) {
        (Some(upload), Some(number)) => bucket.put_part(upload, number, body)?,
        _ => {
            let expected = headers
                .get("x-goog-if-generation-match")
                .and_then(|header| header.to_str().ok()?.parse().ok());
            bucket.put(key, Object { content: body, ..described(headers) }, expected)?
        }
    };
    Ok(plain(200, &[("etag", &tag), ("x-goog-hash", &hash)]))
}

/// An object as far as headers describe it.
fn described(headers: &HeaderMap) -> Object {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let metadata = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-goog-meta-"));
    Object {
        encoding: text("content-encoding"),
        metadata: metadata
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect(),
        ..Object::default()
    }
}

/// Bucket and key of a path. A key is one segment in requests, and several in signed URLs.
fn place(path: &str) -> Option<(String, String)> {
    let (bucket, key) = path.strip_prefix('/')?.split_once('/').unwrap_or((path.strip_prefix('/')?, ""));
    Some((unescaped(bucket)?, unescaped(key)?))
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                tail
            }
            (byte, tail) => {
                bytes.push(*byte);
                tail
            }
        };
    }
    String::from_utf8(bytes).ok()
}

fn arguments(query: &str) -> HashMap<String, String> {
    let pairs = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter_map(|(name, value)| Some((unescaped(name)?, unescaped(&value.replace('+', " "))?))).collect()
}

/// The numbers of the parts that make an object, as a request to complete it lists them.
fn numbers(body: &[u8]) -> Vec<usize> {
    let body = String::from_utf8_lossy(body);
    let parts = body.split("<PartNumber>").skip(1);
    parts.filter_map(|part| part.split('<').next()?.trim().parse().ok()).collect()
}
