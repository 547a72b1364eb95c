//! The command line as a caller meets it, with no broker anywhere: help, bad input, exit codes, and what goes to
//! which stream.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A broker that is not there: nobody listens on the discard port.
const NOWHERE: &str = "http://127.0.0.1:9";

fn courant(args: &[&str], input: &str, folder: &Path) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_courant"))
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("COURANT_BROKER", NOWHERE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A command that is refused may end before it has read anything.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("the binary ends")
}

/// Runs in an empty folder, with these files in it.
#[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
fn run(args: &[&str], input: &str, files: &[(&str, &[u8])]) -> (i32, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    let output = courant(args, input, folder.path());
    (
        output.status.code().expect("no signal"),
        String::from_utf8(output.stdout).expect("text"),
        String::from_utf8(output.stderr).expect("text"),
    )
}

#[test]
fn every_command_has_help_with_examples() {
    for command in [
        &["serve"][..],
        &["completions"],
        &["journals", "list"],
        &["journals", "apply"],
        &["journals", "edit"],
        &["journals", "read"],
        &["journals", "append"],
        &["journals", "fragments"],
        &["journals", "suspend"],
        &["journals", "reset-head"],
        &["journals", "store-health"],
        &["journals", "audit"],
        &["members", "list"],
    ] {
        let args = [command, &["--help"]].concat();
        let (code, stdout, stderr) = run(&args, "", &[]);
        assert_eq!((code, stderr.as_str()), (0, ""), "{command:?}");
        assert!(stdout.contains("Usage: courant") && stdout.contains("Example"), "{command:?}: {stdout}");
        assert!(stdout.contains("courant ") && !stdout.contains('\u{1b}'), "{command:?}: {stdout}");
    }
    let (code, stdout, _) = run(&["--version"], "", &[]);
    assert_eq!((code, stdout.starts_with("courant ")), (0, true));
    let (code, stdout, _) = run(&["completions", "bash"], "", &[]);
    assert!(code == 0 && stdout.contains("reset-head"), "{stdout}");
}

#[test]
fn serve_flags_have_variables() {
    let (_, stdout, _) = run(&["serve", "--help"], "", &[]);
    for flag in [
        "config",
        "data-dir",
        "listen",
        "etcd",
        "prefix",
        "id",
        "zone",
        "advertise",
        "limit",
        "file-root",
        "default-spec",
        "lease-ttl",
        "registry-listen",
        "auto-create",
    ] {
        let variable = format!("COURANT_{}", flag.to_uppercase().replace('-', "_"));
        assert!(stdout.contains(&format!("--{flag} ")) && stdout.contains(&variable), "{flag}: {stdout}");
    }
}

#[test]
fn wrong_use_exits_2_and_says_what_to_do() {
    let spec = b"name: acme/x\nreplication: 1\nfragment: {length: 1024, compression_codec: NONE, refresh_interval: 1m}\n";
    let check = |args: &[&str], input: &str, files: &[(&str, &[u8])], expected: &[&str]| {
        let (code, stdout, stderr) = run(args, input, files);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        for expected in expected {
            assert!(stderr.contains(expected), "{args:?}: {stderr}\nexpected {expected}");
        }
        let lines = if args.is_empty() { 1 } else { stderr.lines().count() };
        let told = stderr.lines().all(|line| args.is_empty() || line.starts_with("error: "));
        assert!(told && (lines == 1 || args[0] == "serve" || args[1] == "apply"), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked") && !stderr.contains('\u{1b}'), "{args:?}: {stderr}");
    };
    check(&[], "", &[], &["Usage: courant"]);
    check(
        &["journal"],
        "",
        &[],
        &["unrecognized subcommand 'journal'", "similar subcommand exists: 'journals'"],
    );
    check(&["journals", "list", "--primry"], "", &[], &["unexpected argument '--primry'", "'--primary'"]);
    check(&["journals", "list", "-o", "xml"], "", &[], &["possible values: table, yaml, json"]);
    check(
        &["journals", "list", "-l", "a b"],
        "",
        &[],
        &["could not match \"a b\" to a label selector expression"],
    );
    check(&["journals", "list", "-l", "prefix=acme"], "", &[], &["expected trailing '/' (acme)"]);
    check(&["journals", "read"], "", &[], &["--selector <SELECTOR>"]);
    check(
        &["journals", "--broker", "not a url", "list"],
        "",
        &[],
        &["error: --broker (COURANT_BROKER)", "http://HOST:PORT"],
    );
    check(
        &["--log-level", "loud", "journals", "list"],
        "",
        &[],
        &["--log-level (COURANT_LOG_LEVEL) \"loud\": unknown level"],
    );
    check(
        &["journals", "list", "--log.level=a=b=c"],
        "",
        &[],
        &["--log-level (COURANT_LOG_LEVEL) \"a=b=c\""],
    );

    // Specs.
    let apply = &["journals", "apply", "--specs", "specs.yaml"];
    check(apply, "", &[], &["error: --specs specs.yaml: No such file"]);
    check(
        &["journals", "apply", "--specs", "."],
        "",
        &[],
        &["error: --specs .: is a folder (expected a file)"],
    );
    check(apply, "", &[("specs.yaml", b"\xff\xfe\x00")], &["is not text (expected UTF-8)"]);
    check(
        apply,
        "",
        &[("specs.yaml", b"name: acme/x\nreplicaton: 3\n")],
        &["error: specs.yaml:2:1: unknown key `replicaton` (did you mean `replication`?)"],
    );
    check(
        apply,
        "",
        &[("specs.yaml", b"name: acme/x\nname: acme/y\n")],
        &["specs.yaml:2:1: key `name` is given twice"],
    );
    check(
        apply,
        "",
        &[("specs.yaml", b"name: acme/x\n---\nname: acme/y\n")],
        &["specs.yaml:3:1: a second document begins"],
    );
    check(
        apply,
        "",
        &[("specs.yaml", b"children:\n- name: acme/x\n- name: acme/y\n  replication: 9\n  delete: true\n")],
        &[
            "error: specs.yaml: acme/x: Upsert: invalid Replication (0; expected 1 <= Replication <= 5)\n",
            "error: specs.yaml: acme/y: invalid ExpectModRevision (0; expected > 0 or -1)\n",
        ],
    );
    check(
        &["journals", "apply"],
        "name: acme x\n",
        &[],
        &["error: standard input:1:1: Name: not a valid token (acme x)"],
    );

    // Flags that do not go together.
    let append = &["journals", "append", "-l", "name=acme/x"][..];
    check(
        &[append, &["-m", "modulo"]].concat(),
        "",
        &[],
        &["error: --mapping: only random goes with --framing none"],
    );
    check(
        &[append, &["-f", "fixed", "-m", "modulo", "--base64"]].concat(),
        "",
        &[],
        &["error: --base64: goes with --framing lines"],
    );
    check(
        &["journals", "fragments", "--from", "20", "--to", "10"],
        "",
        &[],
        &["error: --to 10 is before --from 20"],
    );
    check(&["journals", "fragments", "--url-ttl", "5"], "", &[], &["invalid duration \"5\": missing unit"]);
    check(&["journals", "fragments", "--from", "yesterday"], "", &[], &["a time like 2026-07-01T00:00:00Z"]);
    check(&["journals", "store-health", "s3:///x/"], "", &[], &["missing bucket (s3:///x/)"]);

    // The server's, all at once.
    check(
        &["serve", "--listen", "nowhere", "--limit", "many", "--config", "c.yaml"],
        "",
        &[("c.yaml", b"lissten: 1\nzone: x\n")],
        &[
            "error: --listen (COURANT_LISTEN) \"nowhere\": expected HOST:PORT",
            "error: --limit (COURANT_LIMIT) \"many\": expected a whole number",
            "error: c.yaml:1:10: unknown key `lissten` (did you mean `listen`?)",
        ],
    );
    let (code, ..) =
        run(&["journals", "apply", "--specs", "specs.yaml", "--dry-run"], "", &[("specs.yaml", spec)]);
    assert_eq!(code, 0);
}

#[test]
fn a_dry_run_prints_the_request_and_needs_no_broker() {
    let specs = "\
name: acme/
replication: 1
fragment: {length: 1024, compression_codec: NONE, refresh_interval: 1m}
children:
- name: acme/x
- name: acme/y
  revision: 7
  delete: true
";
    let (code, stdout, stderr) = run(&["journals", "--broker", "%", "apply", "--dry-run"], specs, &[]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(
        stdout,
        r#"{"changes":[{"expect_mod_revision":"0","upsert":{"name":"acme/x","replication":1,"labels":{"labels":[]},"fragment":{"length":"1024","compression_codec":"NONE","stores":[],"refresh_interval":"60s","retention":"0s","flush_interval":"0s","path_postfix_template":""},"flags":0,"max_append_rate":"0","suspend":null},"delete":""},{"expect_mod_revision":"7","upsert":null,"delete":"acme/y"}]}
"#
    );
}

#[test]
fn a_broker_that_is_not_there_is_told_on_one_line() {
    let specs = "name: acme/x\nreplication: 1\nfragment: {length: 1024, compression_codec: NONE, refresh_interval: 1m}\n";
    for (args, what) in [
        (&["journals", "list"][..], "cannot list the journals"),
        (&["journals", "list", "--watch"], "cannot list the journals"),
        (&["journals", "apply"], "nothing was applied"),
        (&["journals", "read", "-l", "name=acme/x", "--block"], "cannot list the journals"),
        (&["journals", "append", "-l", "name=acme/x"], "cannot list the journals"),
        (&["journals", "fragments"], "cannot list the journals"),
        (&["journals", "suspend", "-l", "name=acme/x"], "cannot list the journals"),
        (&["journals", "reset-head", "-l", "name=acme/x"], "cannot list the journals"),
        (&["journals", "store-health", "s3://acme-logs/"], "cannot check fragment store s3://acme-logs/"),
    ] {
        let (code, stdout, stderr) = run(args, specs, &[]);
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{args:?}: {stderr}");
        assert!(
            stderr.starts_with(&format!("error: {what}: cannot reach a broker at {NOWHERE}")),
            "{stderr}"
        );
        assert!(stderr.contains("--broker or COURANT_BROKER"), "{stderr}");
    }
    // An older name of the flag is taken, too.
    let (code, _, stderr) = run(&["journals", "list", "--broker.address", "http://127.0.0.1:7"], "", &[]);
    assert!(code == 1 && stderr.contains("http://127.0.0.1:7"), "{stderr}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_courant"))
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the binary ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
