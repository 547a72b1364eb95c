//! Many journals that rest: what each takes of memory and descriptors, what all of them take of a processor, and how long
//! a broker takes to start with them.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use courant_client::Client;
use futures::future::try_join_all;
use http_body_util::Full;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::args::{Codec, IdleArgs};
use crate::output::{Findings, Sheet, number};
use crate::server::Server;
use crate::setup::{Home, Setup};
use crate::stats::median;
use crate::{files, framing, grpc, journals};

/// Bytes that are written to each journal.
const WRITTEN: usize = 100;

/// Journals that are written to at the same time.
const WRITERS: usize = 64;

/// After this long, what one append needs was let go.
const TRIMMED: Duration = Duration::from_secs(12);

/// Longest wait for a broker to rest.
const RESTING: Duration = Duration::from_secs(120);

#[derive(Debug, Serialize)]
struct Found {
    journals: usize,
    flush_wait_s: u64,
    /// Whether the broker came to rest within the wait.
    rested: bool,
    create_s: f64,
    create_cpu_s: f64,
    write_each_once_s: f64,
    /// A broker with one journal.
    base: Footprint,
    /// With all of them, before they were written to.
    created: Footprint,
    /// After each was written to once, and the wait.
    idle: Footprint,
    rss_bytes_per_journal: f64,
    open_files_per_journal: f64,
    /// Share of one processor, in percent.
    idle_cpu_percent: f64,
    spool_bytes_per_journal: f64,
    stop_s: f64,
    /// Medians over the restarts.
    start_until_ready_s: f64,
    start_until_appended_s: f64,
    start_cpu_s: f64,
    /// After the last start and its first append, and when the broker rests again.
    started: Footprint,
    /// Right after that append: with what reading the logs and the registry took.
    started_at_once: Footprint,
    started_rss_bytes_per_journal: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Footprint {
    rss_bytes: u64,
    open_files: usize,
}

impl Footprint {
    fn of(server: &Server) -> Result<Self> {
        Ok(Self { rss_bytes: server.resident_bytes()?, open_files: server.open_files()? })
    }

    /// Bytes and descriptors that are more than those of `base`, for each of so many.
    fn per_journal(self, base: Self, journals: usize) -> (f64, f64) {
        let journals = (journals as f64).max(1.0);
        let rss = (self.rss_bytes as f64 - base.rss_bytes as f64) / journals;
        (rss, (self.open_files as f64 - base.open_files as f64) / journals)
    }
}

pub(crate) async fn run(setup: &Setup, args: &IdleArgs) -> Result<Findings> {
    let count = args.journals.unwrap_or(if setup.quick { 1_000 } else { 10_000 });
    ensure!(count > 0, "--journals 0: expected at least 1");
    let flush_wait_s = args.flush_wait.unwrap_or(if setup.quick { 0 } else { 75 });
    let watch = Duration::from_secs(args.watch.unwrap_or(if setup.quick { 3 } else { 10 }));
    let names: Vec<String> =
        (0..count).map(|number| format!("idle/{:03}/{number:06}", number % 997)).collect();

    let home = setup.home()?;
    let courant = Server::courant(setup, &home).await?;
    let client = journals::client(courant.address)?;
    journals::create_and_append(&client, "base", Codec::None, 1, b"begin\n".to_vec()).await?;
    courant.until_quiet(RESTING).await?;
    let base = Footprint::of(&courant)?;

    files::tell(&format!("idle: creating {count} journals"));
    let (began, cpu) = (Instant::now(), courant.cpu()?);
    let revision = journals::create(&client, &names, Codec::None, 1).await?;
    let create_s = began.elapsed().as_secs_f64();
    journals_are_there(&client, &names, revision).await?;
    courant.until_quiet(RESTING).await?;
    let create_cpu_s = courant.cpu()?.saturating_sub(cpu).as_secs_f64();
    let created = Footprint::of(&courant)?;

    files::tell("idle: writing once to each");
    let began = Instant::now();
    courant.explain(write_each(&courant, &names).await)?;
    let write_each_once_s = began.elapsed().as_secs_f64();

    files::tell(&format!("idle: waiting {flush_wait_s} s for flushes"));
    sleep(Duration::from_secs(flush_wait_s)).await;
    let rested = courant.until_quiet(RESTING).await?.is_some();
    let idle = Footprint::of(&courant)?;
    let cpu = courant.cpu()?;
    sleep(watch).await;
    let idle_cpu_percent =
        courant.cpu()?.saturating_sub(cpu).as_secs_f64() * 100.0 / watch.as_secs_f64().max(1.0);
    let spool_bytes = files::size_below(&home.data().join("spools"));

    files::tell("idle: stopping and starting");
    let mut stop_s = vec![courant.stop_well().await?.as_secs_f64()];
    let mut starts = Vec::new();
    for _ in 0..setup.rounds {
        let (start, stopped) = start(setup, &home, &names[count / 2]).await?;
        starts.push(start);
        stop_s.push(stopped.as_secs_f64());
    }
    let (rss_bytes_per_journal, open_files_per_journal) = idle.per_journal(base, count);
    let last = starts.last().context("no start was measured")?;
    let (started, started_at_once) = (last.rested, last.at_once);
    let found = Found {
        journals: count,
        flush_wait_s,
        rested,
        create_s,
        create_cpu_s,
        write_each_once_s,
        base,
        created,
        idle,
        rss_bytes_per_journal,
        open_files_per_journal,
        idle_cpu_percent,
        spool_bytes_per_journal: spool_bytes as f64 / count as f64,
        // The first stop is the one that has something to persist.
        stop_s: stop_s[0],
        start_until_ready_s: median(starts.iter().map(|start| start.ready_s)),
        start_until_appended_s: median(starts.iter().map(|start| start.appended_s)),
        start_cpu_s: median(starts.iter().map(|start| start.cpu_s)),
        started,
        started_at_once,
        started_rss_bytes_per_journal: started.per_journal(base, count).0,
    };
    let sheet = sheet(&found);
    Findings::new("idle", &found, vec![sheet])
}

/// Waits until the broker knows the last of them.
async fn journals_are_there(client: &Client, names: &[String], revision: i64) -> Result<()> {
    let last = names.last().context("no journals")?;
    let request = courant_proto::wire::ReadRequest {
        journal: last.clone(),
        offset: -1,
        metadata_only: true,
        min_etcd_revision: revision,
        ..Default::default()
    };
    let answer = futures::StreamExt::next(&mut client.read_responses(request)).await;
    answer.with_context(|| format!("no answer for {last}"))??;
    Ok(())
}

async fn write_each(courant: &Server, names: &[String]) -> Result<()> {
    let (caller, _connection) = grpc::connect::<Full<Bytes>>(courant.address).await?;
    let left = RefCell::new(names.iter());
    let loops = (0..WRITERS).map(|_| async {
        let mut caller = caller.clone();
        loop {
            let Some(name) = left.borrow_mut().next() else { return anyhow::Ok(()) };
            let body = framing::append_body(name, &[b'.'; WRITTEN], WRITTEN);
            caller.append(Full::new(body)).await.with_context(|| format!("cannot append to {name}"))?;
        }
    });
    try_join_all(loops).await?;
    Ok(())
}

struct Start {
    ready_s: f64,
    appended_s: f64,
    cpu_s: f64,
    at_once: Footprint,
    rested: Footprint,
}

async fn start(setup: &Setup, home: &Home, journal: &str) -> Result<(Start, Duration)> {
    let began = Instant::now();
    let courant = Server::courant(setup, home).await?;
    let client = journals::client(courant.address)?;
    let request = courant_proto::wire::AppendRequest { journal: journal.to_owned(), ..Default::default() };
    client
        .append(request, vec![b'.'; WRITTEN])
        .await
        .with_context(|| format!("cannot append to {journal}"))?;
    let (ready_s, appended_s) = (courant.ready_after.as_secs_f64(), began.elapsed().as_secs_f64());
    let (cpu_s, at_once) = (courant.cpu()?.as_secs_f64(), Footprint::of(&courant)?);
    sleep(TRIMMED).await;
    courant.until_quiet(RESTING).await?;
    let start = Start { ready_s, appended_s, cpu_s, at_once, rested: Footprint::of(&courant)? };
    Ok((start, courant.stop_well().await?))
}

fn sheet(found: &Found) -> Sheet {
    let mib = |bytes: u64| number(bytes as f64 / f64::from(1 << 20));
    let row = |what: &str, value: String, unit: &str| vec![what.to_owned(), value, unit.to_owned()];
    let rows = vec![
        row("created in", number(found.create_s), "s"),
        row("  processor time of the broker", number(found.create_cpu_s), "s"),
        row("written to once each in", number(found.write_each_once_s), "s"),
        row("RSS with one journal", mib(found.base.rss_bytes), "MiB"),
        row("RSS with all, before they were written to", mib(found.created.rss_bytes), "MiB"),
        row("RSS with all, at rest", mib(found.idle.rss_bytes), "MiB"),
        row("  per journal, beyond that with one", number(found.rss_bytes_per_journal / 1024.0), "KiB"),
        row("open files with one journal", found.base.open_files.to_string(), ""),
        row("open files at rest", found.idle.open_files.to_string(), ""),
        row("  per journal", number(found.open_files_per_journal), ""),
        row("spools on disk per journal", number(found.spool_bytes_per_journal), "B"),
        row("processor at rest", number(found.idle_cpu_percent), "%"),
        row("stopped in", number(found.stop_s), "s"),
        row("start until ready", number(found.start_until_ready_s), "s"),
        row("start until the first append", number(found.start_until_appended_s), "s"),
        row("  processor time", number(found.start_cpu_s), "s"),
        row("RSS after a start, at once", mib(found.started_at_once.rss_bytes), "MiB"),
        row("RSS after a start, at rest", mib(found.started.rss_bytes), "MiB"),
        row(
            "  per journal, beyond that with one",
            number(found.started_rss_bytes_per_journal / 1024.0),
            "KiB",
        ),
        row("open files after a start", found.started.open_files.to_string(), ""),
    ];
    let mut notes = Vec::new();
    if found.flush_wait_s < 60 {
        notes.push(
            "What was written was not flushed yet (--flush-wait below the flush interval of 60 s)."
                .to_owned(),
        );
    }
    if !found.rested {
        notes.push("The broker did not come to rest: the footprint at rest is not one.".to_owned());
    }
    Sheet {
        title: format!("{} journals at rest", found.journals),
        headings: vec!["what", "value", "unit"],
        rows,
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_is_shared_out() {
        let footprint = |rss_bytes, open_files| Footprint { rss_bytes, open_files };
        assert_eq!(footprint(3_000, 12).per_journal(footprint(1_000, 2), 10), (200.0, 1.0));
        assert_eq!(footprint(900, 2).per_journal(footprint(1_000, 2), 10), (-10.0, 0.0));
    }
}
