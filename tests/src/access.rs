//! One user of a cluster: appends and reads through whichever broker it likes, over HTTP or gRPC, and says of each append
//! what came of it: done, certainly not done, or unknown. Repeats nothing by itself.

use std::net::SocketAddr;
use std::time::Duration;

use courant_proto::wire;
use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use wire::journal_client::JournalClient;

use crate::cluster::Addresses;
use crate::history::{Outcome, Witness};
use crate::http::Connection;

/// Connecting to a broker of this machine takes no time, unless it stands still.
const CONNECTING: Duration = Duration::from_secs(2);

/// What came of an append.
#[derive(Clone, Debug, Default)]
pub struct Attempt {
    /// Done, failed, or unknown.
    pub outcome: Outcome,
    /// Whoever took it may have sent it on more than once.
    pub repeats: bool,
    /// Who committed it.
    pub witness: Option<Witness>,
    /// The status of a refusal.
    pub status: Option<wire::Status>,
    /// The registers that the answer tells.
    pub registers: Option<wire::LabelSet>,
    /// What else is known of it, in a word or two.
    pub reason: String,
}

impl Attempt {
    fn not_sent(reason: &str) -> Self {
        Self { outcome: Outcome::Failed, reason: reason.to_owned(), ..Self::default() }
    }

    fn lost(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Unknown, reason: reason.into(), ..Self::default() }
    }
}

/// How a read ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The stream ended in order, or with this status.
    Status(wire::Status),
    /// The call failed on its way.
    Fault(String),
    /// It took longer than it was to take.
    Late,
}

/// A piece of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The broker says where it is and how far its journal goes.
    Head {
        /// The next offset.
        offset: i64,
        /// The journal's end.
        write_head: i64,
        /// What follows, if anything.
        fragment: Option<&'a wire::Fragment>,
    },
    /// Bytes at an offset.
    Content {
        /// Of the first of them.
        offset: i64,
        /// The bytes.
        bytes: &'a [u8],
    },
}

/// A user of a cluster.
#[derive(Debug)]
pub struct Access {
    addresses: Addresses,
    /// Which of the brokers it uses; none is all of them.
    only: Vec<usize>,
    patience: Duration,
    rng: StdRng,
    at: Option<(usize, SocketAddr)>,
    http: Option<Connection>,
    grpc: Option<JournalClient<Channel>>,
}

impl Access {
    /// One that waits so long for each answer.
    pub fn new(addresses: Addresses, seed: u64, patience: Duration) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { addresses, only: Vec::new(), patience, rng, at: None, http: None, grpc: None }
    }

    /// The same, through these brokers alone.
    #[must_use]
    pub fn through(mut self, only: &[usize]) -> Self {
        self.only = only.to_vec();
        self
    }

    /// Goes to another broker next time, if there is one.
    pub fn leave(&mut self) {
        (self.at, self.http, self.grpc) = (None, None, None);
    }

    /// Which broker it uses now.
    pub fn broker(&self) -> Option<usize> {
        self.at.map(|(index, _)| index)
    }

    /// A number below `end`, of its own choice.
    pub fn choose(&mut self, end: u64) -> u64 {
        self.rng.random_range(0..end)
    }

    /// Chooses a broker that listens, unless it has one that still does.
    fn settle(&mut self) -> Option<SocketAddr> {
        let now = |index: usize| *self.addresses[index].borrow();
        if let Some((index, address)) = self.at
            && now(index) == Some(address)
        {
            return Some(address);
        }
        let candidates: Vec<(usize, SocketAddr)> = (0..self.addresses.len())
            .filter(|index| self.only.is_empty() || self.only.contains(index))
            .filter_map(|index| Some((index, now(index)?)))
            .collect();
        self.leave();
        let chosen = *candidates.get(self.rng.random_range(0..candidates.len().max(1)))?;
        self.at = Some(chosen);
        Some(chosen.1)
    }

    /// Appends with a `PUT`. The gateway that takes it tries again by itself while brokers are out of reach.
    pub async fn put(&mut self, journal: &str, content: &[u8]) -> Attempt {
        let Some(address) = self.settle() else { return self.nobody().await };
        if self.http.is_none() {
            match timeout(CONNECTING, Connection::open(address)).await {
                Ok(Ok(opened)) => self.http = Some(opened),
                Ok(Err(_)) | Err(_) => return self.unreachable(),
            }
        }
        let Some(connection) = &mut self.http else { return self.unreachable() };
        let target = format!("/{journal}");
        let answer = timeout(self.patience, connection.request("PUT", &target, &[], content)).await;
        let attempt = match answer {
            Ok(Ok(answer)) if answer.status == 204 => {
                match (answer.number("x-commit-begin"), answer.number("x-commit-end")) {
                    (Some(begin), Some(end)) => {
                        Attempt { outcome: Outcome::Done { begin, end }, repeats: true, ..Attempt::default() }
                    }
                    _ => Attempt::lost("204 without a commit"),
                }
            }
            // It may have been tried before it was refused.
            Ok(Ok(answer)) => {
                let text = answer.text();
                let reason = format!("HTTP {} {}", answer.status, text.lines().next().unwrap_or_default());
                Attempt::lost(reason)
            }
            Ok(Err(error)) => Attempt::lost(format!("HTTP {:?}", error.kind())),
            Err(_) => Attempt::lost("HTTP without an answer"),
        };
        if !matches!(attempt.outcome, Outcome::Done { .. }) {
            self.leave();
        }
        Attempt { repeats: true, ..attempt }
    }

    /// Appends over gRPC.
    pub async fn append(&mut self, request: wire::AppendRequest, content: &[u8]) -> Attempt {
        let Some(address) = self.settle() else { return self.nobody().await };
        let Some(mut client) = self.client(address).await else { return self.unreachable() };
        let content = wire::AppendRequest { content: content.to_vec().into(), ..Default::default() };
        let messages = futures::stream::iter([request, content, wire::AppendRequest::default()]);
        let attempt = match timeout(self.patience, client.append(messages)).await {
            Ok(Ok(response)) => answered(response.into_inner()),
            Ok(Err(status)) => {
                Attempt::lost(format!("gRPC {:?} {}", status.code(), first_words(status.message())))
            }
            Err(_) => Attempt::lost("gRPC without an answer"),
        };
        if !matches!(attempt.outcome, Outcome::Done { .. })
            && attempt.status != Some(wire::Status::RegisterMismatch)
        {
            self.leave();
        }
        attempt
    }

    /// Reads, and hands out what comes, until it ends, or for so long.
    pub async fn read(
        &mut self,
        request: wire::ReadRequest,
        within: Duration,
        mut part: impl FnMut(Part<'_>),
    ) -> End {
        let Some(address) = self.settle() else {
            self.nobody().await;
            return End::Fault("no broker listens".to_owned());
        };
        let Some(mut client) = self.client(address).await else {
            self.unreachable();
            return End::Fault("no connection".to_owned());
        };
        let reading = async {
            let mut stream = client.read(request).await?.into_inner();
            while let Some(response) = stream.next().await {
                let response = response?;
                if response.status != 0 {
                    return Ok(wire::Status::try_from(response.status).unwrap_or_default());
                }
                let (offset, write_head) = (response.offset, response.write_head);
                if response.content.is_empty() {
                    part(Part::Head { offset, write_head, fragment: response.fragment.as_ref() });
                } else {
                    part(Part::Content { offset, bytes: &response.content });
                }
            }
            Ok::<_, tonic::Status>(wire::Status::Ok)
        };
        match timeout(within, reading).await {
            Ok(Ok(status)) => End::Status(status),
            Ok(Err(status)) => {
                self.leave();
                End::Fault(format!("{:?} {}", status.code(), first_words(status.message())))
            }
            Err(_) => End::Late,
        }
    }

    /// A connection of HTTP to a broker, with which the caller does as it likes.
    pub async fn connection(&mut self) -> Option<Connection> {
        let Some(address) = self.settle() else {
            self.nobody().await;
            return None;
        };
        match timeout(CONNECTING, Connection::open(address)).await {
            Ok(Ok(opened)) => Some(opened),
            Ok(Err(_)) | Err(_) => {
                self.unreachable();
                None
            }
        }
    }

    async fn client(&mut self, address: SocketAddr) -> Option<JournalClient<Channel>> {
        if self.grpc.is_none() {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
            let channel = timeout(CONNECTING, endpoint.connect()).await.ok()?.ok()?;
            self.grpc = Some(JournalClient::new(channel).max_decoding_message_size(64 << 20));
        }
        self.grpc.clone()
    }

    fn unreachable(&mut self) -> Attempt {
        self.leave();
        Attempt::not_sent("no connection")
    }

    async fn nobody(&self) -> Attempt {
        sleep(Duration::from_millis(50)).await;
        Attempt::not_sent("no broker listens")
    }
}

fn answered(response: wire::AppendResponse) -> Attempt {
    let status = wire::Status::try_from(response.status).ok();
    let (registers, witness) = (response.registers, response.header.as_ref().and_then(witness));
    match (status, response.commit) {
        (Some(wire::Status::Ok), Some(wire::Fragment { begin, end, .. })) => {
            Attempt { outcome: Outcome::Done { begin, end }, registers, witness, ..Attempt::default() }
        }
        // An answer is about the one attempt that there was.
        (Some(status), _) if status != wire::Status::Ok => Attempt {
            outcome: Outcome::Failed,
            registers,
            witness,
            status: Some(status),
            reason: status.as_str_name().to_owned(),
            ..Attempt::default()
        },
        _ => Attempt::lost("an answer without a commit"),
    }
}

/// Who answered, and whom it knew as the primary.
fn witness(header: &wire::Header) -> Option<Witness> {
    let named = |id: &wire::process_spec::Id| format!("{}#{}", id.zone, id.suffix);
    let route = header.route.as_ref()?;
    let primary = route.members.get(usize::try_from(route.primary).ok()?)?;
    Some(Witness {
        revision: header.etcd.as_ref()?.revision,
        primary: named(primary),
        committer: named(header.process_id.as_ref()?),
    })
}

/// Enough of a message to tell faults apart, and no more, so that they can be counted.
fn first_words(message: &str) -> String {
    let words = message.split_whitespace().filter(|word| !word.bytes().any(|byte| byte.is_ascii_digit()));
    words.take(8).collect::<Vec<_>>().join(" ")
}
