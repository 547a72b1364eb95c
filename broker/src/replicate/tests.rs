//! Tests of brokers that replicate to each other and pass requests on: several in this process, on one registry, over real sockets.

use std::time::Duration;

use bytes::Bytes;
use courant_proto::codec::Codec;
use courant_proto::header::Header;
use courant_proto::id::ProcessId;
use courant_proto::service::JournalService;
use courant_proto::spec::JournalSpec;
use courant_proto::status::Status;
use courant_proto::wire;
use courant_proto::wire::courant;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::contract::cluster::{Cluster, PATIENCE, append, read, requests};
use crate::journal_space::fixture::{name, spec};

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
        incarnation: cluster.brokers[follower].shared.registry.incarnation(),
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
