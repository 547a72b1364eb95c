//! Tests of brokers that replicate to each other and pass requests on: several in this process, on one registry, over real sockets.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courant_fragment::disk::{Disk, MemoryDisk};
use courant_fragment::store::Stores;
use courant_proto::codec::Codec;
use courant_proto::endpoint::Endpoint;
use courant_proto::header::Header;
use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use courant_proto::service::{AppendRequests, JournalService};
use courant_proto::spec::JournalSpec;
use courant_proto::status::Status;
use courant_proto::time::{ManualClock, Timestamp};
use courant_proto::wire;
use courant_proto::wire::courant;
use futures::{StreamExt, stream};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, Components, Tasks};
use crate::config::Config;
use crate::journal_space::fixture::{id, name, spec};
use crate::peer::client::PeerClient;

const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    registry: courant_registry::Registry,
    brokers: Vec<Broker>,
    peers: PeerClient,
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

impl Cluster {
    async fn start(members: &[&str]) -> Self {
        let registry =
            courant_registry::Registry::in_memory(courant_registry::Config { seed: 7, ..Default::default() });
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (running, until) = (registry.clone(), cancel.clone());
        tasks.spawn(async move { running.run(until).await.expect("a registry in memory") });
        let peers = PeerClient::default();
        let mut cluster = Self { registry, brokers: Vec::new(), peers, cancel, tasks };
        for (number, member) in members.iter().enumerate() {
            cluster.join(&id(member), number as u64).await;
        }
        let all_know_all = || {
            let mut known = cluster.brokers.iter().map(|broker| &broker.shared.presence);
            known.all(|known| members.iter().all(|member| known.is_courant(&id(member))))
        };
        cluster.until("of what make the others are", all_know_all).await;
        cluster
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the sockets of a test are opened where it composes its brokers"
    )]
    async fn join(&mut self, id: &ProcessId, seed: u64) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("spools")).expect("a folder");
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let rng = StdRng::seed_from_u64(seed);
        let components = Components {
            etcd: self.registry.client().await.expect("no socket is involved"),
            disk: Arc::new(disk),
            stores: Arc::new(Stores::new(
                courant_fragment::store::Config::default(),
                Arc::clone(&clock) as _,
                rng,
            )),
            clock,
            background: Handle::current(),
            seed,
        };
        let config = Config::new(id.clone(), format!("http://{address}"), "spools");
        let mut metrics = prometheus_client::registry::Registry::default();
        let opened = Box::pin(Broker::open(config, components, &mut metrics)).await;
        let (broker, Tasks { cores, background }) = opened.expect("a broker");
        for core in cores {
            self.tasks.spawn(core.run(self.cancel.clone()));
        }
        let until = self.cancel.clone();
        self.tasks.spawn(async move { background.run(until).await.expect("nothing ends") });
        let server =
            tonic::transport::Server::builder().add_service(broker.grpc()).add_service(broker.peer());
        let until = self.cancel.clone().cancelled_owned();
        self.tasks.spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            // Streams between brokers are open as long as these are: what is left is dropped with the test.
            let _ = tokio::select! {
                served = server.serve_with_incoming(incoming) => served,
                () = until => Ok(()),
            };
        });
        self.brokers.push(broker);
    }

    /// Creates a journal, and waits until as many members have it as it wants.
    async fn create(&self, spec: &JournalSpec) {
        let change = wire::apply_request::Change { upsert: Some(spec.into()), ..Default::default() };
        let request = wire::ApplyRequest { changes: vec![change] };
        let applied = self.brokers[0].apply(request).await.expect("an answer");
        assert_eq!(applied.status(), wire::Status::Ok);
        let wanted = usize::try_from(spec.replication).expect("a few");
        self.until("all replicas", || {
            self.brokers.iter().all(|broker| {
                let route = broker.shared.space().bare_route(&spec.name);
                route.members().len() == wanted && route.primary().is_some()
            })
        })
        .await;
    }

    async fn until(&self, what: &str, mut seen: impl FnMut() -> bool) {
        let wait = async {
            while !seen() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never saw {what}"));
    }

    fn endpoint(&self, broker: usize) -> Endpoint {
        Endpoint::parse(&self.brokers[broker].shared.config.endpoint).expect("an endpoint")
    }

    fn of(&self, journal: &JournalName, primary: bool) -> usize {
        let route = self.brokers[0].shared.space().bare_route(journal);
        let is_wanted = |broker: &Broker| {
            let me = &broker.shared.config.id;
            if primary {
                route.primary_member() == Some(me)
            } else {
                route.members().contains(me) && route.primary_member() != Some(me)
            }
        };
        self.brokers.iter().position(is_wanted).expect("a member")
    }

    fn outside(&self, journal: &JournalName) -> usize {
        let route = self.brokers[0].shared.space().bare_route(journal);
        let is_outside = |broker: &Broker| !route.members().contains(&broker.shared.config.id);
        self.brokers.iter().position(is_outside).expect("one that has it not")
    }

    fn header(&self, to: usize, journal: &JournalName) -> Header {
        let space = self.brokers[to].shared.space();
        let process_id = Some(self.brokers[to].shared.config.id.clone());
        Header { process_id, route: space.route(journal), etcd: space.etcd() }
    }

    async fn stop(mut self) {
        self.cancel.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a task that did not panic");
        }
    }
}

/// The messages of an append.
fn requests(journal: &str, chunks: &[&'static [u8]]) -> AppendRequests {
    let first = wire::AppendRequest { journal: journal.to_owned(), ..Default::default() };
    let contents = chunks.iter().copied().chain([&b""[..]]);
    let contents = contents
        .map(|content| wire::AppendRequest { content: Bytes::from_static(content), ..Default::default() });
    let requests: Vec<_> = std::iter::once(first).chain(contents).map(Ok).collect();
    stream::iter(requests).boxed()
}

/// Appends; retries what says that it was not committed.
async fn append(broker: &Broker, journal: &str, chunks: &[&'static [u8]]) -> wire::AppendResponse {
    let appended = async {
        loop {
            match broker.append(requests(journal, chunks)).await {
                Ok(answer) if answer.status() == wire::Status::InsufficientJournalBrokers => {}
                Ok(answer) => return answer,
                Err(fault) => {
                    assert!(fault.message().contains("nothing was committed"), "{fault:?}");
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, appended).await.expect("an append that ends")
}

/// Reads up to an offset, waiting for it.
async fn read(broker: &Broker, journal: &str, end: i64) -> Vec<u8> {
    let request =
        wire::ReadRequest { journal: journal.to_owned(), block: true, end_offset: end, ..Default::default() };
    let content = async {
        let responses: Vec<_> = broker.read(request).collect().await;
        responses.into_iter().flat_map(|response| response.expect("a response").content.to_vec()).collect()
    };
    let member = &broker.shared.config.id;
    timeout(PATIENCE, content).await.unwrap_or_else(|_| panic!("the read of {member} does not end"))
}

#[tokio::test]
async fn all_brokers_serve_a_journal_that_two_of_them_hold() {
    let cluster = Cluster::start(&["zone-a/aaaa", "zone-b/bbbb", "zone-c/cccc"]).await;
    let journal = name("a/journal");
    cluster.create(&JournalSpec { replication: 2, ..spec("a/journal") }).await;
    let mut end = 0;
    let mut expected = Vec::new();
    for round in 0..3 {
        for broker in &cluster.brokers {
            let answer = append(broker, "a/journal", &[b"hello, ", b"world; "]).await;
            assert_eq!(answer.status(), wire::Status::Ok, "in round {round}");
            let commit = answer.commit.expect("a commit");
            assert_eq!((commit.begin, commit.end), (end, end + 14));
            end = commit.end;
            expected.extend_from_slice(b"hello, world; ");
            let answered_by = answer.header.and_then(|header| header.process_id).expect("an author");
            let primary = &cluster.brokers[cluster.of(&journal, true)].shared.config.id;
            assert_eq!(ProcessId::try_from(&answered_by).as_ref(), Ok(primary));
        }
    }
    for broker in &cluster.brokers {
        assert_eq!(read(broker, "a/journal", end).await, expected, "of {}", broker.shared.config.id);
    }
    let outside = &cluster.brokers[cluster.outside(&journal)];
    let refused = |response: &wire::ReadResponse| response.status();
    let request = wire::ReadRequest { journal: "a/journal".into(), do_not_proxy: true, ..Default::default() };
    let responses: Vec<_> =
        outside.read(request).map(|response| response.expect("a refusal")).collect().await;
    assert_eq!(responses.iter().map(refused).collect::<Vec<_>>(), [wire::Status::NotJournalBroker]);
    let request = wire::FragmentsRequest { journal: "a/journal".into(), ..Default::default() };
    let listed = outside.list_fragments(request).await.expect("a list");
    let spans: Vec<_> = listed.fragments.iter().flat_map(|fragment| &fragment.spec).collect();
    assert_eq!(
        (spans.first().map(|span| span.begin), spans.last().map(|span| span.end)),
        (Some(0), Some(end))
    );
    cluster.stop().await;
}

#[tokio::test]
async fn a_read_that_is_passed_on_ends_cleanly_when_the_broker_stops() {
    let cluster = Cluster::start(&["zone-a/aaaa", "zone-b/bbbb"]).await;
    let journal = name("a/journal");
    cluster.create(&spec("a/journal")).await;
    append(&cluster.brokers[0], "a/journal", &[b"content"]).await;
    let outside = cluster.brokers[cluster.outside(&journal)].clone();
    let request = wire::ReadRequest { journal: "a/journal".into(), block: true, ..Default::default() };
    let mut responses = outside.read(request);
    for expected in [&b""[..], b"content"] {
        let response =
            timeout(PATIENCE, responses.next()).await.expect("in time").expect("one").expect("content");
        assert_eq!(response.content, expected);
    }
    assert!(timeout(Duration::from_millis(100), responses.next()).await.is_err(), "it waits for more");
    outside.close_streams();
    assert!(timeout(PATIENCE, responses.next()).await.expect("in time").is_none());
    cluster.stop().await;
}

#[tokio::test]
async fn heads_are_told_to_the_primary_alone() {
    let cluster = Cluster::start(&["zone-a/aaaa", "zone-b/bbbb"]).await;
    let journal = name("a/journal");
    cluster.create(&JournalSpec { replication: 2, ..spec("a/journal") }).await;
    append(&cluster.brokers[0], "a/journal", &[b"content"]).await;
    let (primary, follower) = (cluster.of(&journal, true), cluster.of(&journal, false));
    let item = cluster.brokers[0].shared.space().item(&journal).expect("the journal");
    let asked =
        |name: &str, create_revision| courant::heads_request::Journal { name: name.into(), create_revision };
    let request = |caller: usize| courant::HeadsRequest {
        header: Some((&cluster.header(follower, &journal)).into()),
        caller: Some((&cluster.brokers[caller].shared.config.id).into()),
        journals: vec![
            asked("a/journal", item.create_revision),
            asked("a/journal", item.create_revision + 1),
            asked("no/journal", 1),
        ],
    };
    let heads = |caller: usize| {
        let to = cluster.brokers[follower].shared.config.id.clone();
        let (peers, endpoint, request) = (cluster.peers.clone(), cluster.endpoint(follower), request(caller));
        async move { peers.heads(&to, &endpoint, request).await.expect("heads") }
    };
    let statuses = |answer: &courant::HeadsResponse| {
        answer.heads.iter().map(courant::heads_response::Head::status).collect::<Vec<_>>()
    };
    let gone = wire::Status::JournalNotFound;
    let refused = heads(follower).await;
    assert_eq!(statuses(&refused), [wire::Status::NotJournalPrimaryBroker, gone, gone]);
    let told = heads(primary).await;
    assert_eq!(statuses(&told), [wire::Status::Ok, gone, gone]);
    assert_eq!((told.heads[0].known, told.heads[0].end), (true, 7));
    assert_ne!((told.heads[0].token, told.log), (0, 0));
    // The stream of the primary is fenced by that. An append that is on it may be committed or not; the next one begins another.
    let fenced = requests("a/journal", &[b"more"]);
    let fenced = timeout(PATIENCE, cluster.brokers[primary].append(fenced)).await.expect("an answer in time");
    assert!(fenced.expect_err("a fenced stream").message().contains("is not known"));
    let answer = append(&cluster.brokers[primary], "a/journal", &[b"more"]).await;
    assert!([11, 15].contains(&answer.commit.expect("a commit").end));
    let endpoint = cluster.endpoint(follower);
    let fetched = cluster.peers.fetch(
        &endpoint,
        courant::FetchRequest {
            header: Some((&cluster.header(follower, &journal)).into()),
            journal: "a/journal".into(),
            create_revision: item.create_revision,
            epoch: told.heads[0].epoch,
            from: 2,
            to: 7,
        },
    );
    let mut fetched = fetched.await.expect("content");
    assert_eq!(fetched.begin.get(), 2);
    let mut content = Vec::new();
    while let Some(chunk) = fetched.next().await {
        content.extend_from_slice(&chunk.expect("a chunk"));
    }
    assert_eq!(content, b"ntent");
    cluster.stop().await;
}

#[tokio::test]
async fn a_stream_that_may_not_replicate_is_refused() {
    let cluster = Cluster::start(&["zone-a/aaaa", "zone-b/bbbb"]).await;
    let journal = name("a/journal");
    cluster.create(&JournalSpec { replication: 2, ..spec("a/journal") }).await;
    append(&cluster.brokers[0], "a/journal", &[b"content"]).await;
    let follower = cluster.of(&journal, false);
    let first = |journal: &str, header: Header| wire::ReplicateRequest {
        header: Some((&header).into()),
        proposal: Some(wire::Fragment {
            journal: journal.to_owned(),
            compression_codec: Codec::None.to_wire() as i32,
            ..Default::default()
        }),
        acknowledge: true,
        ..Default::default()
    };
    let replicate = |request: wire::ReplicateRequest| {
        let (peers, endpoint) = (cluster.peers.clone(), cluster.endpoint(follower));
        async move {
            let (sender, requests) = mpsc::channel(1);
            sender.send(request).await.expect("room");

            let mut answers = peers.replicate(&endpoint, requests).await.expect("a stream");

            let first = answers.message().await;

            let second = match &first {
                Ok(Some(_)) => answers.message().await.map(|second| second.is_some()),
                _ => Ok(false),
            };
            (first, second)
        }
    };
    let refused = |expected: Status| {
        move |(first, second): (
            Result<Option<wire::ReplicateResponse>, tonic::Status>,
            Result<bool, tonic::Status>,
        )| {
            let first = first.expect("an answer").expect("a first one");
            assert_eq!(first.status, expected as i32);
            assert!(first.header.is_some());
            assert!(!second.expect("a clean end"), "there was another answer");
        }
    };
    let header = cluster.header(follower, &journal);
    refused(Status::JournalNotFound)(replicate(first("no/journal", header.clone())).await);
    let alone = Header { route: courant_proto::route::Route::empty(), ..header.clone() };
    refused(Status::WrongRoute)(replicate(first("a/journal", alone)).await);
    let attach =
        courant::Attach { token: u64::MAX, create_revision: 1, epoch: 9, prior: 8, base: 0, counts: 0 };
    let request = wire::ReplicateRequest { attach: Some(attach), ..first("a/journal", header.clone()) };
    refused(Status::JournalNotFound)(replicate(request).await);
    let create_revision = cluster.brokers[0].shared.space().item(&journal).expect("it").create_revision;
    let attach = courant::Attach { create_revision, ..attach };
    let request = wire::ReplicateRequest { attach: Some(attach), ..first("a/journal", header.clone()) };
    let (superseded, _) = replicate(request).await;
    assert_eq!(superseded.expect_err("a wrong token").code(), tonic::Code::Aborted);
    let request = wire::ReplicateRequest { header: None, ..first("a/journal", header.clone()) };
    let (broken, _) = replicate(request).await;
    let broken = broken.expect_err("a first message without header");
    assert_eq!(
        (broken.code(), broken.message()),
        (tonic::Code::Unknown, "expected first ReplicateRequest to have Header")
    );
    // None of it has disturbed what the primary does.
    let answer = append(&cluster.brokers[follower], "a/journal", &[b"more"]).await;
    assert_eq!(answer.commit.expect("a commit").end, 11);

    cluster.stop().await;
}

#[tokio::test]
async fn a_primary_of_another_make_is_followed_by_its_own_rules() {
    let cluster = Cluster::start(&["zone-a/aaaa", "zone-b/bbbb"]).await;
    let journal = name("a/journal");
    cluster.create(&JournalSpec { replication: 2, ..spec("a/journal") }).await;
    let follower = cluster.of(&journal, false);
    let (sender, requests) = mpsc::channel(16);
    let fragment = |begin: i64, end: i64, content: &[u8]| {
        let mut digest = courant_fragment::spool::digest::Digest::new();
        digest.update(content);
        let sum = if content.is_empty() { courant_proto::fragment::ContentSum::ZERO } else { digest.sum() };
        Some(wire::Fragment {
            journal: "a/journal".into(),
            begin,
            end,
            sum: Some(sum.into()),
            ..Default::default()
        })
    };
    let none = Codec::None.to_wire() as i32;
    let send = |request: wire::ReplicateRequest| {
        let mut request = request;
        if let Some(proposal) = &mut request.proposal {
            proposal.compression_codec = none;
        }
        sender.try_send(request).expect("room");
    };
    send(wire::ReplicateRequest {
        header: Some((&cluster.header(follower, &journal)).into()),
        deprecated_journal: "a/journal".into(),
        proposal: fragment(0, 0, b""),
        acknowledge: true,
        ..Default::default()
    });
    let mut answers = cluster.peers.replicate(&cluster.endpoint(follower), requests).await.expect("a stream");
    let first = answers.message().await.expect("an answer").expect("a first one");
    assert_eq!((first.status(), first.header.is_some()), (wire::Status::Ok, true));
    // A proposal beyond the end rolls, and mismatches; the stream goes on.
    send(wire::ReplicateRequest {
        proposal: fragment(10, 20, b"0123456789"),
        acknowledge: true,
        ..Default::default()
    });
    let mismatch = answers.message().await.expect("an answer").expect("one");
    assert_eq!(mismatch.status(), wire::Status::ProposalMismatch);
    assert_eq!(mismatch.fragment.map(|have| (have.begin, have.end)), Some((20, 20)));
    assert!(mismatch.header.is_none(), "told once");
    for (content_delta, content) in [(0, &b"abc"[..]), (3, b"de")] {
        send(wire::ReplicateRequest {
            content: Bytes::from_static(content),
            content_delta,
            ..Default::default()
        });
    }
    send(wire::ReplicateRequest {
        proposal: fragment(20, 25, b"abcde"),
        acknowledge: true,
        ..Default::default()
    });
    assert_eq!(answers.message().await.expect("an answer").expect("one").status(), wire::Status::Ok);
    drop(sender);
    assert!(answers.message().await.expect("a clean end").is_none());
    cluster.stop().await;
}
