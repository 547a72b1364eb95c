//! `courant journals list`: once, or again at each change.

use std::collections::HashMap;
use std::fmt::Write as _;

use courant_proto::json::{self, Naming};
use courant_proto::label::LabelSet;
use courant_proto::tree::Node;
use courant_proto::wire::courant::unsettled_response::Journal as Unsettled;
use courant_proto::wire::journal_spec::suspend::Level;
use courant_proto::wire::{self, list_response};
use futures::StreamExt as _;

use super::{Session, name_of, suspension};
use crate::args::{Format, ListArgs};
use crate::failure::Failure;
use crate::output;

const NONE: &str = "<none>";

/// The journals that are not in step, by name.
type Amiss = HashMap<String, Unsettled>;

/// Prints the journals that match.
pub(super) async fn run(session: &Session, args: ListArgs) -> Result<(), Failure> {
    let selector = args.select.selector.clone();
    // Once in any case: a broker that is not there is told at once, not after the patience of a watch.
    let listing = session
        .client
        .list(selector.clone())
        .await
        .map_err(|error| session.failure("cannot list the journals", &error))?;
    let mut revision = listing.revision();
    let listing =
        wire::ListResponse { header: Some(listing.header), journals: listing.journals, ..Default::default() };
    output::print(&render(&args, &listing, &amiss(session, &args).await?)?)?;
    if !args.watch {
        return Ok(());
    }
    let mut watch = session.client.watch(selector);
    while let Some(change) = watch.next().await {
        let change = change.map_err(|error| session.failure("cannot watch the journals", &error))?;
        if change.revision <= revision {
            continue;
        }
        revision = change.revision;
        let etcd = wire::header::Etcd { revision, ..Default::default() };
        let listing = wire::ListResponse {
            header: Some(wire::Header { etcd: Some(etcd), ..Default::default() }),
            journals: change.journals.values().cloned().collect(),
            ..Default::default()
        };
        let mut text = render(&args, &listing, &amiss(session, &args).await?)?;
        if args.format == Format::Yaml {
            text.insert_str(0, "---\n");
        }
        output::print(&text)?;
    }
    Ok(())
}

/// Asks what is amiss, if that is to be shown.
async fn amiss(session: &Session, args: &ListArgs) -> Result<Amiss, Failure> {
    if !args.state || args.format != Format::Table {
        return Ok(Amiss::new());
    }
    let unsettled = session.client.unsettled().await;
    let unsettled =
        unsettled.map_err(|error| session.failure("cannot tell the state of the journals", &error))?;
    Ok(unsettled.journals.into_iter().map(|journal| (journal.name.clone(), journal)).collect())
}

/// What is amiss with the replicas of a journal, in words.
fn state(journal: &Unsettled) -> String {
    let Unsettled { wanted, assigned, has_primary, consistent, .. } = journal;
    let mut state = Vec::new();
    if assigned != wanted {
        state.push(format!("{assigned} of {wanted} replicas"));
    }
    if *assigned > 0 && !has_primary {
        state.push("no primary".to_owned());
    }
    if !consistent {
        state.push("synchronising".to_owned());
    }
    state.join(", ")
}

fn render(args: &ListArgs, listing: &wire::ListResponse, amiss: &Amiss) -> Result<String, Failure> {
    match args.format {
        Format::Table => Ok(table(args, &listing.journals, amiss)),
        Format::Json => Ok(json::to_string(listing, Naming::Original) + "\n"),
        Format::Yaml => yaml(listing),
    }
}

/// A listing as the tree of specs that `apply` reads.
pub(super) fn yaml(listing: &wire::ListResponse) -> Result<String, Failure> {
    let failed = |reason: String| {
        Failure::failed([format!("cannot print the listing as YAML: {reason}; try --format json")])
    };
    let Some(mut tree) = Node::from_listing(listing).map_err(|invalid| failed(invalid.to_string()))? else {
        return Ok("# no journals\n".to_owned());
    };
    tree.hoist();
    tree.to_yaml().map_err(|error| failed(error.to_string()))
}

fn table(args: &ListArgs, journals: &[list_response::Journal], amiss: &Amiss) -> String {
    let mut headings = vec!["Name".to_owned()];
    for (wanted, heading) in [
        (args.rf, "RF"),
        (args.primary, "Primary"),
        (args.replicas, "Replicas"),
        (args.state, "State"),
        (args.stores, "Stores"),
    ] {
        if wanted {
            headings.push(heading.to_owned());
        }
    }
    headings.extend(args.label_columns.iter().cloned());
    let rows = journals.iter().map(|journal| row(args, journal, amiss)).collect();
    output::table(&headings, rows)
}

fn row(args: &ListArgs, journal: &list_response::Journal, amiss: &Amiss) -> Vec<String> {
    let empty = wire::JournalSpec::default();
    let spec = journal.spec.as_ref().unwrap_or(&empty);
    let (primary, replicas) = members(journal.route.as_ref());
    let mut row = vec![name_of(journal).to_owned()];
    if args.rf {
        row.push(spec.replication.to_string());
    }
    if args.primary {
        let mut cell = primary.unwrap_or(NONE).to_owned();
        if suspension(journal) != Level::None {
            cell.push_str(" <S>");
        }
        row.push(cell);
    }
    if args.replicas {
        row.push(replicas.join(","));
    }
    if args.state {
        row.push(amiss.get(name_of(journal)).map_or_else(|| "ok".to_owned(), state));
    }
    if args.stores {
        let store = spec.fragment.as_ref().and_then(|fragment| fragment.stores.first());
        row.push(store.map_or(NONE, String::as_str).to_owned());
    }
    let labels = LabelSet::try_from(spec.labels.clone().unwrap_or_default()).unwrap_or_default();
    for name in &args.label_columns {
        let mut cell = String::new();
        for (index, value) in labels.values_of(name).enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(cell, "{}{value}", if index > 0 { "," } else { "" });
        }
        row.push(if labels.of_name(name).is_empty() { NONE.to_owned() } else { cell });
    }
    row
}

/// The primary of a route and the other members, by the suffixes of their names.
fn members(route: Option<&wire::Route>) -> (Option<&str>, Vec<&str>) {
    let Some(route) = route else {
        return (None, Vec::new());
    };
    let primary = usize::try_from(route.primary).ok();
    let name = primary.and_then(|index| route.members.get(index)).map(|id| id.suffix.as_str());
    let others = route.members.iter().enumerate().filter(|(index, _)| Some(*index) != primary);
    (name, others.map(|(_, id)| id.suffix.as_str()).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command, JournalsCommand};

    fn args(flags: &[&str]) -> ListArgs {
        let line = ["courant", "journals", "list"].iter().chain(flags);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Journals(journals) => match journals.command {
                JournalsCommand::List(args) => args,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn listing() -> wire::ListResponse {
        let id = |suffix: &str| wire::process_spec::Id { zone: "z".into(), suffix: suffix.into() };
        let spec = |name: &str, level: Option<Level>| wire::JournalSpec {
            name: name.into(),
            replication: 3,
            labels: Some(
                (&LabelSet::from_pairs([("content-type", "text/csv"), ("tag", "a"), ("tag", "b")]).unwrap())
                    .into(),
            ),
            fragment: Some(wire::journal_spec::Fragment {
                stores: vec!["s3://acme-logs/".into()],
                ..Default::default()
            }),
            suspend: level.map(|level| wire::journal_spec::Suspend { level: level.into(), offset: 7 }),
            ..Default::default()
        };
        wire::ListResponse {
            journals: vec![
                list_response::Journal {
                    spec: Some(spec("acme/a", None)),
                    mod_revision: 17,
                    route: Some(wire::Route {
                        members: vec![id("broker-0"), id("broker-1"), id("broker-2")],
                        primary: 1,
                        endpoints: vec![],
                    }),
                    create_revision: 9,
                },
                list_response::Journal {
                    spec: Some(spec("acme/b", Some(Level::Partial))),
                    mod_revision: 18,
                    route: Some(wire::Route { primary: -1, ..Default::default() }),
                    create_revision: 9,
                },
            ],
            ..Default::default()
        }
    }

    #[test]
    fn the_table_has_the_columns_that_were_asked_for() {
        assert_eq!(
            render(
                &args(&["--rf", "-p", "-r", "--stores", "-L", "tag", "-L", "absent.label"]),
                &listing(),
                &Amiss::new()
            )
            .unwrap(),
            "\
┌────────┬────┬────────────┬───────────────────┬─────────────────┬─────┬──────────────┐
│  NAME  │ RF │   PRIMARY  │      REPLICAS     │      STORES     │ TAG │ ABSENT LABEL │
├────────┼────┼────────────┼───────────────────┼─────────────────┼─────┼──────────────┤
│ acme/a │ 3  │ broker-1   │ broker-0,broker-2 │ s3://acme-logs/ │ a,b │ <none>       │
│ acme/b │ 3  │ <none> <S> │                   │ s3://acme-logs/ │ a,b │ <none>       │
└────────┴────┴────────────┴───────────────────┴─────────────────┴─────┴──────────────┘
"
        );
    }

    #[test]
    fn the_state_says_what_is_amiss() {
        let unsettled = |assigned, has_primary, consistent| Unsettled {
            name: "acme/b".into(),
            wanted: 3,
            assigned,
            has_primary,
            consistent,
        };
        for (journal, expected) in [
            (unsettled(2, true, true), "2 of 3 replicas"),
            (unsettled(0, false, true), "0 of 3 replicas"),
            (unsettled(4, true, false), "4 of 3 replicas, synchronising"),
            (unsettled(3, false, true), "no primary"),
        ] {
            assert_eq!(state(&journal), expected);
        }
        let amiss = Amiss::from([("acme/b".to_owned(), unsettled(2, true, true))]);
        assert_eq!(
            render(&args(&["--state"]), &listing(), &amiss).unwrap(),
            "\
┌────────┬─────────────────┐
│  NAME  │      STATE      │
├────────┼─────────────────┤
│ acme/a │ ok              │
│ acme/b │ 2 of 3 replicas │
└────────┴─────────────────┘
"
        );
    }

    #[test]
    fn yaml_is_hoisted() {
        assert_eq!(
            render(&args(&["-o", "yaml"]), &listing(), &Amiss::new()).unwrap(),
            "\
name: acme/
replication: 3
labels:
- name: content-type
  value: text/csv
- name: tag
  value: a
- name: tag
  value: b
fragment:
  stores:
  - s3://acme-logs/
children:
- name: acme/a
  revision: 17
- name: acme/b
  suspend:
    level: PARTIAL
    offset: 7
  revision: 18
"
        );
        assert_eq!(
            render(&args(&["-o", "yaml"]), &wire::ListResponse::default(), &Amiss::new()).unwrap(),
            "# no journals\n"
        );
    }

    #[test]
    fn json_is_one_response() {
        let text = render(&args(&["--format", "json"]), &listing(), &Amiss::new()).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(json::from_slice::<wire::ListResponse>(text.as_bytes()).unwrap().journals.len(), 2);
    }
}
