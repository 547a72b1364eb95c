//! Reads against a scripted broker: gaps, losses, ends and jumps.

use std::time::Duration;

use bytes::Bytes;
use courant_proto::wire::{self, ReadRequest, ReadResponse, Status as S};
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;
use tonic::Status;

use super::*;
use crate::fake::{Fake, header};

const JOURNAL: &str = "examples/foobar";

fn request(offset: i64) -> ReadRequest {
    ReadRequest { journal: JOURNAL.into(), offset, ..Default::default() }
}

fn metadata(offset: i64, begin: i64, end: i64, write_head: i64) -> Result<ReadResponse, Status> {
    let fragment = wire::Fragment {
        journal: JOURNAL.into(),
        begin,
        end,
        compression_codec: wire::CompressionCodec::None.into(),
        ..Default::default()
    };
    Ok(ReadResponse {
        header: Some(header(5)),
        offset,
        write_head,
        fragment: Some(fragment),
        ..Default::default()
    })
}

fn content(offset: i64, content: &'static str) -> Result<ReadResponse, Status> {
    Ok(ReadResponse { offset, content: Bytes::from_static(content.as_bytes()), ..Default::default() })
}

fn refused(status: S) -> Result<ReadResponse, Status> {
    Ok(ReadResponse { status: status.into(), header: Some(header(5)), ..Default::default() })
}

/// An event in a word or two.
fn show(event: Option<Result<ReadEvent, Error>>) -> String {
    match event {
        None => "end".to_owned(),
        Some(Ok(ReadEvent::Content { offset, content })) => {
            format!("{offset} {}", String::from_utf8_lossy(&content))
        }
        Some(Ok(ReadEvent::Metadata(metadata))) => match metadata.gap {
            Some(gap) => {
                format!("at {} of {} past {}..{}", metadata.offset, metadata.write_head, gap.begin, gap.end)
            }
            None => format!("at {} of {}", metadata.offset, metadata.write_head),
        },
        Some(Err(error)) => error.to_string(),
    }
}

/// Checks one call's answers against what is made of them.
#[track_caller]
fn check(
    request: ReadRequest,
    answers: impl IntoIterator<Item = Result<ReadResponse, Status>>,
    expected: &[&str],
) {
    let fake = Fake::default();
    fake.on_read(answers);
    let events =
        fake.client().read(request).collect::<Vec<_>>().now_or_never().expect("the script is at hand");
    let shown: Vec<_> = events.into_iter().map(|event| show(Some(event))).collect();
    assert_eq!(shown, expected);
}

#[test]
fn content_follows_metadata() {
    let answers =
        [metadata(0, 0, 6, 6), content(0, "one"), content(3, "two"), metadata(6, 0, 9, 9), content(6, "six")];
    check(request(0), answers, &["at 0 of 6", "0 one", "3 two", "at 6 of 9", "6 six"]);
}

#[test]
fn the_head_is_resolved_without_a_gap() {
    check(request(-1), [metadata(7, 0, 9, 9), content(7, "xy")], &["at 7 of 9", "7 xy"]);
}

#[test]
fn skipped_bytes_are_told() {
    let answers =
        [metadata(100, 100, 103, 200), content(100, "abc"), metadata(110, 110, 112, 200), content(110, "x")];
    check(
        request(40),
        answers,
        &["at 100 of 200 past 40..100", "100 abc", "at 110 of 200 past 103..110", "110 x"],
    );
}

#[test]
fn nothing_passes_the_end_that_was_asked_for() {
    let bounded = ReadRequest { end_offset: 4, ..request(1) };
    check(
        bounded,
        [metadata(1, 0, 9, 9), content(1, "bcdefgh"), content(8, "i")],
        &[
            "at 1 of 9",
            "1 bcd",
            "the broker's answer to Read breaks the protocol: it is at offset 8, expected 4",
        ],
    );
}

#[test]
fn answers_that_break_the_protocol() {
    let broken = |reason: &str| format!("the broker's answer to Read breaks the protocol: {reason}");
    for (answers, reason) in [
        (vec![content(0, "x")], "content before metadata"),
        (vec![metadata(3, 0, 9, 9)], "it is at offset 3, expected 5"),
        (vec![metadata(9, 0, 9, 9)], "invalid Offset (9; expected 0 <= offset < 9)"),
        (vec![metadata(5, 0, 9, 8)], "invalid WriteHead (8; expected >= 9)"),
        (vec![Ok(ReadResponse { status: 99, ..Default::default() })], "Status: invalid status (99)"),
        (
            vec![Ok(ReadResponse { offset: 5, ..Default::default() })],
            "unexpected Offset without Fragment or Content (5)",
        ),
    ] {
        check(request(5), answers, &[&broken(reason)]);
    }
    let misplaced = [metadata(5, 0, 9, 9), content(6, "x"), content(5, "never seen")];
    check(request(5), misplaced, &["at 5 of 9", &broken("it is at offset 6, expected 5")]);
    let mixed = Ok(ReadResponse { write_head: 9, ..content(5, "x").unwrap() });
    check(
        request(5),
        [metadata(5, 0, 9, 9), mixed],
        &["at 5 of 9", &broken("unexpected WriteHead with Content (9)")],
    );
}

#[test]
fn every_status_is_a_refusal_of_its_name() {
    for number in 1..=15 {
        let status = S::try_from(number).unwrap();
        check(request(0), [refused(status)], &[status.as_str_name()]);
    }
}

#[tokio::test]
async fn the_head_of_a_journal() {
    let fake = Fake::default();
    let answer = ReadResponse { offset: 9, write_head: 9, ..refused(S::OffsetNotYetAvailable).unwrap() };
    fake.on_read([Ok(answer)]);
    assert_eq!(fake.client().head(JOURNAL).await.unwrap(), 9);
    let expected = ReadRequest { metadata_only: true, ..request(-1) };
    assert_eq!(fake.read_requests(), [expected]);

    fake.on_read([refused(S::JournalNotFound)]);
    assert_eq!(fake.client().head(JOURNAL).await.unwrap_err().status(), Some(S::JournalNotFound));
}

#[tokio::test(start_paused = true)]
async fn a_reader_goes_on_where_a_call_ended() {
    let fake = Fake::default();
    fake.on_read([metadata(0, 0, 9, 9), content(0, "one")]);
    fake.on_read([metadata(3, 0, 9, 9), content(3, "two"), Err(Status::unavailable("gone"))]);
    fake.on_read([refused(S::NotJournalBroker)]);
    fake.on_read([refused(S::InsufficientJournalBrokers)]);
    fake.on_read([metadata(6, 0, 9, 9), content(6, "six")]);
    let mut reader = fake.client().reader(ReadRequest { end_offset: 9, ..request(0) });
    let mut shown = Vec::new();
    while let Some(event) = reader.next().await {
        shown.push(show(Some(event)));
    }
    assert_eq!(shown, ["at 0 of 9", "0 one", "at 3 of 9", "3 two", "at 6 of 9", "6 six"]);
    assert_eq!(show(reader.next().await), "end");
    let offsets: Vec<_> = fake.read_requests().iter().map(|r| (r.offset, r.header.is_some())).collect();
    assert_eq!(offsets, [(0, false), (3, false), (6, false), (6, false), (6, false)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_out_at_once() {
    for status in [S::OffsetNotYetAvailable, S::Suspended, S::NotAllowed] {
        let fake = Fake::default();
        fake.on_read([refused(status)]);
        let mut reader = fake.client().reader(request(0));
        let began = Instant::now();
        assert_eq!(show(reader.next().await), status.as_str_name());
        assert_eq!(began.elapsed(), Duration::ZERO, "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn content_that_a_replica_lacks_is_not_the_end() {
    let fake = Fake::default();
    let lacks = ReadResponse { offset: 3, write_head: 9, ..refused(S::OffsetNotYetAvailable).unwrap() };
    fake.on_read([metadata(0, 0, 3, 9), content(0, "one"), Ok(lacks)]);
    fake.on_read([metadata(3, 0, 9, 9), content(3, "others")]);
    let mut reader = fake.client().reader(ReadRequest { end_offset: 9, ..request(0) });
    for expected in ["at 0 of 9", "0 one", "at 3 of 9", "3 others", "end"] {
        assert_eq!(show(reader.next().await), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_is_looked_for_five_times() {
    let fake = Fake::default();
    (0..5).for_each(|_| fake.on_read([refused(S::JournalNotFound)]));
    assert_eq!(show(fake.client().reader(request(0)).next().await), "JOURNAL_NOT_FOUND");
    assert_eq!(fake.read_requests().len(), 5);

    let fake = Fake::default();
    fake.on_read([refused(S::JournalNotFound)]);
    let with_header = ReadRequest { header: Some(header(5)), ..request(0) };
    assert_eq!(show(fake.client().reader(with_header).next().await), "JOURNAL_NOT_FOUND");
    assert_eq!(fake.read_requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_at_the_end_waits_there_once_it_blocks() {
    let fake = Fake::default();
    fake.on_read([metadata(0, 0, 3, 3), content(0, "one"), refused(S::OffsetNotYetAvailable)]);
    fake.on_read([metadata(3, 0, 6, 6), content(3, "two")]);
    let mut reader = fake.client().reader(request(0));
    for expected in ["at 0 of 3", "0 one", "OFFSET_NOT_YET_AVAILABLE"] {
        assert_eq!(show(reader.next().await), expected);
    }
    reader.set_block(true);
    for expected in ["at 3 of 6", "3 two"] {
        assert_eq!(show(reader.next().await), expected);
    }
    let blocks: Vec<_> = fake.read_requests().iter().map(|request| (request.offset, request.block)).collect();
    assert_eq!(blocks, [(0, false), (3, true)]);
}

#[tokio::test(start_paused = true)]
async fn failures_that_last_are_handed_out_and_polling_goes_on() {
    let fake = Fake::default();
    (0..100).for_each(|_| fake.on_read([Err(Status::permission_denied("no"))]));
    let mut reader = fake.client().reader(request(0));
    let began = Instant::now();
    assert_eq!(show(reader.next().await), "the call failed with PermissionDenied: no");
    let elapsed = began.elapsed();
    assert!((Duration::from_secs(30)..Duration::from_secs(40)).contains(&elapsed), "{elapsed:?}");
    assert!(fake.read_requests().len() < 20, "it asked {} times", fake.read_requests().len());

    let before = fake.read_requests().len();
    assert_eq!(show(reader.next().await), "the call failed with PermissionDenied: no");
    assert!(fake.read_requests().len() > before);
}

#[tokio::test(start_paused = true)]
async fn calls_that_end_without_a_byte_are_not_repeated_in_a_tight_loop() {
    let fake = Fake::default();
    (0..10).for_each(|_| fake.on_read([]));
    (0..10).for_each(|_| fake.on_read([metadata(0, 0, 3, 3)]));
    fake.on_read([metadata(0, 0, 3, 3), content(0, "one")]);
    let mut reader = fake.client().reader(request(0));
    let began = Instant::now();
    while show(reader.next().await) != "0 one" {}
    assert!(began.elapsed() > Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn metadata_alone_ends_after_the_first() {
    let fake = Fake::default();
    fake.on_read([metadata(0, 0, 3, 3)]);
    let mut reader = fake.client().reader(ReadRequest { metadata_only: true, ..request(0) });
    assert_eq!(show(reader.next().await), "at 0 of 3");
    assert_eq!(show(reader.next().await), "end");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However content is cut, and wherever calls break off, a reader hands out every byte once and in order.
        #[test]
        fn every_byte_once(
            body in proptest::collection::vec(any::<u8>(), 1..200),
            cuts in proptest::collection::vec((1usize..40, any::<bool>()), 0..20),
        ) {
            let end = body.len() as i64;
            let fake = Fake::default();
            let mut call = vec![metadata(0, 0, end, end)];
            let mut at = 0;
            for (length, breaks) in cuts.into_iter().chain([(body.len(), false)]) {
                let next = body.len().min(at + length);
                if at < next {
                    let content = Bytes::copy_from_slice(&body[at..next]);
                    call.push(Ok(ReadResponse { offset: at as i64, content, ..Default::default() }));
                }
                at = next;
                if breaks && at < body.len() {
                    call.push(Err(Status::unavailable("broke off")));
                    fake.on_read(std::mem::replace(&mut call, vec![metadata(at as i64, 0, end, end)]));
                }
            }
            fake.on_read(call);

            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let read = runtime.block_on(async {
                let mut reader = fake.client().reader(ReadRequest { end_offset: end, ..request(0) });
                let mut read = Vec::new();
                while let Some(event) = reader.next().await {
                    if let ReadEvent::Content { offset, content } = event.unwrap() {
                        assert_eq!(offset, read.len() as i64);
                        read.extend_from_slice(&content);
                    }
                }
                read
            });
            prop_assert_eq!(read, body);
        }
    }
}
