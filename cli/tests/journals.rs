//! The operator's verbs against the real thing: `courant serve` on a data folder of its own, and the same binary
//! as its client.
#![expect(clippy::disallowed_methods, reason = "a test makes its own files")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A broker that ends with the test.
struct Broker {
    process: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl Broker {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = Command::new(env!("CARGO_BIN_EXE_courant"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path().join("data"))
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("listening on").map(|(_, url)| url.trim().to_owned()))
            .expect("the broker tells where it listens");
        // What it says later must not fill the pipe.
        std::thread::Builder::new().spawn(move || lines.for_each(drop)).expect("a thread");
        Self { process, url, folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_courant"));
        command
            .arg("journals")
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("COURANT_BROKER", &self.url);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a verb: its exit code, and what it wrote to both streams.
    fn run(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let mut child = self.command(args).spawn().expect("the verb starts");
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("the verb ends");
        (
            output.status.code().expect("no signal"),
            String::from_utf8(output.stdout).expect("text"),
            String::from_utf8(output.stderr).expect("text"),
        )
    }

    /// Runs a verb that shall succeed in silence on stderr.
    fn done(&self, args: &[&str], input: &str) -> String {
        let (code, stdout, stderr) = self.run(args, input);
        assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
        stdout
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const SPECS: &str = "\
name: acme/
replication: 1
labels:
- name: app
  value: web
fragment:
  length: 1048576
  compression_codec: GZIP
  stores:
  - file:///
  refresh_interval: 5m0s
children:
- name: acme/orders/
  children:
  - name: acme/orders/part-000
  - name: acme/orders/part-001
- name: acme/refunds
  fragment:
    compression_codec: NONE
";

const LISTED: &str = "\
name: acme/
replication: 1
labels:
- name: app
  value: web
fragment:
  length: 1048576
  stores:
  - file:///
  refresh_interval: 5m0s
children:
- name: acme/orders/
  fragment:
    compression_codec: GZIP
  children:
  - name: acme/orders/part-000
  - name: acme/orders/part-001
- name: acme/refunds
  fragment:
    compression_codec: NONE
";

#[test]
fn specs_are_applied_listed_changed_and_deleted() {
    let broker = Broker::start();
    let applied = broker.done(&["apply"], SPECS);
    assert!(applied.starts_with("applied 3 changes at revision "), "{applied}");

    // What is listed is what was applied, said once where journals agree, and with revisions.
    let listed = broker.done(&["list", "-l", "prefix=acme/", "-o", "yaml"], "");
    let without_revisions: String =
        listed.lines().filter(|line| !line.contains("revision: ")).map(|line| format!("{line}\n")).collect();
    assert_eq!(without_revisions, LISTED);
    let table = broker.done(&["list", "--rf", "--stores", "-L", "app", "-l", "name=acme/refunds"], "");
    assert_eq!(
        table,
        "\
┌──────────────┬────┬──────────┬─────┐
│     NAME     │ RF │  STORES  │ APP │
├──────────────┼────┼──────────┼─────┤
│ acme/refunds │ 1  │ file:/// │ web │
└──────────────┴────┴──────────┴─────┘
"
    );

    // A listing that was edited can be applied once, and no second time.
    let edited = listed.replace("value: web", "value: shop");
    broker.done(&["apply"], &edited);
    let (code, stdout, stderr) = broker.run(&["apply"], &edited);
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 4), "{stderr}");
    assert!(stderr.starts_with("error: nothing was applied: ETCD_TRANSACTION_FAILED"), "{stderr}");
    assert!(stderr.contains("\nerror: acme/refunds: was changed, and is at revision "), "{stderr}");
    let (_, _, stderr) = broker.run(&["apply"], SPECS);
    assert!(
        stderr.contains("\nerror: acme/refunds: exists already; to change it, say revision: "),
        "{stderr}"
    );

    let shop = broker.done(&["list", "-l", "app=shop, prefix=acme/orders/", "-o", "yaml"], "");
    let deleted = broker.done(&["apply", "--max-txn-size", "1"], &format!("delete: true\n{shop}"));
    assert_eq!(deleted.matches("0 written, 1 deleted").count(), 2, "{deleted}");
    let left = broker.done(&["list", "-o", "json"], "");
    assert!(left.contains("\"name\":\"acme/refunds\"") && !left.contains("part-000"), "{left}");
    let (code, _, stderr) = broker.run(&["read", "-l", "prefix=acme/orders/"], "");
    assert_eq!(
        (code, stderr.as_str()),
        (1, "error: no journal matches the selector; see `courant journals list`\n")
    );
}

#[test]
fn specs_are_edited() {
    let broker = Broker::start();
    broker.done(&["apply"], SPECS);
    let edit = |editor: &str| {
        let mut command = broker.command(&["edit", "-l", "prefix=acme/"]);
        let temporary = broker.path().join("drafts");
        std::fs::create_dir_all(&temporary).expect("a folder");
        let output =
            command.env("EDITOR", editor).env("TMPDIR", &temporary).env("PATH", "/usr/bin:/bin").output();
        let output = output.expect("the verb ends");
        let drafts = std::fs::read_dir(&temporary).expect("a folder").count();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), drafts)
    };
    assert_eq!(edit("true"), (Some(0), "Cancelled; nothing to do.\n".to_owned(), 0));
    assert_eq!(edit("truncate -s 0"), (Some(0), "Cancelled; empty file.\n".to_owned(), 0));
    let (code, stdout, drafts) = edit("sed -i 's/value: web/value: shop/'");
    assert!(
        code == Some(0) && stdout.starts_with("applied 3 changes at revision ") && drafts == 0,
        "{stdout}"
    );
    assert!(broker.done(&["list", "-l", "app=shop"], "").contains("acme/refunds"));
    // What is wrong is opened again, and an editor that changes nothing gives it up.
    let (code, stdout, drafts) = edit("sed -i 's/replication: 1/replication: 9/'");
    assert_eq!((code, stdout.as_str(), drafts), (Some(1), "", 1));
    assert_eq!(edit("false").0, Some(1));
}

#[test]
fn records_come_back_whole() {
    let broker = Broker::start();
    broker.done(&["apply"], SPECS);
    let lines: Vec<String> = (0..20_000).map(|number| format!("{{\"order\":{number}}}\n")).collect();
    let appended = broker.done(&["append", "-l", "prefix=acme/orders/", "-f", "lines"], &lines.concat());
    assert_eq!(
        appended,
        format!("appended 20000 records to 2 journals: {} KiB\n", lines.concat().len() / 1024)
    );

    let read = broker.done(&["read", "-l", "prefix=acme/orders/"], "");
    let mut read: Vec<&str> = read.split_inclusive('\n').collect();
    let mut expected: Vec<&str> = lines.iter().map(String::as_str).collect();
    read.sort_unstable();
    expected.sort_unstable();
    assert!(read == expected, "{} of {} lines", read.len(), expected.len());

    // The next read goes on where this one ends.
    std::fs::write(broker.path().join("at.json"), "{}").expect("a file");
    let chunk = &[
        "read",
        "-l",
        "prefix=acme/orders/",
        "-o",
        "chunk",
        "--offsets",
        "at.json",
        "--offsets-out",
        "at.json",
    ];
    broker.done(chunk, "");
    let length = |name: &str| std::fs::metadata(broker.path().join(name)).expect("a file").len();
    assert_eq!(length("chunk"), lines.concat().len() as u64);
    broker.done(&["append", "-l", "name=acme/orders/part-001"], "{\"order\":-1}\n");
    broker.done(chunk, "");
    assert_eq!(std::fs::read_to_string(broker.path().join("chunk")).expect("text"), "{\"order\":-1}\n");

    // A file is one append.
    std::fs::write(broker.path().join("batch"), "a\nb\n").expect("a file");
    let appended = broker.done(&["append", "-l", "name=acme/refunds", "-i", "batch"], "");
    assert_eq!(appended, "appended 4 bytes to acme/refunds: [0, 4)\n");
    let (code, _, stderr) =
        broker.run(&["append", "-l", "prefix=acme/", "-f", "lines", "-m", "direct"], "acme/x\n1\n");
    assert_eq!(
        (code, stderr.as_str()),
        (1, "error: journal \"acme/x\" is not among those that the selector matches\n")
    );
}

#[test]
fn a_blocked_reader_sees_what_comes_and_ends_on_a_signal() {
    let broker = Broker::start();
    let args = ["read", "-l", "prefix=acme/", "--block", "--offsets-out", "at.json"];
    let mut reader = broker.command(&args).spawn().expect("the reader starts");
    // There is no journal yet: it waits for those that come.
    broker.done(&["apply"], SPECS);
    let mut lines = BufReader::new(reader.stdout.take().expect("a pipe")).lines();
    for (journal, line) in
        [("acme/refunds", "one"), ("acme/orders/part-000", "two"), ("acme/refunds", "three")]
    {
        broker.done(&["append", "-l", &format!("name={journal}")], &format!("{line}\n"));
        assert_eq!(lines.next().expect("a line").expect("text"), line);
    }
    let interrupted = Command::new("kill").args(["-INT", &reader.id().to_string()]).status().expect("kill");
    assert!(interrupted.success());
    assert!(reader.wait().expect("the reader ends").success());
    let offsets = std::fs::read_to_string(broker.path().join("at.json")).expect("offsets");
    assert_eq!(offsets, "{\"acme/orders/part-000\":4,\"acme/orders/part-001\":0,\"acme/refunds\":10}\n");

    // A reader of the tail has an offset too, though it reads nothing.
    broker.done(&["read", "-l", "name=acme/refunds", "--tail", "--offsets-out", "tail.json"], "");
    let offsets = std::fs::read_to_string(broker.path().join("tail.json")).expect("offsets");
    assert_eq!(offsets, "{\"acme/refunds\":10}\n");
}

#[test]
fn journals_are_tended() {
    let broker = Broker::start();
    broker.done(&["apply"], SPECS);
    broker.done(&["append", "-l", "name=acme/refunds"], "content\n");

    let reset = broker.done(&["reset-head", "-l", "name=acme/refunds"], "");
    assert_eq!(reset, "acme/refunds has its write head at 8\n");

    let healthy = broker.done(&["store-health", "file:///"], "");
    assert_eq!(healthy, "Fragment store file:/// is healthy\n");
    let (code, _, stderr) = broker.run(&["store-health", "s3://"], "");
    assert_eq!((code, stderr.as_str()), (2, "error: FragmentStore: missing bucket (s3://)\n"));

    // What was appended is local still, so a fragment is listed without a time.
    let fragments = broker.done(&["fragments", "-l", "name=acme/refunds", "-o", "json"], "");
    assert!(
        fragments.starts_with("{\"spec\":{\"journal\":\"acme/refunds\",\"begin\":\"0\",\"end\":\"8\","),
        "{fragments}"
    );
    let table = broker.done(&["fragments", "-l", "prefix=acme/"], "");
    assert!(table.contains("│ acme/refunds │ 0      │ 8 B "), "{table}");

    let suspended = broker.done(&["suspend", "-l", "prefix=acme/orders/"], "");
    assert_eq!(suspended, "acme/orders/part-000 is suspended now\nacme/orders/part-001 is suspended now\n");
    let suspended = broker.done(&["suspend", "-l", "name=acme/orders/part-000"], "");
    assert_eq!(suspended, "acme/orders/part-000 is suspended already\n");
    let listed = broker.done(&["list", "-l", "name=acme/orders/part-000", "--primary"], "");
    assert!(listed.contains(" <S> │"), "{listed}");
    // An append brings it back.
    broker.done(&["append", "-l", "name=acme/orders/part-000"], "x\n");
    assert_eq!(broker.done(&["read", "-l", "name=acme/orders/part-000"], ""), "x\n");
}

#[test]
fn an_audit_finds_what_is_wrong_in_a_store() {
    let broker = Broker::start();
    broker.done(&["apply"], SPECS);
    broker.done(&["append", "-l", "name=acme/refunds"], "content\n");
    let (code, stdout, stderr) = broker.run(&["audit", "--name", "acme/refunds"], "");
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("--file-root") && stderr.contains("--brokers-only"), "{stderr}");
    let (code, _, stderr) = broker.run(&["audit", "--name", "acme/none", "--brokers-only"], "");
    assert!(code == 1 && stderr.contains("journal acme/none does not exist"), "{stderr}");

    // What is not stored yet is read from its broker.
    let report = broker.done(&["audit", "-l", "prefix=acme/", "--file-root", "data/fragments"], "");
    assert!(report.contains("│ primary │ 8    │ 1         │ 8 B   │ 8 B  │"), "{report}");
    assert!(report.ends_with("3 journals audited, 8 B read: nothing is wrong\n"), "{report}");
    let json = broker.done(&["audit", "--name", "acme/refunds", "--brokers-only", "-o", "json"], "");
    assert!(json.contains("\"bytes_read\":8") && json.contains("\"findings\":[]"), "{json}");

    // Somebody puts other content at the same offsets, under a name that is right, and a file that is none.
    let folder = broker.path().join("data/fragments/acme/refunds");
    std::fs::create_dir_all(&folder).expect("a folder");
    let other = "0000000000000000-0000000000000008-8a08b7a19de5b0158b9e2de1b5e3df0b0d53a3d1.raw";
    std::fs::write(folder.join(other), "another\n").expect("a file");
    std::fs::write(folder.join("notes.txt"), "mine").expect("a file");
    let args = ["audit", "--name", "acme/refunds", "--file-root", "data/fragments"];
    let (code, stdout, stderr) = broker.run(&args, "");
    assert_eq!(code, 1, "{stdout}");
    assert!(stderr.contains("findings in 1 of 1 journal"), "{stderr}");
    for expected in ["acme/refunds: UNREADABLE [0, 8): ", "acme/refunds: STRAY: acme/refunds/notes.txt "] {
        assert!(stdout.contains(expected), "{expected}: {stdout}");
    }
}

#[test]
fn the_members_of_a_cluster_of_one() {
    let broker = Broker::start();
    broker.done(&["apply"], SPECS);
    broker.done(&["append", "-l", "name=acme/refunds"], "content\n");
    let list = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_courant"));
        command.args(["members", "list", "--broker", &broker.url]).args(args).env_clear();
        let output = command.output().expect("the verb ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let table = list(&[]);
    let row = table.lines().nth(3).expect("a row");
    assert!(
        row.contains(&broker.url) && row.contains("│ courant ") && row.contains("│ 3        │ 3         │"),
        "{table}"
    );
    assert!(row.ends_with("│ leader │"), "{table}");
    assert!(list(&["-o", "json"]).contains("\"replicas\":3,\"primaries\":3"));
    assert!(list(&["-o", "yaml"]).contains("primaries: 3"));
}
