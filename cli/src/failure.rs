//! What ends a verb early: an exit code, and lines for stderr that each say what was wrong and what to do.
//! It does not know verbs.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::output;

/// Refused or failed.
const FAILED: u8 = 1;
/// Wrong use: nothing was attempted.
const WRONG_USE: u8 = 2;

/// Why a verb ended early.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u8,
    lines: Vec<String>,
}

impl Failure {
    /// The command was not used as it is to be: one line for each problem.
    pub(crate) fn usage(problems: impl IntoIterator<Item = String>) -> Self {
        Self { code: WRONG_USE, lines: problems.into_iter().collect() }
    }

    /// What was asked for was refused, or failed: one line for each case.
    pub(crate) fn failed(cases: impl IntoIterator<Item = String>) -> Self {
        Self { code: FAILED, lines: cases.into_iter().collect() }
    }

    /// Whoever reads our output has gone. That is their right, and nobody is left to tell.
    const fn unheard() -> Self {
        Self { code: 0, lines: Vec::new() }
    }

    /// A failure to read or write something, with what it was.
    pub(crate) fn of_io(what: impl Display, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::unheard();
        }
        Self::failed([format!("{what}: {error}")])
    }

    /// What there is to tell, a line for each.
    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// A command line that was not understood, on one line: what was wrong, what was meant, where to look.
    pub(crate) fn of_command_line(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let parts: Vec<String> = text
            .split("\n\n")
            .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|part| {
                !part.is_empty() && !part.starts_with("Usage:") && !part.starts_with("For more information")
            })
            .map(|part| part.trim_start_matches("error: ").trim_start_matches("tip: ").to_owned())
            .collect();
        Self::usage([format!("{}; see --help", parts.join("; "))])
    }

    /// Prints the lines, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let mut stderr = io::stderr().lock();
        let (on, off) =
            if output::is_colourful(&io::stderr()) { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
        for line in self.lines {
            // Without a stderr the exit code alone has to do.
            let _ = writeln!(stderr, "{on}error:{off} {}", output::one_line(&line));
        }
        ExitCode::from(self.code)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed([format!("{error:#}")])
    }
}
