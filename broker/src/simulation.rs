//! A cluster of the pure machines alone, in one thread that a seed drives: primaries that decide appends, followers that take
//! them, agreements on where an epoch begins. Messages are late, streams break, brokers die, stand still and come back;
//! then the checker of the whole system's tests judges. With bugs planted around the machines it must find something.
//!
//! ```text
//!  client ─► queue ─► turn ─► own log ─► rounds ─► stream ─► follow ─► log          one step of one of them at a time
//!                                          ▲                    │
//!                       answers ◄── committed ◄─────────────────┘
//! ```
//!
//! What it does itself is what drivers do: carry messages, write what was decided, keep the registry's promises.

mod agreement;
mod member;
mod primary;
mod world;

use courant_tests::linear::Verdict;
use courant_tests::{checker, conditional, payload};

use world::World;

/// What is wrong with the machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// A round is committed when it was sent.
    AcknowledgeBeforeFollowers,
    /// Readers see what is in the log of the broker that they ask.
    WakeReadersEarly,
    /// A stream of an earlier route is taken, and heads are told without an end to it.
    AcceptStaleRoute,
    /// Conditions on registers are not looked at.
    SkipRegisterCheck,
    /// What an agreement does not take in stays in the log, and is counted.
    NoRollback,
    /// Who stood still believes in its lease when it goes on.
    RenewLeaseAfterPause,
    /// A log that was recovered does not know its last commits, and says that it is whole.
    ReissueOffset,
}

/// Histories without a bug.
const SEEDS: u64 = 600;

/// Runs one history, and says which rules were broken.
fn broken(seed: u64, bug: Option<Bug>) -> Vec<String> {
    run(seed, bug, bug == Some(Bug::RenewLeaseAfterPause)).0
}

fn run(seed: u64, bug: Option<Bug>, has_operator: bool) -> (Vec<String>, World) {
    let mut world = World::new(seed, bug, has_operator);
    for _ in 0..world::STEPS {
        world.step();
    }
    let content = world.heal();
    let mut found = world.problems.clone();
    found.extend(checker::check(&world.history, &world.seen, &content).iter().map(ToString::to_string));
    // If it is no row of pieces, the checker has said so.
    if let Ok(pieces) = payload::pieces(&content)
        && let Verdict::Torn { longest } = conditional::check(&world.ops, &pieces, content.len(), 100_000)
    {
        found.push(format!("J11: of {} appends {} can be ordered", world.ops.len(), longest.len()));
    }
    (found, world)
}

/// The rule that a finding breaks.
fn rule(finding: &str) -> &str {
    finding.split(':').next().unwrap_or_default()
}

#[test]
fn without_a_bug_nothing_is_found() {
    let mut acknowledged = 0;
    for seed in 0..SEEDS {
        let (found, world) = run(seed, None, false);
        assert!(found.is_empty(), "seed {seed}: {found:#?}");
        acknowledged += world.acknowledged();
    }
    assert!(acknowledged > 20 * SEEDS as usize, "{acknowledged} acknowledged appends prove little");
}

/// An operator who lets a journal go on behind all that anybody has seen takes back registers, and nothing else.
#[test]
fn an_accepted_loss_takes_back_no_bytes() {
    for seed in 0..SEEDS {
        let (mut found, _) = run(seed, None, true);
        found.retain(|finding| rule(finding) != "J11");
        assert!(found.is_empty(), "seed {seed}: {found:#?}");
    }
}

/// How many seeds a bug may take, and one of the rules that it must break.
#[track_caller]
fn check_planted(bug: Bug, seeds: u64, rules: &[&str]) {
    let caught =
        (0..seeds).find(|seed| broken(*seed, Some(bug)).iter().any(|finding| rules.contains(&rule(finding))));
    assert!(caught.is_some(), "{bug:?} was not caught in {seeds} histories");
}

#[test]
fn acknowledging_before_the_followers_is_caught() {
    check_planted(Bug::AcknowledgeBeforeFollowers, 200, &["J5"]);
}

#[test]
fn waking_readers_early_is_caught() {
    check_planted(Bug::WakeReadersEarly, 400, &["J3", "J4"]);
}

#[test]
fn accepting_a_stale_route_is_caught() {
    check_planted(Bug::AcceptStaleRoute, 2_000, &["J3", "J5"]);
}

#[test]
fn skipping_the_register_check_is_caught() {
    check_planted(Bug::SkipRegisterCheck, 20, &["J11"]);
}

#[test]
fn not_rolling_back_is_caught() {
    check_planted(Bug::NoRollback, 400, &["J3", "J5"]);
}

#[test]
fn renewing_a_lease_after_a_pause_is_caught() {
    check_planted(Bug::RenewLeaseAfterPause, 2_000, &["J3", "J5"]);
}

#[test]
fn reissuing_an_offset_after_recovery_is_caught() {
    check_planted(Bug::ReissueOffset, 400, &["J3", "J4", "J5"]);
}
