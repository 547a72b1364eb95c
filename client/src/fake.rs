//! A broker that says what a test told it to, and remembers what it was asked.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use courant_proto::service::{AppendRequests, JournalService};
use courant_proto::wire;
use futures::FutureExt as _;
use futures::future::{self, BoxFuture};
use futures::stream::{self, BoxStream, StreamExt as _};
use parking_lot::Mutex;
use tonic::Status;

use crate::Client;
use crate::transport::Answers;

type Answer<T> = Result<T, Status>;

/// How an append is answered.
#[derive(Debug)]
pub(crate) enum OnAppend {
    /// When its messages ended.
    Answer(Answer<wire::AppendResponse>),
    /// After so many of its messages.
    Early(usize, Answer<wire::AppendResponse>),
    /// Never.
    Never,
}

#[derive(Default)]
struct State {
    reads: VecDeque<Answers<wire::ReadResponse>>,
    read_requests: Vec<wire::ReadRequest>,
    lists: VecDeque<Answers<wire::ListResponse>>,
    list_requests: Vec<wire::ListRequest>,
    appends: VecDeque<OnAppend>,
    /// The messages of each append; an `Err` of theirs is kept by its text.
    append_messages: Vec<Vec<Result<wire::AppendRequest, String>>>,
    fragments: VecDeque<Answer<wire::FragmentsResponse>>,
    fragments_requests: Vec<wire::FragmentsRequest>,
    applies: VecDeque<Answer<wire::ApplyResponse>>,
    healths: VecDeque<Answer<wire::FragmentStoreHealthResponse>>,
}

/// The broker. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<State>>);

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    pub(crate) fn client(&self) -> Client {
        Client::in_process(Arc::new(self.clone())).with_seed(1)
    }

    /// Answers the next read with these, and then ends it.
    pub(crate) fn on_read(&self, answers: impl IntoIterator<Item = Answer<wire::ReadResponse>>) {
        let answers: Vec<_> = answers.into_iter().collect();
        self.0.lock().reads.push_back(stream::iter(answers).boxed());
    }

    /// Answers the next listing with these, and then ends it, or leaves it open.
    pub(crate) fn on_list(
        &self,
        answers: impl IntoIterator<Item = Answer<wire::ListResponse>>,
        stays_open: bool,
    ) {
        let answers: Vec<_> = answers.into_iter().collect();
        let answers = stream::iter(answers);
        let answers = if stays_open { answers.chain(stream::pending()).boxed() } else { answers.boxed() };
        self.0.lock().lists.push_back(answers);
    }

    pub(crate) fn on_append(&self, answer: OnAppend) {
        self.0.lock().appends.push_back(answer);
    }

    pub(crate) fn on_fragments(&self, answer: Answer<wire::FragmentsResponse>) {
        self.0.lock().fragments.push_back(answer);
    }

    pub(crate) fn on_apply(&self, answer: Answer<wire::ApplyResponse>) {
        self.0.lock().applies.push_back(answer);
    }

    pub(crate) fn on_health(&self, answer: Answer<wire::FragmentStoreHealthResponse>) {
        self.0.lock().healths.push_back(answer);
    }

    pub(crate) fn read_requests(&self) -> Vec<wire::ReadRequest> {
        self.0.lock().read_requests.clone()
    }

    pub(crate) fn list_requests(&self) -> Vec<wire::ListRequest> {
        self.0.lock().list_requests.clone()
    }

    pub(crate) fn fragments_requests(&self) -> Vec<wire::FragmentsRequest> {
        self.0.lock().fragments_requests.clone()
    }

    /// What each append received, as a line of its messages: `head`, a number of bytes, `commit`, `error`; `end`
    /// where the messages ended.
    pub(crate) fn append_lines(&self) -> Vec<String> {
        let word = |message: &Result<wire::AppendRequest, String>| match message {
            Err(text) if text == "end" => "end".to_owned(),
            Err(_) => "error".to_owned(),
            Ok(message) if !message.journal.is_empty() => "head".to_owned(),
            Ok(message) if message.content.is_empty() => "commit".to_owned(),
            Ok(message) => message.content.len().to_string(),
        };
        let state = self.0.lock();
        state.append_messages.iter().map(|m| m.iter().map(word).collect::<Vec<_>>().join(" ")).collect()
    }
}

impl JournalService for Fake {
    fn list(&self, request: wire::ListRequest) -> BoxStream<'static, Answer<wire::ListResponse>> {
        let mut state = self.0.lock();
        state.list_requests.push(request);
        state.lists.pop_front().unwrap_or_else(|| stream::pending().boxed())
    }

    fn apply(&self, _: wire::ApplyRequest) -> BoxFuture<'static, Answer<wire::ApplyResponse>> {
        match self.0.lock().applies.pop_front() {
            Some(answer) => future::ready(answer).boxed(),
            None => future::pending().boxed(),
        }
    }

    fn read(&self, request: wire::ReadRequest) -> BoxStream<'static, Answer<wire::ReadResponse>> {
        let mut state = self.0.lock();
        state.read_requests.push(request);
        state.reads.pop_front().unwrap_or_else(|| stream::pending().boxed())
    }

    fn append(&self, mut requests: AppendRequests) -> BoxFuture<'static, Answer<wire::AppendResponse>> {
        let fake = self.clone();
        let (script, index) = {
            let mut state = self.0.lock();
            state.append_messages.push(Vec::new());
            (state.appends.pop_front(), state.append_messages.len() - 1)
        };
        let log = move |message| fake.0.lock().append_messages[index].push(message);
        async move {
            let early = match &script {
                Some(OnAppend::Early(after, _)) => *after,
                _ => usize::MAX,
            };
            for _ in 0..early {
                match requests.next().await {
                    Some(Ok(message)) => log(Ok(message)),
                    Some(Err(status)) => log(Err(status.to_string())),
                    None => {
                        log(Err("end".to_owned()));
                        break;
                    }
                }
            }
            match script {
                Some(OnAppend::Answer(answer) | OnAppend::Early(_, answer)) => answer,
                Some(OnAppend::Never) | None => future::pending().await,
            }
        }
        .boxed()
    }

    fn list_fragments(
        &self,
        request: wire::FragmentsRequest,
    ) -> BoxFuture<'static, Answer<wire::FragmentsResponse>> {
        let mut state = self.0.lock();
        state.fragments_requests.push(request);
        match state.fragments.pop_front() {
            Some(answer) => future::ready(answer).boxed(),
            None => future::pending().boxed(),
        }
    }

    fn fragment_store_health(
        &self,
        _: wire::FragmentStoreHealthRequest,
    ) -> BoxFuture<'static, Answer<wire::FragmentStoreHealthResponse>> {
        match self.0.lock().healths.pop_front() {
            Some(answer) => future::ready(answer).boxed(),
            None => future::pending().boxed(),
        }
    }
}

/// A header at a revision, with a route of one broker that leads.
pub(crate) fn header(revision: i64) -> wire::Header {
    let id = wire::process_spec::Id { zone: "local".into(), suffix: "broker-1".into() };
    wire::Header {
        process_id: Some(id.clone()),
        route: Some(wire::Route {
            members: vec![id],
            primary: 0,
            endpoints: vec!["http://localhost:8080".into()],
        }),
        etcd: Some(wire::header::Etcd { cluster_id: 1, member_id: 2, revision, raft_term: 3 }),
    }
}
