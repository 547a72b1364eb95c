//! A primary and peers of another make: what they are sent, and what their answers lead to.

use std::time::Duration;

use courant_fragment::spool::digest::Digest;
use courant_proto::codec::Codec;
use courant_proto::fragment::ContentSum;
use courant_proto::service::JournalService;
use courant_proto::spec::{FragmentSpec, JournalSpec};
use courant_proto::wire;
use futures::future::join_all;
use futures::{StreamExt, stream};
use tokio::time::sleep;
use tonic::Code;

use super::cluster::{Cluster, append, read, requests};
use super::labels;
use super::scripted::{Replicating, Scripted};
use crate::journal_space::fixture::{name, spec};

const US: &str = "zone-a/self";
const ONE: &str = "zone-b/peer";
const OTHER: &str = "zone-c/other";
const JOURNAL: &str = "a/journal";

fn replicated(replication: i32) -> JournalSpec {
    let fragment = FragmentSpec { codec: Codec::Gzip, ..spec(JOURNAL).fragment };
    JournalSpec { replication, fragment, ..spec(JOURNAL) }
}

fn mismatch(begin: i64, end: i64, registers: &[(&str, &str)]) -> wire::ReplicateResponse {
    let sum = ContentSum([if begin == end { 0 } else { 7 }; 20]);
    wire::ReplicateResponse {
        status: wire::Status::ProposalMismatch as i32,
        fragment: Some(wire::Fragment {
            journal: JOURNAL.into(),
            begin,
            end,
            sum: Some(sum.into()),
            compression_codec: Codec::Gzip.to_wire() as i32,
            ..Default::default()
        }),
        registers: Some(labels(registers)),
        ..Default::default()
    }
}

/// Begin, end, registers, whether there was a header, whether an answer is wanted.
fn told(message: &wire::ReplicateRequest) -> (i64, i64, wire::LabelSet, bool, bool) {
    let proposal = message.proposal.as_ref().expect("a proposal");
    let registers = message.registers.clone().unwrap_or_default();
    (proposal.begin, proposal.end, registers, message.header.is_some(), message.acknowledge)
}

fn sum(content: &[u8]) -> Option<wire::Sha1Sum> {
    let mut digest = Digest::new();
    digest.update(content);
    Some(digest.sum().into())
}

/// One of ours with peers, all of which have the journal.
async fn with_peers(members: &[&str]) -> (Cluster, Vec<Scripted>) {
    wanting(1 + i32::try_from(members.len()).expect("a few"), members).await
}

/// The same, of a journal that wants so many replicas.
async fn wanting(replication: i32, members: &[&str]) -> (Cluster, Vec<Scripted>) {
    let (mut cluster, leader) = Cluster::led_by(members[0], &[US]).await;
    let mut peers = vec![leader];
    for member in &members[1..] {
        peers.push(cluster.join_scripted(member).await);
    }
    let all: Vec<&str> = std::iter::once(US).chain(members.iter().copied()).collect();
    cluster.create_at(&replicated(replication), &all).await;
    (cluster, peers)
}

/// The streams that the primary opens to all peers.
async fn streams(peers: &mut [Scripted]) -> Vec<Replicating> {
    join_all(peers.iter_mut().map(Scripted::replicate)).await
}

/// Lets each stream take one round.
async fn take_round(streams: &mut [Replicating]) -> Vec<Vec<wire::ReplicateRequest>> {
    let mut rounds = Vec::new();
    for stream in streams {
        rounds.push(stream.round().await);
        stream.agree().await;
    }
    rounds
}

#[tokio::test]
async fn a_peer_is_told_who_it_is_and_what_is_to_be_committed() {
    let (cluster, mut peers) = with_peers(&[ONE]).await;
    let mut stream = peers[0].replicate().await;
    let first = stream.next().await;
    let header = first.header.as_ref().expect("a header");
    assert_eq!(header.process_id, Some((&peers[0].id).into()));
    let route = header.route.as_ref().expect("a route");
    assert_eq!((route.members.len(), route.primary, route.endpoints.len()), (2, 0, 2));
    assert_eq!(first.deprecated_journal, JOURNAL);
    let proposal = first.proposal.as_ref().expect("a proposal");
    assert_eq!(proposal.compression_codec(), wire::CompressionCodec::Gzip);
    assert_eq!(proposal.sum, Some(ContentSum::ZERO.into()));
    assert_eq!(told(&first), (0, 0, labels(&[]), true, true));
    assert!(first.attach.is_none() && first.committed == 0, "nothing that only Courant knows");

    // The peer is further: everybody goes on where it ends, with its registers.
    stream.answer(mismatch(567, 892, &[("AA", "11")])).await;
    assert_eq!(told(&stream.next().await), (892, 892, labels(&[("AA", "11")]), false, true));
    stream.agree().await;

    let broker = &cluster.brokers[0];
    let opening = wire::AppendRequest {
        journal: JOURNAL.into(),
        check_registers: Some(wire::LabelSelector {
            include: Some(labels(&[("AA", "11")])),
            ..Default::default()
        }),
        subtract_registers: Some(labels(&[("AA", "11")])),
        union_registers: Some(labels(&[("BB", "22")])),
        ..Default::default()
    };
    let chunk =
        |content: &'static [u8]| wire::AppendRequest { content: content.into(), ..Default::default() };
    let messages = [opening, chunk(b"foo"), chunk(b"bar!"), chunk(b"")];
    let appending = broker.append(stream::iter(messages.map(Ok)).boxed());
    let committing = async {
        let round = stream.round().await;
        let (content, commit) = (&round[..round.len() - 1], &round[round.len() - 1]);
        let mut received = Vec::new();
        for message in content.iter().filter(|message| message.proposal.is_none()) {
            assert_eq!(message.content_delta, i64::try_from(received.len()).expect("a length"));
            received.extend_from_slice(&message.content);
        }
        assert_eq!(received, b"foobar!");
        assert_eq!(told(commit), (892, 899, labels(&[("BB", "22")]), false, true));
        assert_eq!(commit.proposal.as_ref().expect("a proposal").sum, sum(b"foobar!"));
        // Until the peer has it nobody sees it.
        let ask = wire::ReadRequest { journal: JOURNAL.into(), offset: 892, ..Default::default() };
        let seen: Vec<_> = broker.read(ask).map(|response| response.expect("a response")).collect().await;
        let statuses: Vec<_> = seen.iter().map(wire::ReadResponse::status).collect();
        assert_eq!(statuses, [wire::Status::OffsetNotYetAvailable]);
        stream.agree().await;
    };
    let (appended, ()) = tokio::join!(appending, committing);
    let appended = appended.expect("an answer");
    let commit = appended.commit.expect("a commit");
    assert_eq!((commit.begin, commit.end, commit.sum), (892, 899, sum(b"foobar!")));
    assert_eq!((appended.registers, appended.total_chunks), (Some(labels(&[("BB", "22")])), 3));

    // What the first append of a journal wrote is closed before the next, which needs no answer of its own.
    let appending = broker.append(requests(JOURNAL, &[b"next"]));
    let committing = async {
        let round = stream.round().await;
        assert_eq!(told(&round[0]), (899, 899, labels(&[("BB", "22")]), false, false));
        assert_eq!((round[1].content_delta, &round[1].content[..]), (0, &b"next"[..]));
        assert_eq!(told(&round[2]), (899, 903, labels(&[("BB", "22")]), false, true));
        assert_eq!(round[2].proposal.as_ref().expect("a proposal").sum, sum(b"next"));
        stream.agree().await;
    };
    let (appended, ()) = tokio::join!(appending, committing);
    assert_eq!(appended.expect("an answer").status(), wire::Status::Ok);
    cluster.stop().await;
}

/// What peers answer to an empty proposal at zero, and what they are proposed next.
#[tokio::test]
async fn all_go_on_where_the_furthest_of_them_ends() {
    type Answer = Option<(i64, i64, &'static [(&'static str, &'static str)])>;
    let rows: &[(&str, [Answer; 2], Answer)] = &[
        ("all agree", [None, None], None),
        ("one is further", [None, Some((0, 500, &[("AA", "11")]))], Some((500, 500, &[("AA", "11")]))),
        (
            "both are, and one of them most",
            [Some((400, 500, &[("AA", "11")])), Some((700, 800, &[("BB", "22")]))],
            Some((800, 800, &[("BB", "22")])),
        ),
        (
            "the other of them most",
            [Some((700, 800, &[("AA", "11")])), Some((400, 500, &[("BB", "22")]))],
            Some((800, 800, &[("AA", "11")])),
        ),
        ("one is empty where we are, of another codec", [None, Some((0, 0, &[]))], Some((0, 0, &[]))),
    ];
    for (what, answers, next) in rows {
        let (cluster, mut peers) = with_peers(&[ONE, OTHER]).await;
        let mut streams = streams(&mut peers).await;
        for (stream, answer) in streams.iter_mut().zip(answers) {
            assert_eq!(told(&stream.next().await), (0, 0, labels(&[]), true, true), "{what}");
            match answer {
                None => stream.agree().await,
                Some((begin, end, registers)) => stream.answer(mismatch(*begin, *end, registers)).await,
            }
        }
        let mut end = 0;
        if let Some((begin, until, registers)) = next {
            for stream in &mut streams {
                assert_eq!(
                    told(&stream.next().await),
                    (*begin, *until, labels(registers), false, true),
                    "{what}"
                );
            }
            // Where one had content below it is empty now, which is a mismatch of its own for Gazette's sake.
            streams[0].answer(mismatch(*until, *until, registers)).await;
            streams[1].agree().await;
            for stream in &mut streams {
                assert_eq!(
                    told(&stream.next().await),
                    (*begin, *until, labels(registers), false, true),
                    "{what}"
                );
                stream.agree().await;
            }
            end = *until;
        }
        let appending = cluster.brokers[0].append(requests(JOURNAL, &[b"content"]));
        let (appended, _) = tokio::join!(appending, take_round(&mut streams));
        let commit = appended.expect("an answer").commit.expect("a commit");
        assert_eq!((commit.begin, commit.end), (end, end + 7), "{what}");
        cluster.stop().await;
    }
}

#[tokio::test]
async fn a_stream_is_kept_while_its_route_is_and_made_anew_with_another() {
    let (mut cluster, mut peers) = with_peers(&[ONE]).await;
    let mut first = streams(&mut peers).await;
    take_round(&mut first).await;
    // Racing appends share it, and are committed one behind the other.
    let broker = cluster.brokers[0].clone();
    let appending = join_all((0..8).map(|_| broker.append(requests(JOURNAL, &[b"twelve bytes"]))));
    let committing = async {
        let mut end = 0;
        while end < 96 {
            let rounds = take_round(&mut first).await;
            let commit = rounds[0].last().and_then(|last| last.proposal.as_ref()).expect("a proposal");
            assert!(commit.end > end);
            end = commit.end;
        }
    };
    let (appended, ()) = tokio::join!(appending, committing);
    let spans = appended.into_iter().map(|appended| appended.expect("an answer").commit.expect("a commit"));
    let mut spans: Vec<_> = spans.map(|commit| (commit.begin, commit.end)).collect();
    spans.sort_unstable();
    assert_eq!(spans, (0..8).map(|n| (n * 12, n * 12 + 12)).collect::<Vec<_>>());

    // The same members and the same primary, at a later revision.
    cluster.touch(&name(JOURNAL)).await;
    let (appended, _) = tokio::join!(broker.append(requests(JOURNAL, &[b"more"])), take_round(&mut first));
    assert_eq!(appended.expect("an answer").status(), wire::Status::Ok);
    assert!(peers[0].is_idle(), "no other stream was opened");

    // One member more. There are more than are wanted, which is no reason to refuse.
    peers.push(cluster.join_scripted(OTHER).await);
    cluster.assign(&name(JOURNAL), &[(US, 0), (ONE, 1), (OTHER, 2)]).await;
    assert!(first[0].ends().await, "the stream of another route");
    let mut second = streams(&mut peers).await;
    for round in take_round(&mut second).await {
        let header = round[0].header.as_ref().expect("a header");
        assert_eq!(header.route.as_ref().map(|route| route.members.len()), Some(3));
        assert_eq!(told(&round[0]), (100, 100, labels(&[]), true, true));
    }
    let (appended, _) = tokio::join!(broker.append(requests(JOURNAL, &[b"to all"])), take_round(&mut second));
    assert_eq!(appended.expect("an answer").commit.map(|commit| commit.end), Some(106));
    cluster.stop().await;
}

#[tokio::test]
async fn a_peer_with_a_newer_route_ends_the_stream_and_the_append_waits_for_it() {
    let (cluster, mut peers) = wanting(2, &[ONE, OTHER]).await;
    let broker = cluster.brokers[0].clone();
    let mut first = streams(&mut peers).await;
    let header = first[0].next().await.header;
    first[1].next().await;
    let newer =
        wire::ReplicateResponse { status: wire::Status::WrongRoute as i32, header, ..Default::default() };
    first[0].answer(newer).await;
    first[1].agree().await;
    let appending = broker.append(requests(JOURNAL, &[b"content"]));
    let going_on = async {
        for stream in &mut first {
            stream.ends().await;
        }
        cluster.assign(&name(JOURNAL), &[(US, 0), (ONE, 1)]).await;
        let (one, _) = peers.split_at_mut(1);
        // What was under way for the former route may be tried once more before the new one is known.
        loop {
            let mut stream = one[0].replicate().await;
            let header = stream.next().await.header.expect("a header");
            if header.route.is_some_and(|route| route.members.len() == 2) {
                stream.agree().await;
                take_round(std::slice::from_mut(&mut stream)).await;
                return stream;
            }
        }
    };
    let (appended, _stream) = tokio::join!(appending, going_on);
    assert_eq!(appended.expect("an answer").commit.map(|commit| (commit.begin, commit.end)), Some((0, 7)));
    cluster.stop().await;
}

/// What a peer does with a round, and what the append is told.
#[tokio::test]
async fn a_peer_that_fails_ends_the_append_and_all_streams() {
    enum Does {
        Fails,
        Ends,
        Mismatches,
    }
    let rows = [
        (Does::Fails, "foobar"),
        (Does::Ends, "the peer ended the stream"),
        (Does::Mismatches, "unexpected !OK response: PROPOSAL_MISMATCH"),
    ];
    for (does, expected) in rows {
        let (cluster, mut peers) = with_peers(&[ONE, OTHER]).await;
        let broker = &cluster.brokers[0];
        let mut first = streams(&mut peers).await;
        take_round(&mut first).await;
        let failing = async {
            let mut other = first.pop().expect("two streams");
            let mut one = first.pop().expect("two streams");
            one.round().await;
            other.round().await;
            one.agree().await;
            match does {
                Does::Fails => other.fail(tonic::Status::unknown("foobar")).await,
                Does::Mismatches => other.answer(mismatch(0, 0, &[])).await,
                Does::Ends => drop(other),
            }
            assert!(one.ends().await, "the stream of the peer that works ends too");
        };
        let (failed, ()) = tokio::join!(broker.append(requests(JOURNAL, &[b"content"])), failing);
        let failed = failed.expect_err("an append that may not be everywhere");
        assert_eq!(failed.code(), Code::Unavailable, "{failed:?}");
        assert!(failed.message().contains(expected), "{failed:?}");
        assert!(failed.message().contains("zone-c#other"), "{failed:?}");
        // The next one finds nothing of that.
        let mut second = streams(&mut peers).await;
        let rounds = take_round(&mut second).await;
        let (begin, ..) = told(&rounds[0][0]);
        assert!(begin == 0 || begin == 7, "what one of them has may count or not: {begin}");
        let (appended, _) =
            tokio::join!(broker.append(requests(JOURNAL, &[b"again"])), take_round(&mut second));
        assert_eq!(appended.expect("an answer").commit.map(|commit| commit.begin), Some(begin));
        let content = read(broker, JOURNAL, begin + 5).await;
        assert!(content.ends_with(b"again"), "{content:?}");
        cluster.stop().await;
    }
}

#[tokio::test]
async fn peers_that_do_not_agree_are_named_to_who_waited_long_enough() {
    let status =
        |status: wire::Status| wire::ReplicateResponse { status: status as i32, ..Default::default() };
    let rows = [
        (Ok(status(wire::Status::JournalNotFound)), "JOURNAL_NOT_FOUND"),
        (Ok(status(wire::Status::WrongRoute)), "WRONG_ROUTE"),
        (Ok(wire::ReplicateResponse { fragment: None, ..mismatch(0, 0, &[]) }), "tells of no fragment"),
        (Err(tonic::Status::unknown("foobar")), "foobar"),
    ];
    for (answer, expected) in rows {
        let (cluster, mut peers) = with_peers(&[ONE]).await;
        let refusing = async {
            loop {
                let mut stream = peers[0].replicate().await;
                stream.next().await;
                match &answer {
                    Ok(response) => stream.answer(response.clone()).await,
                    Err(fault) => stream.fail(fault.clone()).await,
                }
                stream.ends().await;
            }
        };
        let time_passes = async {
            loop {
                sleep(Duration::from_millis(50)).await;
                cluster.clock.advance(Duration::from_secs(1));
            }
        };
        let failed = tokio::select! {
            appended = cluster.brokers[0].append(requests(JOURNAL, &[b"content"])) => appended,
            () = refusing => unreachable!("it never ends"),
            () = time_passes => unreachable!("it never ends"),
        };
        let failed = failed.expect_err("nobody agrees");
        assert_eq!(failed.code(), Code::Unavailable, "{failed:?}");
        for part in ["nothing was committed", expected] {
            assert!(failed.message().contains(part), "{failed:?}");
        }
        // The peer comes to its senses.
        let agreeing = async {
            loop {
                let mut stream = peers[0].replicate().await;
                stream.next().await;
                stream.agree().await;
                loop {
                    let Some(round) = next_round(&mut stream).await else { break };
                    stream.agree().await;
                    if round.iter().any(|message| !message.content.is_empty()) {
                        return stream;
                    }
                }
            }
        };
        let (appended, _stream) = tokio::join!(append(&cluster.brokers[0], JOURNAL, &[b"content"]), agreeing);
        assert_eq!(appended.commit.map(|commit| commit.end), Some(7));
        cluster.stop().await;
    }
}

/// The next round, or none if the stream ends.
async fn next_round(stream: &mut Replicating) -> Option<Vec<wire::ReplicateRequest>> {
    let mut round = Vec::new();
    while let Some(message) = stream.message().await {
        let is_last = message.acknowledge;
        round.push(message);
        if is_last {
            return Some(round);
        }
    }
    None
}

/// Content is received whole before peers hear of it: of a failed append there is nothing to roll back.
#[tokio::test]
async fn peers_hear_nothing_of_appends_that_fail() {
    let (cluster, mut peers) = with_peers(&[ONE]).await;
    let broker = &cluster.brokers[0];
    let mut streams = streams(&mut peers).await;
    take_round(&mut streams).await;
    let opening = || wire::AppendRequest { journal: JOURNAL.into(), ..Default::default() };
    let chunk =
        |content: &'static [u8]| wire::AppendRequest { content: content.into(), ..Default::default() };
    let registers = wire::AppendRequest { union_registers: Some(labels(&[("AA", "11")])), ..opening() };
    let invalid = wire::AppendRequest { journal: "/invalid".into(), ..Default::default() };
    let fault = || Err(tonic::Status::unknown("some error"));
    let rows = [
        (vec![Ok(opening()), Ok(chunk(b"foo"))], "append stream: unexpected EOF"),
        (vec![Ok(opening()), Ok(chunk(b"foo")), Ok(opening())], "append stream: expected Content chunk"),
        (
            vec![Ok(opening()), Ok(chunk(b"foo")), Ok(invalid)],
            "append stream: Journal: cannot begin with '/' (/invalid)",
        ),
        (
            vec![Ok(opening()), Ok(chunk(b"foo")), Ok(chunk(b"")), Ok(chunk(b"more"))],
            "append stream: expected EOF after empty Content chunk",
        ),
        (vec![Ok(opening()), Ok(chunk(b"foo")), fault()], "append stream: some error"),
        (
            vec![Ok(registers), Ok(chunk(b""))],
            "append stream: register modification requires non-empty Append",
        ),
    ];
    for (messages, expected) in rows {
        let appending = broker.append(stream::iter(messages).boxed());
        // What was decided is confirmed by the peers before it is told, which is all that they are asked.
        let confirming = async {
            loop {
                let rounds = take_round(&mut streams).await;
                assert_eq!(
                    rounds[0].iter().map(told).collect::<Vec<_>>(),
                    [(0, 0, labels(&[]), false, true)]
                );
            }
        };
        let failed = tokio::select! {
            failed = appending => failed.expect_err(expected),
            () = confirming => unreachable!("it never ends"),
        };
        assert_eq!((failed.code(), failed.message()), (Code::Unknown, expected));
    }
    let appending = broker.append(requests(JOURNAL, &[b"content"]));
    let (appended, rounds) = tokio::join!(appending, take_round(&mut streams));
    assert_eq!(appended.expect("an answer").commit.map(|commit| (commit.begin, commit.end)), Some((0, 7)));
    let content: Vec<u8> = rounds[0].iter().flat_map(|message| message.content.to_vec()).collect();
    assert_eq!(content, b"content");
    assert_eq!(told(rounds[0].last().expect("a commit")), (0, 7, labels(&[]), false, true));
    assert!(peers[0].is_idle());
    cluster.stop().await;
}
