//! Tests of selectors: their grammar, their rules, what they match, and that reading undoes printing.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn selector(text: &str) -> LabelSelector {
    LabelSelector::parse(text).expect(text)
}

fn set(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs.iter().copied()).expect("labels")
}

#[test]
fn reads_and_prints() {
    let check = |text: &str, printed: &str| {
        let read = selector(text);
        assert_eq!(read.to_string(), printed, "{text:?}");
        assert_eq!(selector(printed), read, "{text:?}");
    };
    check("", "");
    check("foo", "foo");
    check("foo=", "foo");
    check("foo=bar", "foo=bar");
    check("foo==bar", "foo=bar");
    check("foo = bar", "foo=bar");
    check(" foo == bar ", "foo=bar");
    check("foo===x", "foo===x");
    check("foo=a=b", "foo=a=b");
    check("foo!=bar", "foo!=bar");
    check("foo != bar", "foo!=bar");
    check("foo!=", "!foo");
    check("foo!==x", "foo!==x");
    check("!foo", "!foo");
    check(" ! foo ", "!foo");
    check("foo,", "foo");
    check("foo, bar", "bar,foo");
    check("foo,!bar , baz=1", "baz=1,foo,!bar");
    check("foo in (b,a)", "foo in (a,b)");
    check("foo in(a, b ,c,)", "foo in (a,b,c)");
    check("foo in (a)", "foo=a");
    check("foo in ( )", "foo");
    check("foo in (a,a)", "foo=a");
    check("foo notin (a,b)", "foo notin (a,b)");
    check("foo not in (a,b),", "foo notin (a,b)");
    check("foo in (=a,b=)", "foo in (=a,b=)");
    check("foo=a,foo=b", "foo in (a,b)");
    check("foo:prefix=one/", "foo:prefix=one/");
    check("foo:prefix in (one/two/, three/)", "foo:prefix in (one/two/,three/)");
    check("foo=b,foo:prefix=a", "foo=b,foo:prefix=a");
    check("!foo:prefix", "!foo:prefix");
    check("foo:prefix notin (a,b)", "foo:prefix notin (a,b)");
    check("инстанс=第一,½x", "½x,инстанс=第一");
    check("app.gazette.dev/name_x-y+z=50%", "app.gazette.dev/name_x-y+z=50%");
    // Words of the grammar are names like others.
    check("in in (in),notin notin (in)", "in=in,notin!=in");
}

#[test]
fn refuses_what_is_no_expression() {
    // What is quoted is what is left of the input.
    let check = |text: &str, rest: &str| {
        let expected =
            format!("could not match {} to a label selector expression", crate::quote::quoted(rest));
        assert_eq!(LabelSelector::parse(text).map_err(|e| e.to_string()), Err(expected), "{text:?}");
    };
    for text in [
        "a=",
        "=b",
        "a=b,",
        "a in ()",
        "a in (b",
        "a notin",
        "!",
        "!!a",
        "a==b==c",
        "a",
        " ",
        ",",
        "=",
        "()",
        "aa in ()",
        "aa in (b",
        "aa in b",
        "aa in",
        "aa notin",
        "aa notin ()",
        "!!aa",
        "! !aa",
        "aa bb",
        "aa=b c",
        "aa=(b)",
        "aa  in (b)",
        "aa\tin (b)",
        "aa in  (b)",
        "aa in (b) c",
        "aa in (b))",
        "aain(b)",
        "aa  = b",
        "aa=  b",
        "  aa",
        "aa  ",
        "ban=ana in (bar)",
        "aa:prefix:prefix",
        "aa:prefi",
        "aa=:prefix",
        "aa='b'",
        "aa=\"b\"",
        "\"aa\"",
        "aa>b",
        "aa=b;cc",
        "aa#b",
        "aa not  in (b)",
        "aa != b != c",
        "aa\n",
        "a\u{301}a=b",
        "€€=b",
        "aa=\u{fffd}",
    ] {
        check(text, text);
    }
    check("foo,,bar", ",bar");
    check("foo, ", " ");
    check("foo=bar,x", "x");
    check("foo=bar,baz=b z,bing", "baz=b z,bing");
}

#[test]
fn refuses_what_is_no_set() {
    let check = |text: &str, expected: &str| {
        assert_eq!(
            LabelSelector::parse(text).map_err(|e| e.to_string()),
            Err(expected.to_owned()),
            "{text:?}"
        );
    };
    check(
        "foo in (a, b c)",
        r#"parsing "a, b c": could not match " b c" to a label selector set expression"#,
    );
    check("foo in (!)", r#"parsing "!": could not match "!" to a label selector set expression"#);
    check(
        "foo notin (a,  b)",
        r#"parsing "a,  b": could not match "  b" to a label selector set expression"#,
    );
    check("foo in ((a)", r#"parsing "(a": could not match "(a" to a label selector set expression"#);
    check("foo in (\"a\")", r#"parsing "\"a\"": could not match "\"a\"" to a label selector set expression"#);
}

#[test]
fn refuses_what_breaks_the_rules_of_labels() {
    let check = |text: &str, expected: &str| {
        assert_eq!(LabelSelector::parse(text).map_err(|e| e.to_string()), Err(expected.to_owned()));
    };
    check("foo, foo in (bar)", "Include: Label has empty & non-empty values (index 1; label foo value bar)");
    check("!foo, foo!=bar", "Exclude: Label has empty & non-empty values (index 1; label foo value bar)");
    check(
        "foo=a,foo:prefix=a",
        "Include: Labels not in unique, sorted order (index 1; label foo value a <= a)",
    );
    check("foo in (,a)", "Include: Label has empty & non-empty values (index 1; label foo value a)");
    let long = "n".repeat(10 << 10);
    check(&long, "Include.Labels[0].Name: invalid length (10240; expected 2 <= length <= 64)");
    check(
        &format!("!foo=,aa!={long}").replace("!foo=", "!foo"),
        "Exclude.Labels[0].Value: invalid length (10240; expected 0 <= length <= 1024)",
    );
}

#[test]
fn long_input_is_read_in_one_pass() {
    let values: Vec<String> = (0..2_000).map(|n| format!("v{n:04}")).collect();
    let text = format!("foo in ({})", values.join(","));
    assert!(text.len() > 10 << 10);
    assert_eq!(selector(&text).to_string(), text);
}

#[test]
fn rules_of_the_wire() {
    let label =
        |name: &str, value: &str, prefix| wire::Label { name: name.into(), value: value.into(), prefix };
    let wire = |include: Vec<wire::Label>, exclude: Vec<wire::Label>| wire::LabelSelector {
        include: Some(wire::LabelSet { labels: include }),
        exclude: Some(wire::LabelSet { labels: exclude }),
    };
    let check = |wire: wire::LabelSelector, expected: Result<&str, &str>| {
        let got = LabelSelector::try_from(wire).map(|s| s.to_string()).map_err(|e| e.to_string());
        assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned));
    };
    check(wire::LabelSelector::default(), Ok(""));
    check(
        wire(vec![label("aa", "1", false), label("bb", "", true)], vec![label("cc", "x/", true)]),
        Ok("aa=1,bb:prefix,cc:prefix!=x/"),
    );
    check(
        wire(vec![label("bb", "", false), label("aa", "", false)], vec![]),
        Err("Include: Labels not in unique, sorted order (index 1; label name aa <= bb)"),
    );
    check(
        wire(vec![], vec![label("xxx xxx", "", false)]),
        Err("Exclude.Labels[0].Name: not a valid token (xxx xxx)"),
    );
}

#[test]
fn matches() {
    let check = |text: &str, labels: &[(&str, &str)], expected: bool| {
        assert_eq!(selector(text).matches(&set(labels)), expected, "{text:?} {labels:?}");
    };
    check("", &[], true);
    check("", &[("foo", "bar")], true);
    check("foo", &[("foo", "bar")], true);
    check("foo", &[("foo", "")], true);
    check("foo", &[], false);
    check("foo", &[("fo", "x"), ("fooo", "x")], false);
    check("!foo", &[("foo", "anything")], false);
    check("!foo", &[("bar", "anything")], true);
    check("foo=a", &[("foo", "a"), ("foo", "b")], true);
    check("foo=a", &[("foo", "")], false);
    check("foo in (a,b)", &[("foo", "b"), ("foo", "z")], true);
    check("foo in (a,b)", &[("foo", "z")], false);
    check("foo notin (a)", &[], true);
    check("foo notin (a)", &[("foo", "a"), ("foo", "b")], false);
    check("foo notin (a)", &[("foo", "b")], true);
    check("foo=a,bar", &[("foo", "a")], false);
    check("foo=a,!bar", &[("bar", ""), ("foo", "a")], false);
    check("pp:prefix = one/", &[("pp", "one/two")], true);
    check("pp:prefix = one/", &[("pp", "one")], false);
    check("pp = one/", &[("pp", "one/two")], false);
    check("pp:prefix in (one/two/, three/)", &[("pp", "one/one/")], false);
    check("pp:prefix in (one/two/, three/)", &[("pp", "three/3")], true);
    check("pp:prefix", &[("pp", "anything")], true);
    check("pp:prefix!=a", &[("pp", "ab")], false);
    check("pp=x,pp:prefix=y", &[("pp", "yes")], true);
    check("pp=x,pp:prefix=y", &[("pp", "xes")], false);
    let all = "inc-1:prefix=a-val/, inc-2, inc-3 in (val-1,val-2), !exc-1, exc-2 notin (val-3,val-4)";
    let labels = [("exc-2", "val-ok"), ("inc-1", "a-val/a/1"), ("inc-2", "any"), ("inc-3", "val-2")];
    check(all, &labels, true);
    for without in 1..labels.len() {
        let mut fewer = labels.to_vec();
        fewer.remove(without);
        check(all, &fewer, false);
    }
    for more in [("exc-1", "x"), ("exc-2", "val-4")] {
        check(all, &[labels.as_slice(), &[more]].concat(), false);
    }
}

#[test]
fn journals_match_with_their_name() {
    let labels = set(&[("foo", "bar")]);
    let name = JournalName::parse("a/journal/part=1").expect("name");
    let check = |text: &str, expected: bool| {
        assert_eq!(selector(text).matches_journal(&labels, &name), expected, "{text:?}");
    };
    check("", true);
    check("name=a/journal/part=1", true);
    check("name=a/journal", false);
    check("name", true);
    check("!name", false);
    check("name:prefix=a/jou", true);
    check("name:prefix=b/", false);
    check("name!=a/journal/part=1", false);
    check("name:prefix=a/,foo=bar", true);
    check("name:prefix=a/,foo=baz", false);
    check("name in (other/journal,a/journal/part=1)", true);
    // Outside of a listing, no journal has a label of this name.
    check("prefix=a/", false);
    assert!(selector("prefix=a/").for_listing().matches_journal(&labels, &name));
    assert!(!selector("prefix=b/").for_listing().matches_journal(&labels, &name));
    assert!(!selector("prefix!=a/").for_listing().matches_journal(&labels, &name));
    assert!(LabelSelector::of_name(&name).matches_journal(&labels, &name));
    assert!(!selector("name=a/journal/part=1").matches(&labels));
}

#[test]
fn a_listing_reads_prefix_as_a_prefix_of_the_name() {
    let check = |text: &str, rewritten: &str| {
        assert_eq!(selector(text).for_listing().to_string(), rewritten);
    };
    check("prefix=a/,zz=1", "name:prefix=a/,zz=1");
    check("prefix in (a/,b/),aa=1", "aa=1,name:prefix in (a/,b/)");
    check("prefix notin (a/,b/)", "name:prefix notin (a/,b/)");
    check("name:prefix=a/,prefix=a/", "name:prefix=a/");
    check("foo:prefix=x", "foo:prefix=x");
}

fn any_terms() -> impl Strategy<Value = Vec<Term>> {
    let value = prop_oneof![Just(String::new()), "[ab=/%é]{0,3}", "[=]{1,3}"];
    let term = ("[abж]{2}", value, any::<bool>()).prop_map(|(name, value, prefix)| Term {
        name: name.into(),
        value: value.into(),
        prefix,
    });
    prop::collection::vec(term, 0..6)
}

fn any_set() -> impl Strategy<Value = LabelSet> {
    prop::collection::btree_map("[abж]{2}", prop::collection::btree_set("[ab=/%é]{1,4}", 1..3), 0..5)
        .prop_map(|map: std::collections::BTreeMap<String, BTreeSet<String>>| {
            let pairs = map.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
            LabelSet::from_pairs(pairs).expect("labels")
        })
}

proptest! {
    #[test]
    fn reading_undoes_printing(include in any_terms(), exclude in any_terms()) {
        if let Ok(selector) = LabelSelector::from_terms(include, exclude) {
            prop_assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector.clone()));
            prop_assert_eq!(LabelSelector::try_from(wire::LabelSelector::from(&selector)), Ok(selector));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a!=,() :/notiprefx\"é\t]{0,40}") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            prop_assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector));
        }
    }

    #[test]
    fn matching_agrees_with_its_definition(include in any_terms(), exclude in any_terms(), set in any_set()) {
        if let Ok(selector) = LabelSelector::from_terms(include, exclude) {
            let group = |terms: &[Term], name: &str| {
                terms.iter().filter(|term| term.name() == name).any(|term| {
                    set.iter().filter(|label| label.name() == name).any(|label| {
                        term.value().is_empty()
                            || term.value() == label.value()
                            || (term.is_prefix() && label.value().starts_with(term.value()))
                    })
                })
            };
            let names = |terms: &[Term]| terms.iter().map(|term| term.name().to_owned()).collect::<BTreeSet<_>>();
            let expected = names(selector.include()).iter().all(|name| group(selector.include(), name))
                && !names(selector.exclude()).iter().any(|name| group(selector.exclude(), name));
            prop_assert_eq!(selector.matches(&set), expected);
        }
    }
}
