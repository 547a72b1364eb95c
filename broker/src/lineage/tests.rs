//! Lineage as it is written and read back.

use std::sync::Arc;
use std::time::Duration;

use courant_proto::id::ProcessId;
use courant_proto::label::LabelSet;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use tokio_util::sync::CancellationToken;

use super::record::Epoch;
use super::*;
use crate::journal_space::fixture::*;
use crate::transaction::commit::commit;
use crate::transaction::{Guard, PutLease, Transaction, Write};

/// A cluster whose journals have lineage.
async fn cluster() -> (Cluster, LineageKeeper) {
    let mut cluster = Cluster::start().await;
    let keeper = keeper(&mut cluster, 1);
    (cluster, keeper)
}

/// Another process's keeper, as after a restart.
fn keeper(cluster: &mut Cluster, seed: u64) -> LineageKeeper {
    let (keeper, task) = LineageTask::new(cluster.as_registry(), root(), seed);
    cluster.tasks.spawn(task.run(cluster.cancel.clone()));
    keeper
}

fn at(offset: i64) -> Offset {
    Offset::new(offset).expect("not negative")
}

fn fence(value: &str) -> Registers {
    Registers::new(LabelSet::from_pairs([("fence", value)]).expect("labels"))
}

fn wish(journal: &str, create_revision: i64, after: u64, begin: i64) -> BeginEpoch {
    BeginEpoch {
        journal: name(journal),
        create_revision,
        after,
        members: vec![me()],
        logs: vec![0x11],
        begin: at(begin),
        registers: Registers::default(),
    }
}

fn began(epoch: u64, begin: i64) -> EpochOutcome {
    EpochOutcome::Began { epoch, begin: at(begin), registers: Registers::default() }
}

async fn record(cluster: &Cluster, journal: &str) -> Option<Lineage> {
    load(&cluster.as_registry(), &root(), [name(journal)]).await.expect("an answer").remove(&name(journal))
}

#[tokio::test]
async fn epochs_follow_each_other_over_restarts() {
    let (mut cluster, first) = cluster().await;
    let created = cluster.put_item(&spec("the/one")).await;
    assert_eq!(first.begin_epoch(wish("the/one", created, 0, 0)).await, began(1, 0));
    let found = record(&cluster, "the/one").await.expect("a record");
    assert_eq!((found.create_revision, found.epochs.len()), (created, 1));
    assert_eq!(
        (
            found.epochs[0].log_of(&me()),
            found.epochs[0].log_of(&ProcessId::new("zone", "stranger").expect("an id"))
        ),
        (Some(0x11), None)
    );
    // The same process begins another one, and so does the next, which has to look first.
    assert_eq!(first.begin_epoch(wish("the/one", created, 1, 10)).await, began(2, 10));
    let second = keeper(&mut cluster, 2);
    assert_eq!(second.begin_epoch(wish("the/one", created, 2, 30)).await, began(3, 30));
    // And what the first believes to know is corrected.
    assert_eq!(first.begin_epoch(wish("the/one", created, 2, 30)).await, EpochOutcome::Changed);
    assert_eq!(first.begin_epoch(wish("the/one", created, 3, 30)).await, began(4, 30));
    // Also where it is the one that is behind, and does not know it.
    assert_eq!(second.begin_epoch(wish("the/one", created, 4, 30)).await, began(5, 30));
    assert_eq!(second.begin_epoch(wish("the/one", created, 7, 30)).await, EpochOutcome::Changed);
    assert_eq!(second.begin_epoch(wish("the/one", created, 0, 30)).await, EpochOutcome::Changed);
    cluster.stop().await;
}

#[test]
fn what_was_lost_is_remembered_until_the_journal_has_gone_on_behind_it() {
    let epoch = |number, begin| Epoch { number, begin, ..Epoch::default() };
    let lost = |end| Loss::up_to(at(end), 3);
    let told = Lineage::default().losing(lost(500)).expect("news");
    assert_eq!((told.losing(lost(500)), told.losing(lost(400))), (None, None), "the greatest counts");
    assert_eq!(told.losing(lost(600)).map(|record| record.lost_end()), Some(at(600)));
    let first = told.clone().of(7).expect("whatever journal comes first").followed_by(epoch(1, 100));
    assert_eq!((first.create_revision, first.lost_end()), (7, at(500)));
    assert_eq!(first.clone().of(8), None, "another journal");
    assert_eq!(first.followed_by(epoch(2, 499)).lost_end(), at(500));
    assert_eq!(first.followed_by(epoch(2, 500)).lost_end(), Offset::ZERO);
    assert_eq!(first.rolled(at(499), None).lost_end(), at(500));
    assert_eq!(first.rolled(at(500), None).lost_end(), Offset::ZERO);
}

#[test]
fn a_primary_knows_what_of_a_loss_was_acknowledged_and_a_follower_does_not() {
    let (follower, primary) = (Loss::up_to(at(140), 3), Loss::settled(at(100), 3));
    let check = |losses: &[Loss], expected| {
        let both_ways = [losses.to_vec(), losses.iter().rev().copied().collect()];
        for losses in both_ways {
            let all = losses.into_iter().fold(Loss::default(), Loss::and);
            assert_eq!(all.end(), at(expected), "{all:?}");
        }
    };
    check(&[follower], 140);
    check(&[primary], 100);
    // The round from 100 on was on its way: nobody was told that it is committed.
    check(&[follower, primary], 100);
    // Somebody was primary after that one, and is not there to tell.
    check(&[follower, primary, Loss::up_to(at(120), 4)], 140);
    check(&[follower, primary, Loss::up_to(at(130), 4), Loss::settled(at(125), 4)], 125);
    check(&[Loss::settled(at(200), 2), follower], 200);
}

/// A broker that has not noticed yet that the registry was exchanged writes nothing into it, and believes nothing of it.
#[tokio::test]
async fn nothing_is_begun_in_a_registry_that_was_exchanged() {
    let (cluster, _) = cluster().await;
    let created = cluster.put_item(&spec("the/one")).await;
    let witness = courant_keyspace::Witness { key: root().incarnation(), value: b"0a".to_vec() };
    let registry = Registry { witness: Some(witness), ..cluster.as_registry() };
    cluster.put(root().incarnation(), b"0b".to_vec()).await;
    let key = root().lineage(&name("the/one"));
    let guards = vec![Guard::SameLife { key: root().item(&name("the/one")), create_revision: created }];
    let writes = vec![Write::Put { key: key.clone(), value: Vec::new(), lease: PutLease::None }];
    let transaction =
        || Transaction { guards: guards.clone(), writes: writes.clone(), otherwise: Vec::new() };
    let refused = commit(&registry, transaction(), String::new).await.expect_err("another");
    assert!(refused.is_exchanged(), "{refused}");
    let unread = read(&registry, vec![key.clone()], String::new).await.expect_err("another");
    assert!(unread.is_exchanged(), "{unread}");
    let there = read(&cluster.as_registry(), vec![key], String::new).await.expect("an answer");
    assert!(there[0].is_none());
    cluster.put(root().incarnation(), b"0a".to_vec()).await;
    assert!(commit(&registry, transaction(), String::new).await.expect("an answer").succeeded);
    cluster.stop().await;
}

#[tokio::test]
async fn of_two_who_agreed_on_the_same_record_one_begins() {
    let (mut cluster, first) = cluster().await;
    let created = cluster.put_item(&spec("the/one")).await;
    let second = keeper(&mut cluster, 2);
    for after in 0..10 {
        let (one, other) = futures::join!(
            first.begin_epoch(wish("the/one", created, after, 0)),
            second.begin_epoch(wish("the/one", created, after, 0)),
        );
        let begun = began(after + 1, 0);
        assert!(
            (one == begun && other == EpochOutcome::Changed)
                || (other == begun && one == EpochOutcome::Changed),
            "{one:?} {other:?}"
        );
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_record_is_told_as_the_registry_has_it() {
    let (mut cluster, first) = cluster().await;
    let created = cluster.put_item(&spec("the/one")).await;
    let second = keeper(&mut cluster, 2);
    assert_eq!(first.record(&name("the/one"), created).await, Ok(None));
    let fenced = BeginEpoch { registers: fence("first"), ..wish("the/one", created, 0, 20) };
    second.begin_epoch(fenced).await;
    let told = first.record(&name("the/one"), created).await.expect("an answer").expect("a record");
    let newest = told.newest().expect("an epoch");
    assert_eq!((newest.number, newest.begin(), newest.registers()), (1, at(20), fence("first")));
    assert_eq!(first.record(&name("the/one"), created + 1).await, Ok(None), "another journal of this name");
    // What was told is what the next epoch is begun upon, without another look.
    assert_eq!(first.begin_epoch(wish("the/one", created, 1, 20)).await, began(2, 20));
    cluster.stop().await;
}

#[tokio::test]
async fn a_sealed_epoch_is_told_with_its_end() {
    let (mut cluster, first) = cluster().await;
    let created = cluster.put_item(&spec("the/one")).await;
    first.begin_epoch(wish("the/one", created, 0, 0)).await;
    let rolled = |stored, sealed| Rolled {
        journal: name("the/one"),
        create_revision: created,
        from: Offset::ZERO,
        stored: at(stored),
        sealed,
    };
    first.note_roll(rolled(40, Some(Sealing { epoch: 1, registers: fence("last") })));
    // A late note does not undo the end.
    first.note_roll(rolled(30, None));
    first.flush().await;
    let second = keeper(&mut cluster, 2);
    let told = second.record(&name("the/one"), created).await.expect("an answer").expect("a record");
    let sealed = told.newest().and_then(|newest| newest.sealed.clone()).expect("sealed");
    assert_eq!((sealed.end(), sealed.registers()), (at(40), fence("last")));
    cluster.stop().await;
}

#[tokio::test]
async fn a_journal_that_is_gone_begins_nothing() {
    let (cluster, keeper) = cluster().await;
    let created = cluster.put_item(&spec("the/one")).await;
    cluster.delete(root().item(&name("the/one"))).await;
    let outcome = keeper.begin_epoch(wish("the/one", created, 0, 0)).await;
    assert_eq!(outcome, EpochOutcome::Unavailable("journal the/one was deleted".to_owned()));
    assert_eq!(record(&cluster, "the/one").await, None);
    // Nor does the earlier journal of a name, whatever the later one does.
    let anew = cluster.put_item(&spec("the/one")).await;
    assert!(matches!(keeper.begin_epoch(wish("the/one", created, 0, 0)).await, EpochOutcome::Unavailable(_)));
    assert_eq!(keeper.begin_epoch(wish("the/one", anew, 0, 0)).await, began(1, 0));
    cluster.stop().await;
}

#[tokio::test]
async fn epochs_that_are_asked_for_together_share_transactions() {
    const JOURNALS: usize = 500;
    let (mut cluster, first) = cluster().await;
    let mut created = Vec::new();
    for n in 0..JOURNALS {
        created.push((format!("the/{n:04}"), cluster.put_item(&spec(&format!("the/{n:04}"))).await));
    }
    let all = async |cluster: &Cluster, keeper: &LineageKeeper, (after, begin), expected: EpochOutcome| {
        let before = cluster.registry.revision();
        let wishes = created
            .iter()
            .map(|(journal, created)| keeper.begin_epoch(wish(journal, *created, after, begin)));
        let outcomes = futures::future::join_all(wishes).await;
        assert!(outcomes.iter().all(|outcome| *outcome == expected), "{:?}", outcomes.first());
        cluster.registry.revision() - before
    };
    let transactions = all(&cluster, &first, (0, 0), began(1, 0)).await;
    assert!(transactions <= 12, "{transactions}");
    // Another process knows none of the records, and reads them as it goes.
    let second = keeper(&mut cluster, 2);
    let transactions = all(&cluster, &second, (1, 5), began(2, 5)).await;
    assert!(transactions <= 12, "{transactions}");
    let names: Vec<JournalName> = created.iter().map(|(journal, _)| name(journal)).collect();
    let records = load(&cluster.as_registry(), &root(), names).await.expect("an answer");
    assert_eq!(records.len(), JOURNALS);
    assert!(records.values().all(|record| record.newest().is_some_and(|newest| newest.number == 2)));
    cluster.stop().await;
}

#[tokio::test]
async fn one_journal_that_has_changed_or_is_gone_holds_up_no_other() {
    let (mut cluster, first) = cluster().await;
    let changed = cluster.put_item(&spec("the/changed")).await;
    first.begin_epoch(wish("the/changed", changed, 0, 9)).await;
    let good = cluster.put_item(&spec("the/good")).await;
    let second = keeper(&mut cluster, 2);
    let (changed, gone, good, twice) = futures::join!(
        second.begin_epoch(wish("the/changed", changed, 0, 0)),
        second.begin_epoch(wish("the/gone", 77, 0, 0)),
        second.begin_epoch(wish("the/good", good, 0, 0)),
        second.begin_epoch(wish("the/good", good, 0, 0)),
    );
    assert_eq!(changed, EpochOutcome::Changed);
    assert!(matches!(gone, EpochOutcome::Unavailable(_)), "{gone:?}");
    // Asked for twice at once it begins once.
    assert_eq!(good, began(1, 0));
    assert_eq!(twice, EpochOutcome::Changed);
    cluster.stop().await;
}

#[tokio::test]
async fn what_is_stored_is_noted_and_forgotten_with_the_journal() {
    let (cluster, keeper) = cluster().await;
    let created = cluster.put_item(&spec("the/one")).await;
    keeper.begin_epoch(wish("the/one", created, 0, 0)).await;
    let rolled = |stored, create_revision| Rolled {
        journal: name("the/one"),
        create_revision,
        from: Offset::ZERO,
        stored: at(stored),
        sealed: None,
    };
    for stored in [10, 70, 30] {
        keeper.note_roll(rolled(stored, created));
        keeper.flush().await;
    }
    assert_eq!(record(&cluster, "the/one").await.expect("a record").stored(), at(70));
    let before = cluster.registry.revision();
    keeper.note_roll(rolled(99, created + 1));
    keeper.note_roll(Rolled { journal: name("the/none"), ..rolled(99, created) });
    keeper.flush().await;
    assert_eq!(cluster.registry.revision(), before, "nothing to note");

    keeper.forget(name("the/one"), created + 1);
    keeper.flush().await;
    assert!(record(&cluster, "the/one").await.is_some(), "it is another journal's");
    keeper.forget(name("the/one"), created);
    keeper.flush().await;
    assert_eq!(record(&cluster, "the/one").await, None);
    cluster.stop().await;
}

#[tokio::test]
async fn a_damaged_record_stops_its_journal_and_says_how_to_go_on() {
    let (cluster, keeper) = cluster().await;
    let created = cluster.put_item(&spec("the/one")).await;
    cluster.etcd().kv_client().put(root().lineage(&name("the/one")), "\u{ff}", None).await.expect("a put");
    let outcome = keeper.begin_epoch(wish("the/one", created, 0, 5)).await;
    let EpochOutcome::Unavailable(why) = outcome else { panic!("{outcome:?}") };
    assert!(
        why.contains("/courant-x/courant/cluster/lineage/the/one") && why.contains("cannot be read"),
        "{why}"
    );
    assert_eq!(record(&cluster, "the/one").await, None);
    cluster.stop().await;
}

/// A registry that is away for a while, and whose answer to what it did before is lost.
#[tokio::test(start_paused = true)]
async fn a_registry_that_comes_back_loses_nothing() {
    let registry =
        courant_registry::Registry::in_memory(courant_registry::Config { seed: 4, ..Default::default() });
    let etcd = registry.client().await.expect("a client");
    let put = etcd.kv_client().put(root().item(&name("the/one")), spec("the/one").encode(), None).await;
    let created = put.expect("a put").header().expect("a header").revision();
    // It runs, and ends: from then on nothing is accepted, until it runs again.
    let stopped = CancellationToken::new();
    stopped.cancel();
    registry.run(stopped).await.expect("an end");

    let (keeper, task) = LineageTask::new(etcd.clone().into(), root(), 1);
    let cancel = CancellationToken::new();
    let until = cancel.clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(task.run(cancel.clone()));
    tasks.spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        registry.run(until).await.expect("a registry in memory");
    });
    let outcome = keeper.begin_epoch(wish("the/one", created, 0, 5)).await;
    assert_eq!(outcome, began(1, 5));
    cancel.cancel();
    while tasks.join_next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_stays_away_is_given_up_on() {
    let registry =
        courant_registry::Registry::in_memory(courant_registry::Config { seed: 4, ..Default::default() });
    let etcd = registry.client().await.expect("a client");
    let stopped = CancellationToken::new();
    stopped.cancel();
    registry.run(stopped).await.expect("an end");
    let (keeper, task) = LineageTask::new(etcd.into(), Arc::clone(&root()), 1);
    let cancel = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(task.run(cancel.clone()));
    let outcome = keeper.begin_epoch(wish("the/one", 1, 0, 0)).await;
    let EpochOutcome::Unavailable(why) = outcome else { panic!("{outcome:?}") };
    assert!(why.starts_with("the registry cannot record the beginning of an epoch"), "{why}");
    cancel.cancel();
    while tasks.join_next().await.is_some() {}
    let outcome = keeper.begin_epoch(wish("the/one", 1, 0, 0)).await;
    assert_eq!(outcome, EpochOutcome::Unavailable("this broker is stopping".to_owned()));
}
