//! A proxy between a store and whoever uses it, which does harm where it is told to.
//!
//! It speaks HTTP and knows nothing of any store's API. Requests are passed on with the host that they were signed
//! for, so a server that checks signatures accepts them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, RANGE, RETRY_AFTER, TRANSFER_ENCODING,
};
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;

use super::serving::Serving;

/// Bodies of tests fit into memory.
const BODY_MAX: usize = 256 << 20;

/// What is done to a request, or to its answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Answered in the store's place with a status, a code in XML, and seconds to wait.
    Refuse(u16, &'static str, Option<u64>),
    /// Never answered.
    Hang,
    /// Never answered, and yet carried out.
    CarryOutAndHang,
    /// Carried out; then the connection breaks.
    LoseReply,
    /// The body comes one byte a second.
    Trickle,
    /// The connection breaks in the middle of the body.
    Cut,
    /// The body is half as long, and so says the header.
    Halve,
    /// The body is another, of the same length.
    Garble,
    /// The whole object is sent, though a part was asked for.
    Whole,
    /// The body of the request is damaged on its way.
    GarbleRequest,
    /// Another part is sent than was asked for.
    Shift,
    /// The body's gzip is taken off, and with it what says so.
    Gunzip,
    /// The body is what was once answered to another request.
    Replay(Bytes),
    /// A text in the body becomes another.
    Replace(&'static str, &'static str),
}

/// Which requests meet a fault, and how often.
#[derive(Clone, Debug)]
pub struct Rule {
    fault: Fault,
    method: Option<Method>,
    contains: Option<String>,
    times: usize,
    after: usize,
}

impl Rule {
    /// Every request, once.
    pub fn new(fault: Fault) -> Self {
        Self { fault, method: None, contains: None, times: 1, after: 0 }
    }

    /// Only requests of a method.
    pub fn on(self, method: Method) -> Self {
        Self { method: Some(method), ..self }
    }

    /// Only requests whose path and query contain a text.
    pub fn containing(self, text: &str) -> Self {
        Self { contains: Some(text.to_owned()), ..self }
    }

    /// So many of them.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Not the first so many of them.
    pub fn after(self, after: usize) -> Self {
        Self { after, ..self }
    }

    fn fits(&self, method: &Method, target: &str) -> bool {
        self.method.as_ref().is_none_or(|wanted| wanted == method)
            && self.contains.as_deref().is_none_or(|text| target.contains(text))
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
struct Seen {
    method: Method,
    target: String,
    headers: HeaderMap,
}

/// A proxy before a server. Ended when dropped.
#[derive(Debug)]
pub struct Proxy {
    serving: Serving,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    client: reqwest::Client,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
}

impl Proxy {
    /// Stands before the server at an endpoint such as `http://127.0.0.1:PORT`.
    pub fn before(endpoint: &str) -> Self {
        let client =
            reqwest::Client::builder().http1_only().no_gzip().redirect(reqwest::redirect::Policy::none());
        let shared = Arc::new(Shared {
            upstream: endpoint.to_owned(),
            client: client.build().expect("a client"),
            rules: Mutex::default(),
            seen: Mutex::default(),
        });
        let state = Arc::clone(&shared);
        let serving = Serving::start("proxy", move |_| Router::new().fallback(pass).with_state(state));
        Self { serving, shared }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        self.serving.endpoint()
    }

    /// Adds a rule. The first one that fits a request counts.
    pub fn rule(&self, rule: Rule) {
        self.shared.rules.lock().push(rule);
    }

    /// Forgets all rules, and tells how many uses of them were left.
    pub fn clear(&self) -> usize {
        let rules = std::mem::take(&mut *self.shared.rules.lock());
        rules.iter().fold(0, |left, rule| left.saturating_add(rule.times))
    }

    /// The requests since this was last asked, each with its path and query.
    pub fn seen(&self) -> Vec<(Method, String)> {
        self.take_seen().map(|seen| (seen.method, seen.target)).collect()
    }

    /// The same, as lines such as `PUT /path?query`, each with its headers.
    pub fn seen_headers(&self) -> Vec<(String, HeaderMap)> {
        self.take_seen().map(|seen| (format!("{} {}", seen.method, seen.target), seen.headers)).collect()
    }

    fn take_seen(&self) -> impl Iterator<Item = Seen> {
        std::mem::take(&mut *self.shared.seen.lock()).into_iter()
    }
}

impl Shared {
    /// The fault that a request meets.
    fn meet(&self, method: &Method, target: &str) -> Option<Fault> {
        let mut rules = self.rules.lock();
        let rule = rules.iter_mut().find(|rule| rule.times > 0 && rule.fits(method, target))?;
        if rule.after > 0 {
            rule.after -= 1;
            return None;
        }
        rule.times -= 1;
        Some(rule.fault.clone())
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let method = request.method().clone();
    let headers = request.headers().clone();
    shared.seen.lock().push(Seen { method: method.clone(), target: target.clone(), headers });
    let fault = shared.meet(&method, &target);
    match fault {
        Some(Fault::Hang) => return std::future::pending().await,
        Some(Fault::Refuse(status, code, wait)) => return refuse(status, code, wait),
        _ => {}
    }
    let Some((status, headers, body)) = forward(&shared, &target, request, fault.as_ref()).await else {
        return refuse(502, "BadGateway", None);
    };
    answer(fault, method == Method::HEAD, status, headers, body).await
}

/// Asks the server.
async fn forward(
    shared: &Shared,
    target: &str,
    request: Request,
    fault: Option<&Fault>,
) -> Option<(StatusCode, HeaderMap, Bytes)> {
    let (mut parts, body) = request.into_parts();
    if fault == Some(&Fault::Whole) {
        parts.headers.remove(RANGE);
    }
    parts.headers.remove(TRANSFER_ENCODING);
    let mut body = to_bytes(body, BODY_MAX).await.ok()?;
    if fault == Some(&Fault::GarbleRequest) {
        body = garbled(&body);
    }
    let url = format!("{}{target}", shared.upstream);
    let sent =
        shared.client.request(parts.method, url).headers(parts.headers).body(body).send().await.ok()?;
    let (status, mut headers) = (sent.status(), sent.headers().clone());
    headers.remove(TRANSFER_ENCODING);
    Some((status, headers, sent.bytes().await.ok()?))
}

async fn answer(
    fault: Option<Fault>,
    is_head: bool,
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    let had_length = headers.contains_key(CONTENT_LENGTH);
    let mut status = status;
    let changed = match fault {
        None | Some(Fault::Hang | Fault::Refuse(..) | Fault::GarbleRequest) => body,
        Some(Fault::CarryOutAndHang) => return std::future::pending().await,
        // The connection's task ends, and the connection with it; nothing is printed.
        Some(Fault::LoseReply) => std::panic::resume_unwind(Box::new("a lost reply")),
        Some(Fault::Trickle) => return (status, headers, trickle(body)).into_response(),
        Some(Fault::Cut) => return (status, headers, cut(body)).into_response(),
        Some(Fault::Halve) => body.slice(..body.len() / 2),
        Some(Fault::Garble) => garbled(&body),
        Some(Fault::Whole) => {
            headers.remove(CONTENT_RANGE);
            status = StatusCode::OK;
            body
        }
        Some(Fault::Shift) => {
            shift(&mut headers);
            body
        }
        Some(Fault::Gunzip) => {
            headers.remove(CONTENT_ENCODING);
            headers.remove(ACCEPT_RANGES);
            gunzip(&body)
        }
        Some(Fault::Replay(other)) => other,
        Some(Fault::Replace(find, replace)) => String::from_utf8_lossy(&body).replace(find, replace).into(),
    };
    if had_length && !is_head {
        headers.insert(CONTENT_LENGTH, changed.len().into());
    }
    (status, headers, changed).into_response()
}

fn refuse(status: u16, code: &str, wait: Option<u64>) -> Response {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>refused by the proxy</Message></Error>"
    );
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/xml".parse().expect("a value"));
    if let Some(wait) = wait {
        headers.insert(RETRY_AFTER, wait.into());
    }
    (StatusCode::from_u16(status).expect("a status"), headers, body).into_response()
}

fn garbled(body: &[u8]) -> Bytes {
    body.iter().map(|byte| byte ^ 0x55).collect()
}

fn trickle(body: Bytes) -> Body {
    let bytes = futures::stream::iter((0..body.len()).map(move |at| body.slice(at..=at)));
    Body::from_stream(bytes.then(|byte| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, std::io::Error>(byte)
    }))
}

fn cut(body: Bytes) -> Body {
    let half = body.slice(..body.len() / 2);
    // What was sent has to arrive before the connection breaks.
    let broken = futures::stream::once(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::other("cut"))
    });
    Body::from_stream(futures::stream::iter([Ok(half)]).chain(broken))
}

/// Says that a part begins a byte later, and is as long.
fn shift(headers: &mut HeaderMap) {
    let Some(range) = headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok()) else { return };
    let moved = range.strip_prefix("bytes ").and_then(|range| {
        let (range, size) = range.split_once('/')?;
        let (begin, end) = range.split_once('-')?;
        let begin: u64 = begin.parse().ok()?;
        Some(format!("bytes {}-{end}/{size}", begin + 1))
    });
    headers.insert(CONTENT_RANGE, moved.expect("a range").parse().expect("a value"));
}

fn gunzip(body: &[u8]) -> Bytes {
    use std::io::Read as _;
    let mut content = Vec::new();
    flate2::read::MultiGzDecoder::new(body).read_to_end(&mut content).expect("gzip");
    content.into()
}
