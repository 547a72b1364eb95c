//! Query parameters that are taken, and the words with which others are refused.

use super::*;

fn check(query: &str, expected: Result<(i64, bool), &str>) {
    let read = read(Some(query)).map(|params| (params.offset, params.block));
    assert_eq!(read.map_err(|err| err.to_string()), expected.map_err(str::to_owned), "{query}");
}

#[test]
fn parameters_of_reads() {
    check("", Ok((0, false)));
    check("&&", Ok((0, false)));
    check("offset=-1&block=true", Ok((-1, true)));
    check("OFFSET=12&Block=on", Ok((12, true)));
    check("offset=1&offset=2", Ok((2, false)));
    check("offset=&block=", Ok((0, false)));
    check("offset=7&offset=", Ok((0, false)));
    check("offset", Ok((0, false)));
    check("offset=%31%32", Ok((12, false)));
    check("offset=9223372036854775807", Ok((i64::MAX, false)));
    check("offset=-2", Ok((-2, false)));
    for block in ["true", "1", "t", "on", "True"] {
        check(&format!("block={block}"), Ok((0, true)));
    }
    for block in ["false", "0", "f"] {
        check(&format!("block={block}"), Ok((0, false)));
    }
}

#[test]
fn refusals_of_reads() {
    check("extra=1", Err("schema: invalid path \"extra\""));
    check("extra", Err("schema: invalid path \"extra\""));
    check("offset=1&extra=1", Err("schema: invalid path \"extra\""));
    check("offset=abc", Err("schema: error converting value for \"offset\""));
    check("offset=1e3", Err("schema: error converting value for \"offset\""));
    check("offset=9223372036854775808", Err("schema: error converting value for \"offset\""));
    check("offset=+7", Err("schema: error converting value for \"offset\""));
    check("offset=1_000", Err("schema: error converting value for \"offset\""));
    check("block=maybe", Err("schema: error converting value for \"block\""));
    check("offset=%zz", Err("invalid URL escape \"%zz\""));
    check("offset=1;block=true", Err("invalid semicolon separator in query"));
    check("a%0d%0ab=1", Err("schema: invalid path \"a\\r\\nb\""));
}

#[test]
fn appends_take_no_parameter() {
    assert_eq!(none(None), Ok(()));
    assert_eq!(none(Some("")), Ok(()));
    assert_eq!(none(Some("offset=")), Err(BadQuery::Unknown("offset".into())));
}

#[test]
fn parameters_of_listings() {
    assert_eq!(selector(None).unwrap(), "");
    assert_eq!(selector(Some("selector=app%3Dshop,a+in+(b,c)")).unwrap(), "app=shop,a in (b,c)");
    assert_eq!(selector(Some("select=a")), Err(BadQuery::Unknown("select".into())));

    let expected = FragmentParams {
        begin_mod_time: 5,
        end_mod_time: 9,
        next_page_token: 100,
        page_limit: 10,
        signature_ttl: 60,
    };
    let query = "beginModTime=5&end_mod_time=9&nextPageToken=100&pageLimit=10&signatureTTL=60s";
    assert_eq!(fragments(Some(query)), Ok(expected));
    assert_eq!(fragments(Some("page_limit=99999999999")), Err(BadQuery::Value("page_limit".into())));
}
