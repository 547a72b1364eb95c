//! Trees of specs there and back, and YAML that is refused.

use proptest::prelude::*;

use super::shape::shared_directory;
use super::*;
use crate::duration::GoDuration;
use crate::label::LabelSet;
use crate::wire::{self, CompressionCodec, apply_request::Change, journal_spec::suspend::Level};

/// A tree with everything that people write in one.
const EXAMPLE: &str = "\
name: acme/
replication: 3
fragment:
  length: 268435456
  compression_codec: GZIP
  stores:
  - s3://acme-logs/?region=eu-west-1
  refresh_interval: 1m0s
children:
- name: acme/orders/
  labels:
  - name: app.gazette.dev/message-type
    value: Order
  - name: content-type
    value: application/x-ndjson
  children:
  - name: acme/orders/part-000
    revision: 17
  - name: acme/orders/part-001
    replication: 2
    revision: 18
- delete: true
  name: acme/replaced
  revision: 9
";

fn leaf(name: &str) -> Node {
    Node { name: name.into(), ..Node::default() }
}

#[test]
fn the_example_is_read_pushed_down_hoisted_and_printed() {
    let read = Node::parse(EXAMPLE).unwrap();
    assert_eq!(read.to_yaml().unwrap(), EXAMPLE);

    let mut pushed = read.clone();
    pushed.push_down();
    let leaves: Vec<&Node> = pushed.leaves().collect();
    assert_eq!(leaves.iter().map(|l| l.fields.replication).collect::<Vec<_>>(), [3, 2, 3]);
    assert_eq!(leaves[1].fields.labels.value_of("content-type"), Some("application/x-ndjson"));
    assert_eq!(leaves[2].fields.labels, LabelSet::empty());
    for leaf in &leaves {
        assert_eq!(leaf.fields.refresh_interval, GoDuration::from_secs(60));
        assert_eq!(leaf.fields.compression_codec, CompressionCodec::Gzip);
        assert_eq!(leaf.fields.stores.as_deref(), Some(&["s3://acme-logs/?region=eu-west-1".to_owned()][..]));
    }

    let mut hoisted = pushed;
    hoisted.hoist();
    assert_eq!(
        hoisted.to_yaml().unwrap(),
        EXAMPLE
            .replace("replication: 3\n", "")
            .replace("part-000\n", "part-000\n    replication: 3\n")
            .replace("name: acme/replaced\n", "name: acme/replaced\n  replication: 3\n")
    );
}

#[test]
fn changes_say_what_each_journal_shall_be() {
    let changes = Node::parse(EXAMPLE).unwrap().into_changes();
    let brief: Vec<_> = changes
        .iter()
        .map(|c| (c.expect_mod_revision, c.upsert.as_ref().map(|s| s.name.as_str()), c.delete.as_str()))
        .collect();
    assert_eq!(
        brief,
        [
            (17, Some("acme/orders/part-000"), ""),
            (18, Some("acme/orders/part-001"), ""),
            (9, None, "acme/replaced"),
        ]
    );
    let spec = changes[1].upsert.as_ref().unwrap();
    let fragment = spec.fragment.as_ref().unwrap();
    assert_eq!((spec.replication, spec.labels.as_ref().unwrap().labels.len()), (2, 2));
    assert_eq!(fragment.retention, Some(prost_types::Duration { seconds: 0, nanos: 0 }));
    assert_eq!(fragment.refresh_interval, Some(prost_types::Duration { seconds: 60, nanos: 0 }));
}

#[test]
fn every_key_is_read() {
    let yaml = "\
comment: why
name: acme/orders
replication: 2
labels: [{name: region}, {name: app, value: x}]
fragment:
  length: 1024
  compression_codec: SNAPPY
  stores: []
  refresh_interval: 90s
  retention: 720h
  flush_interval: 1h
  path_postfix_template: date={{.Spool.FirstAppendTime.Format \"2006-01-02\"}}
flags: O_RDONLY
max_append_rate: 4194304
suspend: {level: PARTIAL, offset: 123}
revision: -1
";
    let node = Node::parse(yaml).unwrap();
    let spec = node.to_spec();
    let fragment = spec.fragment.clone().unwrap();
    assert_eq!((spec.replication, spec.flags, spec.max_append_rate), (2, 1, 4_194_304));
    assert_eq!(spec.suspend, Some(Suspend { level: Level::Partial.into(), offset: 123 }));
    assert_eq!((node.revision, node.comment.as_str()), (-1, "why"));
    assert_eq!((fragment.length, fragment.compression_codec()), (1024, CompressionCodec::Snappy));
    assert_eq!(fragment.retention.unwrap().seconds, 720 * 3600);
    assert_eq!(fragment.path_postfix_template, "date={{.Spool.FirstAppendTime.Format \"2006-01-02\"}}");
    // Labels may be written in any order, and are kept in theirs.
    assert_eq!(node.fields.labels.to_string(), "app=x,region=");
    assert_eq!(Node::parse(&node.to_yaml().unwrap()).unwrap(), node);
    // Numbers do for names where they always did.
    let numbers = Node::parse("name: acme/x\nflags: 4\nsuspend: {level: 2}\n").unwrap();
    assert_eq!((numbers.fields.flags, numbers.suspend.unwrap().level), (4, 2));
    // Nothing after a key is nothing said; so is a file mark in front.
    let bare = "\u{feff}---\nname: acme/x\nlabels:\nfragment:\nchildren:\nfragment: null\n";
    assert!(Node::parse(bare).unwrap_err().message.contains("given twice"));
    assert_eq!(
        Node::parse("\u{feff}---\nname: acme/x\nlabels:\nfragment:\nchildren:\n").unwrap(),
        leaf("acme/x")
    );
    // Anchors and merge keys are a way to write it, too.
    let merged = "name: acme/\nchildren:\n- &a\n  name: acme/a\n  replication: 2\n- <<: *a\n  name: acme/b\n";
    assert_eq!(Node::parse(merged).unwrap().children[1].fields.replication, 2);
}

#[test]
fn bad_trees_are_refused_with_their_place() {
    for (yaml, place, expected) in [
        ("", (1, 1), "expected one or more Children"),
        ("name: acme/x\nreplicaton: 3\n", (2, 1), "unknown key `replicaton` (did you mean `replication`?)"),
        ("name: acme/x\nfragment:\n  store: []\n", (3, 3), "unknown key `store` (did you mean `stores`?)"),
        (
            "name: acme/x\nwhatever: 3\n",
            (2, 1),
            "unknown key `whatever` (expected one of comment, delete, name",
        ),
        ("name: acme/x\nname: acme/y\n", (2, 1), "key `name` is given twice"),
        ("name: acme/x\n---\nname: acme/y\n", (3, 1), "a second document begins"),
        ("name: acme/x\nreplication: many\n", (2, 14), "expected a whole number of 32 bits"),
        ("name: acme/x\nreplication: 99999999999\n", (2, 14), "expected a whole number of 32 bits"),
        ("name: acme/x\n\treplication: 3\n", (1, 7), "found a tab"),
        ("name: [acme/x\n", (1, 7), "expected string scalar"),
        ("- name: acme/x\n", (1, 1), ""),
        ("just text\n", (1, 1), ""),
        ("name: acme/x\nfragment: {retention: 5}\n", (2, 23), "missing unit"),
        ("name: acme/x\nfragment: {retention: 5 min}\n", (2, 23), "like 10s, 5m"),
        (
            "name: acme/x\nfragment: {compression_codec: LZ4}\n",
            (2, 31),
            "expected one of NONE, GZIP, ZSTANDARD",
        ),
        (
            "name: acme/x\nfragment: {compression_codec: 2}\n",
            (2, 31),
            "expected one of NONE, GZIP, ZSTANDARD",
        ),
        (
            "name: acme/x\nflags: O_RW\n",
            (2, 8),
            "unknown flags `O_RW` (expected one of NOT_SPECIFIED, O_RDONLY",
        ),
        ("name: acme/x\nlabels: [{name: a b}]\n", (1, 1), "Labels.Labels[0].Name: not a valid token (a b)"),
        // The rules of shape.
        ("name: acme/\nrevision: 3\nchildren: [{name: acme/x}]\n", (1, 1), "unexpected Revision (3)"),
        ("name: acme/\n", (1, 1), "expected one or more Children"),
        ("replication: 3\n", (1, 1), "expected one or more Children"),
        ("name: acme/\nchildren: []\n", (1, 1), "expected one or more Children"),
        (
            "name: acme/\nchildren:\n- name: acme/a\n- name: other/b\n",
            (4, 3),
            "expected parent Name to prefix child (acme/ vs other/b)",
        ),
        (
            "name: acme/\nchildren:\n- name: acme/b\n- name: acme/a\n",
            (4, 3),
            "expected Children to be ordered (ind 1; acme/b vs acme/a)",
        ),
        (
            "children:\n- name: acme/b\n- name: acme/b\n",
            (3, 3),
            "expected Children to be ordered (ind 1; acme/b vs acme/b)",
        ),
        ("name: acme x\n", (1, 1), "Name: not a valid token (acme x)"),
        (
            "name: acme/x\nchildren: [{name: acme/x/y}]\n",
            (1, 1),
            "expected no Children with non-directory Node (acme/x)",
        ),
        ("name: acme/\nsuspend: {level: FULL}\nchildren: [{name: acme/x}]\n", (1, 1), "unexpected Suspend"),
        ("name: \"\\0\"\n", (1, 1), "Name: "),
    ] {
        let error = Node::parse(yaml).expect_err(yaml);
        assert_eq!((error.line, error.column), place, "{yaml}: {error}");
        assert!(error.message.contains(expected), "{yaml}: {error}");
        assert!(!error.message.contains(" at line "), "{yaml}: {error}");
    }
}

#[test]
fn shared_fields_are_read_alone() {
    let fields = Node::parse_fields("replication: 2\nfragment: {length: 1024}\ncomment: for all\n").unwrap();
    assert_eq!(fields, Fields { replication: 2, length: 1024, ..Fields::default() });
    for (yaml, expected) in [
        ("replication: 2\nname: acme/x\n", "1:1: unexpected key `name` (expected what journals share)"),
        ("children: []\n", "1:1: unexpected key `children` (expected what journals share)"),
        ("delete: true\n", "1:1: unexpected key `delete` (expected what journals share)"),
        ("replicas: 2\n", "1:1: unknown key `replicas` (did you mean `replication`?)"),
    ] {
        assert_eq!(Node::parse_fields(yaml).unwrap_err().to_string(), expected);
    }
}

#[test]
fn work_is_bounded() {
    let bomb =
        "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n";
    assert!(Node::parse(bomb).is_err());
    assert!(Node::parse(&"[".repeat(100_000)).is_err());
    assert!(Node::parse(&"children: [{".repeat(5_000)).is_err());
    let huge = " ".repeat(MAX_YAML_BYTES + 1);
    assert!(Node::parse(&huge).unwrap_err().message.contains("expected at most 67108864"));
}

#[test]
fn a_child_wins_per_label_name_and_may_have_no_stores() {
    let mut root = Node::parse(
        "name: acme/\n\
         delete: true\n\
         labels: [{name: aa, value: '1'}, {name: aa, value: '2'}, {name: bb, value: '3'}]\n\
         fragment: {stores: ['s3://one/']}\n\
         children:\n\
         - name: acme/x\n  delete: false\n  labels: [{name: aa, value: '9'}]\n\
         - name: acme/y\n  fragment: {stores: []}\n",
    )
    .unwrap();
    root.push_down();
    let [x, y] = &root.children[..] else { panic!("two children") };
    assert_eq!(x.fields.labels.to_string(), "aa=9,bb=3");
    assert_eq!((x.delete, y.delete), (Some(false), Some(true)));
    assert_eq!(x.fields.stores.as_deref(), Some(&["s3://one/".to_owned()][..]));
    assert_eq!(y.fields.stores.as_deref(), Some(&[][..]));
    assert_eq!((root.delete, &root.fields), (None, &Fields::default()), "the directory is left empty");
}

#[test]
fn directories_are_shared_at_slashes() {
    for (a, b, expected) in [
        ("foo/bar", "foo/baz", 4),
        ("foo/bar/baz", "foo/bar/bing", 8),
        ("foo/bar/baz/match", "foo/bar/baz/match", 12),
        ("foo/bar/", "foo/bar/", 8),
        ("miss/", "match/", 0),
        ("", "match/", 0),
    ] {
        assert_eq!(shared_directory(a, b), expected, "{a} {b}");
    }
}

#[test]
fn listings_become_trees() {
    fn outline(node: &Node) -> String {
        let children: Vec<_> = node.children.iter().map(outline).collect();
        if children.is_empty() { node.name.clone() } else { format!("{}[{}]", node.name, children.join(" ")) }
    }
    for (names, expected) in [
        (&["solo/journal"][..], "solo/journal"),
        (&["foo/b", "foo/a"], "foo/[foo/a foo/b]"),
        (&["aaaa/x", "bbbb/y"], "[aaaa/x bbbb/y]"),
        (
            &["node/aaa/111", "node/aaa/222", "node/bbb/333", "other/x"],
            "[node/[node/aaa/[node/aaa/111 node/aaa/222] node/bbb/333] other/x]",
        ),
        // Bytes below the slash come between a journal and its name's directory.
        (&["f/bar", "f/bar-x", "f/bar/a", "f/bar/b"], "f/[f/bar f/bar-x f/bar/[f/bar/a f/bar/b]]"),
    ] {
        let tree = Node::extract(names.iter().map(|name| leaf(name)).collect()).unwrap();
        assert_eq!(outline(&tree), expected);
    }
    // However deep the names go, the tree can be printed and read.
    let deep: Vec<Node> = (1..250).map(|depth| leaf(&format!("{}leaf", "x/".repeat(depth)))).collect();
    let mut tree = Node::extract(deep).unwrap();
    tree.hoist();
    assert_eq!(Node::parse(&tree.to_yaml().unwrap()).unwrap(), tree);
    assert_eq!(tree.leaves().count(), 249);
    assert_eq!(Node::extract(Vec::new()), None);
    assert_eq!(Node::from_listing(&wire::ListResponse::default()), Ok(None));
}

#[test]
fn patches_overlay_insert_and_mark() {
    let mut root = Node::parse(EXAMPLE).unwrap();
    let mut change = leaf("acme/orders/part-001");
    change.fields.replication = 5;
    let patched = root.patch(change);
    assert_eq!((patched.fields.replication, patched.revision), (5, 18));
    root.patch(leaf("acme/orders/part-0005"));
    root.patch(leaf("zeta/new"));
    root.mark_unpatched();
    root.check().unwrap();
    assert_eq!(root.name, "");
    let deleted: Vec<_> = root.leaves().map(|l| (l.name.as_str(), l.delete.unwrap_or_default())).collect();
    assert_eq!(
        deleted,
        [
            ("acme/orders/part-000", true),
            ("acme/orders/part-0005", false),
            ("acme/orders/part-001", false),
            ("acme/replaced", true),
            ("zeta/new", false),
        ]
    );
    let mut empty = Node::default();
    empty.patch(leaf("acme/one"));
    assert_eq!(empty.children.len(), 1);
}

fn specs() -> impl Strategy<Value = Vec<wire::JournalSpec>> {
    let labels = proptest::collection::btree_set(
        ("(aa|bb|cc)", "(|x|y|true|1|null|~|1e3)").prop_map(|(n, v)| (n, v)),
        0..3,
    );
    let duration = (0_i64..3, prop_oneof![Just(0_i32), Just(500_000_000)])
        .prop_map(|(seconds, nanos)| Some(prost_types::Duration { seconds, nanos }));
    let fragment = (
        0_i64..3,
        0_i32..6,
        proptest::collection::vec("(s3://a/|file:///|gs://b/\\?find=x&replace=y|s3://#odd: /)", 0..3),
        [duration.clone(), duration.clone(), duration],
        "(|date=\\{\\{.Spool.Begin\\}\\}|plain|'|\"|[ -~]{0,90})",
    )
        .prop_map(|(length, compression_codec, stores, [a, b, c], template)| {
            wire::journal_spec::Fragment {
                length,
                compression_codec,
                stores,
                refresh_interval: a,
                retention: b,
                flush_interval: c,
                path_postfix_template: template,
            }
        });
    let suspend =
        proptest::option::of((0_i32..4, 0_i64..2).prop_map(|(level, offset)| Suspend { level, offset }));
    let spec =
        ("[ab](/[ab.]{1,2}x){1,4}/[a1=-]{1,3}", 0_i32..3, labels, fragment, 0_u32..6, 0_i64..2, suspend)
            .prop_filter_map("label sets", |(name, replication, labels, fragment, flags, rate, suspend)| {
                JournalName::parse(&name).ok()?;
                Some(wire::JournalSpec {
                    name,
                    replication,
                    labels: Some((&LabelSet::from_pairs(labels).ok()?).into()),
                    fragment: Some(fragment),
                    flags,
                    max_append_rate: rate,
                    suspend,
                })
            });
    proptest::collection::vec(spec, 1..12).prop_map(|mut specs| {
        specs.sort_by(|a, b| a.name.cmp(&b.name));
        specs.dedup_by(|a, b| a.name == b.name);
        specs
    })
}

proptest! {
    #[test]
    fn a_listing_survives_the_way_through_yaml(specs in specs()) {
        let listing = wire::ListResponse {
            journals: specs
                .iter()
                .zip(1..)
                .map(|(spec, mod_revision)| wire::list_response::Journal {
                    spec: Some(spec.clone()),
                    mod_revision,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let mut tree = Node::from_listing(&listing).unwrap().unwrap();
        prop_assert_eq!(tree.check(), Ok(()));
        tree.hoist();
        let yaml = tree.to_yaml().unwrap();
        let read = Node::parse(&yaml).map_err(|error| TestCaseError::fail(format!("{error}\n{yaml}")))?;
        prop_assert_eq!(&read, &tree, "{}", yaml);
        let expected: Vec<Change> = specs
            .into_iter()
            .zip(1..)
            .map(|(spec, revision)| Change { expect_mod_revision: revision, upsert: Some(spec), delete: String::new() })
            .collect();
        prop_assert_eq!(read.into_changes(), expected);
    }

    #[test]
    fn hoisting_changes_no_journal(specs in specs(), parent in 0_i32..3) {
        let leaves = specs.iter().map(|spec| Node::from_spec(spec).unwrap()).collect();
        let mut tree = Node::extract(leaves).unwrap();
        if tree.is_directory() {
            tree.fields.replication = parent;
        }
        let mut hoisted = tree.clone();
        hoisted.hoist();
        prop_assert_eq!(hoisted.into_changes(), tree.into_changes());
    }

    #[test]
    fn no_text_makes_it_panic(yaml in "((name|children|labels|x|<<|-|\\?)(: | |\n|\n  )|[\\[\\]{}&*!|>'\"%@`#a,]){0,20}") {
        let _ = Node::parse(&yaml);
    }
}
