//! Gazette's vectors, and that nothing is lost on the way through bits and text.

use courant_proto::Timestamp;
use proptest::prelude::*;

use super::*;

const PRODUCER: Producer = Producer::from_bytes([1, 2, 3, 4, 5, 6]);

#[test]
fn vectors() {
    let check = |secs: i64, counter: u64, flags: u16, clock: u64, text: &str| {
        let flags = Flags::new(flags).unwrap();
        let at = Clock::from_u64(Clock::at(Timestamp::from_secs(secs)).get() + counter);
        assert_eq!(at.get(), clock, "{text}");
        let uuid = Uuid::new(PRODUCER, at, flags);
        assert_eq!(uuid.to_string(), text);
        assert_eq!(text.parse(), Ok(uuid));
        assert_eq!((uuid.producer(), uuid.clock(), uuid.flags()), (PRODUCER, at, flags), "{text}");
    };
    check(0, 0, 0, 0x1b21_dd21_3814_0000, "13814000-1dd2-11b2-8000-010203040506");
    check(1_700_000_000, 0, 1, 0x1ee8_33b0_4afc_0000, "04afc000-833b-11ee-8001-010203040506");
    check(1_700_000_000, 5, 2, 0x1ee8_33b0_4afc_0005, "04afc000-833b-11ee-9402-010203040506");
    check(1_700_000_000, 15, 682, 0x1ee8_33b0_4afc_000f, "04afc000-833b-11ee-beaa-010203040506");
    check(1_700_000_000, 10 << 4, 0, 0x1ee8_33b0_4afc_00a0, "04afc00a-833b-11ee-8000-010203040506");
}

#[test]
fn a_new_producer_is_no_network_card() {
    assert_eq!(Producer::new([0; 6]).to_string(), "010000000000");
    assert_eq!(Producer::new([0xff; 6]).to_string(), "ffffffffffff");
    assert_eq!(Producer::from_bytes([0; 6]).as_bytes(), &[0; 6]);
}

#[test]
fn flags_have_ten_bits_and_names() {
    let check = |bits: u16, expected: Option<&str>| {
        assert_eq!(Flags::new(bits).map(|flags| flags.to_string()).as_deref(), expected);
    };
    check(0, Some("OUTSIDE_TXN"));
    check(1, Some("CONTINUE_TXN"));
    check(2, Some("ACK_TXN"));
    check(3, Some("Flags(3)"));
    check(0x3ff, Some("Flags(3ff)"));
    check(0x400, None);
}

#[test]
fn forms_of_text() {
    let uuid = Uuid::new(PRODUCER, Clock::from_u64(0x1ee8_33b0_4afc_0005), Flags::ACK_TXN);
    for text in [
        "04afc000-833b-11ee-9402-010203040506",
        "04AFC000-833B-11EE-9402-010203040506",
        "{04afc000-833b-11ee-9402-010203040506}",
        "urn:uuid:04afc000-833b-11ee-9402-010203040506",
        "URN:UUID:04afc000-833b-11ee-9402-010203040506",
        "04afc000833b11ee9402010203040506",
    ] {
        assert_eq!(text.parse(), Ok(uuid), "{text}");
    }
    for text in [
        "",
        "04afc000",
        "04afc000-833b-11ee-9402-01020304050",
        "04afc000-833b-11ee-9402-0102030405061",
        "04afc000-833b-11ee-9402-01020304050g",
        "04afc000_833b-11ee-9402-010203040506",
        "04afc000-833b-11ee-94020-10203040506",
        "(04afc000-833b-11ee-9402-010203040506)",
        "urn-uuid:04afc000-833b-11ee-9402-010203040506",
        "+4afc000833b11ee9402010203040506",
        "04afc000833b11ee940201020304050ä",
    ] {
        assert_eq!(text.parse::<Uuid>(), Err(InvalidUuid { text: text.to_owned() }), "{text}");
    }
    let long = "x".repeat(100);
    assert_eq!(long.parse::<Uuid>().unwrap_err().text.len(), 48);
    assert_eq!(
        "x".parse::<Uuid>().unwrap_err().to_string(),
        "\"x\" is no UUID (expected 36 characters, as in 04afc000-833b-11ee-8001-010203040506)"
    );
}

#[test]
fn nil_is_the_uuid_of_none() {
    assert!(Uuid::NIL.is_nil() && Uuid::default().is_nil());
    assert_eq!((Uuid::NIL.clock(), Uuid::NIL.flags()), (Clock::ZERO, Flags::OUTSIDE_TXN));
    assert_eq!(Uuid::NIL.to_string(), "00000000-0000-0000-0000-000000000000");
}

proptest! {
    #[test]
    fn what_a_uuid_says_comes_back(producer: [u8; 6], clock: u64, flags in 0_u16..1 << 10) {
        let (producer, clock) = (Producer::from_bytes(producer), Clock::from_u64(clock));
        let uuid = Uuid::new(producer, clock, Flags::new(flags).unwrap());
        prop_assert_eq!((uuid.producer(), uuid.clock(), uuid.flags().bits()), (producer, clock, flags));
        let bytes = uuid.as_bytes();
        prop_assert_eq!((bytes[6] >> 4, bytes[8] >> 6), (1, 0b10));
        prop_assert_eq!(Uuid::from_bytes(*bytes), uuid);
    }

    #[test]
    fn any_sixteen_bytes_come_back_from_text(bytes: [u8; 16]) {
        let uuid = Uuid::from_bytes(bytes);
        prop_assert_eq!(Uuid::parse(&uuid.to_text()), Ok(uuid));
        prop_assert_eq!(uuid.to_string().parse(), Ok(uuid));
    }

    #[test]
    fn no_text_is_a_panic(text: Vec<u8>) {
        let _ = Uuid::parse(&text);
    }
}
