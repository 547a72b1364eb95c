//! A cluster whose store is away for a while, under load: what is taken meanwhile, how the rest is refused, and how long until all of
//! it is stored once the store is back.
//!
//! The store is a folder, and it is away by being another's: a file stands in its place.
#![expect(clippy::disallowed_methods, reason = "takes a store's folder away, and puts it back")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use courant_proto::wire;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::cluster::{Addresses, Cluster};
use crate::{http, journal, store};

const TICK: Duration = Duration::from_millis(250);

/// No answer takes that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// How it is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Journals that are appended to.
    pub journals: usize,
    /// Replicas of each.
    pub replicas: usize,
    /// Appends in a second, to all of them together.
    pub rate: u32,
    /// Bytes of each.
    pub size: usize,
    /// How long the store works before it is away, and after it is back.
    pub calm: Duration,
    /// How long it is away.
    pub down: Duration,
    /// All of it must be stored so long after it is back.
    pub within: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Drought {
    /// Appends that were acknowledged, in all, and while the store was away.
    pub acknowledged: usize,
    /// See above.
    pub acknowledged_dry: usize,
    /// Appends that were refused with the words for it, and what was said first.
    pub refused: usize,
    /// See above.
    pub first_refusal: Option<(Duration, String)>,
    /// Most bytes that all brokers together held which no store had.
    pub most_unpersisted: u64,
    /// From the return of the store until appends were taken again, if any had been refused.
    pub taken_again: Option<Duration>,
    /// From the return of the store until all was stored that had been written by then.
    pub drained: Duration,
    /// What was wrong.
    pub problems: Vec<String>,
}

impl fmt::Display for Drought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} appends acknowledged, {} of them without a store",
            self.acknowledged, self.acknowledged_dry
        )?;
        writeln!(
            f,
            "{:.1} MiB that no store had, at most",
            self.most_unpersisted as f64 / f64::from(1 << 20)
        )?;
        match &self.first_refusal {
            None => writeln!(f, "no append was refused")?,
            Some((after, why)) => writeln!(
                f,
                "{} appends refused, the first {:.1} s after the store was away: {why}",
                self.refused,
                after.as_secs_f64()
            )?,
        }
        if let Some(again) = self.taken_again {
            writeln!(f, "appends were taken again {:.1} s after the store was back", again.as_secs_f64())?;
        }
        writeln!(f, "all was stored {:.1} s after the store was back", self.drained.as_secs_f64())?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "PROBLEM {problem}"))
    }
}

/// What writers tell of themselves.
#[derive(Debug, Default)]
struct Told {
    /// Begins of what was acknowledged, with the numbers that its content comes from, by journal.
    acknowledged: BTreeMap<usize, Vec<(u64, u64)>>,
    refusals: Vec<(Instant, String)>,
    /// When an append was acknowledged last.
    last: Option<Instant>,
    problems: Vec<String>,
}

/// At once: between two steps a broker would make the folder anew.
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// Does it, on journals of its own.
///
/// # Errors
/// What is missing if the journals do not get their replicas.
pub async fn run(cluster: &Cluster, plan: Plan) -> Result<Drought, String> {
    let names: Vec<String> = (0..plan.journals).map(|n| format!("drought/{n:04}")).collect();
    let codecs =
        [wire::CompressionCodec::None, wire::CompressionCodec::Gzip, wire::CompressionCodec::Zstandard];
    for some in (0..names.len()).collect::<Vec<_>>().chunks(100) {
        let specs = some.iter().map(|n| {
            let mut spec = journal::spec(&names[*n], codecs[n % codecs.len()], 256 << 10);
            spec.replication = i32::try_from(plan.replicas).unwrap_or(1);
            spec.fragment.get_or_insert_default().flush_interval = Some(journal::seconds(60));
            spec
        });
        journal::apply(&cluster.client(), specs).await;
    }
    cluster.converged(&names, plan.replicas, Duration::from_secs(120)).await?;
    let told = Arc::new(Mutex::new(Told::default()));
    let (stop, stopped) = watch::channel(false);
    let mut writers = JoinSet::new();
    for (number, name) in names.iter().enumerate() {
        let writer = Writer { number, name: name.clone(), addresses: cluster.addresses(), plan };
        writers.spawn(writer.run(Arc::clone(&told), stopped.clone()));
    }
    let mut came = Drought::default();
    watching(cluster, plan.calm, &mut came).await;
    let before = count(&told).await;
    let (root, aside) = (cluster.store().to_owned(), cluster.store().with_extension("away"));
    fs::write(&aside, "in the way").expect("a file");
    exchange(&root, &aside).expect("the store goes");
    let away = Instant::now();
    watching(cluster, plan.down, &mut came).await;
    came.acknowledged_dry = count(&told).await - before;
    exchange(&root, &aside).and_then(|()| fs::remove_file(&aside)).expect("the store returns");
    let back = Instant::now();
    watching(cluster, plan.calm, &mut came).await;
    stop.send_replace(true);
    if timeout(PATIENCE * 2, async { while writers.join_next().await.is_some() {} }).await.is_err() {
        came.problems.push("writers hang".to_owned());
    }
    let told = told.lock().await;
    let size = u64::try_from(plan.size).unwrap_or(u64::MAX);
    loop {
        let lacking = told.acknowledged.iter().find_map(|(number, acknowledged)| {
            let wanted = acknowledged.iter().map(|(begin, _)| begin + size).max()?;
            let there = covered(&root, &names[*number]);
            (there < wanted).then(|| format!("{}: {there} of {wanted} bytes", names[*number]))
        });
        let Some(lacking) = lacking else { break };
        if back.elapsed() > plan.within {
            came.problems.push(format!("not stored {:?} after the store was back: {lacking}", plan.within));
            break;
        }
        sleep(TICK).await;
    }
    came.drained = back.elapsed();
    came.acknowledged = told.acknowledged.values().map(Vec::len).sum();
    came.refused = told.refusals.len();
    came.first_refusal =
        told.refusals.first().map(|(at, why)| (at.saturating_duration_since(away), why.clone()));
    if let Some((last, _)) = told.refusals.last() {
        came.taken_again = Some(last.saturating_duration_since(back));
        if told.last.is_none_or(|taken| taken < *last) {
            came.problems.push("no append was taken after the last that was refused".to_owned());
        }
    }
    came.problems.extend(told.problems.iter().take(20).cloned());
    for (number, name) in names.iter().enumerate() {
        let content = match store::assembled(&root, name) {
            Ok(content) => content,
            Err(why) => {
                came.problems.push(format!("{name}: {why}"));
                continue;
            }
        };
        for (begin, seed) in told.acknowledged.get(&number).into_iter().flatten() {
            let at = usize::try_from(*begin).unwrap_or(usize::MAX);
            let piece = piece(name, *seed, plan.size);
            if content.get(at..at.saturating_add(piece.len())) != Some(piece.as_bytes()) {
                came.problems.push(format!("{name}: what was acknowledged at {begin} is not stored"));
            }
        }
    }
    Ok(came)
}

/// Somebody who appends to one journal at an even pace.
struct Writer {
    number: usize,
    name: String,
    addresses: Addresses,
    plan: Plan,
}

impl Writer {
    async fn run(self, told: Arc<Mutex<Told>>, mut stopped: watch::Receiver<bool>) {
        let pace = Duration::from_secs_f64(self.plan.journals as f64 / f64::from(self.plan.rate.max(1)));
        // Not all at once.
        let shift = pace.mul_f64(self.number as f64 / self.plan.journals.max(1) as f64);
        sleep(shift).await;
        let mut ticks = interval(pace);
        for seed in 0_u64.. {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let index = (self.number + usize::try_from(seed).unwrap_or(0)) % self.addresses.len();
            let Some(address) = *self.addresses[index].borrow() else { continue };
            let body = piece(&self.name, seed, self.plan.size);
            let target = format!("/{}", self.name);
            let put = http::once(address, "PUT", &target, &[], body.as_bytes());
            let answer = timeout(PATIENCE, put).await;
            let mut told = told.lock().await;
            match answer {
                Ok(Ok(answer)) if answer.status == 204 => {
                    let begin = answer.number("x-commit-begin").unwrap_or(-1).unsigned_abs();
                    told.acknowledged.entry(self.number).or_default().push((begin, seed));
                    told.last = Some(Instant::now());
                }
                Ok(Ok(answer)) if answer.status == 503 && says_why(&answer.text()) => {
                    if answer.header("retry-after").is_none() {
                        told.problems.push(format!("no Retry-After: {answer:?}"));
                    }
                    let first = answer.text().lines().next().unwrap_or_default().to_owned();
                    told.refusals.push((Instant::now(), first));
                }
                other => told.problems.push(format!("an append failed: {other:?}")),
            }
        }
    }
}

/// Whether a refusal has the words for a store that takes nothing.
fn says_why(text: &str) -> bool {
    text.contains("that no store has yet")
        && (text.starts_with("FRAGMENT_STORE_UNHEALTHY") || text.contains("--spool-quota"))
}

/// The content of an append: text that is different in each and compresses as logs do.
fn piece(journal: &str, seed: u64, size: usize) -> String {
    let mut piece = String::with_capacity(size + 64);
    let mut line = seed;
    while piece.len() < size {
        line = line.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        piece.push_str(&format!("{journal} seed={seed} request={line:016x} status=200\n"));
    }
    piece.truncate(size);
    piece
}

async fn count(told: &Mutex<Told>) -> usize {
    told.lock().await.acknowledged.values().map(Vec::len).sum()
}

/// Waits, and keeps an eye on what is not stored.
async fn watching(cluster: &Cluster, wait: Duration, came: &mut Drought) {
    let until = Instant::now() + wait;
    while Instant::now() < until {
        came.most_unpersisted = came.most_unpersisted.max(unpersisted(cluster).await);
        sleep(TICK.min(until.saturating_duration_since(Instant::now()))).await;
    }
}

/// How far the store has a journal without a gap.
fn covered(root: &Path, journal: &str) -> u64 {
    store::spans(root, journal)
        .into_iter()
        .fold(0, |to, (begin, end)| if begin <= to { to.max(end) } else { to })
}

/// Bytes that brokers hold which no store has, as their metrics say.
async fn unpersisted(cluster: &Cluster) -> u64 {
    let mut sum = 0;
    for index in cluster.alive() {
        let metrics = cluster.node(index).http("GET", "/metrics", b"").await.text();
        let value = metrics.lines().find_map(|line| line.strip_prefix("courant_unpersisted_bytes "));
        sum += value.and_then(|value| value.parse::<u64>().ok()).expect("a metric of every broker");
    }
    sum
}
