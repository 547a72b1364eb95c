//! What is passed on to another broker, and what comes back.

use std::time::Duration;

use courant_proto::codec::Codec;
use courant_proto::service::JournalService;
use courant_proto::wire;
use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::cluster::{Cluster, PATIENCE, requests};
use super::labels;
use super::scripted::{Appending, Call, Scripted};
use crate::journal_space::fixture::{name, spec};

const JOURNAL: &str = "a/journal";

/// One of ours, and a journal that a scripted broker has.
async fn elsewhere() -> (Cluster, Scripted) {
    let (cluster, peer) = Cluster::led_by("zone-b/peer", &["zone-a/self"]).await;
    cluster.create_at(&spec(JOURNAL), &["zone-b/peer"]).await;
    (cluster, peer)
}

fn fragment(end: i64) -> wire::Fragment {
    wire::Fragment {
        journal: JOURNAL.into(),
        begin: 0,
        end,
        compression_codec: Codec::Snappy.to_wire() as i32,
        ..Default::default()
    }
}

fn check_header(header: Option<&wire::Header>, process: Option<&Scripted>) {
    let header = header.expect("a header");
    // Any member may serve it where none is named.
    assert_eq!(header.process_id, Some(process.map(|peer| (&peer.id).into()).unwrap_or_default()));
    assert_eq!(header.route.as_ref().map(|route| route.members.len()), Some(1));
    assert!(header.etcd.is_some_and(|etcd| etcd.cluster_id != 0 && etcd.revision > 0));
}

#[tokio::test]
async fn an_append_is_passed_on_message_by_message_and_its_answer_as_it_is() {
    let (cluster, mut peer) = elsewhere().await;
    let broker = &cluster.brokers[0];
    // Each message goes on as it comes: the peer has the first two before there is a third.
    let (sender, messages) = mpsc::channel(8);
    let opening =
        wire::AppendRequest { journal: format!("{JOURNAL};meta"), offset: 42, ..Default::default() };
    let chunk =
        |content: &'static [u8]| wire::AppendRequest { content: content.into(), ..Default::default() };
    sender.send(Ok(opening.clone())).await.expect("room");
    sender.send(Ok(chunk(b"foo"))).await.expect("room");
    let appending = broker.append(ReceiverStream::new(messages).boxed());
    let answer = wire::AppendResponse {
        status: wire::Status::WrongAppendOffset as i32,
        commit: Some(fragment(7)),
        registers: Some(labels(&[("A", "1")])),
        total_chunks: 5,
        delayed_chunks: 4,
        store_health_error: "verbatim".into(),
        ..Default::default()
    };
    let serving = async {
        let Appending { mut requests, reply } = peer.append().await;
        let first = requests.message().await.expect("no fault").expect("a first message");
        check_header(first.header.as_ref(), Some(&peer));
        assert_eq!(wire::AppendRequest { header: None, ..first }, opening);
        assert_eq!(requests.message().await.expect("no fault"), Some(chunk(b"foo")));
        sender.send(Ok(chunk(b""))).await.expect("room");
        drop(sender);
        assert_eq!(requests.message().await.expect("no fault"), Some(chunk(b"")));
        assert_eq!(requests.message().await.expect("no fault"), None);
        reply.send(Ok(answer.clone())).expect("somebody waits");
    };
    let (appended, ()) = tokio::join!(appending, serving);
    assert_eq!(appended.expect("an answer"), answer);

    let appending = broker.append(requests(JOURNAL, &[b"content"]));
    let failing = async {
        let fault = Err(tonic::Status::failed_precondition("some error"));
        peer.append().await.reply.send(fault).expect("somebody waits");
    };
    let (failed, ()) = tokio::join!(appending, failing);
    let failed = failed.expect_err("the peer's fault");
    assert_eq!((failed.code(), failed.message()), (Code::FailedPrecondition, "some error"));
    cluster.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_gone_for_the_peer_too() {
    let (cluster, mut peer) = elsewhere().await;
    let broker = &cluster.brokers[0];
    let opening = || Ok(wire::AppendRequest { journal: JOURNAL.into(), ..Default::default() });
    let chunk = || Ok(wire::AppendRequest { content: (&b"content"[..]).into(), ..Default::default() });
    let intent = || Ok(wire::AppendRequest::default());
    let rows = [
        ("its call is dropped", vec![opening(), chunk()], None),
        (
            "it cancels",
            vec![opening(), chunk(), Err(tonic::Status::cancelled("gone"))],
            Some(Code::Cancelled),
        ),
        // As the peer may take a call that is dropped for one that has ended, it must not have been told to commit.
        (
            "it breaks off",
            vec![opening(), chunk(), intent(), Err(tonic::Status::internal("torn"))],
            Some(Code::Unknown),
        ),
    ];
    for (what, messages, expected) in rows {
        let mut appending = broker.append(stream::iter(messages).chain(stream::pending()).boxed());
        let (mut requests, mut reply) = match expected {
            Some(code) => {
                let (failed, call) = tokio::join!(&mut appending, peer.append());
                assert_eq!(failed.expect_err(what).code(), code, "{what}");
                (call.requests, call.reply)
            }
            None => tokio::select! {
                _ = &mut appending => panic!("{what}: nobody has answered"),
                call = peer.append() => (call.requests, call.reply),
            },
        };
        drop(appending);
        timeout(PATIENCE, reply.closed()).await.expect("the peer's call is gone");
        let mut seen = Vec::new();
        while let Ok(Some(message)) = requests.message().await {
            seen.push(message);
        }
        let meant = |message: &wire::AppendRequest| message.journal.is_empty() && message.content.is_empty();
        assert!(!seen.iter().any(meant), "{what}: {seen:?}");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_read_is_passed_on_and_its_responses_as_they_are() {
    let (cluster, mut peer) = elsewhere().await;
    let broker = cluster.brokers[0].clone();
    let request = wire::ReadRequest {
        journal: JOURNAL.into(),
        offset: 3,
        block: true,
        end_offset: 90,
        begin_mod_time: 5,
        ..Default::default()
    };
    let responses = [
        wire::ReadResponse { offset: 3, write_head: 9, fragment: Some(fragment(9)), ..Default::default() },
        wire::ReadResponse { offset: 3, content: (&b"content"[..]).into(), ..Default::default() },
    ];
    // How the peer's stream ends, and how ours does.
    for fault in [None, Some(tonic::Status::data_loss("some error"))] {
        let mut reading = broker.read(request.clone());
        let (first, replies) = tokio::join!(reading.next(), async {
            let Call::Read { request: passed, replies } = peer.call().await else {
                panic!("expected a read")
            };
            check_header(passed.header.as_ref(), None);
            assert_eq!(wire::ReadRequest { header: None, ..passed }, request);
            for response in &responses {
                replies.send(Ok(response.clone())).await.expect("somebody listens");
            }
            replies
        });
        assert_eq!(first.expect("one").expect("a response"), responses[0]);
        assert_eq!(reading.next().await.expect("one").expect("a response"), responses[1]);
        if let Some(fault) = &fault {
            replies.send(Err(fault.clone())).await.expect("somebody listens");
        }
        drop(replies);
        let end = timeout(PATIENCE, reading.next()).await.expect("an end in time");
        let got = end.map(|end| end.expect_err("no response"));
        assert_eq!(
            got.map(|got| (got.code(), got.message().to_owned())),
            fault.map(|fault| (fault.code(), fault.message().to_owned()))
        );
    }
    let refused = wire::ReadRequest { do_not_proxy: true, ..request.clone() };
    let refused: Vec<_> = broker.read(refused).collect().await;
    let [Ok(refused)] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(refused.status(), wire::Status::NotJournalBroker);
    assert!(refused.header.as_ref().is_some_and(|header| header.route.is_some()));
    assert!(peer.is_idle());

    // A reader that waits elsewhere does not hold up the end of this broker.
    let mut reading = broker.read(request.clone());
    let waiting = timeout(Duration::from_millis(100), reading.next());
    let (waiting, call) = tokio::join!(waiting, peer.call());
    assert!(waiting.is_err());
    broker.close_streams();
    assert!(timeout(PATIENCE, reading.next()).await.expect("in time").is_none());
    drop(call);
    cluster.stop().await;
}

#[tokio::test]
async fn fragments_are_asked_of_a_member() {
    let (cluster, mut peer) = elsewhere().await;
    let broker = &cluster.brokers[0];
    let request = wire::FragmentsRequest { journal: JOURNAL.into(), begin_mod_time: 7, ..Default::default() };
    let answer = wire::FragmentsResponse { next_page_token: 12, ..Default::default() };
    for (limit, passed_limit) in [(0, 1000), (3, 3)] {
        let request = wire::FragmentsRequest { page_limit: limit, ..request.clone() };
        let (listed, ()) = tokio::join!(broker.list_fragments(request.clone()), async {
            let Call::Fragments { request: passed, reply } = peer.call().await else {
                panic!("expected a listing of fragments")
            };
            check_header(passed.header.as_ref(), None);
            assert_eq!(passed.page_limit, passed_limit);
            assert_eq!(wire::FragmentsRequest { header: None, page_limit: limit, ..passed }, request);
            reply.send(Ok(answer.clone())).expect("somebody waits");
        });
        assert_eq!(listed.expect("an answer"), answer);
    }
    let refused = wire::FragmentsRequest { do_not_proxy: true, ..request };
    let refused = broker.list_fragments(refused).await.expect("an answer");
    assert_eq!(refused.status(), wire::Status::NotJournalBroker);
    assert!(!cluster.brokers[0].shared.space().bare_route(&name(JOURNAL)).members().is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn a_member_that_cannot_be_reached_is_passed_over() {
    let (cluster, mut peer) = Cluster::led_by("zone-b/peer", &["zone-a/self"]).await;
    let broker = &cluster.brokers[0];
    cluster.join_unreachable("zone-a/gone").await;
    cluster.create_at(&spec("has/another"), &["zone-a/gone", "zone-b/peer"]).await;
    cluster.create_at(&spec("has/none"), &["zone-a/gone"]).await;
    let request = |journal: &str| wire::ReadRequest { journal: journal.into(), ..Default::default() };
    let mut reading = broker.read(request("has/another"));
    let (response, ()) = tokio::join!(reading.next(), async {
        let Call::Read { replies, .. } = peer.call().await else { panic!("expected a read") };
        replies.send(Ok(wire::ReadResponse { offset: 7, ..Default::default() })).await.expect("a reader");
    });
    assert_eq!(response.expect("one").expect("a response").offset, 7);
    // Without another it is a fault, which may pass.
    let read: Vec<_> = broker.read(request("has/none")).collect().await;
    let [Err(fault)] = &read[..] else { panic!("{read:?}") };
    assert_eq!(fault.code(), Code::Unavailable, "{fault:?}");
    let fragments = wire::FragmentsRequest { journal: "has/none".into(), ..Default::default() };
    assert_eq!(broker.list_fragments(fragments).await.expect_err("nobody").code(), Code::Unavailable);
    let appended = timeout(PATIENCE, broker.append(requests("has/none", &[b"content"]))).await;
    let fault = appended.expect("in time").expect_err("nobody takes it");
    assert_eq!(fault.code(), Code::Unavailable, "{fault:?}");
    cluster.stop().await;
}
