//! Intents, tickets and retries, by example and against a reader.

use bytes::Bytes;
use courant_proto::Offset;
use proptest::prelude::*;

use super::*;
use crate::envelope::{Meta, Unencodable};
use crate::framing::{Framing, MAX_FRAME};
use crate::{Frames, Item, envelope};

const PRODUCER: Producer = Producer::from_bytes([1, 2, 3, 4, 5, 6]);

fn publisher() -> Publisher<&'static str> {
    let mut publisher = Publisher::new(PRODUCER);
    publisher.advance(Timestamp::from_secs(1_700_000_000));
    publisher
}

fn line(uuid: Uuid, out: &mut BytesMut) -> Result<(), Unencodable> {
    envelope::append(Framing::Lines, &Meta::of(uuid), b"{}", out)
}

fn uuids(framing: Framing, mut content: Bytes) -> Vec<Uuid> {
    let mut frames = Frames::new(framing, Offset::ZERO, MAX_FRAME);
    let mut uuids = Vec::new();
    while let Some(item) = frames.next(&mut content) {
        let Item::Frame(frame) = item else { panic!("{item:?}") };
        uuids.push(envelope::peek(framing, &frame.payload).unwrap());
    }
    assert_eq!(frames.end(), None);
    uuids
}

#[test]
fn flags_say_how_a_message_was_published() {
    let (mut publisher, mut outbox) = (publisher(), Outbox::new(1000));
    let one = publisher.publish_committed(&mut outbox, line).unwrap().uuid;
    let two = publisher.publish_uncommitted(&"a", Acknowledgement::Line, &mut outbox, line).unwrap().uuid;
    assert_eq!((one.flags(), two.flags()), (Flags::OUTSIDE_TXN, Flags::CONTINUE_TXN));
    assert_eq!((one.producer(), publisher.producer()), (PRODUCER, PRODUCER));
    assert_eq!(one.clock().get(), 0x1ee8_33b0_4afc_00a0);
    assert_eq!(two.clock().get(), 0x1ee8_33b0_4afc_0140);
    assert_eq!(uuids(Framing::Lines, outbox.next_append().unwrap()), [one, two]);
}

#[test]
fn one_intent_for_each_journal_in_the_order_of_first_publishing() {
    let (mut publisher, mut outbox) = (publisher(), Outbox::new(1000));
    let mut last = Clock::ZERO;
    for (journal, acknowledgement) in [
        ("b", Acknowledgement::Line),
        ("a", Acknowledgement::Fixed),
        ("b", Acknowledgement::Line),
        ("c", Acknowledgement::Row { fields: 3 }),
    ] {
        let published = publisher.publish_uncommitted(&journal, acknowledgement, &mut outbox, line).unwrap();
        last = published.uuid.clock();
    }
    let intents = publisher.build_ack_intents();
    let journals: Vec<&str> = intents.iter().map(|intent| intent.journal).collect();
    assert_eq!(journals, ["b", "a", "c"]);
    for (intent, framing) in intents.iter().zip([Framing::Lines, Framing::Fixed, Framing::Csv]) {
        let uuids = uuids(framing, intent.bytes.clone());
        let [uuid] = uuids[..] else { panic!("{uuids:?}") };
        assert!(uuid.clock() > last, "{framing:?}");
        assert_eq!((uuid.flags(), uuid.producer()), (Flags::ACK_TXN, PRODUCER));
        last = uuid.clock();
    }
    assert_eq!(intents[0].bytes, "{\"_meta\":{\"uuid\":\"04afc032-833b-11ee-8002-010203040506\"}}\n");
    assert_eq!(intents[2].bytes, "04afc046-833b-11ee-8002-010203040506,,\n");
    assert_eq!(publisher.build_ack_intents(), []);
}

#[test]
fn what_cannot_be_encoded_is_not_published() {
    let (mut publisher, mut outbox) = (publisher(), Outbox::new(1000));
    publisher.publish_uncommitted(&"a", Acknowledgement::Line, &mut outbox, line).unwrap();
    let before = outbox.waiting();
    let half = |_: Uuid, out: &mut BytesMut| {
        out.extend_from_slice(b"half");
        Err("broken")
    };
    let refused = publisher.publish_uncommitted(&"b", Acknowledgement::Line, &mut outbox, half);
    assert_eq!(refused, Err(PushError::Unencodable("broken")));
    assert_eq!(outbox.waiting(), before);
    assert_eq!(publisher.build_ack_intents().len(), 1);
    let csv = |uuid: Uuid, out: &mut BytesMut| envelope::append(Framing::Csv, &Meta::of(uuid), b"", out);
    let refused = publisher.publish_committed(&mut outbox, csv).unwrap_err();
    assert!(refused.to_string().starts_with("text/csv has no envelope for messages"), "{refused}");
}

#[test]
fn one_append_is_in_flight() {
    let mut outbox = Outbox::new(3);
    assert_eq!((outbox.next_append(), outbox.is_empty()), (None, true));
    let one = outbox.push_bytes(b"1").unwrap();
    assert_eq!(outbox.next_append().as_deref(), Some(&b"1"[..]));
    let two = outbox.push_bytes(b"2").unwrap();
    let three = outbox.push_bytes(b"333").unwrap();
    let full = outbox.push_bytes(b"4").unwrap_err();
    assert_eq!(full, PushError::Full { waiting: 4, limit: 3 });
    assert_eq!(outbox.next_append(), None);
    assert_eq!([one, two, three].map(|ticket| outbox.state(ticket)), [TicketState::Open; 3]);
    outbox.answered(Answer::TryAgain);
    assert_eq!(outbox.state(one), TicketState::Open);
    assert_eq!(outbox.next_append().as_deref(), Some(&b"1"[..]));
    outbox.answered(Answer::Committed);
    assert_eq!((outbox.state(one), outbox.state(two)), (TicketState::Appended, TicketState::Open));
    assert_eq!(outbox.next_append().as_deref(), Some(&b"2333"[..]));
    assert_eq!((outbox.waiting(), outbox.is_empty()), (0, false));
    outbox.answered(Answer::Committed);
    assert_eq!([one, two, three].map(|ticket| outbox.state(ticket)), [TicketState::Appended; 3]);
    assert!(outbox.is_empty());
}

#[test]
fn nothing_follows_what_was_given_up() {
    let mut outbox = Outbox::new(10);
    let tickets = [b"1", b"2", b"3"].map(|bytes| {
        let ticket = outbox.push_bytes(bytes).unwrap();
        if bytes != b"3" {
            if bytes == b"2" {
                outbox.answered(Answer::Committed);
            }
            outbox.next_append().unwrap();
        }
        ticket
    });
    outbox.answered(Answer::GiveUp);
    let states = tickets.map(|ticket| outbox.state(ticket));
    assert_eq!(states, [TicketState::Appended, TicketState::Failed, TicketState::Failed]);
    assert_eq!((outbox.next_append(), outbox.push_bytes(b"4")), (None, Err(PushError::Closed)));
}

#[test]
#[should_panic(expected = "an answer while no append is in flight")]
fn an_answer_to_nothing_is_a_mistake() {
    Outbox::new(10).answered(Answer::Committed);
}

proptest! {
    /// Messages come, appends are carried out, not carried out, or carried out without a word: what is appended has every message in order, and nothing
    /// is between the first and the last copy of an append but copies of it.
    #[test]
    fn retries_keep_the_order(events in proptest::collection::vec(0_u8..5, 0..60)) {
        let (mut outbox, mut appended, mut pushed) = (Outbox::new(8), Vec::<Bytes>::new(), 0_u8);
        let mut tickets = Vec::new();
        let mut in_flight = None;
        for event in events {
            match (event, &in_flight) {
                (0 | 1, _) => {
                    if let Ok(ticket) = outbox.push_bytes(&[pushed]) {
                        tickets.push(ticket);
                        pushed += 1;
                    }
                }
                (_, None) => in_flight = outbox.next_append(),
                (event, Some(bytes)) => {
                    if event != 2 {
                        appended.push(bytes.clone());
                    }
                    outbox.answered(if event == 3 { Answer::Committed } else { Answer::TryAgain });
                    in_flight = None;
                }
            }
            prop_assert!(outbox.waiting() <= 9);
        }
        appended.dedup();
        let content = appended.concat();
        prop_assert_eq!(&content[..], &(0..pushed).collect::<Vec<u8>>()[..content.len()]);
        for (ticket, message) in tickets.iter().zip(0..) {
            let is_there = content.contains(&message);
            prop_assert!(outbox.state(*ticket) != TicketState::Appended || is_there);
        }
    }
}
