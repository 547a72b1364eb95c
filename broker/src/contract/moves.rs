//! What becomes of requests that are under way when their journal moves, or goes.

use std::time::Duration;

use courant_proto::codec::Codec;
use courant_proto::fragment::ContentSum;
use courant_proto::service::JournalService;
use courant_proto::spec::JournalSpec;
use courant_proto::wire;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::cluster::{Cluster, PATIENCE, append, read_from, requests};
use crate::journal_space::fixture::{name, root, spec};

const JOURNAL: &str = "a/journal";
const A: &str = "zone-a/aaaa";
const B: &str = "zone-b/bbbb";

fn chunk(content: &'static [u8]) -> wire::AppendRequest {
    wire::AppendRequest { content: content.into(), ..Default::default() }
}

#[tokio::test]
async fn appends_under_way_when_their_journal_moves_are_committed_where_it_went() {
    let (cluster, _leader) = Cluster::led_by("zone-z/lead", &[A, B]).await;
    cluster.create_at(&spec(JOURNAL), &[A]).await;
    let (a, b) = (&cluster.brokers[0], &cluster.brokers[1]);
    append(a, JOURNAL, &[b"before, "]).await;
    // Two have begun: one has sent its content and not that it means it, of the other there is the first message alone.
    let begun = |content: &[&'static [u8]]| {
        let (sender, messages) = mpsc::channel(8);
        let opening = wire::AppendRequest { journal: JOURNAL.into(), ..Default::default() };
        sender.try_send(Ok(opening)).expect("room");
        for content in content {
            sender.try_send(Ok(chunk(content))).expect("room");
        }
        (sender, a.append(ReceiverStream::new(messages).boxed()))
    };
    let (first, mut first_append) = begun(&[b"during, "]);
    let (second, mut second_append) = begun(&[]);
    let moving = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cluster.assign(&name(JOURNAL), &[(B, 0)]).await;
        cluster.until("the journal at its new place", || b.journals() == 1 && a.journals() == 0).await;
    };
    tokio::select! {
        _ = &mut first_append => panic!("the first append ended by itself"),
        _ = &mut second_append => panic!("the second append ended by itself"),
        () = moving => {}
    }
    first.send(Ok(chunk(b""))).await.expect("room");
    drop(first);
    let first = timeout(PATIENCE, first_append).await.expect("an answer in time").expect("an answer");
    for content in [&b"queued, "[..], b""] {
        second.send(Ok(chunk(content))).await.expect("room");
    }
    drop(second);
    let second = timeout(PATIENCE, second_append).await.expect("an answer in time").expect("an answer");
    let spans = [first, second].map(|answer| answer.commit.map(|commit| (commit.begin, commit.end)));
    assert_eq!(spans, [Some((8, 16)), Some((16, 24))]);
    append(a, JOURNAL, &[b"after"]).await;
    // What the former broker alone had is not there before it is stored, and this journal has no store.
    for broker in [a, b] {
        assert_eq!(read_from(broker, JOURNAL, 8, 29).await, b"during, queued, after");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn local_reads_end_in_order_when_their_journal_moves_or_goes() {
    let (cluster, _leader) = Cluster::led_by("zone-z/lead", &[A, B]).await;
    for (what, journal) in [("moves", "it/moves"), ("goes", "it/goes")] {
        cluster.create_at(&spec(journal), &[A]).await;
        append(&cluster.brokers[0], journal, &[b"content"]).await;
        let request = wire::ReadRequest { journal: journal.into(), block: true, ..Default::default() };
        let mut reading = cluster.brokers[0].read(request);
        for expected in [&b""[..], b"content"] {
            let response = reading.next().await.expect("one").expect("a response");
            assert_eq!(response.content, expected, "{what}");
        }
        assert!(
            timeout(Duration::from_millis(50), reading.next()).await.is_err(),
            "{what}: it waits for more"
        );
        if what == "moves" {
            cluster.assign(&name(journal), &[(B, 0)]).await;
        } else {
            cluster.delete(root().item(&name(journal))).await;
        }
        let end = timeout(PATIENCE, reading.next()).await.expect("in time");
        assert!(end.is_none(), "{what}: {end:?}");
    }
    cluster.stop().await;
}

/// A stream as a primary of another make sends it, which ends when the journal is taken away from who follows.
#[tokio::test]
async fn who_follows_lets_go_when_it_has_the_journal_no_more() {
    let (cluster, _leader) = Cluster::led_by("zone-z/lead", &[A, B]).await;
    let both = JournalSpec { replication: 2, ..spec(JOURNAL) };
    cluster.create_at(&both, &["zone-z/lead", A]).await;
    let open = async || {
        let (sender, messages) = mpsc::channel(8);
        let first = wire::ReplicateRequest {
            header: Some((&cluster.header(0, &name(JOURNAL))).into()),
            deprecated_journal: JOURNAL.into(),
            proposal: Some(wire::Fragment {
                journal: JOURNAL.into(),
                sum: Some(ContentSum::ZERO.into()),
                compression_codec: Codec::None.to_wire() as i32,
                ..Default::default()
            }),
            acknowledge: true,
            ..Default::default()
        };
        sender.send(first).await.expect("room");
        let mut answers = cluster.peers.replicate(&cluster.endpoint(0), messages).await.expect("a stream");
        let first = answers.message().await.expect("an answer").expect("one");
        (sender, answers, first.status())
    };
    let (former, mut former_answers, status) = open().await;
    assert_eq!(status, wire::Status::Ok);
    // A later stream takes over from an earlier one, which is told when it says the next thing.
    let (latter, mut latter_answers, status) = open().await;
    assert_eq!(status, wire::Status::Ok);
    let proposal = wire::Fragment {
        journal: JOURNAL.into(),
        compression_codec: Codec::None.to_wire() as i32,
        sum: Some(ContentSum::ZERO.into()),
        ..Default::default()
    };
    let rollback = || wire::ReplicateRequest {
        proposal: Some(proposal.clone()),
        acknowledge: true,
        ..Default::default()
    };
    former.send(rollback()).await.expect("room");
    let superseded = timeout(PATIENCE, former_answers.message()).await.expect("in time");
    assert_eq!(superseded.expect_err("it was superseded").code(), Code::Aborted);

    cluster.assign(&name(JOURNAL), &[("zone-z/lead", 0)]).await;
    cluster.until("nothing held", || cluster.brokers[0].journals() == 0).await;
    latter.send(rollback()).await.expect("room");
    let over = timeout(PATIENCE, latter_answers.message()).await.expect("in time");
    assert_eq!(over.expect_err("the journal is not here").code(), Code::Aborted);
    let (_sender, _answers, status) = open().await;
    assert_eq!(status, wire::Status::NotJournalBroker);
    // Reads that come now are passed on, and appends.
    assert!(cluster.brokers[0].append(requests(JOURNAL, &[])).now_or_never().is_none());
    cluster.stop().await;
}
