//! A broker that says what a test told it to, behind a gateway.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use courant_client::Client;
use courant_gateway::{Config, Gateway, Metrics, Readiness};
use courant_proto::service::{AppendRequests, JournalService};
use courant_proto::wire;
use futures::FutureExt as _;
use futures::future::{self, BoxFuture};
use futures::stream::{self, BoxStream, StreamExt as _};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use prometheus_client::registry::Registry;
use tonic::Status;
use tower::ServiceExt as _;

pub(crate) type Answer<T> = Result<T, Status>;
pub(crate) type Answers<T> = BoxStream<'static, Answer<T>>;

#[derive(Default)]
struct State {
    reads: VecDeque<Answers<wire::ReadResponse>>,
    read_requests: Vec<wire::ReadRequest>,
    appends: VecDeque<Answer<wire::AppendResponse>>,
    append_messages: Vec<Vec<Answer<wire::AppendRequest>>>,
    lists: VecDeque<Vec<Answer<wire::ListResponse>>>,
    list_requests: Vec<wire::ListRequest>,
    fragments: VecDeque<Answer<wire::FragmentsResponse>>,
    fragments_requests: Vec<wire::FragmentsRequest>,
}

#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<State>>);

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    pub(crate) fn on_read(&self, answers: impl IntoIterator<Item = Answer<wire::ReadResponse>>) {
        let answers: Vec<_> = answers.into_iter().collect();
        self.on_read_stream(stream::iter(answers).boxed());
    }

    pub(crate) fn on_read_stream(&self, answers: Answers<wire::ReadResponse>) {
        self.0.lock().unwrap().reads.push_back(answers);
    }

    pub(crate) fn on_append(&self, answer: Answer<wire::AppendResponse>) {
        self.0.lock().unwrap().appends.push_back(answer);
    }

    pub(crate) fn on_list(&self, answers: impl IntoIterator<Item = Answer<wire::ListResponse>>) {
        self.0.lock().unwrap().lists.push_back(answers.into_iter().collect());
    }

    pub(crate) fn on_fragments(&self, answer: Answer<wire::FragmentsResponse>) {
        self.0.lock().unwrap().fragments.push_back(answer);
    }

    pub(crate) fn read_requests(&self) -> Vec<wire::ReadRequest> {
        self.0.lock().unwrap().read_requests.clone()
    }

    pub(crate) fn list_requests(&self) -> Vec<wire::ListRequest> {
        self.0.lock().unwrap().list_requests.clone()
    }

    pub(crate) fn fragments_requests(&self) -> Vec<wire::FragmentsRequest> {
        self.0.lock().unwrap().fragments_requests.clone()
    }

    /// Whether any journal was read or written.
    pub(crate) fn is_untouched(&self) -> bool {
        let state = self.0.lock().unwrap();
        state.read_requests.is_empty()
            && state.fragments_requests.is_empty()
            && state.append_messages.iter().flatten().all(|message| {
                message
                    .as_ref()
                    .is_ok_and(|message| !message.journal.is_empty() || !message.content.is_empty())
            })
    }

    /// Each append's journal, its content in messages, and whether it was committed.
    pub(crate) fn appended(&self) -> Vec<(String, Vec<Bytes>, bool)> {
        let state = self.0.lock().unwrap();
        let appends = state.append_messages.iter().map(|messages| {
            let good: Vec<_> = messages.iter().filter_map(|message| message.as_ref().ok()).collect();
            let journal = good.first().map(|first| first.journal.clone()).unwrap_or_default();
            let content: Vec<_> = good
                .iter()
                .map(|message| message.content.clone())
                .filter(|content| !content.is_empty())
                .collect();
            let committed = good.len() > 1 && good.last().is_some_and(|last| last.content.is_empty());
            (journal, content, committed)
        });
        appends.collect()
    }

    pub(crate) fn config() -> Config {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let text = move || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let mut config = Config::new(|| Readiness::Ready, text, metrics);
        config.retry_for = Duration::ZERO;
        config
    }

    pub(crate) fn router_with(&self, config: Config) -> axum::Router {
        let client = Client::in_process(Arc::new(self.clone())).with_seed(1);
        Gateway::new(client, config).router()
    }

    pub(crate) fn router(&self) -> axum::Router {
        self.router_with(Self::config())
    }

    /// Asks the gateway, and takes the whole answer.
    pub(crate) async fn ask(&self, request: Request<Body>) -> Reply {
        ask(self.router(), request).await
    }

    pub(crate) async fn get(&self, uri: &str) -> Reply {
        self.ask(Request::get(uri).header("te", "trailers").body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn put(&self, uri: &str, body: impl Into<Body>) -> Reply {
        self.ask(Request::put(uri).body(body.into()).unwrap()).await
    }

    pub(crate) async fn post(&self, uri: &str, body: &'static str) -> Reply {
        self.ask(Request::post(uri).body(body.into()).unwrap()).await
    }
}

/// An answer of the gateway.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// The body as it came in pieces.
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) trailers: HeaderMap,
    /// Whether the body broke off.
    pub(crate) broke_off: bool,
}

impl Reply {
    /// The headers and trailers as lines, sorted.
    pub(crate) fn lines(headers: &HeaderMap) -> Vec<String> {
        let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
        };
        let mut lines: Vec<_> = headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn first_line(&self) -> &str {
        self.body.lines().next().unwrap_or_default()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

pub(crate) async fn ask(router: axum::Router, request: Request<Body>) -> Reply {
    let response = router.oneshot(request).await.unwrap();
    let (parts, mut body) = response.into_parts();
    let mut reply = Reply {
        code: parts.status,
        headers: parts.headers,
        body: String::new(),
        pieces: Vec::new(),
        trailers: HeaderMap::new(),
        broke_off: false,
    };
    while let Some(frame) = body.frame().await {
        match frame {
            Err(_) => reply.broke_off = true,
            Ok(frame) => match frame.into_data() {
                Ok(data) => reply.pieces.push(data),
                Err(frame) => reply.trailers = frame.into_trailers().unwrap_or_default(),
            },
        }
    }
    let whole = to_bytes(Body::from(reply.pieces.concat()), usize::MAX).await.unwrap();
    reply.body = String::from_utf8_lossy(&whole).into_owned();
    reply
}

impl JournalService for Fake {
    fn list(&self, request: wire::ListRequest) -> BoxStream<'static, Answer<wire::ListResponse>> {
        let mut state = self.0.lock().unwrap();
        state.list_requests.push(request);
        stream::iter(state.lists.pop_front().expect("a script")).boxed()
    }

    fn apply(&self, _: wire::ApplyRequest) -> BoxFuture<'static, Answer<wire::ApplyResponse>> {
        future::pending().boxed()
    }

    fn read(&self, request: wire::ReadRequest) -> BoxStream<'static, Answer<wire::ReadResponse>> {
        let mut state = self.0.lock().unwrap();
        state.read_requests.push(request);
        state.reads.pop_front().expect("a script")
    }

    fn append(&self, requests: AppendRequests) -> BoxFuture<'static, Answer<wire::AppendResponse>> {
        let fake = self.clone();
        async move {
            let messages = requests.collect::<Vec<_>>().await;
            let mut state = fake.0.lock().unwrap();
            state.append_messages.push(messages);
            state.appends.pop_front().unwrap_or_else(|| Err(Status::unknown("append stream: no script")))
        }
        .boxed()
    }

    fn list_fragments(
        &self,
        request: wire::FragmentsRequest,
    ) -> BoxFuture<'static, Answer<wire::FragmentsResponse>> {
        let mut state = self.0.lock().unwrap();
        state.fragments_requests.push(request);
        future::ready(state.fragments.pop_front().expect("a script")).boxed()
    }

    fn fragment_store_health(
        &self,
        _: wire::FragmentStoreHealthRequest,
    ) -> BoxFuture<'static, Answer<wire::FragmentStoreHealthResponse>> {
        future::pending().boxed()
    }
}

/// A header with a route of two members, the first of which leads.
pub(crate) fn header() -> wire::Header {
    let id = |suffix: &str| wire::process_spec::Id { zone: "a".into(), suffix: suffix.into() };
    wire::Header {
        process_id: Some(id("broker-1")),
        route: Some(wire::Route {
            members: vec![id("broker-1"), id("broker-2")],
            primary: 0,
            endpoints: vec!["http://one:8080/path".into(), "http://two:8080".into()],
        }),
        etcd: Some(wire::header::Etcd { cluster_id: 1, member_id: 2, revision: 3, raft_term: 4 }),
    }
}

/// SHA-1 of `foobar`.
pub(crate) const SUM: wire::Sha1Sum =
    wire::Sha1Sum { part1: 0x8843_d7f9_2416_211d, part2: 0xe9eb_b963_ff4c_e281, part3: 0x2593_2878 };

pub(crate) fn fragment(begin: i64, end: i64) -> wire::Fragment {
    wire::Fragment {
        journal: "a/journal".into(),
        begin,
        end,
        sum: Some(SUM),
        compression_codec: wire::CompressionCodec::Snappy.into(),
        ..Default::default()
    }
}

pub(crate) fn metadata(offset: i64, begin: i64, end: i64, write_head: i64) -> wire::ReadResponse {
    wire::ReadResponse {
        header: Some(header()),
        offset,
        write_head,
        fragment: Some(fragment(begin, end)),
        ..Default::default()
    }
}

pub(crate) fn content(offset: i64, content: &'static str) -> wire::ReadResponse {
    wire::ReadResponse { offset, content: content.into(), ..Default::default() }
}

pub(crate) fn read_refused(status: wire::Status, write_head: i64) -> wire::ReadResponse {
    wire::ReadResponse { status: status.into(), header: Some(header()), write_head, ..Default::default() }
}

pub(crate) fn committed(begin: i64, end: i64) -> wire::AppendResponse {
    wire::AppendResponse {
        header: Some(header()),
        commit: Some(fragment(begin, end)),
        registers: Some(wire::LabelSet::default()),
        ..Default::default()
    }
}
