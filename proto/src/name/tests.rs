//! Tests of names.

use proptest::prelude::*;

use super::*;

fn text<T: ToString>(result: Result<T, Invalid>) -> Result<String, String> {
    result.map(|ok| ok.to_string()).map_err(|e| e.to_string())
}

#[test]
fn rules_of_names() {
    let check = |name: &str, expected: Result<(), &str>| {
        let expected = expected.map(|()| name.to_owned()).map_err(str::to_owned);
        assert_eq!(text(JournalName::parse(name)), expected, "{name:?}");
    };
    check("a/valid/path/to/a/journal", Ok(()));
    check("4444", Ok(()));
    check("a=b/50%/x+y", Ok(()));
    check("世界/журнал", Ok(()));
    check(&"a".repeat(512), Ok(()));
    check("/leading/slash", Err("cannot begin with '/' (/leading/slash)"));
    check("trailing/slash/", Err("must be a clean path (trailing/slash/)"));
    check("extra-middle//slash", Err("must be a clean path (extra-middle//slash)"));
    check("a/../b", Err("must be a clean path (a/../b)"));
    check("zz", Err("invalid length (2; expected 4 <= length <= 512)"));
    check("", Err("invalid length (0; expected 4 <= length <= 512)"));
    check(&"a".repeat(513), Err("invalid length (513; expected 4 <= length <= 512)"));
    check(&"世".repeat(171), Err("invalid length (513; expected 4 <= length <= 512)"));
    check("not/$%|/a/token", Err("not a valid token (not/$%|/a/token)"));
    check("not a token", Err("not a valid token (not a token)"));
    check("hash#mark", Err("not a valid token (hash#mark)"));
    check("nul\0byte", Err("not a valid token (nul\0byte)"));
    check("foo/bar;meta", Err("not a valid token (foo/bar;meta)"));
    check("../x/y", Err("cannot leave its folder by a '.' or '..' component (../x/y)"));
    check("../..", Err("cannot leave its folder by a '.' or '..' component (../..)"));
}

#[test]
fn rules_of_request_names() {
    let check = |name: &str, expected: Result<(&str, Option<&str>), &str>| {
        let got = RequestName::parse(name);
        let parts =
            got.as_ref().map(|got| (got.name.as_str(), got.meta.as_deref())).map_err(Invalid::to_string);
        assert_eq!(parts, expected.map_err(str::to_owned), "{name:?}");
        if let Ok(got) = got {
            assert_eq!(got.to_string(), name);
        }
    };
    check("foo/bar", Ok(("foo/bar", None)));
    check("foo/bar;baz/bing", Ok(("foo/bar", Some("baz/bing"))));
    let webhook = "foo/bar/webhook/http%3A%2F%2Fexample.com%3A9000%2F";
    check(&format!("foo/bar/webhook;{webhook}"), Ok(("foo/bar/webhook", Some(webhook))));
    check("foo/bar;", Err("metadata path segment: invalid length (0; expected 1 <= length <= 512)"));
    check("foo/bar;disallowed#rune", Err("metadata path segment: not a valid token (disallowed#rune)"));
    check("foo/bar;a;b", Err("metadata path segment: not a valid token (a;b)"));
    check("foo/bar;/a", Err("metadata path segment: cannot begin with '/' (/a)"));
    check(
        "foo/bar;../a",
        Err("metadata path segment: cannot leave its folder by a '.' or '..' component (../a)"),
    );
    check("zz;meta", Err("invalid length (2; expected 4 <= length <= 512)"));
    let long = "m".repeat(513);
    check(
        &format!("foo/bar;{long}"),
        Err("metadata path segment: invalid length (513; expected 1 <= length <= 512)"),
    );
}

#[test]
fn folders() {
    let check = |outer: &str, inner: &str, expected: bool| {
        let name = |text| JournalName::parse(text).expect("name");
        assert_eq!(name(outer).is_folder_of(&name(inner)), expected, "{outer} {inner}");
    };
    check("aa/b", "aa/b/c", true);
    check("aa/b", "aa/b/c/d", true);
    check("aa/b", "aa/b", false);
    check("aa/b", "aa/bc", false);
    check("aa/b/c", "aa/b", false);
}

proptest! {
    #[test]
    fn what_is_accepted_stays_in_its_folder(input in "[a./=%é-]{0,12}") {
        if let Ok(name) = JournalName::parse(&input) {
            prop_assert_eq!(name.as_str(), &input);
            prop_assert!(name.as_str().split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
            prop_assert_eq!(RequestName::parse(&input), Ok(RequestName { name, meta: None }));
        }
    }

    #[test]
    fn any_text_is_accepted_or_refused(input in any::<String>()) {
        let refused = JournalName::parse(&input).is_err();
        prop_assert!(refused || !input.chars().any(|c| c <= '#'));
        let _ = RequestName::parse(&input);
    }
}
