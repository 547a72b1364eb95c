//! Where an epoch begins, case by case.

use courant_proto::label::LabelSet;

use super::super::log_number::{after_forgetting, after_loss};
use super::super::record::{Loss, Sealed};
use super::*;

const CREATED: i64 = 40;

fn at(offset: i64) -> Offset {
    Offset::new(offset).expect("not negative")
}

fn fence(value: &str) -> Registers {
    Registers::new(LabelSet::from_pairs([("fence", value)]).expect("labels"))
}

fn id(name: &str) -> ProcessId {
    ProcessId::new("zone", &format!("broker-{name}")).expect("an id")
}

/// The number of a broker's log.
fn log(name: &str) -> u64 {
    (u64::from(name.as_bytes()[0]) << 32) | 1
}

fn epoch(number: u64, begin: i64, members: &[&str]) -> Epoch {
    Epoch {
        number,
        members: members.iter().map(|name| (&id(name)).into()).collect(),
        logs: members.iter().map(|name| log(name)).collect(),
        begin,
        registers: Some((&fence(&format!("epoch-{number}"))).into()),
        ..Epoch::default()
    }
}

fn record(epochs: Vec<Epoch>) -> Lineage {
    Lineage { create_revision: CREATED, epochs, ..Lineage::default() }
}

/// A log that has the journal in an epoch up to an offset.
fn knows(name: &str, epoch: u64, end: i64) -> Contributor {
    let head = Some(Known { epoch, end: at(end), registers: fence(name) });
    Contributor { id: id(name), log: Some(log(name)), certain: true, head }
}

/// A log that has not.
fn knows_nothing(name: &str) -> Contributor {
    Contributor { head: None, ..knows(name, 0, 0) }
}

fn wish(contributors: &[Contributor]) -> Wish<'_> {
    let (begin, store_end) = (Offset::ZERO, Offset::ZERO);
    Wish { create_revision: CREATED, contributors, begin, accept_loss: false, store_end }
}

fn agreed(after: u64, base: i64, registers: &str, source: Option<&str>) -> Agreed {
    Agreed::At { after, base: at(base), registers: fence(registers), source: source.map(id) }
}

fn ask(names: &[&str]) -> Agreed {
    Agreed::Ask(names.iter().map(|name| id(name)).collect())
}

fn refuse(floor: i64) -> Agreed {
    Agreed::Refuse { floor: at(floor) }
}

#[test]
fn without_a_record_what_logs_know_is_gone_by() {
    let check = |contributors: &[Contributor], begin, expected: Agreed| {
        let asked = Wish { begin: at(begin), ..wish(contributors) };
        assert_eq!(agree(None, &asked, false), expected, "{contributors:?}");
        // A record of an earlier journal of this name is none.
        let other = Lineage { create_revision: 3, ..record(vec![epoch(9, 1000, &["p"])]) };
        assert_eq!(agree(Some(&other), &asked, false), expected, "{contributors:?}");
    };
    let nothing =
        |base| Agreed::At { after: 0, base: at(base), registers: Registers::default(), source: None };
    check(&[knows_nothing("p")], 0, nothing(0));
    check(&[knows_nothing("p")], 70, nothing(70));
    check(&[knows("p", 0, 50), knows("q", 0, 90)], 70, agreed(0, 90, "q", Some("q")));
    check(&[knows("p", 0, 90), knows("q", 0, 90)], 70, agreed(0, 90, "p", Some("p")));
    check(&[knows("p", 0, 50), knows("q", 0, 60)], 70, agreed(0, 70, "q", None));
    // What a log once had is not written anew, also where it may have lost the rest.
    let uncertain = Contributor { certain: false, ..knows("q", 0, 95) };
    check(&[knows("p", 0, 50), uncertain], 70, agreed(0, 95, "p", None));
}

/// A copy of the registry was restored: what came after it was made is in the logs alone.
#[test]
fn an_epoch_that_the_record_has_never_heard_of_is_not_gone_on_beside() {
    let record = record(vec![epoch(1, 0, &["p", "q"]), epoch(2, 100, &["p", "q"])]);
    let unknown = |by: &str, theirs| Agreed::Unknown { by: id(by), theirs, newest: 2 };
    let check = |contributors: &[Contributor], expected: Agreed| {
        let accepting = Wish { accept_loss: true, begin: at(500), ..wish(contributors) };
        assert_eq!(agree(Some(&record), &wish(contributors), false), expected);
        assert_eq!(agree(Some(&record), &accepting, true), expected, "no operator can accept it");
    };
    check(&[knows("p", 2, 140), knows("q", 3, 160)], unknown("q", 3));
    check(&[knows("p", 4, 140), knows("q", 3, 160)], unknown("p", 4));
    check(&[knows("r", 3, 10)], unknown("r", 3));
}

#[test]
fn what_was_lost_with_another_registry_is_not_gone_on_below() {
    let lost = record(vec![epoch(2, 100, &["p"])]).losing(Loss::up_to(at(500), 7)).expect("news");
    let accepting = |begin| Wish { accept_loss: true, begin: at(begin), ..wish(&[]) };
    assert_eq!(agree(Some(&lost), &accepting(499), true), refuse(500));
    let Agreed::At { base, .. } = agree(Some(&lost), &accepting(500), true) else { panic!("it is accepted") };
    assert_eq!(base, at(500));
}

#[test]
fn the_highest_head_of_those_who_count() {
    let record = record(vec![epoch(1, 0, &["p", "q"]), epoch(2, 100, &["p", "q", "r"])]);
    let check = |contributors: &[Contributor], expected: Agreed| {
        assert_eq!(agree(Some(&record), &wish(contributors), false), expected, "{contributors:?}");
    };
    check(&[knows("p", 2, 140), knows("q", 2, 160)], agreed(2, 160, "q", Some("q")));
    check(&[knows("p", 2, 160), knows("q", 2, 160)], agreed(2, 160, "p", Some("p")));
    check(&[knows("p", 2, 160)], agreed(2, 160, "p", Some("p")));
    // The caller need not have been a member. Nor does its head count then.
    check(&[knows("s", 2, 999), knows("q", 2, 120)], agreed(2, 120, "q", Some("q")));
    check(&[knows_nothing("s"), knows("q", 2, 120)], agreed(2, 120, "q", Some("q")));
    // A member that committed nothing in the last epoch tells that nobody acknowledged anything in it.
    check(&[knows("p", 1, 90), knows("r", 2, 100)], agreed(2, 100, "r", Some("r")));
    check(&[knows("r", 1, 60)], agreed(2, 100, "epoch-2", None));
    check(&[knows_nothing("r")], agreed(2, 100, "epoch-2", None));
    check(&[knows_nothing("r"), knows("p", 2, 130)], agreed(2, 130, "p", Some("p")));
    // One of the epoch before has what is below.
    check(&[knows_nothing("r"), knows("q", 1, 100)], agreed(2, 100, "epoch-2", Some("q")));
    check(&[knows_nothing("r"), knows("q", 1, 130)], agreed(2, 100, "epoch-2", Some("q")));
}

#[test]
fn an_epoch_begins_where_it_is_asked_to_if_that_is_above() {
    let record = record(vec![epoch(1, 0, &["p"])]);
    let known = [knows("p", 1, 50)];
    let check = |begin, expected: Agreed| {
        assert_eq!(agree(Some(&record), &Wish { begin: at(begin), ..wish(&known) }, false), expected);
    };
    check(50, agreed(1, 50, "p", Some("p")));
    check(70, agreed(1, 70, "p", None));
}

#[test]
fn another_log_of_a_member_tells_nothing() {
    let mut record = record(vec![epoch(1, 0, &["p", "q"])]);
    // Its folder was emptied. What it has of the epoch it fetched, and perhaps not to the end.
    let anew = Contributor { log: Some(log("x")), ..knows("p", 1, 50) };
    let check = |record: &Lineage, contributors: &[Contributor], asked, expected: Agreed| {
        assert_eq!(agree(Some(record), &wish(contributors), asked), expected, "{contributors:?}");
    };
    check(&record, std::slice::from_ref(&anew), false, ask(&["q"]));
    check(&record, std::slice::from_ref(&anew), true, refuse(50));
    check(&record, &[anew.clone(), knows("q", 1, 80)], true, agreed(1, 80, "q", Some("q")));
    let knows_not = Contributor { head: None, ..anew.clone() };
    check(&record, &[knows_not], true, refuse(0));
    // One that had to forget something has what it knows, and does not know what it does not.
    let older = Contributor { log: Some(after_forgetting(log("p"))), ..knows("p", 1, 50) };
    check(&record, std::slice::from_ref(&older), false, agreed(1, 50, "p", Some("p")));
    check(&record, &[Contributor { head: None, ..older }], true, refuse(0));
    // For one that may have lost its tail the others are asked. It is gone if none of them knows more.
    let lost = |name| Contributor { log: Some(after_loss(log(name))), ..knows(name, 1, 50) };
    check(&record, &[lost("p")], false, ask(&["q"]));
    check(&record, &[lost("p")], true, refuse(50));
    check(&record, &[lost("p"), knows("q", 1, 40)], false, agreed(1, 50, "p", Some("p")));
    check(&record, &[lost("p"), knows("q", 1, 60)], false, agreed(1, 60, "q", Some("q")));
    check(&record, &[lost("p"), lost("q")], false, agreed(1, 50, "p", Some("p")));
    check(&record, &[Contributor { head: None, ..lost("p") }], true, refuse(0));
    let uncertain = Contributor { certain: false, ..knows("p", 1, 50) };
    check(&record, &[uncertain], true, refuse(50));
    // Where nobody noted which log it was, the head is believed.
    record.epochs[0].logs = vec![0, log("q")];
    check(&record, std::slice::from_ref(&anew), false, agreed(1, 50, "p", Some("p")));
    check(&record, &[Contributor { log: None, ..anew }], true, agreed(1, 50, "p", Some("p")));
}

#[test]
fn without_anybody_who_counts_others_are_asked_and_then_an_operator() {
    let mut record = record(vec![epoch(1, 0, &["p"]), epoch(2, 100, &["p", "q", "r"])]);
    record.stored = 140;
    let strangers = [knows("s", 2, 999), knows_nothing("t")];
    let asked = |store_end, begin, accept_loss| Wish {
        store_end: at(store_end),
        begin: at(begin),
        accept_loss,
        ..wish(&strangers)
    };
    assert_eq!(agree(Some(&record), &asked(130, 130, false), false), ask(&["p", "q", "r"]));
    // An operator's word does not spare the question.
    assert_eq!(agree(Some(&record), &asked(130, 999, true), false), ask(&["p", "q", "r"]));
    let check = |record: &Lineage, wish: Wish<'_>, expected: Agreed| {
        assert_eq!(agree(Some(record), &wish, true), expected);
    };
    check(&record, asked(130, 130, false), refuse(140));
    check(&record, asked(170, 170, false), refuse(170));
    check(&record, asked(130, 139, true), refuse(140));
    // The fence that was set before the loss still stands.
    check(&record, asked(130, 140, true), agreed(2, 140, "epoch-2", None));
    check(&record, asked(130, 999, true), agreed(2, 999, "epoch-2", None));

    let end = Sealed { end: 160, registers: Some((&fence("sealed")).into()) };
    record.epochs[1].sealed = Some(end);
    // Pruned or not, the store had it all.
    assert_eq!(agree(Some(&record), &asked(0, 0, false), false), agreed(2, 160, "sealed", None));
    check(&record, asked(160, 160, false), agreed(2, 160, "sealed", None));
    check(&record, asked(200, 200, false), agreed(2, 200, "sealed", None));
    check(&record, asked(0, 500, true), agreed(2, 500, "sealed", None));
}

#[test]
fn what_is_stored_or_sealed_is_never_written_anew() {
    let mut record = record(vec![epoch(1, 0, &["p"])]);
    let tail_lost = [knows("p", 1, 50)];
    record.stored = 60;
    assert_eq!(agree(Some(&record), &wish(&tail_lost), true), agreed(1, 60, "p", None));
    record.epochs[0].sealed = Some(Sealed { end: 80, registers: Some((&fence("sealed")).into()) });
    assert_eq!(agree(Some(&record), &wish(&tail_lost), true), agreed(1, 80, "sealed", None));
    assert_eq!(agree(Some(&record), &wish(&[knows("p", 1, 80)]), true), agreed(1, 80, "p", Some("p")));
}
