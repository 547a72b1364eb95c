//! Runs gazctl as an operator would, and takes out of what it prints all that may differ between two clusters: ports,
//! revisions, times, the width of a table. Knows no verb.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::processes::Broker;

/// No verb takes that long which ends by itself.
const LIMIT: Duration = Duration::from_secs(30);

/// A gazctl that talks to one broker, in a folder of its own.
#[derive(Clone, Debug)]
pub(crate) struct Gazctl {
    program: PathBuf,
    folder: PathBuf,
    broker: String,
}

/// What a run of a program came to, ready to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    /// None: it was ended from outside.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// For a report.
    pub(crate) fn describe(&self) -> String {
        let code = self.code.map_or_else(|| "ended from outside".to_owned(), |code| code.to_string());
        format!("  exit: {code}\n  stdout:\n{}  stderr:\n{}", indent(&self.stdout), indent(&self.stderr))
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// How long a run goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ends {
    /// As long as it wants, within reason.
    ByItself,
    /// Until a SIGTERM after this long.
    After(Duration),
}

impl Gazctl {
    pub(crate) fn new(program: PathBuf, folder: &Path, broker: &Broker) -> Self {
        Self { program, folder: folder.to_owned(), broker: broker.url() }
    }

    /// Runs `gazctl journals …` and returns what it printed as it is.
    pub(crate) async fn raw(
        &self,
        args: &[&str],
        input: &[u8],
        env: &[(&str, &str)],
        ends: Ends,
    ) -> Result<Ran> {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("BROKER_ADDRESS", &self.broker)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let (pid, stdin) = (child.id(), child.stdin.take());
        let input = input.to_vec();
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // Who does not read its input has said why.
                let _ = stdin.write_all(&input).await;
            }
        };
        let signalled = async {
            if let (Ends::After(pause), Some(pid)) = (ends, pid) {
                tokio::time::sleep(pause).await;
                let _ = Command::new("kill").args(["-s", "TERM", &pid.to_string()]).status().await;
            }
        };
        let whole = async { tokio::join!(feed, child.wait_with_output(), signalled).1 };
        let Ok(output) = timeout(LIMIT, whole).await else {
            return Ok(Ran { code: None, stdout: String::new(), stderr: format!("no end within {LIMIT:?}") });
        };
        let output = output.context("gazctl")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    /// The same, with what may differ taken out.
    pub(crate) async fn run(
        &self,
        args: &[&str],
        input: &[u8],
        env: &[(&str, &str)],
        ends: Ends,
    ) -> Result<Ran> {
        let ran = self.raw(args, input, env, ends).await?;
        let clean = |text: &str| normal(&text.replace(&self.broker, "BROKER"));
        Ok(Ran { stdout: clean(&ran.stdout), stderr: clean(&ran.stderr), ..ran })
    }
}

/// Numbers that are another cluster's own.
const OWN: [&str; 6] = ["revision", "mod_time", "cluster_id", "member_id", "raft_term", " mod"];

/// A text without what may differ.
pub(crate) fn normal(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with(['┌', '├', '└']) {
            continue;
        }
        // It checks stores that it opens itself beside what it was asked for; how often before it ends is a matter of time.
        if line.contains("msg=\"store health check failed\"") {
            continue;
        }
        // What follows is the stack of gazctl itself.
        if line.starts_with("panic: ") {
            lines.push("panic".to_owned());
            break;
        }
        if line.contains('│') {
            let cells = line.trim_matches('│').split('│').map(|cell| match cell.trim() {
                "now" => "<ago>",
                cell if cell.ends_with(" ago") => "<ago>",
                cell => cell,
            });
            lines.push(cells.collect::<Vec<_>>().join(" | "));
            continue;
        }
        let mut line = without_value(line, "time=\"");
        for key in OWN {
            line = without_number(&line, key);
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// Without what follows the marker up to the next quote.
fn without_value(line: &str, marker: &str) -> String {
    let Some((before, rest)) = line.split_once(marker) else {
        return line.to_owned();
    };
    let after = rest.split_once('"').map_or("", |(_, after)| after);
    format!("{before}{}", after.trim_start())
}

/// With `#` for the numbers that follow the key, as `key=1`, `key:1`, `key: 1` or `"key":"1"`.
fn without_number(line: &str, key: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(key) {
        let (before, found) = rest.split_at(at + key.len());
        out.push_str(before);
        let sign = found.len() - found.trim_start_matches(['"', ':', '=', ' ']).len();
        out.push_str(&found[..sign]);
        rest = &found[sign..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if sign > 0 && digits > 0 {
            out.push('#');
            rest = &rest[digits..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn what_two_clusters_do_not_share_is_taken_out() {
        let check = |text: &str, expected: &str| assert_eq!(normal(text), expected);
        check("time=\"2026-01-01T00:00:00Z\" level=info revision=12", "level=info revision=#");
        check("a\nlevel=warning msg=\"store health check failed\" attempt=0\nb", "a\nb");
        check("{\"revision\":\"12\",\"mod_revision\":\"7\"}", "{\"revision\":\"#\",\"mod_revision\":\"#\"}");
        check("revision: 7\nname: revision", "revision: #\nname: revision");
        check("┌──┐\n│ a │ 2 seconds ago │ now │\n└──┘", "a | <ago> | <ago>");
    }
}
