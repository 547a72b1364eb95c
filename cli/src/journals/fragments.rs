//! `courant journals fragments`: the fragments of all journals that match, in the order of their names; once, or followed.

mod cursor;
mod follow;
mod progress;
mod row;

use courant_client::Error;
use courant_proto::duration::GoDuration;
use courant_proto::json::{Json, Naming, to_string};
use courant_proto::time::Clock as _;
use courant_proto::wire::{self, Fragment, Status};
use futures::{StreamExt as _, TryStreamExt as _};

use super::{AT_ONCE, Session, is_suspended, name_of};
use crate::args::{FragmentsArgs, FragmentsFormat as Format, Moment};
use crate::clock::SystemClock;
use crate::failure::Failure;
use crate::output;
use row::Row;

type Listed = wire::fragments_response::Fragment;

/// Prints the fragments.
pub(super) async fn run(session: &Session, mut args: FragmentsArgs) -> Result<(), Failure> {
    let now = SystemClock.now().secs();
    let (from, to) = (args.from.at(now), args.to.at(now));
    if to != 0 && to < from {
        return Err(Failure::usage([format!("--to {} is before --from {}", args.to, args.from)]));
    }
    // A moment like `2h` is meant from the beginning on, however long this runs.
    (args.from, args.to) = (Moment::At(from), Moment::At(to));
    if args.follow {
        if !matches!(args.format, Format::Table | Format::Ndjson) {
            return Err(Failure::usage([
                "--follow prints lines: expected --format table or ndjson".to_owned()
            ]));
        }
        return follow::run(session, &args).await;
    }
    let journals = session.select(args.select.selector.clone()).await?;
    let names: Vec<String> = journals
        .iter()
        .filter(|journal| !is_suspended(journal))
        .map(|journal| name_of(journal).to_owned())
        .collect();
    let mut listings =
        futures::stream::iter(names.into_iter().map(|name| list(session, &args, name))).buffered(AT_ONCE);
    let mut all = Vec::new();
    let mut failures = Vec::new();
    while let Some((name, outcome)) = listings.next().await {
        match outcome {
            Ok(fragments) => match args.format {
                Format::Table => all.extend(fragments),
                Format::Json | Format::Yaml | Format::Ndjson => print(args.format, &fragments)?,
            },
            Err(error) => {
                failures.push(session.explain(&format!("cannot list the fragments of {name}"), &error))
            }
        }
    }
    if args.format == Format::Table {
        output::print(&table(&all, args.url_ttl != GoDuration::ZERO, now))?;
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::failed(failures)) }
}

/// What to ask of a journal.
fn request(args: &FragmentsArgs, journal: &str) -> wire::FragmentsRequest {
    wire::FragmentsRequest {
        journal: journal.to_owned(),
        begin_mod_time: args.from.at(0),
        end_mod_time: args.to.at(0),
        signature_ttl: (args.url_ttl != GoDuration::ZERO).then(|| args.url_ttl.to_wire()),
        ..Default::default()
    }
}

async fn list(session: &Session, args: &FragmentsArgs, name: String) -> (String, Result<Vec<Listed>, Error>) {
    let pages: Result<Vec<_>, Error> =
        session.client.fragment_pages(request(args, &name)).try_collect().await;
    let fragments = match pages {
        Ok(pages) => Ok(pages.into_iter().flat_map(|page| page.fragments).collect()),
        // It was suspended since it was listed, so there is nothing to tell.
        Err(error) if error.status() == Some(Status::Suspended) => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    (name, fragments)
}

fn print(format: Format, fragments: &[Listed]) -> Result<(), Failure> {
    let mut text = String::new();
    match format {
        Format::Yaml if !fragments.is_empty() => {
            let items: Vec<_> =
                fragments.iter().map(|fragment| Json::new(fragment, Naming::Original)).collect();
            text = serde_saphyr::to_string(&items).map_err(|error| {
                Failure::failed([format!("cannot print fragments as YAML: {error}; try --format json")])
            })?;
        }
        Format::Ndjson => {
            let all: Result<Vec<Row>, _> = fragments.iter().map(Row::new).collect();
            text = rows(&all.map_err(|invalid| {
                Failure::failed([format!("a broker lists a fragment that is none: {invalid}")])
            })?)?;
        }
        _ => {
            for fragment in fragments {
                text.push_str(&to_string(fragment, Naming::Original));
                text.push('\n');
            }
        }
    }
    output::print(&text)
}

/// Rows as lines of JSON.
fn rows(rows: &[Row]) -> Result<String, Failure> {
    let mut text = String::new();
    for row in rows {
        let line = serde_json::to_string(row);
        text += &line.map_err(|error| Failure::failed([format!("cannot print a fragment: {error}")]))?;
        text.push('\n');
    }
    Ok(text)
}

fn table(fragments: &[Listed], urls: bool, now: i64) -> String {
    let headings = ["Journal", "Offset", "Length", "Persisted", "SHA1", "Compression", "URL"];
    let headings: Vec<String> =
        headings.iter().take(if urls { 7 } else { 6 }).map(|heading| (*heading).to_owned()).collect();
    let rows = fragments
        .iter()
        .map(|listed| {
            let empty = Fragment::default();
            let fragment = listed.spec.as_ref().unwrap_or(&empty);
            let length = u64::try_from(fragment.end.saturating_sub(fragment.begin)).unwrap_or_default();
            let mut row = vec![
                fragment.journal.clone(),
                fragment.begin.to_string(),
                output::bytes(length),
                if fragment.mod_time == 0 {
                    String::new()
                } else {
                    output::ago(now.saturating_sub(fragment.mod_time))
                },
                // Its first six bytes, as they begin in the fragment's name.
                format!("{:012x}...", fragment.sum.as_ref().map_or(0, |sum| sum.part1 >> 16)),
                fragment.compression_codec().as_str_name().to_owned(),
            ];
            if urls {
                row.push(listed.signed_url.clone());
            }
            row
        })
        .collect();
    output::table(&headings, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_sizes_and_ages() {
        let fragment = |begin, end, mod_time| Listed {
            spec: Some(Fragment {
                journal: "acme/orders".into(),
                begin,
                end,
                sum: Some(wire::Sha1Sum { part1: 0x0102_0304_05ab_cdef, part2: 1, part3: 2 }),
                compression_codec: wire::CompressionCodec::Gzip.into(),
                mod_time,
                ..Default::default()
            }),
            signed_url: "file:///x".into(),
        };
        assert_eq!(
            table(&[fragment(0, 1 << 28, 1_000), fragment(1 << 28, (1 << 28) + 12_288, 0)], false, 11_800),
            "\
┌─────────────┬───────────┬─────────┬─────────────┬─────────────────┬─────────────┐
│   JOURNAL   │   OFFSET  │  LENGTH │  PERSISTED  │       SHA1      │ COMPRESSION │
├─────────────┼───────────┼─────────┼─────────────┼─────────────────┼─────────────┤
│ acme/orders │ 0         │ 256 MiB │ 3 hours ago │ 0102030405ab... │ GZIP        │
│ acme/orders │ 268435456 │ 12 KiB  │             │ 0102030405ab... │ GZIP        │
└─────────────┴───────────┴─────────┴─────────────┴─────────────────┴─────────────┘
"
        );
        assert!(table(&[fragment(0, 1, 1)], true, 0).contains("│ file:///x │"));
    }
}
