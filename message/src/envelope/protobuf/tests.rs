//! That it is the protobuf of the generated type, both ways, and tables of damage.

use bytes::{BufMut as _, Bytes};
use courant_proto::wire;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::framing::fixed::HEADER_LENGTH;

fn payload(meta: &Meta<'_>, body: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    append(meta, body, &mut out).unwrap();
    out.freeze().slice(HEADER_LENGTH..)
}

fn generated(meta: &Meta<'_>, body: &[u8]) -> wire::courant::Message {
    let uuid = if meta.uuid.is_nil() { Bytes::new() } else { Bytes::copy_from_slice(meta.uuid.as_bytes()) };
    let timestamp = |time: Timestamp| prost_types::Timestamp {
        seconds: time.secs(),
        nanos: i32::try_from(time.nanos().rem_euclid(NANOS_PER_SECOND)).unwrap(),
    };
    wire::courant::Message {
        uuid,
        key: meta.key.to_string(),
        time: meta.time.map(timestamp),
        attributes: meta
            .attributes
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        tags: meta.tags.iter().map(ToString::to_string).collect(),
        content_type: meta.content_type.to_string(),
        body: Bytes::copy_from_slice(body),
    }
}

#[test]
fn damage_is_told_with_its_place() {
    let check = |payload: &[u8], expected: &str| {
        assert_eq!(decode(payload).unwrap_err().to_string(), format!("at byte {expected}"), "{payload:?}");
    };
    check(b"\x0a", "1 of the message: the protobuf ends too early");
    check(b"\x0a\x10abc", "2 of the message: the protobuf ends too early");
    check(b"\x0a\x03abc", "2 of the message: field 1: a uuid of 3 bytes (expected 16)");
    check(b"\x08\x03", "1 of the message: field 1: another wire type (expected one with a length)");
    check(b"\x12\x01\xff", "2 of the message: field 2: no UTF-8 (expected text)");
    check(
        b"\x1a\x02\x10\x7f\x1a\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        "6 of the message: the protobuf ends too early",
    );
    check(
        b"\x1a\x06\x10\xff\xff\xff\xff\x7f",
        "2 of the message: field 3: a time out of range (expected 1677 to 2262)",
    );
    check(
        b"\x1a\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        "2 of the message: field 3: a time out of range (expected 1677 to 2262)",
    );
    check(b"\x1a\x02\x0a\x00", "4 of the message: field 1: expected a number");
    check(b"\x00", "0 of the message: a field number that protobuf does not have");
    check(b"\x0b", "0 of the message: field 1: a wire type that is not in use");
    check(
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        "0 of the message: a number of more than 10 bytes",
    );
    assert!(peek(b"\x12\x01\xff").is_err());
    // What is not known is passed over, of any wire type.
    let envelope =
        decode(b"\x40\x01\x4d\x00\x00\x00\x00\x51\x00\x00\x00\x00\x00\x00\x00\x00\x5a\x01x\x3a\x02hi")
            .unwrap();
    assert_eq!((envelope.meta, envelope.body.to_vec()), (Meta::default(), b"hi".to_vec()));
    assert_eq!(decode(b"\x0a\x00").unwrap().meta.uuid, Uuid::NIL);
    assert_eq!(decode(b"").unwrap().body.to_vec(), b"");
    assert_eq!(peek(b""), Ok(Uuid::NIL));
}

#[test]
fn a_body_is_a_slice_of_its_frame() {
    let frame = payload(&Meta::of(Uuid::from_bytes([7; 16])), b"body");
    let body = decode(&frame).unwrap().body.to_bytes(&frame);
    assert!(frame.as_ptr_range().contains(&body.as_ptr()));
    assert_eq!(decode(&frame).unwrap().body.to_bytes(&Bytes::new()), "body");
}

proptest! {
    #[test]
    fn it_is_what_the_generated_type_reads_and_writes(
        uuid: Option<[u8; 16]>, key: String, nanos: Option<i64>,
        attributes in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..4),
        tags in proptest::collection::vec(any::<String>(), 0..4),
        content_type: String, body: Vec<u8>,
    ) {
        let meta = Meta {
            uuid: Uuid::from_bytes(uuid.unwrap_or_default()),
            key: key.into(),
            time: nanos.map(Timestamp::from_nanos),
            attributes: attributes.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            tags: tags.into_iter().map(Cow::from).collect(),
            content_type: content_type.into(),
        };
        let written = payload(&meta, &body);
        let message = generated(&meta, &body);
        prop_assert_eq!(wire::courant::Message::decode(written.clone()).unwrap(), message.clone());
        for payload in [&written[..], &message.encode_to_vec()] {
            let envelope = decode(payload).unwrap();
            prop_assert_eq!((&envelope.meta, &envelope.body.to_vec()), (&meta, &body));
            prop_assert_eq!(peek(payload).unwrap(), meta.uuid);
        }
        // With at most one attribute there is but one order to write them in.
        if meta.attributes.len() < 2 {
            prop_assert_eq!(&written[..], &message.encode_to_vec()[..]);
        }
    }

    #[test]
    fn any_bytes_are_read_as_the_generated_type_reads_them(mut payload: Vec<u8>, key: String) {
        let ours = decode(&payload).is_ok();
        let theirs = wire::courant::Message::decode(&payload[..]);
        // Ours is stricter about UUIDs and times, and theirs takes groups.
        prop_assert!(!ours || theirs.is_ok());
        payload.put_slice(&wire::courant::Message { key, ..Default::default() }.encode_to_vec());
        let _ = (decode(&payload), peek(&payload));
    }
}

#[test]
fn the_last_of_a_field_counts() {
    let twice = [
        payload(&Meta { key: "a".into(), ..Meta::default() }, b"1"),
        payload(&Meta { key: "b".into(), ..Meta::default() }, b"2"),
    ];
    let envelope_bytes = twice.concat();
    let envelope = decode(&envelope_bytes).unwrap();
    assert_eq!((&*envelope.meta.key, envelope.body.to_vec()), ("b", b"2".to_vec()));
}
