//! Messages as JSON there and back, and JSON that is refused.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::wire;

fn read<M: Message>(text: &str) -> Result<M, String> {
    from_slice(text.as_bytes()).map_err(|error| error.to_string())
}

fn listing() -> wire::ListResponse {
    wire::ListResponse {
        status: wire::Status::Ok.into(),
        header: Some(wire::Header {
            process_id: Some(wire::process_spec::Id { zone: "a".into(), suffix: "broker".into() }),
            route: Some(wire::Route { primary: -1, ..Default::default() }),
            etcd: Some(wire::header::Etcd { cluster_id: u64::MAX, member_id: 2, revision: 3, raft_term: 4 }),
        }),
        journals: vec![wire::list_response::Journal {
            spec: Some(wire::JournalSpec {
                name: "acme/x".into(),
                replication: 3,
                labels: Some(wire::LabelSet {
                    labels: vec![wire::Label { name: "region".into(), value: "eu".into(), prefix: false }],
                }),
                fragment: Some(wire::journal_spec::Fragment {
                    length: 1 << 30,
                    compression_codec: wire::CompressionCodec::Gzip.into(),
                    stores: vec!["s3://bucket/".into()],
                    refresh_interval: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
                    retention: None,
                    flush_interval: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
                    path_postfix_template: String::new(),
                }),
                flags: 4,
                max_append_rate: 0,
                suspend: None,
            }),
            mod_revision: 17,
            route: None,
            create_revision: 9,
        }],
    }
}

#[test]
fn a_listing_prints_under_original_names_with_defaults() {
    let expected = r#"{"status":"OK","header":{"process_id":{"zone":"a","suffix":"broker"},"route":{"members":[],"primary":-1,"endpoints":[]},"etcd":{"cluster_id":"18446744073709551615","member_id":"2","revision":"3","raft_term":"4"}},"journals":[{"spec":{"name":"acme/x","replication":3,"labels":{"labels":[{"name":"region","value":"eu","prefix":false}]},"fragment":{"length":"1073741824","compression_codec":"GZIP","stores":["s3://bucket/"],"refresh_interval":"60s","retention":"0s","flush_interval":"1.500s","path_postfix_template":""},"flags":4,"max_append_rate":"0","suspend":null},"mod_revision":"17","route":{"members":[],"primary":0,"endpoints":[]},"create_revision":"9"}]}"#;
    assert_eq!(to_string(&listing(), Naming::Original), expected);
}

#[test]
fn a_read_prints_in_camel_case() {
    let response = wire::ReadResponse {
        status: wire::Status::OffsetNotYetAvailable.into(),
        offset: 7,
        write_head: 7,
        content: b"Hello\xff".as_slice().into(),
        ..Default::default()
    };
    assert_eq!(
        to_string(&response, Naming::LowerCamel),
        r#"{"status":"OFFSET_NOT_YET_AVAILABLE","header":null,"offset":"7","writeHead":"7","fragment":null,"fragmentUrl":"","content":"SGVsbG//"}"#
    );
    let inside = json!({ "result": Json::new(&response, Naming::LowerCamel) });
    assert_eq!(inside["result"]["writeHead"], "7");
    // A name without an underscore stays, whatever its case; a number without a name is a number.
    let request = wire::FragmentsRequest {
        signature_ttl: Some(prost_types::Duration { seconds: -1, nanos: -1 }),
        ..Default::default()
    };
    assert!(to_string(&request, Naming::LowerCamel).contains(r#""signatureTTL":"-1.000000001s""#));
    let future = wire::ApplyResponse { status: 99, header: None };
    assert!(to_string(&future, Naming::Original).starts_with(r#"{"status":99,"header":{"process_id":"#));
}

#[test]
fn requests_are_read_in_either_spelling() {
    let expected = wire::ReadRequest {
        journal: "acme/x".into(),
        offset: -1,
        block: true,
        metadata_only: true,
        end_offset: i64::MAX,
        ..Default::default()
    };
    for text in [
        r#"{"journal":"acme/x","offset":"-1","block":true,"metadata_only":true,"end_offset":"9223372036854775807"}"#,
        r#" {"journal":"acme/x","offset":-1,"block":true,"metadataOnly":true,"endOffset":9223372036854775807,
            "header":null,"beginModTime":null,"doNotProxy":null} "#,
    ] {
        assert_eq!(read::<wire::ReadRequest>(text), Ok(expected.clone()), "{text}");
    }
    assert_eq!(read::<wire::ListRequest>(" \n"), Ok(wire::ListRequest::default()));
    let list =
        r#"{"selector":{"include":{"labels":[{"name":"name","value":"acme/","prefix":true}]}},"watch":true}"#;
    let list: wire::ListRequest = read(list).unwrap();
    assert!(list.watch && list.selector.unwrap().include.unwrap().labels[0].prefix);
    let fragments: wire::FragmentsRequest =
        read(r#"{"journal":"acme/x","signatureTTL":"1.5s","page_limit":3}"#).unwrap();
    assert_eq!(fragments.signature_ttl, Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }));
    let append: wire::AppendRequest = read(r#"{"suspend":"SUSPEND_KEEP","content":"_-8"}"#).unwrap();
    assert_eq!((append.suspend, &append.content[..]), (4, &[0xff, 0xef][..]));
    assert_eq!(read::<wire::LabelSet>(r#"{"labels":null}"#), Ok(wire::LabelSet::default()));
}

#[test]
fn bad_requests_are_refused() {
    for (text, expected) in [
        ("{", "EOF"),
        ("[]", "expected an object"),
        ("null", "expected an object"),
        ("{} {}", "trailing characters"),
        (
            r#"{"journal":"a","jurnal":"b"}"#,
            r#"unknown field "jurnal" (expected one of header, journal, offset"#,
        ),
        (r#"{"journal":"a","journal":"b"}"#, r#"field "journal" is given twice at line 1 column 24"#),
        (r#"{"endOffset":1,"end_offset":1}"#, r#"field "end_offset" is given twice"#),
        (r#"{"journal":7}"#, "expected a string"),
        (r#"{"offset":"1x"}"#, "expected a whole number of 64 bits, or a string of one"),
        (r#"{"offset":1.5}"#, "expected a whole number of 64 bits"),
        (r#"{"offset":1e3}"#, "expected a whole number of 64 bits"),
        (r#"{"offset":9223372036854775808}"#, "expected a whole number of 64 bits"),
        (r#"{"offset":"9223372036854775808"}"#, "expected a whole number of 64 bits"),
        (r#"{"block":"true"}"#, "expected a boolean"),
        (r#"{"header":[]}"#, "expected an object"),
        (r#"{"header":{"etcd":{"revison":1}}}"#, r#"unknown field "revison""#),
    ] {
        let error = read::<wire::ReadRequest>(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    for (text, expected) in [
        (r#"{"suspend":"SUSPEND"}"#, r#"unknown enum value "SUSPEND""#),
        (r#"{"suspend":[]}"#, "expected the name or the number"),
        (r#"{"content":"a"}"#, "expected base64"),
        (r#"{"content":"ab="}"#, "expected base64"),
        (r#"{"content":"ab==="}"#, "expected base64"),
        (r#"{"content":"a b="}"#, "expected base64"),
    ] {
        let error = read::<wire::AppendRequest>(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let deep = format!(r#"{{"header":{}"#, "[".repeat(10_000));
    assert!(read::<wire::ReadRequest>(&deep).is_err());
    assert!(read::<wire::FragmentsRequest>(r#"{"signatureTTL":"5"}"#).unwrap_err().contains("missing unit"));
}

proptest! {
    #[test]
    fn read_undoes_print(
        content in proptest::collection::vec(any::<u8>(), 0..20),
        status in 0_i32..20,
        offset: i64,
        part1: u64,
        part3: u32,
        url in "\\PC{0,9}",
        some: bool,
        camel: bool,
    ) {
        let sum = wire::Sha1Sum { part1, part2: 0, part3 };
        let fragment = wire::Fragment { sum: Some(sum), end: offset, ..Default::default() };
        let response = wire::ReadResponse {
            status,
            offset,
            fragment: some.then_some(fragment),
            fragment_url: url,
            content: content.into(),
            ..Default::default()
        };
        let naming = if camel { Naming::LowerCamel } else { Naming::Original };
        prop_assert_eq!(read::<wire::ReadResponse>(&to_string(&response, naming)), Ok(response));
    }
}

#[test]
fn a_listing_survives() {
    for naming in [Naming::Original, Naming::LowerCamel] {
        let again: wire::ListResponse = read(&to_string(&listing(), naming)).unwrap();
        // What cannot be absent comes back as zeros.
        let mut expected = listing();
        let journal = &mut expected.journals[0];
        journal.route = Some(wire::Route::default());
        if let Some(fragment) = journal.spec.as_mut().and_then(|spec| spec.fragment.as_mut()) {
            fragment.retention = Some(prost_types::Duration::default());
        }
        assert_eq!(again, expected);
    }
}
