//! Tests of fragments and their names.

use proptest::prelude::*;
use prost::Message;

use super::*;

const SUM: &str = "0102030405060708090a0b0c0d0e0f1011121314";

fn journal() -> JournalName {
    JournalName::parse("a/journal").expect("name")
}

fn fragment(begin: i64, end: i64, codec: Codec, postfix: &str) -> Fragment {
    Fragment {
        begin: Offset::new(begin).expect("offset"),
        end: Offset::new(end).expect("offset"),
        sum: SUM.parse().expect("digest"),
        postfix: postfix.into(),
        ..Fragment::empty_at(journal(), Offset::ZERO, codec)
    }
}

#[test]
fn names_and_paths() {
    let check = |fragment: Fragment, path: &str| {
        assert_eq!(fragment.content_path(), path);
        let relative = path.strip_prefix("a/journal/").expect("below its journal");
        assert!(relative.ends_with(&fragment.content_name()));
        assert_eq!(Fragment::parse_relative(&journal(), relative, None, 0), Ok(fragment));
    };
    check(
        fragment(1_234_567_890, i64::MAX, Codec::Gzip, "a=1/b=2"),
        "a/journal/a=1/b=2/00000000499602d2-7fffffffffffffff-0102030405060708090a0b0c0d0e0f1011121314.gz",
    );
    check(
        fragment(0, 1000, Codec::Snappy, ""),
        "a/journal/0000000000000000-00000000000003e8-0102030405060708090a0b0c0d0e0f1011121314.sz",
    );
    check(
        fragment(0, 0, Codec::GzipOffload, ""),
        "a/journal/0000000000000000-0000000000000000-0102030405060708090a0b0c0d0e0f1011121314",
    );
    check(
        fragment(255, 256, Codec::None, "date=2024-01-02"),
        "a/journal/date=2024-01-02/00000000000000ff-0000000000000100-0102030405060708090a0b0c0d0e0f1011121314.raw",
    );
    check(
        fragment(255, 256, Codec::Zstandard, ""),
        "a/journal/00000000000000ff-0000000000000100-0102030405060708090a0b0c0d0e0f1011121314.zst",
    );
}

#[test]
fn reads_laxer_names() {
    let check = |path: &str, codec: Codec| {
        let got = Fragment::parse_relative(&journal(), path, None, 7).expect(path);
        assert_eq!(got, Fragment { mod_time: 7, ..fragment(0xff, 0x100, codec, "") });
    };
    for (extension, codec) in [
        (".raw", Codec::None),
        (".GZ", Codec::Gzip),
        (".gzip", Codec::Gzip),
        (".zstandard", Codec::Zstandard),
        (".Snappy", Codec::Snappy),
        (".gzod", Codec::GzipOffload),
        ("", Codec::GzipOffload),
    ] {
        check(&format!("ff-100-{SUM}{extension}"), codec);
        check(&format!("00000000000000000000FF-0100-{}{extension}", SUM.to_uppercase()), codec);
    }
    let store = StoreUrl::parse("s3://bucket/").expect("store");
    let got = Fragment::parse_relative(&journal(), &format!("x/y/0-1-{SUM}.sz"), Some(store.clone()), 0);
    assert_eq!(got.map(|f| (f.postfix.to_string(), f.store)), Ok(("x/y".to_owned(), Some(store))));
}

#[test]
fn refuses_other_names() {
    let check = |path: &str, expected: &str| {
        let got = Fragment::parse_relative(&journal(), path, None, 0).map_err(|e| e.to_string());
        assert_eq!(got, Err(expected.to_owned()), "{path:?}");
    };
    check("", "wrong Fragment format: ");
    check("00-01.sz", "wrong Fragment format: 00-01");
    check(&format!("0-1-{SUM}-4.sz"), &format!("wrong Fragment format: 0-1-{SUM}-4"));
    check(&format!("-1-2-{SUM}.sz"), &format!("wrong Fragment format: -1-2-{SUM}"));
    check(&format!("0z-1-{SUM}.sz"), r#"Begin: "0z" is not a hexadecimal offset"#);
    check(&format!("+0-1-{SUM}.sz"), r#"Begin: "+0" is not a hexadecimal offset"#);
    check(&format!("0-0x1-{SUM}.sz"), r#"End: "0x1" is not a hexadecimal offset"#);
    check(&format!("-1-{SUM}.sz"), r#"Begin: "" is not a hexadecimal offset"#);
    check(
        &format!("0-8000000000000000-{SUM}.sz"),
        r#"End: "8000000000000000" is beyond the last offset, 7fffffffffffffff"#,
    );
    check("0-1-xyz.sz", r#"Sum: "xyz" is not hexadecimal"#);
    check("0-1-0102.sz", "invalid SHA1Sum length: 0102");
    check("0-1-.sz", "invalid SHA1Sum length: ");
    check(&format!("0-1-{SUM}00.sz"), &format!("invalid SHA1Sum length: {SUM}00"));
    check(&format!("0-1-{SUM}.zip"), "unrecognized compression extension: .zip");
    check(&format!("0-1-{SUM}.gz.tmp"), &format!(r#"Sum: "{SUM}.gz" is not hexadecimal"#));
    check(&format!("2-1-{SUM}.sz"), "expected Begin <= End (have 2, 1)");
    check(&format!("a b/0-1-{SUM}.sz"), "PathPostfix: not a valid token (a b)");
    check(&format!("a//b/0-1-{SUM}.sz"), "PathPostfix: must be a clean path (a//b)");
    check(
        &format!("../other/0-1-{SUM}.sz"),
        "PathPostfix: cannot leave its folder by a '.' or '..' component (../other)",
    );
    check(&format!("/0-1-{SUM}.sz"), &format!("PathPostfix: cannot begin with '/' (/0-1-{SUM}.sz)"));
}

#[test]
fn rules_of_the_wire() {
    let good = wire::Fragment::from(&fragment(1, 2, Codec::Snappy, "post/fix"));
    let check = |alter: fn(&mut wire::Fragment), expected: &str| {
        let mut wire = good.clone();
        alter(&mut wire);
        assert_eq!(Fragment::try_from(wire).map_err(|e| e.to_string()), Err(expected.to_owned()));
    };
    assert_eq!(Fragment::try_from(good.clone()), Ok(fragment(1, 2, Codec::Snappy, "post/fix")));
    check(|f| f.journal = "/bad".into(), "Journal: cannot begin with '/' (/bad)");
    check(|f| f.end = 0, "expected Begin <= End (have 1, 0)");
    check(|f| f.begin = -1, "invalid Begin (-1; expected >= 0)");
    check(|f| f.compression_codec = 9999, "CompressionCodec: invalid value (9999)");
    check(|f| f.compression_codec = 0, "CompressionCodec: invalid value (INVALID)");
    check(|f| f.backing_store = "invalid".into(), "BackingStore: not absolute (invalid)");
    check(|f| f.path_postfix = "not clean//".into(), "PathPostfix: not a valid token (not clean//)");
    check(|f| f.path_postfix = "/a".into(), "PathPostfix: cannot begin with '/' (/a)");
    check(
        |f| f.path_postfix = "p".repeat(513),
        "PathPostfix: invalid length (513; expected 0 <= length <= 512)",
    );
}

#[test]
fn bytes_on_the_wire() {
    let bytes =
        wire::Fragment::from(&Fragment::empty_at(journal(), Offset::ZERO, Codec::Snappy)).encode_to_vec();
    let expected = [0x0a, 0x09, 0x61, 0x2f, 0x6a, 0x6f, 0x75, 0x72, 0x6e, 0x61, 0x6c, 0x22, 0x00, 0x28, 0x04];
    assert_eq!(bytes, expected);
}

proptest! {
    #[test]
    fn reading_undoes_naming(
        (begin, length) in (0..=i64::MAX).prop_flat_map(|begin| (Just(begin), 0..=i64::MAX - begin)),
        digest in any::<[u8; 20]>(),
        codec in prop::sample::select(Codec::ALL.as_slice()),
        postfix in "([a-z=0-9é%]{1,5}(/[a-z=0-9]{1,5}){0,2})?",
        stored in any::<bool>(),
        mod_time in any::<i64>(),
    ) {
        let store = stored.then(|| StoreUrl::parse("file:///a/").expect("store"));
        let fragment = Fragment {
            sum: ContentSum(digest),
            store: store.clone(),
            mod_time,
            ..fragment(begin, begin + length, codec, &postfix)
        };
        let path = fragment.content_path();
        let relative = path.strip_prefix("a/journal/").expect("below its journal");
        prop_assert_eq!(Fragment::parse_relative(&journal(), relative, store, mod_time), Ok(fragment.clone()));
        prop_assert_eq!(fragment.length(), length.unsigned_abs());
        prop_assert_eq!(Fragment::try_from(wire::Fragment::from(&fragment)), Ok(fragment));
    }

    #[test]
    fn any_path_is_read_or_refused(path in "[0-9a-f.zsg/+-]{0,60}") {
        if let Ok(fragment) = Fragment::parse_relative(&journal(), &path, None, 0) {
            prop_assert!(fragment.begin <= fragment.end);
            prop_assert!(!fragment.content_path().contains(".."));
        }
    }
}
