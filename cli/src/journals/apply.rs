//! `courant journals apply`: a tree of specs becomes one change of each journal.

use std::collections::BTreeMap;
use std::path::Path;

use courant_client::Error;
use courant_proto::json::{self, Naming};
use courant_proto::tree::{MAX_YAML_BYTES, Node};
use courant_proto::validate::Validate as _;
use courant_proto::wire::{self, Status, apply_request::Change};

use super::{Session, count, name_of};
use crate::args::ApplyArgs;
use crate::failure::Failure;
use crate::{files, output};

/// Most journals that are named when a transaction was refused.
const MOST_NAMED: usize = 20;

/// Reads the specs, and applies them unless it is a dry run.
pub(super) async fn run(session: Result<Session, Failure>, args: ApplyArgs) -> Result<(), Failure> {
    let changes = read(&args.specs)?;
    if args.dry_run {
        return output::print_line(&json::to_string(&wire::ApplyRequest { changes }, Naming::Original));
    }
    send(&session?, &changes, args.max_txn_size).await
}

/// Makes the changes, so many in a transaction; 0 makes all or none.
pub(super) async fn send(session: &Session, changes: &[Change], max_txn_size: usize) -> Result<(), Failure> {
    let size = if max_txn_size == 0 { changes.len().max(1) } else { max_txn_size };
    let mut done = 0;
    for batch in changes.chunks(size) {
        let request = wire::ApplyRequest { changes: batch.to_vec() };
        let response = match session.client.apply(request).await {
            Ok(response) => response,
            Err(error) => return Err(explain(session, &error, batch, done, changes.len()).await),
        };
        done += batch.len();
        let deleted = batch.iter().filter(|change| change.upsert.is_none()).count();
        let revision = response.header.and_then(|header| header.etcd).map_or(0, |etcd| etcd.revision);
        output::print_line(&format!(
            "applied {} at revision {revision}: {} written, {deleted} deleted",
            count(batch.len(), "change"),
            batch.len() - deleted,
        ))?;
    }
    Ok(())
}

/// The changes that a file asks for.
fn read(path: &Path) -> Result<Vec<Change>, Failure> {
    let standard = path == Path::new(files::STANDARD);
    let shown = if standard { "standard input".to_owned() } else { path.display().to_string() };
    let text = files::read_text(path, MAX_YAML_BYTES)
        .map_err(|error| Failure::usage([format!("--specs {shown}: {error}")]))?;
    parse(&shown, &text).map_err(Failure::usage)
}

/// The changes that a tree asks for, each checked as the broker would; or all that is wrong with it.
pub(super) fn parse(shown: &str, text: &str) -> Result<Vec<Change>, Vec<String>> {
    let tree = Node::parse(text).map_err(|error| vec![format!("{shown}:{error}")])?;
    let changes = tree.into_changes();
    let problem = |change: &Change| {
        let invalid = change.validate().err()?;
        Some(format!("{shown}: {}: {invalid}", name(change)))
    };
    let problems: Vec<String> = changes.iter().filter_map(problem).collect();
    if problems.is_empty() { Ok(changes) } else { Err(problems) }
}

fn name(change: &Change) -> &str {
    change.upsert.as_ref().map_or(change.delete.as_str(), |spec| spec.name.as_str())
}

/// Says what was not applied, and which journals were in the way.
async fn explain(session: &Session, error: &Error, batch: &[Change], done: usize, all: usize) -> Failure {
    let what = if done == 0 {
        "nothing was applied".to_owned()
    } else {
        format!("{done} of {} were applied, and the next {} were not", count(all, "change"), batch.len())
    };
    let mut lines = vec![session.explain(&what, error)];
    if error.status() == Some(Status::EtcdTransactionFailed) {
        let labels = batch.iter().map(|change| wire::Label {
            name: "name".into(),
            value: name(change).into(),
            prefix: false,
        });
        let selector =
            wire::LabelSelector { include: Some(wire::LabelSet { labels: labels.collect() }), exclude: None };
        // If they cannot be listed, the status alone has to do.
        if let Ok(listing) = session.client.list(selector).await {
            let there =
                listing.journals.iter().map(|journal| (name_of(journal), journal.mod_revision)).collect();
            lines.extend(conflicts(batch, &there).take(MOST_NAMED));
        }
    }
    Failure::failed(lines)
}

/// The changes that expect another revision than there is.
fn conflicts<'a>(batch: &'a [Change], there: &'a BTreeMap<&str, i64>) -> impl Iterator<Item = String> + 'a {
    batch.iter().filter_map(|change| {
        let name = name(change);
        let expected = change.expect_mod_revision;
        match (expected, there.get(name)) {
            (0, Some(actual)) => {
                Some(format!("{name}: exists already; to change it, say revision: {actual} in its spec"))
            }
            (1.., None) => Some(format!(
                "{name}: does not exist any more; to create it, leave revision: {expected} out of its spec"
            )),
            (1.., Some(actual)) if *actual != expected => Some(format!(
                "{name}: was changed, and is at revision {actual}, not {expected}; list it again and repeat your change"
            )),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_name_the_journals() {
        let change = |revision, name: &str, delete: bool| Change {
            expect_mod_revision: revision,
            upsert: (!delete).then(|| wire::JournalSpec { name: name.into(), ..Default::default() }),
            delete: if delete { name.into() } else { String::new() },
        };
        let batch = [
            change(0, "a/new", false),
            change(0, "a/there", false),
            change(7, "a/stale", false),
            change(7, "a/gone", true),
            change(9, "a/right", true),
            change(-1, "a/any", true),
        ];
        let there = BTreeMap::from([("a/there", 3), ("a/stale", 8), ("a/right", 9), ("a/any", 1)]);
        let lines: Vec<_> = conflicts(&batch, &there).collect();
        assert_eq!(
            lines,
            [
                "a/there: exists already; to change it, say revision: 3 in its spec",
                "a/stale: was changed, and is at revision 8, not 7; list it again and repeat your change",
                "a/gone: does not exist any more; to create it, leave revision: 7 out of its spec",
            ]
        );
    }
}
