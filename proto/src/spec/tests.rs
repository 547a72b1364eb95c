//! Tests of specs: their rules, and the registry's bytes.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::codec::Codec;
use crate::duration::GoDuration;
use crate::store::StoreUrl;

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn label(name: &str, value: &str) -> wire::Label {
    wire::Label { name: name.into(), value: value.into(), prefix: false }
}

fn good() -> wire::JournalSpec {
    wire::JournalSpec {
        name: "a/journal".into(),
        replication: 3,
        labels: Some(wire::LabelSet { labels: vec![label("aaa", "val"), label("bbb", "val")] }),
        fragment: Some(wire::journal_spec::Fragment {
            length: 1 << 18,
            compression_codec: wire::CompressionCodec::Gzip.into(),
            stores: vec!["s3://bucket/path/".into(), "gs://other-bucket/path/".into()],
            refresh_interval: seconds(300),
            retention: seconds(365 * 24 * 3600),
            flush_interval: seconds(3600),
            path_postfix_template: String::new(),
        }),
        flags: wire::journal_spec::Flag::ORdwr as u32,
        max_append_rate: 1 << 14,
        suspend: Some(wire::journal_spec::Suspend {
            level: wire::journal_spec::suspend::Level::Partial.into(),
            offset: 1234,
        }),
    }
}

fn check(alter: impl FnOnce(&mut wire::JournalSpec), expected: Result<(), &str>) {
    let mut wire = good();
    alter(&mut wire);
    let got = JournalSpec::try_from(wire).map(|_| ()).map_err(|e| e.to_string());
    assert_eq!(got, expected.map_err(str::to_owned));
}

fn fragment(spec: &mut wire::JournalSpec) -> &mut wire::journal_spec::Fragment {
    spec.fragment.as_mut().expect("fragment")
}

#[test]
fn rules_of_journals() {
    check(|_| {}, Ok(()));
    check(|s| s.name = "/bad".into(), Err("Name: cannot begin with '/' (/bad)"));
    check(
        |s| s.name = "../a/b".into(),
        Err("Name: cannot leave its folder by a '.' or '..' component (../a/b)"),
    );
    check(
        |s| s.name = "foo/bar;metadata".into(),
        Err("Name cannot have a metadata path segment (;metadata; expected no segment)"),
    );
    for replication in [-1, 0, 6] {
        let text = format!("invalid Replication ({replication}; expected 1 <= Replication <= 5)");
        check(|s| s.replication = replication, Err(&text));
    }
    check(|s| s.replication = 1, Ok(()));
    check(|s| s.replication = 5, Ok(()));
    for (flags, expected) in [
        (0, Ok(())),
        (1, Ok(())),
        (2, Ok(())),
        (3, Err("Flags: invalid combination (3)")),
        (4, Ok(())),
        (5, Err("Flags: invalid combination (5)")),
        (8, Err("Flags: invalid combination (8)")),
    ] {
        check(|s| s.flags = flags, expected);
    }
    check(|s| s.max_append_rate = -1, Err("invalid MaxAppendRate (-1; expected >= 0)"));
    check(|s| s.max_append_rate = 0, Ok(()));
    check(|s| s.suspend = None, Ok(()));
    check(
        |s| s.suspend = Some(wire::journal_spec::Suspend { level: 9, offset: 0 }),
        Err("Suspend.Level: invalid Level variant (9)"),
    );
    check(
        |s| s.suspend = Some(wire::journal_spec::Suspend { level: 0, offset: -1 }),
        Err("Suspend.Offset: invalid Offset (-1; expected >= 0)"),
    );
    // Rules are reported in their order.
    check(
        |s| (s.flags, s.replication, s.fragment) = (3, 0, None),
        Err("invalid Replication (0; expected 1 <= Replication <= 5)"),
    );
}

#[test]
fn rules_of_labels() {
    let check = |labels: &[(&str, &str)], expected: Result<(), &str>| {
        let labels = labels.iter().map(|(name, value)| label(name, value)).collect();
        check(|s| s.labels = Some(wire::LabelSet { labels }), expected);
    };
    check(&[], Ok(()));
    check(&[("app.gazette.dev/tag", "a"), ("app.gazette.dev/tag", "b")], Ok(()));
    check(&[("xxx xxx", "v")], Err("Labels.Labels[0].Name: not a valid token (xxx xxx)"));
    check(
        &[("bb", ""), ("aa", "")],
        Err("Labels: Labels not in unique, sorted order (index 1; label name aa <= bb)"),
    );
    check(&[("name", "a/journal")], Err("Labels cannot include label \"name\""));
    check(&[("name", "")], Err("Labels cannot include label \"name\""));
    check(&[("aa", ""), ("prefix", "")], Err("Labels cannot include label \"prefix\""));

    let types = [
        ("app.gazette.dev/message-subtype", "sub"),
        ("app.gazette.dev/message-type", "type"),
        ("content-type", "application/x-protobuf-fixed"),
    ];
    check(&types, Ok(()));
    check(&types[1..], Ok(()));
    check(&types[..2], Err("Labels: expected content-type label alongside app.gazette.dev/message-type"));
    check(
        &[types[0], types[2]],
        Err("Labels: expected app.gazette.dev/message-type label alongside app.gazette.dev/message-subtype"),
    );
    for name in [INSTANCE, MANAGED_BY, MESSAGE_SUBTYPE, MESSAGE_TYPE, REGION, CONTENT_TYPE] {
        check(
            &[("app.gazette.dev/a", ""), (name, "one"), (name, "two")],
            Err(&format!(
                "Labels: expected single-value Label has multiple values (index 2; label {name} value two)"
            )),
        );
    }
}

#[test]
fn rules_of_media_types() {
    let check = |value: &str, expected: Result<(), &str>| {
        let labels = vec![label("content-type", value)];
        let text = expected.err().map(|why| format!("Labels: parsing content-type: mime: {why}"));
        let expected = text.as_deref().map_or(Ok(()), Err);
        check(|s| s.labels = Some(wire::LabelSet { labels }), expected);
    };
    for good in [
        "text/csv",
        "application/x-ndjson",
        "application/x-protobuf-fixed",
        "application/x-gazette-recoverylog",
        "bare-token",
        "a.b+c/d%e",
    ] {
        check(good, Ok(()));
    }
    check("", Err("no media type"));
    check("text/", Err("expected token after slash"));
    check("text/csv/more", Err("unexpected content after media subtype"));
    check("text=csv", Err("expected slash after first token"));
    check("/csv", Err("no media type"));
    check("té", Err("expected slash after first token"));
}

#[test]
fn rules_of_fragments() {
    check(|s| s.fragment = None, Err("Fragment: invalid Length (0; expected 1024 <= length <= 17179869184)"));
    for length in [-1, 1023, (1 << 34) + 1] {
        let text = format!("Fragment: invalid Length ({length}; expected 1024 <= length <= 17179869184)");
        check(|s| fragment(s).length = length, Err(&text));
    }
    check(|s| fragment(s).length = 1 << 34, Ok(()));
    check(|s| fragment(s).compression_codec = 0, Err("Fragment.CompressionCodec: invalid value (INVALID)"));
    check(|s| fragment(s).compression_codec = 999, Err("Fragment.CompressionCodec: invalid value (999)"));
    check(|s| fragment(s).stores[1] = "invalid".into(), Err("Fragment.Stores[1]: not absolute (invalid)"));
    check(|s| fragment(s).stores.clear(), Ok(()));

    let offload = |stores: [&str; 2]| {
        let stores = stores.map(str::to_owned).to_vec();
        move |s: &mut wire::JournalSpec| {
            fragment(s).compression_codec = wire::CompressionCodec::GzipOffloadDecompression.into();
            fragment(s).stores = stores;
        }
    };
    check(
        offload(["file:///a/", "s3://b/"]),
        Err("Fragment: GZIP_OFFLOAD_DECOMPRESSION is incompatible with file:// stores (file:///a/)"),
    );
    check(offload(["s3://b/", "file:///a/"]), Ok(()));

    let refresh = |shown: &str| {
        format!("Fragment: invalid RefreshInterval ({shown}; expected 1s <= interval <= 24h0m0s)")
    };
    check(|s| fragment(s).refresh_interval = None, Err(&refresh("0s")));
    let just_below = Some(prost_types::Duration { seconds: 0, nanos: 999_999_999 });
    check(|s| fragment(s).refresh_interval = just_below, Err(&refresh("999.999999ms")));
    check(|s| fragment(s).refresh_interval = seconds(24 * 3600 + 1), Err(&refresh("24h0m1s")));
    check(|s| fragment(s).refresh_interval = seconds(-1), Err(&refresh("-1s")));
    check(|s| fragment(s).refresh_interval = seconds(1), Ok(()));
    check(|s| fragment(s).refresh_interval = seconds(24 * 3600), Ok(()));

    let flush = |shown: &str| format!("Fragment: invalid FlushInterval ({shown}; expected >= 1m0s)");
    check(|s| fragment(s).flush_interval = seconds(59), Err(&flush("59s")));
    check(|s| fragment(s).flush_interval = seconds(-3600), Err(&flush("-1h0m0s")));
    check(|s| fragment(s).flush_interval = None, Ok(()));
    check(|s| fragment(s).flush_interval = seconds(60), Ok(()));
    check(|s| fragment(s).retention = seconds(-5), Ok(()));
    check(
        |s| fragment(s).retention = seconds(i64::MAX),
        Err(
            "Fragment.Retention: duration out of range (9223372036854775807 s and 0 ns; expected at most 292 \
             years, and parts of one sign)",
        ),
    );

    check(
        |s| {
            fragment(s).path_postfix_template =
                "date={{ .Spool.FirstAppendTime.Format \"2006-01-02\" }}".into()
        },
        Ok(()),
    );
    let mut broken = good();
    fragment(&mut broken).path_postfix_template = "{{ bad template".into();
    let invalid = JournalSpec::try_from(broken).expect_err("a template that does not end");
    assert_eq!(invalid.path(), "Fragment.PathPostfixTemplate");
}

#[test]
fn rules_of_brokers() {
    let good = || wire::BrokerSpec {
        process_spec: Some(wire::ProcessSpec {
            id: Some(wire::process_spec::Id { zone: "zone".into(), suffix: "name".into() }),
            endpoint: "http://foo".into(),
        }),
        journal_limit: 5,
        exiting: false,
    };
    let check = |alter: fn(&mut wire::BrokerSpec), expected: Result<(), &str>| {
        let mut wire = good();
        alter(&mut wire);
        let got = BrokerSpec::try_from(wire.clone()).map_err(|e| e.to_string());
        let back = got.map(|spec| assert_eq!(wire::BrokerSpec::from(&spec), wire));
        assert_eq!(back, expected.map_err(str::to_owned));
    };
    fn process(spec: &mut wire::BrokerSpec) -> &mut wire::ProcessSpec {
        spec.process_spec.as_mut().expect("process")
    }
    check(|_| {}, Ok(()));
    check(|s| s.exiting = true, Ok(()));
    check(|s| s.process_spec = None, Err("Id.Zone: invalid length (0; expected 1 <= length <= 32)"));
    check(
        |s| process(s).id = Some(wire::process_spec::Id { zone: "not valid".into(), suffix: "name".into() }),
        Err("Id.Zone: not a valid token (not valid)"),
    );
    check(
        |s| process(s).id = Some(wire::process_spec::Id { zone: "zone".into(), suffix: "abc".into() }),
        Err("Id.Suffix: invalid length (3; expected 4 <= length <= 128)"),
    );
    check(|s| process(s).endpoint = "invalid".into(), Err("Endpoint: not absolute: invalid"));
    check(|s| s.journal_limit = 131_072, Ok(()));
    check(
        |s| s.journal_limit = 131_073,
        Err("invalid JournalLimit (131073; expected 0 <= JournalLimit <= 131072)"),
    );
}

#[test]
fn bytes_of_journals() {
    let bytes = [
        0x0a, 0x09, 0x61, 0x2f, 0x6a, 0x6f, 0x75, 0x72, 0x6e, 0x61, 0x6c, 0x10, 0x01, 0x1a, 0x00, 0x22, 0x17,
        0x08, 0x80, 0x08, 0x10, 0x04, 0x1a, 0x08, 0x66, 0x69, 0x6c, 0x65, 0x3a, 0x2f, 0x2f, 0x2f, 0x22, 0x02,
        0x08, 0x3c, 0x2a, 0x00, 0x32, 0x00,
    ];
    let spec = JournalSpec {
        name: JournalName::parse("a/journal").expect("name"),
        replication: 1,
        labels: LabelSet::empty(),
        fragment: FragmentSpec {
            length: 1024,
            codec: Codec::Snappy,
            stores: vec![StoreUrl::parse("file:///").expect("store")],
            refresh_interval: Duration::from_secs(60),
            retention: GoDuration::ZERO,
            flush_interval: None,
            path_postfix_template: String::new(),
        },
        flags: Flags::NOT_SPECIFIED,
        max_append_rate: None,
        suspend: None,
    };
    assert_eq!(spec.encode(), bytes);
    assert_eq!(JournalSpec::decode(&bytes), Ok(spec.clone()));
    assert_eq!(spec.check(), Ok(()));
    let altered = JournalSpec { replication: 6, ..spec };
    assert!(altered.check().is_err());
    assert!(JournalSpec::decode(&bytes[..20]).is_err());
    // Fields that are not known are passed over.
    assert!(JournalSpec::decode(&[bytes.as_slice(), &[0x98, 0x06, 0x01]].concat()).is_ok());
}

#[test]
fn bytes_of_brokers() {
    let mut bytes = vec![
        0x0a, 0x1d, 0x0a, 0x0c, 0x0a, 0x04, 0x75, 0x73, 0x2d, 0x61, 0x12, 0x04, 0x62, 0x72, 0x6b, 0x31, 0x12,
        0x0d, 0x68, 0x74, 0x74, 0x70, 0x3a, 0x2f, 0x2f, 0x68, 0x3a, 0x38, 0x30, 0x38, 0x30, 0x10, 0x80, 0x08,
    ];
    let mut spec = BrokerSpec {
        id: crate::id::ProcessId::new("us-a", "brk1").expect("id"),
        endpoint: crate::endpoint::Endpoint::parse("http://h:8080").expect("endpoint"),
        journal_limit: 1024,
        exiting: false,
    };
    assert_eq!(spec.encode(), bytes);
    assert_eq!(BrokerSpec::decode(&bytes), Ok(spec.clone()));
    spec.exiting = true;
    bytes.extend([0x18, 0x01]);
    assert_eq!(spec.encode(), bytes);
    assert_eq!(BrokerSpec::decode(&bytes), Ok(spec));
}

#[test]
fn suspension_and_flags() {
    let spec = |level| {
        let mut wire = good();
        wire.suspend = Some(wire::journal_spec::Suspend { level, offset: 0 });
        JournalSpec::try_from(wire).expect("spec")
    };
    assert_eq!(spec(0).effective_replication(), 3);
    assert_eq!(spec(1).effective_replication(), 1);
    assert_eq!(spec(2).effective_replication(), 0);
    // A suspension that is present and says nothing stays so on the wire.
    assert!(wire::JournalSpec::from(&spec(0)).suspend.is_some());
    for (flags, read, write) in [
        (Flags::NOT_SPECIFIED, true, true),
        (Flags::READ_ONLY, true, false),
        (Flags::WRITE_ONLY, false, true),
        (Flags::READ_WRITE, true, true),
    ] {
        assert_eq!((flags.may_read(), flags.may_write()), (read, write), "{flags:?}");
    }
}

fn any_wire() -> impl Strategy<Value = wire::JournalSpec> {
    let duration = |range: std::ops::Range<i64>| {
        (range, 0..1_000_000_000).prop_map(|(seconds, nanos)| Some(prost_types::Duration { seconds, nanos }))
    };
    let fragment = (
        1024..=1i64 << 34,
        1..=5i32,
        prop::collection::vec(
            prop::sample::select(vec!["s3://b/p/?find=a", "gs://b/", "azure-ad://t/a/c/"]),
            0..3,
        ),
        duration(1..86_400),
        duration(0..1_000_000),
        prop_oneof![Just(Some(prost_types::Duration::default())), duration(60..1_000_000)],
        prop::sample::select(vec!["", "date={{ .Spool.FirstAppendTime.Format \"2006\" }}"]),
    )
        .prop_map(|(length, codec, stores, refresh_interval, retention, flush_interval, template)| {
            wire::journal_spec::Fragment {
                length,
                compression_codec: codec,
                stores: stores.into_iter().map(str::to_owned).collect(),
                refresh_interval,
                retention,
                flush_interval,
                path_postfix_template: template.to_owned(),
            }
        });
    let suspend = prop::option::of((0..=2i32, 0..=i64::MAX))
        .prop_map(|suspend| suspend.map(|(level, offset)| wire::journal_spec::Suspend { level, offset }));
    let labels = prop::collection::btree_map("[a-c]{2,4}", "[a-c=%/]{0,4}", 0..4)
        .prop_map(|map| map.iter().map(|(name, value)| label(name, value)).collect());
    let flags = prop::sample::select(vec![0u32, 1, 2, 4]);
    ("[a-z]{4}(/[a-z0-9=]{1,4}){0,3}", 1..=5i32, labels, fragment, flags, 0..=i64::MAX, suspend).prop_map(
        |(name, replication, labels, fragment, flags, max_append_rate, suspend)| wire::JournalSpec {
            name,
            replication,
            labels: Some(wire::LabelSet { labels }),
            fragment: Some(fragment),
            flags,
            max_append_rate,
            suspend,
        },
    )
}

proptest! {
    #[test]
    fn survives_the_wire(wire in any_wire()) {
        let spec = JournalSpec::try_from(wire.clone());
        prop_assert!(spec.is_ok(), "{spec:?}");
        if let Ok(spec) = spec {
            prop_assert_eq!(&wire::JournalSpec::from(&spec), &wire);
            prop_assert_eq!(spec.encode(), wire.encode_to_vec());
            prop_assert_eq!(JournalSpec::decode(&spec.encode()), Ok(spec));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = JournalSpec::decode(&bytes);
        let _ = BrokerSpec::decode(&bytes);
    }
}
