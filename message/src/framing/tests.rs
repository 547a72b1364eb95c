//! Gazette's fixtures, tables of damage, and that neither cuts nor damage change more than they have to.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 40;

/// What is found in content that comes in pieces of these sizes, over and over.
fn found(framing: Framing, content: &[u8], sizes: &[usize]) -> Vec<Item> {
    let mut frames = Frames::new(framing, Offset::ZERO, LIMIT);
    let (mut rest, mut items) = (Bytes::copy_from_slice(content), Vec::new());
    for size in sizes.iter().cycle() {
        let mut piece = rest.split_to((*size).min(rest.len()));
        while let Some(item) = frames.next(&mut piece) {
            items.push(item);
        }
        assert!(piece.is_empty());
        if rest.is_empty() {
            break;
        }
    }
    items.extend(frames.end());
    assert_eq!(frames.end(), None, "an end that does not end");
    items
}

/// As a reader would write it down.
fn told(items: &[Item]) -> Vec<String> {
    let tell = |item: &Item| match item {
        Item::Frame(frame) => {
            format!("{}-{} {}", frame.begin, frame.end, String::from_utf8_lossy(&frame.payload))
        }
        Item::Skipped(skipped) => format!("{}+{} {:?}", skipped.begin, skipped.length, skipped.why),
    };
    items.iter().map(tell).collect()
}

#[track_caller]
fn check(framing: Framing, content: &[u8], expected: &[&str]) {
    for sizes in [&[usize::MAX][..], &[1], &[3], &[7, 2], &[16]] {
        let found = told(&found(framing, content, sizes));
        assert_eq!(found, expected, "{:?} in pieces of {sizes:?}", String::from_utf8_lossy(content));
    }
}

fn fixed(payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    fixed::append(payload, &mut out).unwrap();
    out.to_vec()
}

#[test]
fn content_types() {
    for framing in Framing::ALL {
        assert_eq!(Framing::of_content_type(framing.content_type()), Ok(framing));
        let labels = LabelSet::from_pairs([("content-type", framing.content_type())]).unwrap();
        assert_eq!(Framing::of_labels(&labels), Ok(framing));
    }
    let check = |content_type: &str, text: &str| {
        assert_eq!(Framing::of_content_type(content_type).unwrap_err().to_string(), text);
    };
    check(
        "application/x-gazette-recoverylog",
        "unrecognized content-type (application/x-gazette-recoverylog)",
    );
    check("", "unrecognized content-type ()");
    check("Text/CSV", "unrecognized content-type (Text/CSV)");
    assert_eq!(Framing::of_labels(&LabelSet::empty()), Err(UnknownContentType(String::new())));
}

#[test]
fn lines_end_in_a_newline() {
    let check = |content: &str, expected: &[&str]| check(Framing::Lines, content.as_bytes(), expected);
    check("", &[]);
    check("{\"a\":1}\n{}\n", &["0-8 {\"a\":1}", "8-11 {}"]);
    check("\n\r\n", &["0-1 ", "1-3 \r"]);
    check("one\ntwo", &["0-4 one", "4+3 Truncated"]);
    let long = "x".repeat(LIMIT);
    check(&format!("{long}\nb\n"), &[&format!("0-41 {long}"), "41-43 b"]);
    check(&format!("{long}x\nb\n"), &["0+42 TooLong { limit: 40 }", "42-44 b"]);
    check(&format!("a\n{}", "x".repeat(100)), &["0-2 a", "2+100 TooLong { limit: 40 }"]);
}

#[test]
fn fixed_frames_are_gazettes() {
    let mut out = BytesMut::new();
    fixed::append(b"test message content", &mut out).unwrap();
    assert_eq!(&out[..], b"\x66\x33\x93\x36\x14\x00\x00\x00test message content");
    fixed::append(b"foo message", &mut out).unwrap();
    assert_eq!(&out[28..], b"\x66\x33\x93\x36\x0b\x00\x00\x00foo message");
    check(Framing::Fixed, &out, &["0-28 test message content", "28-47 foo message"]);
    check(Framing::Fixed, &fixed(b""), &["0-8 "]);
}

#[test]
fn fixed_frames_are_found_again_after_damage() {
    let frame = fixed(b"test message content");
    let with = |before: &[u8], after: &[u8]| [before, &frame, after].concat();
    let check = |content: &[u8], expected: &[&str]| check(Framing::Fixed, content, expected);
    check(&with(b"foobar", b""), &["0+6 Desynchronized", "6-34 test message content"]);
    check(&with(&[b'x'; 21], b""), &["0+21 Desynchronized", "21-49 test message content"]);
    // What begins like a magic word, and is none.
    check(&with(b"\x66\x66\x33\x66\x33\x93", b""), &["0+6 Desynchronized", "6-34 test message content"]);
    check(&with(b"\n", b""), &["0+1 Desynchronized", "1-29 test message content"]);
    check(&with(b"", b"extra"), &["0-28 test message content", "28+5 Truncated"]);
    check(&with(b"", b"extra extra"), &["0-28 test message content", "28+11 Desynchronized"]);
    // A newline at the end is none, and is not read.
    check(&with(b"", b"\n"), &["0-28 test message content"]);
    check(&with(b"", b"\n\n"), &["0-28 test message content", "28+2 Truncated"]);
    check(&frame[..7], &["0+7 Truncated"]);
    check(&frame[..8], &["0+8 Truncated"]);
    check(&frame[..27], &["0+27 Truncated"]);
    check(b"foo\x66\x33\x93\x36", &["0+7 Truncated"]);
    // A length that is too great is taken for damage: the frames after it are not lost with it.
    let long = b"\x66\x33\x93\x36\x29\x00\x00\x00some";
    check(&with(long, b""), &["0+12 TooLong { limit: 40 }", "12-40 test message content"]);
    let twice = b"\x66\x33\x93\x36\x66\x33\x93\x36";
    check(
        &with(twice, b""),
        &["0+4 TooLong { limit: 40 }", "4+4 TooLong { limit: 40 }", "8-36 test message content"],
    );
    check(&[&frame[..4], b"\x00\x00\x00\x80"].concat(), &["0+8 TooLong { limit: 40 }"]);
    // One that is too small: what is left of its payload is skipped.
    let mut small = frame.clone();
    small[4] = 4;
    check(&with(&small, b""), &["0-12 test", "12+16 Desynchronized", "28-56 test message content"]);
}

#[test]
fn rows_are_gazettes() {
    let append = |fields: &[&str], expected: &str| {
        let mut out = BytesMut::new();
        csv::append(fields, &mut out);
        assert_eq!(out, expected, "{fields:?}");
    };
    append(&["id", "123", "qu\"ote"], "id,123,\"qu\"\"ote\"\n");
    append(&["id", "567,891"], "id,\"567,891\"\n");
    append(
        &["", "a\nb", "a\rb", " a", "a ", "\\.", "\u{a0}x", "ü"],
        ",\"a\nb\",\"a\rb\",\" a\",a ,\"\\.\",\"\u{a0}x\",ü\n",
    );
    append(&["", ""], ",\n");
    append(&[""], "\"\"\n");
}

#[test]
fn rows_are_read_with_quotes_and_ends_of_all_kinds() {
    let rows = |content: &str, expected: &[&str]| check(Framing::Csv, content.as_bytes(), expected);
    rows("", &[]);
    rows("a,b\nc,d\n", &["0-4 a,b", "4-8 c,d"]);
    rows("a,b\r\nc,d", &["0-5 a,b", "5-8 c,d"]);
    rows("\n\r\na,b\n\n\nc,d\n\r", &["3-7 a,b", "9-13 c,d"]);
    rows("\"a\nb\",\"c\"\"\n\"\nd,e\r\n", &["0-13 \"a\nb\",\"c\"\"\n\"", "13-18 d,e"]);
    rows("\"a\"\r\nb\n", &["0-5 \"a\"", "5-7 b"]);
    rows("a\rb,c\nd,e\n", &["0-6 a\rb,c", "6-10 d,e"]);
    rows("\"\"\n", &["0-3 \"\""]);
}

#[test]
fn damaged_rows_end_with_their_line() {
    let rows = |content: &str, expected: &[&str]| check(Framing::Csv, content.as_bytes(), expected);
    rows("a,b\nc\nd,e\n", &["0-4 a,b", "4+2 FieldCount { expected: 2, found: 1 }", "6-10 d,e"]);
    rows("a,b\"c\nd,e\n", &["0+6 BareQuote", "6-10 d,e"]);
    rows("\"a\"b,c\nd,e\n", &["0+7 ExtraneousQuote", "7-11 d,e"]);
    rows("\"a\"\rb\nd,e\n", &["0+6 ExtraneousQuote", "6-10 d,e"]);
    rows("\"a\nb\"c\nd,e\n", &["0+7 ExtraneousQuote", "7-11 d,e"]);
    rows("a,b\nc,\"d", &["0-4 a,b", "4+4 Truncated"]);
    rows("a,b\nc", &["0-4 a,b", "4+1 FieldCount { expected: 2, found: 1 }"]);
    // An open quote takes what is read as its field, and no more than a row may have.
    let open = format!("\"{}\na,b\n", "x\n".repeat(30));
    for sizes in [&[5][..], &[usize::MAX]] {
        let found = told(&found(Framing::Csv, open.as_bytes(), sizes));
        assert_eq!(found[..2], ["0+43 TooLong { limit: 40 }", "43-45 x"]);
        assert_eq!(found[found.len() - 1], "62+4 FieldCount { expected: 1, found: 2 }");
    }
}

#[test]
fn fields_come_back() {
    let check = |row: &str, expected: &[&str]| {
        let found: Vec<_> =
            csv::fields(row.as_bytes()).map(|f| String::from_utf8_lossy(&f).into_owned()).collect();
        assert_eq!(found, expected, "{row:?}");
    };
    check("a,b", &["a", "b"]);
    check(",", &["", ""]);
    check("\"\"", &[""]);
    check("\"a\"\"b\",\"c,d\",\"e\r\nf\rg\"", &["a\"b", "c,d", "e\nf\rg"]);
    check("\"a\",", &["a", ""]);
    let row = b"\"04afc000-833b-11ee-8001-010203040506\",x";
    assert_eq!(csv::uuid(row).unwrap().to_string(), "04afc000-833b-11ee-8001-010203040506");
    assert_eq!(csv::uuid(b"not-a-uuid,x").unwrap_err().text, "not-a-uuid");
}

#[test]
fn frames_within_a_piece_are_not_copied() {
    for framing in Framing::ALL {
        let mut content = BytesMut::new();
        for _ in 0..3 {
            append(framing, &[b"abc".to_vec()], &mut content);
        }
        let mut piece = content.freeze();
        let range = piece.as_ptr_range();
        let mut frames = Frames::new(framing, Offset::ZERO, LIMIT);
        let mut count = 0;
        while let Some(Item::Frame(frame)) = frames.next(&mut piece) {
            assert!(range.contains(&frame.payload.as_ptr()), "{framing:?}");
            count += 1;
        }
        assert_eq!(count, 3);
    }
}

#[test]
fn a_jump_tells_what_was_half_read() {
    for (framing, begin, held) in [
        (Framing::Lines, &b"{}\n{\"a"[..], 3),
        (Framing::Fixed, &b"\x66\x33\x93\x36\x02\x00\x00\x00{}\x66\x33\x93\x36\x02\x00\x00\x00{"[..], 9),
        (Framing::Csv, &b"a,b\nc,\""[..], 3),
    ] {
        let mut frames = Frames::new(framing, Offset::ZERO, LIMIT);
        let mut piece = Bytes::from_static(begin);
        while frames.next(&mut piece).is_some() {}
        let (at, to) = (frames.offset(), Offset::new(1000).unwrap());
        assert_eq!(
            frames.jump(to),
            Some(Skipped { begin: at, length: held, why: Why::CutOff }),
            "{framing:?}"
        );
        assert_eq!((frames.jump(to), frames.offset()), (None, to));
        let mut content = BytesMut::new();
        append(framing, &[b"c".to_vec(), b"d".to_vec()], &mut content);
        let Some(Item::Frame(frame)) = frames.next(&mut content.freeze()) else { panic!("no frame") };
        assert_eq!(frame.begin, to, "{framing:?}");
    }
}

#[test]
fn reasons_are_sentences() {
    let why = Why::FieldCount { expected: 2, found: 1 };
    let skipped = Skipped { begin: Offset::new(7).unwrap(), length: 3, why };
    assert_eq!(
        skipped.to_string(),
        "skipped 3 bytes at offset 7: 1 fields (expected 2, as in the first row)"
    );
}

/// Appends a message of some fields, which only CSV keeps apart.
fn append(framing: Framing, fields: &[Vec<u8>], out: &mut BytesMut) {
    match framing {
        Framing::Lines => lines::append(&fields.concat(), out),
        Framing::Fixed => fixed::append(&fields.concat(), out).unwrap(),
        Framing::Csv => csv::append(fields, out),
    }
}

/// Bytes that mean something to some framing, and some that do not.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        proptest::sample::select(&b"\x66\x33\x93\x36\x66\x33\x93\x36\x00\x05\n\r\",a "[..]),
        any::<u8>(),
    ]
}

fn framing() -> impl Strategy<Value = Framing> {
    proptest::sample::select(&Framing::ALL[..])
}

/// Contents of messages that a framing can hold and a row keeps: without `\r`, and for lines without newlines.
fn messages() -> impl Strategy<Value = (Framing, Vec<Vec<Vec<u8>>>)> {
    let field = proptest::collection::vec(byte().prop_filter("", |byte| *byte != b'\r'), 0..8);
    let message = proptest::collection::vec(field, 2..=2);
    (framing(), proptest::collection::vec(message, 0..8)).prop_map(|(framing, mut messages)| {
        if framing == Framing::Lines {
            messages.iter_mut().flatten().for_each(|field| field.retain(|byte| *byte != b'\n'));
        }
        (framing, messages)
    })
}

proptest! {
    #[test]
    fn messages_come_back((framing, messages) in messages(), sizes in proptest::collection::vec(1_usize..20, 1..5)) {
        let mut content = BytesMut::new();
        messages.iter().for_each(|fields| append(framing, fields, &mut content));
        let items = found(framing, &content, &sizes);
        prop_assert_eq!(items.len(), messages.len());
        for (item, fields) in items.iter().zip(&messages) {
            let Item::Frame(frame) = item else { panic!("{item:?}") };
            if framing == Framing::Csv {
                let read: Vec<Vec<u8>> = csv::fields(&frame.payload).map(|field| field.into_owned()).collect();
                prop_assert_eq!(&read, fields);
            } else {
                prop_assert_eq!(&frame.payload[..], &fields.concat()[..]);
            }
        }
    }

    #[test]
    fn cuts_change_nothing(
        framing in framing(),
        content in proptest::collection::vec(byte(), 0..200),
        sizes in proptest::collection::vec(1_usize..20, 1..5),
    ) {
        prop_assert_eq!(found(framing, &content, &sizes), found(framing, &content, &[usize::MAX]));
    }

    #[test]
    fn every_byte_is_told_once_and_in_order(
        framing in framing(),
        content in proptest::collection::vec(byte(), 0..200),
    ) {
        let mut at = 0;
        for item in found(framing, &content, &[usize::MAX]) {
            let (begin, end) = match item {
                Item::Frame(frame) => (frame.begin.get(), frame.end.get()),
                Item::Skipped(skipped) => (skipped.begin.get(), skipped.begin.get() + skipped.length as i64),
            };
            let between = &content[usize::try_from(at).unwrap()..usize::try_from(begin).unwrap()];
            prop_assert!(between.is_empty() || framing == Framing::Csv && between.iter().all(|b| b"\r\n".contains(b)));
            prop_assert!(begin < end);
            at = end;
        }
        let rest = &content[usize::try_from(at).unwrap()..];
        prop_assert!(rest.iter().all(|byte| b"\r\n".contains(byte)) && (rest.len() < 2 || framing == Framing::Csv));
    }

    #[test]
    fn damage_within_one_fixed_frame_costs_that_frame_alone(
        (_, messages) in messages(), at: proptest::sample::Index, to: u8,
    ) {
        prop_assume!(!messages.is_empty());
        // A payload never looks like a header here.
        let clean = |fields: &Vec<Vec<u8>>| fields.concat().iter().map(|byte| byte & 0x1f).collect::<Vec<u8>>();
        let frames: Vec<Vec<u8>> = messages.iter().map(|fields| fixed(&clean(fields))).collect();
        let victim = at.index(frames.len());
        let mut damaged = frames.clone();
        damaged[victim][at.index(4)] ^= to | 1;
        let found = found(Framing::Fixed, &damaged.concat(), &[usize::MAX]);
        let whole = found.iter().filter(|item| matches!(item, Item::Frame(_))).count();
        prop_assert_eq!(whole, frames.len() - 1, "{:?}", told(&found));
    }
}
