//! Brokers over a network: connections to them, and which of them a call goes to. Looks at answers for routes and for brokers that
//! are away, and at nothing else; it repeats a call alone where nothing of it can have happened.
//!
//! ```text
//!  append ──► the primary ──┐ not reached        ┌─► the first address ─► the next one …
//!  read ────► a member ─────┴────────────────────┤
//!  list, apply, … ───────────────────────────────┘
//! ```

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use courant_proto::service::AppendRequests;
use courant_proto::wire;
use courant_proto::wire::courant::cluster_client::ClusterClient;
use courant_proto::wire::journal_client::JournalClient;
use futures::stream::{self, Stream};
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Response, Status};

use crate::routes::{Routes, Wants};
use crate::transport::{Answer, Answers};
use crate::{Error, connect, endpoint};

#[cfg(test)]
mod tests;

/// Largest message that is accepted: that of a listing with many journals, as other clients accept.
const MAX_DECODE_BYTES: usize = 16 << 20;
/// A connection to a member that was not used for so long is let go.
const UNUSED: Duration = Duration::from_secs(60);
/// Connections to members at a time. Past that, calls go to the dialled address.
const MOST_CONNECTIONS: usize = 256;
/// Routes that are taken from one listing: a look at everything is not to push out what is in use.
const LEARNED_OF_LISTING: usize = 1024;

/// The way to a cluster's brokers. Cheap to clone, and clones share what they learn.
#[derive(Clone)]
pub(crate) struct Network(Arc<Shared>);

struct Shared {
    /// What was dialled, in the order it was given in.
    dialled: Vec<Broker>,
    /// The one of them that is in use.
    in_use: AtomicUsize,
    /// None: everything goes to the dialled address.
    learned: Option<Mutex<Learned>>,
    began: Instant,
    salt: u64,
}

struct Learned {
    routes: Routes,
    connections: HashMap<Arc<str>, Connection>,
}

struct Connection {
    channel: Channel,
    used: Duration,
}

/// A broker to call.
#[derive(Clone)]
struct Broker {
    address: Arc<str>,
    channel: Channel,
}

impl Broker {
    fn journal(&self) -> JournalClient<Channel> {
        JournalClient::new(self.channel.clone()).max_decoding_message_size(MAX_DECODE_BYTES)
    }

    fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone()).max_decoding_message_size(MAX_DECODE_BYTES)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.dialled.iter().map(|broker| &broker.address)).finish()
    }
}

impl Network {
    /// Brokers at addresses with commas between them. `salt` spreads clients over equal members.
    pub(crate) fn new(addresses: &str, salt: u64) -> Result<Self, Error> {
        let dialled: Vec<Broker> = addresses
            .split(',')
            .map(|address| {
                let address = endpoint::normal(address);
                Ok(Broker { address: address.into(), channel: connect::channel(address)? })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self::over(dialled, Some(String::new()), salt))
    }

    /// The same brokers with nothing learned, for a client in a zone.
    pub(crate) fn in_zone(&self, zone: &str) -> Self {
        Self::over(self.0.dialled.clone(), Some(zone.to_owned()), self.0.salt)
    }

    /// The same brokers, of which nothing will be learned.
    pub(crate) fn without_routing(&self) -> Self {
        Self::over(self.0.dialled.clone(), None, self.0.salt)
    }

    fn over(dialled: Vec<Broker>, zone: Option<String>, salt: u64) -> Self {
        let is_local = dialled.iter().all(|broker| endpoint::is_loopback(&broker.address));
        let learned = zone.map(|zone| {
            Mutex::new(Learned { routes: Routes::new(zone, is_local, salt), connections: HashMap::new() })
        });
        let in_use = AtomicUsize::new(0);
        Self(Arc::new(Shared { dialled, in_use, learned, began: Instant::now(), salt }))
    }

    pub(crate) fn read(&self, request: wire::ReadRequest) -> Answers<wire::ReadResponse> {
        let network = self.clone();
        async move {
            let journal = name_of(&request.journal).to_owned();
            let mut attempts = network.attempts(&journal, Wants::AnyMember);
            loop {
                let Some(broker) = attempts.next() else { return attempts.nobody().boxed() };
                let opened = broker.journal().read(request.clone()).await.map(Response::into_inner);
                // The first answer is awaited here: until it came, nothing was handed out and another broker may be asked.
                let (first, rest) = match opened {
                    Ok(mut answers) => (answers.next().await, Some(answers)),
                    Err(status) => (Some(Err(status)), None),
                };
                if let Some(Err(status)) = &first {
                    network.failed(&broker, &journal, status);
                    if is_away(status) && attempts.has_more() {
                        attempts.because(status);
                        continue;
                    }
                }
                let answers = stream::iter(first).chain(stream::iter(rest).flatten());
                let network = network.clone();
                return answers
                    .inspect(move |answer| match answer {
                        Ok(response) => {
                            network.answered(&broker, &journal, response.header.as_ref());
                            if lacks_content(response) {
                                network.lacked(&journal);
                            }
                        }
                        Err(status) => network.failed(&broker, &journal, status),
                    })
                    .boxed();
            }
        }
        .flatten_stream()
        .boxed()
    }

    pub(crate) fn append(&self, journal: &str, requests: AppendRequests) -> Answer<wire::AppendResponse> {
        let network = self.clone();
        let journal = name_of(journal).to_owned();
        async move {
            let requests = Requests::new(requests);
            let mut attempts = network.attempts(&journal, Wants::Primary);
            while let Some(broker) = attempts.next() {
                // An append that is given up on, as its answer takes too long, also says something of the route.
                let mut doubt = Doubt { network: &network, journal: &journal, is_settled: false };
                let answer = broker.journal().append(requests.messages()).await;
                doubt.is_settled = true;
                match answer.map(Response::into_inner) {
                    Ok(response) => {
                        network.answered(&broker, &journal, response.header.as_ref());
                        return Ok(response);
                    }
                    Err(status) => {
                        network.failed(&broker, &journal, &status);
                        if !(is_unconnected(&status) && requests.are_untouched() && attempts.has_more()) {
                            return Err(status);
                        }
                        attempts.because(&status);
                    }
                }
            }
            Err(attempts.reason())
        }
        .boxed()
    }

    pub(crate) fn list_fragments(&self, request: wire::FragmentsRequest) -> Answer<wire::FragmentsResponse> {
        let journal = name_of(&request.journal).to_owned();
        self.ask(journal, is_away, move |broker| {
            let request = request.clone();
            async move { broker.journal().list_fragments(request).await }
        })
    }

    pub(crate) fn list(&self, request: wire::ListRequest) -> Answers<wire::ListResponse> {
        let network = self.clone();
        async move {
            let mut attempts = network.attempts("", Wants::AnyMember);
            loop {
                let Some(broker) = attempts.next() else { return attempts.nobody().boxed() };
                match broker.journal().list(request.clone()).await.map(Response::into_inner) {
                    Ok(answers) => {
                        let learns = !request.watch;
                        let mut learned = 0;
                        return answers
                            .inspect(move |answer| match answer {
                                Ok(response) if learns => network.listed(response, &mut learned),
                                Ok(_) => {}
                                Err(status) => network.failed(&broker, "", status),
                            })
                            .boxed();
                    }
                    Err(status) => {
                        network.failed(&broker, "", &status);
                        if !(is_away(&status) && attempts.has_more()) {
                            return stream::iter([Err(status)]).boxed();
                        }
                        attempts.because(&status);
                    }
                }
            }
        }
        .flatten_stream()
        .boxed()
    }

    pub(crate) fn apply(&self, request: wire::ApplyRequest) -> Answer<wire::ApplyResponse> {
        // Whether it took effect is not known once it was sent.
        self.ask(String::new(), is_unconnected, move |broker| {
            let request = request.clone();
            async move { broker.journal().apply(request).await }
        })
    }

    pub(crate) fn fragment_store_health(
        &self,
        request: wire::FragmentStoreHealthRequest,
    ) -> Answer<wire::FragmentStoreHealthResponse> {
        self.ask(String::new(), is_away, move |broker| {
            let request = request.clone();
            async move { broker.journal().fragment_store_health(request).await }
        })
    }

    pub(crate) fn members(
        &self,
        request: wire::courant::MembersRequest,
    ) -> Answer<wire::courant::MembersResponse> {
        self.ask(String::new(), is_away, move |broker| async move { broker.cluster().members(request).await })
    }

    pub(crate) fn unsettled(
        &self,
        request: wire::courant::UnsettledRequest,
    ) -> Answer<wire::courant::UnsettledResponse> {
        self.ask(
            String::new(),
            is_away,
            move |broker| async move { broker.cluster().unsettled(request).await },
        )
    }

    pub(crate) fn lineage(
        &self,
        request: wire::courant::LineageRequest,
    ) -> Answer<wire::courant::LineageResponse> {
        self.ask(String::new(), is_away, move |broker| {
            let request = request.clone();
            async move { broker.cluster().lineage(request).await }
        })
    }

    /// One call with one answer, about a journal or about none, made to the next broker where it failed in a way that lets it be
    /// made again.
    fn ask<T, F>(
        &self,
        journal: String,
        may_go_on: fn(&Status) -> bool,
        call: impl Fn(Broker) -> F + Send + 'static,
    ) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<Response<T>, Status>> + Send + 'static,
    {
        let network = self.clone();
        async move {
            let mut attempts = network.attempts(&journal, Wants::AnyMember);
            while let Some(broker) = attempts.next() {
                match call(broker.clone()).await {
                    Ok(response) => {
                        network.answered(&broker, &journal, None);
                        return Ok(response.into_inner());
                    }
                    Err(status) => {
                        network.failed(&broker, &journal, &status);
                        if !(may_go_on(&status) && attempts.has_more()) {
                            return Err(status);
                        }
                        attempts.because(&status);
                    }
                }
            }
            Err(attempts.reason())
        }
        .boxed()
    }

    /// The brokers that a call is made to, one after the other: the member that its journal's route says, and what was dialled.
    fn attempts(&self, journal: &str, wants: Wants) -> Attempts {
        let first = if journal.is_empty() { None } else { self.member(journal, wants) };
        let from = self.0.in_use.load(Ordering::Relaxed);
        Attempts { network: self.clone(), member: first, from, tried: 0, reason: None }
    }

    fn member(&self, journal: &str, wants: Wants) -> Option<Broker> {
        let now = self.now();
        let mut learned = self.0.learned.as_ref()?.lock();
        let Learned { routes, connections } = &mut *learned;
        let address = routes.pick(journal, wants, now)?;
        if let Some(dialled) = self.0.dialled.iter().find(|broker| broker.address == address) {
            return Some(dialled.clone());
        }
        if let Some(connection) = connections.get_mut(&address) {
            connection.used = now;
            return Some(Broker { address, channel: connection.channel.clone() });
        }
        // Calls under way hold their connection themselves.
        connections.retain(|_, connection| now.saturating_sub(connection.used) < UNUSED);
        if connections.len() >= MOST_CONNECTIONS {
            return None;
        }
        let channel = connect::channel(&address).ok()?;
        connections.insert(Arc::clone(&address), Connection { channel: channel.clone(), used: now });
        Some(Broker { address, channel })
    }

    /// Takes note of an answer, and of the route that it tells.
    fn answered(&self, broker: &Broker, journal: &str, header: Option<&wire::Header>) {
        let Some(learned) = &self.0.learned else { return };
        let now = self.now();
        let mut learned = learned.lock();
        learned.routes.reached(&broker.address);
        if let Some(route) = header.and_then(|header| header.route.as_ref()) {
            learned.routes.learn(journal, route, now);
        }
    }

    fn lacked(&self, journal: &str) {
        if let Some(learned) = &self.0.learned {
            learned.lock().routes.lacked(journal);
        }
    }

    fn listed(&self, response: &wire::ListResponse, learned_before: &mut usize) {
        let Some(learned) = &self.0.learned else { return };
        let now = self.now();
        let room = LEARNED_OF_LISTING.saturating_sub(*learned_before);
        *learned_before += response.journals.len();
        let mut learned = learned.lock();
        for journal in response.journals.iter().take(room) {
            if let (Some(spec), Some(route)) = (&journal.spec, &journal.route) {
                learned.routes.learn(&spec.name, route, now);
            }
        }
    }

    /// Takes note of a failure: a broker that cannot be reached is left alone for a while, and a route that led nowhere is forgotten.
    fn failed(&self, broker: &Broker, journal: &str, status: &Status) {
        let is_unconnected = is_unconnected(status);
        if is_unconnected {
            self.turn_away_from(broker);
        }
        let Some(learned) = &self.0.learned else { return };
        let now = self.now();
        let mut learned = learned.lock();
        if is_unconnected {
            learned.routes.avoid(&broker.address, now);
        }
        if is_away(status) {
            learned.routes.forget(journal);
        }
    }

    /// Has further calls made to the next of the dialled addresses, if they were made to this one.
    fn turn_away_from(&self, broker: &Broker) {
        let shared = &self.0;
        let in_use = shared.in_use.load(Ordering::Relaxed);
        let count = shared.dialled.len();
        if shared.dialled[in_use % count].address == broker.address {
            let next = (in_use + 1) % count;
            // Somebody else may have turned away just before, which serves as well.
            let _ = shared.in_use.compare_exchange(in_use, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn now(&self) -> Duration {
        self.0.began.elapsed()
    }
}

/// The brokers that one call is made to.
struct Attempts {
    network: Network,
    member: Option<Broker>,
    /// The dialled address to begin with.
    from: usize,
    /// Dialled addresses that were tried.
    tried: usize,
    /// Why the last one did not do.
    reason: Option<Status>,
}

impl Attempts {
    fn next(&mut self) -> Option<Broker> {
        if let Some(member) = self.member.take() {
            return Some(member);
        }
        let dialled = &self.network.0.dialled;
        if self.tried >= dialled.len() {
            return None;
        }
        let broker = dialled[(self.from + self.tried) % dialled.len()].clone();
        self.tried += 1;
        Some(broker)
    }

    fn has_more(&self) -> bool {
        self.member.is_some() || self.tried < self.network.0.dialled.len()
    }

    fn because(&mut self, status: &Status) {
        tracing::debug!(%status, "a broker is away, and the next one is asked");
        self.reason = Some(Status::new(status.code(), status.message()));
    }

    fn reason(&mut self) -> Status {
        self.reason.take().unwrap_or_else(|| Status::unavailable("no broker is known"))
    }

    fn nobody<T: Send + 'static>(&mut self) -> Answers<T> {
        stream::iter([Err(self.reason())]).boxed()
    }
}

/// Forgets a journal's route if it is dropped before it was settled.
struct Doubt<'a> {
    network: &'a Network,
    journal: &'a str,
    is_settled: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let (false, Some(learned)) = (self.is_settled, &self.network.0.learned) {
            learned.lock().routes.forget(self.journal);
        }
    }
}

/// The name of a journal without what a request hangs on it.
fn name_of(journal: &str) -> &str {
    journal.split_once(';').map_or(journal, |(name, _)| name)
}

/// Whether a read was refused for want of content that lies before the journal's end: others may have it.
fn lacks_content(response: &wire::ReadResponse) -> bool {
    response.status == i32::from(wire::Status::OffsetNotYetAvailable) && response.offset < response.write_head
}

/// Whether a call failed on its way, or at a broker that cannot serve now.
fn is_away(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.source().is_some()
}

/// Whether a call failed before it was sent, for want of a connection.
fn is_unconnected(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The requests of an append, from which a second attempt can be made while the first one took none.
#[derive(Clone)]
struct Requests(Arc<RequestsState>);

struct RequestsState {
    taken: AtomicBool,
    /// None once they ended.
    requests: Mutex<Option<AppendRequests>>,
}

impl Requests {
    fn new(requests: AppendRequests) -> Self {
        Self(Arc::new(RequestsState { taken: AtomicBool::new(false), requests: Mutex::new(Some(requests)) }))
    }

    fn are_untouched(&self) -> bool {
        !self.0.taken.load(Ordering::Acquire)
    }

    fn messages(&self) -> UntilError {
        UntilError(self.clone())
    }
}

/// Requests up to the first error. A network carries no error of a client, so it becomes an early end.
struct UntilError(Requests);

impl Stream for UntilError {
    type Item = wire::AppendRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let state = &self.0.0;
        state.taken.store(true, Ordering::Release);
        let mut held = state.requests.lock();
        let Some(requests) = &mut *held else {
            return Poll::Ready(None);
        };
        match requests.as_mut().poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(request))) => Poll::Ready(Some(request)),
            Poll::Ready(Some(Err(_)) | None) => {
                *held = None;
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for UntilError {
    fn drop(&mut self) {
        // Whoever makes the requests learns that nobody takes them any more.
        if !self.0.are_untouched() {
            *self.0.0.requests.lock() = None;
        }
    }
}
