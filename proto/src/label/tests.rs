//! Tests of labels, of the rules of their sets, and of the algebra of those.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn set(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs.iter().copied()).expect("labels")
}

fn wire_set(pairs: &[(&str, &str)]) -> wire::LabelSet {
    let label = |(name, value): &(&str, &str)| wire::Label {
        name: (*name).into(),
        value: (*value).into(),
        prefix: false,
    };
    wire::LabelSet { labels: pairs.iter().map(label).collect() }
}

#[test]
fn rules_of_labels() {
    let check = |name: &str, value: &str, expected: Result<(), &str>| {
        let got = Label::new(name, value).map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(got, expected.map_err(str::to_owned));
    };
    check("a-label", "a-value", Ok(()));
    check("aa", "", Ok(()));
    check("app.gazette.dev/name", "../not/a//clean/path/", Ok(()));
    check("name", "50%=x", Ok(()));
    check(&"n".repeat(64), &"v".repeat(1024), Ok(()));
    check("a", "v", Err("Name: invalid length (1; expected 2 <= length <= 64)"));
    check(&"n".repeat(65), "v", Err("Name: invalid length (65; expected 2 <= length <= 64)"));
    check("a=b", "v", Err("Name: not a valid token (a=b)"));
    check("xxx xxx", "v", Err("Name: not a valid token (xxx xxx)"));
    check("name", "a,b", Err("Value: not a valid token (a,b)"));
    check("name", &"v".repeat(1025), Err("Value: invalid length (1025; expected 0 <= length <= 1024)"));
}

#[test]
fn rules_of_sets() {
    let check = |pairs: &[(&str, &str)], expected: Result<(), &str>| {
        let got = LabelSet::try_from(wire_set(pairs)).map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(got, expected.map_err(str::to_owned), "{pairs:?}");
    };
    check(&[], Ok(()));
    check(&[("aa", ""), ("bb", "1"), ("bb", "2"), ("cc", "0")], Ok(()));
    check(
        &[("bb", "1"), ("aa", "2")],
        Err("Labels not in unique, sorted order (index 1; label name aa <= bb)"),
    );
    check(
        &[("aa", "1"), ("bb", "2"), ("bb", "1")],
        Err("Labels not in unique, sorted order (index 2; label bb value 1 <= 2)"),
    );
    check(
        &[("aa", "1"), ("aa", "1")],
        Err("Labels not in unique, sorted order (index 1; label aa value 1 <= 1)"),
    );
    check(
        &[("aa", ""), ("aa", "")],
        Err("Labels not in unique, sorted order (index 1; label aa value  <= )"),
    );
    check(&[("aa", ""), ("aa", "x")], Err("Label has empty & non-empty values (index 1; label aa value x)"));
    check(&[("xxx xxx", "")], Err("Labels[0].Name: not a valid token (xxx xxx)"));
    check(&[("aa", ""), ("bb", "x y")], Err("Labels[1].Value: not a valid token (x y)"));
    // The label itself is looked at before its place.
    check(&[("bb", ""), ("a", "")], Err("Labels[1].Name: invalid length (1; expected 2 <= length <= 64)"));

    let mut prefixed = wire_set(&[("aa", ""), ("bb", "x")]);
    prefixed.labels[1].prefix = true;
    assert_eq!(
        LabelSet::try_from(prefixed).map_err(|e| e.to_string()),
        Err("Labels[1]: Prefix may not be set outside of a LabelSelector".to_owned())
    );
}

#[test]
fn pairs_are_sorted_and_counted_once() {
    let sorted = set(&[("bb", "2"), ("aa", "1"), ("bb", "1"), ("aa", "1")]);
    assert_eq!(sorted.to_string(), "aa=1,bb=1,bb=2");
    assert_eq!(
        LabelSet::from_pairs([("aa", "x"), ("aa", "")]).map_err(|e| e.to_string()),
        Err("Label has empty & non-empty values (index 1; label aa value x)".to_owned())
    );
    assert_eq!(sorted.values_of("bb").collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((sorted.value_of("aa"), sorted.value_of("zz")), (Some("1"), None));
    assert_eq!(sorted.with_value("bb", "3").map(|s| s.to_string()).as_deref(), Ok("aa=1,bb=3"));
    assert_eq!(wire::LabelSet::from(&sorted), wire_set(&[("aa", "1"), ("bb", "1"), ("bb", "2")]));
}

#[test]
fn algebra_is_by_name() {
    let left = set(&[("aa", "1"), ("bb", "1"), ("bb", "2"), ("cc", "")]);
    let right = set(&[("aa", "1"), ("bb", "2"), ("dd", "4")]);
    assert_eq!(left.union(&right).to_string(), "aa=1,bb=1,bb=2,cc=,dd=4");
    assert_eq!(right.union(&left).to_string(), "aa=1,bb=2,cc=,dd=4");
    assert_eq!(left.intersect(&right).to_string(), "aa=1");
    assert_eq!(left.subtract(&right).to_string(), "bb=1,bb=2,cc=");
    assert_eq!(right.subtract(&left).to_string(), "bb=2,dd=4");
}

/// Small alphabets, so that names and values meet.
fn any_set() -> impl Strategy<Value = LabelSet> {
    let values =
        prop_oneof![prop::collection::btree_set("[xyz]{1,2}", 1..3), Just(BTreeSet::from([String::new()])),];
    prop::collection::btree_map("[abc]{2}", values, 0..6).prop_map(|map| {
        let pairs = map.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        LabelSet::from_pairs(pairs).expect("labels")
    })
}

fn by_name(set: &LabelSet) -> BTreeMap<String, Vec<String>> {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for label in set {
        map.entry(label.name().to_owned()).or_default().push(label.value().to_owned());
    }
    map
}

proptest! {
    #[test]
    fn algebra_agrees_with_maps(left in any_set(), right in any_set()) {
        let (l, r) = (by_name(&left), by_name(&right));
        let mut union = r.clone();
        union.extend(l.clone());
        prop_assert_eq!(by_name(&left.union(&right)), union);
        let same = |(name, values): &(&String, &Vec<String>)| r.get(*name) == Some(values);
        let owned = |(name, values): (&String, &Vec<String>)| (name.clone(), values.clone());
        let intersection: BTreeMap<_, _> = l.iter().filter(same).map(owned).collect();
        prop_assert_eq!(by_name(&left.intersect(&right)), intersection);
        let difference: BTreeMap<_, _> = l.iter().filter(|entry| !same(entry)).map(owned).collect();
        prop_assert_eq!(by_name(&left.subtract(&right)), difference);
        // What comes out satisfies the rules of what goes in, and survives the wire.
        for out in [left.union(&right), left.intersect(&right), left.subtract(&right)] {
            prop_assert_eq!(LabelSet::try_from(wire::LabelSet::from(&out)), Ok(out));
        }
    }
}
