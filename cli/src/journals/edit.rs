//! `courant journals edit`: a listing in an editor, again and again until it is applied or given up.

use std::path::Path;
use std::process::Command;

use courant_proto::tree::MAX_YAML_BYTES;
use courant_proto::wire;

use super::{Session, apply, list};
use crate::args::EditArgs;
use crate::failure::Failure;
use crate::{files, output};

/// What a line begins with that tells what to do.
const NOTE: &str = "#⚙ ";
/// What a line begins with that tells what was wrong.
const PROBLEM: &str = "#⚠ ";

/// Edits and applies.
pub(super) async fn run(session: &Session, args: EditArgs) -> Result<(), Failure> {
    let journals = session.select(args.select.selector).await?;
    let listing = wire::ListResponse { journals, ..Default::default() };
    let mut text = list::yaml(&listing)?;
    let mut problems: Vec<String> = Vec::new();
    let draft = files::create_draft("courant-journals-edit-", "")
        .map_err(|error| Failure::of_io("a draft", &error))?;
    let at_draft = |error: &std::io::Error| Failure::of_io(draft.display(), error);
    loop {
        files::overwrite(&draft, &with_notes(&text, &problems)).map_err(|error| at_draft(&error))?;
        open_editor(&draft)?;
        let edited = files::read_text(&draft, MAX_YAML_BYTES).map_err(|error| at_draft(&error))?;
        let edited = without_notes(&edited);
        if edited.trim().is_empty() {
            files::remove(&draft).map_err(|error| at_draft(&error))?;
            return output::print_line("Cancelled; empty file.");
        }
        if edited == text && problems.is_empty() {
            files::remove(&draft).map_err(|error| at_draft(&error))?;
            return output::print_line("Cancelled; nothing to do.");
        }
        if edited == text {
            return Err(Failure::failed([
                "Cancelled; no changes to invalid file.".to_owned(),
                format!("Last edits saved to {}.", draft.display()),
            ]));
        }
        problems = match apply::parse("the draft", &edited) {
            Ok(changes) => match apply::send(session, &changes, args.max_txn_size).await {
                Ok(()) => return files::remove(&draft).map_err(|error| at_draft(&error)),
                Err(failure) => failure.lines().to_vec(),
            },
            Err(problems) => problems,
        };
        text = edited;
    }
}

/// Runs the editor, and waits for it.
fn open_editor(draft: &Path) -> Result<(), Failure> {
    let given = ["COURANT_EDITOR", "EDITOR"].iter().find_map(|name| std::env::var(name).ok());
    let editor = given.filter(|editor| !editor.trim().is_empty()).unwrap_or_else(|| "vi".to_owned());
    // A shell, since editors come with arguments; the path is one of its own.
    let status = Command::new("/bin/sh").arg("-c").arg(format!("{editor} \"$0\"")).arg(draft).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::failed([format!(
            "the editor {editor:?} ended with {status}, and nothing was applied; the draft is {}",
            draft.display()
        )])),
        Err(error) => Err(Failure::of_io(format!("the editor {editor:?}"), &error)),
    }
}

/// The text below what is to be said about it.
fn with_notes(text: &str, problems: &[String]) -> String {
    let mut lines: Vec<String> =
        problems.iter().map(|problem| format!("{PROBLEM}{}", output::one_line(problem))).collect();
    lines.push(format!("{NOTE}Edit the specs, save, and leave the editor to apply them."));
    lines.push(format!("{NOTE}Leave them as they are, or empty, to apply nothing."));
    lines.push(format!(
        "{NOTE}Subtract {} from your editor's line numbers to find a line that is complained of.",
        lines.len() + 1
    ));
    lines.push(text.to_owned());
    lines.join("\n")
}

/// The text without what was said about it.
fn without_notes(text: &str) -> String {
    let marks = [NOTE.trim_end(), PROBLEM.trim_end()];
    text.split_inclusive('\n').filter(|line| !marks.iter().any(|mark| line.starts_with(mark))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_off_again() {
        let text = "name: acme/x\n# a comment of theirs\nreplication: 3\n";
        let noted = with_notes(text, &["the draft:1:1: wrong\nin two lines".to_owned()]);
        assert_eq!(noted.lines().next(), Some("#⚠ the draft:1:1: wrong\\nin two lines"));
        assert!(noted.contains("Subtract 4 from"), "{noted}");
        assert_eq!(noted.lines().nth(4), Some("name: acme/x"));
        assert_eq!(without_notes(&noted), text);
    }
}
