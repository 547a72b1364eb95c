//! What comes back of bodies of all kinds, and tables of lines that are damaged or somebody else's.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::clock::Clock;
use crate::uuid::{Flags, Producer};

fn uuid() -> Uuid {
    let clock = Clock::from_u64(0x1ee8_33b0_4afc_0000);
    Uuid::new(Producer::from_bytes([1, 2, 3, 4, 5, 6]), clock, Flags::CONTINUE_TXN)
}

const META_TEXT: &str = r#""_meta":{"uuid":"04afc000-833b-11ee-8001-010203040506""#;

fn encoded(meta: &Meta<'_>, body: &[u8]) -> String {
    let mut out = BytesMut::new();
    append(meta, body, &mut out);
    let line = String::from_utf8(out.to_vec()).unwrap();
    assert_eq!(line.matches('\n').count(), 1, "{line:?}");
    serde_json::from_str::<Value>(&line).expect("a line of JSON");
    line.strip_suffix('\n').unwrap().to_owned()
}

fn body_of(line: &str) -> String {
    String::from_utf8(decode(line.as_bytes()).unwrap().body.to_vec()).unwrap()
}

/// Asserts how a body is written behind the UUID, and that it comes back.
#[track_caller]
fn check(body: &str, expected: &str, back: &str) {
    let line = encoded(&Meta::of(uuid()), body.as_bytes());
    assert_eq!(line, format!("{{{META_TEXT}{expected}"), "{body:?}");
    assert_eq!(body_of(&line), back, "{body:?}");
    assert_eq!(peek(line.as_bytes()), Ok(uuid()));
}

#[test]
fn objects_are_spliced() {
    let spliced = |body: &str, rest: &str, back: &str| check(body, &format!("}}{rest}}}"), back);
    spliced("{}", "", "{}");
    spliced(" {\n} ", "", "{}");
    spliced(r#"{"a":1}"#, r#","a":1"#, r#"{"a":1}"#);
    spliced("{ \"a\" : [1,\r\n2] }\n", r#","a" : [1,  2]"#, r#"{"a" : [1,  2]}"#);
    // Text stays as it is: numbers of any length, duplicate keys, their order, escapes.
    for members in [
        r#""n":9007199254740993,"m":0.1000000000000000055511151231257827,"z":-0,"e":1E+300"#,
        r#""a":1,"a":2"#,
        r#""z":"\u00e9\ud83d\ude00\/","a":{"_meta":{"uuid":1}}"#,
        r#""data":"hello""#,
        r#""data":"aGVsbG8=","encoding":"base64""#,
        r#""_metadata":1,"meta_":2,"":3"#,
    ] {
        spliced(&format!("{{{members}}}"), &format!(",{members}"), &format!("{{{members}}}"));
    }
    let nested = format!("{}{}{}", r#"{"a":"#, "[".repeat(126) + &"]".repeat(126), "}");
    spliced(&nested, &format!(",{}", &nested[1..nested.len() - 1]), &nested);
}

#[test]
fn all_else_is_wrapped() {
    let wrapped = |body: &str, data: &str| {
        check(body, &format!(r#","encoding":"text"}},"data":{data}}}"#), body);
    };
    wrapped("", r#""""#);
    wrapped("hello", r#""hello""#);
    wrapped("[1,2]", r#""[1,2]""#);
    wrapped("12", r#""12""#);
    wrapped("\"a\"\n", r#""\"a\"\n""#);
    wrapped("\u{0}\u{1f}\u{7f}\t\r\\\u{2028}é😀", "\"\\u0000\\u001f\u{7f}\\t\\r\\\\\u{2028}é😀\"");
    // No JSON.
    for body in [
        "{",
        "{]",
        "{}}",
        "{} {}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":1e}",
        "{\"a\":-}",
        "{\"a\":NaN}",
        "{\"a\":tru}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"",
        "{\"a\":[1,]}",
        "{\"a\":[1 2]}",
        "{\"a\" 1}",
        "\u{feff}{}",
        "{\"a\":1}\u{0}",
        "{\"a\":{\"b\":1]}",
        "{\"a\":[1}}",
        "// {}",
    ] {
        let text = serde_json::to_string(body).unwrap();
        wrapped(body, &text);
    }
    // JSON that would be in the way, or that some readers do not read.
    for body in [
        r#"{"_meta":{"uuid":"x"},"a":1}"#,
        r#"{"a":1,"_meta":null}"#,
        r#"{"_META":1}"#,
        r#"{"\u005fmeta":1}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00\ud800"}"#,
        r#"{"a":"\ud800\u0041"}"#,
        r#"{"a":1e999}"#,
    ] {
        let text = serde_json::to_string(body).unwrap();
        wrapped(body, &text);
    }
    let number = format!("{{\"a\":{}}}", "9".repeat(400));
    wrapped(&number, &serde_json::to_string(&number).unwrap());
    for depth in [127, 300, 20_000] {
        let nested = format!("{}{}{}", r#"{"a":"#, "[".repeat(depth) + &"]".repeat(depth), "}");
        wrapped(&nested, &serde_json::to_string(&nested).unwrap());
    }
}

#[test]
fn bytes_are_wrapped_in_base64() {
    for length in [1, 2, 3, 3071, 3072, 3073, 10_000] {
        let body = vec![0xff; length];
        let line = encoded(&Meta::of(uuid()), &body);
        assert!(line.contains(r#","encoding":"base64"},"data":"/"#), "{line}");
        assert_eq!(decode(line.as_bytes()).unwrap().body.to_vec(), body, "{length}");
    }
}

#[test]
fn all_that_is_said_comes_back() {
    let meta = Meta {
        uuid: uuid(),
        key: "k\"1".into(),
        time: Some(courant_proto::Timestamp::from_nanos(1_700_000_000_123_456_789)),
        attributes: [("a".into(), "1".into()), ("ü\n".into(), "".into())].into(),
        tags: vec!["x,]".into(), "".into()],
        content_type: "text/plain".into(),
    };
    let line = encoded(&meta, b"hello");
    let expected = concat!(
        r#","key":"k\"1","time":"2023-11-14T22:13:20.123456789Z","attributes":{"a":"1","ü\n":""},"#,
        r#""tags":["x,]",""],"contentType":"text/plain","encoding":"text"},"data":"hello"}"#
    );
    assert_eq!(line, format!("{{{META_TEXT}{expected}"));
    let envelope = decode(line.as_bytes()).unwrap();
    assert_eq!((&envelope.meta, &envelope.body.to_vec()[..]), (&meta, &b"hello"[..]));
    assert!(matches!(envelope.meta.content_type, Cow::Borrowed(_)));
}

#[test]
fn lines_of_others_are_read() {
    let check = |line: &str, of: Uuid, body: &str| {
        let envelope = decode(line.as_bytes()).unwrap();
        assert_eq!((envelope.meta.uuid, peek(line.as_bytes())), (of, Ok(of)), "{line}");
        assert_eq!(envelope.body.to_vec(), body.as_bytes(), "{line}");
    };
    let id = r#""04afc000-833b-11ee-8001-010203040506""#;
    check(&format!(r#"{{"a":1,"_meta":{{"uuid":{id}}},"b":2}}"#), uuid(), r#"{"a":1,"b":2}"#);
    check(&format!(r#"{{"a":1, "_meta":{{"uuid":{id}}}}}"#), uuid(), r#"{"a":1}"#);
    check(&format!(r#" {{ "_meta" : {{"op":"c","uuid":{id}}} }} "#), uuid(), " {  } ");
    check(
        &format!(r#"{{"_meta":{{"uuid":{id},"tags": [ "a" , "b" ] }},"b":2}}{}"#, "\r"),
        uuid(),
        "{\"b\":2}\r",
    );
    check(&format!(r#"{{"\u005fmeta":{{"uuid":{id}}},"b":2}}"#), uuid(), r#"{"b":2}"#);
    check(r#"{"_meta":{"uuid":"{04AFC000-833b-11ee-8001-010203040506}"}}"#, uuid(), "{}");
    // Not ours: the member belongs to the body.
    for line in [
        "{}",
        "12",
        "[1]",
        " null ",
        r#"{"a":1}"#,
        r#"{"_meta":1}"#,
        r#"{"_meta":{},"data":"x"}"#,
        r#"{"_meta":{"key":7,"encoding":"text"},"data":"x"}"#,
        r#"{"_META":{"uuid":"x"}}"#,
        r#"{"a":"\ud800"}"#,
    ] {
        check(line, Uuid::NIL, line);
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    check(&deep, Uuid::NIL, &deep);
}

#[test]
fn damaged_lines_say_where() {
    let id = r#""uuid":"04afc000-833b-11ee-8001-010203040506""#;
    let check = |line: &str, expected: &str| {
        let found = decode(line.as_bytes()).map_err(|damaged| damaged.to_string());
        assert_eq!(found, Err(format!("at byte {expected}")), "{line}");
    };
    check("", "0 of the message: the JSON ends too early");
    check("hello", "0 of the message: expected a JSON value");
    check("{} x", "3 of the message: more after the JSON value");
    check(
        r#"{"_meta":{"uuid":"x"}}"#,
        "17 of the message: \"x\" is no UUID (expected 36 characters, as in 04afc000-833b-11ee-8001-010203040506)",
    );
    check(r#"{"_meta":{"uuid":7}}"#, "17 of the message: \"uuid\": 7 (expected a string)");
    check(
        &format!(r#"{{"_meta":{{{id}}},"_meta":{{}}}}"#),
        "57 of the message: a second member \"_meta\" (expected one)",
    );
    check(&format!(r#"{{"_meta":{{{id},{id}}}}}"#), "63 of the message: a second \"uuid\" (expected one)");
    let meta = |member: &str, expected: &str| check(&format!(r#"{{"_meta":{{{id},{member}}}}}"#), expected);
    meta(r#""key":7"#, "62 of the message: \"key\": 7 (expected a string)");
    meta(
        r#""time":"now""#,
        "63 of the message: \"time\": \\\"now\\\" (expected a time of RFC 3339, from 1677 to 2262)",
    );
    meta(r#""tags":[1]"#, "63 of the message: \"tags\": [1] (expected an array of strings)");
    meta(r#""tags":{}"#, "63 of the message: \"tags\": {} (expected an array of strings)");
    meta(r#""attributes":[]"#, "69 of the message: \"attributes\": [] (expected an object of strings)");
    meta(
        r#""attributes":{"a":1}"#,
        "69 of the message: \"attributes\": {\\\"a\\\":1} (expected an object of strings)",
    );
    meta(
        r#""encoding":"utf7""#,
        "67 of the message: \"encoding\": \\\"utf7\\\" (expected \"text\" or \"base64\")",
    );
    check(
        &format!(r#"{{"_meta":{{{id},"encoding":"text"}}}}"#),
        "9 of the message: \"encoding\" without a string \"data\" beside \"_meta\"",
    );
    check(
        &format!(r#"{{"_meta":{{{id},"encoding":"text"}},"data":7}}"#),
        "9 of the message: \"encoding\" without a string \"data\" beside \"_meta\"",
    );
    let base64 =
        decode(format!(r#"{{"_meta":{{{id},"encoding":"base64"}},"data":"*"}}"#).as_bytes()).map(drop);
    assert!(base64.unwrap_err().what.starts_with("\"data\": "));
    assert_eq!(decode(b"{\"a\":\"\xff\"}").unwrap_err().at, 6);
    let deep = "[".repeat(10_001);
    assert_eq!(decode(deep.as_bytes()).unwrap_err().at, 10_001);
    let of_others =
        decode(format!(r#"{{"_meta":{{{id},"time":"1600-01-01T00:00:00Z"}}}}"#).as_bytes()).map(drop);
    assert!(of_others.unwrap_err().what.contains("from 1677 to 2262"));
    assert!(peek(br#"{"_meta":{"uuid":"04afc000-833b-11ee-8001-01020304050x"}}"#).is_err());
}

#[test]
fn a_body_within_the_line_is_not_copied() {
    let line = Bytes::from(encoded(&Meta::of(uuid()), b"hello"));
    let body = decode(&line).unwrap().body.to_bytes(&line);
    assert!(line.as_ptr_range().contains(&body.as_ptr()));
    let line = Bytes::from(encoded(&Meta::of(uuid()), b"{\"a\":1}"));
    let envelope = decode(&line).unwrap();
    assert_eq!(envelope.body.parts(), [&b"{"[..], b"\"a\":1}"]);
    assert_eq!((envelope.body.len(), envelope.body.is_empty()), (7, false));
    assert_eq!(envelope.body.to_bytes(&line), "{\"a\":1}");
}

/// Any JSON value.
fn value() -> impl Strategy<Value = Value> {
    let key = prop_oneof!["[a-c]{0,2}", Just("_meta".to_owned()), Just("data".to_owned()), any::<String>()];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Text that is nearly JSON.
fn nearly() -> impl Strategy<Value = String> {
    let token = proptest::sample::select(
        &[
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"_meta\"",
            "\"data\"",
            "1",
            "-2.5e3",
            "null",
            " ",
            "\n",
            "\"\\ud83d\\ude00\"",
            "x",
        ][..],
    );
    proptest::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn json_comes_back_equal(value in value(), pretty: bool) {
        let body = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let line = encoded(&Meta::of(uuid()), body.as_bytes());
        let back = body_of(&line);
        // Compared as it is read: reading need not give exactly the number that was written.
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        prop_assert_eq!(read(&back), read(&body));
        let is_spliced = !line.contains(r#","encoding":"text"},"data":"#);
        prop_assert!(is_spliced || back == body);
    }

    #[test]
    fn any_bytes_come_back(body: Vec<u8>) {
        let line = encoded(&Meta::of(uuid()), &body);
        let back = decode(line.as_bytes()).unwrap().body.to_vec();
        match (serde_json::from_slice::<Value>(&body), serde_json::from_slice::<Value>(&back)) {
            (Ok(body), Ok(back)) => prop_assert_eq!(body, back),
            _ => prop_assert_eq!(back, body),
        }
    }

    #[test]
    fn what_is_json_is_agreed_upon(text in nearly()) {
        let ours = Cursor::new(&text).document().is_ok();
        prop_assert_eq!(ours, serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        // It is JSON, or comes back byte for byte.
        let back = body_of(&encoded(&Meta::of(uuid()), text.as_bytes()));
        match serde_json::from_str::<Value>(&text) {
            Ok(value) => prop_assert_eq!(serde_json::from_str::<Value>(&back).unwrap(), value),
            Err(_) => prop_assert_eq!(back, text),
        }
    }

    #[test]
    fn no_line_is_a_panic(line: Vec<u8>, text in nearly()) {
        let _ = (decode(&line), peek(&line));
        let _ = (decode(text.as_bytes()), peek(text.as_bytes()));
        let spliced = format!("{{{META_TEXT}{text}");
        let _ = (decode(spliced.as_bytes()), peek(spliced.as_bytes()));
    }

    #[test]
    fn what_is_said_comes_back(
        key: String, nanos: Option<i64>, tags in proptest::collection::vec(any::<String>(), 0..4),
        attributes in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..4), body: Vec<u8>,
    ) {
        let meta = Meta {
            uuid: uuid(),
            key: key.into(),
            time: nanos.map(courant_proto::Timestamp::from_nanos),
            attributes: attributes.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            tags: tags.into_iter().map(Cow::from).collect(),
            content_type: Cow::default(),
        };
        let line = encoded(&meta, &body);
        prop_assert_eq!(decode(line.as_bytes()).unwrap().meta, meta);
    }
}
