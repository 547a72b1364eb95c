//! The end of a trial: every journal is read from each replica, over HTTP, and, when all brokers have stopped, out of the
//! store; and the checkers judge.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use courant_proto::wire;
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::verdict::{self, Report};
use super::{LIVENESS, Trial, outage};
use crate::access::{Access, End, Part};
use crate::cluster::{Cluster, holders};
use crate::linear::Verdict;
use crate::load::{Kind, Stage};
use crate::{checker, conditional, history, payload, store};

/// What was under way when the last fault passed gets this long to come or not to come.
const SETTLING: Duration = Duration::from_secs(2);

/// How often a journal may move while its replicas are read.
const MOST_MOVES: usize = 10;

/// Steps of a search for an order of appends with conditions.
const STEPS: usize = 2_000_000;

/// Violations of one rule in one journal that are told one by one.
const SHOWN: usize = 3;

/// Refusals that are the workload's own doing, and those that tell a client to come back.
const EXPECTED: [&str; 8] = [
    "REGISTER_MISMATCH",
    "WRONG_APPEND_OFFSET",
    "NO_JOURNAL_PRIMARY_BROKER",
    "NOT_JOURNAL_PRIMARY_BROKER",
    "INSUFFICIENT_JOURNAL_BROKERS",
    "NOT_JOURNAL_BROKER",
    "no connection",
    "no broker listens",
];

pub(super) async fn end(trial: Trial) -> (Cluster, Report) {
    let Trial { mut cluster, load, outages, mut problems, expected, .. } = trial;
    let stages = load.stages().to_vec();
    let addresses = cluster.addresses();
    for outage in outage::measure("the end", &stages, &addresses, &cluster.alive()).await {
        if outage.lasted.is_none() {
            problems.push(format!("J21: {} takes no append in the end", outage.journal));
        }
    }
    if let Err(hangs) = load.finish().await {
        problems.push(hangs);
    }
    sleep(SETTLING).await;
    let mut report = Report { outages, problems, ..Report::default() };
    let reading = stages.iter().map(|stage| read(&cluster, stage));
    let mut contents = Vec::new();
    for (content, problems) in join_all(reading).await {
        contents.push(content);
        report.problems.extend(problems);
    }
    // Orderly, all at once: what the store holds then is everything.
    let all = cluster.alive();
    for status in cluster.terminate(&all).await {
        if status.code() != Some(0) {
            report.problems.push(format!("J19: all brokers were drained, and one ended with {status}"));
        }
    }
    for (stage, content) in stages.iter().zip(contents) {
        judge(&cluster, stage, content, &expected, &mut report);
    }
    (cluster, report)
}

/// A journal over HTTP, and from each of its replicas.
async fn read(cluster: &Cluster, stage: &Arc<Stage>) -> (Vec<u8>, Vec<String>) {
    let (content, mut problems) = match over_http(cluster, stage).await {
        Ok(content) => (content, Vec::new()),
        Err(problem) => (Vec::new(), vec![problem]),
    };
    let mut replicas = replicas(cluster, stage).await;
    for moved in 1.. {
        let reading = replicas.iter().map(|replica| from_replica(cluster, stage, *replica, content.len()));
        let failed: Vec<_> = join_all(reading).await.into_iter().filter_map(Result::err).collect();
        // Members that are believed in again are still given journals. Who has let go of one is asked no more, and who has it now is.
        let now = self::replicas(cluster, stage).await;
        if failed.is_empty() || now == replicas || moved == MOST_MOVES {
            problems.extend(failed);
            break;
        }
        replicas = now;
    }
    (content, problems)
}

/// The brokers that hold a journal, as the registry has it.
async fn replicas(cluster: &Cluster, stage: &Stage) -> Vec<usize> {
    cluster.journals().await.get(stage.name()).map(|held| holders(held, cluster)).unwrap_or_default()
}

/// Everything that is wrong with one journal.
fn judge(cluster: &Cluster, stage: &Stage, mut content: Vec<u8>, expected: &[&str], report: &mut Report) {
    let mut problems: Vec<String> = stage.broken().iter().map(ToString::to_string).collect();
    match store::assembled(cluster.store(), stage.name()) {
        Ok(stored) if stored.starts_with(&content) => content = stored,
        Ok(stored) => problems.push(format!(
            "J5: {}: the store holds {} bytes, which the journal's {} do not begin",
            stage.name(),
            stored.len(),
            content.len()
        )),
        Err(problem) => problems.push(format!("J12: {}: {problem}", stage.name())),
    }
    let history = stage.history();
    let violations = stage.with_seen(|seen| checker::check(&history, seen, &content));
    // A hole breaks a rule for each append that lay in it; some of them show it.
    let mut shown = BTreeMap::<&str, usize>::new();
    for violation in &violations {
        let shown = shown.entry(violation.rule).or_default();
        *shown += 1;
        if *shown <= SHOWN {
            problems.push(format!("{}: {}: {}", violation.rule, stage.name(), violation.evidence));
        }
    }
    let more = shown.into_iter().filter(|(_, count)| *count > SHOWN);
    problems.extend(more.map(|(rule, count)| format!("{rule}: {}: {} more", stage.name(), count - SHOWN)));
    if stage.kind() != Kind::Plain {
        problems.extend(in_order(stage, &content));
    }
    for reason in stage.refusals().keys() {
        // What is unknown is a fault of its own kind: a client that looks can go on.
        let definite = history.iter().any(|append| append.outcome == history::Outcome::Failed);
        let protocol = reason.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        if definite && protocol && ![&EXPECTED[..], expected].concat().contains(&reason.as_str()) {
            problems.push(format!("J19: {}: a client was refused with {reason}", stage.name()));
        }
    }
    for (reason, count) in stage.refusals() {
        *report.refusals.entry(reason).or_default() += count;
    }
    report.acknowledged += verdict::acknowledged(&history);
    report.unknown += verdict::unknown(&history);
    report.bytes += content.len();
    if !problems.is_empty() {
        report.histories.insert(stage.name().to_owned(), history::lines(&history));
    }
    report.problems.extend(problems);
}

/// Whether appends with conditions could have come one after the other.
fn in_order(stage: &Stage, content: &[u8]) -> Option<String> {
    let ops = stage.ops();
    let rule = if stage.kind() == Kind::Registers { "J11" } else { "J10" };
    // If it is no row of pieces, that is found out elsewhere.
    let found = payload::pieces(content).ok()?;
    match conditional::check(&ops, &found, content.len(), STEPS) {
        Verdict::Linear => None,
        Verdict::Undecided => Some(format!("{rule}: {}: no order was found in {STEPS} steps", stage.name())),
        Verdict::Torn { longest } => {
            let told =
                (0..ops.len()).filter(|index| !longest.contains(index) && ops[*index].settled.is_some());
            let first = told.min_by_key(|index| ops[*index].settled).map(|index| &ops[index]);
            let (all, most) = (ops.len(), longest.len());
            Some(format!(
                "{rule}: {}: {most} of {all} appends can be put in an order, and not {first:?}",
                stage.name()
            ))
        }
    }
}

/// The whole journal, by a reader that has seen nothing of it.
async fn over_http(cluster: &Cluster, stage: &Stage) -> Result<Vec<u8>, String> {
    let mut access = Access::new(cluster.addresses(), 0, LIVENESS);
    let failed = |what: &str| format!("J5: {} cannot be read over HTTP: {what}", stage.name());
    let mut connection = access.connection().await.ok_or_else(|| failed("no connection"))?;
    let target = format!("/{}", stage.name());
    let answer =
        connection.request("GET", &target, &[], b"").await.map_err(|error| failed(&error.to_string()))?;
    if answer.status != 206 {
        return Err(failed(&format!("{} {}", answer.status, answer.text())));
    }
    stage.see(0, &answer.body);
    Ok(answer.body)
}

/// What one replica has by itself, which must be the whole journal.
async fn from_replica(
    cluster: &Cluster,
    stage: &Arc<Stage>,
    replica: usize,
    length: usize,
) -> Result<(), String> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let deadline = Instant::now() + LIVENESS;
    let mut at = 0;
    let mut last = String::new();
    let mut stored = Vec::new();
    while at < length {
        if Instant::now() > deadline {
            return Err(format!("J7: {}: broker {replica} has {at} of {length} bytes: {last}", stage.name()));
        }
        let mut access = Access::new(cluster.addresses(), 0, LIVENESS).through(&[replica]);
        let request = wire::ReadRequest {
            journal: stage.name().to_owned(),
            offset: at,
            do_not_proxy: true,
            ..Default::default()
        };
        let begun = at;
        let ended = access.read(request, LIVENESS, |part| match part {
            Part::Head { offset, fragment, .. } => {
                if offset != at {
                    stage.breaks("J26", format!("a read of broker {replica} at {at} was moved to {offset}"));
                }
                // What lies in the store is read there, and not through the broker.
                let remote = fragment.filter(|fragment| !fragment.backing_store.is_empty());
                stored.extend(remote.map(|remote| (remote.begin, remote.end)));
                at = remote.map_or(offset, |fragment| fragment.end);
            }
            Part::Content { offset, bytes } => {
                stage.see(offset, bytes);
                at = offset + i64::try_from(bytes.len()).unwrap_or(0);
            }
        });
        last = match ended.await {
            End::Status(status) => status.as_str_name().to_owned(),
            End::Fault(fault) => fault,
            End::Late => "late".to_owned(),
        };
        if at == begun {
            let is_gone = last == "NOT_JOURNAL_BROKER" && !replicas(cluster, stage).await.contains(&replica);
            if is_gone {
                return Err(format!("J7: {}: broker {replica} has let go of it", stage.name()));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    // What it let go of rests on the store alone.
    let there = store::spans(cluster.store(), stage.name());
    let missing =
        stored.iter().find(|(begin, end)| !there.contains(&(begin.unsigned_abs(), end.unsigned_abs())));
    match missing {
        Some((begin, end)) => Err(format!(
            "J13: {}: broker {replica} says that the store has {begin} to {end}, and it has not",
            stage.name()
        )),
        None => Ok(()),
    }
}
