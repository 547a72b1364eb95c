//! Several scripted brokers over real sockets: who is called, who is called instead.

use std::time::Duration;

use bytes::Bytes;
use courant_proto::wire::journal_server::JournalServer;
use courant_proto::wire::{self, Status as S};
use futures::StreamExt as _;
use tokio::task::{AbortHandle, JoinSet};
use tonic::transport::server::{Server, TcpIncoming};

use crate::fake::{Fake, OnAppend, header};
use crate::{Client, Content, Options, ReadEvent};

const JOURNAL: &str = "acme/orders";

/// A scripted broker at an address.
struct Scripted {
    fake: Fake,
    address: String,
    server: AbortHandle,
}

#[derive(Default)]
struct Brokers(JoinSet<()>);

impl Brokers {
    fn start(&mut self) -> Scripted {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = format!("http://{}", incoming.local_addr().unwrap());
        let fake = Fake::default();
        let router = Server::builder().add_service(JournalServer::new(fake.clone()));
        let server = self.0.spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
        Scripted { fake, address, server }
    }

    async fn stop(&mut self, broker: &Scripted) {
        broker.server.abort();
        self.0.join_next().await.unwrap().unwrap_err();
    }
}

fn id(zone: &str, suffix: &str) -> wire::process_spec::Id {
    wire::process_spec::Id { zone: zone.into(), suffix: suffix.into() }
}

/// A header whose route has the first as its primary, in zone a, and the others in zones b, c, and so on.
fn routed(members: &[&Scripted]) -> wire::Header {
    let zone = |index: usize| ["a", "b", "c"][index];
    wire::Header {
        route: Some(wire::Route {
            members: (0..members.len()).map(|index| id(zone(index), "broker")).collect(),
            primary: if members.is_empty() { -1 } else { 0 },
            endpoints: members.iter().map(|broker| broker.address.clone()).collect(),
        }),
        ..header(5)
    }
}

fn append() -> wire::AppendRequest {
    wire::AppendRequest { journal: JOURNAL.into(), ..Default::default() }
}

fn committed(header: &wire::Header) -> OnAppend {
    OnAppend::Answer(Ok(wire::AppendResponse {
        header: Some(header.clone()),
        commit: Some(wire::Fragment { end: 5, ..Default::default() }),
        registers: Some(wire::LabelSet::default()),
        ..Default::default()
    }))
}

fn at_head(header: &wire::Header) -> Result<wire::ReadResponse, tonic::Status> {
    Ok(wire::ReadResponse {
        status: S::OffsetNotYetAvailable.into(),
        header: Some(header.clone()),
        write_head: 7,
        offset: 7,
        ..Default::default()
    })
}

/// Appends and reads that each of the brokers was asked for.
fn asked(brokers: &[&Scripted]) -> Vec<(usize, usize)> {
    let count = |broker: &&Scripted| (broker.fake.append_lines().len(), broker.fake.read_requests().len());
    brokers.iter().map(count).collect()
}

fn patient(seconds: u64) -> Options {
    Options { retry_for: Duration::from_secs(seconds), ..Options::default() }
}

#[tokio::test]
async fn calls_go_where_answers_say_and_name_nobody() {
    let mut brokers = Brokers::default();
    let (dialled, primary, near) = (brokers.start(), brokers.start(), brokers.start());
    let told = routed(&[&primary, &near]);
    let client = Client::connect(&dialled.address).unwrap().with_seed(1).in_zone("b");

    dialled.fake.on_append(committed(&told));
    client.append(append(), "hello").await.unwrap();
    primary.fake.on_append(committed(&told));
    client.append(append(), "hello").await.unwrap();
    primary.fake.on_append(committed(&told));
    let mut appender = client.appender(append());
    appender.write("hello".into()).await.unwrap();
    appender.commit().await.unwrap();
    near.fake.on_read([at_head(&told)]);
    assert_eq!(client.head(&format!("{JOURNAL};meta")).await.unwrap(), 7);
    assert_eq!(asked(&[&dialled, &primary, &near]), [(1, 0), (2, 0), (0, 1)]);
    assert_eq!(near.fake.read_requests()[0].header, None);

    // One that was told to ask in one place alone does so.
    let alone = client.without_routing();
    dialled.fake.on_append(committed(&told));
    dialled.fake.on_append(committed(&told));
    alone.append(append(), "hello").await.unwrap();
    alone.append(append(), "hello").await.unwrap();
    assert_eq!(asked(&[&dialled, &primary, &near]), [(3, 0), (2, 0), (0, 1)]);
}

#[tokio::test]
async fn a_listing_teaches_routes() {
    let mut brokers = Brokers::default();
    let (dialled, primary) = (brokers.start(), brokers.start());
    let told = routed(&[&primary]);
    let journal = wire::list_response::Journal {
        spec: Some(wire::JournalSpec { name: JOURNAL.into(), ..Default::default() }),
        route: told.route.clone(),
        mod_revision: 1,
        create_revision: 1,
    };
    let response =
        wire::ListResponse { header: Some(header(5)), journals: vec![journal], ..Default::default() };
    dialled.fake.on_list([Ok(response)], false);
    let client = Client::connect(&dialled.address).unwrap().with_seed(1);
    client.list(wire::LabelSelector::default()).await.unwrap();
    primary.fake.on_append(committed(&told));
    client.append(append(), "hello").await.unwrap();
    assert_eq!(asked(&[&dialled, &primary]), [(0, 0), (1, 0)]);
}

#[tokio::test]
async fn a_refusal_teaches_the_route_for_the_next_attempt() {
    let mut brokers = Brokers::default();
    let (dialled, primary) = (brokers.start(), brokers.start());
    let told = routed(&[&primary]);
    dialled.fake.on_append(OnAppend::Answer(Ok(wire::AppendResponse {
        status: S::NotJournalPrimaryBroker.into(),
        header: Some(told.clone()),
        ..Default::default()
    })));
    primary.fake.on_append(committed(&told));
    let client = Client::connect(&dialled.address).unwrap().with_seed(1);
    client.append(append(), "hello").await.unwrap();
    assert_eq!(asked(&[&dialled, &primary]), [(1, 0), (1, 0)]);
}

#[tokio::test]
async fn a_member_that_is_gone_is_passed_over_at_once() {
    let mut brokers = Brokers::default();
    let (dialled, primary) = (brokers.start(), brokers.start());
    let gone = routed(&[&primary]);
    let there = routed(&[&dialled]);
    // No second attempt of the client's own is needed.
    let client = Client::connect(&dialled.address).unwrap().with_seed(1).with_options(patient(0));
    dialled.fake.on_append(committed(&gone));
    client.append(append(), "hello").await.unwrap();
    brokers.stop(&primary).await;

    // Content that can be had once is not lost either: nobody took any of it.
    dialled.fake.on_append(committed(&gone));
    let once = futures::stream::iter([Ok(Bytes::from_static(b"for")), Ok(Bytes::from_static(b"me"))]);
    client.append(append(), Content::stream(once)).await.unwrap();
    // It is told as the primary again, and left alone all the same.
    dialled.fake.on_append(committed(&gone));
    client.append(append(), "hello").await.unwrap();
    dialled.fake.on_read([at_head(&there)]);
    assert_eq!(client.head(JOURNAL).await.unwrap(), 7);
    assert_eq!(asked(&[&dialled, &primary]), [(3, 1), (0, 0)]);
    assert_eq!(dialled.fake.append_lines()[1], "head 3 2 commit end");
}

#[tokio::test]
async fn a_read_that_is_lost_goes_on_elsewhere() {
    let mut brokers = Brokers::default();
    let (dialled, member) = (brokers.start(), brokers.start());
    let told = routed(&[&member]);
    let client = Client::connect(&dialled.address).unwrap().with_seed(1);
    let fragment = |end| wire::Fragment {
        journal: JOURNAL.into(),
        end,
        compression_codec: wire::CompressionCodec::None.into(),
        ..Default::default()
    };
    let metadata = |offset| {
        let fragment = Some(fragment(10));
        Ok(wire::ReadResponse {
            header: Some(told.clone()),
            offset,
            write_head: 10,
            fragment,
            ..Default::default()
        })
    };
    let content = |offset, content: &'static str| {
        Ok(wire::ReadResponse {
            offset,
            content: Bytes::from_static(content.as_bytes()),
            ..Default::default()
        })
    };
    dialled.fake.on_read([at_head(&told)]);
    client.head(JOURNAL).await.unwrap();

    member.fake.on_read([metadata(0), content(0, "hello"), Err(tonic::Status::unavailable("stopping"))]);
    dialled.fake.on_read([metadata(5), content(5, "world")]);
    let request = wire::ReadRequest { journal: JOURNAL.into(), end_offset: 10, ..Default::default() };
    let events = client.reader(request).map(Result::unwrap).collect::<Vec<_>>();
    let mut text = Vec::new();
    for event in tokio::time::timeout(Duration::from_secs(30), events).await.unwrap() {
        if let ReadEvent::Content { content, .. } = event {
            text.extend_from_slice(&content);
        }
    }
    assert_eq!(text, b"helloworld");
    assert_eq!(asked(&[&dialled, &member]), [(0, 2), (0, 1)]);

    // One that says at once that it cannot serve is passed over within the call.
    member.fake.on_read([Err(tonic::Status::unavailable("stopping"))]);
    dialled.fake.on_read([at_head(&told)]);
    assert_eq!(client.head(JOURNAL).await.unwrap(), 7);
    assert_eq!(asked(&[&dialled, &member]), [(0, 3), (0, 2)]);
}

#[tokio::test]
async fn of_several_addresses_one_is_enough() {
    let mut brokers = Brokers::default();
    let (first, second) = (brokers.start(), brokers.start());
    brokers.stop(&first).await;
    let addresses = format!("{},{}/", first.address, second.address);
    let client = Client::connect(&addresses).unwrap().with_seed(1).with_options(patient(0));
    let told = routed(&[]);
    second.fake.on_append(committed(&told));
    client.append(append(), "hello").await.unwrap();
    second.fake.on_read([at_head(&told)]);
    assert_eq!(client.head(JOURNAL).await.unwrap(), 7);
    second.fake.on_list([Ok(wire::ListResponse { header: Some(header(7)), ..Default::default() })], false);
    assert_eq!(client.list(wire::LabelSelector::default()).await.unwrap().revision(), 7);
    let applied = wire::ApplyResponse { status: 0, header: Some(header(9)) };
    second.fake.on_apply(Ok(applied));
    client.apply(wire::ApplyRequest::default()).await.unwrap();

    brokers.stop(&second).await;
    // A new one, since connections outlive the server that took them.
    let client = Client::connect(&addresses).unwrap().with_seed(1);
    let error = client.head(JOURNAL).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(Client::connect("http://one:8080,two").is_err());
}

#[tokio::test]
async fn a_replica_that_lacks_content_is_left_for_another() {
    let mut brokers = Brokers::default();
    let (dialled, near, other) = (brokers.start(), brokers.start(), brokers.start());
    let told = routed(&[&other, &near]);
    let client = Client::connect(&dialled.address).unwrap().with_seed(1).in_zone("b");
    dialled.fake.on_read([at_head(&told)]);
    client.head(JOURNAL).await.unwrap();

    let lacks = |broker: &Scripted| {
        let answer = at_head(&told).unwrap();
        broker.fake.on_read([Ok(wire::ReadResponse { offset: 3, ..answer })]);
    };
    (0..4).for_each(|_| lacks(&near));
    (0..4).for_each(|_| lacks(&other));
    for _ in 0..4 {
        let request = wire::ReadRequest { journal: JOURNAL.into(), offset: 3, ..Default::default() };
        client.read(request).next().await.unwrap().unwrap_err();
    }
    let asked = asked(&[&dialled, &near, &other]);
    assert!(asked[0].1 == 1 && asked[1].1 >= 2 && asked[2].1 >= 1, "{asked:?}");
}
