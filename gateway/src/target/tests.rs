use super::*;

fn journal(name: &str, versioned: bool) -> Target<'_> {
    Target::Journal { name: name.into(), versioned }
}

#[test]
fn paths_and_what_they_ask_for() {
    let spec = |name: &'static str| Target::Spec { name: name.into() };
    let reserved = |name: &'static str| Target::Reserved { name: name.into() };
    for (path, expected) in [
        ("/examples/foobar", journal("examples/foobar", false)),
        ("/examples/foobar;meta/part", journal("examples/foobar;meta/part", false)),
        ("/", journal("", false)),
        ("/examples/", journal("examples/", false)),
        ("/v1x/journal", journal("v1x/journal", false)),
        ("/metrics-of/things", journal("metrics-of/things", false)),
        ("/a/v1/journals", journal("a/v1/journals", false)),
        ("/v1/journals", Target::Journals),
        ("/v1/journals/", Target::Journals),
        ("/v1/journals/metrics/cpu", journal("metrics/cpu", true)),
        ("/v1/journals/v1/journals", journal("v1/journals", true)),
        ("/v1/journals/list", journal("list", true)),
        ("/v1/journals/a/b:spec", spec("a/b")),
        ("/v1/journals/a/b%3Aspec", spec("a/b")),
        ("/v1/journals/a/b:fragments", Target::Fragments { name: "a/b".into() }),
        ("/v1/journals/a/b:frobnicate", Target::UnknownVerb { verb: "frobnicate".into() }),
        ("/v1", Target::Unknown),
        ("/v1/shards", Target::Unknown),
        ("/v1/journalsx", Target::Unknown),
        ("/%761/journals", Target::Journals),
        ("/alive", Target::Live),
        ("/healthz/live", Target::Live),
        ("/healthz/ready", Target::Ready),
        ("/debug/ready", Target::Ready),
        ("/metrics", Target::Metrics),
        ("/debug/metrics", Target::Metrics),
        ("/debug/pprof", reserved("debug/pprof")),
        ("/metrics/cpu", reserved("metrics/cpu")),
        ("/console", reserved("console")),
        ("/alive/x", reserved("alive/x")),
        ("/a%20b/c+d", journal("a b/c+d", false)),
        ("/a/%252F", journal("a/%2F", false)),
        ("/%2e%2e/x", journal("../x", false)),
    ] {
        assert_eq!(parse(path).as_ref(), Ok(&expected), "{path}");
    }
}

#[test]
fn paths_that_cannot_be_understood() {
    for (path, expected) in [
        ("/a%2Fb", BadPath::EncodedSlash),
        ("/a%2fb", BadPath::EncodedSlash),
        ("/a%zz", BadPath::Escape("%zz".into())),
        ("/a%2", BadPath::Escape("%2".into())),
        ("/a%", BadPath::Escape("%".into())),
        ("/a%ff", BadPath::NotUtf8),
    ] {
        assert_eq!(parse(path), Err(expected), "{path}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is encoded, and whether it had to be, a name arrives as it is.
        #[test]
        fn names_survive_encoding(name in r"[a-z][a-zA-Z0-9ü %+=.;_-]{3,20}(/[a-zA-Z0-9ü %+=._-]{1,8}){0,3}", all: bool) {
            let encode = |c: char| match c {
                '/' | 'a'..='z' if c == '/' || !all => c.to_string(),
                c => c.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect(),
            };
            let path = format!("/v1/journals/{}", name.chars().map(encode).collect::<String>());
            prop_assert_eq!(parse(&path), Ok(journal(&name, true)), "{}", path);
        }

        /// Nothing that comes over the wire is more than refused.
        #[test]
        fn any_path_and_query(path in ".{0,40}", query in "[a-z=&;%+0-9-]{0,40}") {
            let _ = parse(&path);
            let _ = crate::query::read(Some(&query));
            let _ = crate::query::fragments(Some(&query));
            let _ = crate::query::selector(Some(&query));
        }
    }
}
