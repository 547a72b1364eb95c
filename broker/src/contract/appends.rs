//! Appends at clusters of more than one: statuses that hang on assignments, registers and suspension from the primary and from elsewhere.

use courant_proto::codec::Codec;
use courant_proto::service::JournalService;
use courant_proto::spec::{Flags, FragmentSpec, JournalSpec};
use courant_proto::wire;
use courant_proto::wire::append_request::Suspend;
use futures::{StreamExt, stream};
use tokio::time::timeout;

use super::cluster::{Cluster, PATIENCE, append, read};
use super::labels;
use crate::broker::Broker;
use crate::journal_space::fixture::{name, spec};

/// One append with these parameters and this content.
async fn ask(broker: &Broker, opening: wire::AppendRequest, content: &'static [u8]) -> wire::AppendResponse {
    let chunk =
        |content: &'static [u8]| wire::AppendRequest { content: content.into(), ..Default::default() };
    let mut messages = vec![opening];
    messages.extend((!content.is_empty()).then(|| chunk(content)));
    messages.push(chunk(b""));
    let appended = broker.append(stream::iter(messages).map(Ok).boxed());
    timeout(PATIENCE, appended).await.expect("an answer in time").expect("an answer")
}

fn to(journal: &str) -> wire::AppendRequest {
    wire::AppendRequest { journal: journal.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn statuses_that_hang_on_assignments() {
    const A: &str = "zone-a/aaaa";
    const B: &str = "zone-b/bbbb";
    let (cluster, _leader) = Cluster::led_by("zone-z/lead", &[A, B]).await;
    // (journal, wanted replicas, who has it in which slot)
    type Row = (&'static str, i32, &'static [(&'static str, u32)]);
    let journals: &[Row] = &[
        ("has/no-primary", 1, &[(A, 1)]),
        ("has/nobody", 1, &[]),
        ("has/too-few", 2, &[(A, 0)]),
        ("has/enough", 2, &[(A, 0), (B, 1)]),
        ("has/more", 1, &[(A, 0), (B, 1)]),
        ("is/elsewhere", 1, &[(B, 0)]),
    ];
    for (journal, replication, slots) in journals {
        cluster.create_at(&JournalSpec { replication: *replication, ..spec(journal) }, &[]).await;
        cluster.assign(&name(journal), slots).await;
    }
    let read_only = JournalSpec { flags: Flags::READ_ONLY, ..spec("is/read-only") };
    cluster.create_at(&read_only, &[B]).await;
    let do_not_proxy = |journal: &str| wire::AppendRequest { do_not_proxy: true, ..to(journal) };
    let rows = [
        (to("has/no-primary"), wire::Status::NoJournalPrimaryBroker),
        (to("has/nobody"), wire::Status::NoJournalPrimaryBroker),
        (to("has/too-few"), wire::Status::InsufficientJournalBrokers),
        (to("has/enough"), wire::Status::Ok),
        (to("has/more"), wire::Status::Ok),
        (to("is/elsewhere"), wire::Status::Ok),
        (do_not_proxy("is/elsewhere"), wire::Status::NotJournalPrimaryBroker),
        (do_not_proxy("has/enough"), wire::Status::Ok),
        (to("is/read-only"), wire::Status::NotAllowed),
        (wire::AppendRequest { offset: 100, ..to("is/elsewhere") }, wire::Status::WrongAppendOffset),
        (to("is/not-there"), wire::Status::JournalNotFound),
    ];
    for (opening, expected) in rows {
        let journal = opening.journal.clone();
        let answer = ask(&cluster.brokers[0], opening, b"content").await;
        assert_eq!(answer.status(), expected, "{journal}");
        let header = answer.header.expect("a header");
        assert!(header.etcd.is_some_and(|etcd| etcd.revision > 0), "{journal}");
        let members = journals.iter().find(|(name, ..)| *name == journal).map(|(.., slots)| slots.len());
        let route = header.route.unwrap_or_default();
        assert_eq!(route.members.len(), members.unwrap_or(route.members.len()), "{journal}");
        assert_eq!(route.endpoints.len(), route.members.len(), "{journal}");
        assert_eq!(answer.commit.is_some(), expected == wire::Status::Ok, "{journal}");
    }
    // All who have a journal have its bytes, also those who are more than wanted.
    for journal in ["has/enough", "has/more"] {
        for broker in &cluster.brokers {
            assert_eq!(read(broker, journal, 7).await, b"content", "{journal}");
        }
    }
    cluster.stop().await;
}

#[tokio::test]
async fn registers_and_suspension_hold_whoever_is_asked() {
    type Pairs = &'static [(&'static str, &'static str)];
    type Row = (Option<(Pairs, Pairs)>, Pairs, Pairs, wire::Status, Pairs);
    let (cluster, _leader) =
        Cluster::led_by("zone-z/lead", &["zone-a/aaaa", "zone-b/bbbb", "zone-c/cccc"]).await;
    // Asked as primary, as replica, and as neither.
    for (asked, journal) in [(0, "ask/primary"), (1, "ask/replica"), (2, "ask/neither")] {
        let broker = &cluster.brokers[asked];
        let created = JournalSpec { replication: 2, ..spec(journal) };
        cluster.create_at(&created, &["zone-a/aaaa", "zone-b/bbbb"]).await;
        append(broker, journal, &[b"one "]).await;
        // (check, subtract, union, status, registers after)
        let rows: &[Row] = &[
            (None, &[], &[("AA", "11"), ("BB", "22")], wire::Status::Ok, &[("AA", "11"), ("BB", "22")]),
            (
                Some((&[("AA", "11"), ("BB", "")], &[])),
                &[("AA", "11"), ("BB", "XYZ")],
                &[("CC", "33")],
                wire::Status::Ok,
                &[("BB", "22"), ("CC", "33")],
            ),
            (
                Some((&[("CC", "")], &[("AA", "")])),
                &[("BB", "22"), ("CC", "33")],
                &[("AA", "44"), ("BB", "22")],
                wire::Status::Ok,
                &[("AA", "44"), ("BB", "22")],
            ),
            (
                Some((&[("AA", "55")], &[])),
                &[],
                &[],
                wire::Status::RegisterMismatch,
                &[("AA", "44"), ("BB", "22")],
            ),
        ];
        for (check, subtract, union, status, registers) in rows {
            let opening = wire::AppendRequest {
                check_registers: check.map(|(include, exclude)| wire::LabelSelector {
                    include: Some(labels(include)),
                    exclude: Some(labels(exclude)),
                }),
                subtract_registers: Some(labels(subtract)),
                union_registers: Some(labels(union)),
                ..to(journal)
            };
            let answer = ask(broker, opening, b"more").await;
            assert_eq!(
                (answer.status(), answer.registers),
                (*status, Some(labels(registers))),
                "{journal} {union:?}"
            );
        }
        // (what is asked of suspension, content, status)
        let rows: &[(Suspend, &[u8], wire::Status)] = &[
            (Suspend::Keep, b"", wire::Status::Ok),
            (Suspend::Now, b"", wire::Status::Suspended),
            (Suspend::NoResume, b"x", wire::Status::Suspended),
            (Suspend::Keep, b"x", wire::Status::NotAllowed),
            (Suspend::Keep, b"", wire::Status::Ok),
            (Suspend::Resume, b"last", wire::Status::Ok),
        ];
        for (suspend, content, expected) in rows {
            let opening = wire::AppendRequest { suspend: *suspend as i32, ..to(journal) };
            let answer = ask(broker, opening, content).await;
            assert_eq!(answer.status(), *expected, "{journal} {suspend:?}");
            if let Some(commit) = answer.commit {
                assert_eq!(
                    (commit.begin, commit.end - commit.begin),
                    (16, content.len() as i64),
                    "{journal}"
                );
            }
        }
        for broker in &cluster.brokers {
            assert_eq!(read(broker, journal, 20).await, b"one moremoremorelast", "{journal}");
        }
    }
    cluster.stop().await;
}

#[tokio::test]
async fn another_codec_counts_from_the_next_fragment() {
    let (cluster, _leader) = Cluster::led_by("zone-z/lead", &["zone-a/aaaa", "zone-b/bbbb"]).await;
    let coded = |codec| {
        let fragment = FragmentSpec { codec, ..spec("a/journal").fragment };
        JournalSpec { replication: 2, fragment, ..spec("a/journal") }
    };
    cluster.create_at(&coded(Codec::Gzip), &["zone-a/aaaa", "zone-b/bbbb"]).await;
    // An append without content opens a fragment, and leaves it empty.
    append(&cluster.brokers[0], "a/journal", &[]).await;
    // (codec of the spec from now on, codec of the append)
    let rows = [
        // What is open and empty keeps its own.
        (Codec::Zstandard, wire::CompressionCodec::Gzip),
        // The first content of a journal is closed by what follows it.
        (Codec::Snappy, wire::CompressionCodec::Snappy),
        // This is not.
        (Codec::None, wire::CompressionCodec::Snappy),
    ];
    for (codec, expected) in rows {
        cluster.change(&coded(codec)).await;
        let commit = append(&cluster.brokers[0], "a/journal", &[b"content"]).await.commit.expect("a commit");
        assert_eq!(commit.compression_codec(), expected, "with {codec:?}");
    }
    cluster.stop().await;
}
