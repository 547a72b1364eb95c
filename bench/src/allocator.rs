//! What it takes to decide who holds what: solving from nothing, solving after a small change, planning the way there, and what
//! is written to etcd for each replica that moves. No broker and no etcd: the allocator's own work, in this process.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use courant_allocator::{Keys, MemberSpec, Outcome, Policy, Stamp, State, Transaction, Values, Write};
use serde::Serialize;
use tokio::time::Instant;

use crate::args::AllocatorArgs;
use crate::files;
use crate::output::{Findings, Sheet, micros, number};
use crate::setup::Setup;
use crate::stats::median;

const REPLICATION: u32 = 3;
const ZONES: usize = 3;
/// Passes that a change may take to settle.
const MOST_PASSES: usize = 1_000;

#[derive(Debug, Serialize)]
struct Found {
    replication: u32,
    zones: usize,
    members: usize,
    sizes: Vec<Size>,
}

/// What was found with so many items. Times are milliseconds.
#[derive(Debug, Serialize)]
struct Size {
    items: usize,
    /// A first leader, with nothing assigned.
    cold_ms: f64,
    /// A new leader of a cluster at rest.
    at_rest_ms: f64,
    /// From nothing to a plan for everything.
    first_plan_ms: f64,
    changes: Vec<Change>,
}

#[derive(Debug, Serialize)]
struct Change {
    change: &'static str,
    solve_ms: f64,
    /// The first pass of convergence, without solving.
    plan_ms: f64,
    /// Batches that had to be solved whole.
    whole_batches: usize,
    /// Replicas that nobody held before, or another member.
    moved: usize,
    /// Moves that could not be avoided.
    least: usize,
    /// Writes to etcd until all is at rest, by what moved.
    writes_per_move: f64,
    transactions: usize,
    passes: usize,
    at_rest: bool,
}

pub(crate) fn run(setup: &Setup, args: &AllocatorArgs) -> Result<Findings> {
    ensure!(args.members > 3, "--members {}: expected 4 or more", args.members);
    let mut sizes = Vec::new();
    for &items in args.items.iter().filter(|items| !setup.quick || **items <= 10_000) {
        files::tell(&format!("{items} items"));
        sizes.push(size(setup, items, args.members).with_context(|| format!("{items} items"))?);
    }
    let found = Found { replication: REPLICATION, zones: ZONES, members: args.members, sizes };
    Findings::new("allocator", &found, sheets(&found))
}

fn size(setup: &Setup, items: usize, members: usize) -> Result<Size> {
    let empty = Model::new(items, members);
    let mut cold = Vec::new();
    for _ in 0..setup.rounds {
        let mut model = empty.clone();
        let (took, outcome) = solve(&mut model);
        ensure!(outcome.placed == outcome.wanted, "{outcome:?}: not all is placed");
        cold.push(took);
    }
    let mut rest = empty.clone();
    let begun = Instant::now();
    let first = rest.plan(usize::MAX);
    let first_plan = begun.elapsed();
    rest.writes = 0;
    first.into_iter().for_each(|transaction| rest.commit(transaction));
    drop(empty);
    rest.settle()?;
    let mut at_rest = Vec::new();
    for _ in 0..setup.rounds {
        let mut model = rest.retold();
        at_rest.push(solve(&mut model).0);
        ensure!(model.plan(usize::MAX).is_empty(), "something moves at rest");
    }
    let victim = name(members / 2);
    let load = rest.state.load(&victim.0, &victim.1).0 as usize;
    let newcomer = name(members);
    let share = items * REPLICATION as usize / (members + 1);
    let changes: [(_, _, Box<Changing<'_>>); 4] = [
        ("a member is lost", load, Box::new(|model| model.kill(&victim))),
        ("a member leaves", load, Box::new(|model| model.member(&victim, true))),
        ("a member comes", share, Box::new(|model| model.member(&newcomer, false))),
        (
            "an item comes",
            REPLICATION as usize,
            Box::new(|model| model.item(&format!("{}x", item(items / 2)))),
        ),
    ];
    let changes: Result<Vec<Change>> = changes
        .into_iter()
        .map(|(what, least, change)| changed(setup, &rest, what, least, &*change))
        .collect();
    Ok(Size {
        items,
        cold_ms: median(cold),
        at_rest_ms: median(at_rest),
        first_plan_ms: millis(first_plan),
        changes: changes?,
    })
}

fn changed(
    setup: &Setup,
    rest: &Model,
    change: &'static str,
    least: usize,
    apply: &Changing<'_>,
) -> Result<Change> {
    let (mut solves, mut plans) = (Vec::new(), Vec::new());
    for round in 0..setup.rounds {
        let mut model = rest.clone();
        apply(&mut model);
        let (took, outcome) = solve(&mut model);
        solves.push(took);
        let begun = Instant::now();
        let transactions = model.plan(usize::MAX);
        plans.push(millis(begun.elapsed()));
        if round + 1 < setup.rounds {
            continue;
        }
        ensure!(outcome.placed == outcome.wanted, "{change}: {outcome:?}: not all is placed");
        (model.writes, model.transactions, model.adds) = (0, 0, 0);
        transactions.into_iter().for_each(|transaction| model.commit(transaction));
        let passes = 1 + model.settle()?;
        let mut again = model.retold();
        return Ok(Change {
            change,
            solve_ms: median(solves),
            plan_ms: median(plans),
            whole_batches: outcome.whole,
            moved: model.adds,
            least,
            writes_per_move: model.writes as f64 / model.adds.max(1) as f64,
            transactions: model.transactions,
            passes,
            at_rest: again.plan(usize::MAX).is_empty(),
        });
    }
    anyhow::bail!("no rounds")
}

fn solve(model: &mut Model) -> (f64, Outcome) {
    let begun = Instant::now();
    let outcome = model.state.solve();
    (millis(begun.elapsed()), outcome)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn name(number: usize) -> (String, String) {
    (char::from(b'a' + u8::try_from(number % ZONES).unwrap_or(0)).to_string(), format!("broker-{number:04}"))
}

fn item(number: usize) -> String {
    format!("bench/items/{number:07}")
}

/// Changes a cluster.
type Changing<'a> = dyn Fn(&mut Model) + 'a;

/// A cluster, and what was written to it.
#[derive(Clone)]
struct Model {
    state: State,
    keys: Keys,
    revision: i64,
    members: HashMap<(String, String), (MemberSpec, Stamp)>,
    items: Vec<String>,
    writes: usize,
    transactions: usize,
    /// Assignments of a member that did not hold the item.
    adds: usize,
}

/// Values are not what this is about.
struct NoValues;

impl Values for NoValues {
    fn value(&self, _: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn alone(&self, _: &str, _: &str) -> Vec<u8> {
        Vec::new()
    }
}

impl Model {
    fn new(items: usize, members: usize) -> Self {
        let mut model = Self {
            state: State::new(),
            keys: Keys::new("/bench"),
            revision: 0,
            members: HashMap::new(),
            items: Vec::new(),
            writes: 0,
            transactions: 0,
            adds: 0,
        };
        (0..members).for_each(|number| model.member(&name(number), false));
        (0..items).for_each(|number| model.item(&item(number)));
        model
    }

    fn stamp(&mut self) -> Stamp {
        self.revision += 1;
        Stamp { create_revision: self.revision, mod_revision: self.revision, lease: 1 }
    }

    fn member(&mut self, (zone, suffix): &(String, String), exiting: bool) {
        let mut stamp = self.stamp();
        let key = (zone.clone(), suffix.clone());
        if let Some((_, before)) = self.members.get(&key) {
            stamp.create_revision = before.create_revision;
        }
        let spec = MemberSpec { limit: 1 << 20, exiting };
        self.members.insert(key, (spec, stamp));
        self.state.put_member(zone, suffix, spec, stamp);
    }

    fn item(&mut self, id: &str) {
        let stamp = self.stamp();
        self.items.push(id.to_owned());
        self.state.put_item(id, REPLICATION, stamp);
    }

    fn kill(&mut self, member: &(String, String)) {
        self.members.remove(member);
        self.state.remove_member(&member.0, &member.1);
        let held: Vec<(String, u32)> = self
            .state
            .assignments()
            .filter(|held| (held.zone, held.suffix) == (&*member.0, &*member.1))
            .map(|held| (held.item.to_owned(), held.slot))
            .collect();
        for (item, slot) in held {
            self.state.remove_assignment(&item, (&member.0, &member.1), slot);
        }
    }

    /// A state that is told of the same cluster anew.
    fn retold(&self) -> Self {
        let mut model = Self { state: State::new(), ..self.clone() };
        for ((zone, suffix), (spec, stamp)) in &self.members {
            model.state.put_member(zone, suffix, *spec, *stamp);
        }
        for item in &self.items {
            model.state.put_item(item, REPLICATION, Stamp::default());
        }
        for held in self.state.assignments() {
            let stamp = Stamp { lease: 1, ..Stamp::default() };
            model.state.put_assignment(held.item, (held.zone, held.suffix), held.slot, stamp, true);
        }
        model
    }

    fn plan(&mut self, most_transactions: usize) -> Vec<Transaction> {
        let oldest = self.members.iter().min_by_key(|(_, (_, stamp))| stamp.create_revision);
        let Some((leader, _)) = oldest else { return Vec::new() };
        let policy = Policy { most_transactions, ..Policy::default() };
        self.state.plan((&leader.0, &leader.1), policy, &self.keys, &NoValues).transactions
    }

    /// Carries out a transaction; what it leaves is consistent.
    fn commit(&mut self, transaction: Transaction) {
        self.transactions += 1;
        let mut removed = Vec::new();
        for write in &transaction.writes {
            self.writes += 1;
            let (Write::Put { key, .. } | Write::Delete { key }) = write;
            let key = String::from_utf8_lossy(key);
            let mut parts = key.trim_start_matches("/bench/assign/").split('#');
            let (Some(item), Some(zone), Some(suffix), Some(slot)) =
                (parts.next(), parts.next(), parts.next(), parts.next().and_then(|slot| slot.parse().ok()))
            else {
                continue;
            };
            match write {
                Write::Put { .. } => {
                    let stamp = self.stamp();
                    let is_move = removed.contains(&(item.to_owned(), zone.to_owned(), suffix.to_owned()));
                    self.adds += usize::from(!is_move);
                    self.state.put_assignment(item, (zone, suffix), slot, stamp, true);
                }
                Write::Delete { .. } => {
                    removed.push((item.to_owned(), zone.to_owned(), suffix.to_owned()));
                    self.state.remove_assignment(item, (zone, suffix), slot);
                }
            }
        }
    }

    /// Passes until nothing is to be done. How many.
    fn settle(&mut self) -> Result<usize> {
        for pass in 0..MOST_PASSES {
            let transactions = self.plan(usize::MAX);
            if transactions.is_empty() {
                return Ok(pass);
            }
            transactions.into_iter().for_each(|transaction| self.commit(transaction));
        }
        anyhow::bail!("not at rest after {MOST_PASSES} passes")
    }
}

fn sheets(found: &Found) -> Vec<Sheet> {
    let ms = |value: f64| micros(value * 1e3);
    let solving = Sheet {
        title: format!(
            "Solving for {} members in {} zones, replication {}",
            found.members, found.zones, found.replication
        ),
        headings: vec!["items", "nothing assigned", "first plan", "at rest, new leader"],
        rows: found
            .sizes
            .iter()
            .map(|size| {
                let times = [size.cold_ms, size.first_plan_ms, size.at_rest_ms].map(ms);
                std::iter::once(number(size.items as f64)).chain(times).collect()
            })
            .collect(),
        notes: vec!["first plan: solving, and all transactions that assign everything".to_owned()],
    };
    let changes = Sheet {
        title: "After a change of a cluster at rest".to_owned(),
        headings: vec![
            "items",
            "change",
            "solve",
            "plan",
            "batches solved whole",
            "moved",
            "least",
            "moved by least",
            "writes per move",
            "transactions",
            "passes",
            "at rest then",
        ],
        rows: found
            .sizes
            .iter()
            .flat_map(|size| size.changes.iter().map(move |change| (size.items, change)))
            .map(|(items, change)| {
                vec![
                    number(items as f64),
                    change.change.to_owned(),
                    ms(change.solve_ms),
                    ms(change.plan_ms),
                    change.whole_batches.to_string(),
                    number(change.moved as f64),
                    number(change.least as f64),
                    format!("{:.2}", change.moved as f64 / change.least.max(1) as f64),
                    format!("{:.2}", change.writes_per_move),
                    number(change.transactions as f64),
                    change.passes.to_string(),
                    if change.at_rest { "yes" } else { "no" }.to_owned(),
                ]
            })
            .collect(),
        notes: vec![
            "writes: puts and deletes of assignments, until slots are packed again; each member is consistent at once".to_owned(),
        ],
    };
    vec![solving, changes]
}
