//! Flags, variables and the file, which of them wins, and how each is refused.

use super::*;

const FILE: &str = "\
# A cluster of three.
listen: 0.0.0.0:9000
zone: file-zone
limit: 12
auto-create: true
id:
";

fn resolve(flags: ServeFlags) -> Result<ServeArgs, Vec<String>> {
    flags.resolve_with(&|path, _| match path.to_str() {
        Some("config.yaml") => Ok(FILE.to_owned()),
        Some("bad.yaml") => Ok("lissten: x\nzone: a b\nwhat: 1\nlease-ttl: 5\n".to_owned()),
        Some("list.yaml") => Ok("- listen\n".to_owned()),
        Some("spec.yaml") => Ok("replication: 1\nfragment: {length: 1024}\n".to_owned()),
        Some("named.yaml") => Ok("name: acme/x\n".to_owned()),
        Some("empty.yaml") => Ok("# nothing\n".to_owned()),
        _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
    })
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn nothing_given_is_a_whole_system() {
    let expected = ServeArgs {
        data_dir: "./courant-data".into(),
        listen: "127.0.0.1:8080".into(),
        etcd: Vec::new(),
        prefix: "/courant/cluster".into(),
        id: None,
        zone: "local".into(),
        advertise: None,
        limit: 65_536,
        cores: most_cpus(),
        spool_quota: None,
        file_root: None,
        default_spec: None,
        lease_ttl: Duration::from_secs(20),
        drain_timeout: Duration::from_secs(300),
        registry_listen: None,
        auto_create: true,
    };
    assert_eq!(resolve(ServeFlags::default()), Ok(expected.clone()));
    assert_eq!(resolve(ServeFlags { config: some("empty.yaml"), ..Default::default() }), Ok(expected));
}

#[test]
fn a_flag_goes_before_the_file() {
    let args = resolve(ServeFlags {
        config: some("config.yaml"),
        zone: some("flag-zone"),
        etcd: some("http://a:2379, http://b:2379"),
        default_spec: some("spec.yaml"),
        lease_ttl: some("1m"),
        drain_timeout: some("0s"),
        ..Default::default()
    })
    .unwrap();
    assert_eq!((args.listen.as_str(), args.zone.as_str(), args.limit), ("0.0.0.0:9000", "flag-zone", 12));
    assert_eq!((args.auto_create, args.etcd.len()), (true, 2));
    assert_eq!((args.lease_ttl, args.drain_timeout), (Duration::from_secs(60), Duration::ZERO));
    assert_eq!(args.default_spec.map(|fields| fields.length), Some(1024));
    let clustered = resolve(ServeFlags { etcd: some("https://a"), ..Default::default() }).unwrap();
    assert!(!clustered.auto_create, "off with an etcd, unless it is asked for");
}

#[test]
fn all_problems_are_told_at_once() {
    let flags = ServeFlags {
        config: some("bad.yaml"),
        data_dir: some(""),
        listen: some("127.0.0.1:70000"),
        etcd: some("http://user:secret@"),
        prefix: some("/courant/"),
        id: some("a"),
        zone: None,
        advertise: some("10.0.0.7:8080"),
        limit: some("-1"),
        cores: some("0"),
        spool_quota: some("20GB"),
        file_root: some("/nonexistent/folder"),
        default_spec: some("named.yaml"),
        lease_ttl: some("1s"),
        drain_timeout: some("25h"),
        registry_listen: some("x"),
        auto_create: some("yes"),
    };
    let problems = resolve(flags).unwrap_err();
    let expected = [
        "bad.yaml:1:10: unknown key `lissten` (did you mean `listen`?)",
        "bad.yaml:3:7: unknown key `what` (expected one of data-dir, listen, etcd,",
        "--etcd (COURANT_ETCD) \"***\": expected http:// or https:// URLs",
        "--data-dir (COURANT_DATA_DIR): is empty; give a value, or leave it out",
        "--listen (COURANT_LISTEN) \"127.0.0.1:70000\": expected HOST:PORT",
        "--prefix (COURANT_PREFIX) \"/courant/\": expected a clean absolute path",
        "--id (COURANT_ID) \"a\": invalid length (1; expected 4 <= length <= 128)",
        "bad.yaml:2:7: zone \"a b\": not a valid token (a b) (expected 1 to 32 bytes of letters",
        "--advertise (COURANT_ADVERTISE) \"10.0.0.7:8080\": ",
        "--limit (COURANT_LIMIT) \"-1\": expected a whole number from 0 to 131072",
        "--cores (COURANT_CORES) \"0\": expected a whole number from 1 to 1024",
        "--spool-quota (COURANT_SPOOL_QUOTA) \"20GB\": expected bytes, like 1000000, 512MiB, 20GiB or 1.5TiB",
        "--file-root (COURANT_FILE_ROOT) \"/nonexistent/folder\": is not a folder",
        "--default-spec (COURANT_DEFAULT_SPEC) \"named.yaml\": named.yaml:1:1: unexpected key `name`",
        "--lease-ttl (COURANT_LEASE_TTL) \"1s\": expected whole seconds, at least 2s",
        "--drain-timeout (COURANT_DRAIN_TIMEOUT) \"25h\": expected 0s to 24h",
        "--registry-listen (COURANT_REGISTRY_LISTEN) \"x\": expected HOST:PORT",
        "--auto-create (COURANT_AUTO_CREATE) \"yes\": expected true or false",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem}\n{expected}");
    }
}

#[test]
fn each_problem_says_what_was_expected() {
    let check = |flags: ServeFlags, expected: &str| {
        let problems = resolve(flags).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(expected), "{problems:?}");
    };
    let default = ServeFlags::default;
    check(ServeFlags { config: some("absent.yaml"), ..default() }, "--config absent.yaml: entity not found");
    check(ServeFlags { config: some(""), ..default() }, "--config (COURANT_CONFIG): is empty");
    check(ServeFlags { config: some("list.yaml"), ..default() }, "list.yaml:1:1: ");
    check(
        ServeFlags { lease_ttl: some("5"), ..default() },
        "--lease-ttl (COURANT_LEASE_TTL) \"5\": invalid duration",
    );
    check(ServeFlags { lease_ttl: some("2500ms"), ..default() }, "--lease-ttl");
    check(ServeFlags { default_spec: some("absent"), ..default() }, "--default-spec");
    check(
        ServeFlags { etcd: some("http://a"), registry_listen: some(":::0"), ..default() },
        "--registry-listen (COURANT_REGISTRY_LISTEN) \":::0\"",
    );
    check(
        ServeFlags { etcd: some("http://a"), registry_listen: some("[::1]:0"), ..default() },
        "--registry-listen and --etcd: ",
    );
    for listen in ["localhost", ":8080", "a:b", "a:+1", "::1:80", "a b:1", "http://x:1"] {
        check(ServeFlags { listen: some(listen), ..default() }, "--listen");
    }
}

#[test]
fn bytes_are_read_with_the_units_they_are_printed_in() {
    for (text, expected) in [
        ("0", Some(0)),
        ("1000000", Some(1_000_000)),
        ("7B", Some(7)),
        ("20GiB", Some(20 << 30)),
        ("1.5TiB", Some(3 << 39)),
        ("0.5KiB", Some(512)),
        ("16777215TiB", Some(16_777_215 << 40)),
        ("16777216TiB", None),
        ("1.5", None),
        ("1.5B", None),
        ("1.1234567GiB", None),
        ("20GB", None),
        ("20 GiB", None),
        ("-1", None),
        ("+1", None),
        ("GiB", None),
        (".5GiB", None),
        ("1.GiB", None),
    ] {
        assert_eq!(bytes(text).ok(), expected, "{text}");
    }
}
